"""Overlapping the iterations of a segment's innermost loop (software pipelining).

Engines run in order. When a step of one engine waits for a step of another that waits for the first
engine, both are idle in turn. So the steps are cut into stages, and while one stage of an iteration
runs, so does the stage before of the next iteration. With two stages:

    first(0);  for i: first(i + 1), second(i);  second(last)

What passes from stage to stage is in buffers with more copies, which rotate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import Affine
from nkigen_lite.tensor_ir.passes.axes import Axis, Hidden
from nkigen_lite.tensor_ir.passes.axes.tiles import partition_tile
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import Buffer, Range, Ranges, full
from nkigen_lite.tensor_ir.passes.direct_lower.sums import reducing_step
from nkigen_lite.tensor_ir.passes.schedule import Layout, Loop, Segment, drained_matmul


@dataclass(frozen=True, slots=True)
class Ring:
    """A buffer whose copies are those of several iterations.

    Attributes:
        root: the buffer, allocated before the loop.
        axes, layout: what it holds.
        block: from the ranges of an iteration, those of the block that it holds then.
        sizes: per axis, the extent of the largest block.
        first, last: the stage that fills it, and the last one that reads it.
    """

    root: Value
    axes: tuple[Axis, ...]
    layout: Layout
    block: Callable[[Ranges], Ranges]
    sizes: dict[Axis, int]
    first: int
    last: int

    def at(self, b: Builder, ranges: Ranges, lag: int) -> Buffer:
        """The copy that was filled ``lag`` iterations before the present one."""
        here = self.block(ranges)
        origin = {a: here.get(a, full(a)).start for a in self.axes}
        return Buffer(b.previous(self.root, lag), self.axes, self.layout, origin, self.sizes)


def overlapped(
    b: Builder,
    loop: Loop,
    ranges: Ranges,
    stages: int,
    stage: Callable[[int, Ranges, int], None],
    before: Callable[[int], None],
) -> None:
    """Emit the full blocks of a loop, at least as many as stages.

    ``stage(number, ranges, ended)`` emits one stage of an iteration, when the first ``ended``
    stages have no iteration left to begin; ``before(number)`` what a stage needs before its first
    iteration, outside the loop.
    """
    whole = ranges.get(loop.axis, full(loop.axis))
    trips = whole.size // loop.block

    def run(number: int, index: Affine, ended: int = 0) -> None:
        at = Range(whole.start + index, loop.block)
        stage(number, {**ranges, loop.axis: at}, ended)

    def all_stages(newest: Affine) -> None:
        for number in range(stages):
            run(number, newest + -number * loop.block)

    for newest in range(stages - 1):
        for number in range(newest + 1):
            if number == newest:
                before(number)
            run(number, Affine((newest - number) * loop.block))
    before(stages - 1)
    first = Affine((stages - 1) * loop.block)
    if trips == stages:
        all_stages(first)
    else:
        b.fori_loop(
            f"i_{loop.axis.name}",
            trips - stages + 1,
            1,
            lambda _, i: all_stages(first + Affine(0, ((i, loop.block),))),
        )
    for ended in range(1, stages):
        for number in range(ended, stages):
            run(number, Affine((trips - 1 + ended - number) * loop.block), ended)


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
MOST_CHAINED = 16  # where there is but one text of each


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a mask, and as ``Hidden.within`` tells, the column up to which it changes
    nothing in any of them and the one up to which some sees."""

    rows: Range
    plain_to: int
    seen_to: int


def row_parts(hidden: Hidden, block: int, most: int = MOST_PARTS) -> Iterator[Part]:
    """Parts of the rows, in whole blocks, up to ``most``."""
    unit = partition_tile(hidden.cols.extent)
    extent = hidden.rows.extent
    blocks = -(-extent // block)
    size = -(-blocks // most) * block
    for start in range(0, extent, size):
        stop = min(extent, start + size)
        yield Part(Range(Affine(start), stop - start), *hidden.within(start, stop, unit))


def chained(parts: Sequence[Part]) -> list[Part]:
    """The order in which parts follow each other with their stages overlapping: neighbours are of
    similar length, and little is left to wait for before the second and after the last."""
    rising = sorted(parts, key=lambda part: part.seen_to)
    return [*rising[1::2], *reversed(rising[::2])]
