"""Packings made without search: one pass over the items in some order.

Three kinds of pass.  First fit puts each item at the lowest address where it fits between those
placed before; best fit into the smallest gap; lowest offset places, again and again, the item that
can lie lowest above all its placed neighbours.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..engine import Meter
from .grid import Item, neighbours, sections

SECONDS_PER_VISIT = 0.5e-6
"""What a pass takes per pair of neighbours: measured on one core of a 2 vCPU cloud machine."""

Place = Callable[[Item, Sequence[tuple[int, int]]], int]

ORDERS: Mapping[str, tuple[str, ...]] = {
    # MiniMalloc's preordering heuristic "WAT" (google/minimalloc, README).
    "width, area, total": ("width", "area", "total"),
    "total, width, area": ("total", "width", "area"),
    "total, area": ("total", "area"),
    "area, width": ("area", "width"),
    "area, total": ("area", "total"),
    "size, width": ("size", "width"),
    "start, area": ("start", "area"),
}
"""Orders of items by name: the measures to compare, each descending except the start."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Addresses of items by index, their height, and what made them."""

    addresses: Mapping[int, int]
    height: int
    method: str


def ordered(items: Sequence[Item], measures: Sequence[str]) -> list[Item]:
    """`items` sorted by `measures`, the first deciding; ties keep their order.

    The total of an item is the most that its sections need, as far as `items` go.
    """
    total = dict.fromkeys((item.index for item in items), 0)
    if "total" in measures:
        for section in sections(items):
            for item in section.items:
                total[item.index] = max(total[item.index], section.height)
    value: dict[str, Callable[[Item], int]] = {
        "width": lambda item: item.start - item.end,
        "area": lambda item: item.size * (item.start - item.end),
        "size": lambda item: -item.size,
        "start": lambda item: item.start,
        "total": lambda item: -total[item.index],
    }
    return sorted(items, key=lambda item: [value[measure](item) for measure in measures])


def drafts(items: Sequence[Item], meter: Meter) -> Iterator[Draft]:
    """Packings by every kind of pass and order, as far as the time goes, but at least one."""
    near = neighbours(items)
    cost_s = SECONDS_PER_VISIT * (len(items) + sum(len(others) for others in near.values()))
    for name, measures in ORDERS.items():
        order = ordered(items, measures)
        for kind, run in PASSES.items():
            meter.spent_s += cost_s
            addresses = run(order, near)
            yield Draft(addresses, height(items, addresses), f"{kind} by {name}")
            if meter.left_s <= 0 or meter.wall_left_s <= 0.01:
                return


def height(items: Sequence[Item], addresses: Mapping[int, int]) -> int:
    """The top of the highest item."""
    return max((addresses[item.index] + item.size for item in items), default=0)


def place(
    order: Sequence[Item],
    near: Mapping[int, Sequence[Item]],
    where: Place,
    placed: Mapping[int, int] | None = None,
) -> dict[int, int]:
    """Addresses for `order`, one by one, each `where` its placed neighbours leave room."""
    addresses = dict(placed or {})
    addresses.update(_fixed(order))
    for item in order:
        if item.fixed is None:
            addresses[item.index] = where(item, _taken(near[item.index], addresses))
    return addresses


def lowest_gap(item: Item, taken: Sequence[tuple[int, int]]) -> int:
    """The lowest address at which `item` fits beside `taken`, sorted pairs of bottom and top."""
    at = 0
    for bottom, top in taken:
        if bottom - at >= item.size:
            break
        at = max(at, -(-top // item.step) * item.step)
    return at


def smallest_gap(item: Item, taken: Sequence[tuple[int, int]]) -> int:
    """The address at the bottom of the smallest gap within `taken` that holds `item`, or above
    all."""
    best, room, at = None, 0, 0
    for bottom, top in taken:
        if bottom - at >= item.size and (best is None or bottom - at < room):
            best, room = at, bottom - at
        at = max(at, -(-top // item.step) * item.step)
    return at if best is None else best


def lowest_offset(order: Sequence[Item], near: Mapping[int, Sequence[Item]]) -> dict[int, int]:
    """Addresses for `order`, the item first that can lie lowest above its placed neighbours; of
    several, the first in `order`."""
    addresses = _fixed(order)
    obstacles = {item.index: _taken(near[item.index], addresses) for item in order}
    floor = {item.index: _lifted(item, 0, obstacles[item.index]) for item in order}
    heap = [(floor[item.index], rank) for rank, item in enumerate(order) if item.fixed is None]
    heapq.heapify(heap)
    ranks = {item.index: rank for rank, item in enumerate(order)}
    while heap:
        at, rank = heapq.heappop(heap)
        item = order[rank]
        if item.index in addresses or at != floor[item.index]:
            continue
        addresses[item.index] = at
        for other in near[item.index]:
            if other.index not in addresses and floor[other.index] < at + item.size:
                lifted = _lifted(other, at + item.size, obstacles[other.index])
                floor[other.index] = lifted
                heapq.heappush(heap, (lifted, ranks[other.index]))
    return addresses


PASSES: Mapping[str, Callable[[Sequence[Item], Mapping[int, Sequence[Item]]], dict[int, int]]] = {
    "lowest offset": lowest_offset,
    "first fit": lambda order, near: place(order, near, lowest_gap),
    "best fit": lambda order, near: place(order, near, smallest_gap),
}


def _fixed(items: Sequence[Item]) -> dict[int, int]:
    return {item.index: item.fixed for item in items if item.fixed is not None}


def _taken(near: Sequence[Item], addresses: Mapping[int, int]) -> list[tuple[int, int]]:
    """Bottoms and tops of those of `near` that have an address, sorted."""
    return sorted(
        (addresses[other.index], addresses[other.index] + other.size)
        for other in near
        if other.index in addresses
    )


def _lifted(item: Item, floor: int, obstacles: Sequence[tuple[int, int]]) -> int:
    """The lowest address from `floor` on at which `item` misses `obstacles`."""
    at = -(-floor // item.step) * item.step
    for bottom, top in obstacles:
        if bottom - at < item.size and top > at:
            at = -(-top // item.step) * item.step
    return at
