"""Constraints: what they ask for, how they are written down, and what is said of wrong ones."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver import (
    Constraint,
    Cut,
    Fuse,
    Pin,
    Problem,
    ProblemError,
    Solution,
    Status,
    check,
    constraints_from_json,
    constraints_to_json,
    solve,
)
from solver.constraints import validate_constraints
from solver.diagnose import blocking
from solver.engine import Meter
from solver.formulation import Formulation
from solver.restricting import rows_of
from solver.search import CpSat
from solver.synthetic import layered_problem, small_problem

NAMES = st.sampled_from(["x", "v1", "v2"])
PINS = st.builds(
    Pin,
    NAMES,
    st.none() | NAMES,
    st.sampled_from([None, "I", "P", "F"]),
    st.none() | st.integers(1, 512),
    st.sampled_from([None, "hbm", "sbuf"]),
)
CONSTRAINTS = st.lists(st.one_of(PINS, st.builds(Cut, NAMES), st.builds(Fuse, NAMES, NAMES)))


@given(CONSTRAINTS)
def test_constraints_survive_json(constraints: list[Constraint]) -> None:
    assert list(constraints_from_json(constraints_to_json(constraints))) == constraints


def test_fields_that_say_nothing_are_left_out_of_the_file() -> None:
    assert json.loads(constraints_to_json([Pin("x", location="hbm"), Cut("v1")])) == [
        {"value": "x", "location": "hbm"},
        {"before": "v1"},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "constraints: must be a list"),
        ("[", "constraints: is no JSON"),
        ("[3]", r"constraints\[0\]: must be an object"),
        ('[{"before": "a"}, {"value": 3}]', r"constraints\[1\]\.value: is 3, must be of type str"),
        ('[{"value": "x", "locaton": "hbm"}]', r"\[0\]\.locaton: .* did you mean 'location'"),
        ('[{"value": "x", "location": "ram"}]', r"\[0\]\.location: is 'ram', must be one of hbm"),
        ('[{"befor": "a"}]', r"\[0\]\.befor: is no field; did you mean 'before'"),
        ('[{"first": "a"}]', r"constraints\[0\]\.second: missing"),
        ('[{"before": "a", "first": "b"}]', r"constraints\[0\]\.first: is no field"),
    ],
)
def test_a_wrong_file_names_the_entry_and_the_field(text: str, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        constraints_from_json(text)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (Cut("op7"), "a segment begins with op 'op7': no op is named 'op7'; did you mean 'op"),
        (Fuse("op0", "opp1"), "no op is named 'opp1'; did you mean 'op1'"),
        (Fuse("op1", "op0"), "'op1' must come before 'op0'"),
        (Fuse("op1", "op1"), "'op1' must come before 'op1'"),
        (Pin("v99", location="hbm"), "no value is named 'v99'; there are 'in2', 'in1', 'v0'"),
        (Pin("v0", axis="z", role="P"), "no axis of 'v0' is named 'z'; there are 'j', 'i'"),
    ],
)
def test_unknown_names_come_with_near_ones(constraint: Constraint, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        validate_constraints(small_problem(0, max_ops=3), [constraint])


def fusible() -> Problem:
    return layered_problem(8, seed=3, candidates_per_op=16)


def segments(problem: Problem, solution: Solution | None) -> list[tuple[str, ...]]:
    assert solution is not None
    ops_of = {candidate.name: candidate.ops for candidate in problem.candidates}
    return [ops_of[name] for name in solution.picked]


def test_a_cut_keeps_ops_apart_that_would_be_fused() -> None:
    problem = fusible()
    free = solve(problem)
    (fused, *_) = [ops for ops in segments(problem, free.solution) if len(ops) > 1]
    cut = Cut(fused[1])
    report = solve(problem, constraints=[cut])
    assert fused[1] in [ops[0] for ops in segments(problem, report.solution)]
    assert report.solution is not None
    assert free.solution is not None
    assert check(problem, report.solution, constraints=[cut]) == []
    assert check(problem, free.solution, constraints=[cut]) == [f"{cut}: does not hold"]


def test_fused_ops_run_in_one_segment() -> None:
    problem = fusible()
    free = solve(problem)
    (*_, before), (after, *_), *_ = segments(problem, free.solution)
    fuse = Fuse(before, after)
    report = solve(problem, constraints=[fuse])
    assert any({before, after} <= set(ops) for ops in segments(problem, report.solution))
    assert free.solution is not None
    assert check(problem, free.solution, constraints=[fuse]) == [f"{fuse}: does not hold"]
    assert (report.objective_ns or 0) > (free.objective_ns or 0)


def test_a_cut_inside_a_fusion_is_named_with_it_and_nothing_else() -> None:
    wrong = [Cut("op1"), Fuse("op0", "op2")]
    report = solve(fusible(), constraints=[Cut("op6"), *wrong])
    assert report.status is Status.INFEASIBLE
    assert report.blocking == tuple(map(str, wrong))


def test_ops_too_far_apart_to_be_fused_are_named() -> None:
    report = solve(fusible(), constraints=[Fuse("op0", "op7")])
    assert report.blocking == ("ops 'op0' and 'op7' run in one segment",)


def test_a_conflict_that_is_named_goes_away_with_any_one_of_its_parts() -> None:
    tried = 0
    for seed in range(40):
        problem = replace(small_problem(seed, max_ops=3), sbuf_limit_bytes=25)
        form = Formulation(problem)
        for value in problem.values:
            form.model.rows += rows_of(form, Pin(value.name, location="sbuf"))
        engine = CpSat(Meter(5.0), 0)
        named = blocking(form.model, form.must_run, engine)
        if len(named) < 2 or set(named) <= set(form.must_run):
            continue
        assert engine.conflict(form.model, named, form.must_run) is not None
        for tag in named:
            others = [other for other in named if other != tag]
            assert engine.conflict(form.model, others, form.must_run) is None
        tried += 1
    assert tried > 1
