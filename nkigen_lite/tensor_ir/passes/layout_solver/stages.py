"""Where to cut a segment's steps into stages, judged by a small model of engines that run in order.

Simulating every way to cut costs too much; the model, a block of time per step and engine, tells
which few are worth simulating.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

from nkigen_lite.tensor_ir.passes.axes import Step

MOST_CUTS = 3
_ITERATIONS = 8  # enough for the pipelines of a few stages to settle
_HAND_OFF_NS = 200.0  # from the start of a result's last instruction to its first use; trn2 traces


@dataclass(frozen=True, slots=True)
class Block:
    """One step in one iteration: ns per engine, and the earlier steps whose results it reads.

    ``stores`` are the ns that engines take to trigger the stores of its result: each waits for it,
    and what follows in its order waits, too.
    """

    busy: Mapping[str, float]
    after: tuple[int, ...]
    stores: Mapping[str, float] = field(default_factory=dict)


def blocks_of(
    steps: Sequence[Step], busy: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]
) -> list[Block]:
    """Two blocks per step, laying out its operands and the step itself, from the ns that they, and
    their stores, keep engines busy in one iteration."""
    made: dict[object, list[int]] = {}
    blocks = []
    for position, step in enumerate(steps):
        own = 2 * position + 1
        after = {p for view in step.reads for p in made.get(view.storage, ())}
        blocks.append(Block(busy[own - 1][0], tuple(sorted(after)), busy[own - 1][1]))
        blocks.append(Block(busy[own][0], tuple(sorted({*after, own - 1})), busy[own][1]))
        made.setdefault(step.write.storage, []).append(own)
    return blocks


def best_cuts(blocks: Sequence[Block], cuts: Sequence[int]) -> list[tuple[tuple[int, ...], float]]:
    """No cuts, and for each number up to ``MOST_CUTS`` the best way to cut, each with the ns per
    iteration, as long as a cut more gains."""
    cuts = [at for at in cuts if blocks[at].busy or blocks[at].stores]
    pipeline = Pipeline(blocks)
    found: list[tuple[tuple[int, ...], float]] = [((), pipeline.interval_ns(()))]
    for count in range(1, MOST_CUTS + 1):
        if found[-1][1] <= pipeline.busiest_ns:
            break  # no way to cut is faster than the busiest engine
        times = {way: pipeline.interval_ns(way) for way in combinations(cuts, count)}
        best = min(times, key=lambda way: times[way], default=None)
        if best is not None and times[best] < found[-1][1]:
            found.append((best, times[best]))
    return found


class Pipeline:
    """Blocks of one iteration, of which engines, numbered here, run several that overlap.

    ``busiest_ns`` is what the busiest engine does in one.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        total: dict[str, float] = {}
        for busy in (times for block in blocks for times in (block.busy, block.stores)):
            for engine, ns in busy.items():
                total[engine] = total.get(engine, 0.0) + ns
        self.busiest_ns = max(total.values(), default=0.0)
        numbers = {engine: number for number, engine in enumerate(total)}
        self._engines = len(numbers)
        self._blocks = [
            (
                block.after,
                [(numbers[engine], ns) for engine, ns in block.busy.items()],
                max(block.busy.values(), default=0.0),
                [(numbers[engine], ns) for engine, ns in block.stores.items()],
            )
            for block in blocks
        ]

    def interval_ns(self, cuts: tuple[int, ...]) -> float:
        """The time from one iteration to the next, with these cuts, once all has settled."""
        bounds = [0, *cuts, len(self._blocks)]
        stages = [(number, range(a, b)) for number, (a, b) in enumerate(pairwise(bounds))]
        free = [0.0] * self._engines
        done = [[0.0] * len(self._blocks) for _ in range(_ITERATIONS)]
        ends = [0.0] * _ITERATIONS
        for turn in range(_ITERATIONS + len(cuts)):
            for number, stage in stages:
                iteration = turn - number
                if 0 <= iteration < _ITERATIONS:
                    end = self._run(stage, free, done[iteration])
                    ends[iteration] = max(ends[iteration], end)
        half = _ITERATIONS // 2
        return max(self.busiest_ns, (ends[-1] - ends[half - 1]) / (_ITERATIONS - half))

    def _run(self, stage: range, free: list[float], done: list[float]) -> float:
        """Run a stage of an iteration whose blocks were ``done`` when; when the last of it is.
        ``free`` is when each engine is."""
        last = 0.0
        for position in stage:
            after, busy, longest, stores = self._blocks[position]
            start = 0.0
            for before in after:
                if done[before] > start:
                    start = done[before]
            for engine, _ in busy:
                if free[engine] > start:
                    start = free[engine]
            for engine, ns in busy:
                free[engine] = start + ns
            done[position] = end = start + longest + _HAND_OFF_NS
            for engine, ns in stores:
                free[engine] = max(free[engine], end) + ns
            if end > last:
                last = end
        return last
