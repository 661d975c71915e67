"""The buffers of a segment that is being lowered: blocks, results, and rings of their copies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import Affine, MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord, Step, Storage, View
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Buffer,
    Range,
    Ranges,
    Rows,
    full,
    new_buffer,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.direct_lower.engines import give_to
from nkigen_lite.tensor_ir.passes.direct_lower.matmul import MOVING_MAX
from nkigen_lite.tensor_ir.passes.direct_lower.memory import Hbm
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import Ring
from nkigen_lite.tensor_ir.passes.direct_lower.sums import unmasked
from nkigen_lite.tensor_ir.passes.schedule import (
    IN_TURN,
    Impl,
    Layout,
    Segment,
    in_view_axes,
    read_layout,
    write_layout,
)

C = TypeVar("C")
Side = Literal["read", "write"]
PortKey = tuple[Storage, str, Side]  # a port of a segment: of what, in which layout
Key = tuple[Storage, tuple[Coord, ...], str]  # a streamed block: which window, in which layout
RingKey = Storage | Key | tuple[Storage, str]  # of a result, a block, or a result turned


@dataclass(eq=False)
class SegmentBuffers:
    """What a segment's emission holds at the moment: buffers by what is in them.

    Args:
        b: the kernel's builder.
        hbm: the HBM buffers.
        kept: buffers of storages kept whole in SBUF, by storage and layout name.

    Attributes:
        depths: of the steps, see ``step_depth``.
        plain_to: in a loop over rows of which a mask hides some columns, up to where it changes
            nothing.
        part_base: the first column of those that are taken out of PSUM at present, and how many
            parts there were before.
        diagonal: a tile whose product with a part of a mask is that part as it is wanted in PSUM,
            added to scores there; None where masks are applied to what is taken out.
        largest: of blocks that share rings, the ranges of the largest.
        charged: ops that bring in or take out what crosses the segment's boundary, with the loops
            around them alone: to the port that they serve.
        steps: ops and the place of the step that they belong to, counted as in
            ``Arrangement.cuts``; of a load, that of its first reader's operands.
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
    partial: dict[Step, tuple[Buffer, Axis]] = field(default_factory=dict)
    narrowed: set[Step] = field(default_factory=set)
    rings: dict[RingKey, Ring] = field(default_factory=dict)
    in_psum: set[Storage] = field(default_factory=set)
    negated: set[Storage] = field(default_factory=set)
    over: dict[Storage, Storage | Key] = field(default_factory=dict)
    stage: int | None = None
    depths: list[int] = field(default_factory=list)
    plain_to: int | None = None
    part_base: tuple[int, int] = (0, 0)
    diagonal: Value | None = None
    largest: Ranges = field(default_factory=dict)

    def is_mask(self, view: View) -> bool:
        """Whether a reading is that of a mask which hides some columns of the present rows."""
        hidden = self.segment.hidden
        if self.plain_to is None or hidden is None:
            return False
        return view.storage.axes == (hidden.rows, hidden.cols)

    def split_at(self, position: int, ranges: Ranges) -> tuple[int, int] | None:
        """For a masking step that takes scores out of PSUM: of how many columns the mask changes
        nothing, and of how many it may."""
        hidden = self.segment.hidden
        if self.plain_to is None or hidden is None or unmasked(self.segment, position) is None:
            return None
        return self.plain_to, ranges.get(hidden.cols, full(hidden.cols)).size - self.plain_to

    def spans_at(self, position: int, ranges: Ranges) -> tuple[int, int] | None:
        """The columns of the two spans in which such a step takes scores out of PSUM: as
        ``split_at`` says, or where their mask is added in PSUM, the second as wide as possible."""
        split = self.split_at(position, ranges)
        if split is None or self.diagonal is None:
            return split
        last = min(sum(split), self.psum_width)
        return sum(split) - last, last

    def masked_ranges(self, position: int, ranges: Ranges) -> Ranges:
        """The ranges in which a masking step needs its mask."""
        split = self.split_at(position, ranges)
        if split is None or self.segment.hidden is None:
            return ranges
        return {**ranges, self.segment.hidden.cols: Range(Affine(split[0]), split[1])}

    def depth_of(self, axes: Sequence[Axis]) -> int:
        """The depth at which something over these axes is done: inside the loops it depends on."""
        loops = self.segment.loops
        return max((i + 1 for i, loop in enumerate(loops) if loop.axis in axes), default=0)

    def load_depth(self, view: View) -> int:
        """The depth at which the blocks of something are loaded."""
        return self.depth_of(view.axes)

    def step_depth(self, position: int) -> int:
        """A step's depth: that of its axes, and no less than what it reads inside."""
        return self.depths[position]

    def _depths(self) -> list[int]:
        made: dict[Storage, int] = {}
        depths = []
        for step in self.segment.steps:
            inner = (made[v.storage] for v in step.reads if v.storage in made)
            depths.append(max([self.depth_of(step.axes), *inner]))
            made[step.write.storage] = depths[-1]
        return depths

    def _stage_of(self, place: int) -> int:
        return sum(cut <= place for cut in self.segment.run.cuts)

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

    @property
    def _innermost(self) -> int:
        return len(self.segment.loops)

    @contextmanager
    def _charge(self, charged: dict[Op, C], owner: C) -> Iterator[None]:
        """Charge what is emitted meanwhile to ``owner``."""
        graph = self.b.graph
        before = len(graph.ops)
        yield
        for op in graph.ops[before:]:
            charged.setdefault(op, owner)

    @contextmanager
    def _at_place(self, place: int) -> Iterator[None]:
        """What is emitted meanwhile belongs to a place among the steps."""
        graph = self.b.graph
        before = len(graph.ops)
        with self._charge(self.steps, place):
            yield
        engine = self.segment.run.engines[place] if self.segment.run.engines else None
        if engine is not None:
            give_to(engine, graph.ops[before:])

    def _taking_turns(self, place: int) -> int:
        """How many engines run a place's instructions in turn."""
        engines = self.segment.run.engines
        return 2 if engines and engines[place] == IN_TURN else 1

    def _ring(
        self,
        key: RingKey,
        view: View,
        layout: Layout,
        ranges: Ranges,
        last: int,
        copies: int,
        block: Callable[[Ranges], Ranges],
        inner: Axis | None = None,
    ) -> Buffer:
        """A block that stages up to ``last`` use in later iterations, in a buffer made before the
        loop with ``copies`` for its own stage and one for each later one."""
        if key not in self.rings:
            assert self.stage is not None
            suffix = "turned" if isinstance(key, tuple) and len(key) == 2 else "tile"
            count = copies + last - self.stage
            largest = block({**ranges, **self.largest})
            made = self._block(view, layout, largest, count, suffix, inner)
            self.rings[key] = Ring(made, block, self.stage, last)
        return self.rings[key].at(self.b, ranges, 0)

    def _block(
        self,
        view: View,
        layout: Layout,
        ranges: Ranges,
        copies: int,
        suffix: str = "tile",
        inner: Axis | None = None,
    ) -> Buffer:
        """A buffer for the present block of a view: in SBUF, but for results that stay in PSUM;
        ``inner`` is the axis along which it is filled."""
        storage = view.storage
        name, kind, memory = f"{storage.name}_{suffix}", storage.dtype, MemorySpace.SBUF
        if storage in self.in_psum:
            kind, memory = DType.F32, MemorySpace.PSUM
        return new_buffer(
            self.b, name, view.axes, layout, kind, ranges, memory=memory, copies=copies, inner=inner
        )

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
        the segment and that nothing inside reads."""
        storage = step.write.storage
        before = self._before(storage)
        if before is not None and before.value.type.memory is MemorySpace.SBUF:
            self.local[storage] = before
            return before, step.write.coords
        if alone and not step.write.is_whole and not self._readings([storage]):
            view_layout = in_view_axes(step.write, layout)
            buffer = self._block(step.write, view_layout, ranges, self._copies())
            return buffer, [Coord(a) for a in buffer.axes]
        held = {storage, *self._successors(storage)}
        readings = self._readings(held)
        last = self._last_stage(readings)
        if self.stage is not None and last > self.stage:
            own = partial(self._in_storage, step)
            # One more where it is stored: that takes until after its last stage.
            copies = 2 if any(made in held for made, _ in self.segment.writes) else 1
            buffer = self._ring(storage, View.of(storage), layout, ranges, last, copies, own)
        else:
            block = self._in_storage(step, ranges)
            buffer = self._block(View.of(storage), layout, block, self._copies())
        self.local[storage] = buffer
        return buffer, step.write.coords

    def _before(self, storage: Storage) -> Buffer | None:
        """The buffer that a result takes over, if there is one."""
        over = self.over.get(storage)
        if over is None:
            return None
        return self.local.get(over) if isinstance(over, Storage) else self.blocks.get(over)

    def _successors(self, held: RingKey) -> list[Storage]:
        """What takes over the buffer of a result or of a loaded block, one after the other."""
        found: list[Storage] = []
        for after, before in self.over.items():
            if before == held or before in found:
                found.append(after)
        return found

    def _hand_over(self, held: RingKey, buffer: Buffer) -> None:
        """Note a buffer as that of all that takes it over."""
        if buffer.value.type.memory is MemorySpace.SBUF:
            self.local |= dict.fromkeys(self._successors(held), buffer)

    def _readings(self, storages: Collection[Storage]) -> list[View]:
        return [v for s in self.segment.steps for v in s.reads if v.storage in storages]

    def _copies_of(self, view: View) -> int:
        """How many copies of a loaded tile rotate: one of what is loaded once."""
        segment, depth = self.segment, self.load_depth(view)
        if segment.stream and segment.stream.axis in view.axes:
            return segment.run.load_copies
        if depth == 0:
            return 1
        innermost = depth == len(segment.loops)
        return segment.run.load_copies if innermost else segment.outer_copies

    def _copies(self) -> int:
        return self.segment.run.inner_copies if self.segment.loops else 1

    def _in_storage(self, step: Step, ranges: Ranges) -> Ranges:
        """Ranges of the written storage's axes; a windowed axis is held whole."""
        found = {}
        for axis, coord in zip(step.write.storage.axes, step.write.coords, strict=True):
            if coord.axis and coord.axis in ranges and coord.start == 0 and coord.step == 1:
                found[axis] = ranges[coord.axis]
        return found

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

    @property
    def psum_width(self) -> int:
        """Elements of a matmul's result that are taken out of PSUM at once."""
        return MOVING_MAX * self.segment.run.psum_banks

    def reader_of_rows(self, step: Step) -> Step | None:
        """The step whose reduction of what ``step`` writes is made on the way, if there is one."""
        waiting = (*self.summed, *self.partial)
        return next((r for r in waiting if r.reads[0].storage is step.write.storage), None)

    def is_negated(self, reader: Step) -> bool:
        """Whether a reduction that is made on the way is wanted times -1; if it is made in parts,
        what joins them does that."""
        return reader in self.summed and reader.write.storage in self.negated

    def reduced_into(self, reader: Step, rows: Rows, ranges: Ranges) -> Value:
        """Where the reduction of the present part of some rows is wanted."""
        if reader in self.summed:
            return tile_view(self.b, *self.summed[reader], rows, [], ranges)
        buffer, axis = self.partial[reader]
        start, before = self.part_base
        part = (ranges.get(axis, full(axis)).start + -start).divided_by(self.psum_width) + before
        coords = [Coord(a) for a in buffer.axes]
        return tile_view(self.b, buffer, coords, rows, [], {**ranges, axis: Range(part, 1)})

    def streaming_step(self) -> Step | None:
        """The contraction that runs inside the stream loop."""
        stream = self.segment.stream
        if stream is None:
            return None
        return next(s for s in self.segment.steps if stream.axis in s.reduced)
