"""What a plan would be if one thing were otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from .changes import Change, Rate, Room, changed_problem, takes_away
from .check import check
from .constraints import Constraint, validate_constraints
from .difference import Difference, diff
from .improve import Search
from .problem import Problem
from .report import Report, Status
from .search import start_engine


def whatif(
    problem: Problem,
    report: Report,
    change: Change,
    *,
    constraints: Sequence[Constraint] = (),
    time_limit: float = 5.0,
    seed: int = 0,
) -> Difference:
    """What becomes of the plan of `report` (for time, under `constraints`) under `change`.

    The old plan is where the search begins, and stays unless another is faster.  A change that
    only takes choices away leaves a plan that it does not touch as good as it was.

    Raises `ProblemError` for a change that cannot be, and `ValueError` if `report` has no plan.
    """
    explorer = Explorer(problem, report, constraints=constraints, time_limit=time_limit, seed=seed)
    return explorer.difference(change)


class Explorer:
    """Answers such questions about one plan, with up to `time_limit` seconds for each.

    The model is kept for questions that only add a constraint.
    """

    def __init__(
        self,
        problem: Problem,
        report: Report,
        *,
        constraints: Sequence[Constraint] = (),
        time_limit: float = 5.0,
        seed: int = 0,
    ) -> None:
        if report.solution is None:
            raise ValueError("whatif: the report has no plan to begin with")
        self.problem = problem
        self.report = report
        self._plan = report.solution
        self._constraints = tuple(constraints)
        self._time_limit = time_limit
        self._seed = seed
        self._search: Search | None = None

    def difference(self, change: Change) -> Difference:
        """What becomes of the plan under `change`; see `whatif`."""
        return diff(self.problem, self.report, self.under(change))

    def under(self, change: Change) -> Report:
        """The best plan under `change`."""
        changed = changed_problem(self.problem, change)
        held = self._constraints
        if not isinstance(change, Room | Rate):
            held = (*held, change)
        changed.validate()
        validate_constraints(changed, held)
        untouched = takes_away(change) and not check(changed, self._plan, constraints=held)
        if self.report.status is Status.OPTIMAL and untouched:
            return self.report
        if isinstance(change, Room | Rate):
            engine = start_engine("whatif", self._time_limit, self._seed)
            search = Search(changed, held, engine, start=[self._plan])
            search.run(ties=False)
            return search.report(self._seed)
        return self._constrained(change)

    def _constrained(self, constraint: Constraint) -> Report:
        if self._search is None:
            engine = start_engine("whatif", self._time_limit, self._seed)
            self._search = Search(self.problem, self._constraints, engine, start=[self._plan])
            self._search.prepare()
        meter = self._search.meter
        meter.limit_s = max(meter.limit_s, meter.spent_s + self._time_limit)
        self._search.best_under(constraint, self.report.best_bound_ns)
        return self._search.report(self._seed)
