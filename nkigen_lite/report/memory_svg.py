"""SBUF and PSUM over a kernel's text as SVG: bytes upwards, ops to the right, a colour per value.

A full rectangle is a buffer while it is live; a faint one the rest of the loop in which its copies
rotate, where the contents of other trips may be in use. The colours are those of Okabe and Ito's
palette ("Color Universal Design", 2008); tooltips and labels say the same without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement, tostring

from nkigen_lite.report.figures import size
from nkigen_lite.report.memory_map import (
    MEMORY_NAMES,
    MemoryMap,
    Panel,
    Strip,
    hazards_in_words,
    in_words,
)
from nkigen_lite.report.svg import document, legible, px, rect, text

WIDTH = 1200
LEFT, RIGHT, TOP = 100, 24, 84
_TALL = {"sbuf": 420, "psum": 176}  # pixels of a memory's capacity
_GAP, _BAND = 44, 15  # between memories; of a loop
_CHARACTER, _LABELLED = (
    5.8,
    11,
)  # pixels of a character of a label; least height of a labelled strip
_SHORTEST = 4  # characters of a label that is cut
_MOST_IN_LEGEND = 24

_PALETTE = (
    ("#0072b2", "#ffffff"),
    ("#e69f00", "#000000"),
    ("#009e73", "#000000"),
    ("#cc79a7", "#000000"),
    ("#56b4e9", "#000000"),
    ("#d55e00", "#000000"),
    ("#f0e442", "#000000"),
    ("#999999", "#000000"),
)
_STYLE = """
.kept { fill-opacity: 0.22; stroke: none } .limit { stroke: #d00000; stroke-dasharray: 6 4 }
.loop { fill: none; stroke: #888888; stroke-width: 1 }
"""


def memory_svg(found: MemoryMap, *, title: str) -> str:
    """A memory map as an SVG document; every buffer has a tooltip."""
    colours = _colours(found)
    panels = [p for p in found.panels if p.strips]
    depth = 1 + max((b.depth for b in found.bands), default=-1)
    bands = float(TOP)
    first = bands + depth * _BAND + 12
    height = first + sum(_TALL[p.memory] + _GAP for p in panels)
    legend = _legend_lines(colours)
    root = document(WIDTH, round(height + 20 * len(legend) + 16), _STYLE + _palette_style())
    text(root, LEFT, 24, title, "title")
    words = "; ".join(in_words(panel) for panel in panels) or "nothing lies on chip"
    text(root, LEFT, 42, words)
    text(root, LEFT, 58, hazards_in_words(found))
    y = first
    for panel in panels:
        _panel(root, panel, found.ops, y, colours)
        y += _TALL[panel.memory] + _GAP
    _loops(root, found, bands, y - _GAP)
    text(root, LEFT, y - _GAP + 22, f"{found.ops} ops of the kernel's text, loop bodies once")
    for line, names in enumerate(legend):
        _legend(root, names, colours, height + 20 * line)
    return tostring(root, encoding="unicode") + "\n"


def _colours(found: MemoryMap) -> dict[str, int]:
    """A place in the palette for each value's name, in the order of first appearance."""
    strips = sorted((s for p in found.panels for s in p.strips), key=lambda s: s.live)
    names = dict.fromkeys(_value(s) for s in strips)
    return {name: k % len(_PALETTE) for k, name in enumerate(names)}


def _value(strip: Strip) -> str:
    """The name of a buffer without the number that tells it from others of that name."""
    stem, _, number = strip.place.name.rpartition("_")
    return stem if number.isdecimal() and stem else strip.place.name


def _panel(root: Element, panel: Panel, ops: int, y: float, colours: Mapping[str, int]) -> None:
    tall, usage = _TALL[panel.memory], panel.usage
    capacity = max(usage.capacity, usage.top, 1)
    rect(root, "lane", LEFT, y, WIDTH - LEFT - RIGHT, tall)
    text(root, LEFT, y - 4, MEMORY_NAMES[panel.memory], "title")
    for part in range(5):
        at = y + tall - tall * part / 4
        line = {"x1": px(LEFT), "x2": px(WIDTH - RIGHT), "y1": px(at), "y2": px(at)}
        SubElement(root, "line", {"class": "grid", **line})
        text(root, LEFT - 8, at + 4, size(capacity * part / 4), anchor="end")
    for kept in (True, False):
        for strip in panel.strips:
            if not kept or strip.kept != strip.live:
                _strip(root, strip, ops, (y, tall / capacity, tall), colours, kept)
    if usage.overflow:
        at = y + tall - tall * usage.capacity / capacity
        line = {"x1": px(LEFT), "x2": px(WIDTH - RIGHT), "y1": px(at), "y2": px(at)}
        SubElement(root, "line", {"class": "limit", **line})


def _strip(
    root: Element,
    strip: Strip,
    ops: int,
    frame: tuple[float, float, float],
    colours: Mapping[str, int],
    kept: bool,
) -> None:
    """One copy of a buffer; ``frame`` is the top of its memory, pixels per byte, and height."""
    top, scale, tall = frame
    first, last = strip.kept if kept else strip.live
    x = _x(first, ops)
    wide = _x(last, ops) - x
    high = max(strip.place.bytes * scale, 1.0)
    y = top + tall - strip.offset * scale - high
    colour = colours[_value(strip)]
    box = rect(root, f"event {'kept ' if kept else ''}c{colour}", x, y, wide, high)
    place, end = strip.place, strip.offset + strip.place.bytes - 1
    SubElement(box, "title").text = legible(
        f"{place.name} copy {strip.copy} of {len(place.offsets)}, {place.partitions} partitions; "
        f"bytes {strip.offset:,} to {end:,}; ops {place.start} to {place.end}"
    )
    room = int((wide - 4) / _CHARACTER)
    if not kept and high >= _LABELLED and room >= min(len(place.name), _SHORTEST):
        shown = place.name if len(place.name) <= room else place.name[: room - 1] + "…"
        text(root, x + wide / 2, y + high / 2 + 3.5, shown, f"label on-c{colour}", "middle")


def _loops(root: Element, found: MemoryMap, y: float, bottom: float) -> None:
    for band in found.bands:
        x, end = (_x(at, found.ops) for at in band.span)
        top = y + band.depth * _BAND
        box = rect(root, "loop", x, top, end - x, _BAND - 2)
        label = f"{band.name} x{band.trips}"
        SubElement(box, "title").text = legible(
            f"loop {label}, ops {band.span[0]} to {band.span[1]}"
        )
        if (end - x - 4) / _CHARACTER >= len(label):
            text(root, x + 3, top + _BAND - 5, label, "label")
        if band.depth == 0:
            for at in (x, end):
                line = {"x1": px(at), "x2": px(at), "y1": px(top), "y2": px(bottom)}
                SubElement(root, "line", {"class": "grid", **line})


def _x(op: int, ops: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * op / max(ops, 1)


def _legend_lines(colours: Mapping[str, int]) -> list[list[str]]:
    """Names in lines that are not too long."""
    lines: list[list[str]] = []
    room = 0.0
    for name in list(colours)[:_MOST_IN_LEGEND]:
        wide = _legend_width(name)
        if not lines or wide > room:
            lines.append([])
            room = float(WIDTH - LEFT - RIGHT)
        lines[-1].append(name)
        room -= wide
    return lines


def _legend_width(name: str) -> float:
    return 17 + 7.5 * len(name) + 18


def _legend(root: Element, names: list[str], colours: Mapping[str, int], y: float) -> None:
    x = float(LEFT)
    for name in names:
        rect(root, f"event c{colours[name]}", x, y - 10, 12, 12)
        text(root, x + 17, y, name)
        x += _legend_width(name)


def _palette_style() -> str:
    return "".join(
        f".c{k} {{ fill: {colour} }} text.on-c{k} {{ fill: {label} }}\n"
        for k, (colour, label) in enumerate(_PALETTE)
    )
