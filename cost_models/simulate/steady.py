"""Loops that have settled: the rest of their trips follows from the last few.

The state of the core between two trips decides all that comes after. If it equals an earlier one
in everything that can still matter, with all times later by one amount, then the trips between
the two repeat for ever, each time later by that amount: a proof, not an estimate. What can still
matter: when the loop's engines are free, the tiles that it uses, the DMA queues, the temperature
of the PE array, the loaded activation table, which copy of a buffer is next. A time so long past
that every engine of the loop is beyond it is like any other such time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace

from .machine import Machine, PeArray, Totals
from .program import Buffer, Index, Loop, Use, extent_of
from .queues import NEVER, Interval
from .tiles import ENGINES, SCALAR, TENSOR, UNITS

LEAST_STEPS = 400
"""Loops of fewer instructions in all run faster than they are watched."""

LEAST_TRIPS = 4
"""Loops of fewer trips have none to leave out: two to compare, and one to see them again."""

COMPARED_PER_STEP = 8
"""Cells that may be compared for each instruction that is run, so that watching stays cheap."""


@dataclass(frozen=True, slots=True)
class Region:
    """The uses that a loop makes of a buffer; all move by ``factor`` cells with each trip."""

    buffer: Buffer
    factor: int
    uses: tuple[Use, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """State of one cell: when it was written and by whom, who read it since and when."""

    written: int
    writer: int
    readers: int
    read: tuple[int, ...]

    def again(self, before: Cell, own: Cell, by: int) -> Cell:
        """The cell that takes this one's place ``by`` later.

        What the loop changed here since ``before`` it will have changed there; the rest stays as
        in ``own``.
        """
        rewritten = self.written != before.written
        changed = [new != old for new, old in zip(self.read, before.read, strict=True)]
        read = tuple(
            new + by if change else kept
            for new, change, kept in zip(self.read, changed, own.read, strict=True)
        )
        if rewritten:
            return Cell(self.written + by, self.writer, self.readers, read)
        added = sum(1 << k for k, change in enumerate(changed) if change)
        return Cell(own.written, own.writer, own.readers | added, read)


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a buffer, column by column."""

    written: list[int]
    writer: list[int]
    readers: list[int]
    read: list[list[int]]

    def __len__(self) -> int:
        return len(self.written)

    def __getitem__(self, at: int) -> Cell:
        read = tuple(column[at] for column in self.read)
        return Cell(self.written[at], self.writer[at], self.readers[at], read)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state between two trips, as far as a loop is concerned; times in ps.

    Attributes:
        trips: of the loop, done so far.
        free: when each engine is free; ended: when it was done with its last instruction.
        array, table: of the PE array and the Scalar engine.
        copies: which copy is in use, of each buffer that the loop rotates.
        cells: of each buffer that the loop uses.
        queues: what is taken of the queues from the earliest arrival on that may still come.
        active: the time with anything in flight before that.
        totals: what has been counted.
    """

    trips: int
    free: tuple[int, ...]
    ended: tuple[int, ...]
    array: PeArray
    table: str | None
    copies: tuple[int, ...]
    cells: dict[Buffer, Cells]
    queues: list[Interval]
    active: int
    totals: Totals


def regions_of(loop: Loop) -> list[Region] | None:
    """What the body uses of each buffer, or None if some buffer is used in a way not followed.

    Followed are buffers all of whose uses move alike, and rotating ones whose uses do not move.
    """
    uses: dict[Buffer, list[Use]] = {}
    for use in extent_of(loop.body).uses:
        uses.setdefault(use.buffer, []).append(use)
    found = []
    for buffer, mine in uses.items():
        factors = {sum(f for index, f in use.terms if index is loop.index) for use in mine}
        factor = factors.pop()
        if factors or (factor and buffer.copies > 1):
            return None
        found.append(Region(buffer, factor, tuple(mine)))
    return found


def _inner(loop: Loop) -> Iterator[tuple[Index, int]]:
    for item in loop.body:
        if isinstance(item, Loop):
            yield item.index, item.trips - 1
            yield from _inner(item)


class Watch:
    """Watches one execution of a loop and, once it has settled, skips to near its end."""

    def __init__(self, machine: Machine, loop: Loop, regions: list[Region]) -> None:
        body = extent_of(loop.body)
        self.machine, self.loop, self.regions = machine, loop, regions
        self.engines = sorted(ENGINES.index(e) for e in body.engines)
        self.triggers = sorted(ENGINES.index(e) for e in body.triggers)
        self.fresh = sorted(body.fresh, key=machine.tiles.base)
        self.spans = dict(_inner(loop))
        self.lag = max(max(row) for row in machine.tiles.handoff)
        self.size = sum(r.buffer.cells * r.buffer.copies for r in regions)
        self.budget = 0
        self.steps = body.steps
        self.saved: Snapshot | None = None
        self.next_save = 1
        self.end = 0

    def after(self, trip: int) -> int:
        """Called after a trip (counted from 0); how many trips to leave out."""
        made = trip + 1
        self.budget += COMPARED_PER_STEP * self.steps
        # Events that are to be kept are those of the first instructions, without gaps.
        recording = len(self.machine.events) < self.machine.record
        if self.saved is not None and not recording and self._repeats(self.saved, trip):
            period = made - self.saved.trips
            times = (self.loop.trips - made) // period
            if times:
                self._skip(self.saved, trip, times)
            self.saved = None
            return times * period
        if made == self.next_save:
            self.saved = self._take(made)
            self.next_save *= 2
        return 0

    def close(self) -> None:
        """Called after the last trip."""
        self.machine.end = max(self.machine.end, self.end)

    # --- states

    def _take(self, made: int) -> Snapshot:
        m = self.machine
        # The latest end from here on is noted apart: a skip moves it.
        self.end, m.end = max(self.end, m.end), 0
        return Snapshot(
            trips=made,
            free=tuple(m.free),
            ended=tuple(m.ended),
            array=copy(m.array),
            table=m.table,
            copies=tuple(m.tiles.copy[b] for b in self.fresh),
            cells={r.buffer: self._cells(r) for r in self.regions},
            queues=m.queues.since(min((m.free[t] for t in self.triggers), default=m.end)),
            active=self._active(m.free),
            totals=deepcopy(m.totals),
        )

    def _cells(self, region: Region) -> Cells:
        t, buffer = self.machine.tiles, region.buffer
        first = t.base(buffer)
        last = first + buffer.cells * buffer.copies
        return Cells(
            t.written[first:last],
            t.writer[first:last],
            t.readers[first:last],
            [column[first:last] for column in t.read],
        )

    def _repeats(self, then: Snapshot, trip: int) -> bool:
        """Whether the present state is the saved one, later by one amount."""
        m = self.machine
        by = self._later(then)
        if any(m.free[e] != then.free[e] + by for e in self.engines) or by <= 0:
            return False
        if tuple(m.tiles.copy[b] for b in self.fresh) != then.copies:
            return False
        if SCALAR in self.engines and m.table != then.table:
            return False
        if TENSOR in self.engines and not self._same_array(then, by):
            return False
        if self.budget < self.size or not self._same_queues(then, by):
            return False
        self.budget -= self.size
        return all(self._same_cells(r, then, trip, by) for r in self.regions)

    def _later(self, then: Snapshot) -> int:
        engine = self.engines[0]
        return self.machine.free[engine] - then.free[engine]

    def _same_array(self, then: Snapshot, by: int) -> bool:
        old = then.array
        return self.machine.array == replace(old, start=old.start + by, end=old.end + by)

    def _same_queues(self, then: Snapshot, by: int) -> bool:
        if not self.triggers:
            return True
        return self.machine.queues.repeats(self._low(then) + by, then.queues, by)

    def _low(self, then: Snapshot) -> int:
        """No DMA of the loop arrived before this time after ``then``."""
        return min(then.free[t] for t in self.triggers)

    def _same_cells(self, region: Region, then: Snapshot, trip: int, by: int) -> bool:
        """Whether the cells that later trips use are like those whose place they take."""
        t, old = self.machine.tiles, then.cells[region.buffer]
        first = t.base(region.buffer)
        past = min(self.machine.free[e] for e in self.engines) - self.lag
        moved = region.factor * (trip + 1 - then.trips)
        for c in self._to_come(region, trip):
            before, now = c - moved, c + first
            if not 0 <= before < len(old):
                continue
            # Times up to `past` cannot matter any more.
            was, when = old.written[before] + by, t.written[now]
            alike = was == when and old.writer[before] == t.writer[now]
            if not alike and (was > past or when > past):
                return False
            were, are = old.readers[before], t.readers[now]
            for k in range((were | are).bit_length()):
                was = old.read[k][before] + by if were >> k & 1 else NEVER
                when = t.read[k][now] if are >> k & 1 else NEVER
                if was != when and (was > past or when > past):
                    return False
        return True

    def _to_come(self, region: Region, trip: int) -> range:
        """The cells that trips after ``trip`` use: all, for a region that does not move."""
        size = region.buffer.cells * region.buffer.copies
        if not region.factor:
            return range(size)
        values, slot = self.machine.tiles.values, self.machine.tiles.slot
        low, high = size, -1
        for use in region.uses:
            first, last = use.start + min(use.offsets), use.start + max(use.offsets)
            for index, factor in use.terms:
                reach = 0 if index is self.loop.index else factor * self.spans.get(index, 0)
                at = 0 if index is self.loop.index or reach else factor * values[slot(index)]
                first += at + min(0, reach)
                last += at + max(0, reach)
            low, high = min(low, first), max(high, last)
        ends = (region.factor * (trip + 1), region.factor * (self.loop.trips - 1))
        return range(max(0, low + min(ends)), min(size - 1, high + max(ends)) + 1)

    # --- leaving trips out

    def _skip(self, then: Snapshot, trip: int, times: int) -> None:
        """Put the machine ``times`` periods ahead."""
        m = self.machine
        by = self._later(then)
        for region in self.regions:
            self._skip_cells(region, then, trip, times, by)
        self._skip_queues(then, times, by)
        for e in self.engines:
            m.free[e] += times * by
            m.ended[e] += times * by if m.ended[e] != then.ended[e] else 0
        if TENSOR in self.engines:
            m.array.start += times * by
            m.array.end += times * by
        m.totals.add_again(then.totals, times)
        m.end += times * by

    def _skip_cells(self, region: Region, then: Snapshot, trip: int, times: int, by: int) -> None:
        now, old = self._cells(region), then.cells[region.buffer]
        moved = region.factor * (trip + 1 - then.trips)
        changed = [c for c in range(len(old)) if now[c] != old[c]]
        made: dict[int, Cell] = {}
        # Every period left out changes what the last one changed, `moved` cells further on and
        # later. Windows may overlap, so that one cell is changed by several: in their order.
        for ahead in range(1, times + 1) if moved else (times,):
            for source in changed:
                c = source + ahead * moved
                if 0 <= c < len(old):
                    own = made.get(c) or now[c]
                    made[c] = now[source].again(old[source], own, ahead * by)
        t, base = self.machine.tiles, self.machine.tiles.base(region.buffer)
        for c, cell in made.items():
            t.written[base + c], t.writer[base + c] = cell.written, cell.writer
            t.readers[base + c] = cell.readers
            for k in range(len(UNITS)):
                t.read[k][base + c] = cell.read[k]

    def _skip_queues(self, then: Snapshot, times: int, by: int) -> None:
        if not self.triggers:
            return
        low, active = self._low(then), self._active(self.machine.free) - then.active
        self.machine.queues.repeat(low, low + by, times, active)

    def _active(self, free: Sequence[int]) -> int:
        """The time with anything in flight before the loop's next DMA can arrive."""
        if not self.triggers:
            return 0
        return self.machine.queues.active_before(min(free[t] for t in self.triggers))
