"""Rewriting what no engine computes in terms of what one does."""

from __future__ import annotations

from nkigen_lite.core.builder import at
from nkigen_lite.core.ir import Graph, Op
from nkigen_lite.core.rewrite import rewrite
from nkigen_lite.errors import InvalidStage
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.canonicalize.arithmetic import fold_pointwise
from nkigen_lite.tensor_ir.passes.cse import merge_equal_ops
from nkigen_lite.tensor_ir.passes.decompose import (
    averages,
    division,
    integers,
    narrow,
    powers,
    rounding,
    trigonometry,
)
from nkigen_lite.tensor_ir.rows import TENSOR

__all__ = ["LEAVES", "RULES", "decompose"]

_GONE = frozenset({"div", "floor", "ceil", "floor_divide", "mod", "power", "cos"})
# The opcodes that decompose leaves. Of reduce it leaves no mean, of sin and arctan only those
# marked range_reduced.
LEAVES = frozenset(row.name for row in TENSOR) - _GONE

_ANY_FLOAT = (*division.SIMPLE_RULES, *powers.SMALL_RULES)
_WIDE = (
    *division.RULES,
    *powers.RULES,
    *rounding.RULES,
    *trigonometry.RULES,
    *averages.RULES,
    *integers.RULES,
)
_MAIN = (*_ANY_FLOAT, *narrow.RULES, *_WIDE)
RULES = (*rounding.QUOTIENT_RULES, *rounding.CAST_RULES, *_MAIN)


def decompose(graph: Graph) -> int:
    """Rewrite a tensor_ir graph in place to the ops in ``LEAVES``; inputs and outputs stay.

    Values may differ by a few roundings of their dtype; each rule states its own bounds.

    Returns:
        How often a rule replaced an op.

    Raises:
        NotSupported: a power of integers whose exponent is not a constant of 0 or more.
        InvalidStage: an op is left that should not be, or the rules do not come to an end.
    """
    count = rewrite(graph, rounding.QUOTIENT_RULES, Builder)
    count += rewrite(graph, rounding.CAST_RULES, Builder)
    count += rewrite(graph, _MAIN, Builder)
    rewrite(graph, [fold_pointwise], Builder)
    merge_equal_ops(graph)
    for op in graph.ops:
        if not _is_leaf(op):
            raise InvalidStage(f"decompose: {op} is left but no engine computes it{at(op.loc)}")
    return count


def _is_leaf(op: Op) -> bool:
    return (
        op.opcode in LEAVES
        and op.attrs.get("kind") != "mean"
        and op.attrs.get("range_reduced") is not False
    )
