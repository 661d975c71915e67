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
_STYLE = """
.back { fill: #ffffff } .grid { stroke: #dddddd } .lane { fill: #f4f4f4 }
text { font-family: system-ui, 'DejaVu Sans', sans-serif; font-size: 12px; fill: #222222 }
.title { font-size: 15px; font-weight: bold } .label { font-size: 10px; pointer-events: none }
.event { stroke: #222222; stroke-opacity: 0.55; stroke-width: 0.5 }
@media (prefers-color-scheme: dark) {
  .back { fill: #16181d } .grid { stroke: #3a3d45 } .lane { fill: #20232a }
  text { fill: #e4e4e4 } .event { stroke: #16181d; stroke-opacity: 1 }
}
"""


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
    root = Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        width=str(WIDTH),
        height=str(height),
    )
    SubElement(root, "style").text = _STYLE + _event_colours()
    _rect(root, "back", 0, 0, WIDTH, height)
    _text(root, LEFT, 24, title, "title")
    _text(root, LEFT, 42, _subtitle(timeline, part))
    for item in placed:
        _rect(root, "lane", LEFT, item.y, WIDTH - LEFT - RIGHT, item.height)
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
        _text(root, LEFT - 8, middle, name, anchor="end")
    for event in lane.events:
        _event(root, event, item, end_ns)


def _event(root: Element, event: Event, item: _Placed, end_ns: float) -> None:
    scale = (WIDTH - LEFT - RIGHT) / end_ns
    x = LEFT + event.start_ns * scale
    width = (min(event.end_ns, end_ns) - event.start_ns) * scale
    kind = event.kind
    rect = _rect(root, f"event {kind}", x, item.y, width, item.height)
    when = f"{event.start_ns / 1000:.3f} to {event.end_ns / 1000:.3f} us"
    label = _legible(event.label)
    SubElement(
        rect, "title"
    ).text = f"{label} on {item.lane.name}\n{when} ({duration(event.end_ns - event.start_ns)})"
    room = int((width - 6) / _CHARACTER)
    if item.height >= _LABELLED and room >= min(len(label), _SHORTEST):
        shown = label if len(label) <= room else label[: room - 1] + "…"
        middle = item.y + item.height / 2 + 3.5
        _text(root, x + width / 2, middle, shown, f"label on-{kind}", "middle")


def _axis(root: Element, end_ns: float, bottom: float) -> None:
    times = ticks(end_ns, _TICKS)
    for time, label in zip(times, tick_labels(times), strict=True):
        x = LEFT + (time / end_ns * (WIDTH - LEFT - RIGHT) if end_ns > 0 else 0)
        line = {"x1": _px(x), "x2": _px(x), "y1": _px(TOP - 4), "y2": _px(bottom + 4)}
        SubElement(root, "line", {"class": "grid", **line})
        _text(root, x, bottom + 18, label, anchor="middle")


def _legend(root: Element, events: Sequence[Event], y: float) -> None:
    kinds = {event.kind for event in events}
    x = float(LEFT)
    for kind in [k for k in _COLOURS if k in kinds]:
        _rect(root, f"event {kind}", x, y - 10, 12, 12)
        name = KIND_NAMES[kind]
        _text(root, x + 17, y, name)
        x += 17 + 7.5 * len(name) + 18


def _event_colours() -> str:
    return "".join(
        f".{kind} {{ fill: {colour} }} text.on-{kind} {{ fill: {label} }}\n"
        for kind, (colour, label) in _COLOURS.items()
    )


def _rect(root: Element, kind: str, x: float, y: float, width: float, height: float) -> Element:
    size = {"x": _px(x), "y": _px(y), "width": _px(width), "height": _px(height)}
    return SubElement(root, "rect", {"class": kind, **size})


def _text(
    root: Element, x: float, y: float, text: str, kind: str = "", anchor: str = "start"
) -> None:
    how = {"class": kind} if kind else {}
    if anchor != "start":
        how["text-anchor"] = anchor
    made = SubElement(root, "text", {**how, "x": _px(x), "y": _px(y)})
    made.text = _legible(text)


def _legible(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _px(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
