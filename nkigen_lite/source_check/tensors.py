"""Buffers and views as the checker sees them: geometry, and which elements have been written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nkigen_lite.source_check.facts import Dtype, Region, Register
from nkigen_lite.source_check.findings import Illegal, require

Mask = np.ndarray[Any, np.dtype[np.uint8]]

UNWRITTEN, WRITTEN, SUMMED, SUM_READ = 0, 1, 2, 3
"""State of an element: nothing wrote it; something did; a matmul did; and the sum was read."""


@dataclass(eq=False, slots=True)
class Buffer:
    """A tensor that ``nl.ndarray`` makes, or a kernel's input.

    Attributes:
        name: for messages.
        state: of every element, if they differ; else None and all are in state ``all``.
        whole: set where elements are not followed one by one: any write counts as all.
        address: (partition, byte) on chip, where the source fixes it.
        born, last: positions in the order of execution: when it was made, and last used.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Dtype
    region: Region
    all: int = UNWRITTEN
    whole: bool = False
    address: tuple[int, int] | None = None
    line: int = 0
    born: int = 0
    last: int = 0
    state: Mask | None = field(default=None, repr=False)

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def partition_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.bytes

    def view(self) -> View:
        """All of it."""
        strides: list[int] = []
        step = 1
        for extent in reversed(self.shape):
            strides.insert(0, step)
            step *= extent
        return View(self, 0, self.shape, tuple(strides))


@dataclass(frozen=True, slots=True)
class Span:
    """``nl.ds(start, size)``."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class View:
    """A strided window on a buffer; offset and strides in elements of the buffer.

    ``index`` is the tile or register that says which rows an indirect access touches: then the
    view names all that it may touch.
    """

    base: Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    index: View | Register | None = None

    # --- what it is -----------------------------------------------------------------------------

    @property
    def region(self) -> Region:
        return self.base.region

    @property
    def dtype(self) -> Dtype:
        return self.base.dtype

    @property
    def partitions(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def free_size(self) -> int:
        return math.prod(self.shape[1:])

    @property
    def is_whole(self) -> bool:
        return self.shape == self.base.shape and self == self.base.view()

    @property
    def start_partition(self) -> int:
        return self.offset // math.prod(self.base.shape[1:])

    def free_bytes(self) -> tuple[int, int]:
        """First and last byte that the view touches in a partition."""
        item = self.dtype.bytes
        first = self.offset % math.prod(self.base.shape[1:])
        pairs = zip(self.shape[1:], self.strides[1:], strict=True)
        last = first + sum((n - 1) * s for n, s in pairs)
        if self.base.address:
            first, last = first + self.base.address[1] // item, last + self.base.address[1] // item
        return first * item, (last + 1) * item - 1

    def free_dims(self) -> int:
        """Free dimensions of the access pattern, neighbours merged where one stride serves."""
        return len(merged(self.shape[1:], self.strides[1:]))

    @property
    def repeats(self) -> bool:
        """Whether it reads some elements more than once."""
        return any(n > 1 and s == 0 for n, s in zip(self.shape, self.strides, strict=True))

    def __str__(self) -> str:
        return f"{self.base.name} {self.shape} {self.dtype} in {self.region.name}"

    # --- other readings -------------------------------------------------------------------------

    def subscript(self, keys: tuple[Any, ...]) -> View:
        """``view[keys]``: ints, slices with steps, and ``nl.ds``."""
        if len(keys) > len(self.shape):
            raise Illegal(f"{self} has {len(self.shape)} dimensions but {len(keys)} subscripts")
        offset, shape, strides = self.offset, [], []
        full = (*keys, *[slice(None)] * (len(self.shape) - len(keys)))
        for dim, (key, extent, stride) in enumerate(
            zip(full, self.shape, self.strides, strict=True)
        ):
            start, size, step = _window(key, extent, dim, self)
            if dim == 0 and self.region.on_chip and step != 1:
                raise Illegal(
                    f"{self} is sliced with step {step} over partitions but the step must be 1"
                )
            offset += start * stride
            if size is not None or (dim == 0 and self.region.on_chip):
                shape.append(1 if size is None else size)
                strides.append(stride * step)
        if self.region.on_chip and len(shape) == 1:
            shape, strides = [*shape, 1], [*strides, 1]
        return View(self.base, offset, tuple(shape), tuple(strides), self.index)

    def reshape(self, shape: tuple[int, ...]) -> View:
        """The same elements under another shape, if no copy is needed for that."""
        if math.prod(shape) != math.prod(self.shape):
            raise Illegal(f"{self} is reshaped to {shape}, which has another number of elements")
        if self.region.on_chip and (len(shape) < 2 or shape[0] != self.shape[0]):
            raise Illegal(f"{self} is reshaped to {shape} but the partition dimension must stay")
        strides = _regrouped(self.shape, self.strides, shape)
        if strides is None:
            raise Illegal(f"{self} is reshaped to {shape} but is not one run of memory")
        return View(self.base, self.offset, shape, strides, self.index)

    def permute(self, dims: tuple[int, ...]) -> View:
        if sorted(dims) != list(range(len(self.shape))):
            raise Illegal(
                f"{self} is permuted by {dims}, which is not a permutation of its dimensions"
            )
        if self.region.on_chip and dims[0] != 0:
            raise Illegal(
                f"{self} is permuted by {dims} but the partition dimension must stay first"
            )
        shape, strides = (tuple(x[d] for d in dims) for x in (self.shape, self.strides))
        return View(self.base, self.offset, shape, strides, self.index)

    def expand_dim(self, dim: int) -> View:
        legal = 0 <= dim <= len(self.shape) and (dim > 0 or not self.region.on_chip)
        if not legal:
            raise Illegal(f"{self} gets a dimension {dim}, where none may be")
        shape = (*self.shape[:dim], 1, *self.shape[dim:])
        strides = (*self.strides[:dim], 0, *self.strides[dim:])
        return View(self.base, self.offset, shape, strides, self.index)

    def broadcast(self, dim: int, size: int) -> View:
        if not 0 <= dim < len(self.shape) or self.shape[dim] != 1:
            raise Illegal(f"{self} is broadcast along dimension {dim}, whose extent must be 1")
        if dim == 0 and self.region.on_chip:
            raise Illegal(f"{self} is broadcast over partitions, which no view on chip can do")
        shape = (*self.shape[:dim], size, *self.shape[dim + 1 :])
        strides = (*self.strides[:dim], 0, *self.strides[dim + 1 :])
        return View(self.base, self.offset, shape, strides, self.index)

    def pattern(self, pattern: list[list[int]], offset: int, index: View | Register | None) -> View:
        """``view.ap(...)``: (stride, count) pairs over the storage of a whole tensor."""
        require(self.is_whole, f"{self}.ap is called on a view but must be on a whole tensor")
        pairs = [(int(stride), int(count)) for stride, count in pattern]
        last = offset + sum(max(0, s) * (n - 1) for s, n in pairs)
        require(
            all(n > 0 for _, n in pairs) and offset >= 0 and last < self.base.elements,
            f"{self}.ap reaches element {last} of {self.base.elements}",
        )
        if self.region.on_chip:
            row = math.prod(self.base.shape[1:])
            require(
                len(pairs) >= 2 and pairs[0][0] == row,
                f"{self}.ap: the first stride is {pairs[0][0]} but must be {row}, one partition",
            )
        shape, strides = tuple(n for _, n in pairs), tuple(s for s, _ in pairs)
        return View(self.base, offset, shape, strides, index)

    # --- state ----------------------------------------------------------------------------------

    def states(self) -> Mask:
        """The elements' states as an array, made if the buffer had one state for all."""
        base = self.base
        if base.state is None:
            base.state = np.full(base.elements, base.all, np.uint8)
        return np.ndarray(self.shape, np.uint8, base.state, self.offset, self.strides)

    def set_state(self, state: int) -> None:
        """All its elements are in ``state`` now."""
        base = self.base
        if self.covers_all() or base.whole:
            base.all, base.state = state, None
        elif base.state is not None or base.all != state:
            self.states()[...] = state

    def count(self, state: int) -> int:
        """How many of its elements are in a state."""
        if self.base.state is None:
            return math.prod(self.shape) if self.base.all == state else 0
        return int(np.count_nonzero(self.states() == state))

    def covers_all(self) -> bool:
        """Whether it touches every element of its buffer."""
        return not self.repeats and math.prod(self.shape) == self.base.elements


