"""Where the buffers of a kernel lie in SBUF and PSUM, as plain data.

All partitions share the addresses: a buffer starts at partition 0, and at a byte that is the same
in each partition. In PSUM every buffer has banks of its own, from the start of one on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir.lifetimes import Lifetime, lifetimes

SBUF_ALIGNMENT = 4
"""Bytes that addresses in SBUF are multiples of, so that no element of any type is cut.

NKI itself asks for less: nki.language.tile_size has ``sbuf_min_align`` 1 and ``psum_min_align`` 4
(leanprover/KLR, the table of its tracer)."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a buffer lies.

    Attributes:
        name: of the buffer; another one if an earlier buffer has it already.
        memory: "sbuf" or "psum".
        partitions: from partition 0 on.
        bytes: of one copy, in each partition.
        start, end: the positions in the program text from and before which it is live.
        offsets: per copy, its first byte in each partition.
    """

    name: str
    memory: str
    partitions: int
    bytes: int
    start: int
    end: int
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hazard:
    """Bytes that pass from a copy of one buffer to a copy of another.

    Whoever first writes into the new one has to wait for the last users of the old one. No data
    flows between them, so nothing but this says so.
    """

    old: str
    old_copy: int
    new: str
    new_copy: int

    def __str__(self) -> str:
        return f"%{self.old} copy {self.old_copy} -> %{self.new} copy {self.new_copy}"


@dataclass(frozen=True, slots=True)
class Usage:
    """How a memory is used, in bytes of each partition.

    Attributes:
        capacity: usable.
        top: the number of the highest byte in use, plus one: the peak by address.
        live: the most in use at one position of the program, with all copies, each rounded up to
            the alignment or to whole banks.
        spread: how long all buffers keep their bytes, at least.
        method: what found the addresses.
    """

    capacity: int
    top: int
    live: int
    spread: str
    method: str

    @property
    def overflow(self) -> int:
        """Bytes above the capacity."""
        return max(0, self.top - self.capacity)

    @property
    def fragmentation(self) -> float:
        """The part of the bytes below the top that are free even when most are in use."""
        return 1 - self.live / self.top if self.top else 0.0


@dataclass(frozen=True, slots=True)
class Allocation:
    """Addresses for the on-chip buffers of a kernel, in the order of their ``alloc`` ops."""

    kernel: str
    sbuf: Usage
    psum: Usage
    places: tuple[Place, ...]
    hazards: tuple[Hazard, ...]

    @property
    def fits(self) -> bool:
        """Whether all addresses are within the capacities."""
        return not (self.sbuf.overflow or self.psum.overflow)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """The allocation as JSON text; equal allocations give equal text."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Allocation:
        """The allocation that ``to_json`` wrote.

        Raises:
            InvalidInput: the text is no JSON, or a record lacks a field or has one too many.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidInput(f"allocation: the text is no JSON: {error}") from None
        made = _record(cls, data)
        return cls(
            made.kernel,
            _record(Usage, made.sbuf),
            _record(Usage, made.psum),
            tuple(_place(item) for item in made.places),
            tuple(_record(Hazard, item) for item in made.hazards),
        )


def _record(kind: type[R], data: Any) -> R:
    """A record of ``data``, whose nested records are still data."""
    wanted = [f.name for f in fields(kind)]  # type: ignore[arg-type]  # all kinds are dataclasses
    if not isinstance(data, dict) or sorted(data) != sorted(wanted):
        raise InvalidInput(
            f"allocation: {kind.__name__} is {str(data)[:60]!r} but must be an object of "
            f"{', '.join(wanted)}"
        )
    return kind(**data)


def _place(data: Any) -> Place:
    made = _record(Place, data)
    items = [f.name for f in fields(Place)]
    values: dict[str, Any] = {name: getattr(made, name) for name in items}
    return Place(**{**values, "offsets": tuple(made.offsets)})


def names_of(lives: list[Lifetime]) -> list[str]:
    """A name for each buffer, no two alike."""
    taken: set[str] = set()
    found = []
    for life in lives:
        name, suffix = life.value.name, 1
        while name in taken:
            name, suffix = f"{life.value.name}_{suffix}", suffix + 1
        taken.add(name)
        found.append(name)
    return found


def places_of(kernel: Graph, allocation: Allocation) -> Mapping[Value, Place]:
    """The place of each buffer of the kernel that an allocation is of.

    Raises:
        InvalidInput: it is the allocation of another kernel.
    """
    lives = lifetimes(kernel)
    wanted = [_shape_of(life) for life in lives]
    given = [(p.memory, p.partitions, p.bytes, len(p.offsets)) for p in allocation.places]
    if wanted != given:
        at = next((i for i, (w, g) in enumerate(zip(wanted, given, strict=False)) if w != g), None)
        what = (
            f"{len(given)} places for {len(wanted)} buffers"
            if at is None
            else f"{allocation.places[at]} for {lives[at].value}"
        )
        raise InvalidInput(
            f"allocation: of @{allocation.kernel}, has {what} but must be that of the kernel, "
            f"@{kernel.name}"
        )
    return {life.value: place for life, place in zip(lives, allocation.places, strict=True)}


def starts_of(kernel: Graph, allocation: Allocation) -> dict[Op, tuple[int, ...]]:
    """The first byte of each copy of a buffer, by the ``alloc`` op that makes it.

    Raises:
        InvalidInput: it is the allocation of another kernel.
    """
    places = places_of(kernel, allocation)
    return {value.producer: place.offsets for value, place in places.items() if value.producer}


def _shape_of(life: Lifetime) -> tuple[str, int, int, int]:
    kind = life.value.type
    return str(kind.memory.value), kind.partition_size, kind.partition_bytes, life.copies
