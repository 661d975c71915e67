"""Solving a `Problem`: linear relaxation, then CP-SAT on the part that the relaxation leaves open.

The relaxation's row prices prove, for every variable, a time below which no plan uses it
(`linear.price`).  CP-SAT first sees the variables that plans close to the bound may use; the plan
it finds, if it is within that reach, is optimal among all plans, and else says how far to reach
next.  This is the only module that imports ortools.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .brute import Rank, rank
from .check import check
from .diagnose import blocking
from .evaluate import chosen_dims, evaluate
from .formulation import Formulation
from .greedy import construct, greedy
from .linear import UNBOUNDED, LinearModel, Priced, Row, price
from .paths import lower_bound
from .problem import Pin, Problem
from .report import Report, Solution, Status, Terms
from .rules import validate_pins

SECONDS_PER_PORT = 40e-6
SECONDS_PER_TERM = 3e-6
SECONDS_PER_PIVOT_ROW = 1e-8
SECONDS_PER_TICK = 2.0
"""What building a model takes per port and per term, the simplex method per iteration and row, and
CP-SAT per unit of its deterministic time, in seconds: measured on one core of a 2 vCPU cloud
machine.  The time limit is spent in these estimates, so that the plan does not depend on the speed
or load of the machine; real time is only a net below, at `WALL_FACTOR` times the limit."""

WALL_FACTOR = 4
"""Real seconds allowed per second of the time limit."""

TIE_SHARE = 0.2
"""Part of the time limit that may go into choosing among equally fast plans."""

MAX_ROUNDS = 6
"""How often the relaxation may be solved, each time with the rows that it broke before."""

FIRST_REACH = 1000
"""CP-SAT begins with what plans within 1 / FIRST_REACH of the bound may use."""

WIDER = 4
"""Factor by which the reach grows while no plan is in it."""


class SolverMissing(RuntimeError):
    """The OR-Tools package, which solving needs, is not installed."""


@dataclass(slots=True)
class Meter:
    """Time spent in machine-independent estimates of seconds, and real time as a net below."""

    limit_s: float
    spent_s: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def left_s(self) -> float:
        return max(0.0, self.limit_s - self.spent_s)

    @property
    def wall_s(self) -> float:
        return time.perf_counter() - self.started

    @property
    def wall_left_s(self) -> float:
        return max(0.01, WALL_FACTOR * self.limit_s - self.wall_s)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What CP-SAT says of a model: `values` of all variables if it has a solution, a `bound` that
    none beats, and whether it is done, with the optimum or with the proof that there is none."""

    values: list[int] | None
    bound: int
    proven: bool


@dataclass(frozen=True, slots=True)
class Effort:
    """How to run CP-SAT: at most `seconds` of estimated time, and the choices that make a run
    repeatable."""

    seconds: float
    seed: int
    workers: int


def solve(
    problem: Problem,
    *,
    time_limit: float = 10.0,
    seed: int = 0,
    workers: int = 1,
    pins: Sequence[Pin] = (),
) -> Report:
    """The fastest plan for `problem` under `pins` that `time_limit` seconds allow.

    Of equally fast plans it prefers less HBM traffic, then fewer instructions, then a lower SBUF
    peak, as far as time allows.  With one worker, the same arguments give the same plan.  However
    short the limit, the report has a plan no slower than `greedy`, if that is legal.

    Raises `ProblemError` for a malformed problem or pin, and `SolverMissing` without OR-Tools.
    """
    if time_limit <= 0:
        raise ValueError(f"solve: time_limit is {time_limit}, must be above 0")
    _ortools()
    problem.validate()
    validate_pins(problem, pins)
    search = Search(problem, tuple(pins), Meter(time_limit), seed, workers)
    search.run()
    return search.report()


