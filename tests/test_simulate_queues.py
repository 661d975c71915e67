"""How transfers in flight share the DMA queues."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cost_models.simulate.queues import FULL, MOST_INTERVALS, SLIVER, Demand, Queues

ALL = Demand(1000, FULL, 0)
HALF = Demand(1000, FULL // 2, 0)
LOAD = Demand(1000, FULL * 3 // 4, FULL)


def test_a_transfer_alone_takes_its_own_time() -> None:
    assert Queues().place(50, ALL) == 1050


def test_two_that_take_everything_go_one_after_the_other() -> None:
    queues = Queues()
    assert [queues.place(0, ALL), queues.place(0, ALL)] == [1000, 2000]


def test_two_that_take_half_go_side_by_side_and_a_third_waits() -> None:
    queues = Queues()
    assert [queues.place(0, HALF) for _ in range(3)] == [1000, 1000, 2000]


def test_loads_share_their_part_and_leave_the_rest_to_a_store() -> None:
    queues = Queues()
    assert queues.place(0, LOAD) == 1000
    assert queues.place(0, LOAD) == 2000
    # A quarter of the queues is left for 2000 ps: half of the store's bytes; then all of them.
    assert queues.place(0, ALL) == 2500


def test_a_later_transfer_fills_the_gap_before_one_that_has_its_place() -> None:
    queues = Queues()
    assert queues.place(5000, ALL) == 6000
    assert queues.place(0, ALL) == 1000
    assert queues.place(4600, ALL) == 6600


def test_time_in_flight_counts_overlaps_once() -> None:
    queues = Queues()
    for arrival in (0, 500, 9000):
        queues.place(arrival, HALF)
    assert queues.total_active_ps() == 1500 + 1000
    queues.forget(20_000)
    assert queues.intervals() == []
    assert queues.total_active_ps() == 2500


def test_only_so_many_intervals_are_remembered() -> None:
    queues = Queues()
    for k in range(3 * MOST_INTERVALS):
        queues.place(5000 * k, ALL)
        queues.forget(-1)
    assert len(queues.intervals()) == MOST_INTERVALS
    assert queues.total_active_ps() == 3 * MOST_INTERVALS * 1000


DEMANDS = st.builds(
    Demand, st.integers(1, 10_000), st.integers(1, FULL), st.sampled_from((0, FULL // 3, FULL))
)


@given(st.lists(st.tuples(st.integers(0, 30_000), DEMANDS), min_size=1, max_size=30))
def test_capacity_is_never_exceeded_and_no_transfer_is_faster_than_alone(
    arrivals: list[tuple[int, Demand]],
) -> None:
    queues = Queues()
    last = 0
    for arrival, demand in arrivals:
        end = queues.place(arrival, demand)
        assert end >= arrival + demand.duration_ps
        last = max(last, end)
    intervals = queues.intervals()
    assert all(0 < total <= FULL and loads <= FULL for _, _, (total, loads) in intervals)
    assert all(one[1] <= two[0] for one, two in pairwise(intervals))
    assert max(end for _, end, _ in intervals) == last


@given(st.lists(DEMANDS, min_size=1, max_size=30))
def test_nothing_idles_while_something_waits(demands: list[Demand]) -> None:
    queues = Queues()
    last = max(queues.place(0, demand) for demand in demands)
    shared = sum(d.duration_ps * d.share for d in demands) / FULL
    loads = sum(d.duration_ps * d.load_share for d in demands) / FULL
    alone = max(d.duration_ps for d in demands)
    # No later than with one resource after the other, slivers counted as taken.
    assert last <= (shared + loads + alone) * (1 + 2 * SLIVER / FULL) + 2 * len(demands)
