"""The affine values that GpSimd counts up, for iota and affine_select."""

from __future__ import annotations

import math

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.types import TileType

PATTERN_STEPS_MAX = 4  # aws-neuron-sdk nki.isa.iota

Pattern = tuple[tuple[int, int], ...]


def check_pattern(name: str, kind: TileType, pattern: Pattern) -> None:
    """Raises InvalidOp unless the pattern counts as many values as the tile has in a partition."""
    counts = tuple(n for _, n in pattern)
    if math.prod(counts) != kind.free_size or len(counts) > PATTERN_STEPS_MAX:
        raise InvalidOp(
            f"{name}: pattern counts {counts} must multiply to {kind.free_size} in at most "
            f"{PATTERN_STEPS_MAX} steps"
        )


def affine_values(
    shape: tuple[int, ...], pattern: Pattern, offset: int, channel_multiplier: int
) -> Array:
    """offset + partition * channel_multiplier + the sum of step * index over the pattern."""
    rows = np.arange(shape[0], dtype=np.int64) * channel_multiplier + offset
    free = np.zeros((1,), dtype=np.int64)
    for step, count in pattern:
        free = (free[:, None] + np.arange(count, dtype=np.int64) * step).reshape(-1)
    return (rows[:, None] + free[None, :]).reshape(shape)
