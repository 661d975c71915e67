"""The solver against exhaustive search on problems of random graphs; `benchmarks/exhaustive.py` has
hundreds of them, and larger ones."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

from benchmarks import exhaustive
from benchmarks.exhaustive import Found
from cost_models import load_target
from nkigen_lite import trace
from solver import check, solve
from solver.brute import brute
from solver.frontier import TooWide, optimum
from solver.synthetic import layered_problem, small_problem, with_overlap

GRAPHS = 12
OPTIONS = argparse.Namespace(plans=200, width=1000, largest=5, time_limit=10.0)


@pytest.fixture(scope="module")
def found() -> list[Found]:
    kinds = exhaustive.targets()
    drawn = [
        exhaustive.Drawn(f"graph-{number}", graph, kinds[number % len(kinds)])
        for number, graph in enumerate(exhaustive.draw(GRAPHS))
    ]
    return [each for one in drawn for each in exhaustive.measure(one, OPTIONS, lambda text: None)]


def test_the_solver_finds_the_optimum_of_random_graphs(found: list[Found]) -> None:
    assert exhaustive.failures(found) == []
    assert sum(not each.skipped for each in found) > GRAPHS


def test_problems_are_of_all_kinds(found: list[Found]) -> None:
    assert any(each.enumerated for each in found)
    assert any(each.status == "infeasible" for each in found)
    assert any(each.status == "optimal" and "less SBUF" in each.name for each in found)
    assert len({each.ops for each in found}) > 3


def test_a_plan_that_is_worse_or_not_proven_is_named(found: list[Found]) -> None:
    good = next(each for each in found if each.status == "optimal")
    assert good.solver is not None
    ns, *others = good.solver
    worse = replace(good, solver=(ns + 1, *others))
    unproven = replace(good, status="feasible")
    assert len(exhaustive.failures([good, worse, unproven])) == 2
    assert exhaustive.failures([replace(worse, skipped="too large")]) == []


def test_a_plan_without_sbuf_is_not_given_less() -> None:
    copy = exhaustive.Drawn("copy", trace(lambda x: x[8:], ["16x8:f32"]).graph, load_target("trn2"))
    (found,) = exhaustive.measure(copy, OPTIONS, lambda text: None)
    assert found.agrees
    assert found.solver is not None
    assert found.solver[-1] == 0


@pytest.mark.parametrize("overlap", [False, True])
def test_dynamic_programming_finds_what_looking_at_every_plan_finds(overlap: bool) -> None:
    feasible = 0
    for seed in range(24):
        problem = small_problem(seed, max_ops=3)
        problem = with_overlap(problem, seed) if overlap else problem
        every, best = brute(problem), optimum(problem)
        assert (every and every[0]) == (best and best[0])
        if best is not None:
            assert check(problem, best[1], claimed_ns=best[0][0]) == []
            feasible += 1
    assert feasible > 12


def test_a_known_plan_changes_nothing_but_the_effort() -> None:
    problem = small_problem(1, max_ops=4)
    assert optimum(problem, known=solve(problem).solution) == optimum(problem) is not None


def test_too_many_plans_are_an_error() -> None:
    with pytest.raises(TooWide, match="more than 10 plans after op "):
        optimum(layered_problem(12, seed=1, candidates_per_op=8), 10)


def test_too_many_ways_to_go_on_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solver.frontier._STEPS", 2)
    with pytest.raises(TooWide, match="more than 2000 steps after op "):
        optimum(layered_problem(12, seed=1, candidates_per_op=8), 1000)
