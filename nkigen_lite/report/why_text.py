"""Explanations of a plan as text for a terminal. No time in it is measured."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

import solver
from nkigen_lite.report.figures import duration, micros, size
from nkigen_lite.report.tables import LEAST_WIDTH, Column, render, table
from nkigen_lite.report.timeline import RESOURCE_NAMES
from nkigen_lite.report.timeline_text import section
from nkigen_lite.report.why import Counterfactual, WhyValue

_LIMITS = {
    "sbuf": "SBUF: with more, the plan is {} faster",
    "psum": "PSUM: with more, the plan is {} faster",
    "layout": "layouts: {} faster with operands laid out for it",
    "overhead": "what does not overlap: fixed costs",
    "resource": "",
}
_BOUNDARIES = {
    "cost": "one segment would cost",
    "no candidate": "no candidate runs both",
    "limits": "does not fit:",
    "time": "not proven in time",
}


def why_text(
    why: WhyValue, *, width: int = 100, colour: bool = False, encoding: str = "utf-8"
) -> str:
    """Where a value lives, and what other choices would cost, at most ``width`` wide."""
    columns = max(width, LEAST_WIDTH)
    made = f"made by {why.made_by}" if why.made_by else "an input"
    readers = ", ".join(why.read_by) or "nothing outside its segment"
    dims = " · ".join(f"{axis}: {role} in tiles of {tile}" for axis, role, tile in why.dims)
    items: list[RenderableType] = [
        Text(f"{why.value} of {why.kernel}: {why.lives}", style="bold"),
        Text(f"{made}, read by {readers}"),
        *([Text(dims)] if dims else []),
        *section("What if"),
        table(
            (
                Column("choice", least=20),
                Column("us", right=True),
                Column("HBM", right=True),
                Column("and then", least=12, drop=1),
            ),
            [_row(item) for item in why.counterfactuals],
            columns,
        ),
        Text(f"\nagainst {micros(why.total_us)} us as planned; predicted, not measured"),
    ]
    return render(items, columns, colour=colour, encoding=encoding)


def _row(item: Counterfactual) -> tuple[str, str, str, str]:
    if item.delta_us is None or item.delta_hbm_bytes is None:
        unknown = "no plan was found in time"
        blocked = "; ".join(item.blocking) or "no candidate does that"
        return item.what, "-", "-", unknown if item.status == "unknown" else blocked
    open_end = "at most " if item.status == "feasible" else ""
    return (
        item.what,
        f"{open_end}{signed(item.delta_us)}",
        signed_size(item.delta_hbm_bytes),
        _changes(item),
    )


def _changes(item: Counterfactual) -> str:
    plural = "segment" if item.segments == 1 else "segments"
    segments = f"{item.segments} other {plural}" if item.segments else ""
    moved = f"moves {', '.join(item.moved)}" if item.moved else ""
    return "; ".join(part for part in (segments, moved) if part) or "-"


def signed(us: float) -> str:
    """A difference in microseconds with its sign; what is nothing is ``0.00``."""
    return f"{us:+,.2f}" if us else "0.00"


def signed_size(nbytes: int) -> str:
    """A difference in bytes with its sign."""
    return f"{'-' if nbytes < 0 else '+'}{size(abs(nbytes))}" if nbytes else "-"


def explanation_text(
    explanation: solver.Explanation,
    title: str,
    *,
    width: int = 100,
    colour: bool = False,
    encoding: str = "utf-8",
) -> str:
    """What holds up each segment, and why neighbours are not fused, at most ``width`` wide."""
    columns = max(width, LEAST_WIDTH)
    segments = (
        Column("segment", least=12),
        Column("us", right=True),
        Column("bound by"),
        Column("ahead by", right=True, drop=2),
        Column("and held back by", least=12, drop=1),
    )
    boundaries = (Column("between", least=12), Column("fused", least=12), Column("us", right=True))
    items: list[RenderableType] = [
        Text(title, style="bold"),
        *section("Segments"),
        table(segments, [_segment(reason) for reason in explanation.segments], columns),
    ]
    if explanation.boundaries:
        rows = [_boundary(reason) for reason in explanation.boundaries]
        items += [*section("Boundaries"), table(boundaries, rows, columns)]
    return render(items, columns, colour=colour, encoding=encoding)


def _segment(reason: solver.SegmentReason) -> tuple[str, str, str, str, str]:
    return (
        reason.segment,
        micros(reason.ns / 1000),
        RESOURCE_NAMES.get(reason.resource, reason.resource),
        duration(reason.margin_ns),
        _LIMITS[reason.limit].format(duration(reason.gain_ns)),
    )


def _boundary(reason: solver.BoundaryReason) -> tuple[str, str, str]:
    said = " ".join([_BOUNDARIES[reason.why], "; ".join(reason.blocking)]).strip()
    delta = "-" if reason.delta_ns is None else signed(reason.delta_ns / 1000)
    return f"{reason.before} | {reason.after}", said, delta
