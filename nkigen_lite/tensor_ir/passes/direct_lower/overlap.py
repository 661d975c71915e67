"""Overlapping the iterations of a segment's innermost loop (software pipelining).

Engines run in order. When a step of one engine waits for a step of another that waits for the first
engine, both are idle in turn. So the steps are cut into stages, and while one stage of an iteration
runs, so does the stage before of the next iteration. With two stages:

    first(0);  for i: first(i + 1), second(i);  second(last)

Where a loop is around that, its next iteration begins while the last stages of the present one
run.

What passes from stage to stage is in buffers with more copies, which rotate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Protocol

from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import Affine
from nkigen_lite.tensor_ir.passes.axes import Axis, Hidden
from nkigen_lite.tensor_ir.passes.axes.tiles import partition_tile
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Buffer,
    Range,
    Ranges,
    for_blocks,
    full,
)
from nkigen_lite.tensor_ir.passes.direct_lower.interleave import PIECES, interleaved
from nkigen_lite.tensor_ir.passes.direct_lower.sums import reducing_step
from nkigen_lite.tensor_ir.passes.schedule import Loop, Segment, drained_matmul


@dataclass(frozen=True, slots=True)
class Ring:
    """A buffer whose copies are those of several iterations.

    Attributes:
        made: the buffer, allocated before the loop, of the size of the largest block.
        block: from the ranges of an iteration, those of the block that it holds then.
        first, last: the stage that fills it, and the last one that reads it.
    """

    made: Buffer
    block: Callable[[Ranges], Ranges]
    first: int
    last: int

    @property
    def root(self) -> Value:
        """All of its copies."""
        return self.made.value

    def at(self, b: Builder, ranges: Ranges, lag: int) -> Buffer:
        """The copy that was filled ``lag`` iterations before the present one."""
        here = self.block(ranges)
        origin = {a: here.get(a, full(a)).start for a in self.made.axes}
        return replace(self.made, value=b.previous(self.root, lag), origin=origin)


class Sweep(Protocol):
    """The iterations of an innermost loop, for any ranges of the loops around it."""

    @property
    def count(self) -> int:
        """How many there are."""

    def at(self, index: Affine, outer: Ranges) -> Ranges:
        """The ranges of one of them."""

    def each(self, first: int, body: Callable[[Affine], None]) -> None:
        """Emit the body for every index from the first on: as a loop if they are alike."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """``count`` blocks of an axis, all of one size."""

    b: Builder
    loop: Loop
    start: Affine
    count: int

    def at(self, index: Affine, outer: Ranges) -> Ranges:
        """See ``Sweep``."""
        block = self.loop.block
        return {**outer, self.loop.axis: Range(self.start + index * block, block)}

    def each(self, first: int, body: Callable[[Affine], None]) -> None:
        """See ``Sweep``."""
        trips = self.count - first
        if trips == 1:
            body(Affine(first))
            return
        name = f"i_{self.loop.axis.name}"
        self.b.fori_loop(name, trips, 1, lambda _, i: body(Affine(first, ((i, 1),))))


@dataclass(frozen=True, slots=True)
class Slot:
    """When a stage runs.

    Attributes:
        stage: its number.
        ended: the first stages that have no iteration left to begin.
        switched: the first stages that are in the next iteration of the loop around already.
    """

    stage: int
    ended: int = 0
    switched: int = 0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The iterations of an innermost loop, at least as many as stages, that overlap.

    ``stage(slot, ranges)`` emits one stage of an iteration; ``before(number, outer)`` what that
    stage needs before its first iteration, outside the loop. With the builder ``mixed``, stages
    that run in one iteration of the loop are emitted in turns.
    """

    sweep: Sweep
    stages: int
    stage: Callable[[Slot, Ranges], None]
    before: Callable[[int, Ranges], None]
    mixed: Builder | None = None

    def run(self, outer: Ranges) -> None:
        """For one iteration of the loop around."""
        self._fill(outer)
        self._steady(outer)
        self._drain(outer)

    def run_through(self, b: Builder, loop: Loop, ranges: Ranges) -> None:
        """For all iterations of the loop around, full blocks and several: the pipeline neither
        drains nor fills between them."""
        whole = ranges.get(loop.axis, full(loop.axis))
        rest = Range(whole.start, whole.size - loop.block)

        def one(inner: Ranges) -> None:
            self._steady(inner)
            start = inner[loop.axis].start + loop.block
            self._switch(inner, {**inner, loop.axis: Range(start, loop.block)})

        self._fill({**ranges, loop.axis: Range(whole.start, loop.block)})
        for_blocks(b, loop.axis, {**ranges, loop.axis: rest}, loop.block, one)
        last = {**ranges, loop.axis: Range(whole.start + rest.size, loop.block)}
        self._steady(last)
        self._drain(last)

    def _run(self, slot: Slot, index: Affine, outer: Ranges) -> None:
        self.stage(slot, self.sweep.at(index, outer))

    def _fill(self, outer: Ranges) -> None:
        for newest in range(self.stages - 1):
            for number in range(newest + 1):
                if number == newest:
                    self.before(number, outer)
                self._run(Slot(number), Affine(newest - number), outer)
        self.before(self.stages - 1, outer)

    def _steady(self, outer: Ranges) -> None:
        def all_stages(newest: Affine) -> None:
            runs = [
                partial(self._run, Slot(number), newest + -number, outer)
                for number in range(self.stages)
            ]
            self._all(runs)

        self.sweep.each(self.stages - 1, all_stages)

    def _all(self, runs: Sequence[Callable[[], None]]) -> None:
        """Emit stages one after the other, or in turns."""
        b, ends = self.mixed, []
        if b is None:
            for run in runs:
                run()
            return
        ops = b.graph.ops
        first = len(ops)
        for run in runs:
            with b.in_pieces(PIECES):
                run()
            ends.append(len(ops))
        ops[first:] = interleaved([ops[a:z] for a, z in pairwise([first, *ends])])

    def _switch(self, old: Ranges, new: Ranges) -> None:
        """As the first iterations of ``new`` begin, the last ones of ``old`` end."""
        for newest in range(self.stages - 1):
            for number in range(self.stages):
                slot, index = Slot(number, switched=newest + 1), newest - number
                if number == newest:
                    self.before(number, new)
                if index >= 0:
                    self._run(slot, Affine(index), new)
                else:
                    self._run(slot, Affine(self.sweep.count + index), old)
        self.before(self.stages - 1, new)

    def _drain(self, outer: Ranges) -> None:
        for ended in range(1, self.stages):
            for number in range(ended, self.stages):
                index = Affine(self.sweep.count - 1 + ended - number)
                self._run(Slot(number, ended), index, outer)


