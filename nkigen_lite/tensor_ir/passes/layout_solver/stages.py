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
_ITERATIONS = 16  # of which the middle ones are looked at: neither filling nor draining
_SLOW_NS = 800.0
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
    iteration, unless that is more than without the last cut.

    The best is the one that would be the fastest if results took longer to pass on: more cuts make
    that matter less, which the time alone does not tell.
    """
    found: list[tuple[tuple[int, ...], float]] = [((), interval_ns(blocks, ()))]
    for count in range(1, MOST_CUTS + 1):
        ways = ways_of(blocks, cuts, count)
        best = min(ways, key=lambda way: slow_interval_ns(blocks, way), default=None)
        if best is not None:
            ns = interval_ns(blocks, best)
            if ns <= found[-1][1]:
                found.append((best, ns))
    return found


def ways_of(blocks: Sequence[Block], cuts: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """All ways to cut so often, before blocks that do something."""
    return list(combinations([at for at in cuts if blocks[at].busy or blocks[at].stores], count))


def slow_interval_ns(blocks: Sequence[Block], cuts: tuple[int, ...]) -> float:
    """``interval_ns`` if results took longer to pass on than they do."""
    return interval_ns(blocks, cuts, _SLOW_NS)


def interval_ns(
    blocks: Sequence[Block], cuts: tuple[int, ...], hand_off_ns: float = _HAND_OFF_NS
) -> float:
    """The time from one iteration to the next once the pipeline has settled. The engines of a block
    work side by side, each as soon as it is free."""
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
                ended = start
                for engine, ns in block.busy.items():
                    free[engine] = max(start, free.get(engine, 0.0)) + ns
                    ended = max(ended, free[engine])
                end = ended + hand_off_ns
                for engine, ns in block.stores.items():
                    free[engine] = max(free.get(engine, 0.0), end) + ns
                done[iteration, position] = end
                ends[iteration] = max(ends[iteration], end)
    first, last = _ITERATIONS // 2, _ITERATIONS - 4
    total: dict[str, float] = {}
    for busy in (times for block in blocks for times in (block.busy, block.stores)):
        for engine, ns in busy.items():
            total[engine] = total.get(engine, 0.0) + ns
    busiest = max(total.values(), default=0.0)
    return max(busiest, (ends[last] - ends[first]) / (last - first))
