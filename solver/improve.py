"""The search for the best plan: bounds from the linear relaxation tell where to look.

The relaxation's row prices prove, for every variable, a cost below which no plan uses it
(`linear.price`).  The optimiser first sees the variables that plans close to the bound may use;
the plan it finds, if within that reach, is the best of all plans, and else says how far to reach
next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .check import check
from .constraints import Constraint
from .diagnose import blocking
from .engine import SECONDS_PER_PORT, SECONDS_PER_TERM, Engine, Outcome
from .evaluate import chosen_dims, evaluate
from .formulation import Formulation
from .greedy import construct, greedy, repaired
from .linear import UNBOUNDED, LinearModel, Priced, Row, price
from .objectives import Objective, Rank, cost_terms, criteria, rank
from .paths import lower_bound
from .problem import Problem
from .report import Report, Solution, Status, Terms
from .restricting import rows_of

TIE_SHARE = 0.1
"""Part of the time limit that may go into choosing among equally good plans.  Where a memory comes
first, many plans are, and all the time that is left may go into finding the fastest."""

FIRST_REACH = 1000
"""The optimiser begins with what plans within 1 / FIRST_REACH of the bound may use."""

WIDER = 16
"""Factor by which the reach grows while no plan is in it."""


class Search:
    """One search for a plan of `problem` under `constraints`, with `engine`.

    `bound` is a cost by `objective` that no plan goes below, `time_bound` a time.  `start` are
    plans to begin with; if one is legal, none are made by hand besides the greedy one.
    """

    def __init__(
        self,
        problem: Problem,
        constraints: tuple[Constraint, ...],
        engine: Engine,
        objective: Objective = "time",
        start: Sequence[Solution] = (),
    ) -> None:
        self.problem = problem
        self.constraints = constraints
        self.engine = engine
        self.meter = engine.meter
        self.objective = objective
        self.time_bound = lower_bound(problem)
        self.bound = criteria(objective)[0].get("ns", 0) * self.time_bound
        self.best: tuple[Rank, Solution, Terms] | None = None
        self.form: Formulation | None = None
        self.blocking: tuple[str, ...] = ()
        self.infeasible = False
        self._start = start
        self._excluded: list[Row] = []
        self._costs: Mapping[int, int] = {}
        self._priced = Priced(0, [])
        baseline = greedy(problem)
        self.greedy = None if baseline is None else evaluate(problem, baseline)
        if baseline is not None:
            self._offer(baseline)
        if not any([self._offer(plan) for plan in start]):
            for plan in construct(problem, constraints):
                self._offer(plan)

    def run(self, *, ties: bool = True) -> None:
        """Improve on the plans made by hand, if there is time to build the model at all; with
        `ties`, choose among equally good plans."""
        if not self.prepare():
            return
        assert self.form is not None
        self._widen(self.form)
        if self.infeasible:
            self._diagnose(self.form)
        elif self.optimal and ties:
            self._break_ties(self.form)

    def prepare(self) -> bool:
        """Build the model and its prices; whether there is time for it."""
        ports = sum(len(c.ops) + len(c.reads) + len(c.writes) for c in self.problem.candidates)
        if ports * SECONDS_PER_PORT > self.meter.limit_s:
            return False
        form = self.form = Formulation(self.problem)
        for constraint in self.constraints:
            form.model.rows += rows_of(form, constraint)
        self.meter.spent_s += ports * SECONDS_PER_PORT
        self._costs = form.objective(criteria(self.objective)[0])
        self._priced = price(form.model, self._costs, self.engine.relax(form, self._costs))
        self.bound = max(self.bound, self._priced.bound)
        return True

    def best_under(self, constraint: Constraint, bound: int) -> None:
        """Look for the best plan under one more constraint, in place of what was found before; no
        plan without it goes below `bound`.  To be called when the search has been prepared, if
        there was time for that."""
        constraints = self.constraints
        self.constraints = (*constraints, constraint)
        self.best, self.bound = None, max(bound, self._priced.bound)
        self.infeasible, self.blocking = False, ()
        for start in self._start:
            for plan in repaired(self.problem, start, self.constraints):
                self._offer(plan)
        if self.form is not None:
            self._excluded = rows_of(self.form, constraint)
            # The prices know nothing of the constraint: reach as far as may be needed at once.
            furthest = max(self._priced.at_use)
            self._widen(self.form, self.best[0][0] if self.best else furthest)
            if self.infeasible:
                self._diagnose(self.form)
        if self.best is None and not self.infeasible:
            for plan in construct(self.problem, self.constraints):
                self._offer(plan)
        self.constraints = constraints

    def _diagnose(self, form: Formulation) -> None:
        model = LinearModel(form.model.upper, form.model.rows + self._excluded)
        self.blocking = blocking(model, form.must_run, self.engine)

    def next_best(self, excluding: Sequence[Row]) -> bool:
        """Look for the best plan that satisfies these rows as well, and all rows given before;
        whether it was found and proven.  To be called when `run` has found the best without."""
        assert self.form is not None
        self._excluded += excluding
        self.best = None
        self._widen(self.form)
        return self.optimal

    @property
    def optimal(self) -> bool:
        """Whether the best plan is proven to be the best."""
        return self.best is not None and self.best[0][0] <= self.bound

    def _offer(self, plan: Solution) -> bool:
        """Take `plan` if it is legal and better than the best so far; whether it is legal."""
        if check(self.problem, plan, constraints=self.constraints):
            return False
        terms = evaluate(self.problem, plan)
        found = rank(terms, self.objective)
        if self.best is None or found < self.best[0]:
            self.best = (found, plan, terms)
        return True

    def _widen(self, form: Formulation, reach: int | None = None) -> None:
        """Solve over what plans that cost up to `reach` may use, and reach further until it is
        enough."""
        lowest = self._priced.bound
        if reach is None:
            reach = max(lowest, self.bound) + 1 + lowest // FIRST_REACH
        build_s = SECONDS_PER_TERM * sum(len(row.terms) for row in form.model.rows)
        while not self.optimal and self.meter.left_s > build_s:
            if self.best is not None:
                reach = min(reach, self.best[0][0])
            inside = self._inside(form, reach)
            outcome = self._minimise(form, self._costs, inside, [], self.meter.left_s)
            everything = len(inside) == len(form.model.upper)
            if outcome.proven and everything and self.best is None:
                self.infeasible = True
                return
            if outcome.proven and self.best and (everything or self.best[0][0] <= reach):
                self.bound = max(self.bound, self.best[0][0])
            else:
                self.bound = max(self.bound, min(outcome.bound, reach + 1))
            if not outcome.proven:
                return
            wider = lowest + WIDER * (reach - lowest)
            feasible = self.best is not None or self._excluded
            reach = wider if feasible else max(self._priced.at_use)

    def _inside(self, form: Formulation, reach: int) -> list[int]:
        """The variables that a plan of cost at most `reach` may use, and those of the best plan."""
        hint = form.assignment(self.best[1]) if self.best else [0] * len(form.model.upper)
        reached = [at_use <= reach for at_use in self._priced.at_use]
        return [
            variable
            for variable, near in enumerate(reached)
            if (near and reached[form.needs.get(variable, variable)]) or hint[variable]
        ]

    def _break_ties(self, form: Formulation) -> None:
        """Among plans as good as the best, the first in the order of the further criteria."""
        assert self.best is not None
        inside = self._inside(form, self.best[0][0])
        share = 1.0 if self.objective in ("hbm", "sbuf") else TIE_SHARE
        budget_s = min(self.meter.left_s, share * self.meter.limit_s)
        objectives = [form.objective(weights) for weights in criteria(self.objective)]
        kept: list[Row] = []
        for nth in range(1, len(objectives)):
            before = objectives[nth - 1]
            kept.append(Row([(a, v) for v, a in before.items()], -UNBOUNDED, self.best[0][nth - 1]))
            spent = self.meter.spent_s
            outcome = self._minimise(form, objectives[nth], inside, kept, budget_s)
            budget_s -= self.meter.spent_s - spent
            if not outcome.proven or budget_s <= 0:
                return

    def _minimise(
        self,
        form: Formulation,
        objective: Mapping[int, int],
        inside: list[int],
        extra_rows: list[Row],
        seconds: float,
    ) -> Outcome:
        """Solve with only the variables `inside` above 0, and offer the plan that comes out."""
        model = LinearModel(form.model.upper, form.model.rows + self._excluded + extra_rows)
        hint = form.assignment(self.best[1]) if self.best else None
        outcome = self.engine.minimise(model, objective, inside, hint, seconds)
        if outcome.values is not None:
            plan = form.solution(outcome.values)
            assert self._offer(plan), check(self.problem, plan, constraints=self.constraints)
        return outcome

    def report(self, seed: int) -> Report:
        """What is known now; `seed` is the one the engine works with."""
        status = Status.UNKNOWN if self.best is None else Status.FEASIBLE
        if self.infeasible:
            status = Status.INFEASIBLE
        elif self.optimal:
            status = Status.OPTIMAL
        plan = None if self.best is None else self.best[1]
        terms = None if self.best is None else self.best[2]
        cost = None if self.best is None else self.best[0][0]
        if self.objective == "time":
            self.time_bound = self.bound
        return Report(
            status=status,
            solution=plan,
            objective_ns=None if terms is None else terms.objective_ns,
            terms=terms,
            best_bound_ns=self.time_bound,
            gap=max(0.0, (cost - self.bound) / cost) if cost else 0.0,
            wall_s=self.meter.wall_s,
            deterministic_s=self.meter.spent_s,
            seed=seed,
            variables=0 if self.form is None else len(self.form.model.upper),
            constraints=0 if self.form is None else len(self.form.model.rows),
            dims=() if plan is None else chosen_dims(self.problem, plan.picked),
            blocking=self.blocking,
            greedy=self.greedy,
            objective=str(self.objective),
            cost=cost,
            cost_terms={} if terms is None else cost_terms(terms, self.objective),
            cost_bound=self.bound,
        )