class Search:
    """The state of one call of `solve`."""

    def __init__(
        self, problem: Problem, pins: tuple[Pin, ...], meter: Meter, seed: int, workers: int
    ) -> None:
        self.problem = problem
        self.pins = pins
        self.meter = meter
        self.seed = seed
        self.workers = workers
        self.bound = lower_bound(problem)
        self.best: tuple[Rank, Solution, Terms] | None = None
        self.form: Formulation | None = None
        self.blocking: tuple[str, ...] = ()
        self.infeasible = False
        baseline = greedy(problem)
        self.greedy = None if baseline is None else evaluate(problem, baseline)
        for plan in [*([] if baseline is None else [baseline]), *construct(problem, pins)]:
            self._offer(plan)

    def run(self) -> None:
        """Improve on the plans made by hand, if there is time to build the model at all."""
        ports = sum(len(c.ops) + len(c.reads) + len(c.writes) for c in self.problem.candidates)
        if ports * SECONDS_PER_PORT > self.meter.limit_s:
            return
        form = self.form = Formulation(self.problem, self.pins)
        self.meter.spent_s += ports * SECONDS_PER_PORT
        priced = price(form.model, form.time, relax(form, self.meter))
        self.bound = max(self.bound, priced.bound)
        self._widen(form, priced)
        if self.infeasible:
            self.blocking = self._explain(form)
        elif self._optimal:
            self._break_ties(form, priced)

    @property
    def _optimal(self) -> bool:
        return self.best is not None and self.best[0][0] <= self.bound

    def _offer(self, plan: Solution) -> bool:
        """Take `plan` if it is legal and better than the best so far; whether it is legal."""
        if check(self.problem, plan, pins=self.pins):
            return False
        terms = evaluate(self.problem, plan)
        if self.best is None or rank(terms) < self.best[0]:
            self.best = (rank(terms), plan, terms)
        return True

    def _widen(self, form: Formulation, priced: Priced) -> None:
        """Solve over what plans up to `reach` ns may use, and reach further until it is enough."""
        reach = priced.bound + 1 + priced.bound // FIRST_REACH
        build_s = SECONDS_PER_TERM * sum(len(row.terms) for row in form.model.rows)
        while not self._optimal and self.meter.left_s > build_s:
            if self.best is not None:
                reach = min(reach, self.best[0][0])
            inside = self._inside(form, priced, reach)
            outcome = self._minimise(form, form.time, inside, [], self.meter.left_s)
            if outcome.proven and self.best is not None and self.best[0][0] <= reach:
                self.bound = max(self.bound, self.best[0][0])
            elif outcome.proven and len(inside) == len(form.model.upper):
                self.infeasible = outcome.values is None
                self.bound = max(self.bound, outcome.bound)
                return
            else:
                self.bound = max(self.bound, min(outcome.bound, reach + 1))
            if not outcome.proven:
                return
            wider = priced.bound + WIDER * (reach - priced.bound)
            reach = wider if self.best is not None else max(priced.at_use)

    def _inside(self, form: Formulation, priced: Priced, reach: int) -> list[int]:
        """The variables that a plan of at most `reach` ns may use, and those of the best plan."""
        hint = form.assignment(self.best[1]) if self.best else [0] * len(form.model.upper)
        reached = [at_use <= reach for at_use in priced.at_use]
        return [
            variable
            for variable, near in enumerate(reached)
            if (near and reached[form.needs.get(variable, variable)]) or hint[variable]
        ]

    def _break_ties(self, form: Formulation, priced: Priced) -> None:
        """Among plans as fast as the best, in turn: less HBM traffic, fewer instructions, a lower
        SBUF peak."""
        assert self.best is not None
        inside = self._inside(form, priced, self.best[0][0])
        budget_s = min(self.meter.left_s, TIE_SHARE * self.meter.limit_s)
        objectives = (form.time, form.traffic, form.work, {form.room.peak: 1})
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
        model = LinearModel(form.model.upper, form.model.rows + extra_rows)
        hint = form.assignment(self.best[1]) if self.best else None
        effort = Effort(seconds, self.seed, self.workers)
        outcome = minimise(model, objective, inside, hint, effort, self.meter)
        if outcome.values is not None:
            plan = form.solution(outcome.values)
            assert self._offer(plan), check(self.problem, plan, pins=self.pins)
        return outcome

    def _explain(self, form: Formulation) -> tuple[str, ...]:
        effort = Effort(self.meter.limit_s, self.seed, self.workers)

        def conflicting(assumed: Sequence[str], hard: Sequence[str]) -> list[str] | None:
            return conflict(form.model, assumed, hard, effort, self.meter)

        return blocking(form.model, form.must_run, conflicting)

    def report(self) -> Report:
        """What is known now."""
        status = Status.UNKNOWN if self.best is None else Status.FEASIBLE
        if self.infeasible:
            status = Status.INFEASIBLE
        elif self._optimal:
            status = Status.OPTIMAL
        plan = None if self.best is None else self.best[1]
        terms = None if self.best is None else self.best[2]
        gap = 0.0
        if terms is not None and terms.objective_ns:
            gap = max(0.0, (terms.objective_ns - self.bound) / terms.objective_ns)
        return Report(
            status=status,
            solution=plan,
            objective_ns=None if terms is None else terms.objective_ns,
            terms=terms,
            best_bound_ns=self.bound,
            gap=gap,
            wall_s=self.meter.wall_s,
            deterministic_s=self.meter.spent_s,
            seed=self.seed,
            variables=0 if self.form is None else len(self.form.model.upper),
            constraints=0 if self.form is None else len(self.form.model.rows),
            dims=() if plan is None else chosen_dims(self.problem, plan.picked),
            blocking=self.blocking,
            greedy=self.greedy,
        )


