"""Which buffers take over bytes that others used before.

Engines run ahead of each other, so that a buffer whose life has ended in the text of the program
may still be in use when another one that lies there is written. Every such pair is a hazard, and
has to be ordered by a semaphore like any other dependency.

A walk in program order keeps, for every stretch of bytes, the copies that may have had it last. A
buffer with several copies takes one of them at a time, and one with few partitions leaves the rest
of them alone, so the owners of its bytes before may still be the last. Two rounds of a loop find
what its last trip leaves to the next; after the loop all copies that rotate in it have been taken.
Where run time decides how often a region runs, nothing that it takes is certain to have been taken.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.nki_ir.allocation import Hazard, Place
from nkigen_lite.nki_ir.rows.table import regions_of

MANY = 1 << 20
"""How often something may happen at most, where that is not known."""

Copy = tuple[str, int]
"""A buffer's name and the number of its copy."""


def hazards_of(kernel: Graph, places: Mapping[Value, Place]) -> tuple[Hazard, ...]:
    """The pairs of copies of which the second may follow the first on some bytes, in order."""
    walk = _Walk(places)
    walk.level(kernel)
    return tuple(Hazard(*old, *new) for new, old in sorted(walk.found, key=walk.rank))


@dataclass
class _Walk:
    """``edges`` cut each memory where any copy begins or ends; ``owners`` are of the stretches."""

    places: Mapping[Value, Place]
    edges: dict[str, list[int]] = field(default_factory=dict)
    owners: dict[str, list[frozenset[Copy]]] = field(default_factory=dict)
    found: dict[tuple[Copy, Copy], None] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    partitions: dict[str, int] = field(default_factory=dict)
    certain: bool = True

    def __post_init__(self) -> None:
        cuts: dict[str, set[int]] = {}
        for place in self.places.values():
            self.order[place.name] = len(self.order)
            self.partitions[place.name] = place.partitions
            for offset in place.offsets:
                cuts.setdefault(place.memory, set()).update((offset, offset + place.bytes))
        for memory, found in cuts.items():
            self.edges[memory] = sorted(found)
            self.owners[memory] = [frozenset()] * len(found)

    def rank(self, pair: tuple[Copy, Copy]) -> tuple[int, int, int, int]:
        (new, new_copy), (old, old_copy) = pair
        return self.order[new], new_copy, self.order[old], old_copy

    def level(self, graph: Graph, trips: int = 1) -> list[tuple[Place, int]]:
        """Walk a graph or loop body that runs ``trips`` times in all; the buffers that it
        allocates, each with how often per run of it."""
        taken: list[tuple[Place, int]] = []
        for op in graph.ops:
            if op.results and op.result in self.places:
                place = self.places[op.result]
                self._take(place, trips)
                taken.append((place, 1))
            elif op.opcode == "rotate":
                self._take(self.places[op.inputs[0]], MANY)
            elif op.opcode == "fori_loop":
                ((body, mine),) = regions_of(op)
                taken += self._loop(body, mine, trips)
            else:
                taken += self._undecided(op)
        return taken

    def _undecided(self, op: Op) -> list[tuple[Place, int]]:
        """Regions that run any number of times, or not at all."""
        certain, self.certain = self.certain, False
        found = []
        for body in (*op.regions, *op.regions):
            found += [(place, 0) for place, _ in self.level(body, MANY)]
        self.certain = certain
        return found

    def _loop(self, body: Graph, mine: int, trips: int) -> list[tuple[Place, int]]:
        for _ in range(min(mine, 2)):
            inside = self.level(body, trips * mine)
        names = {place.name for place, _ in inside}
        found = [(place, mine * times) for place, times in inside]
        for place, times in found:
            if self.certain and times >= len(place.offsets) > 1:
                self._leave_to(place, names)
        return found

    def _take(self, place: Place, times: int) -> None:
        """A buffer that is allocated ``times`` times in all takes one of its copies."""
        copies = len(place.offsets)
        numbers = [(k + 1) % copies for k in range(min(times, copies))]
        owners = self.owners[place.memory]
        for number in numbers:
            mine = (place.name, number)
            for at in self._stretches(place, number):
                self.found.update(
                    ((mine, other), None) for other in owners[at] if other[0] != place.name
                )
                alone = self.certain and len(numbers) == 1
                stay = [o for o in owners[at] if not alone or self._is_taller(o, place)]
                owners[at] = frozenset((mine, *stay))

    def _leave_to(self, place: Place, names: set[str]) -> None:
        """All copies of a buffer have been taken: only buffers of ``names`` may have come after."""
        owners = self.owners[place.memory]
        for number in range(len(place.offsets)):
            for at in self._stretches(place, number):
                owners[at] = frozenset(
                    o for o in owners[at] if o[0] in names or self._is_taller(o, place)
                )

    def _stretches(self, place: Place, number: int) -> range:
        edges, offset = self.edges[place.memory], place.offsets[number]
        return range(bisect_left(edges, offset), bisect_left(edges, offset + place.bytes))

    def _is_taller(self, other: Copy, place: Place) -> bool:
        """Whether a copy has partitions that ``place`` leaves alone."""
        return self.partitions[other[0]] > place.partitions
