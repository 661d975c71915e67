"""Lowering one segment: its loop nest, loads, steps and stores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.rows.activation import SUMMED_FREE_MAX
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord, Step, Storage, View
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    MAX_FREE_DIMS,
    Buffer,
    Ranges,
    Rows,
    for_blocks,
    full,
    new_buffer,
)
from nkigen_lite.tensor_ir.passes.direct_lower.kinds import EMIT
from nkigen_lite.tensor_ir.passes.direct_lower.memory import Hbm, hbm_copy, load, store
from nkigen_lite.tensor_ir.passes.direct_lower.pointwise import is_activation
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import convert
from nkigen_lite.tensor_ir.passes.schedule import (
    Impl,
    Layout,
    Segment,
    drained_matmul,
    in_view_axes,
    read_layout,
    write_layout,
)

STAGE_BYTES = 4096  # per partition and DMA: from here on longer runs gain nothing
STAGES = 2  # tiles that wait to be transposed: one is loaded while the other is turned


def stage_rows(view: View, layout: Layout, ranges: Ranges) -> int:
    """How much of the axis on ``layout``'s partitions a staged tile of the view covers."""
    others = [a for a in view.axes if a != layout.partition]
    row_bytes = view.storage.dtype.itemsize
    for axis in others:
        row_bytes *= ranges.get(axis, full(axis)).size
    return layout.rows * max(1, STAGE_BYTES // row_bytes)


def load_via(b: Builder, hbm: Hbm, view: View, target: Buffer, via: Layout, ranges: Ranges) -> None:
    """Fill ``target`` with the present block of a view, loaded in layout ``via`` piece by piece
    and transposed on chip."""
    layout = in_view_axes(view, via)

    def piece(inner: Ranges) -> None:
        name = f"{view.storage.name}_staged"
        kind = view.storage.dtype
        first = new_buffer(b, name, view.axes, layout, kind, inner, copies=STAGES)
        load(b, hbm, view, first, [Coord(a) for a in view.axes], inner)
        convert(b, first, target, inner)

    if layout.partition is None:
        piece(ranges)
    else:
        rows = stage_rows(view, layout, ranges)
        for_blocks(b, layout.partition, ranges, rows, piece)


Key = tuple[Storage, tuple[Coord, ...], str]  # a streamed block: which window, in which layout


@dataclass(eq=False)
class SegmentLowering:
    """Emits one segment.

    Args:
        b: the kernel's builder.
        hbm: the HBM buffers.
        kept: buffers of storages kept whole in SBUF, by storage and layout name.
        only: emit nothing but the transfers of this port, (storage, layout name, "read" or
            "write"), in its place in the loop nest; for pricing.
    """

    b: Builder
    hbm: Hbm
    kept: dict[tuple[Storage, str], Buffer]
    only: tuple[Storage, str, str] | None = None
    segment: Segment = field(init=False)
    local: dict[Storage, Buffer] = field(default_factory=dict)
    blocks: dict[Key, Buffer] = field(default_factory=dict)
    psum: dict[Storage, tuple[Value, Rows]] = field(default_factory=dict)
    summed: dict[Step, tuple[Buffer, Sequence[Coord]]] = field(default_factory=dict)

    def lower(self, segment: Segment) -> None:
        """Emit the whole segment."""
        self.segment = segment
        self.local.clear()
        self.blocks.clear()
        self._nest(0, {})

    # --- the loop nest ---------------------------------------------------------------------------

    def _nest(self, depth: int, ranges: Ranges) -> None:
        """Everything that belongs at this depth, then the next loop with what is inside it."""
        before = dict(self.blocks), dict(self.local)
        self._loads(depth, ranges)
        if self.only is None:
            self._steps(depth, ranges)
        else:
            self._only_transfers(depth, ranges)
        if depth < len(self.segment.loops):
            loop = self.segment.loops[depth]
            for_blocks(
                self.b, loop.axis, ranges, loop.block, lambda inner: self._nest(depth + 1, inner)
            )
        self.blocks, self.local = before

    def depth_of(self, axes: Sequence[Axis]) -> int:
        """The depth at which something over these axes is done: inside the loops it depends on."""
        loops = self.segment.loops
        return max((i + 1 for i, loop in enumerate(loops) if loop.axis in axes), default=0)

    def step_depth(self, position: int) -> int:
        """A step's depth: that of its axes, and no less than what it reads inside."""
        step = self.segment.steps[position]
        own = self.depth_of(step.axes)
        made = {s.write.storage: i for i, s in enumerate(self.segment.steps[:position])}
        inner = [made[v.storage] for v in step.reads if v.storage in made]
        return max([own, *(self.step_depth(i) for i in inner)])

    def _loads(self, depth: int, ranges: Ranges) -> None:
        stream = self.segment.stream
        for step, impl in zip(self.segment.steps, self.segment.impls, strict=True):
            if step.kind == "hbm_copy":
                continue
            for position, view in enumerate(step.reads):
                if stream and stream.axis in view.axes and step is self.streaming_step():
                    continue
                if self.depth_of(view.axes) == depth:
                    self.load(step, impl, position, ranges)

    def load(self, step: Step, impl: Impl, position: int, ranges: Ranges) -> None:
        view = step.reads[position]
        if view.storage.kind == "constant":
            return
        wanted = read_layout(step, impl, position)
        port = self.segment.reads.get((view.storage, wanted.name))
        if port is None or not port.streamed:
            return
        if self.only is not None and self.only != (view.storage, wanted.name, "read"):
            return
        layout = in_view_axes(view, wanted)
        key: Key = (view.storage, view.coords, layout.name)
        if key in self.blocks:
            return
        buffer = self._block(view, layout, ranges, self._copies_of(view))
        coords = [Coord(a) for a in buffer.axes]
        if port.via is None:
            load(self.b, self.hbm, view, buffer, coords, ranges)
        else:
            load_via(self.b, self.hbm, view, buffer, port.via, ranges)
        self.blocks[key] = buffer

    def _only_transfers(self, depth: int, ranges: Ranges) -> None:
        """The stores of the one port that is priced, or its loads inside the stream loop."""
        assert self.only is not None
        storage, name, side = self.only
        stream = self.segment.stream
        for position, step in enumerate(self.segment.steps):
            if self.step_depth(position) != depth:
                continue
            impl = self.segment.impls[position]
            wanted = write_layout(step, impl).name
            if side == "write" and step.write.storage is storage and wanted == name:
                target, coords = self._target(position, ranges)
                store(self.b, self.hbm, step.write, target, coords, ranges)
            if side == "read" and stream and step is self.streaming_step():

                def block(inner: Ranges, step: Step = step, impl: Impl = impl) -> None:
                    before = dict(self.blocks)
                    for at, view in enumerate(step.reads):
                        if stream.axis in view.axes:
                            self.load(step, impl, at, inner)
                    self.blocks = before

                for_blocks(self.b, stream.axis, ranges, stream.block, block)

    def _block(self, view: View, layout: Layout, ranges: Ranges, copies: int) -> Buffer:
        name = f"{view.storage.name}_tile"
        return new_buffer(
            self.b, name, view.axes, layout, view.storage.dtype, ranges, copies=copies
        )

    # --- steps -----------------------------------------------------------------------------------

    def streaming_step(self) -> Step | None:
        """The contraction that runs inside the stream loop."""
        stream = self.segment.stream
        if stream is None:
            return None
        return next(s for s in self.segment.steps if stream.axis in s.reduced)

    def _steps(self, depth: int, ranges: Ranges) -> None:
        for position, (step, impl) in enumerate(
            zip(self.segment.steps, self.segment.impls, strict=True)
        ):
            if self.step_depth(position) == depth and not self._is_epilogue(position):
                self._step(position, step, impl, ranges)

    def _is_epilogue(self, position: int) -> bool:
        """Whether a pointwise step reads a matmul's result straight from PSUM."""
        return drained_matmul(self.segment, position) is not None

    def _step(self, position: int, step: Step, impl: Impl, ranges: Ranges) -> None:
        if step.kind == "hbm_copy":
            hbm_copy(self.b, self.hbm, step)
            return
        if step in self.summed:
            target, coords = self.summed.pop(step)
            self._store(step, impl, target, coords, ranges)
            return
        following = position + 1
        drains_into = following < len(self.segment.steps) and self._is_epilogue(following)
        writer = following if drains_into else position
        target, coords = self._target(writer, ranges)
        reader = self._sum_of(position, ranges) if writer == position else None
        if reader is not None:
            self.summed[self.segment.steps[reader]] = self._target(reader, ranges)
        EMIT[step.kind](self, step, impl, target, coords, ranges, writer)
        self._store(self.segment.steps[writer], self.segment.impls[writer], target, coords, ranges)

    def _sum_of(self, position: int, ranges: Ranges) -> int | None:
        """The later step whose sums over rows ScalarE can add up while it makes the rows."""
        segment, step = self.segment, self.segment.steps[position]
        made, axis = step.write, segment.impls[position].partition
        if not is_activation(step) or segment.stream or made.storage.dtype is not DType.F32:
            return None
        free = math.prod(ranges.get(a, full(a)).size for a in made.axes if a != axis)
        if axis is None or free > SUMMED_FREE_MAX or len(made.axes) > MAX_FREE_DIMS:
            return None
        for later in range(position + 1, len(segment.steps)):
            reader, impl = segment.steps[later], segment.impls[later]
            same = [v.coords for v in reader.reads if v.storage is made.storage] == [made.coords]
            sums = reader.kind == "reduce" and reader.op and reader.op.attrs["kind"] == "sum"
            if same and sums and reader.write.axes == (axis,) and impl.partition == axis:
                deep = self.step_depth(later) == self.step_depth(position)
                return later if deep and impl.method == "free" else None
        return None

    def sums_of(self, step: Step) -> tuple[Buffer, Sequence[Coord]] | None:
        """Where the row sums of what a step writes are wanted, if it is to make them."""
        for reader, target in self.summed.items():
            if reader.reads[0].storage is step.write.storage:
                return target
        return None

    def _target(self, position: int, ranges: Ranges) -> tuple[Buffer, Sequence[Coord]]:
        """The buffer that a step writes, and its coords in the step's axes."""
        step, impl = self.segment.steps[position], self.segment.impls[position]
        storage = step.write.storage
        layout = write_layout(step, impl)
        port = self.segment.writes.get((storage, layout.name))
        if port is not None and not port.streamed:
            return self.kept[storage, layout.name], step.write.coords
        if storage in self.local:
            return self.local[storage], step.write.coords
        if port is not None and not step.write.is_whole:
            own = in_view_axes(step.write, layout)
            buffer = self._block(step.write, own, ranges, self._copies())
            return buffer, [Coord(a) for a in buffer.axes]
        buffer = self._block(
            View.of(storage), layout, self._in_storage(step, ranges), self._copies()
        )
        self.local[storage] = buffer
        return buffer, step.write.coords

    def _copies_of(self, view: View) -> int:
        """How many copies of a loaded tile rotate: one of what is loaded once."""
        segment, depth = self.segment, self.depth_of(view.axes)
        if segment.stream and segment.stream.axis in view.axes:
            return segment.buffers
        if depth == 0:
            return 1
        return segment.buffers if depth == len(segment.loops) else segment.outer_copies

    def _copies(self) -> int:
        return self.segment.buffers if self.segment.loops else 1

    def _in_storage(self, step: Step, ranges: Ranges) -> Ranges:
        """Ranges of the written storage's axes; a windowed axis is held whole."""
        found = {}
        for axis, coord in zip(step.write.storage.axes, step.write.coords, strict=True):
            if coord.axis and coord.axis in ranges and coord.start == 0 and coord.step == 1:
                found[axis] = ranges[coord.axis]
        return found

    def _store(
        self, step: Step, impl: Impl, target: Buffer, coords: Sequence[Coord], ranges: Ranges
    ) -> None:
        layout = write_layout(step, impl)
        port = self.segment.writes.get((step.write.storage, layout.name))
        if port is not None and step.write.storage in self.hbm.buffers and self._stored(step):
            store(self.b, self.hbm, step.write, target, coords, ranges)

    def _stored(self, step: Step) -> bool:
        return step.write.storage in self.segment.stored

    def source(self, step: Step, impl: Impl, position: int) -> tuple[Buffer, Sequence[Coord]]:
        """The buffer that holds operand ``position``, and its coords in the step's axes."""
        view = step.reads[position]
        wanted = read_layout(step, impl, position)
        key: Key = (view.storage, view.coords, in_view_axes(view, wanted).name)
        if key in self.blocks:
            buffer = self.blocks[key]
            return buffer, [Coord(a) for a in buffer.axes]
        if view.storage in self.local:
            return self.local[view.storage], view.coords
        return self.kept[view.storage, wanted.name], view.coords
