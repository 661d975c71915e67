"""Random plans: legal, different, repeatable, and of all kinds."""

from __future__ import annotations

from solver import check
from solver.brute import brute, brute_ranked
from solver.ranking import signature
from solver.sampling import sample
from solver.synthetic import layered_problem, small_problem


def test_plans_are_legal_and_differ() -> None:
    problem = layered_problem(12, seed=2, candidates_per_op=8)
    plans = sample(problem, 30)
    assert len({signature(plan) for plan in plans}) == 30
    assert all(check(problem, plan) == [] for plan in plans)
    assert any(plan.kept for plan in plans)
    assert any(plan.stored for plan in plans)


def test_a_seed_gives_the_same_plans_and_another_seed_others() -> None:
    problem = layered_problem(6, seed=3, candidates_per_op=6)
    assert sample(problem, 10, 1) == sample(problem, 10, 1) != sample(problem, 10, 2)


def test_every_plan_is_drawn_sooner_or_later() -> None:
    sizes = {seed: len(brute_ranked(small_problem(seed, max_ops=2))) for seed in range(12)}
    few = [seed for seed, size in sizes.items() if 2 < size < 12]
    assert few
    for seed in few:
        problem = small_problem(seed, max_ops=2)
        known = {signature(plan) for _, plan in brute_ranked(problem)}
        drawn = {signature(plan) for plan in sample(problem, 12)}
        assert drawn == known


def test_without_a_legal_plan_there_are_none() -> None:
    (seed, *_) = [s for s in range(20) if brute(small_problem(s, max_ops=3)) is None]
    assert sample(small_problem(seed, max_ops=3), 5) == []
