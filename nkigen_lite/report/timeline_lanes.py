"""The first events of a time line, sorted into lanes for drawing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cost_models.simulate import Event, Timeline
from nkigen_lite.report.timeline import UNIT_NAMES

DRAWN = 200
"""Events in a drawing, unless another number is asked for."""

_UNITS = ((1e7, 1e6, "ms"), (1e3, 1e3, "us"), (0.0, 1.0, "ns"))
"""(From how many ns on, ns, unit) of the labels of an axis."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The recorded events that start before ``end_ns``, in time order; they may end after it.

    ``whole`` says that this is all of the kernel.
    """

    events: tuple[Event, ...]
    end_ns: float
    whole: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """Events of one unit that do not overlap, in time order. Transfers may take several lanes."""

    unit: str
    name: str
    events: tuple[Event, ...]


def excerpt(timeline: Timeline, first: int = DRAWN) -> Excerpt:
    """The first ``first`` (1 or more) recorded events of a time line, in time: fewer or more only
    where several start together."""
    found = sorted(timeline.events, key=lambda e: (e.start_ns, e.end_ns))
    # A DMA is two events: its trigger on an engine, and the transfer.
    whole = len(found) == timeline.instructions + timeline.transfers
    if len(found) <= first:
        end = timeline.time_ns if whole else max((e.end_ns for e in found), default=0.0)
        return Excerpt(tuple(found), end, whole)
    begin, end = found[0].start_ns, found[first].start_ns
    if end == begin:
        end = min((e.start_ns for e in found if e.start_ns > begin), default=found[-1].end_ns)
    return Excerpt(tuple(e for e in found if e.start_ns < end), end, False)


def said(part: Excerpt) -> str:
    """How many events there are, and what they are."""
    count = len(part.events)
    return (
        f"{count:,} {'event' if count == 1 else 'events'} (instructions, DMA triggers, transfers)"
    )


def lanes_of(events: Iterable[Event]) -> list[Lane]:
    """Lanes in the order of the units, each event in the first lane of its unit that is free."""
    rows: dict[str, list[list[Event]]] = {}
    for event in sorted(events, key=lambda e: (e.start_ns, e.end_ns)):
        mine = rows.setdefault(event.unit, [])
        free = next((row for row in mine if row[-1].end_ns <= event.start_ns), None)
        if free is None:
            mine.append([event])
        else:
            free.append(event)
    lanes = []
    for unit in sorted(rows, key=_place):
        several = len(rows[unit]) > 1
        for number, row in enumerate(rows[unit], 1):
            name = UNIT_NAMES.get(unit, unit)
            lanes.append(Lane(unit, f"{name} {number}" if several else name, tuple(row)))
    return lanes


KIND_NAMES = {
    **{unit: name for unit, name in UNIT_NAMES.items() if unit != "dma"},
    "trigger": "DMA trigger",
    "load": "DMA load",
    "store": "DMA store",
    "copy": "DMA copy",
}


def ticks(end_ns: float, most: int) -> list[float]:
    """Round times in ns (1, 2 or 5 times a power of ten apart) from 0 on, ``most`` (2 or more) at
    most, none after ``end_ns``."""
    if end_ns <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(end_ns / most))
    steps = (m * power for m in (1, 2, 5, 10, 20))
    step = next(step for step in steps if math.floor(end_ns / step) < most)
    count = math.floor(end_ns / step)
    return [min(k * step, end_ns) for k in range(count + 1)]  # products are rounded


def tick_labels(times_ns: Sequence[float]) -> list[str]:
    """Times as labels of an axis, the last with its unit: ``0``, ``20``, ``40 us``."""
    scale, unit = next((s, unit) for least, s, unit in _UNITS if times_ns[-1] >= least)
    texts = [f"{time / scale:.10g}" for time in times_ns]
    return [*texts[:-1], f"{texts[-1]} {unit}"]


def _place(unit: str) -> int:
    names = list(UNIT_NAMES)
    return names.index(unit) if unit in names else len(names)
