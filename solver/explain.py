"""Why a plan is as it is: what holds up each of its segments, and why neighbours are not fused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .changes import Room
from .codec import to_text
from .constraints import Constraint, Fuse
from .difference import Difference
from .index import Index
from .paths import least
from .problem import Candidate, Problem
from .report import Report, Status, Step
from .whatif import Explorer

MORE_ROOM = 4
"""To see whether a memory is what binds, plans are looked for with this many times as much."""


Limit = Literal["resource", "overhead", "sbuf", "psum", "layout"]


@dataclass(frozen=True, slots=True)
class SegmentReason:
    """What holds up a segment.

    `resource` is busy for the longest, by `margin_ns` longer than the next, and what does not
    overlap takes `overhead_ns`, which for small segments is most.  `limit` is what keeps
    the plan from doing better there: "sbuf" or "psum" where a plan with more of it runs these ops
    otherwise, and is `gain_ns` faster as a whole; "layout" where another candidate for the same ops
    could be `gain_ns` faster if its operands were where and how it wants them; otherwise
    "overhead" or "resource", whichever takes longer.
    """

    segment: str
    ops: tuple[str, ...]
    ns: int
    resource: str
    busy_ns: int
    margin_ns: int
    overhead_ns: int
    limit: Limit
    gain_ns: int


@dataclass(frozen=True, slots=True)
class BoundaryReason:
    """Why the segments that end with op `before` and begin with op `after` are two.

    `why` is "cost": the best plan with one segment there takes `delta_ns` more; "no candidate": no
    candidate runs both ops; "limits": those that do cannot hold with the limits and constraints in
    `blocking`; or "time": the time to look for it ran out, and `delta_ns` is of the best plan
    found, if any.
    """

    before: str
    after: str
    why: Literal["cost", "no candidate", "limits", "time"]
    delta_ns: int | None = None
    blocking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Reasons for the segments and the boundaries of a plan, in order."""

    segments: tuple[SegmentReason, ...]
    boundaries: tuple[BoundaryReason, ...]

    def to_json(self) -> str:
        """This explanation as JSON text."""
        return to_text(self)


def explain(
    problem: Problem,
    report: Report,
    *,
    constraints: Sequence[Constraint] = (),
    time_limit: float = 5.0,
    seed: int = 0,
) -> Explanation:
    """Reasons for the plan of `report`, the fastest for `problem` under `constraints`.

    `time_limit` seconds are for each question to the solver: one for each memory, and one for each
    boundary that a candidate spans.

    Raises `ValueError` if `report` has no plan.
    """
    if report.solution is None or report.terms is None:
        raise ValueError("explain: the report has no plan to explain")
    explorer = Explorer(problem, report, constraints=constraints, time_limit=time_limit, seed=seed)
    by_name = {candidate.name: candidate for candidate in problem.candidates}
    picked = [by_name[name] for name in report.solution.picked]
    rooms = {
        "sbuf": Room(sbuf_bytes=(MORE_ROOM - 1) * problem.sbuf_limit_bytes),
        "psum": Room(psum_banks=(MORE_ROOM - 1) * problem.psum_limit_banks),
    }
    roomier = {memory: explorer.difference(room) for memory, room in rooms.items()}
    steps = {step.name: step for step in report.terms.steps if step.kind == "segment"}
    index = Index(problem)
    return Explanation(
        tuple(_segment(index, candidate, steps[candidate.name], roomier) for candidate in picked),
        tuple(_boundaries(explorer, picked)),
    )


def _segment(
    index: Index, candidate: Candidate, step: Step, roomier: dict[str, Difference]
) -> SegmentReason:
    early = {index.problem.prefetch: step.early_ns}
    busy = {resource: ns - early.get(resource, 0) for resource, ns in step.busy.items()}
    order = sorted(busy, key=lambda resource: (-busy[resource], resource))
    times = [busy[resource] for resource in order] + [0, 0]
    limit, gain = _limit(index, candidate, step, roomier)
    return SegmentReason(
        segment=candidate.name,
        ops=candidate.ops,
        ns=step.ns,
        resource=order[0] if order else "none",
        busy_ns=times[0],
        margin_ns=times[0] - times[1],
        overhead_ns=step.overhead_ns,
        limit=limit,
        gain_ns=gain,
    )


def _limit(
    index: Index, candidate: Candidate, step: Step, roomier: dict[str, Difference]
) -> tuple[Limit, int]:
    memories: tuple[Literal["sbuf", "psum"], ...] = ("sbuf", "psum")
    for memory in memories:
        change = roomier[memory]
        if candidate.name in change.removed and change.delta_ns is not None and change.delta_ns < 0:
            return memory, -change.delta_ns
    same = [c for c in index.starting[index.span[candidate.name][0]] if c.ops == candidate.ops]
    others = [ns for c in same if c is not candidate and (ns := least(index, c)) is not None]
    own = least(index, candidate) or 0
    # An alternative counts if it is faster at its best than this one at its own best.
    if others and min(others) < min(own, step.ns):
        return "layout", step.ns - min(others)
    return "overhead" if 2 * step.overhead_ns > step.ns else "resource", 0


def _boundaries(explorer: Explorer, picked: Sequence[Candidate]) -> Iterator[BoundaryReason]:
    for first, second in pairwise(picked):
        fuse = Fuse(first.ops[-1], second.ops[0])
        candidates = explorer.problem.candidates
        if not any(fuse.first in c.ops and fuse.second in c.ops for c in candidates):
            yield BoundaryReason(fuse.first, fuse.second, "no candidate")
        else:
            yield _boundary(fuse, explorer.report, explorer.under(fuse))


def _boundary(fuse: Fuse, report: Report, found: Report) -> BoundaryReason:
    if found.status is Status.INFEASIBLE:
        others = tuple(name for name in found.blocking if name != str(fuse))
        return BoundaryReason(fuse.first, fuse.second, "limits", None, others)
    delta = None
    if found.objective_ns is not None and report.objective_ns is not None:
        delta = found.objective_ns - report.objective_ns
    why: Literal["cost", "time"] = "cost" if found.status is Status.OPTIMAL else "time"
    return BoundaryReason(fuse.first, fuse.second, why, delta)
