"""Early loads, filling and draining: what neighbouring segments share, and what the ends cost."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product

import pytest

from solver import (
    Candidate,
    Conversion,
    Port,
    Problem,
    ProblemError,
    Transfer,
    Value,
    evaluate,
    solve,
)
from solver.brute import brute
from solver.engine import Meter
from solver.formulation import Formulation
from solver.greedy import greedy
from solver.linear import price
from solver.objectives import rank
from solver.overlap import Load, done_ahead, done_early, saved_ns
from solver.search import CpSat
from solver.synthetic import layered_problem, small_problem, with_overlap

STORE = Transfer({"dma": 10}, 0, 64, 0, 1, 1)


def weights(early_ns: int) -> Transfer:
    return Transfer({"dma": 100}, 0, 4096, 0, 1, 1, early_ns=early_ns)


def two_layers(early_ns: int = 60, **changes: object) -> Problem:
    """x, w1 -> a -> y; y, w2 -> b -> z.  Each layer computes for 80 ns and loads for 100 ns."""
    stay = {"rows": 8}
    problem = Problem(
        name="two layers",
        ops=("a", "b"),
        values=(
            Value("w1", None, ("a",), False, {}),
            Value("w2", None, ("b",), False, {}),
            Value("y", "a", ("b",), False, stay),
            Value("z", "b", (), True, {}),
        ),
        candidates=(
            Candidate("a", ("a",), (Port("w1", "rows", weights(early_ns)),),
                      (Port("y", "rows", STORE),), {"tensor": 180}, 5, 4, 0, 1, (),
                      fill_ns=3, drain_ns=1000),
            Candidate("b", ("b",),
                      (Port("w2", "rows", weights(early_ns)), Port("y", "rows", STORE)),
                      (Port("z", "rows", STORE),), {"tensor": 80}, 5, 4, 0, 1, (),
                      fill_ns=1000, drain_ns=7),
        ),
        conversions=(),
        sbuf_limit_bytes=64,
        psum_limit_banks=8,
        prefetch="dma",
    )  # fmt: skip
    return replace(problem, **changes)


Early = tuple[int, int]
"""What is done early of the loads before a segment, and of its own (ns)."""


def cost(loads: list[Load], early: Sequence[Early]) -> int:
    """What a chain takes with `early` done before each segment, by the definition."""
    following = (*map(sum, early[1:]), 0)
    return sum(
        load.loads_ns
        - of_loads
        + max(
            load.others_ns + max(0, load.starts_ns - own),
            load.own_ns - own + max(load.tail_ns, ahead),
        )
        for load, (of_loads, own), ahead in zip(loads, early, following, strict=True)
    )


def random_chain(rng: random.Random) -> list[Load]:
    loads = []
    for _ in range(rng.randint(1, 4)):
        own = rng.randint(0, 4)
        early = rng.randint(0, own)
        before, starts = (rng.choice([0, rng.randint(0, most)]) for most in (2, early))
        loads.append(Load(own, rng.randint(0, 6), early, before, starts, rng.randint(0, 2)))
    return [replace(loads[0], early_ns=0, loads_ns=0, starts_ns=0), *loads[1:]]


def test_doing_what_fits_into_the_slack_is_the_best_choice_of_any() -> None:
    rng = random.Random(0)
    gained = 0
    for _ in range(400):
        loads = random_chain(rng)
        done = done_early(loads)
        ways = (product(range(load.loads_ns + 1), range(load.early_ns + 1)) for load in loads)
        least = cost(loads, [load.parts(ns) for load, ns in zip(loads, done, strict=True)])
        assert least == min(cost(loads, early) for early in product(*ways))
        plain = cost(loads, [(0, 0)] * len(loads))
        assert saved_ns(loads) == plain - least
        gained += plain > least
    assert gained > 50


def test_work_that_passes_a_segment_is_done_where_there_is_time() -> None:
    loads = [Load(0, 9, 0), Load(4, 4, 0), Load(2, 2, 2, loads_ns=5)]
    assert done_early(loads, 0) == [0, 0, 0]
    for passing, done in ((3, 3), (7, 7), (20, 7)):
        assert done_early(loads, passing) == [0, 0, done]
        assert done_ahead(loads, [0, 0, done]) == [(done, 0), (0, done), (0, 0)]
        assert saved_ns(loads, passing) == min(done, 5)


def test_nothing_passes_what_has_loads_of_its_own_and_little_is_done_behind_them() -> None:
    first, last = Load(0, 9, 0), Load(9, 4, 9)
    assert done_early([first, Load(0, 7, 0), last], 20) == [0, 0, 9]
    assert done_early([first, Load(3, 7, 0, behind_ns=2), last], 20) == [0, 0, 2]
    assert Load(6, 4, 0, tail_ns=3).busy_ns() == 9
    assert Load(6, 4, 0, tail_ns=3).slack_ns(0) == 3


def test_no_segment_is_longer_for_what_it_does_ahead() -> None:
    rng = random.Random(1)
    for _ in range(200):
        loads = random_chain(rng)
        done = done_early(loads)
        for (load, early), (_, ahead) in pairwise(zip(loads, done, strict=True)):
            of_loads, own = load.parts(early)
            left = load.loads_ns - of_loads
            assert load.own_ns - own + ahead <= load.busy_ns(early) - left


def test_a_load_of_weights_begins_in_the_segment_before() -> None:
    report = solve(two_layers())
    assert report.terms is not None
    first, second = report.terms.steps
    # The first loads for 100 of its 180 ns: 80 are left, the second can use 60 of its 100 + 10.
    assert (first.early_ns, second.early_ns) == (0, 60)
    assert first.ns == 3 + 5 + 180
    assert second.ns == 5 + 7 + 80
    assert second.busy == {"dma": 110, "tensor": 80}
    assert report.objective_ns == first.ns + second.ns


def with_start(start_ns: int) -> Problem:
    """Two layers, of which the second waits for `start_ns` of the load of its weights."""
    first, second = two_layers().candidates
    port = second.reads[0]
    load = replace(port.hbm or STORE, start_ns=start_ns, busy={"dma": 60}, early_ns=60)
    reads = (replace(port, hbm=load), *second.reads[1:])
    return two_layers(
        candidates=(replace(first, busy={"tensor": 130}), replace(second, reads=reads))
    )


def test_a_segment_waits_for_what_is_not_loaded_early_of_its_start() -> None:
    report = solve(with_start(50))
    assert report.terms is not None
    second = report.terms.steps[1]
    # 130 of the first segment less its 100 of DMA: 30 of 50 are loaded, 20 are waited for.
    assert second.early_ns == 30
    assert second.ns == 5 + 7 + 80 + 20
    assert second.overhead_ns == 5 + 7 + 20


def test_a_plan_of_one_segment_does_not_wait_twice_for_what_it_loads_first() -> None:
    load = Transfer({"dma": 100}, 0, 64, 0, 1, 1, early_ns=100, start_ns=40)
    store = Transfer({"dma": 90}, 0, 64, 0, 1, 1)
    reads, writes = (Port("x", "rows", load),), (Port("y", "rows", store),)
    only = Candidate("ab", ("a", "b"), reads, writes, {"vector": 120}, 0, 0, 0, 1, ())
    problem = Problem(
        "whole",
        ("a", "b"),
        (Value("x", None, ("a",), False, {"rows": 8}), Value("y", "b", (), True, {})),
        (only,),
        (Conversion("x", "hbm", "rows", load),),
        sbuf_limit_bytes=64,
        psum_limit_banks=8,
        prefetch="dma",
    )
    report = solve(problem)
    # All DMA takes 190; the vector engine begins after 40 of them and takes 120.
    assert (report.objective_ns, report.best_bound_ns) == (190, 190)
    form, plan = Formulation(problem), report.solution
    assert plan is not None
    assert form.model.broken_rows(form.assignment(plan)) == []


def test_a_copy_that_is_loaded_costs_what_nothing_before_has_time_for() -> None:
    loaded = Transfer({"dma": 100, "sync": 6}, 0, 4096, 0, 1, 1, early_ns=100, fill_ns=9)
    problem = two_layers()
    first, second = problem.candidates
    kept = replace(second, reads=(Port("w2", "rows", None), *second.reads[1:]))
    values = [
        replace(v, resident_bytes={"rows": 8}) if v.name == "w2" else v for v in problem.values
    ]
    problem = replace(
        problem,
        values=tuple(values),
        candidates=(first, kept),
        conversions=(Conversion("w2", "hbm", "rows", loaded),),
    )
    report = solve(problem)
    assert report.terms is not None
    before, load, after = report.terms.steps
    assert (before.ns, load.early_ns, load.ns) == (3 + 5 + 180, 80, 20)
    assert after.ns == 5 + 7 + 80
    assert brute(problem) == (rank(report.terms), report.solution)


def test_of_what_a_plan_begins_with_the_longest_wait_counts() -> None:
    first, second = two_layers().candidates
    slow = replace(first.reads[0].hbm or STORE, fill_ns=40)
    waits = replace(first, reads=(replace(first.reads[0], hbm=slow),))
    plain, slower = solve(two_layers()), solve(two_layers(candidates=(waits, second)))
    assert plain.objective_ns is not None
    assert slower.objective_ns == plain.objective_ns + 40


def test_early_work_is_limited_by_the_slack_of_the_segment_before() -> None:
    first, second = two_layers(early_ns=100).candidates
    busy = replace(first, busy={"tensor": 120})
    report = solve(two_layers(early_ns=100, candidates=(busy, second)))
    assert report.terms is not None
    assert [step.early_ns for step in report.terms.steps] == [0, 20]


def test_without_a_prefetch_resource_nothing_is_done_early() -> None:
    report = solve(two_layers(early_ns=0, prefetch=None))
    assert report.terms is not None
    assert [step.early_ns for step in report.terms.steps] == [0, 0]
    assert report.objective_ns == (3 + 5 + 180) + (5 + 7 + 110)


def test_only_the_first_segment_fills_and_only_the_last_drains() -> None:
    problem = two_layers()
    plain = tuple(replace(c, fill_ns=0, drain_ns=0) for c in problem.candidates)
    with_ends, without = solve(problem), solve(replace(problem, candidates=plain))
    assert with_ends.objective_ns is not None
    assert without.objective_ns is not None
    assert with_ends.objective_ns == without.objective_ns + 3 + 7


@pytest.mark.parametrize("block", range(3))
def test_the_solver_agrees_with_exhaustive_search_where_segments_overlap(block: int) -> None:
    overlapped = 0
    for seed in range(30 + 25 * block, 55 + 25 * block):
        problem = with_overlap(small_problem(seed, max_ops=4), seed)
        best = brute(problem)
        report = solve(problem, time_limit=5)
        assert (best is None) == (report.terms is None)
        if best is not None and report.terms is not None:
            assert rank(report.terms) == best[0], problem.name
            assert report.best_bound_ns == best[0][0]
            overlapped += any(step.early_ns for step in report.terms.steps)
    assert overlapped


def test_plans_that_overlap_satisfy_every_row_at_their_cost() -> None:
    overlapped = 0
    problems = [with_overlap(small_problem(seed), seed) for seed in range(25)]
    for problem in [*problems, with_overlap(layered_problem(20, 4), 1)]:
        report = solve(problem, time_limit=0.5)
        if report.solution is None:
            continue
        form = Formulation(problem)
        for plan in filter(None, (report.solution, greedy(problem))):
            values = form.assignment(plan)
            assert form.model.broken_rows(values) == []
            assert all(0 <= v <= u for v, u in zip(values, form.model.upper, strict=True))
            assert form.cost(form.time, values) == evaluate(problem, plan).objective_ns
            assert form.solution(values) == plan
            overlapped += any(step.early_ns for step in evaluate(problem, plan).steps)
    assert overlapped > 2


def test_prices_bound_plans_that_overlap() -> None:
    tight = tried = 0
    for seed in range(24):
        problem = with_overlap(small_problem(seed, max_ops=4), seed)
        best = brute(problem)
        if best is not None:
            form = Formulation(problem)
            priced = price(form.model, form.time, CpSat(Meter(5.0), 0).relax(form, form.time))
            assert priced.bound <= best[0][0]
            tight += priced.bound == best[0][0]
            tried += 1
    assert tight > 0.8 * tried


def test_a_problem_without_overlap_has_no_variables_for_it() -> None:
    problem = layered_problem(10, 1)
    idle = replace(problem, prefetch="dma")
    forms = Formulation(problem), Formulation(idle)
    assert forms[0].model == forms[1].model
    assert forms[0].time == forms[1].time


def with_port(index: int, **changes: object) -> Problem:
    """Two layers with one read port of the second changed."""
    first, second = two_layers().candidates
    reads = list(second.reads)
    reads[index] = replace(reads[index], hbm=replace(STORE, **changes))
    return two_layers(candidates=(first, replace(second, reads=tuple(reads))))


def filled(fill_ns: int) -> Problem:
    first, second = two_layers().candidates
    return two_layers(candidates=(first, replace(second, fill_ns=fill_ns)))


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (with_port(0, early_ns=11), r"read port 'w2': early_ns is 11, must be at most its busy"),
        (with_port(1, early_ns=1), "read port 'y': early_ns is 1, must be 0 but for loads of"),
        (with_port(0, early_ns=-1), "port 'w2': early_ns is -1"),
        (two_layers(prefetch=None), r"early_ns is 60, must be at most .* \(None\), 0"),
        (two_layers(prefetch="tensor"), r"early_ns is 60, must be at most .* \(tensor\), 0"),
        (filled(-1), "candidate 'b': fill_ns is -1"),
    ],
)
def test_early_work_that_cannot_be_is_an_error(problem: Problem, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        problem.validate()


def test_a_problem_saved_without_these_fields_still_loads() -> None:
    data = json.loads(layered_problem(5, 1).to_json())
    del data["prefetch"], data["passing_ns"]
    for candidate in data["candidates"]:
        del candidate["fill_ns"], candidate["drain_ns"], candidate["wait_ns"]
        for port in candidate["reads"] + candidate["writes"]:
            for name in ("early_ns", "wait_ns", "fill_ns", "start_ns"):
                del port["hbm"][name]
    for conversion in data["conversions"]:
        del conversion["cost"]["early_ns"]
    assert Problem.from_json(json.dumps(data)) == layered_problem(5, 1)
