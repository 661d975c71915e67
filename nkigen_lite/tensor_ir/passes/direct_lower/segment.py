"""Lowering one segment: its loop nest, loads, steps and stores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.rows.activation import SUMMED_FREE_MAX
from nkigen_lite.nki_ir.types import MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord, Step, Storage, View
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    MAX_FREE_DIMS,
    Buffer,
    Range,
    Ranges,
    Rows,
    for_blocks,
    full,
    new_buffer,
)
from nkigen_lite.tensor_ir.passes.direct_lower.engines import give_to
from nkigen_lite.tensor_ir.passes.direct_lower.kinds import EMIT
from nkigen_lite.tensor_ir.passes.direct_lower.memory import Hbm, hbm_copy, load, store
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import Ring, overlapped
from nkigen_lite.tensor_ir.passes.direct_lower.pointwise import is_activation
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import convert
from nkigen_lite.tensor_ir.passes.schedule import (
    Impl,
    Layout,
    Port,
    Segment,
    drained_matmul,
    in_view_axes,
    read_layout,
    stays_in_psum,
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


C = TypeVar("C")
Side = Literal["read", "write"]
PortKey = tuple[Storage, str, Side]  # a port of a segment: of what, in which layout
Key = tuple[Storage, tuple[Coord, ...], str]  # a streamed block: which window, in which layout
RingKey = Storage | Key | tuple[Storage, str]  # of a result, a block, or a result turned


@dataclass(eq=False)
class SegmentLowering:
    """Emits one segment.

    Args:
        b: the kernel's builder.
        hbm: the HBM buffers.
        kept: buffers of storages kept whole in SBUF, by storage and layout name.

    Attributes:
        charged: ops that bring in or take out what crosses the segment's boundary, with the loops
            around them alone: to the port that they serve.
        steps: ops and the place of the step that they belong to (``Segment.cuts`` says how these
            are counted); of a load, that of its first reader's operands.
    """

    b: Builder
    hbm: Hbm
    kept: dict[tuple[Storage, str], Buffer]
    segment: Segment = field(init=False)
    charged: dict[Op, PortKey] = field(default_factory=dict)
    steps: dict[Op, int] = field(default_factory=dict)
    local: dict[Storage, Buffer] = field(default_factory=dict)
    blocks: dict[Key, Buffer] = field(default_factory=dict)
    turned: dict[tuple[Storage, str], Buffer] = field(default_factory=dict)
    psum: dict[Storage, tuple[Value, Rows]] = field(default_factory=dict)
    summed: dict[Step, tuple[Buffer, Sequence[Coord]]] = field(default_factory=dict)
    narrowed: set[Step] = field(default_factory=set)
    rings: dict[RingKey, Ring] = field(default_factory=dict)
    in_psum: set[Storage] = field(default_factory=set)
    stage: int | None = None

    def lower(self, segment: Segment) -> None:
        """Emit the whole segment."""
        self.segment = segment
        self.local.clear()
        self.turned.clear()
        self.blocks.clear()
        self.in_psum = {
            step.write.storage
            for position, step in enumerate(segment.steps)
            if stays_in_psum(segment, position)
        }
        self._nest(0, {})

    # --- the loop nest ---------------------------------------------------------------------------

    def _nest(self, depth: int, ranges: Ranges) -> None:
        """Everything that belongs at this depth, then the next loop with what is inside it."""
        before = dict(self.blocks), dict(self.local), dict(self.turned)
        self._loads(depth, ranges)
        self._steps(depth, ranges)
        if depth < len(self.segment.loops):
            self._loop(depth, ranges)
        self.blocks, self.local, self.turned = before

    def _loop(self, depth: int, ranges: Ranges) -> None:
        loop = self.segment.loops[depth]
        whole = ranges.get(loop.axis, full(loop.axis))
        inside = depth + 1 == len(self.segment.loops)
        stages = len(self.segment.cuts) + 1
        if inside and stages > 1 and whole.size >= stages * loop.block:
            self.rings.clear()
            overlapped(self.b, loop, ranges, stages, partial(self._stage, depth + 1))
            done = whole.size // loop.block * loop.block
            ranges = {**ranges, loop.axis: Range(whole.start + done, whole.size - done)}
        for_blocks(
            self.b, loop.axis, ranges, loop.block, lambda inner: self._nest(depth + 1, inner)
        )

    def _stage(self, depth: int, stage: int, ranges: Ranges, ended: int) -> None:
        """One stage of an iteration of the innermost loop, with what earlier stages have made."""
        before = dict(self.blocks), dict(self.local), dict(self.turned)
        self.stage = stage
        for key, ring in self.rings.items():
            if ring.first == stage:
                self.b.rotate(ring.root)
            elif ring.first < stage <= ring.last:
                found = ring.at(self.b, ranges, stage - max(ring.first, ended))
                if isinstance(key, Storage):
                    self.local[key] = found
                elif len(key) == 2:
                    self.turned[key] = found
                else:
                    self.blocks[key] = found
        self._loads(depth, ranges)
        self._steps(depth, ranges)
        self.stage = None
        self.blocks, self.local, self.turned = before

    def _stage_of(self, place: int) -> int:
        return sum(cut <= place for cut in self.segment.cuts)

    def _is_here(self, place: int) -> bool:
        """Whether a place among the steps is in the stage that is being emitted."""
        return self.stage is None or self._stage_of(place) == self.stage

    def _last_stage(self, views: Sequence[View]) -> int:
        """The last stage with a step that uses any of these readings; 0 outside of stages."""
        if self.stage is None:
            return 0
        steps = enumerate(self.segment.steps)
        used = [at for at, step in steps if any(v in views for v in step.reads)]
        return self._stage_of(2 * max(used, default=-1) + 1)

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
        for at, step in enumerate(self.segment.steps):
            impl = self.segment.impls[at]
            if step.kind == "hbm_copy" or not self._is_here(2 * at):
                continue
            for position, view in enumerate(step.reads):
                if stream and stream.axis in view.axes and step is self.streaming_step():
                    continue
                if self.depth_of(view.axes) == depth:
                    with self._at_place(2 * at):
                        self.load(step, impl, position, ranges)

    def load(self, step: Step, impl: Impl, position: int, ranges: Ranges) -> None:
        view = step.reads[position]
        if view.storage.kind == "constant":
            return
        wanted = read_layout(step, impl, position)
        port = self.segment.reads.get((view.storage, wanted.name))
        if port is None or not port.streamed:
            return
        layout = in_view_axes(view, wanted)
        key: Key = (view.storage, view.coords, layout.name)
        if key not in self.blocks:
            with self._charge(self.charged, (view.storage, wanted.name, "read")):
                self.blocks[key] = self._loaded(view, key, layout, port.via, ranges)

    @contextmanager
    def _at_place(self, place: int) -> Iterator[None]:
        """What is emitted meanwhile belongs to a place among the steps."""
        graph = self.b.graph
        before = len(graph.ops)
        with self._charge(self.steps, place):
            yield
        engine = self.segment.engines[place] if self.segment.engines else None
        if engine is not None:
            give_to(engine, graph.ops[before:])

    @contextmanager
    def _charge(self, charged: dict[Op, C], owner: C) -> Iterator[None]:
        """Charge what is emitted meanwhile to ``owner``."""
        graph = self.b.graph
        before = len(graph.ops)
        yield
        for op in graph.ops[before:]:
            charged.setdefault(op, owner)

    def _loaded(
        self, view: View, key: Key, layout: Layout, via: Layout | None, ranges: Ranges
    ) -> Buffer:
        """The present block of a view, loaded."""
        copies = self._copies_of(view)
        last = self._last_stage([view]) if self.depth_of(view.axes) == self._innermost else 0
        if self.stage is not None and last > self.stage:
            buffer = self._ring(key, view, layout, ranges, last, copies, lambda r: r)
        else:
            buffer = self._block(view, layout, ranges, copies)
        coords = [Coord(a) for a in buffer.axes]
        if via is None:
            load(self.b, self.hbm, view, buffer, coords, ranges)
        else:
            load_via(self.b, self.hbm, view, buffer, via, ranges)
        return buffer

    def _ring(
        self,
        key: RingKey,
        view: View,
        layout: Layout,
        ranges: Ranges,
        last: int,
        copies: int,
        block: Callable[[Ranges], Ranges],
    ) -> Buffer:
        """A block that stages up to ``last`` use in later iterations, in a buffer made before the
        loop with ``copies`` for its own stage and one for each later one."""
        if key not in self.rings:
            assert self.stage is not None
            suffix = "turned" if isinstance(key, tuple) and len(key) == 2 else "tile"
            count = copies + last - self.stage
            made = self._block(view, layout, block(ranges), count, suffix)
            self.rings[key] = Ring(made.value, view.axes, layout, block, self.stage, last)
        return self.rings[key].at(self.b, ranges, 0)

    @property
    def _innermost(self) -> int:
        return len(self.segment.loops)

    def _block(
        self, view: View, layout: Layout, ranges: Ranges, copies: int, suffix: str = "tile"
    ) -> Buffer:
        """A buffer for the present block of a view: in SBUF, but for results that stay in PSUM."""
        storage = view.storage
        name, kind, memory = f"{storage.name}_{suffix}", storage.dtype, MemorySpace.SBUF
        if storage in self.in_psum:
            kind, memory = DType.F32, MemorySpace.PSUM
        return new_buffer(
            self.b, name, view.axes, layout, kind, ranges, memory=memory, copies=copies
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
            if self.step_depth(position) != depth:
                continue
            if self._is_here(2 * position):
                with self._at_place(2 * position):
                    self._turn_operands(position, ranges)
            if self._is_here(2 * position + 1) and not self._is_epilogue(position):
                with self._at_place(2 * position + 1):
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
        if step in self.narrowed:
            return
        following = position + 1
        drains_into = following < len(self.segment.steps) and self._is_epilogue(following)
        writer = following if drains_into else position
        reader = self._sum_of(position, ranges) if writer == position else None
        if reader is not None:
            writer = self._copy_of(position, reader)
        target, coords = self._target(writer, ranges)
        if reader is not None:
            self.summed[self.segment.steps[reader]] = self._target(reader, ranges)
        EMIT[step.kind](self, step, impl, target, coords, ranges, writer)
        self._store(self.segment.steps[writer], self.segment.impls[writer], target, coords, ranges)

    def _turn_operands(self, position: int, ranges: Ranges) -> None:
        """Have what was made in the segment in the layouts that the step reads it in."""
        step, impl = self.segment.steps[position], self.segment.impls[position]
        for operand, view in enumerate(step.reads):
            made, wanted = self.local.get(view.storage), read_layout(step, impl, operand)
            key = view.storage, wanted.name
            if made is None or made.layout.name == wanted.name or key in self.turned:
                continue
            block = {a: Range(made.origin[a], made.sizes[a]) for a in made.axes}
            whole = View.of(view.storage)
            last = self._stage_of(2 * position + 1)
            if self.stage is not None and last > self.stage:
                maker = next(s for s in self.segment.steps if s.write.storage is view.storage)
                own = partial(self._in_storage, maker)
                target = self._ring(key, whole, wanted, ranges, last, 1, own)
            else:
                target = self._block(whole, wanted, block, self._copies(), "turned")
            self.turned[key] = target
            convert(self.b, made, target, block)

    def _sum_of(self, position: int, ranges: Ranges) -> int | None:
        """The later step whose sums over rows ScalarE can add up while it makes the rows."""
        segment, step = self.segment, self.segment.steps[position]
        made, axis = step.write, segment.impls[position].partition
        if not is_activation(step) or segment.stream or made.storage.dtype is not DType.F32:
            return None
        long = [a for a in made.axes if a == axis or ranges.get(a, full(a)).size > 1]
        free = math.prod(ranges.get(a, full(a)).size for a in long if a != axis)
        if axis is None or free > SUMMED_FREE_MAX or len(long) > MAX_FREE_DIMS:
            return None
        for later in range(position + 1, len(segment.steps)):
            reader, impl = segment.steps[later], segment.impls[later]
            same = [v.coords for v in reader.reads if v.storage is made.storage] == [made.coords]
            sums = reader.kind == "reduce" and reader.op and reader.op.attrs["kind"] == "sum"
            alone = not set(reader.write.axes) & set(long) - {axis}
            if same and sums and alone and impl.partition == axis:
                deep = self.step_depth(later) == self.step_depth(position)
                return later if deep and impl.method == "free" else None
        return None

    def _copy_of(self, position: int, reader: int) -> int:
        """The copy to another type that an activation may make at once, as nobody but that copy and
        the sums at ``reader`` needs its result as it is; else the activation itself."""
        steps, made = self.segment.steps, self.segment.steps[position].write
        readers = [
            at for at, s in enumerate(steps) if any(v.storage is made.storage for v in s.reads)
        ]
        crosses = any(storage is made.storage for storage, _ in self.segment.writes)
        copies = [at for at in readers if at != reader]
        if crosses or len(copies) != 1:
            return position
        copy = steps[copies[0]]
        plain = copy.kind == "copy" and copy.write.is_whole and copy.reads[0].is_whole
        same = self.segment.impls[copies[0]] == self.segment.impls[position]
        if not (plain and same and copy.write.storage.dtype.is_float):
            return position
        self.narrowed.add(copy)
        return copies[0]

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
        key: PortKey = (storage, layout.name, "write")
        with self._charge(self.charged, key) if port is not None else nullcontext():
            return self._new_target(step, layout, ranges, alone=port is not None)

    def _new_target(
        self, step: Step, layout: Layout, ranges: Ranges, *, alone: bool
    ) -> tuple[Buffer, Sequence[Coord]]:
        """A buffer for what a step writes; for its window alone, if that is a window that leaves
        the segment."""
        storage = step.write.storage
        if alone and not step.write.is_whole:
            view_layout = in_view_axes(step.write, layout)
            buffer = self._block(step.write, view_layout, ranges, self._copies())
            return buffer, [Coord(a) for a in buffer.axes]
        readings = [v for s in self.segment.steps for v in s.reads if v.storage is storage]
        last = self._last_stage(readings)
        if self.stage is not None and last > self.stage:
            own = partial(self._in_storage, step)
            buffer = self._ring(storage, View.of(storage), layout, ranges, last, 1, own)
        else:
            block = self._in_storage(step, ranges)
            buffer = self._block(View.of(storage), layout, block, self._copies())
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
            with self._charge(self.charged, (step.write.storage, layout.name, "write")):
                self._store_block(step.write, port, target, coords, ranges)

    def _store_block(
        self, view: View, port: Port, target: Buffer, coords: Sequence[Coord], ranges: Ranges
    ) -> None:
        """Store the present block, transposed on chip before if its port says so."""
        if port.via is not None:
            layout = in_view_axes(view, port.via)
            name = f"{view.storage.name}_staged"
            block = {a: ranges.get(a, full(a)) for a in view.axes}
            staged = new_buffer(
                self.b, name, view.axes, layout, target.dtype, block, copies=self._copies()
            )
            convert(self.b, target, staged, block)
            target, coords = staged, [Coord(a) for a in view.axes]
        store(self.b, self.hbm, view, target, coords, ranges)

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
        if (view.storage, wanted.name) in self.turned:
            return self.turned[view.storage, wanted.name], view.coords
        if view.storage in self.local:
            return self.local[view.storage], view.coords
        return self.kept[view.storage, wanted.name], view.coords
