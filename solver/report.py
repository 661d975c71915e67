"""The solver's answer, as plain records: a `Solution`, what it costs, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from .codec import from_text, to_text
from .problem import DimChoice


class ReportError(ValueError):
    """JSON text that is not a report; the message names the field at fault."""


class Status(Enum):
    """What is known about the plan of a report."""

    OPTIMAL = "optimal"
    """No plan is better by the objective."""
    FEASIBLE = "feasible"
    """The plan is legal; the report's bound says how much better another could be."""
    INFEASIBLE = "infeasible"
    """No plan is legal; the report's `blocking` says why."""
    UNKNOWN = "unknown"
    """No plan was found in the time allowed."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a picked candidate's read port of `value` in `layout` gets its data: streamed from
    "hbm", or from the copy kept in "sbuf"."""

    candidate: str
    value: str
    layout: str
    place: Literal["hbm", "sbuf"]


@dataclass(frozen=True, slots=True)
class Solution:
    """A plan.  Every tuple but `picked` (in the order of the ops) is sorted.

    `stored` are the values that their producing segment writes to HBM.  `kept` are the copies held
    in SBUF between segments, as (value, layout).  `conversions` are (value, source, target);
    a kept copy is made by the conversion with its target, or else by the producing segment.
    """

    picked: tuple[str, ...]
    stored: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    conversions: tuple[tuple[str, str, str], ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One segment or conversion of a plan, with its transfers.

    `busy` is its work (ns per resource), of which the segment before has done `early_ns` on the
    prefetch resource; `ns` is `overhead_ns` plus the largest of what remains of `busy` (for a
    conversion, its largest busy time less `early_ns`).  Waits that nothing hides, filling the first
    segment and draining the last are part of `overhead_ns`.  `sbuf_bytes` per partition is all that
    is live then.
    """

    name: str
    kind: Literal["segment", "conversion"]
    ns: int
    overhead_ns: int
    busy: Mapping[str, int]
    hbm_bytes: int
    sbuf_bytes: int
    instructions: int
    dmas: int
    early_ns: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """What a plan costs: its steps in the order they run, and their totals.

    `objective_ns` is the sum of the steps' `ns`; `busy` sums over steps per resource (ns).
    """

    steps: tuple[Step, ...]
    objective_ns: int
    overhead_ns: int
    busy: Mapping[str, int]
    hbm_bytes: int
    instructions: int
    dmas: int
    peak_sbuf_bytes: int
    peak_psum_banks: int


@dataclass(frozen=True, slots=True)
class Method:
    """How an answer was found: as a whole, or in `pieces` (of the last of `rounds`), for which
    `solves` problems were put to the optimiser: equal ones once."""

    pieces: int = 1
    rounds: int = 1
    solves: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to one `Problem`.

    `objective` names what was minimised; `cost` is what the plan has of it, the sum of
    `cost_terms`, and `cost_bound` what no plan goes below; `gap` is the part of `cost` above it
    (0..1).  `objective_ns` is the plan's time and `best_bound_ns` a time that no plan beats,
    whatever the objective.  `deterministic_s` is the solver's own machine-independent clock.
    `dims` are the roles and tiles of the plan.  `blocking` names, when infeasible, the limits and
    constraints that cannot hold together.  `greedy` is what running op by op through HBM costs,
    where that is possible at all.  `variables` and `constraints` are those of
    the largest model, and `method` says how many.
    """

    status: Status
    solution: Solution | None
    objective_ns: int | None
    terms: Terms | None
    best_bound_ns: int
    gap: float
    wall_s: float
    deterministic_s: float
    seed: int
    variables: int
    constraints: int
    dims: tuple[DimChoice, ...]
    blocking: tuple[str, ...]
    greedy: Terms | None
    objective: str = "time"
    cost: int | None = None
    cost_terms: Mapping[str, int] = field(default_factory=dict)
    cost_bound: int = 0
    method: Method = Method()

    def to_json(self) -> str:
        """This report as JSON text."""
        return to_text(self)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote.  Raises `ReportError` naming the field at fault."""
        return from_text(cls, text, "report", ReportError)
