"""Solving a `Problem` with OR-Tools: GLOP for the linear relaxation, CP-SAT for the rest.

It imports ortools when it is first needed; `packing.exact` is the only other module that does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from .constraints import Constraint, validate_constraints
from .decompose import solve_large
from .engine import (
    GRACE_S,
    SECONDS_PER_PIVOT_ROW,
    SECONDS_PER_TERM,
    SECONDS_PER_TICK,
    Meter,
    Outcome,
)
from .formulation import Formulation
from .greedy import greedy_terms
from .improve import Search
from .linear import UNBOUNDED, LinearModel, Row
from .marginal import Worth, worth
from .objectives import Objective, validate_objective
from .permitted import permitted
from .problem import Problem
from .questions import Questions
from .report import Report, Solution

MAX_ROUNDS = 6
"""How often the relaxation may be solved, each time with the rows that it broke before."""

FEW_BROKEN = 0.005
"""Part of the rows of SBUF that may stay broken: so few hardly move the bound."""


class SolverMissing(RuntimeError):
    """The OR-Tools package, which solving needs, is not installed."""


def solve(
    problem: Problem,
    *,
    time_limit: float = 10.0,
    seed: int = 0,
    processes: int = 1,
    constraints: Sequence[Constraint] = (),
    objective: Objective = "time",
    start: Sequence[Solution] = (),
) -> Report:
    """The best plan for `problem` under `constraints` that `time_limit` seconds allow, by default
    the fastest.

    Of plans that are equal by `objective` it prefers the faster, then less HBM traffic, then fewer
    instructions, then a lower SBUF peak, as far as time allows.  The same arguments give the same
    plan.  However short the limit, the report has a plan no worse than `greedy` and those in
    `start`, plans of like problems for instance, as far as they are legal.

    Large problems are solved for their time in pieces (`decompose`), in up to `processes`
    processes: that changes how long it takes and nothing else.  A script that asks for more than
    one must be importable, as `multiprocessing` has it for processes that are spawned.

    Raises `ProblemError` for a malformed problem, constraint or objective, and `SolverMissing`
    without OR-Tools.
    """
    engine = start_engine("solve", time_limit, seed)
    problem.validate()
    validate_constraints(problem, constraints)
    validate_objective(objective)
    if objective == "time":
        with closing(Questions(PieceOracle(seed), processes)) as questions:
            report = solve_large(
                permitted(problem, constraints), questions, engine.meter, seed, start
            )
        if report is not None:
            # What was solved may be without some of the greedy plan's candidates.
            return replace(report, greedy=greedy_terms(problem)) if constraints else report
    search = Search(problem, tuple(constraints), engine, objective, start)
    search.run()
    return search.report(seed)


def start_engine(who: str, time_limit: float, seed: int) -> CpSat:
    """An engine with `time_limit` seconds to spend.  Raises `ValueError` if they are not above 0,
    and `SolverMissing` without OR-Tools."""
    if time_limit <= 0:
        raise ValueError(f"{who}: time_limit is {time_limit}, must be above 0")
    return CpSat(Meter(time_limit), seed)


@dataclass(frozen=True, slots=True)
class PieceOracle:
    """Answers questions about pieces (`questions.Oracle`) by solving them as a whole."""

    seed: int

    def solve(self, problem: Problem, seconds: float) -> Report:
        """See `questions.Oracle`."""
        search = Search(problem, (), self._engine(seconds))
        search.run()
        return search.report(self.seed)

    def worth(self, window: tuple[Problem, int], seconds: float) -> Worth:
        """See `questions.Oracle`."""
        return worth(*window, self._engine(seconds))

    def _engine(self, seconds: float) -> CpSat:
        # Pieces are small: on a loaded machine, real time must not end them differently.
        return CpSat(Meter(seconds, grace_s=GRACE_S), self.seed)


class CpSat:
    """The engine: repeatable for the same seed."""

    def __init__(self, meter: Meter, seed: int) -> None:
        self.meter = meter
        self._seed = seed
        self._cp_model: Any = _ortools()

    def relax(self, form: Formulation, objective: Mapping[int, int]) -> list[float]:
        """Row prices for `objective`, from the linear relaxation by GLOP's dual simplex method;
        zeros where even its first round does not end within the time left.

        The rows of SBUF are taken in as they are found broken, in up to `MAX_ROUNDS` rounds; those
        never broken have price 0.
        """
        linear = Relaxation(form.model, objective)
        linear.add(set(range(len(form.model.rows))) - set(form.room.rows))
        prices = [0.0] * len(form.model.rows)
        for _ in range(MAX_ROUNDS):
            if not linear.solve(self.meter):
                break
            prices = linear.prices()
            values = linear.values()
            peak = values[form.room.peak] if form.room.peak in objective else None
            broken = form.room.broken(values, peak)
            if len(broken) <= FEW_BROKEN * len(form.room.rows):
                break
            linear.add(broken)
            linear.add(form.room.definitions)
        return prices

    def minimise(
        self,
        model: LinearModel,
        objective: Mapping[int, int],
        inside: Sequence[int],
        hint: Sequence[int] | None,
        seconds: float,
    ) -> Outcome:
        """See `engine.Engine`."""
        cp = self._cp_model.CpModel()
        variables = {i: cp.new_int_var(0, model.upper[i], "") for i in inside}
        upper = [0] * len(model.upper)
        for i in inside:
            upper[i] = model.upper[i]
        for row in model.rows:
            if not row.always_holds(upper):
                self._add_row(cp, variables, row)
        costs = [(cost, variables[i]) for i, cost in objective.items() if i in variables]
        cp.minimize(self._sum(costs))
        if hint is not None:
            for i, variable in variables.items():
                cp.add_hint(variable, hint[i])
        solver, status = self._run(cp, seconds, linear=True)
        values = None
        if status in ("OPTIMAL", "FEASIBLE"):
            values = [0] * len(model.upper)
            for i, variable in variables.items():
                values[i] = solver.value(variable)
        bound = UNBOUNDED if status == "INFEASIBLE" else math.ceil(solver.best_objective_bound)
        return Outcome(values, bound, status in ("OPTIMAL", "INFEASIBLE"))

    def conflict(
        self, model: LinearModel, assumed: Sequence[str], hard: Sequence[str]
    ) -> list[str] | None:
        """See `engine.Engine`."""
        cp = self._cp_model.CpModel()
        variables = {i: cp.new_int_var(0, upper, "") for i, upper in enumerate(model.upper)}
        literals = {tag: cp.new_bool_var("") for tag in assumed}
        required = set(hard)
        for row in model.rows:
            known = [literals[tag] for tag in row.tags if tag in literals]
            if not row.tags or required.intersection(row.tags):
                self._add_row(cp, variables, row)
            elif known:
                asked = cp.new_bool_var("")
                for literal in known:
                    cp.add_implication(literal, asked)
                self._add_row(cp, variables, row, asked)
        cp.add_assumptions(list(literals.values()))
        solver, status = self._run(cp, self.meter.limit_s, linear=False)
        if status != "INFEASIBLE":
            return None
        core = set(solver.sufficient_assumptions_for_infeasibility())
        return [tag for tag, literal in literals.items() if literal.index in core]

    def _add_row(self, cp: Any, variables: Mapping[int, Any], row: Row, asked: Any = None) -> None:
        """Add `row` over `variables`, others being 0, where the literal `asked` holds."""
        terms = [(coefficient, variables[i]) for coefficient, i in row.terms if i in variables]
        if not terms and row.lower <= 0 <= row.upper:
            return
        self.meter.spent_s += len(terms) * SECONDS_PER_TERM
        lower = row.lower if row.lower > -UNBOUNDED else self._cp_model.INT_MIN
        upper = row.upper if row.upper < UNBOUNDED else self._cp_model.INT_MAX
        constraint = cp.add_linear_constraint(self._sum(terms), lower, upper)
        if asked is not None:
            constraint.only_enforce_if(asked)

    def _sum(self, terms: Sequence[tuple[int, Any]]) -> Any:
        return self._cp_model.LinearExpr.weighted_sum([v for _, v in terms], [c for c, _ in terms])

    def _run(self, cp: Any, seconds: float, *, linear: bool) -> tuple[Any, str]:
        """Run CP-SAT for up to `seconds` of estimated time; the solver and its status.

        One worker with the full linear relaxation does best on these models: the relaxation is
        tight, and probing and symmetry detection find nothing in them.
        """
        solver = self._cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = self._seed
        solver.parameters.linearization_level = 2 if linear else 0
        solver.parameters.cp_model_probing_level = 0
        solver.parameters.symmetry_level = 0
        solver.parameters.max_deterministic_time = seconds / SECONDS_PER_TICK
        solver.parameters.max_time_in_seconds = self.meter.wall_left_s
        status = solver.status_name(solver.solve(cp))
        # Its last digits differ from run to run.
        ticks = round(solver.response_proto.deterministic_time, 6)
        self.meter.spent_s += ticks * SECONDS_PER_TICK
        return solver, status


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


def _ortools() -> ModuleType:
    """OR-Tools' CP-SAT module, imported when it is first needed."""
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise SolverMissing("solver: OR-Tools is not installed; pip install ortools") from error
    return cp_model
