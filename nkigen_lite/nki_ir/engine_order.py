"""Orders in which a core may execute a kernel: engines in order, DMAs in any, semaphores kept.

What waits for what is read off the simulator's instruction stream, cell by cell as
``cost_models.simulate.tiles`` does with times: a read waits for the last writes of its cells, a
write for the writes and reads of others, the first write into bytes that another buffer had for
all who still use those. An engine keeps its own order. A DMA is triggered in the order of its
engine and waits there; when it moves its bytes after that is open.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cost_models import Transfer
from cost_models.simulate import Buffer, Fresh, Index, Step, Use

DMA = "dma"
SLOWEST = 1e-3
"""How rarely the slowest unit is chosen, next to the fastest."""

Cell = tuple[Buffer, int]
Reader = str | int


@dataclass
class Dependencies:
    """What each instruction of a stream waits for; instructions are numbered as they come.

    ``copy`` is which copy of a buffer is in use. ``writers`` are the last writes of a cell, several
    if they are parts brought by DMAs; ``readers`` have read it since, the last of each engine and
    every DMA.
    """

    copy: dict[Buffer, int] = field(default_factory=dict)
    writers: dict[Cell, list[int]] = field(default_factory=dict)
    readers: dict[Cell, dict[Reader, int]] = field(default_factory=dict)
    units: list[str] = field(default_factory=list)

    def fresh(self, item: Fresh) -> int:
        """Take the next copy of a buffer, and what lay in its bytes; the number of the copy."""
        buffer = item.buffer
        taken = self.copy[buffer] = (self.copy.get(buffer, 0) + 1) % buffer.copies
        for held in item.held[taken] if item.held else ():
            for own, old in held.cells:
                cell, other = (buffer, taken * buffer.cells + own), (held.buffer, old)
                readers = self.readers.setdefault(cell, {})
                before = self.readers.get(other, {}).values()
                for number in (*before, *self.writers.get(other, ())):
                    self._note(readers, number)
        return taken

    def add(self, step: Step, values: Mapping[Index, int]) -> set[int]:
        """The instructions that the next one waits for."""
        user = DMA if isinstance(step.work, Transfer) else step.engine
        number = len(self.units)
        self.units.append(user)
        reads = [cell for use in step.reads for cell in self._cells(use, values)]
        writes = [cell for use in step.writes for cell in self._cells(use, values)]
        found = {n for cell in reads for n in self.writers.get(cell, ())}
        for cell in writes:
            found.update(n for n in self.writers.get(cell, ()) if self.units[n] != user)
            readers = self.readers.get(cell, {})
            found.update(n for n in readers.values() if user == DMA or self.units[n] != user)
        for cell in reads:
            self._note(self.readers.setdefault(cell, {}), number)
        for cell in writes:
            self._write(cell, number, user)
        return found

    def _write(self, cell: Cell, number: int, user: str) -> None:
        if user != DMA:
            self.writers[cell] = [number]
            self.readers.pop(cell, None)
            return
        # A DMA may write a part only: who brings the next still waits for all that it waited for.
        before = self.writers.get(cell, [])
        parts = [n for n in before if self.units[n] == DMA]
        for n in before:
            if n not in parts:
                self._note(self.readers.setdefault(cell, {}), n)
        self.writers[cell] = [*parts, number]

    def _note(self, readers: dict[Reader, int], number: int) -> None:
        unit = self.units[number]
        key: Reader = number if unit == DMA else unit
        readers[key] = max(readers.get(key, number), number)

    def _cells(self, use: Use, values: Mapping[Index, int]) -> Iterator[Cell]:
        copy = (self.copy.get(use.buffer, 0) - use.back) % use.buffer.copies
        first = use.start + copy * use.buffer.cells
        first += sum(factor * values[index] for index, factor in use.terms)
        for offset in use.offsets:
            yield use.buffer, first + offset


@dataclass(frozen=True, slots=True)
class Issued:
    """An instruction of the stream: its engine, whether that only triggers it, and the numbers of
    those that it waits for."""

    engine: str
    is_dma: bool
    after: frozenset[int]

    def since(self, first: int) -> Issued:
        """The same in a stream that begins with the instruction ``first``."""
        return Issued(
            self.engine, self.is_dma, frozenset(n - first for n in self.after if n >= first)
        )


def random_order(stream: Sequence[Issued], seed: int) -> Iterator[int]:
    """The numbers of a stream's instructions in an order that its dependencies permit.

    Every unit gets a speed of its own, different by orders of magnitude, so that some run as far
    ahead as they may while others hang back.
    """
    rng = random.Random(seed)
    engines: dict[str, list[int]] = {}
    for number, item in enumerate(stream):
        engines.setdefault(item.engine, []).append(number)
    for numbers in engines.values():
        numbers.reverse()
    speed = {unit: SLOWEST ** rng.random() for unit in (*sorted(engines), DMA)}
    done: set[int] = set()
    flying: list[int] = []
    while len(done) < len(stream):
        able = [u for u, waiting in sorted(engines.items()) if _ready(stream, waiting, done)]
        able += [DMA] if flying else []
        (unit,) = rng.choices(able, [speed[u] for u in able])
        if unit == DMA:
            number = flying.pop(rng.randrange(len(flying)))
        else:
            number = engines[unit].pop()
            if stream[number].is_dma:
                flying.append(number)
                continue
        done.add(number)
        yield number


def _ready(stream: Sequence[Issued], waiting: Sequence[int], done: set[int]) -> bool:
    return bool(waiting) and stream[waiting[-1]].after <= done
