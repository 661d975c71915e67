"""Canonical forms: equal questions are found, and different ones are never taken for equal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from solver_stacks import LAYER, stack

from solver import Problem, ProblemError, check, solve
from solver.canonical import canonical
from solver.repeat import repeat
from solver.synthetic import small_problem


def renamed(problem: Problem) -> Problem:
    """The same problem under other names of values and layouts, its values listed backwards."""
    text = problem.to_json()
    for n in range(len(problem.ops)):
        text = text.replace(f'"h{n}"', f'"stream {n}"')
    text = text.replace('"rows"', '"A"').replace('"cols"', '"0"')
    other = Problem.from_json(text)
    return replace(other, name="other", values=other.values[::-1])


def test_names_do_not_matter() -> None:
    problem = stack(3)
    other = renamed(problem)
    assert other != problem
    other = replace(
        other, candidates=tuple(replace(c, name=f"{c.name}!") for c in other.candidates)
    )
    assert canonical(other).problem == canonical(problem).problem


def test_a_single_figure_matters() -> None:
    problem = stack(3)
    other = replace(problem.candidates[0], overhead_ns=problem.candidates[0].overhead_ns + 1)
    changed = replace(problem, candidates=(other, *problem.candidates[1:]))
    assert canonical(changed).problem != canonical(problem).problem


def test_a_canonical_form_is_its_own_canonical_form() -> None:
    for seed in range(30):
        form = canonical(small_problem(seed)).problem
        form.validate()
        assert canonical(form).problem == form


def test_a_plan_of_the_canonical_form_is_one_of_the_problem() -> None:
    found = 0
    for seed in range(10):
        problem = small_problem(seed, max_ops=4)
        form = canonical(problem)
        report = solve(form.problem)
        if report.solution is not None:
            plan = form.solution(report.solution)
            assert check(problem, plan, claimed_ns=report.objective_ns) == []
            found += 1
    assert found > 4


def test_a_repeated_layer_makes_the_deeper_stack() -> None:
    deep = repeat(stack(3), LAYER, LAYER, 4)
    assert canonical(deep).problem == canonical(stack(6)).problem


def test_what_is_no_layer_is_refused() -> None:
    with pytest.raises(ProblemError, match="has no counterpart"):
        repeat(stack(3), LAYER, LAYER - 1, 4)
    with pytest.raises(ProblemError, match="reaches across"):
        repeat(stack(3), LAYER + 1, LAYER, 4)
