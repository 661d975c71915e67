"""What a tile-level value reads: a buffer, an affine offset and strides.

Views (slice, reshape, permute, broadcast) compose into one ``Access``. The verifier, the liveness
passes and the cost extraction all look at views through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nkigen_lite.core.ir import Op, Value
from nkigen_lite.nki_ir.types import ON_CHIP, Affine


@dataclass(frozen=True, slots=True)
class Access:
    """A strided window on a buffer.

    Attributes:
        root: the buffer: an ``alloc`` result or a graph input.
        partition: on chip, the first partition; in HBM always zero.
        offset: in HBM, elements from the buffer's start; on chip, elements within a partition.
        dims: (extent, stride in elements) per dimension. On chip dimension 0 is the partition
            dimension, whose stride counts partitions.
        back: of a rotating buffer, how many rotations ago the copy was in use.
    """

    root: Value
    partition: Affine
    offset: Affine
    dims: tuple[tuple[int, int], ...]
    back: int = 0

    def free_dims(self) -> list[tuple[int, int]]:
        """The free dimensions (all of them in HBM), neighbours merged where one stride serves."""
        on_chip = self.root.type.memory in ON_CHIP
        return merge_dims(self.dims[1:] if on_chip else self.dims)

    def contiguous_run(self) -> int:
        """Elements that lie side by side in memory, per innermost run of the walk."""
        dims = self.free_dims()
        return dims[-1][0] if dims and dims[-1][1] == 1 else 1


def merge_dims(dims: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Drop extents of 1 and join neighbours that one (extent, stride) describes."""
    merged: list[tuple[int, int]] = []
    for extent, stride in dims:
        if extent == 1:
            continue
        if merged and merged[-1][1] == extent * stride:
            merged[-1] = (merged[-1][0] * extent, stride)
        else:
            merged.append((extent, stride))
    return merged


def whole(value: Value) -> Access:
    """The access of a buffer to all of itself."""
    strides: list[int] = []
    step = 1
    for extent in reversed(value.type.shape):
        strides.insert(0, step)
        step *= extent
    if value.type.memory in ON_CHIP:
        strides[0] = 1
    return Access(value, Affine(), Affine(), tuple(zip(value.type.shape, strides, strict=True)))


class Accesses:
    """The access of every value of a graph, worked out on demand and remembered."""

    def __init__(self) -> None:
        self._known: dict[int, Access] = {}

    def of(self, value: Value) -> Access:
        found = self._known.get(id(value))
        if found is None:
            rule = _VIEWS.get(value.producer.opcode) if value.producer else None
            found = rule(self, value.producer) if rule and value.producer else whole(value)
            self._known[id(value)] = found
        return found

    def root(self, value: Value) -> Value:
        """The buffer that ``value`` is a view of (itself, if it is one)."""
        return self.of(value).root

    def _slice(self, op: Op) -> Access:
        base = self.of(op.inputs[0])
        partition, offset = base.partition, base.offset
        dims: list[tuple[int, int]] = []
        on_chip = base.root.type.memory in ON_CHIP
        for position, window in enumerate(op.attrs["slices"].dims):
            stride = base.dims[position][1]
            start = Affine(window.const, tuple((op.inputs[p], f) for p, f in window.terms))
            if on_chip and position == 0:
                partition = partition + start
            else:
                offset = offset + start * stride
            if window.size is not None:
                dims.append((window.size, stride * window.stride))
        return Access(base.root, partition, offset, tuple(dims), base.back)

    def _reshape(self, op: Op) -> Access:
        base = self.of(op.inputs[0])
        shape = op.attrs["shape"]
        strides: list[int] = []
        run = base.free_dims()
        step = run[-1][1] if run else 1
        for extent in reversed(shape):
            strides.insert(0, step)
            step *= extent
        if base.root.type.memory in ON_CHIP:
            strides[0] = 1
        return replace(base, dims=tuple(zip(shape, strides, strict=True)))

    def _permute(self, op: Op) -> Access:
        base = self.of(op.inputs[0])
        return replace(base, dims=tuple(base.dims[p] for p in op.attrs["perm"]))

    def _broadcast(self, op: Op) -> Access:
        base = self.of(op.inputs[0])
        shape = op.attrs["shape"]
        dims = [(extent, 0) for extent in shape]
        for dim, place in zip(base.dims, op.attrs["dims"], strict=True):
            if dim[0] == shape[place]:
                dims[place] = dim
        return replace(base, dims=tuple(dims))

    def _previous(self, op: Op) -> Access:
        base = self.of(op.inputs[0])
        return replace(base, back=base.back + op.attrs["by"])


_VIEWS = {
    "slice": Accesses._slice,
    "reshape": Accesses._reshape,
    "permute": Accesses._permute,
    "broadcast": Accesses._broadcast,
    "previous": Accesses._previous,
}


def is_reshapable(access: Access) -> bool:
    """Whether a row-major reshape of this access is a plain view (its free part is one run)."""
    dims = access.free_dims()
    return not dims or (len(dims) == 1 and dims[0][1] == 1)
