"""A drawing of the beginning of a simulated time line as SVG: a lane per engine, time to the right.

It has its own background, light or dark as the reader prefers. The colours of the events are those
of Okabe and Ito's palette ("Color Universal Design", 2008), which people with any kind of colour
vision can tell apart; lanes and labels say the same without colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from cost_models.simulate import Event, Timeline
from nkigen_lite.report.figures import duration, micros
from nkigen_lite.report.svg import document, legible, px, rect, text
from nkigen_lite.report.timeline_lanes import (
    DRAWN,
    KIND_NAMES,
    Excerpt,
    Lane,
    excerpt,
    lanes_of,
    said,
    tick_labels,
    ticks,
)

WIDTH = 1200
LEFT, RIGHT, TOP = 90, 24, 56
_LANE, _GAP = 26, 6
_ALL_DMA, _THINNEST = 160, 5  # pixels of all lanes of transfers together; of one
_CHARACTER, _LABELLED = 5.8, 13  # pixels of a character of a label; least height of a labelled lane
_SHORTEST = 6  # characters of a label that is cut
_TICKS = 12

# kind -> (colour, colour of the label on it)
_COLOURS = {
    "tensor": ("#0072b2", "#ffffff"),
    "vector": ("#e69f00", "#000000"),
    "scalar": ("#009e73", "#000000"),
    "gpsimd": ("#cc79a7", "#000000"),
    "sync": ("#999999", "#000000"),
    "trigger": ("#999999", "#000000"),
    "load": ("#56b4e9", "#000000"),
    "store": ("#d55e00", "#000000"),
    "copy": ("#f0e442", "#000000"),
}


@dataclass(frozen=True, slots=True)
class _Placed:
    """A lane and where it is drawn, in pixels."""

    lane: Lane
    y: float
    height: float


def timeline_svg(timeline: Timeline, *, title: str = "kernel", first: int = DRAWN) -> str:
    """The ``first`` recorded events of a time line as an SVG document.

    Each event is a rectangle with a tooltip, and labelled if there is room. Transfers that overlap
    are drawn below each other.
    """
    part = excerpt(timeline, first)
    placed = _place(lanes_of(part.events))
    bottom = placed[-1].y + placed[-1].height if placed else float(TOP)
    height = round(bottom + 64)
    root = document(WIDTH, height, _event_colours())
    text(root, LEFT, 24, title, "title")
    text(root, LEFT, 42, _subtitle(timeline, part))
    for item in placed:
        rect(root, "lane", LEFT, item.y, WIDTH - LEFT - RIGHT, item.height)
    _axis(root, part.end_ns, bottom)
    for item in placed:
        _lane(root, item, part.end_ns)
    _legend(root, part.events, bottom + 48)
    return tostring(root, encoding="unicode") + "\n"


def _subtitle(timeline: Timeline, part: Excerpt) -> str:
    all_of_it = f"simulated {micros(timeline.time_ns / 1000)} us, not measured"
    if not part.events:
        return f"{all_of_it}; no events are recorded"
    if part.whole:
        return f"{all_of_it}; all of it: {said(part)}"
    return f"{all_of_it}; the first {duration(part.end_ns)} of it: {said(part)}"


def _place(lanes: Sequence[Lane]) -> list[_Placed]:
    """Lanes from the top down; those of one unit touch, and many lanes of transfers are thin."""
    several = sum(lane.unit == "dma" for lane in lanes)
    thin = min(float(_LANE), max(float(_THINNEST), _ALL_DMA / max(1, several)))
    found: list[_Placed] = []
    for lane in lanes:
        height = thin if lane.unit == "dma" else float(_LANE)
        y = float(TOP)
        if found:
            above = found[-1]
            gap = 1 if above.lane.unit == lane.unit else _GAP
            y = above.y + above.height + gap
        found.append(_Placed(lane, y, height))
    return found


def _lane(root: Element, item: _Placed, end_ns: float) -> None:
    lane = item.lane
    if item.height >= _LABELLED or lane.name.rpartition(" ")[2] in (lane.name, "1"):
        name = lane.name if item.height >= _LABELLED else lane.name.partition(" ")[0]
        middle = item.y + min(item.height, _LANE) / 2 + 4
        text(root, LEFT - 8, middle, name, anchor="end")
    for event in lane.events:
        _event(root, event, item, end_ns)


def _event(root: Element, event: Event, item: _Placed, end_ns: float) -> None:
    scale = (WIDTH - LEFT - RIGHT) / end_ns
    x = LEFT + event.start_ns * scale
    width = (min(event.end_ns, end_ns) - event.start_ns) * scale
    kind = event.kind
    box = rect(root, f"event {kind}", x, item.y, width, item.height)
    when = f"{event.start_ns / 1000:.3f} to {event.end_ns / 1000:.3f} us"
    label = legible(event.label)
    SubElement(
        box, "title"
    ).text = f"{label} on {item.lane.name}\n{when} ({duration(event.end_ns - event.start_ns)})"
    room = int((width - 6) / _CHARACTER)
    if item.height >= _LABELLED and room >= min(len(label), _SHORTEST):
        shown = label if len(label) <= room else label[: room - 1] + "…"
        middle = item.y + item.height / 2 + 3.5
        text(root, x + width / 2, middle, shown, f"label on-{kind}", "middle")


def _axis(root: Element, end_ns: float, bottom: float) -> None:
    times = ticks(end_ns, _TICKS)
    for time, label in zip(times, tick_labels(times), strict=True):
        x = LEFT + (time / end_ns * (WIDTH - LEFT - RIGHT) if end_ns > 0 else 0)
        line = {"x1": px(x), "x2": px(x), "y1": px(TOP - 4), "y2": px(bottom + 4)}
        SubElement(root, "line", {"class": "grid", **line})
        text(root, x, bottom + 18, label, anchor="middle")


def _legend(root: Element, events: Sequence[Event], y: float) -> None:
    kinds = {event.kind for event in events}
    x = float(LEFT)
    for kind in [k for k in _COLOURS if k in kinds]:
        rect(root, f"event {kind}", x, y - 10, 12, 12)
        name = KIND_NAMES[kind]
        text(root, x + 17, y, name)
        x += 17 + 7.5 * len(name) + 18


def _event_colours() -> str:
    return "".join(
        f".{kind} {{ fill: {colour} }} text.on-{kind} {{ fill: {label} }}\n"
        for kind, (colour, label) in _COLOURS.items()
    )