def relax(form: Formulation, meter: Meter) -> list[float]:
    """Row prices for `form.time`, from the linear relaxation by GLOP's dual simplex method; zeros
    where even its first round does not end within the time left.

    The rows of SBUF are added as they are found broken, in up to `MAX_ROUNDS` rounds; those that
    are not in it have price 0.
    """
    linear = Relaxation(form.model, form.time)
    linear.add(set(range(len(form.model.rows))) - set(form.room.rows))
    prices = [0.0] * len(form.model.rows)
    for _ in range(MAX_ROUNDS):
        if not linear.solve(meter):
            break
        prices = linear.prices()
        broken = form.room.broken(linear.values())
        if not broken:
            break
        linear.add(broken)
    return prices


class Relaxation:
    """The linear relaxation of some rows of a model, in GLOP."""

    def __init__(self, model: LinearModel, objective: Mapping[int, int]) -> None:
        # The wrapper carries no types.
        from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

        self._model = model
        self._optimal = pywraplp.Solver.OPTIMAL
        self._solver: Any = pywraplp.Solver.CreateSolver("GLOP")
        self._variables = [self._solver.NumVar(0, upper, "") for upper in model.upper]
        self._rows: dict[int, Any] = {}
        self._terms = 0
        for variable, cost in objective.items():
            self._solver.Objective().SetCoefficient(self._variables[variable], cost)
        self._solver.Objective().SetMinimization()

    def add(self, rows: Iterable[int]) -> None:
        """Take in the rows of these indices."""
        for index in sorted(set(rows) - self._rows.keys()):
            row = self._model.rows[index]
            lower = row.lower if row.lower > -UNBOUNDED else -self._solver.infinity()
            upper = row.upper if row.upper < UNBOUNDED else self._solver.infinity()
            constraint = self._rows[index] = self._solver.Constraint(lower, upper)
            merged: dict[int, int] = {}
            for coefficient, variable in row.terms:
                merged[variable] = merged.get(variable, 0) + coefficient
            for variable, coefficient in merged.items():
                constraint.SetCoefficient(self._variables[variable], coefficient)
            self._terms += len(merged)

    def solve(self, meter: Meter) -> bool:
        """Whether the optimum was found within the time left."""
        per_pivot_s = SECONDS_PER_PIVOT_ROW * len(self._rows)
        meter.spent_s += self._terms * SECONDS_PER_TERM
        self._terms = 0
        pivots = int(meter.left_s / per_pivot_s)
        self._solver.SetSolverSpecificParametersAsString(
            f"use_dual_simplex: true max_number_of_iterations: {pivots}"
        )
        self._solver.set_time_limit(int(1000 * meter.wall_left_s))
        done = self._solver.Solve() == self._optimal
        meter.spent_s += self._solver.iterations() * per_pivot_s
        return bool(done)

    def prices(self) -> list[float]:
        """The dual value of every row of the model, 0 for those not taken in."""
        prices = [0.0] * len(self._model.rows)
        for index, constraint in self._rows.items():
            prices[index] = constraint.dual_value()
        return prices

    def values(self) -> list[float]:
        """The values of all variables."""
        return [variable.solution_value() for variable in self._variables]


