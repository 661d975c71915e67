"""Memories of bytes for checked runs: what each byte holds, and which contents it belongs to.

A buffer's contents have a number; every allocation that is executed begins new ones. Beside each
byte stands the number of the contents that it was last written for, 0 if it was never written. So
a read finds out whether all of its bytes are its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.nki_ir.types import TileType

POISON = 0xFF
"""What bytes hold before they are written: NaN in every type of float that has one."""


class ByteMemory:
    """``rows`` partitions of ``width`` bytes; HBM buffers are a memory of one row each."""

    def __init__(self, name: str, rows: int, width: int) -> None:
        self.name = name
        self.width = max(width, 1)
        self._bytes = np.full((rows, self.width), POISON, dtype=np.uint8)
        self._owner = np.zeros((rows, self.width), dtype=np.int32)
        self._base: int = self._bytes.__array_interface__["data"][0]

    def tile(self, kind: TileType, offset: int) -> Array:
        """An on-chip buffer at a byte of every partition, from partition 0 on."""
        strides = [*_contiguous(kind.free_shape, kind.dtype.itemsize)]
        return np.ndarray(kind.shape, kind.dtype.np, self._bytes, offset, (self.width, *strides))

    def row(self, kind: TileType) -> Array:
        """The whole of the first row as a buffer in HBM."""
        return np.ndarray(kind.shape, kind.dtype.np, self._bytes)

    def owners(self, view: Array) -> Array:
        """The owners of a view's bytes, a last dimension for those of one element.

        Dimensions that repeat the same elements are looked at once.
        """
        start, strides = self._start(view), view.strides
        shape = [1 if stride == 0 else n for n, stride in zip(view.shape, strides, strict=True)]
        wide = self._owner.itemsize
        return np.ndarray(
            (*shape, view.itemsize),
            self._owner.dtype,
            self._owner,
            start * wide,
            (*(stride * wide for stride in strides), wide),
        )

    def stray(self, view: Array, owner: int) -> Stray | None:
        """The bytes of a view that belong to others, or None if all belong to ``owner``."""
        owners = self.owners(view)
        wrong = owners != owner
        if not wrong.any():
            return None
        at = np.argwhere(wrong)
        steps = np.array([*view.strides, 1])
        rows, columns = np.divmod(self._start(view) + at @ steps, self.width)
        others = sorted({int(n) for n in owners[wrong]})
        return Stray(
            (int(rows.min()), int(rows.max())), (int(columns.min()), int(columns.max())), others
        )

    def _start(self, view: Array) -> int:
        """The byte at which a view begins."""
        address: int = view.__array_interface__["data"][0]
        return address - self._base


@dataclass(frozen=True, slots=True)
class Stray:
    """Bytes that a reader found to belong to others: first and last row and column, and the
    numbers of the contents that they belong to."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    others: list[int]


def _contiguous(shape: tuple[int, ...], itemsize: int) -> list[int]:
    """Row-major strides in bytes."""
    strides: list[int] = []
    step = itemsize
    for extent in reversed(shape):
        strides.insert(0, step)
        step *= extent
    return strides
