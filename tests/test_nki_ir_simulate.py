"""A kernel as an instruction stream: who runs what, which tiles it needs, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from allocations import LIMITS, sharing, two_in_turn
from tile_ops import BF16, CASES, F32, IDS, PSUM, Tile, Wanted, build

from cost_models import load_target
from cost_models.simulate import Fresh, Item, Loop, Step, Use
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir import Builder, DType, MemorySpace, ds, ts
from nkigen_lite.nki_ir.simulate import program_of, simulate_kernel
from nkigen_lite.tensor_ir.passes.layout_solver.addresses import allocate

TRN2 = load_target("trn2")
HBM = MemorySpace.HBM
READS_ITS_DESTINATION = {"copy_predicated", "stream_shuffle", "nonzero_with_count"}
# Where the second destination is, if the op has one.
WRITES_ALSO = {
    "activation_reduce": 1,
    "activation_accumulate": 1,
    "tensor_scalar_reduce": 1,
    "select_reduce": 1,
    "range_select": 4,
    "match_replace8": 3,
}


def names(uses: Sequence[Use]) -> list[str]:
    return [use.buffer.name for use in uses]


def steps(items: Sequence[Item]) -> list[Step]:
    """All steps, those of loops once."""
    found: list[Step] = []
    for item in items:
        if isinstance(item, Loop):
            found += steps(item.body)
        elif isinstance(item, Step):
            found.append(item)
    return found


def cells(use: Use) -> set[int]:
    return {use.start + offset for offset in use.offsets}


@pytest.mark.parametrize(("key", "tiles", "attrs", "_wanted"), CASES, ids=IDS)
def test_an_instruction_reads_its_sources_and_writes_its_destination(
    key: tuple[str, str], tiles: list[Tile], attrs: dict[str, Any], _wanted: Wanted
) -> None:
    b = Builder("k")
    op = build(b, key, tiles, attrs)
    (step,) = steps(program_of(b.graph))
    operands = [v.name for v in op.inputs]
    also = WRITES_ALSO.get(key[0], len(operands))
    written = [operands[0], *operands[also : also + 1]]
    assert step.engine == key[1]
    assert names(step.writes) == written
    # A matmul keeps its own order in PSUM, and its stationary operand comes first.
    kept = operands[:1] if key[0] in READS_ITS_DESTINATION else []
    kept += operands[1:2] if key[0] == "activation_accumulate" else []
    assert names(step.reads) == kept + [name for name in operands if name not in written]


def test_a_matmul_that_accumulates_over_a_loop_does_not_read_what_it_adds_to() -> None:
    b = Builder("k")
    acc = b.alloc((128, 512), F32, PSUM, name="acc")
    left, right = b.alloc((128, 128), BF16, name="l"), b.alloc((128, 512), BF16, name="r")
    b.fori_loop("k", 8, 1, lambda b, k: b.matmul(acc, left, right, k))
    (loop,) = program_of(b.graph)
    assert isinstance(loop, Loop)
    assert loop.trips == 8
    (step,) = steps([loop])
    assert (names(step.reads), names(step.writes)) == (["l", "r"], ["acc"])


def test_a_transfer_has_its_trigger_its_tensor_and_a_label() -> None:
    b = Builder("k")
    x, y = b.add_input("x", (128, 64)), b.add_input("y", (128, 64))
    tile = b.alloc((128, 64), F32, name="t")
    b.dma_copy(tile, x)
    b.dma_copy(y, tile)
    b.dma_copy(y, x)
    made = steps(program_of(b.graph))
    assert [(s.engine, s.tensor, s.label) for s in made] == [
        ("sync", "x", "load x"),
        ("scalar", "y", "store y"),
        ("sync", "x", "copy x"),
    ]


def test_a_tensor_in_hbm_that_is_only_read_or_only_written_holds_nothing_up() -> None:
    b = Builder("k")
    x, y = b.add_input("x", (128, 64)), b.add_input("y", (128, 64))
    tile = b.alloc((128, 64), F32, name="t")
    b.dma_copy(tile, x)
    b.dma_copy(y, tile)
    load, store = steps(program_of(b.graph))
    assert (names(load.reads), names(load.writes)) == ([], ["t"])
    assert (names(store.reads), names(store.writes)) == (["t"], [])


def scratch_kernel(rows: int = 128, again: int = 0) -> Builder:
    """A tile is stored in HBM, and 128 rows from ``again`` on are loaded from there."""
    b = Builder("k")
    scratch = b.alloc((rows, 64), F32, HBM, name="scratch")
    one, two = b.alloc((128, 64), F32, name="one"), b.alloc((128, 64), F32, name="two")
    b.memset(one, value=1.0)
    b.dma_copy(b.slice(scratch, [ds(0, 128), ds(0, 64)]), one)
    b.dma_copy(two, b.slice(scratch, [ds(again, 128), ds(0, 64)]))
    b.tensor_copy(one, two)
    return b


def test_what_is_loaded_from_hbm_has_been_stored_there_before() -> None:
    graph = scratch_kernel().graph
    _, store, load, _ = steps(program_of(graph))
    assert (names(store.writes), names(load.reads)) == (["scratch"], ["scratch"])
    made = simulate_kernel(graph, TRN2, record=100)
    stored, loaded = (e for e in made.events if e.unit == "dma")
    assert stored.label == "store scratch"
    assert loaded.start_ns > stored.end_ns + TRN2.dma.completion_ns
    assert "data from dma" in made.engines["sync"].waits_ns


def test_a_load_of_other_rows_of_hbm_does_not_wait_for_the_store() -> None:
    graph = scratch_kernel(rows=256, again=128).graph
    _, store, load, _ = steps(program_of(graph))
    assert not cells(store.writes[0]) & cells(load.reads[0])
    made = simulate_kernel(graph, TRN2)
    assert not made.engines["sync"].waits_ns


def test_what_is_overwritten_in_hbm_has_been_loaded_before() -> None:
    b = Builder("k")
    x, tile = b.add_input("x", (128, 64)), b.alloc((128, 64), F32, name="t")
    other = b.alloc((128, 64), F32, name="other")
    b.dma_copy(tile, x)
    b.dma_copy(x, other)
    load, store = steps(program_of(b.graph))
    assert (names(load.reads), names(store.writes)) == (["x"], ["x"])
    waits = simulate_kernel(b.graph, TRN2).engines["scalar"].waits_ns
    assert waits.keys() == {"buffer from dma"}


def test_copies_under_a_predicate_wait_for_what_they_leave_as_it_is() -> None:
    b = Builder("k")
    dst, src = b.alloc((128, 512), F32), b.alloc((128, 512), F32)
    mask = b.alloc((128, 512), DType.U8)
    b.dma_copy(dst, b.add_input("x", (128, 512)))
    b.copy_predicated(dst, mask, src)
    waits = simulate_kernel(b.graph, TRN2).engines["vector"].waits_ns
    assert waits.keys() == {"data from dma"}


def test_tiles_that_are_only_read_are_not_waited_for_by_other_readers() -> None:
    b = Builder("k")
    x, y, z = (b.alloc((128, 512), F32, name=name) for name in "xyz")
    b.tensor_copy(y, x)
    b.tensor_copy(z, x, engine="scalar")
    made = simulate_kernel(b.graph, TRN2)
    assert not made.engines["scalar"].waits_ns


def test_a_buffer_with_copies_takes_the_next_one_where_it_is_allocated() -> None:
    b = Builder("k")

    def body(b: Builder, i: Value) -> None:
        tile = b.alloc((128, 64), F32, num_buffers=3, name="t")
        b.alloc((128, 64), F32, name="single")
        b.memset(tile, value=0.0)

    b.fori_loop("i", 6, 2, body)
    (loop,) = program_of(b.graph)
    assert isinstance(loop, Loop)
    assert loop.trips == 3
    fresh, step = loop.body
    assert isinstance(fresh, Fresh)
    assert isinstance(step, Step)
    assert (fresh.buffer.name, fresh.buffer.copies) == ("t", 3)
    assert step.writes[0].buffer is fresh.buffer


def test_slices_that_move_with_a_loop_are_told_apart_whatever_its_step() -> None:
    b = Builder("k")
    x = b.alloc((128, 4096), F32, name="x")
    y = b.alloc((128, 512), F32, name="y")
    b.fori_loop(
        "i", 4096, 512, lambda b, i: b.memset(b.slice(x, [ds(0, 128), ds(i, 512)]), value=0.0)
    )
    b.fori_loop("j", 8, 1, lambda b, j: b.tensor_copy(y, b.slice(x, [ds(0, 128), ts(j, 512)])))
    fill, read = program_of(b.graph)
    assert isinstance(fill, Loop)
    assert isinstance(read, Loop)
    for loop, use in ((fill, steps([fill])[0].writes[0]), (read, steps([read])[0].reads[0])):
        assert use.buffer.cells == 8
        assert (use.start, use.terms, use.offsets) == (0, ((loop.index, 1),), (0,))


def test_an_allocation_makes_buffers_wait_for_those_whose_bytes_they_take_over() -> None:
    kernel = two_in_turn()
    roomy, tight = allocate(kernel, LIMITS), sharing(kernel, "first", "second")
    assert not any(isinstance(item, Fresh) for item in program_of(kernel, roomy))
    (fresh,) = [item for item in program_of(kernel, tight) if isinstance(item, Fresh)]
    ((held,),) = fresh.held
    assert (held.buffer.name, fresh.buffer.name) == ("first", "second")
    assert held.cells == ((0, 0),)
    apart, together = (simulate_kernel(kernel, TRN2, a).time_ns for a in (roomy, tight))
    assert apart == simulate_kernel(kernel, TRN2).time_ns < together
