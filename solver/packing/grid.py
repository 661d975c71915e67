"""A packing problem in the coarsest unit that loses nothing, and the structure of its lifetimes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .problem import PackingProblem


@dataclass(frozen=True, slots=True)
class Item:
    """A buffer in units: `size`, the `step` that its address is a multiple of, and its `fixed`
    address.  `index` is its place in the problem; `start` and `end` are events."""

    index: int
    start: int
    end: int
    size: int
    step: int
    fixed: int | None


@dataclass(frozen=True, slots=True)
class Section:
    """The items live at the events `start` to `end` - 1; `height` is what they need, in units."""

    start: int
    end: int
    items: tuple[Item, ...]
    height: int


@dataclass(frozen=True, slots=True)
class Grid:
    """A problem in units of `unit` bytes; `capacity` in units is rounded down."""

    unit: int
    capacity: int
    items: tuple[Item, ...]
    sections: tuple[Section, ...]

    @property
    def peak(self) -> Section | None:
        """The first section that needs most."""
        return max(self.sections, key=lambda section: section.height, default=None)

    @property
    def bound(self) -> int:
        """A height that no packing is below."""
        tops = [item.fixed + item.size for item in self.items if item.fixed is not None]
        return max([section.height for section in self.sections] + tops, default=0)


def make_grid(problem: PackingProblem) -> Grid:
    """`problem` in units."""
    unit = _unit(problem)
    items = tuple(
        Item(
            index,
            buffer.start,
            buffer.end,
            buffer.size // unit,
            1 if unit % buffer.alignment == 0 else buffer.alignment // unit,
            None if buffer.fixed is None else buffer.fixed // unit,
        )
        for index, buffer in enumerate(problem.buffers)
    )
    return Grid(unit, problem.capacity // unit, items, tuple(sections(items)))


def _unit(problem: PackingProblem) -> int:
    """A number of bytes such that some lowest packing has multiples of it as addresses.

    Pushed down as far as it goes, a buffer rests on 0, on another buffer, or on a multiple of its
    alignment just above one.  So sizes, fixed addresses, and those alignments that are not
    multiples of all these anyway, generate every address.
    """
    unit = math.gcd(*(buffer.size for buffer in problem.buffers))
    unit = math.gcd(unit, *(buffer.fixed or 0 for buffer in problem.buffers)) or 1
    while finer := [b.alignment for b in problem.buffers if unit % b.alignment]:
        coarser = math.gcd(unit, *finer)
        if coarser == unit:
            break
        unit = coarser
    return unit


def sections(items: Sequence[Item]) -> Iterator[Section]:
    """The sections that no other contains, in order of time."""
    times = [(item.end, 0, item) for item in items] + [(item.start, 1, item) for item in items]
    times.sort(key=lambda entry: (entry[0], entry[1], entry[2].index))
    live: dict[int, Item] = {}
    began = None
    for time, starts, item in times:
        if starts:
            live[item.index] = item
            began = time
            continue
        if began is not None:
            yield Section(began, time, tuple(live.values()), _height(tuple(live.values())))
            began = None
        del live[item.index]


def _height(items: Sequence[Item]) -> int:
    """What `items`, all live at once, need at least.

    Every address is a multiple of the gcd of the steps, so that each item but the topmost takes a
    multiple of it.
    """
    step = math.gcd(*(item.step for item in items))
    padding = [-item.size % step for item in items]
    return sum(item.size for item in items) + sum(padding) - max(padding)


def neighbours(items: Sequence[Item]) -> dict[int, list[Item]]:
    """For each item, by index, those that are live together with it, in order of their starts."""
    found: dict[int, list[Item]] = {item.index: [] for item in items}
    live: list[Item] = []
    for item in sorted(items, key=lambda item: (item.start, item.index)):
        live = [other for other in live if other.end > item.start]
        for other in live:
            found[item.index].append(other)
            found[other.index].append(item)
        live.append(item)
    return found


def independent(items: Sequence[Item]) -> list[list[Item]]:
    """`items` cut where none is live across, so that each part can be packed by itself."""
    parts: list[list[Item]] = []
    reach = 0
    for item in sorted(items, key=lambda item: (item.start, item.index)):
        if not parts or item.start >= reach:
            parts.append([])
            reach = item.end
        parts[-1].append(item)
        reach = max(reach, item.end)
    return parts


def set_aside(items: Sequence[Item], capacity: int) -> tuple[list[Item], list[Item]]:
    """`items` in two lists: those that matter, and those that fit wherever the others lie.

    A neighbour blocks at most as many addresses as it and the item have units together, less one.
    An item with more addresses below `capacity` than its neighbours can block is set aside; then
    it blocks nothing for the rest.  The second list is in the order in which to place them.
    """
    near = neighbours(items)
    blocked = {
        item.index: sum(_blocked(item, other) for other in near[item.index]) for item in items
    }
    kept = {item.index: item for item in items}
    queue = [item for item in items if item.fixed is None]
    aside: list[Item] = []
    while queue:
        item = queue.pop()
        if item.index not in kept or blocked[item.index] > (capacity - item.size) // item.step:
            continue
        del kept[item.index]
        aside.append(item)
        for other in near[item.index]:
            blocked[other.index] -= _blocked(other, item)
            if other.index in kept and other.fixed is None:
                queue.append(other)
    return list(kept.values()), aside[::-1]


def _blocked(item: Item, other: Item) -> int:
    """How many addresses of `item` the other can take away at most."""
    return -(-(item.size + other.size - 1) // item.step)
