"""Other objectives than time: HBM traffic, SBUF peak and weighted sums."""

from __future__ import annotations

from dataclasses import replace

import pytest

from solver import Objective, Problem, ProblemError, Report, Status, Weights, check, evaluate, solve
from solver.brute import brute
from solver.objectives import rank
from solver.synthetic import layered_problem, small_problem, with_overlap

OBJECTIVES: tuple[Objective, ...] = (
    "hbm",
    "sbuf",
    Weights(ns=3, hbm_kib=5000, instructions=1),
    Weights(ns=1, sbuf_kib=2000),
)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_the_solver_agrees_with_exhaustive_search(objective: Objective) -> None:
    other_plans = 0
    for seed in range(16):
        problem = with_overlap(small_problem(seed, max_ops=4), seed)
        best = brute(problem, objective=objective)
        report = solve(problem, time_limit=5, objective=objective)
        if best is None:
            assert report.status is Status.INFEASIBLE
            continue
        assert report.status is Status.OPTIMAL, problem.name
        assert report.terms is not None
        assert report.solution is not None
        assert rank(report.terms, objective) == best[0], problem.name
        assert report.cost_bound == report.cost == best[0][0]
        claims = {"claimed_cost": report.cost, "claimed_ns": report.objective_ns}
        assert check(problem, report.solution, objective=objective, **claims) == []
        assert report.best_bound_ns <= (report.objective_ns or 0)
        fastest = solve(problem, time_limit=5)
        other_plans += fastest.solution != report.solution
    assert other_plans


def test_each_plan_is_the_best_by_its_own_objective() -> None:
    problem = layered_problem(8, seed=4, candidates_per_op=8, sbuf_limit_bytes=24 * 1024)
    fast, lean, small = (terms_of(problem, o) for o in ("time", "hbm", "sbuf"))
    assert fast.objective_ns is not None
    assert lean.objective_ns is not None
    assert fast.objective_ns <= min(lean.objective_ns, small.objective_ns or 0)
    assert traffic(lean) <= min(traffic(fast), traffic(small))
    assert peak(small) <= min(peak(fast), peak(lean))
    assert peak(small) < peak(fast)


def terms_of(problem: Problem, objective: Objective) -> Report:
    return solve(problem, time_limit=3, objective=objective)


def traffic(report: Report) -> int:
    assert report.terms is not None
    return report.terms.hbm_bytes


def peak(report: Report) -> int:
    assert report.terms is not None
    return report.terms.peak_sbuf_bytes


def test_the_report_names_the_objective_and_its_terms() -> None:
    problem = small_problem(1)
    report = solve(problem, objective=Weights(ns=2, hbm_kib=7))
    assert report.terms is not None
    assert report.objective == "weighted: 2 ns + 7 hbm_kib"
    assert report.cost_terms == {
        "ns": 2 * 1024 * report.terms.objective_ns,
        "hbm_bytes": 7 * report.terms.hbm_bytes,
    }
    assert report.cost == sum(report.cost_terms.values())
    assert Report.from_json(report.to_json()) == report


def test_by_default_the_objective_is_time() -> None:
    report = solve(small_problem(1))
    assert report.objective == "time"
    assert report.cost == report.objective_ns
    assert report.cost_bound == report.best_bound_ns


def test_weights_of_time_alone_give_the_fastest_plan() -> None:
    for seed in range(20):
        problem = small_problem(seed, max_ops=4)
        fastest = solve(problem)
        weighted = solve(problem, objective=Weights(ns=5))
        assert fastest.solution == weighted.solution
        assert weighted.cost == (None if fastest.cost is None else 5 * 1024 * fastest.cost)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_a_tiny_time_limit_still_gives_a_legal_plan(objective: Objective) -> None:
    problem = layered_problem(40, seed=1)
    report = solve(problem, time_limit=0.05, objective=objective)
    assert report.solution is not None
    assert report.greedy is not None
    assert report.terms is not None
    assert check(problem, report.solution) == []
    assert rank(report.terms, objective) <= rank(report.greedy, objective)
    assert report.cost is not None
    assert 0 <= report.cost_bound <= report.cost


def test_a_wrong_claim_of_cost_is_rejected() -> None:
    problem = small_problem(1)
    report = solve(problem, objective="hbm")
    assert report.solution is not None
    assert report.cost == evaluate(problem, report.solution).hbm_bytes
    (fault,) = check(problem, report.solution, objective="hbm", claimed_cost=report.cost + 1)
    assert fault == f"the cost (hbm) is {report.cost}, not the claimed {report.cost + 1}"


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("speed", "objective: is 'speed', must be one of time, hbm, sbuf"),
        (Weights(ns=-1), "objective: weight ns is -1, must be in 0..1000000"),
        (Weights(), "objective: every weight is 0, must be above 0 for one"),
    ],
)
def test_an_objective_that_there_is_not_is_an_error(objective: Objective, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        solve(replace(small_problem(1)), objective=objective)
