"""SBUF and PSUM over a kernel's text, as text: a letter per buffer, bytes upwards, ops to the
right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from rich.console import RenderableType
from rich.text import Text

from nkigen_lite.nki_ir.allocation import Place
from nkigen_lite.report.figures import size
from nkigen_lite.report.memory_map import (
    MEMORY_NAMES,
    Band,
    MemoryMap,
    Panel,
    Strip,
    hazards_in_words,
    in_words,
)
from nkigen_lite.report.tables import LEAST_WIDTH, Column, render, shortened, table

LINES = 16
"""Lines in which SBUF is drawn; PSUM has one per bank."""

ROWS = 12
"""Buffers listed, unless all are asked for."""

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MANY, _KEPT, _FREE = "*", "~", "."
_MARGIN = 11


def memory_text(
    found: MemoryMap,
    *,
    title: str,
    width: int = 100,
    full: bool = False,
    encoding: str = "utf-8",
) -> str:
    """A memory map at most ``width`` (40 or more) characters wide.

    The largest buffers have letters; with ``full`` all of them are listed.
    """
    columns = max(width, LEAST_WIDTH)
    letters = _letters(found)
    items: list[RenderableType] = [Text(title)]
    items += [Text(in_words(panel)) for panel in found.panels]
    items += [Text(hazards_in_words(found))]
    for panel in found.panels:
        if panel.strips:
            items += [Text(), Text(MEMORY_NAMES[panel.memory], style="bold")]
            items += [Text(line) for line in _drawing(panel, found, letters, columns)]
    items += [Text(), *_legend(found, letters, columns, full)]
    return render(items, columns, encoding=encoding)


def _letters(found: MemoryMap) -> dict[str, str]:
    """A letter for each of the largest buffers, by name; they follow each other in the program."""
    places = _places(found)
    shown, _ = shortened(places, len(_LETTERS), lambda p: p.bytes * len(p.offsets))
    return {place.name: letter for place, letter in zip(shown, _LETTERS, strict=False)}


def _places(found: MemoryMap) -> list[Place]:
    places = {s.place.name: s.place for panel in found.panels for s in panel.strips}
    return sorted(places.values(), key=lambda p: p.start)


def _drawing(
    panel: Panel, found: MemoryMap, letters: Mapping[str, str], width: int
) -> Iterator[str]:
    """The highest bytes first; below them, the loops."""
    columns = min(width - _MARGIN, max(found.ops, 1))
    lines = 8 if panel.memory == "psum" else LINES
    step = max(1, -(-panel.usage.top // lines))
    if panel.memory == "psum":
        step = max(1, panel.usage.capacity // lines)
    for line in reversed(range(-(-panel.usage.top // step))):
        cells = "".join(
            _cell(panel.strips, letters, (line * step, (line + 1) * step), ops)
            for ops in _slices(found.ops, columns)
        )
        yield f"{size(line * step):>{_MARGIN - 2}} {cells}"
    for depth in range(1 + max((b.depth for b in found.bands), default=-1)):
        bands = [b for b in found.bands if b.depth == depth]
        yield f"{'loops' if depth == 0 else '':>{_MARGIN - 2}} {_loops(bands, found.ops, columns)}"


def _slices(ops: int, columns: int) -> list[tuple[int, int]]:
    edges = [ops * k // columns for k in range(columns + 1)]
    return [(a, max(b, a + 1)) for a, b in pairwise(edges)]


def _cell(
    strips: Sequence[Strip], letters: Mapping[str, str], rows: tuple[int, int], ops: tuple[int, int]
) -> str:
    """Who has most of these bytes during these ops."""
    most, letter = 0, _FREE
    for strip in strips:
        tall = _overlap((strip.offset, strip.offset + strip.place.bytes), rows)
        for span, mark in ((strip.live, letters.get(strip.place.name, _MANY)), (strip.kept, _KEPT)):
            area = tall * _overlap(span, ops)
            if area > most and (mark != _KEPT or letter == _FREE):
                most, letter = area, mark
    return letter


def _overlap(one: tuple[int, int], two: tuple[int, int]) -> int:
    return max(0, min(one[1], two[1]) - max(one[0], two[0]))


def _loops(bands: Sequence[Band], ops: int, columns: int) -> str:
    line = [" "] * columns
    for band in bands:
        first, last = (columns * at // ops for at in band.span)
        room = max(1, last - first)
        label = f"{band.name} x{band.trips}"
        line[first : first + room] = "|" + (label if len(label) < room else "").ljust(room - 1, "-")
    return "".join(line)


def _legend(
    found: MemoryMap, letters: Mapping[str, str], width: int, full: bool
) -> Iterator[RenderableType]:
    places = _places(found)
    shown, left = shortened(places, None if full else ROWS, lambda p: p.bytes * len(p.offsets))
    columns = (
        Column(""),
        Column("buffer", least=8),
        Column("in", drop=3),
        Column("partitions", right=True, drop=4),
        Column("bytes", right=True),
        Column("at", least=6),
        Column("ops", right=True, drop=2),
    )
    rows = [
        (
            letters.get(place.name, _MANY),
            place.name,
            MEMORY_NAMES[place.memory],
            str(place.partitions),
            f"{place.bytes:,}",
            ", ".join(f"{offset:,}" for offset in place.offsets),
            f"{place.start} to {place.end}",
        )
        for place in shown
    ]
    yield table(columns, rows, width)
    if left:
        yield Text(f"and {len(left)} smaller ones; --full shows all")
    yield Text(f"{_KEPT} another copy may be in use; {_FREE} free; {_MANY} without a letter")
