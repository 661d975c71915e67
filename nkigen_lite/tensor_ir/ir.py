"""The names of tensor_ir in one place, as clients import them."""

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op, Value, ValueCounter
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.interpret import interpret, run
from nkigen_lite.tensor_ir.types import TensorType

__all__ = [
    "Builder",
    "DType",
    "Graph",
    "Op",
    "TensorType",
    "Value",
    "ValueCounter",
    "interpret",
    "run",
]
