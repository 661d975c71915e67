"""The room that a block takes on chip: bytes per partition, for any loops around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nkigen_lite.tensor_ir.passes.axes import Axis, Step, Storage, View
from nkigen_lite.tensor_ir.passes.direct_lower.in_place import (
    is_long,
    loads_to_take_over,
    taken_over,
)
from nkigen_lite.tensor_ir.passes.direct_lower.staging import STAGE_BYTES, stages
from nkigen_lite.tensor_ir.passes.direct_lower.sums import only_summed
from nkigen_lite.tensor_ir.passes.schedule import Impl, Layout, Loop, read_layout, write_layout


@dataclass(frozen=True, slots=True)
class Shape:
    """Loops of a candidate: outer ones, and one over a contracted axis.

    ``outer_copies`` of a tile that is loaded outside the innermost loop rotate: with one, its next
    block is loaded when the last of the inner loop is done with it.
    """

    loops: tuple[Loop, ...] = ()
    stream: Loop | None = None
    outer_copies: int = 2

    def copies(self, view: View, most: int) -> int:
        """How many copies of a view's tile rotate: one of what is loaded once."""
        depth = max(
            (i + 1 for i, loop in enumerate(self.loops) if loop.axis in view.axes), default=0
        )
        if self.stream and self.stream.axis in view.axes:
            return most
        if depth == 0:
            return 1
        return min(most, self.outer_copies) if depth < len(self.loops) else most


@dataclass(frozen=True, slots=True)
class _Held:
    """A view whose block is held while the step of a number runs.

    Attributes:
        root: the storage in whose buffer it lies, as far as no tile that is loaded is taken over.
        inside: whether that lives only as long as the steps need it.
        factors: the axes of the view, with how many of their elements lie on partitions.
        is_staged: whether its load wants a tile of another layout beside it.
    """

    view: View
    layout: Layout
    number: int
    root: Storage
    inside: bool
    factors: tuple[tuple[Axis, int], ...]
    is_staged: bool

    def size(self, sizes: dict[Axis, int]) -> int:
        """Bytes per partition of one block."""
        count = self.view.storage.dtype.itemsize
        for axis, rows in self.factors:
            count *= -(-sizes.get(axis, axis.extent) // rows)
        return count


class Room:
    """What one block of some steps takes: all that does not depend on the loops is found once."""

    def __init__(self, steps: Sequence[Step], impls: Sequence[Impl]) -> None:
        self.steps, self.impls = steps, impls
        self._made = {s.write.storage for s in steps[:-1]}
        self._over = taken_over(steps, impls, ())
        self._loads = list(loads_to_take_over(steps, impls))
        self._first = {s.write.storage: i for i, s in reversed(list(enumerate(steps)))}
        self._held: list[_Held] = []
        for number, (step, impl) in enumerate(zip(steps, impls, strict=True)):
            for position, view in enumerate(step.reads):
                self._add(view, read_layout(step, impl, position), number, is_read=True)
            self._add(step.write, write_layout(step, impl), number, is_read=False)

    def _add(self, view: View, layout: Layout, number: int, *, is_read: bool) -> None:
        storage = view.storage
        made = storage in self._made
        if storage.kind == "constant" or (made and only_summed(self.steps, storage)):
            return
        root = storage
        while root in self._over:
            root = self._over[root]
        stays = made and storage.kind == "temp"
        rows = {a: Layout.on(a).rows for a in _on_partitions(view, layout)}
        factors = tuple((a, rows.get(a, 1)) for a in view.axes)
        inside = stays or root is not storage
        staged = is_read and not inside and is_staged(storage, layout)
        self._held.append(_Held(view, layout, number, root, inside, factors, staged))

    def bytes(self, shape: Shape, copies: int) -> int:
        """Bytes per partition of one block: tiles from and to outside, each rotating ``copies``
        times, and the most that is live at once of what is only inside.

        An estimate from tile shapes, used to choose block sizes; the lowered segment is measured.
        """
        sizes = {loop.axis: loop.block for loop in shape.loops}
        if shape.stream:
            sizes[shape.stream.axis] = shape.stream.block
        taken = {s for s, v, layout in self._loads if shape.loops and is_long(s, v, layout, sizes)}
        outside: dict[tuple[Storage, str], int] = {}
        inside: dict[Storage, int] = {}
        last: dict[Storage, int] = {}
        staged = 0
        for held in self._held:
            root, storage = held.root, held.view.storage
            if root in taken:
                continue
            size = held.size(sizes)
            if held.inside:
                own = size if storage in self._made and storage.kind == "temp" else size * copies
                inside[root] = max(inside.get(root, 0), own)
                last[root] = held.number
            else:
                if held.is_staged:
                    stage = _stage_bytes(held.view, sizes)
                    staged += min(size, stages(stage) * stage)
                key = storage, held.layout.name
                rotating = size * shape.copies(held.view, copies)
                outside[key] = max(outside.get(key, 0), rotating)
        live = [
            sum(size for s, size in inside.items() if self._first[s] <= number <= last[s])
            for number in range(len(self.steps))
        ]
        return sum(outside.values()) + staged + max(live)


def _on_partitions(view: View, layout: Layout) -> list[Axis]:
    """The axis of a view on partitions, if there is one."""
    pairs = zip(view.storage.axes, view.coords, strict=True)
    return [c.axis for own, c in pairs if own == layout.partition and c.axis is not None]


def is_staged(storage: Storage, layout: Layout) -> bool:
    """Whether a load wants a tile of another layout beside it, to be transposed on chip."""
    axes = storage.axes
    return len(axes) > 1 and layout.partition == axes[-1]


def _stage_bytes(view: View, sizes: dict[Axis, int]) -> int:
    """Bytes per partition of such a tile: one row of the block, or what makes a good DMA."""
    last = view.axes[-1] if view.axes else None
    row = sizes.get(last, last.extent) * view.storage.dtype.itemsize if last else 0
    return max(row, STAGE_BYTES)
