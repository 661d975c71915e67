"""A sweep as a chart: time over what is varied, a line for each combination of the rest.

The colours are those of Okabe and Ito's palette ("Color Universal Design", 2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree.ElementTree import Element, SubElement, tostring

from nkigen_lite.report.figures import micros
from nkigen_lite.report.svg import document, legible, px, rect, text
from nkigen_lite.report.sweep import Point, Sweep
from nkigen_lite.report.sweep_text import at_text

WIDTH, HEIGHT = 960, 560
LEFT, RIGHT, TOP, BOTTOM = 92, 24, 84, 70
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#b8a800")
_STYLE = (
    ".line { fill: none; stroke-width: 2 } .bound { stroke-dasharray: 2 5 }\n"
    ".simulated { stroke-dasharray: 8 4; stroke-width: 1.5 }\n"
    + "".join(
        f".s{n} {{ stroke: {colour} }} .d{n} {{ fill: {colour} }}\n"
        for n, colour in enumerate(_COLOURS)
    )
)
_WIDE = 8.0  # an axis whose largest value is that many times its least is logarithmic
_LINES = (("predicted", ""), ("simulated", "simulated"), ("roofline", "bound"))
_LEGEND_LINE = 18


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a number is drawn: from ``low`` at ``start`` to ``high`` at ``end`` (pixels)."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def __call__(self, number: float) -> float:
        low, high, at = self.low, self.high, number
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(number)
        part = (at - low) / (high - low) if high > low else 0.5
        return self.start + part * (self.end - self.start)


def sweep_svg(found: Sweep) -> str:
    """A chart as an SVG document.

    To the right goes what has the most values; every point of a line has a tooltip. Full lines are
    predicted times, dashed ones simulated, dotted ones roofline bounds; points that do not compile
    are left out.
    """
    name = max(found.varied, key=lambda varied: len(found.varied[varied]))
    series = _series(found, name)
    height = HEIGHT + _LEGEND_LINE * len(series)
    root = document(WIDTH, height, _STYLE)
    text(root, LEFT, 26, f"{found.kernel}: time over {name}", "title")
    text(root, LEFT, 46, "predicted (full), simulated (dashed), roofline bound (dotted); us")
    text(root, LEFT, 62, "no time is measured")
    rect(root, "lane", LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)
    values = found.varied[name]
    across = _across(values)
    times = [us for points in series.values() for p in points for us in _times(p)]
    if times:
        up = _upwards(times)
        _grid(root, up)
        for number, points in enumerate(series.values()):
            _draw(root, points, number % len(_COLOURS), lambda p: across(p.at[name]), up)
    for value in values:
        text(root, across(value), HEIGHT - BOTTOM + 20, str(value), anchor="middle")
    text(root, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 42, name, anchor="middle")
    _legend(root, [label or found.kernel for label in series])
    return tostring(root, encoding="unicode") + "\n"


def _legend(root: Element, labels: Sequence[str]) -> None:
    for number, label in enumerate(labels):
        y = HEIGHT + _LEGEND_LINE * number - 4
        rect(root, f"d{number % len(_COLOURS)}", LEFT, y - 10, 12, 12)
        text(root, LEFT + 18, y, label)


def _series(found: Sweep, name: str) -> dict[str, list[Point]]:
    """The points that compiled, by what else is varied, in words."""
    series: dict[str, list[Point]] = {}
    for point in found.points:
        rest = {other: value for other, value in point.at.items() if other != name}
        label = at_text(rest)
        series.setdefault(label, [])
        if point.report is not None:
            series[label].append(point)
    return series


def _times(point: Point) -> tuple[float, float, float]:
    """Microseconds predicted, simulated, and by the roofline."""
    assert point.report is not None
    return point.report.predicted_us, point.report.simulated_us, point.report.bound_us


def _across(values: Sequence[object]) -> Callable[[object], float]:
    """Where a value is drawn: numbers to scale, other values at equal distances."""
    ends = LEFT + 36.0, WIDTH - RIGHT - 36.0
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        scale = _Scale(min(numbers), max(numbers), *ends, _is_wide(numbers))
        return lambda value: scale(float(str(value)))
    places = {repr(value): n for n, value in enumerate(values)}
    even = _Scale(0, len(values) - 1, *ends, False)
    return lambda value: even(places[repr(value)])


def _upwards(times: Sequence[float]) -> _Scale:
    """The scale of time: from zero, or logarithmic where times are far apart."""
    ends = HEIGHT - BOTTOM - 4.0, TOP + 12.0
    positive = [us for us in times if us > 0]
    if positive and _is_wide(positive):
        return _Scale(min(positive), max(positive), *ends, True)
    return _Scale(0.0, max(times), *ends, False)


def _is_wide(numbers: Sequence[float]) -> bool:
    return min(numbers) > 0 and max(numbers) / min(numbers) >= _WIDE


def _grid(root: Element, up: _Scale) -> None:
    for us in _ticks(up):
        y = up(us)
        ends = {"x1": px(LEFT), "x2": px(WIDTH - RIGHT), "y1": px(y), "y2": px(y)}
        SubElement(root, "line", {"class": "grid", **ends})
        text(root, LEFT - 8, y + 4, f"{us:,.4g}", anchor="end")


def _ticks(up: _Scale) -> Iterator[float]:
    """Round numbers within a scale: 1, 2 and 5 of each power of ten, or equal steps."""
    if up.logarithmic:
        for exponent in range(math.floor(math.log10(up.low)), math.ceil(math.log10(up.high)) + 1):
            yield from (
                tick
                for tick in (m * 10.0**exponent for m in (1, 2, 5))
                if up.low <= tick <= up.high
            )
        return
    rough = up.high / 6 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough)
    yield from (n * step for n in range(int(up.high / step) + 1))


def _draw(
    root: Element,
    points: Sequence[Point],
    colour: int,
    x: Callable[[Point], float],
    up: _Scale,
) -> None:
    ordered = sorted(points, key=x)
    for nth, (name, kind) in enumerate(_LINES):
        for before, after in pairwise(ordered):
            ends = {
                "x1": px(x(before)),
                "y1": px(_height(up, _times(before)[nth])),
                "x2": px(x(after)),
                "y2": px(_height(up, _times(after)[nth])),
            }
            SubElement(root, "line", {"class": f"line {kind} s{colour}", **ends})
        for point in ordered:
            us = _times(point)[nth]
            place = {"cx": px(x(point)), "cy": px(_height(up, us)), "r": "4" if not nth else "2.5"}
            dot = SubElement(root, "circle", {"class": f"d{colour}", **place})
            SubElement(dot, "title").text = legible(f"{at_text(point.at)}: {name} {micros(us)} us")


def _height(up: _Scale, us: float) -> float:
    return up(max(us, up.low))
