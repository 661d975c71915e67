"""Reductions over several axes in two steps: along the rows, and of what that leaves.

A reduction in one step ends only when all has been read, so what is computed for it is kept whole
until then. Rows are independent of each other: each is loaded, computed and reduced while the next
one is on its way.
"""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType
from nkigen_lite.tensor_ir.passes.axes.program import Program, Step, Storage, View
from nkigen_lite.tensor_ir.passes.axes.tiles import PARTITIONS

_LEAST_ROW = 64  # elements: what is left of shorter rows is much
_LEAST_ROWS = 2 * PARTITIONS  # fewer make one tile, which has nothing to overlap with


def reduce_rows_first(program: Program) -> Program:
    """Divide such reductions in place, where there are rows enough."""
    for step in [s for s in program.steps if s.kind == "reduce"]:
        if _divides(step):
            _divide(program, step)
    return program


def _divides(step: Step) -> bool:
    read = step.reads[0]
    whole = read.is_whole and step.write.is_whole
    if read.storage.kind != "temp" or not whole or len(step.reduced) < 2:
        return False
    row = read.axes[-1]
    rows = read.storage.elements // row.extent
    return row in step.reduced and row.extent >= _LEAST_ROW and rows >= _LEAST_ROWS


def _divide(program: Program, step: Step) -> None:
    read, made = step.reads[0], step.write.storage
    axes = read.axes[:-1]
    dtype = DType.F32 if made.dtype.is_float else made.dtype
    rows = Storage(f"{made.name}_rows", dtype, axes, "temp", tuple(a.extent for a in axes))
    first = Step(f"{rows.name}.reduce", "reduce", step.op, (read,), View.of(rows), loc=step.loc)
    program.steps.insert(program.steps.index(step), first)
    step.reads = (View.of(rows),)
