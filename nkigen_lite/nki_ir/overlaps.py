"""The independent verdict on an allocation: a walk through the kernel that keeps what is live.

It shares nothing with what chose the addresses but the records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir.allocation import SBUF_ALIGNMENT, Allocation, Place, places_of
from nkigen_lite.nki_ir.limits import Limits


def problems(kernel: Graph, allocation: Allocation, limits: Limits) -> list[str]:
    """Everything wrong with an allocation, as sentences: addresses that are not aligned or not
    within the memory, and buffers that are live together and share bytes or a bank.

    Raises:
        InvalidInput: it is the allocation of another kernel.
    """
    walk = _Walk(places_of(kernel, allocation), limits)
    return list(dict.fromkeys(walk.level(kernel)))


def check(kernel: Graph, allocation: Allocation, limits: Limits) -> None:
    """Raise :class:`InvalidInput` for the first thing that is wrong with an allocation."""
    for sentence in problems(kernel, allocation, limits):
        raise InvalidInput(sentence)


@dataclass
class _Walk:
    places: Mapping[Value, Place]
    limits: Limits
    live: dict[Value, Place] = field(default_factory=dict)

    def level(self, graph: Graph) -> Iterator[str]:
        mine: list[Value] = []
        for op in graph.ops:
            yield from self._op(op, mine)
        for value in mine:
            self.live.pop(value, None)

    def _op(self, op: Op, mine: list[Value]) -> Iterator[str]:
        if op.opcode == "alloc" and op.result in self.places:
            place = self.places[op.result]
            yield from self._alone(place)
            for other in self.live.values():
                yield from self._apart(other, place)
            self.live[op.result] = place
            mine.append(op.result)
        elif op.opcode == "dealloc":
            self.live.pop(op.inputs[0], None)
        for region in op.regions:
            yield from self.level(region)

    def _alone(self, place: Place) -> Iterator[str]:
        limits = self.limits
        psum = place.memory == "psum"
        step = limits.psum_bank_bytes if psum else SBUF_ALIGNMENT
        room = limits.psum_banks * limits.psum_bank_bytes if psum else limits.sbuf_bytes
        for number, offset in enumerate(place.offsets):
            who = f"allocation: %{place.name} copy {number} in {place.memory}"
            if offset < 0 or offset % step:
                yield f"{who} is at byte {offset} but must be at a multiple of {step}"
            if offset + place.bytes > room:
                yield (
                    f"{who} ends at byte {offset + place.bytes} but there are {room} per partition"
                )
        yield from self._apart(place, place)

    def _apart(self, one: Place, two: Place) -> Iterator[str]:
        """Whether copies of two buffers that are live together have bytes of their own."""
        if one.memory != two.memory:
            return
        for i, first in enumerate(one.offsets):
            for k, second in enumerate(two.offsets):
                if one is two and i >= k:
                    continue
                if first < second + self._taken(two) and second < first + self._taken(one):
                    yield (
                        f"allocation: %{one.name} copy {i} at byte {first} and %{two.name} copy "
                        f"{k} at byte {second} of {one.memory} overlap but are live together"
                    )

    def _taken(self, place: Place) -> int:
        """Bytes that nothing else may lie in: in PSUM, whole banks."""
        if place.memory != "psum":
            return place.bytes
        return self.limits.banks_of(place.bytes) * self.limits.psum_bank_bytes
