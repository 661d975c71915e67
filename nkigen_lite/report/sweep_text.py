"""A sweep as a table for a terminal: a row per point, and a bar for its time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.text import Text

from nkigen_lite.report.data import CompileReport
from nkigen_lite.report.figures import bar, micros, percent, ratio, size
from nkigen_lite.report.sweep import Point, Sweep
from nkigen_lite.report.tables import LEAST_WIDTH, Column, render, table
from nkigen_lite.report.timeline import RESOURCE_NAMES
from nkigen_lite.report.timeline_text import section

_BAR = 20  # characters of the longest
_FIGURES = (
    Column("predicted us", right=True),
    Column("simulated us", right=True, drop=2),
    Column("bound us", right=True, drop=3),
    Column("x bound", right=True, drop=1),
    Column("bound by", drop=4),
    Column("gap", right=True, drop=7),
    Column("HBM", right=True, drop=5),
    Column("SBUF", right=True, drop=6),
    Column("plan", drop=1),
    Column("", drop=8),
)


def sweep_text(
    found: Sweep, *, width: int = 100, colour: bool = False, encoding: str = "utf-8"
) -> str:
    """The points of a sweep in a table, at most ``width`` (40 or more) characters wide.

    Points with one letter under ``plan`` have the same segments, blocks and places of values.
    """
    columns = max(width, LEAST_WIDTH)
    heads = [Column(name, right=_is_numeric(values)) for name, values in found.varied.items()]
    rows = [
        (*(str(value) for value in point.at.values()), *figures)
        for point, figures in zip(found.points, _figures(found), strict=True)
    ]
    items = [
        Text.assemble((found.kernel, "bold"), f": {_summary(found)}"),
        Text(),
        table((*heads, *_FIGURES), rows, columns),
        *_failures(found),
    ]
    return render(items, columns, colour=colour, encoding=encoding)


def at_text(at: Mapping[str, object]) -> str:
    """Where a point is, in words: ``M=128, dma.queues=8``."""
    return ", ".join(f"{name}={value}" for name, value in at.items())


def _is_numeric(values: tuple[object, ...]) -> bool:
    return all(isinstance(value, (int, float)) for value in values)


def _summary(found: Sweep) -> str:
    good = [p for p in found.points if p.report is not None]
    if not good:
        return f"none of {len(found.points)} points compiles"
    best = min(good, key=_predicted_us)
    plans = len({letter for letter in found.plans() if letter})
    failed = len(found.points) - len(good)
    return (
        f"{len(good)} points, {plans} different plans; the fastest is predicted at "
        f"{micros(_predicted_us(best))} us for {at_text(best.at)}; nothing is measured"
        + (f"; {failed} do not compile" if failed else "")
    )


def _predicted_us(point: Point) -> float:
    assert point.report is not None
    return point.report.predicted_us


def _figures(found: Sweep) -> Iterator[tuple[str, ...]]:
    longest = max((p.report.predicted_us for p in found.points if p.report), default=0.0)
    for point, plan in zip(found.points, found.plans(), strict=True):
        if point.report is None:
            yield ("fails", *("",) * (len(_FIGURES) - 1))
        else:
            yield (*_of_report(point.report), plan or "", _bar(point.report, longest))


def _of_report(report: CompileReport) -> tuple[str, ...]:
    return (
        micros(report.predicted_us),
        micros(report.simulated_us),
        micros(report.bound_us),
        ratio(report.simulated_us, report.bound_us),
        RESOURCE_NAMES.get(report.bound_resource, report.bound_resource),
        percent(report.gap),
        size(report.hbm_bytes),
        size(report.peak_sbuf_bytes),
    )


def _bar(report: CompileReport, longest: float) -> str:
    return bar(report.predicted_us / longest if longest else 0.0, _BAR)


def _failures(found: Sweep) -> Iterator[RenderableType]:
    failed = [point for point in found.points if point.error is not None]
    if failed:
        yield from section("Points that do not compile")
    for point in failed:
        yield Text(f"{at_text(point.at)}: {point.error}")
