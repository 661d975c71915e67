"""The packer's records: what a problem may be, and JSON there and back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import (
    Buffer,
    Packing,
    PackingError,
    PackingProblem,
    ProblemError,
    check_packing,
    pack,
)
from solver.packing.grid import make_grid
from solver.packing.synthetic import cut_rectangle, loosened, random_problem, small_problem

GOOD = Buffer("a", 0, 2, 8)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (Buffer("x", 3, 3, 8), "buffer 'x': its lifetime is 3 to 3, must have at least one event"),
        (Buffer("x", 3, 1, 8), "buffer 'x': its lifetime is 3 to 1, must have at least one event"),
        (Buffer("x", 0, 1, 0), "buffer 'x': its size is 0, must be above 0"),
        (Buffer("x", 0, 1, 8, 0), "buffer 'x': its alignment is 0, must be at least 1"),
        (Buffer("x", 0, 1, 8, 4, 6), "its fixed address is 6, must be a multiple of 4"),
        (Buffer("x", 0, 1, 8, 4, -4), "its fixed address is -4, must be a multiple of 4"),
        (Buffer("a", 5, 6, 8), "buffer 'a': the name is there twice"),
    ],
)
def test_a_malformed_buffer_is_refused_by_name_and_rule(bad: Buffer, sentence: str) -> None:
    with pytest.raises(ProblemError, match=sentence):
        pack(PackingProblem((GOOD, bad), 64))


def test_fixed_buffers_must_leave_each_other_alone() -> None:
    one, two = Buffer("x", 0, 2, 8, fixed=0), Buffer("y", 1, 3, 8, fixed=4)
    with pytest.raises(ProblemError, match=r"'x'.*'y'.*fixed addresses 0 and 4 overlap"):
        PackingProblem((one, two), 64).validate()
    PackingProblem((one, replace(two, start=2)), 64).validate()
    PackingProblem((one, replace(two, fixed=8)), 64).validate()


def test_a_capacity_below_zero_is_refused() -> None:
    with pytest.raises(ProblemError, match="capacity: is -1, must be at least 0"):
        pack(PackingProblem((), -1))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"time_limit": 0}, "time_limit is 0, must be above 0"),
        ({"workers": 0}, "workers is 0, must be at least 1"),
    ],
)
def test_a_limit_or_worker_number_of_zero_is_refused(
    changes: dict[str, int], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        pack(PackingProblem((GOOD,), 64), **changes)


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_problems_survive_json(seed: int) -> None:
    problem = small_problem(seed)
    assert PackingProblem.from_json(problem.to_json()) == problem


def test_packings_survive_json() -> None:
    for problem in (PackingProblem((), 0), cut_rectangle(1, 20)[0]):
        packing = pack(problem)
        assert Packing.from_json(packing.to_json()) == packing


def test_optional_fields_may_be_absent_from_json() -> None:
    data = {"buffers": [{"name": "a", "start": 0, "end": 2, "size": 8}], "capacity": 64}
    assert PackingProblem.from_json(json.dumps(data)) == PackingProblem((GOOD,), 64)


def test_json_that_is_no_problem_or_packing_names_the_field() -> None:
    with pytest.raises(ProblemError, match=r"problem\.capacity: missing"):
        PackingProblem.from_json('{"buffers": []}')
    damaged = json.dumps(json.loads(pack(PackingProblem((), 0)).to_json()) | {"height": "x"})
    with pytest.raises(PackingError, match=r"packing\.height: is 'x', must be of type int"):
        Packing.from_json(damaged)


@pytest.mark.parametrize(
    ("buffers", "unit"),
    [
        ((Buffer("a", 0, 1, 64), Buffer("b", 0, 1, 96)), 32),
        ((Buffer("a", 0, 1, 64, 128), Buffer("b", 0, 1, 96)), 32),
        ((Buffer("a", 0, 1, 64, 16), Buffer("b", 0, 1, 96)), 32),
        ((Buffer("a", 0, 1, 64, 48), Buffer("b", 0, 1, 96)), 16),
        ((Buffer("a", 0, 1, 64, fixed=8), Buffer("b", 0, 1, 96)), 8),
        ((Buffer("a", 0, 1, 64, 16), Buffer("b", 0, 1, 96, 24)), 8),
        ((), 1),
    ],
)
def test_the_unit_is_the_coarsest_that_sizes_alignments_and_fixed_addresses_allow(
    buffers: tuple[Buffer, ...], unit: int
) -> None:
    assert make_grid(PackingProblem(buffers, 1000)).unit == unit


@given(seed=st.integers(0, 10_000), count=st.integers(1, 60))
@settings(deadline=None, max_examples=25)
def test_cut_rectangles_come_with_addresses_that_solve_them(seed: int, count: int) -> None:
    problem, addresses = cut_rectangle(seed, count)
    solved = replace(
        pack(problem, 0.01), addresses=addresses, height=problem.capacity, bound=problem.capacity
    )
    check_packing(problem, solved)
    check_packing(loosened(problem, seed), replace(solved, bound=0, peak=None))
    assert len(problem.buffers) == count
    assert make_grid(problem).bound * make_grid(problem).unit == problem.capacity


def test_synthetic_problems_follow_from_their_seed() -> None:
    assert random_problem(3, 40) == random_problem(3, 40)
    assert random_problem(3, 40) != random_problem(4, 40)
    assert cut_rectangle(3, 40) == cut_rectangle(3, 40)
    assert cut_rectangle(3, 40) != cut_rectangle(4, 40)
