"""What one tile op leaves in its destination."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import DType
from nkigen_lite.nki_ir import Builder, MemorySpace, interpret

Array = np.ndarray[Any, np.dtype[Any]]
F32 = DType.F32


def outcome(
    write: Callable[..., object],
    *arrays: Array,
    into: DType = F32,
    shape: Sequence[int] = (2, 3),
    memory: MemorySpace = MemorySpace.SBUF,
) -> Array:
    """What ``write(b, dst, *tiles)`` leaves in a new tile, its sources holding ``arrays``."""
    b = Builder("k")
    tiles = []
    for n, array in enumerate(arrays):
        dtype = next(d for d in DType if d.np == array.dtype)
        tiles.append(b.alloc(array.shape, dtype))
        b.dma_copy(tiles[-1], b.add_input(f"x{n}", array.shape, dtype))
    dst = b.alloc(shape, into, memory)
    write(b, dst, *tiles)
    env = interpret(b.graph, {f"x{n}": array for n, array in enumerate(arrays)})
    return env[id(dst)]
