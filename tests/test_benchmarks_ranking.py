"""The benchmark of how plans are ranked, on small kernels: predictions have to put plans in about
the right order. Its targets are stricter, and for larger kernels; `benchmarks/ranking.py` has them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

import solver
from benchmarks import ranking
from benchmarks.kernels import Kernel
from benchmarks.lowered import Tried, ask, attempt, parts
from cost_models import load_target
from examples.softmax import softmax
from solver.sampling import sample

TRN2 = load_target("trn2")
SMALL = Kernel("softmax 256x512", softmax, ("256x512:f32",))


@pytest.fixture(scope="module")
def figures() -> ranking.Figures:
    options = argparse.Namespace(plans=25, ranked=5, seed=0, time_limit=10.0, parts=False)
    return ranking.measure(SMALL, TRN2, options, lambda text: None)


def test_predicted_and_simulated_times_rank_plans_alike(figures: ranking.Figures) -> None:
    assert len(figures.random) + figures.without_addresses >= 25
    assert figures.rank_correlation is not None
    assert figures.rank_correlation > 0.9


def test_the_first_ranked_plan_is_nearly_the_best(figures: ranking.Figures) -> None:
    predicted = [plan.predicted_us for plan in figures.ranked]
    assert predicted == sorted(predicted)
    assert figures.behind < 0.15
    assert min(plan.simulated_us for plan in figures.random) > 0.9 * figures.best_us


def test_a_missed_target_is_named(figures: ranking.Figures) -> None:
    good = replace(figures, rank_correlation=0.99, ranked=figures.ranked[:1])
    assert ranking.failures([good]) == []
    (rank,) = ranking.failures([replace(good, rank_correlation=0.9)])
    assert rank == "softmax 256x512: rank correlation 0.900, below 0.98"
    plan = figures.ranked[0].solution
    (behind,) = ranking.failures([replace(good, ranked=(Tried(1, 11, plan), Tried(2, 10, plan)))])
    assert "the first plan is 10.0% slower than the best of 2" in behind


def test_steps_add_up_to_the_plan() -> None:
    asked = ask(SMALL, TRN2)
    for plan in sample(asked.problem, 3):
        tried = attempt(asked, plan)
        assert tried is not None
        steps = list(parts(asked, plan))
        assert sum(s.predicted_us for s in steps) == pytest.approx(tried.predicted_us)
        assert sum(s.simulated_us for s in steps) == pytest.approx(tried.simulated_us)
        names = [step.name for step in solver.evaluate(asked.problem, plan).steps]
        assert sorted(names) == sorted(s.name for s in steps)
