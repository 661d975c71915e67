"""The linear model: plans fit it, their costs are its costs, and its prices prove bounds."""

from __future__ import annotations

import pytest

from solver import Problem, Solution, evaluate, solve
from solver.brute import brute
from solver.engine import Meter
from solver.formulation import ROLE_CODES, Formulation
from solver.greedy import construct, greedy
from solver.linear import LinearModel, price
from solver.search import CpSat
from solver.synthetic import layered_problem, small_problem

SEEDS = range(40)


def some_plan(problem: Problem) -> Solution | None:
    report = solve(problem, time_limit=2)
    return report.solution


def test_every_legal_plan_satisfies_every_row_at_its_own_cost() -> None:
    tried = 0
    for seed in SEEDS:
        problem = small_problem(seed)
        plan = some_plan(problem)
        if plan is None:
            continue
        form = Formulation(problem)
        values = form.assignment(plan)
        terms = evaluate(problem, plan)
        assert form.model.broken_rows(values) == []
        assert all(0 <= v <= u for v, u in zip(values, form.model.upper, strict=True))
        assert form.cost(form.time, values) == terms.objective_ns
        assert form.cost(form.traffic, values) == terms.hbm_bytes
        assert form.cost(form.work, values) == terms.instructions
        assert values[form.room.peak] == terms.peak_sbuf_bytes
        assert form.solution(values) == plan
        tried += 1
    assert tried > 20


def test_role_and_tile_variables_follow_the_picked_candidates() -> None:
    tried = 0
    for seed in SEEDS:
        problem = small_problem(seed)
        report = solve(problem, time_limit=2)
        if report.solution is None:
            continue
        form = Formulation(problem)
        values = form.assignment(report.solution)
        said = {(dim.value, dim.axis): dim for dim in report.dims}
        for key, role in form.role.items():
            assert values[role] == (ROLE_CODES[said[key].role] if key in said else 0)
            assert values[form.tile[key]] == (said[key].tile if key in said else 0)
            tried += 1
    assert tried > 100


def test_prices_of_the_relaxation_bound_every_plan_and_what_it_uses() -> None:
    tight = 0
    for seed in SEEDS:
        problem = small_problem(seed, max_ops=4)
        best = brute(problem)
        if best is None:
            continue
        form = Formulation(problem)
        priced = price(form.model, form.time, CpSat(Meter(5.0), 0).relax(form, form.time))
        values = form.assignment(best[1])
        assert priced.bound <= best[0][0]
        assert all(
            at_use <= best[0][0]
            for at_use, value in zip(priced.at_use, values, strict=True)
            if value
        )
        tight += priced.bound == best[0][0]
    assert tight > 20


def test_any_prices_give_a_valid_bound() -> None:
    model = LinearModel()
    x, y = model.variable(), model.variable(5)
    model.at_least([(2, x), (1, y)], 3)
    model.at_most([(1, x), (1, y)], 4)
    objective = {x: 7, y: 4}  # the optimum is 11, at x = y = 1
    for at_least in (-2.0, 0.0, 0.5, 3.0, 3.5, 100.0):
        for at_most in (-3.0, 0.0, 0.25, 9.0):
            assert price(model, objective, [at_least, at_most]).bound <= 11
    assert price(model, objective, [3.5, 0.0]).bound == 11


def test_a_variable_that_no_good_solution_uses_is_priced_out() -> None:
    model = LinearModel()
    cheap, dear = model.variable(), model.variable()
    model.equal([(1, cheap), (1, dear)], 1)
    priced = price(model, {cheap: 3, dear: 10}, [3.0])
    assert priced.bound == 3
    assert priced.at_use == [3, 10]


def test_plans_made_by_hand_fit_the_model_of_a_large_problem() -> None:
    problem = layered_problem(40, seed=5)
    form = Formulation(problem)
    baseline = greedy(problem)
    assert baseline is not None
    for plan in (baseline, *construct(problem)):
        values = form.assignment(plan)
        assert form.model.broken_rows(values) == []
        assert form.cost(form.time, values) == evaluate(problem, plan).objective_ns


@pytest.mark.parametrize("limit", [24 * 1024, 192 * 1024])
def test_the_relaxation_of_a_large_problem_is_within_a_few_percent(limit: int) -> None:
    problem = layered_problem(20, seed=4, sbuf_limit_bytes=limit)
    report = solve(problem, time_limit=10)
    assert report.objective_ns is not None
    form = Formulation(problem)
    priced = price(form.model, form.time, CpSat(Meter(5.0), 0).relax(form, form.time))
    assert 0.95 * report.objective_ns < priced.bound <= report.objective_ns
