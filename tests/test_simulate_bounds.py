"""Lower bounds of the simulated time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from stream_strategy import streams

from cost_models import Instruction, Transfer, dma_price, instruction_price, load_target
from cost_models.simulate import (
    CRITICAL_PATH,
    MOST_STEPS,
    Buffer,
    Fresh,
    Index,
    Item,
    Loop,
    Step,
    Use,
    bounds_of,
    critical_path_ns,
    simulate,
    work_of,
)

TRN2 = load_target("trn2")
LOAD = Transfer("load", 128, 2048, 128)
COPY = Instruction("tensor_copy", "vector", 128, 512, ("f32", "f32"), ("sbuf", "sbuf"))
X, Y = Buffer("x", "sbuf"), Buffer("y", "sbuf")


@given(streams(trips=(1, 3, 16)))
@settings(deadline=None, max_examples=120)
@pytest.mark.parametrize("name", ["trn1", "trn2", "trn3"])
def test_no_simulated_time_is_below_any_bound(name: str, stream: list[Item]) -> None:
    target = load_target(name)
    made = simulate(target, stream)
    found = bounds_of(target, stream)
    # Times are whole picoseconds: half of one per instruction may be rounded off.
    room = 0.001 * (made.instructions + 1)
    for resource, ns in found.by_resource.items():
        assert ns <= made.time_ns + room, resource
    assert found.ns == found.by_resource[found.resource] == max(found.by_resource.values())


def test_the_work_of_a_stream_counts_its_loops() -> None:
    matmul = Instruction(
        "matmul", "tensor", 128, 512, ("f32", "bf16", "bf16"), ("psum", "sbuf", "sbuf"), columns=64
    )
    store = Transfer("store", 128, 100, 128)
    body: list[Item] = [Step(LOAD, "sync"), Step(matmul, "tensor"), Step(COPY, "vector")]
    work = work_of([Loop(Index(), 5, [*body, Loop(Index(), 2, [Step(store, "scalar")])])])
    assert work.hbm_load_bytes == 5 * 128 * 2048
    assert work.hbm_bytes == work.hbm_load_bytes + 10 * 128 * 100
    assert work.macs == {"bf16": 5 * 128 * 64 * 512}
    assert (work.vector_elems, work.scalar_elems) == (5 * 128 * 512, 0)


def test_the_critical_path_is_the_longest_chain_of_data() -> None:
    chain: list[Item] = [
        Step(LOAD, "sync", writes=(Use(X),)),
        Step(COPY, "vector", (Use(X),), (Use(Y),)),
    ]
    one = dma_price(TRN2, LOAD).total_ns + instruction_price(TRN2, COPY).latency_ns
    assert critical_path_ns(TRN2, chain) == pytest.approx(one, abs=0.01)
    # A second chain over the same buffers needs nothing of the first.
    assert critical_path_ns(TRN2, chain * 3) == pytest.approx(one, abs=0.01)
    assert simulate(TRN2, chain * 3).time_ns > 1.5 * one


def test_the_critical_path_follows_loops_and_the_copies_of_buffers() -> None:
    i, x = Index("i"), Buffer("x", "sbuf", 4, copies=2)
    step = Step(COPY, "vector", (Use(x, start=0, terms=((i, 1),)),), (Use(x, start=1),))
    latency = instruction_price(TRN2, COPY).latency_ns
    hand = TRN2.sync.semaphore_ns
    # Of the first three trips only the second reads what one before it has written.
    assert critical_path_ns(TRN2, [Loop(i, 3, [step])]) == pytest.approx(
        2 * latency + hand, abs=0.01
    )
    # With a new copy for each trip none does.
    assert critical_path_ns(TRN2, [Loop(i, 2, [Fresh(x), step])]) == pytest.approx(
        latency, abs=0.01
    )


def test_a_stream_that_is_too_long_has_no_critical_path_among_its_bounds() -> None:
    def found(trips: int) -> set[str]:
        return set(bounds_of(TRN2, [Loop(Index(), trips, [Step(COPY, "vector")])]).by_resource)

    assert CRITICAL_PATH in found(100)
    assert found(100) - found(MOST_STEPS + 1) == {CRITICAL_PATH}
