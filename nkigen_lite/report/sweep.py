"""What a sweep found, as plain data. All times in it are predicted or simulated, not measured."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any

from nkigen_lite.report.data import CompileReport
from nkigen_lite.tensor_ir.passes.layout_solver import Plan

_FIGURES = (
    "status",
    "gap",
    "predicted_us",
    "simulated_us",
    "bound_us",
    "bound_resource",
    "greedy_us",
    "hbm_bytes",
    "compulsory_bytes",
    "instructions",
    "dmas",
    "peak_sbuf_bytes",
    "peak_psum_banks",
)
"""The fields of a report that a point's data has; all times are predicted."""


@dataclass(frozen=True, slots=True)
class Point:
    """One compilation of a sweep.

    Attributes:
        at: the value of everything that is varied, by name.
        report, plan: of the compiled kernel; None if it did not compile.
        error: why it did not; else None.
    """

    at: Mapping[str, Any]
    report: CompileReport | None = None
    plan: Plan | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What became of a function at every point of a grid.

    Attributes:
        kernel: its name.
        varied: the values of everything that is varied; the last varies fastest.
        points: one per combination, in that order.
    """

    kernel: str
    varied: Mapping[str, tuple[Any, ...]]
    points: tuple[Point, ...]

    def plans(self) -> list[str | None]:
        """A letter per point: equal where the same was decided, None where nothing compiled."""
        known: dict[str, str] = {}
        found: list[str | None] = []
        for point in self.points:
            if point.plan is None:
                found.append(None)
            else:
                found.append(known.setdefault(decisions(point.plan), _letters(len(known))))
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Plain data: per point what is varied, the letter of its plan, its figures, its error."""
        return [
            {
                **point.at,
                "plan": plan,
                **{name: getattr(point.report, name, None) for name in _FIGURES},
                "error": point.error,
            }
            for point, plan in zip(self.points, self.plans(), strict=True)
        ]

    def to_json(self) -> str:
        """Kernel, what is varied, and the rows as JSON text."""
        data = {"kernel": self.kernel, "varied": self.varied, "points": self.rows()}
        return json.dumps(data, indent=1, default=str)

    def to_csv(self) -> str:
        """The rows as comma-separated values below a line of their names."""
        text = StringIO()
        writer = csv.DictWriter(text, [*self.varied, "plan", *_FIGURES, "error"])
        writer.writeheader()
        writer.writerows(self.rows())
        return text.getvalue()


def decisions(plan: Plan) -> str:
    """What a plan decides, without what it costs and without extents, as text to compare."""
    segments = [
        (
            s.name,
            [(axis, block) for axis, _, block in s.loops],
            s.streamed and (s.streamed[0], s.streamed[2]),
            [(step.how, step.stage, step.engine) for step in s.steps],
            s.loads,
            s.stores,
        )
        for s in plan.segments
    ]
    values = [(v.name, v.location, v.layouts) for v in plan.values]
    return json.dumps([segments, values])


def _letters(number: int) -> str:
    """A, B, ..., Z, AA, AB, ...: the name of a column in a spreadsheet."""
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("A") + digit) + text
    return text
