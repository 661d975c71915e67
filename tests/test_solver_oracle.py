"""The solver against exhaustive search on small problems, alone and under random constraints."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from solver import Constraint, Cut, Fuse, Pin, Problem, Status, check, evaluate, solve
from solver.brute import brute
from solver.greedy import construct, greedy
from solver.objectives import rank
from solver.paths import lower_bound
from solver.permitted import permitted
from solver.synthetic import small_problem


def agree(problem: Problem, constraints: tuple[Constraint, ...] = ()) -> bool:
    """Assert that the solver finds what exhaustive search finds; whether that is a plan."""
    best = brute(problem, constraints)
    if constraints:
        allowed = brute(permitted(problem, constraints))
        assert (allowed and allowed[0]) == (best and best[0]), problem.name
    report = solve(problem, time_limit=5, constraints=constraints)
    if best is None:
        assert report.status is Status.INFEASIBLE, problem.name
        assert report.solution is None
        assert report.blocking
        return False
    assert report.status is Status.OPTIMAL, problem.name
    assert report.solution is not None
    assert report.terms is not None
    assert check(problem, report.solution, claimed_ns=best[0][0], constraints=constraints) == []
    assert rank(report.terms) == best[0], problem.name
    assert report.best_bound_ns == best[0][0]
    assert report.gap == 0.0
    return True


@pytest.mark.parametrize("block", range(8))
def test_the_solver_agrees_with_exhaustive_search(block: int) -> None:
    feasible = [
        agree(small_problem(seed, max_ops=4)) for seed in range(25 * block, 25 * block + 25)
    ]
    assert sum(feasible) >= 15


@pytest.mark.parametrize("seed", range(1006, 1018))
def test_the_solver_agrees_with_exhaustive_search_on_five_ops(seed: int) -> None:
    agree(small_problem(seed, max_ops=5))


def random_pins(problem: Problem, rng: random.Random) -> tuple[Pin, ...]:
    dims = [dim for candidate in problem.candidates for dim in candidate.dims]
    dim = rng.choice(dims)
    located = rng.choice(problem.values).name
    pins = (
        Pin(dim.value, dim.axis, role=dim.role),
        Pin(dim.value, dim.axis, tile=dim.tile),
        Pin(located, location=rng.choice(("hbm", "sbuf"))),
        Pin(dim.value, dim.axis, dim.role, dim.tile, location=rng.choice(("hbm", "sbuf", None))),
    )
    return tuple(rng.sample(pins, rng.randint(1, 2)))


@pytest.mark.parametrize("block", range(4))
def test_the_solver_agrees_with_exhaustive_search_under_pins(block: int) -> None:
    feasible = []
    for seed in range(2000 + 20 * block, 2020 + 20 * block):
        problem = small_problem(seed, max_ops=3)
        if any(candidate.dims for candidate in problem.candidates):
            feasible.append(agree(problem, random_pins(problem, random.Random(seed))))
    assert any(feasible)
    assert not all(feasible)


def random_shape(problem: Problem, rng: random.Random) -> tuple[Constraint, ...]:
    """A cut, a fusion, or both; perhaps with a location."""
    first, second = sorted(rng.sample(range(len(problem.ops)), 2))
    cut, fuse = Cut(problem.ops[second]), Fuse(problem.ops[first], problem.ops[second])
    located = Pin(rng.choice(problem.values).name, location=rng.choice(("hbm", "sbuf")))
    return rng.choice([(cut,), (fuse,), (fuse, located), (cut, located), (cut, fuse)])


@pytest.mark.parametrize("block", range(2))
def test_the_solver_agrees_with_exhaustive_search_under_cuts_and_fusion(block: int) -> None:
    feasible = []
    for seed in range(3000 + 20 * block, 3020 + 20 * block):
        problem = small_problem(seed, max_ops=4)
        feasible.append(agree(problem, random_shape(problem, random.Random(seed))))
    assert any(feasible)
    assert not all(feasible)


def test_plans_made_by_hand_lie_between_the_bound_and_the_greedy_plan() -> None:
    tried = 0
    for seed in range(60):
        problem = small_problem(seed, max_ops=4)
        best = brute(problem)
        made = [plan for plan in construct(problem) if not check(problem, plan)]
        baseline = greedy(problem)
        if baseline is not None:
            assert check(problem, baseline) == []
        for plan in made:
            assert best is not None
            assert lower_bound(problem) <= best[0][0] <= evaluate(problem, plan).objective_ns
            tried += 1
    assert tried > 80


def test_there_is_a_greedy_plan_whenever_single_ops_can_run_through_hbm() -> None:
    found = 0
    for seed in range(100):
        problem = small_problem(seed, max_ops=3)
        alone = replace(
            problem,
            conversions=(),
            values=tuple(replace(value, resident_bytes={}) for value in problem.values),
            candidates=tuple(c for c in problem.candidates if len(c.ops) == 1),
        )
        best = brute(alone)
        baseline = greedy(problem)
        assert (best is None) == (baseline is None)
        if best is not None and baseline is not None:
            assert evaluate(problem, baseline).objective_ns == best[0][0]
            found += 1
    assert found > 20


def test_a_plan_is_optimal_too_when_the_last_reach_takes_in_every_variable() -> None:
    assert agree(small_problem(15202, max_ops=3), (Pin("v2", "j", tile=2),))
