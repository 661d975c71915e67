"""What differs between two saved plans, as data and as text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rich.console import RenderableType
from rich.text import Text

from nkigen_lite.report.figures import micros, size
from nkigen_lite.report.tables import LEAST_WIDTH, Column, render, table
from nkigen_lite.report.timeline_text import section
from nkigen_lite.report.why_text import signed, signed_size
from nkigen_lite.tensor_ir.passes.layout_solver import Plan
from nkigen_lite.tensor_ir.passes.layout_solver.plan import SegmentPlan, ValuePlan


@dataclass(frozen=True, slots=True)
class SegmentDifference:
    """A segment or conversion that is not the same in both plans; None where it is in one only."""

    name: str
    ns_before: int | None
    ns_after: int | None


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """A value that lives elsewhere, in words; None where a plan has no such value."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class PlanDifference:
    """From one plan to another: totals (ns, HBM bytes) of both, segments and values that differ."""

    kernels: tuple[str, str]
    ns: tuple[int, int]
    hbm_bytes: tuple[int, int]
    segments: tuple[SegmentDifference, ...]
    values: tuple[ValueDifference, ...]

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self), indent=1)


def plan_difference(old: Plan, new: Plan) -> PlanDifference:
    """What differs from ``old`` to ``new``."""
    before, after = ({s.name: s for s in plan.segments} for plan in (old, new))
    lives, lives_after = ({v.name: _lives(v) for v in plan.values} for plan in (old, new))
    return PlanDifference(
        kernels=(_title(old), _title(new)),
        ns=(sum(s.ns for s in old.segments), sum(s.ns for s in new.segments)),
        hbm_bytes=(sum(s.hbm_bytes for s in old.segments), sum(s.hbm_bytes for s in new.segments)),
        segments=tuple(
            SegmentDifference(name, _ns(before.get(name)), _ns(after.get(name)))
            for name in dict.fromkeys([*before, *after])
            if before.get(name) != after.get(name)
        ),
        values=tuple(
            ValueDifference(name, lives.get(name), lives_after.get(name))
            for name in dict.fromkeys([*lives, *lives_after])
            if lives.get(name) != lives_after.get(name)
        ),
    )


def _title(plan: Plan) -> str:
    return f"{plan.kernel} on {plan.target}"


def _ns(segment: SegmentPlan | None) -> int | None:
    return None if segment is None else segment.ns


def _lives(value: ValuePlan) -> str:
    return " ".join([value.location, ", ".join(value.layouts)]).strip()


def plan_difference_text(
    found: PlanDifference, *, width: int = 100, colour: bool = False, encoding: str = "utf-8"
) -> str:
    """The difference in tables, at most ``width`` wide."""
    columns = max(width, LEAST_WIDTH)
    old, new = found.kernels
    before, after = found.ns
    traffic = found.hbm_bytes[1] - found.hbm_bytes[0]
    items: list[RenderableType] = [
        Text(old if old == new else f"{old} -> {new}", style="bold"),
        Text(
            f"predicted {micros(before / 1000)} -> {micros(after / 1000)} us "
            f"({signed((after - before) / 1000)}), HBM {size(found.hbm_bytes[0])} -> "
            f"{size(found.hbm_bytes[1])} ({signed_size(traffic)})"
        ),
    ]
    if not found.segments and not found.values:
        items.append(Text("the plans are the same"))
    if found.segments:
        heads = (Column("segment", least=12), Column("us", right=True), Column("then", right=True))
        rows = [(s.name, _us(s.ns_before), _us(s.ns_after)) for s in found.segments]
        items += [*section("Segments that differ"), table(heads, rows, columns)]
    if found.values:
        heads = (Column("value"), Column("lives in", least=12), Column("then", least=12))
        lines = [(v.name, v.before or "-", v.after or "-") for v in found.values]
        items += [*section("Values that moved"), table(heads, lines, columns)]
    return render(items, columns, colour=colour, encoding=encoding)


def _us(ns: int | None) -> str:
    return "-" if ns is None else micros(ns / 1000)
