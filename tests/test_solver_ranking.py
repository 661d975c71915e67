"""Ranked plans: the best ones in order, each checked, and the same as exhaustive search has."""

from __future__ import annotations

import random

import pytest

from solver import Cut, Pin, check, ranked, solve
from solver.brute import brute, brute_ranked
from solver.ranking import signature
from solver.synthetic import layered_problem, small_problem, with_overlap


@pytest.mark.parametrize("block", range(2))
def test_the_best_plans_are_those_of_exhaustive_search(block: int) -> None:
    several = 0
    for seed in range(12 * block, 12 * block + 12):
        problem = with_overlap(small_problem(seed, max_ops=3), seed)
        best = brute_ranked(problem)[:12]
        found = ranked(problem, 12, time_limit=20)
        assert [report.objective_ns for report in found] == [plan[0][0] for plan in best]
        assert all(report.cost_bound == report.cost for report in found)
        several += len(found) > 1
    assert several > 3


@pytest.mark.parametrize("seed", range(4))
def test_ranked_plans_keep_constraints_and_follow_the_objective(seed: int) -> None:
    problem = small_problem(seed, max_ops=3)
    value = random.Random(seed).choice(problem.values).name
    constraints = [Cut(problem.ops[1]), Pin(value, location="hbm")]
    best = brute_ranked(problem, constraints, "hbm")[:6]
    found = ranked(problem, 6, constraints=constraints, objective="hbm", time_limit=20)
    assert [report.cost for report in found] == [plan[0][0] for plan in best]
    for report in found:
        assert report.solution is not None
        assert check(problem, report.solution, constraints=constraints) == []


def test_plans_of_a_larger_problem_differ_are_legal_and_get_no_better() -> None:
    problem = layered_problem(12, seed=2, candidates_per_op=8)
    found = ranked(problem, 5)
    plans = [report.solution for report in found if report.solution is not None]
    assert len({signature(plan) for plan in plans}) == 5
    assert all(check(problem, plan) == [] for plan in plans)
    costs = [report.objective_ns or 0 for report in found]
    assert costs == sorted(costs)
    assert found[0].solution == solve(problem).solution


def test_all_plans_are_found_where_there_are_fewer_than_asked_for() -> None:
    sizes = [len(brute_ranked(small_problem(seed, max_ops=2))) for seed in range(30)]
    (seed, *_) = [seed for seed, size in enumerate(sizes) if 1 < size < 10]
    assert len(ranked(small_problem(seed, max_ops=2), 50, time_limit=20)) == sizes[seed]


def test_without_a_legal_plan_there_are_none() -> None:
    (seed, *_) = [s for s in range(20) if brute(small_problem(s, max_ops=3)) is None]
    assert ranked(small_problem(seed, max_ops=3)) == []


def test_without_time_there_is_one_plan() -> None:
    (report,) = ranked(layered_problem(40, seed=1), time_limit=0.01)
    assert report.gap > 0


def test_a_count_below_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="ranked: count is 0, must be at least 1"):
        ranked(small_problem(1), 0)
