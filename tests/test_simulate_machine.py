"""One core at work: what every term of an instruction's time is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from cost_models import (
    Instruction,
    PriceError,
    Transfer,
    dma_price,
    instruction_price,
    load_target,
    weight_load_price,
)
from cost_models.simulate import Buffer, Fresh, Held, Index, Item, Loop, Step, Use, simulate
from cost_models.simulate.machine import Machine
from cost_models.simulate.tiles import ENGINES

TRN2 = load_target("trn2")
WARM = load_target("trn2", {"tensor.cold_rate": 1})
HAND = TRN2.sync.semaphore_ns
LOAD = Transfer("load", 128, 2048, 128)
STORE = Transfer("store", 128, 2048, 128)
COPY = Instruction("tensor_copy", "vector", 128, 512, ("f32", "f32"), ("sbuf", "sbuf"))
MATMUL = Instruction(
    "matmul", "tensor", 128, 512, ("f32", "bf16", "bf16"), ("psum", "sbuf", "sbuf"), columns=128
)
X, Y, Z = (Buffer(name, "sbuf") for name in "xyz")
P = Buffer("p", "psum")


def act(function: str, elems: int = 512) -> Step:
    work = Instruction(
        "activation", "scalar", 128, elems, ("f32", "f32"), ("sbuf", "sbuf"), function=function
    )
    return Step(work, "scalar")


def test_a_chain_of_load_copy_and_store_is_the_sum_of_its_latencies() -> None:
    load, store, copy = dma_price(TRN2, LOAD), dma_price(TRN2, STORE), instruction_price(TRN2, COPY)
    made = simulate(
        TRN2,
        [
            Step(LOAD, "sync", writes=(Use(X),), tensor="a"),
            Step(COPY, "vector", (Use(X),), (Use(Y),)),
            Step(STORE, "scalar", (Use(Y),), tensor="b"),
        ],
    )
    wanted = load.total_ns + copy.latency_ns + HAND + store.total_ns
    assert made.time_ns == pytest.approx(wanted, abs=0.01)
    assert made.bytes_by_tensor == {"a": 128 * 2048, "b": 128 * 2048}
    assert made.engines["vector"].waits_ns == {
        "data from dma": pytest.approx(load.total_ns, abs=0.01)
    }
    assert made.engines["scalar"].waits_ns.keys() == {"data from vector"}


def test_independent_instructions_of_one_engine_follow_at_its_interval() -> None:
    price = instruction_price(TRN2, COPY)
    made = simulate(TRN2, [Step(COPY, "vector", (Use(X),), (Use(Y),))] * 10)
    assert made.time_ns == pytest.approx(9 * price.interval_ns + price.latency_ns, abs=0.02)
    assert made.engines["vector"].busy_ns == pytest.approx(10 * price.interval_ns, abs=0.02)
    assert not made.engines["vector"].waits_ns


def test_an_instruction_waits_for_what_its_own_engine_still_computes() -> None:
    price = instruction_price(TRN2, COPY)
    steps = [
        Step(COPY, "vector", (Use(X),), (Use(Y),)),
        Step(COPY, "vector", (Use(Y),), (Use(Z),)),
    ]
    made = simulate(TRN2, steps)
    assert made.time_ns == pytest.approx(2 * price.latency_ns + HAND, abs=0.01)


def test_a_buffer_is_overwritten_only_when_its_readers_are_done() -> None:
    first = Step(COPY, "vector", (Use(X),), (Use(Y),))
    over = Step(replace(COPY, op="iota", engine="gpsimd", elems=64), "gpsimd", (), (Use(X),))
    made = simulate(TRN2, [first, over])
    price, late = instruction_price(TRN2, COPY), instruction_price(TRN2, over.work)
    assert made.time_ns == pytest.approx(price.latency_ns + HAND + late.latency_ns, abs=0.01)
    assert made.engines["gpsimd"].waits_ns.keys() == {"buffer from vector"}


def test_every_part_of_a_tile_that_dmas_fill_waits_for_its_readers() -> None:
    slow = replace(COPY, elems=20_000)
    load, price = dma_price(TRN2, LOAD), instruction_price(TRN2, slow)
    fill = [Step(LOAD, "sync", writes=(Use(X),))]
    read = Step(slow, "vector", (Use(X),), (Use(Y),))
    parts = [Step(LOAD, engine, writes=(Use(X),)) for engine in ("sync", "scalar")]
    made = simulate(TRN2, [*fill, read, *parts])
    assert made.engines["scalar"].waits_ns["buffer from vector"] == pytest.approx(
        load.total_ns + price.latency_ns + HAND, abs=0.01
    )


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_buffer_waits_for_the_readers_of_one_whose_bytes_it_takes_over(taken_over: bool) -> None:
    slow = replace(COPY, elems=20_000)
    load, price = dma_price(TRN2, LOAD), instruction_price(TRN2, slow)
    made = simulate(
        TRN2,
        [
            Step(LOAD, "sync", writes=(Use(X),)),
            Step(slow, "vector", (Use(X),), (Use(Y),)),
            Fresh(Z, ((Held(X, ((0, 0),)),),) if taken_over else ()),
            Step(LOAD, "sync", writes=(Use(Z),)),
        ],
    )
    waits = made.engines["sync"].waits_ns
    assert ("buffer from vector" in waits) is taken_over
    if taken_over:
        first = load.total_ns + price.latency_ns + HAND
        assert made.time_ns == pytest.approx(first + load.total_ns, abs=0.02)


def test_cells_that_are_not_taken_over_do_not_wait() -> None:
    x, z = Buffer("x", "sbuf", 2), Buffer("z", "sbuf", 2)
    slow = replace(COPY, elems=20_000)
    held = Fresh(z, ((Held(x, ((0, 1),)),),))
    read = Step(slow, "vector", (Use(x),), (Use(Y),))
    used, free = (
        simulate(TRN2, [read, held, Step(LOAD, "sync", writes=(Use(z, start=cell),))])
        for cell in (1, 0)
    )
    assert used.time_ns == free.time_ns
    other = Fresh(z, ((Held(x, ((0, 0),)),),))
    late = simulate(TRN2, [read, other, Step(LOAD, "sync", writes=(Use(z),))])
    assert late.time_ns > free.time_ns


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        (((), ()), "buffer x: held is for 2 copies but must be for 1"),
        (((Held(Y, ((1, 0),)),),), "buffer x: cell 1 is taken over but it has 1"),
        (((Held(Y, ((0, 1),)),),), "buffer y: cell 1 is taken over but it has 1"),
    ],
)
def test_what_is_taken_over_has_to_be_there(
    held: tuple[tuple[Held, ...], ...], sentence: str
) -> None:
    with pytest.raises(PriceError, match=sentence):
        simulate(TRN2, [Fresh(X, held)])


def test_more_copies_of_a_buffer_let_loads_run_ahead() -> None:
    def stream(copies: int) -> Iterator[Item]:
        x = Buffer("x", "sbuf", copies=copies)
        i = Index()
        yield Loop(
            i,
            50,
            [
                Fresh(x),
                Step(LOAD, "sync", writes=(Use(x),)),
                Step(COPY, "vector", (Use(x),), (Use(Y),)),
            ],
        )

    times = [simulate(TRN2, stream(copies)).time_ns for copies in (1, 2, 3, 8)]
    assert times == sorted(times, reverse=True)
    assert times[0] > 2 * times[-1]


def test_accumulating_matmuls_do_not_wait_for_each_other_but_the_reader_waits_for_the_last() -> (
    None
):
    price = instruction_price(WARM, MATMUL)
    weights = weight_load_price(WARM, "bf16", 128)
    drain = replace(COPY, memories=("sbuf", "psum"))
    steps = [Step(MATMUL, "tensor", (Use(X), Use(Y)), (Use(P),))] * 8
    made = simulate(WARM, [*steps, Step(drain, "vector", (Use(P),), (Use(Z),))])
    # The first weights load while nothing else does.
    matmuls = 7 * price.interval_ns + price.latency_ns
    wanted = matmuls + HAND + instruction_price(WARM, drain).latency_ns
    assert made.time_ns == pytest.approx(wanted, abs=weights.interval_ns + 0.02)
    assert made.macs == 8 * 128 * 128 * 512


def test_weights_that_load_longer_than_a_matmul_streams_set_its_pace() -> None:
    tiny = replace(MATMUL, elems=1, dtypes=("f32", "f32", "f32"))
    weights = weight_load_price(WARM, "f32", 128).interval_ns
    assert weights > instruction_price(WARM, tiny).interval_ns
    steps = [Step(tiny, "tensor", (Use(X), Use(Y)), (Use(P),))] * 101
    one = simulate(WARM, steps[:1]).time_ns
    assert (simulate(WARM, steps).time_ns - one) / 100 == pytest.approx(weights, rel=0.001)


def test_weights_load_slowly_into_a_cold_array() -> None:
    tiny = replace(MATMUL, elems=1, dtypes=("f32", "f32", "f32"))
    cold, warm = (weight_load_price(TRN2, "f32", 128, c).interval_ns for c in (True, False))
    assert cold > 1.5 * warm
    assert cold > instruction_price(TRN2, tiny, cold=True).interval_ns
    steps = [Step(tiny, "tensor", (Use(X), Use(Y)), (Use(P),))] * 11
    made = simulate(TRN2, steps)
    assert made.cold_ns == pytest.approx(made.busy_ns["tensor"])
    one = simulate(TRN2, steps[:1]).time_ns
    assert (made.time_ns - one) / 10 == pytest.approx(cold, rel=0.001)


@pytest.mark.parametrize(("loaded", "waits"), [(X, True), (Y, False)])
def test_weights_begin_to_load_when_they_are_there_but_the_moving_operand_just_streams(
    loaded: Buffer, waits: bool
) -> None:
    # X is stationary, Y moves.
    made = simulate(
        WARM,
        [
            Step(LOAD, "sync", writes=(Use(loaded),)),
            Step(MATMUL, "tensor", (Use(X), Use(Y)), (Use(P),)),
        ],
    )
    weights = weight_load_price(WARM, "bf16", 128).interval_ns if waits else 0
    wanted = dma_price(WARM, LOAD).total_ns + weights + instruction_price(WARM, MATMUL).latency_ns
    assert made.time_ns == pytest.approx(wanted, abs=0.01)


def test_the_array_is_slow_until_it_has_worked_for_a_while_and_again_after_a_pause() -> None:
    matmul = Step(MATMUL, "tensor", (), (Use(P),))
    cold, warm = (instruction_price(TRN2, MATMUL, cold=c).interval_ns for c in (True, False))
    burst = simulate(TRN2, [matmul] * 1000)
    slow = -(-TRN2.tensor.warm_after_ns // cold)
    assert burst.cold_ns == pytest.approx(slow * cold, abs=0.01)
    assert burst.engines["tensor"].busy_ns == pytest.approx(
        slow * cold + (1000 - slow) * warm, abs=1
    )
    pause = Step(replace(COPY, elems=16384), "vector", (Use(P),), (Use(P),))
    assert simulate(TRN2, [*[matmul] * 1000, pause, *[matmul] * 1000]).cold_ns == pytest.approx(
        2 * burst.cold_ns, abs=0.01
    )


def test_changing_the_activation_function_loads_a_table() -> None:
    load = TRN2.scalar.table_load_ns
    same = simulate(TRN2, [act("exp")] * 4)
    other = simulate(TRN2, [act("exp"), act("gelu")] * 2)
    assert (same.table_loads, other.table_loads) == (1, 4)
    assert other.time_ns - same.time_ns == pytest.approx(3 * load, abs=0.01)
    assert simulate(TRN2, [act("copy"), act("square")]).table_loads == 0


def test_a_store_waiting_for_its_data_holds_up_loads_of_the_same_queue() -> None:
    slow = Step(replace(COPY, elems=16384), "vector", (), (Use(Y),))
    load = Step(LOAD, "sync", writes=(Use(X),))

    def late(queue: str) -> float:
        return simulate(TRN2, [slow, Step(STORE, queue, (Use(Y),)), *[load] * 20]).time_ns

    assert late("sync") > late("scalar") + 5 * dma_price(TRN2, LOAD).engine_ns


def test_loads_that_want_more_than_the_cap_take_the_bytes_over_the_cap() -> None:
    big = Transfer("load", 128, 16384, 128)
    made = simulate(TRN2, [Step(big, "sync", tensor="w")] * 200)
    assert made.dma_active_ns == pytest.approx(made.hbm_bytes / TRN2.dma.load_cap_gbps, rel=0.001)
    assert made.dma_active == pytest.approx(made.dma_active_ns / made.time_ns)
    assert made.mbu == pytest.approx(
        made.hbm_bytes / made.time_ns / TRN2.memory.hbm_stack_gbps, rel=1e-6
    )


def test_a_tile_that_two_transfers_fill_is_there_when_both_are() -> None:
    # One row on one queue takes long, and leaves room for a short transfer beside it.
    long, short = Transfer("load", 1, 65536, 1), Transfer("load", 64, 64, 64)
    fill = [Step(long, "sync", writes=(Use(X),)), Step(short, "gpsimd", writes=(Use(X),))]
    price = dma_price(TRN2, long)
    assert dma_price(TRN2, replace(short, software=True)).total_ns < price.total_ns
    made = simulate(TRN2, [*fill, Step(COPY, "vector", (Use(X),), (Use(Y),))])
    latency = instruction_price(TRN2, COPY).latency_ns
    assert made.time_ns == pytest.approx(price.total_ns + latency, abs=0.01)


def test_short_runs_take_all_of_the_queues_though_they_move_few_bytes() -> None:
    short = Transfer("load", 128 * 32, 4, 128)
    price = dma_price(TRN2, short)
    assert short.total_bytes / price.transfer_ns < 0.1 * TRN2.dma.load_cap_gbps
    made = simulate(TRN2, [Step(short, "sync"), Step(short, "scalar")])
    both = price.total_ns + price.transfer_ns
    assert made.time_ns == pytest.approx(both, rel=0.01)


def test_one_row_leaves_the_other_queues_to_others() -> None:
    row = Transfer("load", 1, 65536, 1)
    made = simulate(TRN2, [Step(row, "sync"), Step(row, "scalar")])
    assert made.time_ns == pytest.approx(dma_price(TRN2, row).total_ns, rel=0.001)
    assert made.transfer_ns == pytest.approx(2 * made.dma_active_ns, rel=0.001)


def test_transfers_that_are_over_are_forgotten() -> None:
    machine = Machine(TRN2)
    machine.triggers = (ENGINES.index("sync"),)
    load = machine.step(Step(LOAD, "sync", writes=(Use(X),)))
    read = machine.step(Step(replace(COPY, elems=9000), "vector", (Use(X),), (Use(Y),)))
    for _ in range(50):
        load()
        read()
    assert len(machine.queues.intervals()) <= 2


def test_busy_and_idle_make_up_the_whole_time_of_every_engine() -> None:
    made = simulate(
        TRN2,
        [
            Step(LOAD, "sync", writes=(Use(X),)),
            Step(COPY, "vector", (Use(X),), (Use(Y),)),
            act("exp"),
            Step(MATMUL, "tensor", (Use(Y),), (Use(P),)),
        ],
    )
    for engine in made.engines.values():
        assert engine.busy_ns + engine.idle_ns == pytest.approx(made.time_ns)
        assert sum(engine.waits_ns.values()) <= engine.idle_ns + 1e-6
    assert made.host_ns == made.time_ns + TRN2.launch.host_overhead_ns


def test_nothing_takes_no_time() -> None:
    made = simulate(TRN2, [])
    assert (made.time_ns, made.instructions, made.mfu, made.mbu, made.dma_active) == (0, 0, 0, 0, 0)


def test_events_are_kept_up_to_the_number_asked_for() -> None:
    steps = [Step(LOAD, "sync", writes=(Use(X),), label="load x")] * 5
    made = simulate(TRN2, steps, record=4)
    assert [(e.unit, e.label) for e in made.events] == [
        ("sync", "trigger load x"),
        ("dma", "load x"),
    ] * 2
    assert all(0 <= e.start_ns <= e.end_ns <= made.time_ns for e in made.events)
    assert simulate(TRN2, steps).events == ()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Step(LOAD, "dma"), "dma: engine is 'dma' but must be one of sync, scalar"),
        (lambda: Step(COPY, "scalar"), "engine is 'scalar' but the instruction's is 'vector'"),
        (lambda: Buffer("x", "ram"), "buffer x: memory is 'ram' but must be one of sbuf"),
        (lambda: Buffer("x", "sbuf", 0), "buffer x: cells is 0 but must be at least 1"),
        (lambda: Buffer("x", "sbuf", 1, 0), "buffer x: copies is 0 but must be at least 1"),
        (lambda: Loop(Index("k"), 0, []), "loop k: trips is 0 but must be"),
    ],
)
def test_a_wrong_stream_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(PriceError, match=said):
        make()


def test_an_instruction_that_the_target_cannot_run_is_refused() -> None:
    on_scalar = replace(COPY, engine="scalar")
    with pytest.raises(PriceError, match="trn1 runs it on vector"):
        simulate(load_target("trn1"), [Step(on_scalar, "scalar")])


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (Use(X, (1,)), "buffer x: cells 1 to 1 are used but it has 1"),
        (Use(X, (0,), -1), "buffer x: cells -1 to -1 are used"),
        (Use(X, terms=((Index("k"), 1),)), "buffer x: index k is used but no loop around counts"),
    ],
)
def test_a_use_outside_its_buffer_is_refused(use: Use, said: str) -> None:
    with pytest.raises(PriceError, match=said):
        simulate(TRN2, [Step(COPY, "vector", (use,))])


def test_a_use_that_leaves_its_buffer_in_some_trip_is_refused() -> None:
    index, buffer = Index("k"), Buffer("b", "sbuf", 10)
    step = Step(COPY, "vector", (Use(buffer, terms=((index, 2),)),))
    simulate(TRN2, [Loop(index, 5, [step])])
    with pytest.raises(PriceError, match="buffer b: cells 0 to 10 are used but it has 10"):
        simulate(TRN2, [Loop(index, 6, [step])])


def test_a_loop_body_that_can_be_run_only_once_is_refused() -> None:
    with pytest.raises(PriceError, match="body is a generator but must be a list or tuple"):
        Loop(Index("k"), 5, (item for item in []))  # type: ignore[arg-type]


def test_what_is_no_item_is_refused() -> None:
    with pytest.raises(PriceError, match="a stream holds 3 but takes steps"):
        simulate(TRN2, [3])  # type: ignore[list-item]
