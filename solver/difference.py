"""What differs between two plans of one program: segments, where values live, and the cost."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import to_text
from .evaluate import evaluate
from .problem import HBM, Problem
from .report import Report, Solution, Status, Terms

INSIDE = "inside a segment"
"""Where a value lives that never crosses a boundary between segments."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A value that lives elsewhere: "hbm", "sbuf" with layouts, both, or inside a segment."""

    value: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """From an old plan to a new one.

    `status` is that of the new plan; without one, the deltas are `None` and `blocking` says what
    cannot hold together.  `removed` and `added` name candidates, `moved` values.
    """

    status: Status
    delta_ns: int | None
    delta_hbm_bytes: int | None
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    moved: tuple[Moved, ...] = ()
    blocking: tuple[str, ...] = ()

    def to_json(self) -> str:
        """This difference as JSON text."""
        return to_text(self)


def diff(problem: Problem, old: Solution | Report, new: Solution | Report) -> Difference:
    """The difference from `old` to `new`, plans of `problem`.

    Reports may be of problems that differ in limits and costs only: their own terms are compared.

    Raises `ValueError` if `old` has no plan.
    """
    before, terms = _plan(problem, old)
    after, new_terms = _plan(problem, new)
    status = new.status if isinstance(new, Report) else Status.FEASIBLE
    if before is None or terms is None:
        raise ValueError("diff: the old report has no plan, there is nothing to compare with")
    if after is None or new_terms is None:
        blocking = new.blocking if isinstance(new, Report) else ()
        return Difference(status, None, None, blocking=blocking)
    homes, new_homes = locations(problem, before), locations(problem, after)
    return Difference(
        status=status,
        delta_ns=new_terms.objective_ns - terms.objective_ns,
        delta_hbm_bytes=new_terms.hbm_bytes - terms.hbm_bytes,
        removed=tuple(name for name in before.picked if name not in after.picked),
        added=tuple(name for name in after.picked if name not in before.picked),
        moved=tuple(
            Moved(value, home, new_homes[value])
            for value, home in homes.items()
            if new_homes[value] != home
        ),
    )


def _plan(problem: Problem, item: Solution | Report) -> tuple[Solution | None, Terms | None]:
    if isinstance(item, Solution):
        return item, evaluate(problem, item)
    return item.solution, item.terms


def locations(problem: Problem, solution: Solution) -> dict[str, str]:
    """Where each value lives under a plan, in words."""
    layouts: dict[str, list[str]] = {}
    for name, layout in solution.kept:
        layouts.setdefault(name, []).append(layout)
    stored = set(solution.stored)
    found: dict[str, str] = {}
    for value in problem.values:
        kept = layouts.get(value.name, [])
        homes = [f"sbuf {', '.join(sorted(kept))}"] if kept else []
        homes += [HBM] if value.producer is None or value.name in stored else []
        found[value.name] = " + ".join(homes) or INSIDE
    return found
