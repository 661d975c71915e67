"""Checked runs: bytes that are not a reader's own are found, in program order or in some other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from allocations import (
    F32,
    LIMITS,
    PSUM,
    assert_runs_alike,
    feed_of,
    in_turn_in_a_loop,
    kernels,
    moved,
    pipeline,
    place,
    sharing,
    tightly,
    two_in_turn,
)
from hypothesis import given, settings

from cost_models.simulate import Step
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op
from nkigen_lite.core.location import Location
from nkigen_lite.errors import InvalidInput, MemoryFault
from nkigen_lite.nki_ir import Builder, ds, insert_deallocs
from nkigen_lite.nki_ir.allocation import Allocation
from nkigen_lite.nki_ir.checked import run_checked
from nkigen_lite.nki_ir.simulate import Translation
from nkigen_lite.tensor_ir.passes.layout_solver.addresses import allocate

SEEDS = range(30)


def faults(kernel: Graph, allocation: Allocation) -> list[str]:
    """What goes wrong in random orders."""
    found = []
    for seed in SEEDS:
        try:
            run_checked(kernel, feed_of(kernel), allocation, seed)
        except MemoryFault as fault:
            found.append(str(fault))
    return found


# --- sound kernels -------------------------------------------------------------------------------


def assert_sound(kernel: Graph, orders: int) -> None:
    feed = feed_of(kernel)
    for allocation in (allocate(kernel, LIMITS), tightly(kernel)):
        assert_runs_alike(kernel, feed, allocation, orders)


@given(kernels())
@settings(max_examples=15)
def test_random_kernels_compute_the_same_at_their_addresses_in_any_order(kernel: Graph) -> None:
    assert_sound(kernel, orders=2)


@pytest.mark.slow
@given(kernels())
@settings(max_examples=40)
def test_many_random_kernels_compute_the_same_in_any_order(kernel: Graph) -> None:
    assert_sound(kernel, orders=4)


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_a_pipeline_runs_in_any_order(copies: int) -> None:
    kernel = pipeline(copies)
    assert_runs_alike(kernel, feed_of(kernel), allocate(kernel, LIMITS), orders=20)


def test_equal_seeds_give_equal_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = pipeline()
    allocation = allocate(kernel, LIMITS)
    ran: list[Op] = []
    monkeypatch.setattr("nkigen_lite.nki_ir.watched._reads", lambda op, _: ran.append(op) or ())
    orders = []
    for seed in (*range(9), *range(9)):
        ran.clear()
        run_checked(kernel, feed_of(kernel), allocation, seed)
        orders.append(tuple(ran))
    assert orders[:9] == orders[9:]
    assert len(set(orders)) > 3


def test_a_product_is_read_back_only_where_it_is_added_to() -> None:
    b = Builder("k")
    x, y = b.add_input("x", (4, 4), F32), b.add_input("y", (4, 4), F32)
    tile, acc = b.alloc((4, 4), F32, name="tile"), b.alloc((4, 4), F32, PSUM, name="acc")
    b.dma_copy(tile, x)
    b.fori_loop("k", 3, 1, lambda b, k: b.matmul(acc, tile, tile, k))
    copy = b.alloc((4, 4), F32, name="copy")
    b.tensor_copy(copy, acc)
    b.dma_copy(y, copy)
    b.set_outputs({"y": y})
    assert_runs_alike(b.graph, feed_of(b.graph), allocate(b.graph, LIMITS), orders=3)
    (product,) = [op for op in b.graph.walk() if op.opcode == "matmul"]
    del product.inputs[3:]
    product.attrs["accumulate"] = True
    with pytest.raises(MemoryFault, match=r"matmul: bytes 0 to 15 .* %acc copy 0.* never written"):
        run_checked(b.graph, feed_of(b.graph), allocate(b.graph, LIMITS))


def test_inputs_are_not_written_to() -> None:
    kernel = two_in_turn()
    feed = {**feed_of(kernel), "y": np.zeros((4, 8), np.float32)}
    found = run_checked(kernel, feed, allocate(kernel, LIMITS))
    assert found["y"].any()
    assert not feed["y"].any()


# --- faults in program order ---------------------------------------------------------------------


def test_live_buffers_that_overlap_are_found() -> None:
    kernel = two_in_turn()
    allocation = allocate(kernel, LIMITS)
    wrong = moved(allocation, "second_copy", place(allocation, "first_copy").offsets[0] + 8)
    with pytest.raises(
        MemoryFault,
        match=r"tensor_tensor_arith: bytes \d+ to \d+ of partitions 0 to 3 of sbuf, part of "
        r"%first_copy copy 0, hold what was written to %second_copy copy 0",
    ):
        run_checked(kernel, feed_of(kernel), wrong)


def test_a_lifetime_that_is_too_short_is_found() -> None:
    short, kernel = two_in_turn(), two_in_turn()
    ops = short.ops
    free = next(op for op in ops if op.opcode == "dealloc" and op.inputs[0].name == "first_copy")
    ops.remove(free)
    copied = next(op for op in ops if op.opcode == "tensor_copy")
    ops.insert(ops.index(copied) + 1, free)
    with pytest.raises(MemoryFault, match="%first_copy copy 0, hold what was written to %second"):
        run_checked(kernel, feed_of(kernel), tightly(short))


def test_a_read_of_bytes_that_were_never_written_names_them_and_the_line() -> None:
    b = Builder("k")
    x, y = b.add_input("x", (4, 8), F32), b.add_input("y", (4, 8), F32)
    tile = b.alloc((4, 8), F32, name="tile")
    b.dma_copy(b.slice(tile, [ds(0, 4), ds(0, 6)]), b.slice(x, [ds(0, 4), ds(0, 6)]))
    b.dma_copy(y, tile)
    b.graph.ops[-1].loc = Location("model.py", 7)
    b.set_outputs({"y": y})
    with pytest.raises(MemoryFault) as caught:
        run_checked(b.graph, feed_of(b.graph), allocate(b.graph, LIMITS))
    assert str(caught.value) == (
        "dma_copy: bytes 24 to 31 of partitions 0 to 3 of sbuf, part of %tile copy 0, are read "
        "but were never written\n  at model.py:7"
    )


def test_contents_of_the_trip_before_are_not_there_any_more() -> None:
    b = Builder("k")
    x, y = b.add_input("x", (4, 8), F32), b.add_input("y", (4, 8), F32)
    tiles = []

    def body(b: Builder, i: object) -> None:
        tiles.append(b.alloc((4, 8), F32, name="tile"))
        b.dma_copy(y, tiles[0])
        b.dma_copy(tiles[0], x)

    b.fori_loop("i", 2, 1, body)
    b.set_outputs({"y": y})
    with pytest.raises(MemoryFault, match="%tile copy 0, are read but were never written"):
        run_checked(b.graph, feed_of(b.graph), allocate(b.graph, LIMITS))


def test_a_buffer_in_hbm_has_to_be_written_before_it_is_read() -> None:
    b = Builder("k")
    y, between = b.add_input("y", (4, 8), F32), b.alloc((4, 8), F32, "hbm", name="between")
    b.dma_copy(y, between)
    b.set_outputs({"y": y})
    with pytest.raises(MemoryFault, match="of hbm, part of %between, are read but were never"):
        run_checked(b.graph, {}, allocate(b.graph, LIMITS))


def test_an_output_has_to_be_written_in_full() -> None:
    b = Builder("k")
    x, y = b.add_input("x", (4, 8), F32), b.add_input("y", (4, 8), F32)
    tile = b.alloc((4, 8), F32, name="tile")
    b.dma_copy(tile, x)
    rows = [ds(0, 3), ds(0, 8)]
    b.dma_copy(b.slice(y, rows), b.slice(tile, rows))
    b.set_outputs({"y": y})
    with pytest.raises(MemoryFault, match="output y: bytes 96 to 127 of %y were never written"):
        run_checked(b.graph, feed_of(b.graph), allocate(b.graph, LIMITS))


def test_use_after_dealloc_is_found() -> None:
    kernel = two_in_turn()
    allocation = allocate(kernel, LIMITS)
    free = next(op for op in kernel.ops if op.opcode == "dealloc")
    kernel.ops.remove(free)
    load = next(op for op in kernel.ops if op.opcode == "dma_copy")
    kernel.ops.insert(kernel.ops.index(load) + 1, free)
    with pytest.raises(MemoryFault, match=r"tensor_copy: %first copy 0 is used after its dealloc"):
        run_checked(kernel, feed_of(kernel), allocation)


def test_bytes_of_narrow_elements_are_told_apart() -> None:
    b = Builder("k")
    y = b.add_input("y", (4, 3), DType.U8)
    tile = b.alloc((4, 3), DType.U8, name="tile")
    b.memset(b.slice(tile, [ds(0, 4), ds(0, 3, 1)]), value=1)
    b.graph.ops[-1].set_input(0, b.slice(tile, [ds(0, 4), ds(0, 2, 2)]))
    b.graph.ops.append(b.graph.ops.pop(-2))  # the view comes first
    b.dma_copy(y, tile)
    b.set_outputs({"y": y})
    with pytest.raises(MemoryFault, match="bytes 1 to 1 of partitions 0 to 3 of sbuf"):
        run_checked(b.graph, {}, allocate(b.graph, LIMITS))


def test_an_array_of_another_shape_is_refused() -> None:
    kernel = pipeline()
    with pytest.raises(InvalidInput, match=r"run_checked: x is \(2, 2\) float32 but must be"):
        run_checked(kernel, {"x": np.zeros((2, 2), np.float32)}, allocate(kernel, LIMITS))


def test_the_allocation_of_another_kernel_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"allocation: of @in_turn, has Place\(name='first'"):
        run_checked(pipeline(), {}, allocate(two_in_turn(), LIMITS))


# --- faults in other orders only -----------------------------------------------------------------


def test_a_hazard_that_is_left_out_is_found() -> None:
    kernel = two_in_turn()
    allocation = sharing(kernel, "first", "second")
    assert [str(h) for h in allocation.hazards] == ["%first copy 0 -> %second copy 0"]
    assert not faults(kernel, allocation)
    without = replace(allocation, hazards=())
    run_checked(kernel, feed_of(kernel), without)
    found = faults(kernel, without)
    assert any("%first copy 0, hold what was written to %second" in text for text in found)


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_hazard_between_trips_of_a_loop_is_as_needed_as_one_within(left_out: int) -> None:
    kernel = in_turn_in_a_loop()
    allocation = sharing(kernel, "first", "second")
    assert [str(h) for h in allocation.hazards] == [
        "%second copy 0 -> %first copy 0",
        "%first copy 0 -> %second copy 0",
    ]
    assert not faults(kernel, allocation)
    kept = (allocation.hazards[1 - left_out],)
    assert faults(kernel, replace(allocation, hazards=kept))


def test_copies_at_the_same_bytes_are_too_few() -> None:
    kernel = pipeline(copies=2)
    allocation = allocate(kernel, LIMITS)
    assert not faults(kernel, allocation)
    first = place(allocation, "tile").offsets[0]
    found = faults(kernel, moved(allocation, "tile", first, first))
    assert any("part of %tile copy" in text for text in found)


def test_a_dependency_that_the_simulator_does_not_see_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = pipeline()
    allocation = allocate(kernel, LIMITS)
    step = Translation.step

    def forgetful(self: Translation, op: Op) -> Step:
        made = step(self, op)
        return replace(made, reads=()) if op.opcode == "tensor_copy" else made

    monkeypatch.setattr(Translation, "step", forgetful)
    run_checked(kernel, feed_of(kernel), allocation)
    assert any(text.startswith("tensor_copy: ") for text in faults(kernel, allocation))


def test_stores_of_the_same_bytes_that_nothing_orders_differ_in_some_order() -> None:
    b = Builder("k")
    y = b.add_input("y", (1, 4), F32)
    for value in (1.0, 2.0):
        tile = b.alloc((1, 4), F32, name="tile")
        b.memset(tile, value=value)
        b.dma_copy(y, tile)
    b.set_outputs({"y": y})
    insert_deallocs(b.graph)
    allocation = allocate(b.graph, LIMITS)
    seen = {float(run_checked(b.graph, {}, allocation, seed)["y"][0, 0]) for seed in SEEDS}
    assert seen == {1.0, 2.0}
