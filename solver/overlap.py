"""What a segment does of its successor's work: loads that depend on nothing computed start early.

The segments of a plan form a chain.  Of one of them, D is the busy time of the prefetch resource, A
the largest of its other resources, and E the part of D that can be done while the segment before it
still runs (ns).  With e done early for it and f for its successor it takes `max(A, D - e + f)`.

Doing as much as fits into the slack, first segment first, is the best choice.  Work beyond the
slack lengthens the segment that does it by as much as it can shorten the next, so there is a best
choice without any.  And within the slack more is better: it lengthens nothing, does not lengthen
the next segment, and leaves that one no less slack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Load:
    """One segment's busy times in ns: D, A and E above."""

    own_ns: int
    others_ns: int
    early_ns: int

    def busy_ns(self, done_ns: int = 0) -> int:
        """What the segment takes besides overhead when `done_ns` of its work is done before it."""
        return max(self.others_ns, self.own_ns - done_ns)


def done_early(loads: Sequence[Load]) -> list[int]:
    """For each segment of a chain, the ns of its work that the one before it does."""
    done = [0] * len(loads)
    for index, (before, after) in enumerate(pairwise(loads)):
        slack = max(0, before.others_ns - (before.own_ns - done[index]))
        done[index + 1] = min(after.early_ns, after.own_ns, slack)
    return done


def saved_ns(loads: Sequence[Load]) -> int:
    """What a chain gains by early work over a chain without any."""
    done = zip(loads, done_early(loads), strict=True)
    return sum(load.busy_ns() - load.busy_ns(early) for load, early in done)
