"""Lowering one segment: its loop nest, loads, steps and stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nkigen_lite.core.dtypes import DType
from nkigen_lite.nki_ir.types import Affine
from nkigen_lite.tensor_ir.passes.axes import Coord, Step, Storage, View
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Buffer,
    Range,
    Ranges,
    for_blocks,
    full,
    new_buffer,
)
from nkigen_lite.tensor_ir.passes.direct_lower.constants import hoist_constants
from nkigen_lite.tensor_ir.passes.direct_lower.engines import once_in_psum, rotate_in_psum
from nkigen_lite.tensor_ir.passes.direct_lower.in_place import taken_over, taken_over_loads
from nkigen_lite.tensor_ir.passes.direct_lower.kinds import EMIT
from nkigen_lite.tensor_ir.passes.direct_lower.matmul import piece_of, roles
from nkigen_lite.tensor_ir.passes.direct_lower.memory import copy_within_hbm, store
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import steps_told
from nkigen_lite.tensor_ir.passes.direct_lower.segment_buffers import Key
from nkigen_lite.tensor_ir.passes.direct_lower.segment_stages import SegmentStages
from nkigen_lite.tensor_ir.passes.direct_lower.staging import load_via
from nkigen_lite.tensor_ir.passes.direct_lower.sums import (
    copy_made_at_once,
    negated_results,
    only_summed,
    reducing_step,
    row_axis,
)
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import (
    can_turn_by_dma,
    convert,
    turn_by_dma,
)
from nkigen_lite.tensor_ir.passes.schedule import (
    Impl,
    Layout,
    Port,
    Segment,
    Via,
    drained_matmul,
    in_view_axes,
    moves_in_hbm,
    read_layout,
    stays_in_psum,
    write_layout,
)


@dataclass(eq=False)
class SegmentLowering(SegmentStages):
    """Emits one segment."""

    def lower(self, segment: Segment) -> None:
        """Emit the whole segment."""
        self.segment = segment
        self.depths = self._depths()
        start = len(self.b.graph.ops)
        self.local.clear()
        self.turned.clear()
        self.blocks.clear()
        self.in_psum = {
            step.write.storage
            for position, step in enumerate(segment.steps)
            if stays_in_psum(segment, position)
        }
        self.negated = negated_results(segment)
        self.over = self._taken_over(segment)
        last, told = steps_told(segment)
        with self.b.grouped(f"{last}_segment", f"{told}."):
            self._nest(0, {})
        once_in_psum(self.texts)
        rotate_in_psum(segment.run.psum_copies, self.b.graph.ops[start:])
        hoist_constants(self.b.graph, start)

    def _taken_over(self, segment: Segment) -> dict[Storage, Storage | Key]:
        """Which results take over which buffers; those that are kept have one of their own."""
        steps, impls = segment.steps, segment.impls
        leaving = {storage for storage, _ in segment.writes}
        kept = {storage for (storage, _), port in segment.writes.items() if not port.streamed}
        loads = taken_over_loads(steps, impls, segment.loops)
        over: dict[Storage, Storage | Key] = {}
        for step, impl in zip(steps, impls, strict=True):
            view = loads.get(step.write.storage)
            if view is not None:
                layout = read_layout(step, impl, step.reads.index(view))
                over[step.write.storage] = view.storage, view.coords, layout.name
        over |= taken_over(steps, impls, leaving)
        return {storage: before for storage, before in over.items() if storage not in kept}

    def _nest(self, depth: int, ranges: Ranges) -> None:
        """Everything that belongs at this depth, then the next loop with what is inside it."""
        before = dict(self.blocks), dict(self.local), dict(self.turned)
        self._loads(depth, ranges, 0 if self._stages_at(depth, ranges) > 1 else None)
        self._steps(depth, ranges)
        if depth < len(self.segment.loops):
            self._loop(depth, ranges)
        self.blocks, self.local, self.turned = before

    def _loads(self, depth: int, ranges: Ranges, first_stage: int | None = None) -> None:
        """What is loaded at this depth; with ``first_stage`` only what a stage of the loop inside
        is the first to read, or a step before that loop: so that what later stages need does not
        stand in the queues before what the first needs."""
        stream = self.segment.stream
        for at, step in enumerate(self.segment.steps):
            impl = self.segment.impls[at]
            if moves_in_hbm(step, impl) or not self._is_here(2 * at):
                continue
            reads_at = self._stage_of(2 * at + 1) if self.step_depth(at) > depth else 0
            if first_stage not in (None, reads_at):
                continue
            for position, view in enumerate(step.reads):
                if stream and stream.axis in view.axes and step is self.streaming_step():
                    continue
                if self.load_depth(view) == depth:
                    with self._at_place(2 * at):
                        is_mask = self.is_mask(view)
                        self.load(step, impl, position, ranges, at if is_mask else None)

    def load(
        self, step: Step, impl: Impl, position: int, ranges: Ranges, at: int | None = None
    ) -> None:
        """Load the present block of an operand, unless it is there; of a mask that the step at
        ``at`` applies, the part that it needs."""
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
            ranges = self.masked_ranges(at, ranges) if at is not None else ranges
            with self._charge(self.charged, (view.storage, wanted.name, "read")):
                self.blocks[key] = buffer = self._empty(view, key, layout, port.via, ranges)
                into = partial(load_via, self.b, self.hbm, view, buffer, port.via)
                if self.segment.run.load_pieces and impl.out and impl.partition and not port.via:
                    axis, size = piece_of(roles(step, impl), buffer)
                    for_blocks(self.b, axis, ranges, size, into)
                else:
                    into(ranges)

    def _empty(
        self, view: View, key: Key, layout: Layout, via: Via | None, ranges: Ranges
    ) -> Buffer:
        """Where the present block of a view is loaded."""
        copies = self._copies_of(view)
        inner = in_view_axes(view, via).partition if isinstance(via, Layout) else None
        held = [view, *self._readings(self._successors(key))]
        last = self._last_stage(held) if self.load_depth(view) == self._innermost else 0
        if self.load_depth(view) == self.held_at:
            buffer = self._held(view, key, layout, ranges, copies, inner)
        elif self.stage is not None and last > self.stage:
            buffer = self._ring(key, view, layout, ranges, last, copies, lambda r: r, inner)
        else:
            buffer = self._block(view, layout, ranges, copies, inner=inner)
        return buffer

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
        if moves_in_hbm(step, impl):
            wanted = read_layout(step, impl, 0)
            with self._charge(self.charged, (step.reads[0].storage, wanted.name, "read")):
                copy_within_hbm(self.b, self.hbm, step)
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
        reader = reducing_step(self.segment, writer)
        if reader is not None and self.step_depth(reader) != self.step_depth(writer):
            reader = None
        if reader is not None and writer == position:
            writer = copy_made_at_once(self.segment, position, reader)
        if writer > position:
            self.narrowed.add(self.segment.steps[writer])
        if reader is not None and not drains_into and self._is_scratch(position):
            target, coords = self._scratch(step, impl, ranges)
        else:
            target, coords = self._target(writer, ranges)
        if reader is not None and not (drains_into and self._reduce_parts(writer, reader, ranges)):
            self.summed[self.segment.steps[reader]] = self._target(reader, ranges)
        EMIT[step.kind](self, step, impl, target, coords, ranges, writer)
        self._store(self.segment.steps[writer], self.segment.impls[writer], target, coords, ranges)

    def _reduce_parts(self, writer: int, reader: int, ranges: Ranges) -> bool:
        """Make room for the reductions of the parts in which the writer takes rows out of PSUM, if
        there are several."""
        axis = row_axis(self.segment, writer)
        size = ranges.get(axis, full(axis)).size if axis else 1
        if axis is None or (size <= self.psum_width and self.spans_at(writer, ranges) is None):
            return False
        made = self.segment.steps[writer].write.storage
        sizes = self.spans_at(writer, ranges) or (size,)
        count = sum(-(-size // self.psum_width) for size in sizes)
        if count == 1:
            return False
        parts = {**ranges, axis: Range(Affine(), count)}
        layout = Layout.on(self.segment.impls[writer - 1].out)
        buffer = new_buffer(self.b, "parts", made.axes, layout, DType.F32, parts, copies=2)
        self.partial[self.segment.steps[reader]] = buffer, axis
        return True

    def _is_scratch(self, position: int) -> bool:
        """Whether nobody reads what a step makes but the sums that it adds up itself."""
        made = self.segment.steps[position].write.storage
        crosses = any(storage is made for storage, _ in self.segment.writes)
        return not crosses and only_summed(self.segment.steps, made)

    def _scratch(self, step: Step, impl: Impl, ranges: Ranges) -> tuple[Buffer, Sequence[Coord]]:
        """A buffer for results that nobody reads: of a narrow type, and the same every time, as
        the engine that writes it is the only one to touch it."""
        storage, layout = step.write.storage, write_layout(step, impl)
        block = self._in_storage(step, ranges)
        name = f"{storage.name}_scratch"
        buffer = new_buffer(self.b, name, storage.axes, layout, DType.BF16, block)
        return buffer, step.write.coords

    def _turn_operands(self, position: int, ranges: Ranges) -> None:
        """Have what was made in the segment in the layouts that the step reads it in."""
        step, impl = self.segment.steps[position], self.segment.impls[position]
        for operand, view in enumerate(step.reads):
            made, wanted = self._made(view.storage), read_layout(step, impl, operand)
            key = view.storage, wanted.name
            if made is None or made.layout.name == wanted.name or key in self.turned:
                continue
            block = self._in_storage(self._maker(view.storage), ranges)
            block = {a: block.get(a, Range(made.origin[a], made.sizes[a])) for a in made.axes}
            whole = View.of(view.storage)
            last = self._stage_of(2 * position + 1)
            if self.stage is not None and last > self.stage:
                own = partial(self._in_storage, self._maker(view.storage))
                target = self._ring(key, whole, wanted, ranges, last, 1, own)
            else:
                target = self._block(whole, wanted, block, self._copies(), "turned")
            self.turned[key] = target
            if self.segment.run.turns_by_dma and can_turn_by_dma(made, target):
                turn_by_dma(self.b, made, target, block)
            else:
                convert(self.b, made, target, block, in_turn=self._taking_turns(2 * position))

    def _maker(self, storage: Storage) -> Step:
        return next(s for s in self.segment.steps if s.write.storage is storage)

    def _made(self, storage: Storage) -> Buffer | None:
        """The buffer of what is made in the segment: that of the present block, or a kept one."""
        for step, impl in zip(self.segment.steps, self.segment.impls, strict=True):
            if step.write.storage is storage and storage not in self.local:
                return self.kept.get((storage, write_layout(step, impl).name))
        return self.local.get(storage)

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
        if isinstance(port.via, Layout):
            layout = in_view_axes(view, port.via)
            name = f"{view.storage.name}_staged"
            block = {a: ranges.get(a, full(a)) for a in view.axes}
            staged = new_buffer(
                self.b, name, view.axes, layout, target.dtype, block, copies=self._copies()
            )
            convert(self.b, target, staged, block)
            target, coords = staged, [Coord(a) for a in view.axes]
        engine = self.segment.run.stores_by
        store(self.b, self.hbm, view, target, coords, ranges, engine=engine)

    def _stored(self, step: Step) -> bool:
        return step.write.storage in self.segment.stored
