"""What a drawing of SBUF and PSUM over a kernel's text shows: which bytes are whose, when.

The text goes from left to right, one op after the other, bodies of loops once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nkigen_lite.core.ir import Graph
from nkigen_lite.nki_ir.allocation import Allocation, Place, Usage
from nkigen_lite.nki_ir.lifetimes import Span, length
from nkigen_lite.report.figures import percent, size

MEMORY_NAMES = {"sbuf": "SBUF", "psum": "PSUM"}


@dataclass(frozen=True, slots=True)
class Band:
    """A loop: where its ops are, and how many loops are around it."""

    name: str
    trips: int
    span: Span
    depth: int


@dataclass(frozen=True, slots=True)
class Strip:
    """One copy of a buffer.

    Attributes:
        place: of the buffer.
        copy: its number.
        offset: its first byte in each partition.
        live: the ops during which it is live.
        kept: the loop in which copies rotate, so that another trip's contents may still be in use;
            else the same as ``live``.
    """

    place: Place
    copy: int
    offset: int
    live: Span
    kept: Span


@dataclass(frozen=True, slots=True)
class Panel:
    """One memory: how it is used, and the copies in it by address."""

    memory: str
    usage: Usage
    strips: tuple[Strip, ...]


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Memories over the ``ops`` of a kernel's text; ``hazards`` as many as there are."""

    ops: int
    bands: tuple[Band, ...]
    panels: tuple[Panel, ...]
    hazards: int


def memory_map(kernel: Graph, allocation: Allocation) -> MemoryMap:
    """The map of a kernel at the addresses of its allocation."""
    bands = tuple(_bands(kernel, 0, 0))
    panels = []
    for memory, usage in (("sbuf", allocation.sbuf), ("psum", allocation.psum)):
        mine = [p for p in allocation.places if p.memory == memory]
        strips = [
            Strip(place, copy, offset, (place.start, place.end), _kept(place, bands))
            for place in mine
            for copy, offset in enumerate(place.offsets)
        ]
        strips.sort(key=lambda s: (s.offset, s.live))
        panels.append(Panel(memory, usage, tuple(strips)))
    return MemoryMap(length(kernel), bands, tuple(panels), len(allocation.hazards))


def in_words(panel: Panel) -> str:
    """A memory's use in a line."""
    usage = panel.usage
    return (
        f"{MEMORY_NAMES[panel.memory]} by address: {size(usage.top)} of {size(usage.capacity)} per "
        f"partition; live at most {size(usage.live)}, {percent(usage.fragmentation)} is free then"
    )


def hazards_in_words(found: MemoryMap) -> str:
    """What follows from bytes that are used twice."""
    if not found.hazards:
        return "no byte is used by two buffers"
    count = "1 hazard" if found.hazards == 1 else f"{found.hazards} hazards"
    return f"{count}: a buffer waits for the last users of one that had its bytes"


def _bands(graph: Graph, first: int, depth: int) -> Iterator[Band]:
    at = first
    for op in graph.ops:
        inside = at + 1
        for body in op.regions:
            end = inside + length(body)
            trips = -(-op.attrs["extent"] // op.attrs["step"])
            yield Band(body.inputs[0].name, trips, (at, end), depth)
            yield from _bands(body, inside, depth + 1)
            inside = end
        at = inside


def _kept(place: Place, bands: tuple[Band, ...]) -> Span:
    around = [b.span for b in bands if b.span[0] < place.start < b.span[1]]
    return around[-1] if around and len(place.offsets) > 1 else (place.start, place.end)
