"""What a segment does of its successor's work: loads that depend on nothing computed start early.

The segments of a plan form a chain.  Of one of them, D is the busy time of the prefetch resource, A
the largest of its other resources and what it waits besides, E the part of D that can be done while
the segment before it still runs, S the part of E that the other resources wait for, T what it takes
after the last of D, and L what is loaded before it as steps of their own, all of which can be done
early too (ns).  With e of E and l of L done early for it and f for its successor it takes
`L - l + max(A + max(0, S - e), D - e + T, D - e + f)`.

A segment may also leave some of its successor's work to those before it: that work passes it.
But what it loads itself, tile by tile or once that is computed, comes first.  Then nothing passes
it, and `f <= B`, B being the time from its last load to its end.

Doing as much as fits into the slack, first segment first and L before E, is the best choice.  Work
beyond the slack lengthens the segment that does it by as much as it can shorten a later one, so
there is a best choice without any.  Within the slack more is better: it lengthens nothing, does not
lengthen the segment that it is done for, and what does not shorten that leaves it more slack, which
is worth no less than what could pass it.  And what is done of L counts in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """One segment's times in ns: D, A, E, L, S, T and, where something comes first, B above."""

    own_ns: int
    others_ns: int
    early_ns: int
    loads_ns: int = 0
    starts_ns: int = 0
    tail_ns: int = 0
    behind_ns: int | None = None

    def parts(self, done_ns: int) -> tuple[int, int]:
        """Of what is done early, what belongs to L and to E."""
        loads_ns = min(done_ns, self.loads_ns)
        return loads_ns, done_ns - loads_ns

    def busy_ns(self, done_ns: int = 0) -> int:
        """What the segment takes besides overhead when `done_ns` of its work is done before it."""
        loads_ns, early_ns = self.parts(done_ns)
        return self.loads_ns - loads_ns + self._taken_ns(early_ns)

    def slack_ns(self, done_ns: int) -> int:
        """What the prefetch resource has time to do for others then."""
        early_ns = self.parts(done_ns)[1]
        idle_ns = self._taken_ns(early_ns) - (self.own_ns - early_ns)
        return idle_ns if self.behind_ns is None else min(idle_ns, self.behind_ns)

    def _taken_ns(self, early_ns: int) -> int:
        others_ns = self.others_ns + max(0, self.starts_ns - early_ns)
        return max(others_ns, self.own_ns - early_ns + self.tail_ns)


def done_early(loads: Sequence[Load], passing_ns: int = 0) -> list[int]:
    """For each segment of a chain, the ns of its work that those before it do, of which at most
    `passing_ns` pass a segment."""
    done: list[int] = []
    time_ns = 0  # what those before had nothing to do in
    for load in loads:
        wanted = load.loads_ns + min(load.early_ns, load.own_ns)
        done.append(min(wanted, time_ns))
        passes_ns = min(time_ns - done[-1], passing_ns) if load.behind_ns is None else 0
        time_ns = passes_ns + load.slack_ns(done[-1])
    return done


def done_ahead(loads: Sequence[Load], done: Sequence[int]) -> list[tuple[int, int]]:
    """For each segment of a chain that has `done` early, the ns that it does for later ones, and
    those that pass it: each does what it can."""
    ahead: list[tuple[int, int]] = []
    wanted = 0
    for load, early in zip(reversed(loads), reversed(done), strict=True):
        own = min(wanted, load.slack_ns(early))
        ahead.append((own, wanted - own))
        wanted += early - own
    return ahead[::-1]


def saved_ns(loads: Sequence[Load], passing_ns: int = 0) -> int:
    """What a chain gains by early work over a chain without any."""
    done = zip(loads, done_early(loads, passing_ns), strict=True)
    return sum(load.busy_ns() - load.busy_ns(early) for load, early in done)