def minimise(
    model: LinearModel,
    objective: Mapping[int, int],
    inside: Sequence[int],
    hint: Sequence[int] | None,
    effort: Effort,
    meter: Meter,
) -> Outcome:
    """Minimise `objective` over `model` with CP-SAT, every variable not `inside` being 0.

    `hint` is a value for every variable, best a solution.  Spends up to `effort.seconds`.
    """
    cp_model = _ortools()
    cp = cp_model.CpModel()
    variables = {i: cp.new_int_var(0, model.upper[i], "") for i in inside}
    terms = 0
    for row in model.rows:
        terms += _add_row(cp_model, cp, variables, row)
    costs = [(cost, variables[i]) for i, cost in objective.items() if i in variables]
    cp.minimize(cp_model.LinearExpr.weighted_sum([v for _, v in costs], [c for c, _ in costs]))
    if hint is not None:
        for i, variable in variables.items():
            cp.add_hint(variable, hint[i])
    meter.spent_s += terms * SECONDS_PER_TERM
    solver, status = _run(cp_model, cp, effort, meter)
    found = status in ("OPTIMAL", "FEASIBLE")
    values = [0] * len(model.upper)
    if found:
        for i, variable in variables.items():
            values[i] = solver.value(variable)
    bound = -(-solver.best_objective_bound // 1) if status != "INFEASIBLE" else UNBOUNDED
    return Outcome(values if found else None, int(bound), status in ("OPTIMAL", "INFEASIBLE"))


def conflict(
    model: LinearModel, assumed: Sequence[str], hard: Sequence[str], effort: Effort, meter: Meter
) -> list[str] | None:
    """Those tags in `assumed` that, with those in `hard` and the rows without tags, leave no
    solution; not the fewest.  `None` if there is a solution or the time does not suffice."""
    cp_model = _ortools()
    cp = cp_model.CpModel()
    variables = {i: cp.new_int_var(0, upper, "") for i, upper in enumerate(model.upper)}
    literals = {tag: cp.new_bool_var("") for tag in assumed}
    required = set(hard)
    for row in model.rows:
        known = [literals[tag] for tag in row.tags if tag in literals]
        if not row.tags or required.intersection(row.tags):
            _add_row(cp_model, cp, variables, row)
        elif known:
            asked = cp.new_bool_var("")
            for literal in known:
                cp.add_implication(literal, asked)
            _add_row(cp_model, cp, variables, row, asked)
    cp.add_assumptions(list(literals.values()))
    solver, status = _run(cp_model, cp, effort, meter)
    if status != "INFEASIBLE":
        return None
    core = set(solver.sufficient_assumptions_for_infeasibility())
    return [tag for tag, literal in literals.items() if literal.index in core]


def _add_row(
    cp_model: Any, cp: Any, variables: Mapping[int, Any], row: Row, asked: Any = None
) -> int:
    """Add `row` over `variables`, others being 0, where `asked` holds; the number of terms."""
    terms = [(coefficient, variables[i]) for coefficient, i in row.terms if i in variables]
    if not terms and row.lower <= 0 <= row.upper:
        return 0
    expression = cp_model.LinearExpr.weighted_sum([v for _, v in terms], [c for c, _ in terms])
    lower = row.lower if row.lower > -UNBOUNDED else cp_model.INT_MIN
    upper = row.upper if row.upper < UNBOUNDED else cp_model.INT_MAX
    constraint = cp.add_linear_constraint(expression, lower, upper)
    if asked is not None:
        constraint.only_enforce_if(asked)
    return len(terms)


def _run(cp_model: Any, cp: Any, effort: Effort, meter: Meter) -> tuple[Any, str]:
    """Run CP-SAT the way that suits these models: one full linear relaxation, no probing.  The
    solver and its status."""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = effort.workers
    solver.parameters.random_seed = effort.seed
    solver.parameters.linearization_level = 2
    solver.parameters.cp_model_probing_level = 0
    solver.parameters.symmetry_level = 0
    solver.parameters.max_deterministic_time = effort.seconds / SECONDS_PER_TICK
    solver.parameters.max_time_in_seconds = meter.wall_left_s
    status = solver.status_name(solver.solve(cp))
    meter.spent_s += solver.response_proto.deterministic_time * SECONDS_PER_TICK
    return solver, status


def _ortools() -> ModuleType:
    """OR-Tools' CP-SAT module, imported when it is first needed."""
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise SolverMissing("solver: OR-Tools is not installed; pip install ortools") from error
    return cp_model
