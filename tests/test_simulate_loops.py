"""Loops that have settled: leaving trips out changes nothing but the work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from stream_strategy import streams

from cost_models import Instruction, Transfer, load_target
from cost_models.simulate import Buffer, Fresh, Index, Item, Loop, Step, Timeline, Use, simulate

TRN2 = load_target("trn2")
MATMUL = Instruction(
    "matmul", "tensor", 128, 512, ("f32", "bf16", "bf16"), ("psum", "sbuf", "sbuf"), columns=128
)
COPY = Instruction("tensor_copy", "vector", 128, 512, ("bf16", "f32"), ("sbuf", "psum"))


def blocked_matmul(m: int, n: int, k: int, copies: int = 4) -> list[Item]:
    """Two loads and a matmul per k step; a copy and a store per tile of the result."""
    i, j, p = Index("m"), Index("n"), Index("k")
    a, b = Buffer("a", "sbuf", 1, copies), Buffer("b", "sbuf", 1, copies)
    sums, out = Buffer("sums", "psum", 1, 2), Buffer("out", "sbuf", 1, 2)
    inner: list[Item] = [
        Fresh(a),
        Fresh(b),
        Step(Transfer("load", 128, 256, 128), "sync", writes=(Use(a),), tensor="a"),
        Step(Transfer("load", 128, 1024, 128), "sync", writes=(Use(b),), tensor="b"),
        Step(MATMUL, "tensor", (Use(a), Use(b)), (Use(sums),)),
    ]
    tile: list[Item] = [
        Fresh(sums),
        Loop(p, k, inner),
        Fresh(out),
        Step(COPY, "vector", (Use(sums),), (Use(out),)),
        Step(Transfer("store", 128, 1024, 128), "scalar", (Use(out),), tensor="c"),
    ]
    return [Loop(i, m, [Loop(j, n, tile)])]


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
    program = blocked_matmul(8, 16, 64)
    exact, short = simulate(TRN2, program, extrapolate=False), simulate(TRN2, program)
    assert same(exact, short)
    assert short.simulated < exact.simulated / 15


def test_work_does_not_grow_with_the_trips_of_a_settled_loop() -> None:
    short, long = (simulate(TRN2, blocked_matmul(1, 1, k)) for k in (2_000, 200_000))
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
