"""Which buffers take over bytes that others used before.

Engines run ahead of each other, so that a buffer whose life has ended in the text of the program
may still be in use when another one that lies there is written. Every such pair is a hazard, and
has to be ordered by a semaphore like any other dependency.

A walk in program order keeps, for every stretch of bytes, the copies that may have had it last. A
buffer with several copies takes one of them at a time, and one with few partitions leaves the rest
of them alone, so the owners of its bytes before may still be the last. Two rounds of a loop find
what its last trip leaves to the next.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir.allocation import Hazard, Place

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

    def level(self, graph: Graph) -> None:
        for op in graph.ops:
            if op.results and op.result in self.places:
                self._take(self.places[op.result])
            elif op.opcode == "fori_loop":
                self.level(op.attrs["body"])
                if op.attrs["extent"] > op.attrs["step"]:
                    self.level(op.attrs["body"])

    def _take(self, place: Place) -> None:
        edges, owners = self.edges[place.memory], self.owners[place.memory]
        for number, offset in enumerate(place.offsets):
            mine = (place.name, number)
            first = bisect_left(edges, offset)
            for at in range(first, bisect_left(edges, offset + place.bytes)):
                for other in owners[at]:
                    if other[0] != place.name:
                        self.found[mine, other] = None
                left = [other for other in owners[at] if self._may_stay(other, place)]
                owners[at] = frozenset((mine, *left))

    def _may_stay(self, other: Copy, place: Place) -> bool:
        """Whether a copy may be the last to use some of a stretch although ``place`` took it."""
        return len(place.offsets) > 1 or self.partitions[other[0]] > place.partitions
