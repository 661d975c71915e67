"""What `pack` and `minimise_height` promise: a packing, a proof, or the best found; again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from hash_seeds import outputs_by_hash_seed
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import (
    Buffer,
    Packing,
    PackingProblem,
    SolverMissing,
    Status,
    check_packing,
    minimise_height,
    pack,
)
from solver.packing import exact
from solver.packing.grid import independent, make_grid, set_aside
from solver.packing.synthetic import cut_rectangle, loosened, random_problem, small_problem


def packed(problem: PackingProblem, time_limit: float = 10, **options: int) -> Packing:
    """The checked answer of `pack`."""
    packing = pack(problem, time_limit, **options)
    check_packing(problem, packing)
    return packing


def lowest_height(problem: PackingProblem) -> int:
    """The least height, by trying every order of placing buffers as low as they go.

    Placed in the order of their addresses in a lowest packing, none comes to lie higher than
    there.
    """
    fixed = {b: b.fixed for b in problem.buffers if b.fixed is not None}
    free = [b for b in problem.buffers if b.fixed is None]
    return min(_height_in_order(order, fixed) for order in permutations(free))


def _height_in_order(order: Sequence[Buffer], fixed: dict[Buffer, int]) -> int:
    placed = dict(fixed)
    for buffer in order:
        at = 0
        while clashing := [
            other
            for other, address in placed.items()
            if other.start < buffer.end
            and buffer.start < other.end
            and address < at + buffer.size
            and at < address + other.size
        ]:
            at = max(placed[other] + other.size for other in clashing)
            at = -(-at // buffer.alignment) * buffer.alignment
        placed[buffer] = at
    return max(address + buffer.size for buffer, address in placed.items())


@pytest.mark.parametrize("block", range(4))
def test_packing_agrees_with_exhaustive_search(block: int) -> None:
    verdicts = set()
    for seed in range(50 * block, 50 * block + 50):
        problem = small_problem(seed)
        packing = packed(problem)
        lowest = lowest_height(problem)
        verdicts.add(packing.fits)
        assert packing.proven, seed
        assert packing.fits == (lowest <= problem.capacity), seed
        assert packing.bound <= lowest, seed
    assert verdicts == {True, False}


def test_the_lowest_height_agrees_with_exhaustive_search() -> None:
    for seed in range(100):
        problem = small_problem(seed)
        packing = minimise_height(problem)
        check_packing(problem, packing)
        assert packing.lowest, seed
        assert packing.height == lowest_height(problem), seed


@pytest.mark.parametrize(
    ("seed", "count"), [(1, 20), (2, 30), (3, 50), (2, 80), (5, 80), (3, 120), (8, 120), (8, 150)]
)
def test_tight_problems_with_a_known_packing_are_solved(seed: int, count: int) -> None:
    packing = packed(cut_rectangle(seed, count)[0])
    assert packing.status is Status.OPTIMAL
    assert packing.height == packing.capacity == packing.bound


@pytest.mark.parametrize(("seed", "count"), [(1, 50), (5, 80), (2, 120), (6, 120), (6, 150)])
def test_known_feasible_problems_with_some_room_are_solved(seed: int, count: int) -> None:
    assert packed(loosened(cut_rectangle(seed, count)[0], seed)).fits


@given(seed=st.integers(0, 10_000), count=st.integers(0, 40))
@settings(deadline=None, max_examples=30)
def test_any_answer_passes_the_check(seed: int, count: int) -> None:
    packing = packed(random_problem(seed, count), 0.05)
    assert packing.proven or packing.height > packing.capacity


def test_nothing_packs_into_nothing() -> None:
    packing = packed(PackingProblem((), 0))
    assert packing.status is Status.OPTIMAL
    assert (packing.height, packing.bound, packing.peak) == (0, 0, None)


def test_one_buffer_lies_at_address_0() -> None:
    assert packed(PackingProblem((Buffer("a", 3, 9, 64),), 64)).addresses == {"a": 0}


def test_nothing_fits_a_capacity_of_0() -> None:
    packing = packed(PackingProblem((Buffer("a", 0, 1, 64),), 0))
    assert packing.status is Status.INFEASIBLE
    assert packing.searches == 0


def test_buffers_that_are_never_live_together_share_addresses() -> None:
    buffers = tuple(Buffer(f"b{i}", i, i + 1, 64) for i in range(9))
    assert set(packed(PackingProblem(buffers, 64)).addresses.values()) == {0}


def test_too_many_live_bytes_are_a_proof_that_names_the_peak() -> None:
    buffers = (Buffer("a", 0, 5, 40), Buffer("b", 3, 7, 40), Buffer("c", 4, 6, 40))
    packing = packed(PackingProblem(buffers, 100))
    assert packing.status is Status.INFEASIBLE
    assert (packing.bound, packing.bound_method, packing.searches) == (120, "live bytes", 0)
    assert packing.peak is not None
    assert (packing.peak.start, packing.peak.end, packing.peak.height) == (4, 5, 120)
    assert sorted(packing.peak.buffers) == ["a", "b", "c"]
    assert str(packing) == (
        "infeasible: nothing is below 120 (by live bytes); height 120 of 100 bytes by lowest "
        "offset by width, area, total; at the peak 120 bytes for 3 buffers at events 4 to 5: "
        "a, b, c"
    )


CROSSED = PackingProblem(
    # Full events force a and c to the two ends: beside a, y then lies at 1 or 4; beside c, at 0
    # or 3. So nothing fits, though no event has more than 5 bytes.
    (
        Buffer("a", 1, 5, 1),
        Buffer("a-beside", 2, 3, 4),
        Buffer("a-and-y-beside", 3, 4, 3),
        Buffer("between", 4, 5, 2),
        Buffer("y", 3, 7, 1),
        Buffer("c-and-y-beside", 6, 7, 3),
        Buffer("c-beside", 7, 8, 4),
        Buffer("c", 4, 8, 1),
    ),
    5,
)


def test_infeasibility_that_live_bytes_do_not_show_is_proven_by_search() -> None:
    packing = packed(CROSSED)
    assert packing.status is Status.INFEASIBLE
    assert (packing.bound, packing.bound_method, packing.searches) == (6, "CP-SAT", 1)
    assert packing.peak is not None
    assert packing.peak.height == 5
    assert packing.height == 6


def test_a_fixed_buffer_that_leaves_too_small_gaps_is_proven_to_be_in_the_way() -> None:
    buffers = (Buffer("f", 0, 1, 2, fixed=4), Buffer("a", 0, 1, 5), Buffer("b", 0, 1, 3))
    packing = packed(PackingProblem(buffers, 10))
    assert packing.status is Status.INFEASIBLE
    assert packing.bound_method == "CP-SAT"
    assert packing.height == 11


def test_addresses_are_aligned() -> None:
    buffers = tuple(
        Buffer(f"b{i}", i % 3, 4 + i % 5, 10 + i, alignment=2 ** (i % 6)) for i in range(12)
    )
    packing = packed(PackingProblem(buffers, 400))
    assert packing.fits
    assert all(packing.addresses[b.name] % b.alignment == 0 for b in buffers)


def test_padding_between_aligned_buffers_counts_in_the_bound() -> None:
    buffers = tuple(Buffer(f"b{i}", 0, 1, 33, alignment=32) for i in range(3))
    packing = packed(PackingProblem(buffers, 160))
    assert packing.status is Status.INFEASIBLE
    assert (packing.bound, packing.searches) == (64 + 64 + 33, 0)
    assert packed(PackingProblem(buffers, 161)).status is Status.OPTIMAL


def test_others_make_way_for_a_fixed_buffer() -> None:
    buffers = (Buffer("f", 0, 9, 32, fixed=32), Buffer("a", 0, 5, 32), Buffer("b", 2, 9, 64))
    packing = packed(PackingProblem(buffers, 128))
    assert packing.addresses == {"f": 32, "a": 0, "b": 64}


def test_independent_stretches_of_time_are_packed_apart() -> None:
    one, _ = cut_rectangle(1, 30)
    later = tuple(
        replace(b, name=f"later-{b.name}", start=b.start + 500, end=b.end + 500)
        for b in one.buffers
    )
    both = PackingProblem((*one.buffers, *later), one.capacity)
    assert [len(part) for part in independent(make_grid(both).items)] == [30, 30]
    assert packed(both).status is Status.OPTIMAL


def test_buffers_that_fit_wherever_others_lie_are_set_aside() -> None:
    tight, _ = cut_rectangle(1, 30, height=64, events=16, unit=1)
    small = tuple(Buffer(f"small-{i}", 40 + i, 42 + i, 1) for i in range(20))
    grid = make_grid(PackingProblem((*tight.buffers, *small), 64))
    kept, aside = set_aside(grid.items, grid.capacity)
    assert len(kept) + len(aside) == len(grid.items)
    assert {item.index for item in aside} >= set(range(30, 50))
    assert len(kept) >= 20


@given(seed=st.integers(0, 5_000))
@settings(deadline=None, max_examples=60)
def test_setting_buffers_aside_does_not_change_what_fits(seed: int) -> None:
    problem = small_problem(seed)
    grid = make_grid(problem)
    kept, _ = set_aside(grid.items, grid.capacity)
    if not kept or grid.bound > grid.capacity:
        return
    rest = replace(problem, buffers=tuple(problem.buffers[item.index] for item in kept))
    fits = lowest_height(problem) <= problem.capacity
    assert fits == (lowest_height(rest) <= problem.capacity)


@pytest.mark.parametrize("problem", [cut_rectangle(1, 400)[0], random_problem(5, 400)])
def test_however_short_the_time_there_is_a_packing(problem: PackingProblem) -> None:
    packing = packed(problem, 0.1)
    assert packing.bound <= packing.height <= 2 * problem.capacity
    assert packing.wall_s < 2
    assert packing.status is Status.UNKNOWN
    assert "nothing that fits was found" in str(packing)
    assert not packing.proven


def test_the_number_of_workers_does_not_change_the_packing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exact, "FIRST_SECONDS", 0.01)
    problem, _ = cut_rectangle(1, 80)
    answers = [packed(problem, workers=workers) for workers in (1, 2, 3, 1)]
    assert answers[0].fits
    assert answers[0].searches > 3
    for packing in answers:
        assert replace(packing, wall_s=0.0) == replace(answers[0], wall_s=0.0)


def test_without_an_answer_the_number_of_workers_does_not_change_the_packing_either() -> None:
    problem, _ = cut_rectangle(2, 300)
    one, two = (packed(problem, 0.6, workers=workers) for workers in (1, 2))
    assert one.status is Status.UNKNOWN
    assert replace(one, wall_s=0.0) == replace(two, wall_s=0.0)


def test_hash_seeds_do_not_change_the_packing() -> None:
    program = (
        "from solver import pack; from solver.packing.synthetic import cut_rectangle;"
        "print(sorted(pack(cut_rectangle(5, 40)[0]).addresses.items()))"
    )
    assert len(outputs_by_hash_seed(program)) == 1


def test_the_lowest_height_is_found_whatever_the_capacity() -> None:
    tight, _ = cut_rectangle(3, 30)
    for capacity in (0, tight.capacity, 2 * tight.capacity):
        packing = minimise_height(replace(tight, capacity=capacity))
        check_packing(replace(tight, capacity=capacity), packing)
        assert packing.lowest
        assert packing.height == tight.capacity
        assert packing.fits == (capacity > 0)


def test_the_lowest_height_is_above_the_bound_where_search_proves_so() -> None:
    packing = minimise_height(CROSSED)
    assert packing.lowest
    assert (packing.height, packing.bound_method) == (6, "CP-SAT")


def test_easy_problems_are_solved_without_ortools(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise SolverMissing("not here")

    monkeypatch.setattr(exact, "_ortools", missing)
    assert packed(random_problem(1, 40, slack=0.5)).searches == 0
    with pytest.raises(SolverMissing):
        packed(cut_rectangle(1, 40)[0])


def test_without_search_the_answer_is_that_of_the_passes() -> None:
    problem, _ = cut_rectangle(3, 60)
    quick = pack(problem, search=False)
    check_packing(problem, quick)
    assert quick.searches == 0
    assert not quick.fits
    assert packed(problem).fits
