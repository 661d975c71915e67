"""The loops of a segment that is being lowered, and the stages in which iterations overlap."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from nkigen_lite.core.ir import Op
from nkigen_lite.nki_ir.types import Affine
from nkigen_lite.tensor_ir.passes.axes import Axis, Storage, View
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Buffer,
    Range,
    Ranges,
    for_blocks,
    full,
)
from nkigen_lite.tensor_ir.passes.direct_lower.masks_in_psum import can_add_mask, diagonal_for
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import (
    MOST_WRITTEN,
    Blocks,
    Chain,
    Pipeline,
    Ring,
    Slot,
    Sweep,
    row_parts,
    steps_told,
)
from nkigen_lite.tensor_ir.passes.direct_lower.segment_buffers import Key, SegmentBuffers
from nkigen_lite.tensor_ir.passes.direct_lower.staging import load_via
from nkigen_lite.tensor_ir.passes.schedule import (
    Layout,
    free_elements,
    in_view_axes,
    read_layout,
)

_HOISTED_BYTES = 16384  # per partition, of what is loaded earlier than it has to be
_REPEATS = 4
"""Iterations around a long chain from which on its pipeline runs on from one to the next."""


@dataclass(eq=False)
class SegmentStages(SegmentBuffers):
    """Emits the loops of one segment; what is in them is left to ``_loads``, ``_steps`` and
    ``_nest``.

    Attributes:
        masks: of parts of masked rows, by their numbers, what is loaded of the mask once for all
            iterations of the loop around.
        hoisted: what is loaded for all parts at once.
        held: what is loaded at the depth ``held_at``, between two loops, while the pipeline of the
            inner one runs on from one iteration of the outer one to the next.
        texts: ops of which there is one text for each part of some masked rows, by its number.
    """

    masks: dict[int, tuple[Key, Buffer]] = field(default_factory=dict)
    hoisted: set[View] = field(default_factory=set)
    held: dict[Key, Ring] = field(default_factory=dict)
    held_at: int | None = None
    texts: dict[Op, int] = field(default_factory=dict)

    def _loads(self, depth: int, ranges: Ranges, first_stage: int | None = None) -> None:
        raise NotImplementedError

    def _steps(self, depth: int, ranges: Ranges) -> None:
        raise NotImplementedError

    def _nest(self, depth: int, ranges: Ranges) -> None:
        raise NotImplementedError

    def _loop(self, depth: int, ranges: Ranges) -> None:
        """The loop at a depth; over rows of which a mask hides some columns, in parts that leave
        them out."""
        hidden, loop = self.segment.hidden, self.segment.loops[depth]
        if hidden is None or loop.axis != hidden.rows:
            self._iterate(depth, {**ranges, **self._sample(depth)}, ranges)
            return
        chain = self._chain(depth)
        if chain is not None and self._stages_at(depth, ranges) > 1:
            self._pipeline(depth, chain).run(ranges)
        else:
            parts = chain.parts if chain else tuple(row_parts(hidden, loop.block))
            for number, part in enumerate(parts[-1:] if self._sample(depth) else parts):
                last, told = steps_told(self.segment)
                group = self.b.grouped(f"{last}_rows", f"{told}: rows that see as many columns.")
                with self._charge(self.texts, number), group:
                    self.plain_to = part.plain_to
                    self._iterate(depth, part.of(hidden, ranges), ranges)
        self.plain_to = None

    def _chain(self, depth: int) -> Chain | None:
        """The blocks of the innermost loop, if a mask hides some columns of its rows and each can
        be text of its own."""
        hidden, loop = self.segment.hidden, self.segment.loops[depth]
        innermost = depth + 1 == len(self.segment.loops)
        if hidden is None or loop.axis != hidden.rows or not innermost:
            return None
        return Chain.of(hidden, loop.block)

    def _joined_chain(self, depth: int) -> Chain | None:
        """The blocks of the two loops inside that at a depth as one chain, if they are few and all
        is loaded outside both or inside both."""
        loops = self.segment.loops
        if depth + 3 != len(loops) or loops[depth + 1].block != 1:
            return None
        chain, around = self._chain(depth + 2), loops[depth + 1].axis
        if chain is None or chain.count * around.extent > MOST_WRITTEN:
            return None
        views = (view for step in self.segment.steps for view in step.reads)
        made = {step.write.storage for step in self.segment.steps}
        between = any(
            self.depth_of(v.axes) == depth + 2 for v in views if v.storage not in made
        ) or any(self.step_depth(at) == depth + 2 for at in range(len(self.segment.steps)))
        return None if between else replace(chain, around=around)

    def _sample(self, depth: int) -> Ranges:
        """The range of the outermost loop, if only a part of it is wanted."""
        loop, blocks = self.segment.loops[depth], self.segment.sampled
        return {loop.axis: Range(Affine(), blocks * loop.block)} if blocks and not depth else {}

    def _iterate(self, depth: int, ranges: Ranges, outer: Ranges) -> None:
        """A loop over the ranges; what is loaded before it has those of outside."""
        loop = self.segment.loops[depth]
        whole = ranges.get(loop.axis, full(loop.axis))
        joined = self._joined_chain(depth)
        inner = depth + 1 if joined is None else depth + 2
        if self._runs_through(depth, inner, ranges):
            self._loads(depth, outer)
            self.held_at = depth + 1
            sweep = joined or self._sweep(inner, ranges)
            if isinstance(sweep, Chain):
                self._hoist(sweep, ranges)
            self._pipeline(inner, sweep).run_through(self.b, loop, ranges)
            self.held_at = self.plain_to = self.diagonal = None
            self.masks.clear()
            self.hoisted.clear()
            return
        if self._stages_at(depth, ranges) > 1:
            sweep = self._sweep(depth, ranges)
            self._pipeline(depth, sweep).run(outer)
            done = sweep.count * loop.block
            ranges = {**ranges, loop.axis: Range(whole.start + done, whole.size - done)}
        else:
            self._loads(depth, outer)
        last, told = steps_told(self.segment)
        repeats = 1 <= whole.size / loop.block != whole.size // loop.block

        def block(inner: Ranges) -> None:
            group = self.b.grouped(f"{last}_block", f"{told}: one block.")
            with group if repeats else nullcontext():
                self._nest(depth + 1, inner)

        for_blocks(self.b, loop.axis, ranges, loop.block, block)

    def _hoist(self, chain: Chain, ranges: Ranges) -> None:
        """Load what parts of masked rows need of their mask before the loop around them, and note
        what else comes in one load for all of them, as far as it takes few bytes."""
        hidden = chain.hidden
        segment = self.segment
        for at, (step, impl) in enumerate(zip(segment.steps, segment.impls, strict=True)):
            for position, view in enumerate(step.reads):
                wanted = read_layout(step, impl, position)
                port = segment.reads.get((view.storage, wanted.name))
                if port is None or not port.streamed or hidden.rows not in view.axes:
                    continue
                layout = in_view_axes(view, wanted)
                if view.axes == (hidden.rows, hidden.cols):
                    self._load_masks(chain, at, view, wanted, ranges)
                    if self.masks and can_add_mask(segment, at, view):
                        self.diagonal = diagonal_for(self.b, segment, at, view)
                elif layout.partition not in (None, hidden.rows):
                    whole = {a: ranges.get(a, full(a)).size for a in view.axes}
                    free = free_elements(view.axes, layout, whole)
                    if free * view.storage.dtype.itemsize <= _HOISTED_BYTES:
                        self.hoisted.add(view)

    def _load_masks(
        self, chain: Chain, at: int, view: View, wanted: Layout, ranges: Ranges
    ) -> None:
        """The mask of each part, as the step at a place reads it."""
        layout, port = in_view_axes(view, wanted), self.segment.reads[view.storage, wanted.name]
        whole = 0
        for part in chain.parts:
            self.plain_to = part.plain_to
            inner = self.masked_ranges(at, part.of(chain.hidden, ranges))
            sizes = {a: inner.get(a, full(a)).size for a in view.axes}
            whole += free_elements(view.axes, layout, sizes) * view.storage.dtype.itemsize
        if whole > _HOISTED_BYTES:
            return
        for number, part in enumerate(chain.parts):
            self.plain_to = part.plain_to
            inner = self.masked_ranges(at, part.of(chain.hidden, ranges))
            charged = self._charge(self.charged, (view.storage, wanted.name, "read"))
            with charged, self._at_place(2 * at):
                buffer, ops = self._block(view, layout, inner, 1), self.b.graph.ops
                before = len(ops)
                load_via(self.b, self.hbm, view, buffer, port.via, inner)
            for op in ops[before:]:
                if op.opcode == "dma_copy":
                    op.attrs["engine"] = "gpsimd"  # Sync has loads to trigger that are in a hurry
            self.masks[number] = (view.storage, view.coords, layout.name), buffer

    def load_depth(self, view: View) -> int:
        """The depth at which the blocks of something are loaded."""
        if self.held_at is not None and view in self.hoisted:
            return self.held_at
        return self.depth_of(view.axes)

    def _runs_through(self, depth: int, inner_depth: int, ranges: Ranges) -> bool:
        """Whether the pipeline of the innermost loop runs on through the loop around it, at this
        depth: there are several iterations, all alike, and nothing to do between the two. Long
        chains are written out twice for that: not if their pipeline drains few times otherwise."""
        loops = self.segment.loops
        if inner_depth + 1 != len(loops) or self._stages_at(inner_depth, ranges) == 1:
            return False
        blocks = ranges.get(loops[depth].axis, full(loops[depth].axis)).size, loops[depth].block
        inner = loops[-1].axis.extent, loops[-1].block
        chain = self._chain(inner_depth)
        if chain and chain.count > MOST_WRITTEN // 2 and blocks[0] < _REPEATS * blocks[1]:
            return False
        whole = chain is not None or inner[0] % inner[1] == 0
        between = any(self.step_depth(at) == depth + 1 for at in range(len(self.segment.steps)))
        return whole and not between and blocks[0] % blocks[1] == 0 and blocks[0] > blocks[1]

    def _sweep(self, depth: int, ranges: Ranges) -> Sweep:
        """The full blocks of the innermost loop, or all of it as parts of masked rows."""
        chain, loop = self._chain(depth), self.segment.loops[depth]
        if chain is not None:
            return chain
        whole = ranges.get(loop.axis, full(loop.axis))
        return Blocks(self.b, loop, whole.start, whole.size // loop.block)

    def _stages_at(self, depth: int, ranges: Ranges) -> int:
        """How many stages the loop at this depth has; 1 if its iterations do not overlap."""
        stages = len(self.segment.run.cuts) + 1
        if depth + 1 != len(self.segment.loops):
            return 1
        return stages if self._sweep(depth, ranges).count >= stages else 1

    def _pipeline(self, depth: int, sweep: Sweep) -> Pipeline:
        """The stages of the innermost loop, at this depth."""
        self.rings.clear()
        self.held.clear()
        chain = sweep if isinstance(sweep, Chain) else None
        self.largest = chain.largest if chain else {}

        def stage(slot: Slot, ranges: Ranges) -> None:
            if chain is None:
                self._stage(depth + 1, slot, ranges)
                return
            number, part = chain.part(ranges)
            with self._charge(self.texts, chain.text(ranges)):
                self.plain_to = part.plain_to
                if number in self.masks:
                    key, mask = self.masks[number]
                    self.blocks[key] = mask
                self._stage(depth + 1, slot, ranges)

        stages = len(self.segment.run.cuts) + 1
        mixed = self.b if self.segment.run.interleaved else None
        loaded_at = depth if self.held_at is None else self.held_at
        return Pipeline(sweep, stages, stage, partial(self._before_stage, loaded_at), mixed)

    def _before_stage(self, depth: int, stage: int, outer: Ranges) -> None:
        """What a stage of the innermost loop needs before its first iteration."""
        for key, ring in self.held.items():
            if ring.first == stage:
                self.blocks.pop(key, None)
        self._loads(depth, outer, stage)

    def _stage(self, depth: int, slot: Slot, ranges: Ranges) -> None:
        """One stage of an iteration of the innermost loop, with what earlier stages have made."""
        before = dict(self.blocks), dict(self.local), dict(self.turned)
        self.stage = stage = slot.stage
        for held, ring in self.held.items():
            if ring.first <= stage <= ring.last:
                behind = ring.first < slot.switched <= stage
                self.blocks[held] = ring.at(self.b, ranges, int(behind))
        for key, ring in self.rings.items():
            if ring.first == stage:
                self.b.rotate(ring.root)
            elif ring.first < stage <= ring.last:
                found = ring.at(self.b, ranges, stage - max(ring.first, slot.ended))
                if isinstance(key, Storage):
                    self.local[key] = found
                    self._hand_over(key, found)
                elif len(key) == 2:
                    self.turned[key] = found
                else:
                    self.blocks[key] = found
                    self._hand_over(key, found)
        last, told = steps_told(self.segment, stage)
        with self.b.grouped(f"{last}_stage", f"{told}."):
            self._loads(depth, ranges)
            self._steps(depth, ranges)
        self.stage = None
        self.blocks, self.local, self.turned = before

    def _held(
        self,
        view: View,
        key: Key,
        layout: Layout,
        ranges: Ranges,
        copies: int,
        inner: Axis | None = None,
    ) -> Buffer:
        """Where the next block of something is loaded that the whole inner loop reads: stages that
        are still in the iteration before read the block before."""
        ring = self.held.get(key)
        if ring is None:
            at = [n for n, step in enumerate(self.segment.steps) if view in step.reads]
            first, last = (self._stage_of(2 * n + 1) for n in (min(at), max(at)))
            made = self._block(view, layout, ranges, copies + (last > first), inner=inner)
            own = partial(self._around, {loop.axis for loop in self.segment.loops[self.held_at :]})
            ring = Ring(made, own, first, last)
            self.held[key] = ring
        elif copies > 1 or ring.last > ring.first:
            self.b.rotate(ring.root)
        return ring.at(self.b, ranges, 0)

    def _around(self, inner: set[Axis], ranges: Ranges) -> Ranges:
        """The ranges outside of loops over some axes."""
        inside = {*inner, self.segment.hidden.cols} if self.segment.hidden else inner
        return {axis: block for axis, block in ranges.items() if axis not in inside}
