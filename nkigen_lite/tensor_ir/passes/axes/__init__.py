"""Axis analysis: a tensor_ir graph as steps over named atomic axes.

Every dimension of every value is refined into atomic axes on which all reshapes agree. Transpose,
reshape, broadcast and slice then compute nothing: they are other readings of the same storage.
What is left is a list of steps (pointwise, reduce, matmul, fill, ramp, copies) that read views of
storages and write one.
"""

from nkigen_lite.tensor_ir.passes.axes.analyse import analyse
from nkigen_lite.tensor_ir.passes.axes.program import (
    Axis,
    Coord,
    Hidden,
    Program,
    Stage,
    Step,
    Storage,
    View,
)

__all__ = ["Axis", "Coord", "Hidden", "Program", "Stage", "Step", "Storage", "View", "analyse"]
