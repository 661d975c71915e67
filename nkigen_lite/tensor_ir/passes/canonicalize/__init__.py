"""Bringing graphs into one form: recompose, fold, merge.

Programs say the same thing in many ways: spelled-out activations, broadcasts and constants of full
shape, chains of reshapes and casts. After this stage one form is left of each, and nothing is
computed twice.
"""

from __future__ import annotations

from nkigen_lite.core.ir import Graph
from nkigen_lite.core.rewrite import rewrite
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.canonicalize import (
    activations,
    arithmetic,
    casts,
    gelu,
    movement,
    reductions,
    windows,
)
from nkigen_lite.tensor_ir.passes.cse import merge_equal_ops

__all__ = ["RULES", "canonicalize"]

# Recomposing comes first: it looks for whole patterns, which folding may take apart.
_RECOMPOSE = (*activations.RULES, *gelu.RULES)
_FOLD = (
    *arithmetic.RULES,
    *casts.RULES,
    *movement.RULES,
    *reductions.RULES,
    *windows.RULES,
)
RULES = (*_RECOMPOSE, *_FOLD)


def canonicalize(graph: Graph) -> int:
    """Rewrite a tensor_ir graph in place to its canonical form; inputs and outputs stay.

    Values may differ by the rounding that a recomposed op saves; where the spelled-out form
    overflows its dtype and the recomposed op does not, the result is the defined one.

    Returns:
        How often a rule replaced an op. Merging equal ops, dropping unread ones and shrinking
        constants to scalars do not count.

    Raises:
        InvalidStage: the rules do not come to an end.
    """
    total = 0
    while True:
        count = rewrite(graph, _RECOMPOSE, Builder) + rewrite(graph, _FOLD, Builder)
        movement.shrink_constants(graph)
        merged = merge_equal_ops(graph)
        total += count
        if not count and not merged:
            return total
