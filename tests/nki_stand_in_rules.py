"""Rules that all instructions of the stand-in share, from the vendor's documentation.

Written independently of the code under test (aws-neuron-sdk: nki.isa reference of NKI 0.6,
trainium2_arch.rst).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nki_stand_in_tensors import (
    HBM,
    MAX_FREE_DIMS,
    PARTITIONS,
    Array,
    MemoryRegion,
    Tensor,
    require,
)


def in_f32(tensor: Tensor) -> Array:
    return tensor.read().astype(np.float32)


def as_number(values: Array) -> Array:
    """Truth values as 0 and 1."""
    return values.astype(np.float32) if values.dtype == np.bool_ else values


def per_partition(given: Any, data: Tensor, dtype: str | None) -> Any:
    """A Python number, or a (P, 1) tile as a column that spreads over the data's free dims."""
    if not isinstance(given, Tensor):
        require(type(given) in (int, float), f"operand {given!r} is not a number")
        return np.float32(given)
    check_operands(given)
    require(given.shape == (data.shape[0], 1), f"per-partition operand {given} for {data}")
    require(dtype is None or given.dtype == dtype, f"per-partition operand {given} is not {dtype}")
    return in_f32(given).reshape(-1, *[1] * (len(data.shape) - 1))


def check_operands(
    *tiles: Tensor,
    engine: Any = None,
    legal: tuple[str, ...] = (),
    gpsimd: bool = False,
    same_partitions: bool = True,
) -> None:
    """The rules that every compute operand obeys."""
    if engine is not None:
        require(engine.name in (*legal, "unknown"), f"engine {engine.name} is not one of {legal}")
        gpsimd = gpsimd or engine.name == "gpsimd"
    for tile in tiles:
        require(isinstance(tile, Tensor), f"operand {tile!r} is not a tensor")
        require(tile.region not in HBM, f"operand {tile} is in hbm")
        require(not gpsimd or tile.region is MemoryRegion.sbuf, f"gpsimd does not reach {tile}")
        check_start(tile)
        require(tile.free_dims() <= MAX_FREE_DIMS, f"{tile} needs {tile.free_dims()} free dims")
    if same_partitions:
        require(len({t.shape[0] for t in tiles}) == 1, f"partition counts of {tiles} differ")


def check_start(tile: Tensor) -> None:
    count, start = tile.shape[0], tile.start_partition()
    legal = (0,) if count > 64 else (0, 64) if count > 32 else (0, 32, 64, 96)
    require(start in legal, f"{tile} starts at partition {start}")
    require(start + count <= PARTITIONS, f"{tile} starts at partition {start}")


def check_same_shape(*tiles: Tensor) -> None:
    require(len({t.shape for t in tiles}) == 1, f"shapes of {tiles} differ")


def check_one_psum(*tiles: Tensor) -> None:
    count = sum(t.region is MemoryRegion.psum for t in tiles)
    require(count <= 1, f"{tiles} are both read from psum")
