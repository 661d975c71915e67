"""Loops that have settled: leaving trips out changes nothing but the work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from stream_strategy import streams

from benchmarks.simulate_speed import tiled
from cost_models import Instruction, Transfer, load_target
from cost_models.simulate import Buffer, Fresh, Index, Item, Loop, Step, Timeline, Use, simulate

TRN2 = load_target("trn2")
COPY = Instruction("tensor_copy", "vector", 128, 512, ("bf16", "f32"), ("sbuf", "psum"))


def same(exact: Timeline, short: Timeline) -> bool:
    """Equal but for how much of it was simulated one by one."""
    return replace(short, simulated=exact.simulated) == exact


@given(streams(trips=(1, 3, 16, 100, 400)))
@settings(deadline=None, max_examples=120)
def test_leaving_out_trips_of_settled_loops_gives_the_same_time_line(stream: list[Item]) -> None:
    exact = simulate(TRN2, stream, extrapolate=False)
    assert exact.simulated == exact.instructions
    assert same(exact, simulate(TRN2, stream))


def test_a_blocked_matmul_is_the_same_in_a_fraction_of_the_steps() -> None:
    program = tiled(8, 16, 64)
    exact, short = simulate(TRN2, program, extrapolate=False), simulate(TRN2, program)
    assert same(exact, short)
    assert short.simulated < exact.simulated / 15


def test_work_does_not_grow_with_the_trips_of_a_settled_loop() -> None:
    short, long = (simulate(TRN2, tiled(1, 1, k)) for k in (2_000, 200_000))
    assert long.simulated == pytest.approx(short.simulated, abs=20)
    assert long.instructions == 600_000 + 2


def test_tiles_that_move_with_the_loop_keep_their_own_times() -> None:
    # Every slice of x is loaded in one loop and read in another, in the opposite order.
    i, j = Index(), Index()
    x, y = Buffer("x", "sbuf", 300), Buffer("y", "sbuf", 1, 2)
    load = Step(Transfer("load", 128, 512, 128), "sync", writes=(Use(x, terms=((i, 1),)),))
    slowly = replace(COPY, elems=200, memories=("sbuf", "sbuf"))
    read = Step(slowly, "vector", (Use(x, start=299, terms=((j, -1),)),), (Use(y),))
    program = [Loop(i, 300, [load, load]), Loop(j, 300, [Fresh(y), read, read])]
    exact, short = simulate(TRN2, program, extrapolate=False), simulate(TRN2, program)
    assert same(exact, short)
    assert short.simulated < exact.simulated / 5


def test_an_engine_that_runs_ahead_for_ever_is_simulated_to_the_end() -> None:
    i = Index()
    fast = Step(replace(COPY, elems=8, memories=("sbuf", "sbuf")), "vector")
    slow = Step(replace(COPY, engine="scalar", elems=900), "scalar")
    program = [Loop(i, 500, [fast, slow])]
    exact, short = simulate(TRN2, program, extrapolate=False), simulate(TRN2, program)
    assert same(exact, short)


def test_a_loop_over_a_buffer_used_in_two_ways_is_simulated_to_the_end() -> None:
    i = Index()
    x = Buffer("x", "sbuf", 400)
    step = Step(
        replace(COPY, memories=("sbuf", "sbuf")), "vector", (Use(x),), (Use(x, terms=((i, 1),)),)
    )
    program = [Loop(i, 400, [step, step])]
    exact, short = simulate(TRN2, program, extrapolate=False), simulate(TRN2, program)
    assert same(exact, short)
    assert short.simulated == short.instructions


def test_a_window_that_is_written_ahead_of_where_it_is_read_leaves_its_times_behind() -> None:
    i, j = Index("i"), Index("j")
    ahead, last = Buffer("ahead", "sbuf", 1200), Buffer("last", "sbuf")
    copy = replace(COPY, memories=("sbuf", "sbuf"))
    write = Step(
        replace(copy, op="activation", engine="scalar"),
        "scalar",
        writes=(Use(ahead, start=100, terms=((i, 1),)),),
    )
    read = Step(copy, "vector", (Use(ahead, terms=((i, 1),)),))
    late = Step(replace(copy, op="iota", engine="gpsimd"), "gpsimd", (Use(ahead, start=700),))
    after = Step(replace(copy, op="iota", engine="gpsimd"), "gpsimd", (), (Use(last),))
    program = [Loop(i, 1000, [write, read]), late, Loop(j, 600, [after])]
    exact, short = simulate(TRN2, program, extrapolate=False), simulate(TRN2, program)
    assert same(exact, short)
    assert short.simulated < exact.simulated / 2


@pytest.mark.parametrize("distance", [1, 2, 7, 40])
def test_a_loop_that_loads_ahead_is_the_same_when_settled(distance: int) -> None:
    i = Index()
    x, y = Buffer("x", "sbuf", 600), Buffer("y", "sbuf", 1, 2)
    load = Step(
        Transfer("load", 128, 512, 128), "sync", writes=(Use(x, start=distance, terms=((i, 1),)),)
    )
    read = Step(
        replace(COPY, elems=300, memories=("sbuf", "sbuf")),
        "vector",
        (Use(x, terms=((i, 1),)),),
        (Use(y),),
    )
    on_gpsimd = replace(COPY, op="iota", engine="gpsimd", memories=("sbuf", "sbuf"))
    probe = Step(on_gpsimd, "gpsimd", (Use(x, start=311),))
    program = [Loop(i, 500, [Fresh(y), load, read]), probe]
    exact, short = simulate(TRN2, program, extrapolate=False), simulate(TRN2, program)
    assert same(exact, short)
    assert short.simulated < exact.simulated / 2
