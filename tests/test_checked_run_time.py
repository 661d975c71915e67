"""Checked runs of what run time decides: registers, loops of unknown length, branches, ranks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from allocations import F32, LIMITS, ROWS, tightly
from test_nki_ir_control import Rows, X, branch, counting_down, dynamic

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.errors import InvalidInput, MemoryFault
from nkigen_lite.nki_ir import Builder, ds, insert_deallocs, run
from nkigen_lite.nki_ir.checked import run_checked
from nkigen_lite.tensor_ir.passes.layout_solver.addresses import allocate


def assert_runs_alike(graph: Graph, held: int, orders: int = 12) -> None:
    insert_deallocs(graph)
    feed = {"x": X.copy(), "word": np.full((1, 1), held, np.int32)}
    wanted = run(graph, {**feed, "y_out": np.zeros_like(X)})["y"]
    for allocation in (allocate(graph, LIMITS), tightly(graph)):
        for order in ("program", *range(orders)):
            made = run_checked(graph, feed, allocation, order)["y"]
            np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("held", [0, 1, 5])
@pytest.mark.parametrize("step", [1, 3])
def test_a_dynamic_loop_runs_in_any_order(held: int, step: int) -> None:
    assert_runs_alike(dynamic(step).graph, held)


@pytest.mark.parametrize("held", [0, 1, 7])
def test_a_while_loop_runs_in_any_order(held: int) -> None:
    assert_runs_alike(counting_down().graph, held)


@pytest.mark.parametrize("held", [0, 1])
@pytest.mark.parametrize("likely", ["then", "otherwise"])
def test_branches_run_in_any_order_whichever_is_likely(held: int, likely: str) -> None:
    assert_runs_alike(branch(likely=likely).graph, held)


def test_a_branch_needs_zero_or_one() -> None:
    graph = branch().graph
    feed = {"x": X, "word": np.full((1, 1), 2, np.int32)}
    with pytest.raises(InvalidInput, match="%held holds 2 but must hold 0 or 1"):
        run_checked(graph, feed, allocate(graph, LIMITS))


def test_a_while_loop_without_end_is_given_up() -> None:
    b = Rows()
    b.while_loop("forever", b.register, lambda b: b.fill(1.0), most_trips=10)
    feed = {"x": X, "word": np.ones((1, 1), np.int32)}
    with pytest.raises(InvalidInput, match="more than 10 trips"):
        run_checked(b.graph, feed, allocate(b.graph, LIMITS))


def test_a_register_does_not_take_a_word_that_nothing_wrote() -> None:
    b = Builder("k")
    b.register_load(b.register_alloc(), b.alloc((1, 1), DType.I32, name="word"))
    b.set_outputs({"y": b.add_input("y", (1, 1), F32)})
    with pytest.raises(MemoryFault, match="%word copy 0, are read but were never"):
        run_checked(b.graph, {"y": np.zeros((1, 1), np.float32)}, allocate(b.graph, LIMITS))


def written_in_turn(repeat: Callable[[Builder, Callable[[Builder], None]], object]) -> Graph:
    """In a region one tile is loaded, stored and freed, then another; all of it is repeated."""
    b = Builder("k")
    x, y = (b.add_input(n, (2 * ROWS, 8), F32) for n in "xy")
    first = b.alloc((2 * ROWS, 8), F32)
    b.dma_copy(first, x)
    b.dma_copy(y, first)

    def body(b: Builder) -> None:
        for k in range(2):
            rows = [ds(k * ROWS, ROWS), ds(0, 8)]
            tile = b.alloc((ROWS, 8), F32, num_buffers=2)
            b.dma_copy(tile, b.slice(x, rows))
            b.dma_copy(b.slice(y, rows), tile)
            b.dealloc(tile)

    repeat(b, body)
    b.set_outputs({"y": y})
    insert_deallocs(b.graph)
    return b.graph


def _dynamic(b: Builder, body: Callable[[Builder], None]) -> None:
    def ignoring_its_index(b: Builder, i: Value) -> None:
        body(b)

    b.dynamic_loop("i", b.register_alloc(4), ignoring_its_index)


def test_what_may_run_any_number_of_times_leaves_hazards_to_itself_and_what_comes_before() -> None:
    kernel = written_in_turn(_dynamic)
    allocation = tightly(kernel)
    feed = {"x": np.arange(64, dtype=np.float32).reshape(8, 8)}
    for order in range(20):
        made = run_checked(kernel, feed, allocation, order)["y"]
        np.testing.assert_array_equal(made, feed["x"])
    inside = {p.name for p in allocation.places if len(p.offsets) > 1}
    followed = {h.old for h in allocation.hazards if h.new in inside}
    assert followed == {place.name for place in allocation.places}
