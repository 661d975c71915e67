"""The state of tiles: when each cell was last written and read, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from .program import Buffer, Fresh, Index, Use
from .queues import NEVER

ENGINES: Final = ("tensor", "vector", "scalar", "gpsimd", "sync")
UNITS: Final = (*ENGINES, "dma")
TENSOR, SCALAR, DMA = (UNITS.index(name) for name in ("tensor", "scalar", "dma"))

# Kinds of waits: what was waited for (data, or a buffer to be given up) plus the unit that gave it.
DATA, BUFFER = 0, len(UNITS)

CellsOf = Callable[[], Sequence[int]]
Ready = Callable[[], tuple[int, int]]
Done = Callable[[int], None]


class Tiles:
    """Cells of all buffers, numbered in one row.

    ``written`` and ``writer`` tell of the last write of a cell; ``readers`` is a bit set of the
    units that have read it since, and ``read[unit]`` when they were done. ``values`` are those of
    loop indices; ``copy`` is which copy of a buffer is in use. ``handoff[engine][unit]`` is what
    passes from the end of a unit's work until the engine may use the tile. Times in ps. With
    ``limited`` false, nothing waits for a buffer to be given up.
    """

    def __init__(self, handoff: list[list[int]], limited: bool = True) -> None:
        self.handoff, self.limited = handoff, limited
        self.written: list[int] = []
        self.writer: list[int] = []
        self.read: list[list[int]] = [[] for _ in UNITS]
        self.readers: list[int] = []
        self.values: list[int] = []
        self.copy: dict[Buffer, int] = {}
        self._base: dict[Buffer, int] = {}
        self._slot: dict[Index, int] = {}

    def base(self, buffer: Buffer) -> int:
        """The first cell of a buffer's first copy."""
        at = self._base.get(buffer)
        if at is None:
            at = self._base[buffer] = len(self.written)
            size = buffer.cells * buffer.copies
            self.written.extend([NEVER] * size)
            self.writer.extend([DMA] * size)
            self.readers.extend([0] * size)
            for row in self.read:
                row.extend([NEVER] * size)
            self.copy[buffer] = 0
        return at

    def slot(self, index: Index) -> int:
        """Where the value of an index is kept in ``values``."""
        at = self._slot.get(index)
        if at is None:
            at = self._slot[index] = len(self.values)
            self.values.append(0)
        return at

    def cells(self, use: Use) -> CellsOf:
        """What gives the cells of a use at the moment."""
        buffer = use.buffer
        base = self.base(buffer) + use.start
        terms = tuple((self.slot(index), factor) for index, factor in use.terms if factor)
        offsets, values = use.offsets, self.values
        if buffer.copies == 1 and not terms:
            fixed = tuple(base + o for o in offsets)
            return lambda: fixed
        copy, size, copies, back = self.copy, buffer.cells, buffer.copies, use.back
        starts = [base + (present - back) % copies * size for present in range(copies)]
        if not terms:
            table = [tuple([start + o for o in offsets]) for start in starts]
            return lambda: table[copy[buffer]]
        if len(offsets) == 1 and len(terms) == 1 and copies == 1:
            first, ((slot, factor),) = base + offsets[0], terms
            return lambda: (first + values[slot] * factor,)

        def cells() -> Sequence[int]:
            at = starts[copy[buffer]]
            for slot, factor in terms:
                at += values[slot] * factor
            return [at + o for o in offsets]

        return cells

    def fresh(self, item: Fresh) -> Callable[[], None]:
        """What takes the next copy of a buffer, and what it held."""
        buffer, copy = item.buffer, self.copy
        first = self.base(buffer)
        copies = buffer.copies
        taken = [
            [
                (first + k * buffer.cells + own, self.base(held.buffer) + old)
                for held in of_copy
                for own, old in held.cells
            ]
            for k, of_copy in enumerate(item.held)
        ]

        def go() -> None:
            copy[buffer] = (copy[buffer] + 1) % copies
            if taken:
                self._take_over(taken[copy[buffer]])

        return go

    def _take_over(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Mark the first cell of each pair as read by all who have used the second."""
        for own, old in pairs:
            self._mark_read(own, self.writer[old], self.written[old])
            left = self.readers[old]
            while left:
                unit = (left & -left).bit_length() - 1
                left &= left - 1
                self._mark_read(own, unit, self.read[unit][old])

    def _mark_read(self, cell: int, unit: int, when: int) -> None:
        mark = 1 << unit
        if not self.readers[cell] & mark or self.read[unit][cell] < when:
            self.read[unit][cell] = when
        self.readers[cell] |= mark

    def use(
        self, reads: Sequence[Use], writes: Sequence[Use], engine: int, user: int
    ) -> tuple[Ready, Done, list[Sequence[int]]]:
        """What an instruction waits for and leaves behind.

        ``engine`` waits; ``user``, itself or the DMA that it triggers, uses the tiles. The first
        function gives (when all tiles are ready, what the last of them waits for); the second
        marks the tiles that the first one saw as read or written at a time. The list holds the
        cells that it saw of each read.
        """
        read: list[Sequence[int]] = []
        written: list[Sequence[int]] = []
        ready = self._ready(reads, writes, read, written, engine, user)
        return ready, self._mark(read, written, user), read

    def _ready(
        self,
        reads: Sequence[Use],
        writes: Sequence[Use],
        seen_read: list[Sequence[int]],
        seen_written: list[Sequence[int]],
        engine: int,
        user: int,
    ) -> Ready:
        written, writer, handoff = self.written, self.writer, self.handoff[engine]
        readers, read, limited = self.readers, self.read, self.limited
        # An engine keeps its own order, so it need not wait for its own reads; DMAs do not. Two
        # DMAs into one cell are parts of one tile, which is written when both are.
        others = -1 if user == DMA else ~(1 << user)
        cells_read, cells_written = [[self.cells(u) for u in uses] for uses in (reads, writes)]

        def ready() -> tuple[int, int]:
            latest, why = NEVER, DATA
            seen_read.clear()
            for cells in cells_read:
                now = cells()
                seen_read.append(now)
                for c in now:
                    by = writer[c]
                    when = written[c] + handoff[by]
                    if when > latest:
                        latest, why = when, DATA + by
            seen_written.clear()
            for cells in cells_written:
                now = cells()
                seen_written.append(now)
                for c in now if limited else ():
                    by = writer[c]
                    if by != user and written[c] + handoff[by] > latest:
                        latest, why = written[c] + handoff[by], BUFFER + by
                    left = readers[c] & others
                    while left:
                        by = (left & -left).bit_length() - 1
                        left &= left - 1
                        if read[by][c] + handoff[by] > latest:
                            latest, why = read[by][c] + handoff[by], BUFFER + by
            return latest, why

        return ready

    def _mark(
        self, seen_read: list[Sequence[int]], seen_written: list[Sequence[int]], user: int
    ) -> Done:
        written, writer, readers = self.written, self.writer, self.readers
        mine, mark = self.read[user], 1 << user

        def done(end: int) -> None:
            for now in seen_read:
                for c in now:
                    if not readers[c] & mark:
                        readers[c] |= mark
                        mine[c] = end
                    elif mine[c] < end:
                        mine[c] = end
            for now in seen_written:
                for c in now:
                    if user != DMA:
                        written[c], readers[c] = end, 0
                    else:
                        # It may have written a part only: who brings the next still waits for all
                        # that this one has waited for.
                        if writer[c] != DMA:
                            self._mark_read(c, writer[c], written[c])
                        written[c] = max(end, written[c])
                    writer[c] = user

        return done