def steps_told(segment: Segment, stage: int | None = None) -> tuple[str, str]:
    """What the steps of a segment, or of one of its stages, make: the last one's result, and a
    sentence of all."""
    cuts = segment.run.cuts
    made = [
        step.write.storage.name
        for position, step in enumerate(segment.steps)
        if stage is None or sum(cut <= 2 * position + 1 for cut in cuts) == stage
    ]
    if stage is None:
        return made[-1], f"Make {', '.join(dict.fromkeys(made))}"
    if not made:  # operands are loaded or turned, for the steps of the stage after
        return steps_told(segment, stage + 1)[0], f"Prepare stage {stage + 2} of {len(cuts) + 1}"
    told = f"Make {', '.join(dict.fromkeys(made))}: stage {stage + 1} of {len(cuts) + 1}"
    return made[-1], told


def cuts_of(segment: Segment) -> list[int]:
    """Where the steps may be cut, in a loop of two trips or more; places count as in
    ``Arrangement.cuts``.

    Never between a matmul and the step that takes its result out of PSUM, nor between a step and
    the reduction that it makes on the way.
    """
    steps = segment.steps
    if segment.stream or not segment.loops:
        return []
    loop = segment.loops[-1]
    if loop.axis.extent < 2 * loop.block:
        return []
    joined: set[int] = set()
    for position in range(1, len(steps)):
        if drained_matmul(segment, position) is not None:
            joined |= {2 * position, 2 * position + 1}
    for position in range(len(steps)):
        reader = reducing_step(segment, position)
        if reader is not None:
            joined |= set(range(2 * position + 2, 2 * reader + 2))
    return [place for place in range(1, 2 * len(steps)) if place not in joined]


