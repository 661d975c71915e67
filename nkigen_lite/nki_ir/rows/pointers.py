"""Arithmetic in float32, and operands of one value per partition."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.errors import InvalidOp


def f32(array: Array) -> Array:
    """The array in the type that engines compute in."""
    return array.astype(np.float32, copy=False)


def pointer_ok(name: str, kind: Any, partitions: int) -> None:
    """Raises InvalidOp unless the tile holds one value in each partition of the others."""
    if kind.free_size != 1 or kind.partition_size != partitions:
        raise InvalidOp(
            f"{name}: a per-partition operand is {kind} but must hold one value in each of "
            f"{partitions} partitions"
        )


def f32_pointer_ok(name: str, kind: Any, partitions: int) -> None:
    """As :func:`pointer_ok`, of an op that takes the values in f32 only."""
    pointer_ok(name, kind, partitions)
    if kind.dtype is not DType.F32:
        raise InvalidOp(f"{name}: a per-partition operand is {kind.dtype} but must be f32")


def column_of(array: Array, rank: int) -> Array:
    """One value per partition, to be broadcast over tiles of a rank."""
    return f32(array).reshape((array.shape[0],) + (1,) * (rank - 1))
