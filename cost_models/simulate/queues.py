"""The DMA queues of a core: how transfers in flight share them.

Work that arrives is poured into the capacity that earlier transfers of the program left over, so
no capacity is idle while something waits, and where two transfers overlap the earlier one in
program order goes first. Capacity is the 16 queues taken together, with a part of it for loads:
a transfer that uses all queues evenly takes the whole of it for as long as it would take alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

FULL = 1 << 20
"""All of the capacity."""

NEVER = -(10**18)
"""A time (ps) before all others."""

SLIVER = FULL // 64
"""Capacity too small to be worth telling apart: what is left below it counts as taken."""

MOST_INTERVALS = 1024
"""Busy intervals remembered; a transfer that arrives before the oldest of them finds all older
capacity taken."""


def _rounded(taken: int) -> int:
    return FULL if FULL - taken < SLIVER else taken


Interval: TypeAlias = tuple[int, int, tuple[int, int]]
"""(start, end, (capacity taken, capacity of loads taken)) of a busy interval; times in ps."""


def clipped(intervals: Iterable[Interval], low: int, high: int | None = None) -> list[Interval]:
    """The parts of intervals from ``low`` on and, if given, before ``high``."""
    found = []
    for start, end, taken in intervals:
        start, end = max(start, low), end if high is None else min(end, high)
        if start < end:
            found.append((start, end, taken))
    return found


@dataclass(frozen=True, slots=True)
class Demand:
    """What one transfer asks for: ``duration_ps`` alone, at a share of the capacity of all
    transfers and of that of loads (0 for a store), both in parts of :data:`FULL`.
    """

    duration_ps: int
    share: int
    load_share: int


@dataclass(slots=True)
class Queues:
    """Busy intervals, sorted and disjoint, with the capacity that is taken in each.

    ``active_ps`` is the time with anything in flight in intervals that are no longer remembered;
    ``floor`` is the end of the last of them that was still to be found. ``full`` is a stretch of
    time that is known to be taken, for all transfers and for loads.
    """

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)
    active_ps: int = 0
    floor: int = 0
    full: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0), (0, 0)])

    def place(self, arrival: int, demand: Demand) -> int:
        """Take capacity from ``arrival`` (ps) on; when the transfer's last byte has moved."""
        starts, ends, taken = self.starts, self.ends, self.taken
        share, load_share = demand.share, demand.load_share
        left, now = demand.duration_ps, max(arrival, self.floor)
        now = self._from_arrival(now, bool(load_share))
        at = bisect_right(ends, now)
        while left > 0:
            if at == len(starts) or now < starts[at]:
                until = now + left if at == len(starts) else min(now + left, starts[at])
                at = self._insert(at, now, until, (share, load_share))
                left -= until - now
                if left:
                    now = self._past_full(until, bool(load_share))
                    at = bisect_right(ends, now)
                else:
                    now = until
                continue
            total, loads = taken[at]
            rate = min(FULL, (FULL - total) * FULL // share)
            if load_share:
                rate = min(rate, (FULL - loads) * FULL // load_share)
            at = self._split(at, now)
            until = min(now + -(-left * FULL // rate), ends[at])
            self._cut(at, until)
            taken[at] = (
                _rounded(total + share * rate // FULL),
                _rounded(loads + load_share * rate // FULL),
            )
            left -= (until - now) * rate // FULL
            self._join(at)
            now = self._past_full(until, bool(load_share))
            at = bisect_right(ends, now)
        return now

    def _from_arrival(self, arrival: int, load: bool) -> int:
        """The first time with capacity left for what arrives then.

        What has once been found full stays so; it is not walked through again.
        """
        since, until = self.full[load]
        now = self._past_full(until if since <= arrival < until else arrival, load)
        if since <= arrival <= until:
            self.full[load] = (since, max(until, now))
        elif now > arrival:
            self.full[load] = (arrival, now)
        return now

    def _past_full(self, now: int, load: bool) -> int:
        """The first time from ``now`` on with capacity left for a load, or for others."""
        at = bisect_right(self.ends, now)
        while at < len(self.starts) and self.starts[at] <= now:
            total, loads = self.taken[at]
            if total < FULL and not (load and loads == FULL):
                break
            now = self.ends[at]
            at += 1
        return now

    def intervals(self) -> list[Interval]:
        """The busy intervals that are remembered."""
        return list(zip(self.starts, self.ends, self.taken, strict=True))

    def since(self, low: int) -> list[Interval]:
        """What is taken from a time (ps) on."""
        at = bisect_right(self.ends, low)
        rest = zip(self.starts[at:], self.ends[at:], self.taken[at:], strict=True)
        return clipped(rest, low)

    def repeats(self, low: int, earlier: Sequence[Interval], by: int) -> bool:
        """Whether ``since(low)`` is what ``earlier`` is, ``by`` later."""
        at = bisect_right(self.ends, low)
        if len(self.ends) - at != len(earlier):
            return False
        # The latest differ first, where they do.
        for k in range(len(earlier) - 1, -1, -1):
            start, end, taken = earlier[k]
            now = max(self.starts[at + k], low), self.ends[at + k], self.taken[at + k]
            if now != (start + by, end + by, taken):
                return False
        return True

    def active_before(self, when: int) -> int:
        """The time before ``when`` with anything in flight."""
        known = clipped(self.intervals(), NEVER, when)
        return self.active_ps + sum(end - start for start, end, _ in known)

    def repeat(self, low: int, high: int, times: int, active: int) -> None:
        """Repeat what is taken between two times ``times`` times; move what comes after.

        ``active`` is the time between the two with anything in flight: a part of it may be
        forgotten already.
        """
        by = high - low
        known = self.intervals()
        period = clipped(known, low, high)
        self.full = [(0, 0), (0, 0)]
        made = clipped(known, NEVER, high)
        if len(period) == 1 and period[0][:2] == (low, high):
            # One interval goes on for all the time.
            self.active_ps += times * (active - by)
            made.append((high, high + times * by, period[0][2]))
        elif period:
            # Only the newest copies can be found again.
            shown = min(times, MOST_INTERVALS // len(period) + 1)
            self.active_ps += times * active - shown * sum(end - start for start, end, _ in period)
            if shown < times:
                self.floor = max(self.floor, low + (times - shown + 1) * by)
            for copy in range(times - shown + 1, times + 1):
                made += [(start + copy * by, end + copy * by, took) for start, end, took in period]
        else:
            self.active_ps += times * active
        late = times * by
        made += [(start + late, end + late, took) for start, end, took in clipped(known, high)]
        self.starts, self.ends, self.taken = [], [], []
        for start, end, took in made:
            if self.ends and self.ends[-1] == start and self.taken[-1] == took:
                self.ends[-1] = end
            else:
                self.starts.append(start)
                self.ends.append(end)
                self.taken.append(took)

    def forget(self, before: int) -> None:
        """Nothing arrives before a time (ps) any more."""
        done = bisect_right(self.ends, before)
        crowd = len(self.ends) - MOST_INTERVALS
        if crowd > done:
            done = crowd
            self.floor = self.ends[done - 1]
        if done > 0:
            self.active_ps += sum(self.ends[:done]) - sum(self.starts[:done])
            del self.starts[:done], self.ends[:done], self.taken[:done]

    def total_active_ps(self) -> int:
        """The time with anything in flight, up to now."""
        return self.active_ps + sum(self.ends) - sum(self.starts)

    def _insert(self, at: int, start: int, end: int, took: tuple[int, int]) -> int:
        """A new interval at a position; the position after it."""
        if at and self.ends[at - 1] == start and self.taken[at - 1] == took:
            self.ends[at - 1] = end
            at -= 1
        else:
            self.starts.insert(at, start)
            self.ends.insert(at, end)
            self.taken.insert(at, took)
        after = at + 1
        if after < len(self.starts) and self.starts[after] == end and self.taken[after] == took:
            self.ends[at] = self.ends[after]
            del self.starts[after], self.ends[after], self.taken[after]
            # The merged interval is now where the transfer goes on.
            return at
        return after

    def _split(self, at: int, when: int) -> int:
        """Make an interval begin at ``when``; its position."""
        if self.starts[at] == when:
            return at
        self._cut(at, when)
        return at + 1

    def _cut(self, at: int, when: int) -> None:
        """Make interval ``at`` end at ``when``; the rest of it becomes the next one."""
        if self.ends[at] == when:
            return
        self.starts.insert(at + 1, when)
        self.ends.insert(at + 1, self.ends[at])
        self.taken.insert(at + 1, self.taken[at])
        self.ends[at] = when

    def _join(self, at: int) -> int:
        """Join interval ``at`` with the one before it if they are alike; its position then."""
        before = at - 1
        alike = at and self.ends[before] == self.starts[at] and self.taken[before] == self.taken[at]
        if not alike:
            return at
        self.ends[before] = self.ends[at]
        del self.starts[at], self.ends[at], self.taken[at]
        return before