MOST_PARTS = 8  # of a loop over rows with hidden columns: each is text of its own
MOST_CHAINED = 32  # where there is but one text of each
MOST_WRITTEN = 16  # where several iterations of the loop around are written out


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a mask, and as ``Hidden.within`` tells, the column up to which it changes
    nothing in any of them and the one up to which some sees."""

    rows: Range
    plain_to: int
    seen_to: int

    def of(self, hidden: Hidden, outer: Ranges) -> Ranges:
        """The ranges of these rows, and of the columns that some of them sees."""
        return {**outer, hidden.rows: self.rows, hidden.cols: Range(Affine(), self.seen_to)}


def row_parts(hidden: Hidden, block: int, most: int = MOST_PARTS) -> Iterator[Part]:
    """Parts of the rows, in whole blocks, up to ``most``."""
    unit = partition_tile(hidden.cols.extent)
    extent = hidden.rows.extent
    blocks = -(-extent // block)
    size = -(-blocks // most) * block
    for start in range(0, extent, size):
        stop = min(extent, start + size)
        yield Part(Range(Affine(start), stop - start), *hidden.within(start, stop, unit))


@dataclass(frozen=True, slots=True)
class Chain:
    """Parts of one block each, as the iterations of a loop: each is text of its own.

    Neighbours are of similar length, and little is left to wait for before the second and after
    the last. With ``around``, so are the iterations of the loop over that axis around it.
    """

    hidden: Hidden
    parts: tuple[Part, ...]
    around: Axis | None = None

    @staticmethod
    def of(hidden: Hidden, block: int) -> Chain | None:
        """All blocks of the rows; None if they are too many."""
        parts = list(row_parts(hidden, block, MOST_CHAINED))
        if any(part.rows.size > block for part in parts):
            return None
        rising = sorted(parts, key=lambda part: part.seen_to)
        return Chain(hidden, (*rising[1::2], *reversed(rising[::2])))

    @property
    def count(self) -> int:
        """See ``Sweep``."""
        return len(self.parts) * (self.around.extent if self.around else 1)

    @property
    def largest(self) -> Ranges:
        """Ranges as large as those of any part."""
        return {
            self.hidden.rows: Range(Affine(), max(part.rows.size for part in self.parts)),
            self.hidden.cols: Range(Affine(), max(part.seen_to for part in self.parts)),
        }

    def at(self, index: Affine, outer: Ranges) -> Ranges:
        """See ``Sweep``."""
        number, part = divmod(index.const, len(self.parts))
        ranges = self.parts[part].of(self.hidden, outer)
        return {**ranges, self.around: Range(Affine(number), 1)} if self.around else ranges

    def each(self, first: int, body: Callable[[Affine], None]) -> None:
        """See ``Sweep``."""
        for index in range(first, self.count):
            body(Affine(index))

    def part(self, ranges: Ranges) -> tuple[int, Part]:
        """The part that ranges belong to, and its number."""
        start = ranges[self.hidden.rows].start
        return next((n, part) for n, part in enumerate(self.parts) if part.rows.start == start)

    def text(self, ranges: Ranges) -> int:
        """The number of the text that ranges belong to."""
        number = ranges[self.around].start.const if self.around else 0
        return number * len(self.parts) + self.part(ranges)[0]
