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
    found: list[tuple[tuple[int, ...], float]] = [((), interval_ns(blocks, ()))]
    for count in range(1, MOST_CUTS + 1):
        times = {way: interval_ns(blocks, way) for way in combinations(cuts, count)}
        best = min(times, key=lambda way: times[way], default=None)
        if best is not None and times[best] < found[-1][1]:
            found.append((best, times[best]))
    return found


def interval_ns(blocks: Sequence[Block], cuts: tuple[int, ...]) -> float:
    """The time from one iteration to the next once the pipeline has settled."""
    bounds = [0, *cuts, len(blocks)]
    stages = [range(a, b) for a, b in pairwise(bounds)]
    free: dict[str, float] = {}
    done: dict[tuple[int, int], float] = {}
    ends = [0.0] * _ITERATIONS
    for turn in range(_ITERATIONS + len(cuts)):
        for number, stage in enumerate(stages):
            iteration = turn - number
            if not 0 <= iteration < _ITERATIONS:
                continue
            for position in stage:
                block = blocks[position]
                start = max((done[iteration, p] for p in block.after), default=0.0)
                start = max([start, *(free.get(engine, 0.0) for engine in block.busy)])
                for engine, ns in block.busy.items():
                    free[engine] = start + ns
                end = start + max(block.busy.values(), default=0.0) + _HAND_OFF_NS
                for engine, ns in block.stores.items():
                    free[engine] = max(free.get(engine, 0.0), end) + ns
                done[iteration, position] = end
                ends[iteration] = max(ends[iteration], end)
    half = _ITERATIONS // 2
    total: dict[str, float] = {}
    for busy in (times for block in blocks for times in (block.busy, block.stores)):
        for engine, ns in busy.items():
            total[engine] = total.get(engine, 0.0) + ns
    busiest = max(total.values(), default=0.0)
    return max(busiest, (ends[-1] - ends[half - 1]) / (_ITERATIONS - half))
