"""The op table of tensor_ir, one row per op; each module holds one family."""

from nkigen_lite.tensor_ir.rows.table import TENSOR

from . import create, elementwise, matmul, reduce, shape  # noqa: F401  (each fills the table)

__all__ = ["TENSOR"]
