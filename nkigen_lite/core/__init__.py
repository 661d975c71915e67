"""What both IRs share: element types, SSA values, ops and graphs, rows, text, checks."""

from nkigen_lite.core.dtypes import _DTYPE_BYTES, _DTYPE_TO_NP, DType, to_np_dtype
from nkigen_lite.core.ir import Graph, Op, Value, ValueCounter
from nkigen_lite.core.parser import parse
from nkigen_lite.core.structure import structural_hash, structurally_equal, to_networkx

__all__ = [
    "_DTYPE_BYTES",
    "_DTYPE_TO_NP",
    "DType",
    "Graph",
    "Op",
    "Value",
    "ValueCounter",
    "parse",
    "structural_hash",
    "structurally_equal",
    "to_networkx",
    "to_np_dtype",
]
