"""Weights that the host lays out once, before kernels run, as segments load them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nkigen_lite.tensor_ir.passes.axes import Axis, Storage


@dataclass(frozen=True, slots=True)
class Packed:
    """A way to lay a storage out in HBM: block by block, each as it will lie on partitions, so that
    a block is one contiguous run for each of them.

    Attributes:
        position: of the axis on partitions among the storage's axes.
        rows: of a partition tile; they divide the axis.
        blocks: per storage axis, how many of its elements a block has: all of them or a divisor.
    """

    position: int
    rows: int
    blocks: tuple[int, ...]

    @classmethod
    def of(
        cls, storage: Storage, axis: Axis, rows: int, sizes: Mapping[Axis, int]
    ) -> Packed | None:
        """The one for loads with ``axis`` on partitions in blocks of ``sizes``; an axis that its
        blocks do not divide stays whole. None if partition tiles do not divide theirs."""
        blocks = tuple(
            size if a.extent % size == 0 else a.extent
            for a in storage.axes
            for size in (sizes.get(a, a.extent),)
        )
        position = storage.axes.index(axis)
        return None if blocks[position] % rows else cls(position, rows, blocks)

    def cuts(self, at: int, axis: Axis) -> bool:
        """Whether the axis at a position has several blocks."""
        return self.blocks[at] < axis.extent


@dataclass(frozen=True, slots=True)
class Packing:
    """How an argument of a kernel is made of a weight as the caller has it.

    Attributes:
        value: the weight.
        argument: of the kernel.
        cut, order, shape: ``value.reshape(cut).transpose(order)`` is the argument, of that shape.
    """

    value: str
    argument: str
    cut: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]

    def pack(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The kernel's argument."""
        return np.ascontiguousarray(array.reshape(self.cut).transpose(self.order))


def packing_of(storage: Storage, packed: Packed, argument: str = "") -> Packing:
    """How a storage becomes an argument: first the blocks, then what is in one: the rows of a
    partition tile, its tiles if there are several, and the other axes."""
    cut: list[int] = []
    outer, others, own = [], [], []
    for at, (axis, block) in enumerate(zip(storage.axes, packed.blocks, strict=True)):
        if packed.cuts(at, axis):
            outer.append(len(cut))
            cut.append(axis.extent // block)
        if at != packed.position:
            others.append(len(cut))
            cut.append(block)
            continue
        if block > packed.rows:
            own.append(len(cut))
            cut.append(block // packed.rows)
        own.insert(0, len(cut))
        cut.append(packed.rows)
    order = (*outer, *own, *others)
    shape = tuple(cut[at] for at in order)
    assert math.prod(shape) == storage.elements
    return Packing(storage.name, argument, tuple(cut), order, shape)
