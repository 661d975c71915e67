"""Counterfactuals, differences and explanations of plans, against exhaustive search."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import (
    Change,
    Cut,
    Difference,
    Explorer,
    Fuse,
    Moved,
    Pin,
    Problem,
    ProblemError,
    Rate,
    Report,
    Room,
    Status,
    check,
    diff,
    evaluate,
    explain,
    solve,
    whatif,
)
from solver.brute import brute
from solver.changes import changed_problem
from solver.greedy import repaired
from solver.synthetic import layered_problem, small_problem, with_overlap


def random_change(problem: Problem, rng: random.Random) -> Change:
    value = rng.choice(problem.values).name
    return rng.choice(
        [
            Pin(value, location=rng.choice(("hbm", "sbuf"))),
            Cut(rng.choice(problem.ops)),
            Fuse(*problem.ops[:2]),
            Room(sbuf_bytes=rng.choice([-20, -5, 10, 40])),
            Room(psum_banks=rng.choice([-4, 1])),
            Rate("dma", rng.choice([0.5, 0.8, 1.3])),
        ]
    )


@pytest.mark.parametrize("block", range(2))
def test_counterfactuals_are_what_exhaustive_search_says(block: int) -> None:
    seen = set()
    for seed in range(40 * block, 40 * block + 40):
        problem = with_overlap(small_problem(seed, max_ops=3), seed)
        report = solve(problem)
        if report.solution is None:
            continue
        change = random_change(problem, random.Random(seed))
        held = (change,) if isinstance(change, Pin | Cut | Fuse) else ()
        best = brute(changed_problem(problem, change), held)
        found = whatif(problem, report, change)
        if best is None:
            assert found.status is Status.INFEASIBLE
            assert found.delta_ns is None
            assert found.blocking
        else:
            assert found.status is Status.OPTIMAL
            assert found.delta_ns == best[0][0] - (report.objective_ns or 0)
        seen.add((type(change), best is None, bool(found.delta_ns)))
    assert len(seen) > 6


def solved(problem: Problem) -> tuple[Problem, Report]:
    return problem, solve(problem)


def test_a_decision_that_the_plan_has_taken_already_changes_nothing() -> None:
    problem, report = solved(layered_problem(15, seed=4, candidates_per_op=8))
    assert report.solution is not None
    value, _ = report.solution.kept[0]
    for change in (Pin(value, location="sbuf"), Room(sbuf_bytes=-16), Cut("op0")):
        assert whatif(problem, report, change) == Difference(Status.OPTIMAL, 0, 0)


def test_spilling_a_value_costs_time_and_traffic_and_moves_it() -> None:
    problem, report = solved(layered_problem(15, seed=4, candidates_per_op=8))
    assert report.solution is not None
    inputs = {value.name for value in problem.values if value.producer is None}
    value = next(name for name, _ in report.solution.kept if name not in inputs)
    found = whatif(problem, report, Pin(value, location="hbm"))
    assert found.delta_ns is not None
    assert found.delta_ns > 0
    moves = {moved.value: moved for moved in found.moved}
    assert moves[value].before.startswith("sbuf")
    assert moves[value].after == "hbm"


def test_counterfactuals_hold_under_the_constraints_of_the_plan() -> None:
    problem = layered_problem(15, seed=4, candidates_per_op=8)
    cuts = [Cut(op) for op in problem.ops]
    report = solve(problem, constraints=cuts)
    found = whatif(problem, report, Rate("dma", 0.5), constraints=cuts)
    assert found.delta_ns is not None
    assert found.delta_ns <= 0
    assert found.status is Status.OPTIMAL
    free = whatif(problem, report, Rate("dma", 0.5))
    assert free.delta_ns is not None
    assert free.delta_ns < found.delta_ns


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Room(sbuf_bytes=-(10**6)), "leaves less than none"),
        (Rate("dmas", 0.5), "nothing is busy on resource 'dmas'; did you mean 'dma'"),
        (Rate("dma", 0.0), "factor is 0.0, must be above 0"),
        (Pin("nothing", location="hbm"), "no value is named 'nothing'"),
    ],
)
def test_a_change_that_cannot_be_is_an_error(change: Change, message: str) -> None:
    problem, report = solved(layered_problem(5, seed=1))
    with pytest.raises(ProblemError, match=message):
        whatif(problem, report, change)


def test_without_a_plan_there_is_nothing_to_change_or_explain() -> None:
    problem = replace(small_problem(1), sbuf_limit_bytes=0)
    report = replace(solve(problem), solution=None, terms=None)
    with pytest.raises(ValueError, match="no plan to begin with"):
        whatif(problem, report, Room(1))
    with pytest.raises(ValueError, match="no plan to explain"):
        explain(problem, report)
    with pytest.raises(ValueError, match="nothing to compare with"):
        diff(problem, report, report)


def test_a_difference_names_segments_values_and_costs() -> None:
    problem, report = solved(layered_problem(10, seed=4, candidates_per_op=8))
    assert report.solution is not None
    value = next(v.name for v in problem.values if v.producer and not v.output)
    other = solve(problem, constraints=[Pin(value, location="hbm")])
    assert other.solution is not None
    forth = diff(problem, report.solution, other.solution)
    back = diff(problem, other, report)
    old, new = evaluate(problem, report.solution), evaluate(problem, other.solution)
    assert forth.delta_ns == new.objective_ns - old.objective_ns == -(back.delta_ns or 0)
    assert forth.delta_hbm_bytes == new.hbm_bytes - old.hbm_bytes
    assert (forth.removed, forth.added) == (back.added, back.removed)
    assert set(forth.removed) == set(report.solution.picked) - set(other.solution.picked)
    assert [Moved(m.value, m.after, m.before) for m in back.moved] == list(forth.moved)
    assert diff(problem, report, report) == Difference(Status.OPTIMAL, 0, 0)


def test_an_explanation_says_what_fusing_across_each_boundary_would_cost() -> None:
    whys = set()
    for seed in range(25):
        problem = with_overlap(small_problem(seed, max_ops=4), seed)
        report = solve(problem)
        if report.solution is None:
            continue
        for boundary in explain(problem, report).boundaries:
            fuse = Fuse(boundary.before, boundary.after)
            best = brute(problem, [fuse])
            delta = None if best is None else best[0][0] - (report.objective_ns or 0)
            assert boundary.delta_ns == delta
            assert (boundary.why == "cost") == (best is not None)
            both = [c for c in problem.candidates if {fuse.first, fuse.second} <= set(c.ops)]
            assert (boundary.why == "no candidate") == (not both)
            whys.add(boundary.why)
    assert whys == {"cost", "no candidate", "limits"}


def test_an_explanation_names_the_busiest_resource_of_every_segment() -> None:
    problem, report = solved(layered_problem(12, seed=2, candidates_per_op=8))
    assert report.terms is not None
    steps = {step.name: step for step in report.terms.steps}
    reasons = explain(problem, report).segments
    assert len(reasons) == len(report.solution.picked if report.solution else ())
    for reason in reasons:
        busy = steps[reason.segment].busy
        assert reason.busy_ns == busy[reason.resource] == max(busy.values())
        others = [ns for resource, ns in busy.items() if resource != reason.resource]
        assert reason.margin_ns == reason.busy_ns - max(others)
        assert reason.ns == reason.overhead_ns + reason.busy_ns


def test_segments_that_more_sbuf_would_change_say_so_and_what_it_would_gain() -> None:
    problem, report = solved(layered_problem(12, seed=2, sbuf_limit_bytes=16 * 1024))
    roomy = replace(problem, sbuf_limit_bytes=4 * 16 * 1024)
    gain = (report.objective_ns or 0) - (solve(roomy).objective_ns or 0)
    assert gain > 0
    held = [r for r in explain(problem, report).segments if r.limit == "sbuf"]
    assert held
    assert {reason.gain_ns for reason in held} == {gain}
    unlimited = replace(problem, sbuf_limit_bytes=2**24)
    reasons = explain(*solved(unlimited)).segments
    assert all(reason.limit != "sbuf" for reason in reasons)


def best_ns(problem: Problem, *constraints: Pin | Cut | Fuse) -> float:
    report = solve(problem, constraints=constraints)
    assert report.status in (Status.OPTIMAL, Status.INFEASIBLE)
    return float("inf") if report.objective_ns is None else report.objective_ns


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6))
def test_more_room_a_faster_resource_or_another_candidate_never_makes_the_best_plan_slower(
    seed: int,
) -> None:
    rng = random.Random(seed)
    problem = with_overlap(small_problem(seed, max_ops=4), seed)
    dropped = rng.choice(problem.candidates)
    rest = tuple(c for c in problem.candidates if c is not dropped)
    best = best_ns(problem)
    for change in (Room(sbuf_bytes=9), Room(psum_banks=2), Rate("dma", 0.7), Rate("vector", 0.5)):
        assert best_ns(changed_problem(problem, change)) <= best, change
    if {op for c in rest for op in c.ops} == set(problem.ops):
        assert best_ns(replace(problem, candidates=rest)) >= best


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6))
def test_a_constraint_never_makes_the_best_plan_faster(seed: int) -> None:
    rng = random.Random(seed)
    problem = with_overlap(small_problem(seed, max_ops=4), seed)
    best = best_ns(problem)
    value = rng.choice(problem.values).name
    for constraint in (
        Cut(rng.choice(problem.ops)),
        Fuse(*problem.ops[:2]),
        Pin(value, location="hbm"),
        Pin(value, location="sbuf"),
    ):
        assert best_ns(problem, constraint) >= best, constraint


def test_an_explorer_answers_as_separate_questions_do() -> None:
    problem, report = solved(layered_problem(12, seed=2, candidates_per_op=8))
    explorer = Explorer(problem, report)
    middle = problem.values[len(problem.values) // 2].name
    for change in (
        Pin(middle, location="hbm"),
        Fuse(*problem.ops[:2]),
        Room(sbuf_bytes=-(10**4)),
        Pin(middle, location="sbuf"),
        Cut(problem.ops[1]),
    ):
        one, other = explorer.difference(change), whatif(problem, report, change)
        assert (one.status, one.delta_ns) == (other.status, other.delta_ns)


def test_plans_repaired_under_a_constraint_are_legal_where_there_are_any() -> None:
    legal = 0
    for seed in range(30):
        problem = small_problem(seed, max_ops=4)
        report = solve(problem)
        if report.solution is None:
            continue
        constraint = random_change(problem, random.Random(seed))
        if isinstance(constraint, Pin | Cut | Fuse):
            plans = repaired(problem, report.solution, [constraint])
            good = [p for p in plans if not check(problem, p, constraints=[constraint])]
            best = brute(problem, [constraint])
            assert all(best and evaluate(problem, p).objective_ns >= best[0][0] for p in good)
            legal += bool(good)
    assert legal > 3