def _window(key: Any, extent: int, dim: int, view: View) -> tuple[int, int | None, int]:
    """A subscript as (start, size or None for an index, step), inside the dimension."""
    if isinstance(key, Span):
        key = slice(key.start, key.start + key.size)
    if isinstance(key, slice):
        start = 0 if key.start is None else key.start
        stop = extent if key.stop is None else key.stop
        step = 1 if key.step is None else key.step
        if any(type(n) is not int for n in (start, stop, step)) or step < 1:
            raise Illegal(f"{view} is sliced by {key}, which is not made of integers")
        if not 0 <= start < stop <= extent:
            raise Illegal(
                f"{view} is sliced {start}:{stop} in dimension {dim}, whose extent is {extent}"
            )
        return start, -(-(stop - start) // step), step
    if type(key) is not int:
        raise Illegal(f"{view} is indexed by {key!r}, which is not an integer")
    if not 0 <= key < extent:
        raise Illegal(f"{view} is indexed at {key} in dimension {dim} of {extent}")
    return key, None, 1


def merged(shape: tuple[int, ...], strides: tuple[int, ...]) -> list[tuple[int, int]]:
    """(extent, stride) pairs without extents of 1, neighbours joined where one stride serves."""
    found: list[tuple[int, int]] = []
    for extent, stride in zip(shape, strides, strict=True):
        if extent == 1:
            continue
        if found and found[-1][1] == extent * stride:
            found[-1] = (found[-1][0] * extent, stride)
        else:
            found.append((extent, stride))
    return found


def _regrouped(
    shape: tuple[int, ...], strides: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The strides under another shape, or None if only a copy has it."""
    runs = merged(shape, strides)
    left, step = runs.pop() if runs else (1, 1)
    found: list[int] = []
    for extent in reversed(wanted):
        if left == 1 and runs:
            left, step = runs.pop()
        if left % extent:
            return None
        found.insert(0, step)
        left, step = left // extent, step * extent
    return tuple(found)
