"""Buffers whose copies rotate: what they mean, how each back end writes them, and what they let
overlap."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from allocations import F32, LIMITS, PSUM, ROWS, assert_runs_alike, feed_of, moved, tightly
from emit_agreement import assert_agrees, assert_legal
from nki_stand_in import run_emitted
from test_emit_to_kb import assert_agrees as assert_kb_agrees

from cost_models import load_target
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.core.parser import parse
from nkigen_lite.core.structure import structurally_equal
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, insert_deallocs, run
from nkigen_lite.nki_ir.allocation import places_of
from nkigen_lite.nki_ir.emit_nki import emit_nki
from nkigen_lite.nki_ir.hazards import hazards_of
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.simulate import simulate_kernel
from nkigen_lite.nki_ir.types import affine
from nkigen_lite.nki_ir.verify import problems
from nkigen_lite.tensor_ir.passes.layout_solver.addresses import allocate

FORMS = [(2, 1), (3, 2), (4, 3)]


def shifted(
    copies: int = 2, by: int = 1, trips: int = 5, step: int = 1, size: int = 8, outer: int = 1
) -> Graph:
    """Rows are loaded ``by`` trips before they are copied and stored, ``outer`` times over."""
    b = Builder("shifted")
    count = trips + by
    x, y = (b.add_input(n, (outer * count * ROWS, size), F32) for n in ("x", "y_out"))
    tile = b.alloc((ROWS, size), F32, MemorySpace.SBUF, copies, name="tile")

    def load(base: Value, row: object) -> None:
        b.dma_copy(tile, b.slice(base, [ds(row, ROWS), ds(0, size)]))  # type: ignore[arg-type]

    def store(row: object, source: Value) -> None:
        copy = b.alloc((ROWS, size), F32, MemorySpace.SBUF, copies, name="copy")
        b.tensor_copy(copy, source)
        b.dma_copy(b.slice(y, [ds(row, ROWS), ds(0, size)]), copy)  # type: ignore[arg-type]

    def whole(b: Builder, o: Value | None) -> None:
        first = affine(o) * (count * ROWS) if o is not None else affine(0)
        for k in range(by):
            b.rotate(tile)
            load(x, first + k * ROWS)

        def body(b: Builder, i: Value) -> None:
            at = affine(i) * (ROWS // step) if step > 1 else affine(i) * ROWS
            b.rotate(tile)
            load(x, first + at + by * ROWS)
            store(first + at, b.previous(tile, by))

        b.fori_loop("i", trips * step, step, body)
        for k in range(by):
            store(first + (trips + k) * ROWS, b.previous(tile, by - 1 - k))

    if outer == 1:
        whole(b, None)
    else:
        b.fori_loop("o", outer, 1, whole)
    b.set_outputs({"y": y})
    insert_deallocs(b.graph)
    return b.graph


def sentences(b: Builder) -> list[str]:
    return problems(b.graph, LIMITS)


# --- rows ----------------------------------------------------------------------------------------


def test_a_tile_in_hbm_does_not_rotate() -> None:
    b = Builder("k")
    x = b.add_input("x", (4, 4), F32)
    with pytest.raises(InvalidOp, match="rotate: operand 0 is in hbm but must be in psum or sbuf"):
        b.rotate(x)
    with pytest.raises(InvalidOp, match="previous: operand 0 is in hbm"):
        b.previous(x)


@pytest.mark.parametrize("by", [0, -1])
def test_a_copy_before_is_at_least_one_rotation_ago(by: int) -> None:
    b = Builder("k")
    tile = b.alloc((4, 4), F32, num_buffers=2)
    with pytest.raises(InvalidOp, match=f"previous: by is {by} but must be at least 1"):
        b.emit("previous", [tile], by=by)


@pytest.mark.parametrize(("copies", "by"), FORMS)
def test_kernel_prints_and_parses_back(copies: int, by: int) -> None:
    graph = shifted(copies, by)
    parsed = parse(graph.dump(), NKI)
    assert structurally_equal(graph, parsed)
    assert parsed.dump() == graph.dump()


# --- meaning -------------------------------------------------------------------------------------


def given(graph: Graph) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    feed = feed_of(graph)
    return {**feed, "y_out": np.zeros_like(feed["x"])}


@pytest.mark.parametrize(("copies", "by"), FORMS)
@pytest.mark.parametrize("outer", [1, 3])
def test_an_iteration_reads_what_an_earlier_one_loaded(copies: int, by: int, outer: int) -> None:
    graph = shifted(copies, by, outer=outer)
    feed = given(graph)
    np.testing.assert_array_equal(run(graph, feed)["y"], feed["x"])


def test_nothing_is_in_the_next_copy() -> None:
    b = Builder("k")
    y = b.add_input("y_out", (4, 4), F32)
    tile = b.alloc((4, 4), F32, num_buffers=2)
    b.memset(tile, value=1.0)
    b.rotate(tile)
    b.dma_copy(y, tile)
    b.set_outputs({"y": y})
    assert np.isnan(run(b.graph, {"y_out": np.zeros((4, 4), np.float32)})["y"]).all()


def test_a_buffer_lives_until_its_last_copy_is_read() -> None:
    graph = shifted(3, 2)
    ops = [f"{op.opcode} {op.inputs[0].name}" if op.inputs else op.opcode for op in graph.ops]
    assert ops.index("dealloc tile") > max(k for k, op in enumerate(ops) if op == "previous tile")


# --- verify --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("copies", "by"), FORMS)
def test_legal_rotations_pass(copies: int, by: int) -> None:
    assert problems(shifted(copies, by), LIMITS) == []


def test_a_single_buffer_does_not_rotate() -> None:
    b = Builder("k")
    b.rotate(b.alloc((4, 4), F32, name="tile"))
    assert sentences(b) == ["rotate: %tile has 1 copies but must have more than 1"]


def test_a_copy_that_is_gone_is_not_read() -> None:
    b = Builder("k")
    b.previous(b.alloc((4, 4), F32, num_buffers=2, name="tile"), 2)
    assert sentences(b) == ["previous: %tile has 2 copies but must have more than 2"]


def test_a_view_does_not_rotate() -> None:
    b = Builder("k")
    part = b.slice(b.alloc((4, 4), F32, num_buffers=2), [ds(0, 4), ds(0, 2)])
    b.rotate(part)
    assert sentences(b) == [f"rotate: %{part.name} is not a buffer that the kernel allocates"]


def test_a_buffer_from_outside_does_not_rotate_where_run_time_decides() -> None:
    b = Builder("k")
    tile = b.alloc((4, 4), F32, num_buffers=2, name="tile")
    b.dynamic_loop("i", b.register_alloc(3), lambda b, i: b.rotate(tile))
    assert sentences(b) == [
        "rotate: %tile rotates in dynamic_loop, which may run any number of times, but must be "
        "allocated in there"
    ]


def test_a_buffer_rotates_in_the_region_where_it_is_allocated() -> None:
    b = Builder("k")

    def body(b: Builder, i: Value) -> None:
        tile = b.alloc((4, 4), F32, num_buffers=2)
        b.fori_loop("k", 3, 1, lambda b, k: b.rotate(tile))

    b.dynamic_loop("i", b.register_alloc(3), body)
    assert sentences(b) == []


# --- back ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("copies", "by"), FORMS)
@pytest.mark.parametrize("outer", [1, 3])
def test_emitted_kernel_renames_copies(copies: int, by: int, outer: int) -> None:
    graph = shifted(copies, by, outer=outer)
    text = assert_agrees(graph)
    assert "tile_before = tile\n" in text
    assert text.count("tile_before2 = tile_before\n") == (by + 1 if by > 1 else 0)


def addresses(graph: Graph) -> dict[Op, tuple[int, ...]]:
    """Every tile after the one before it, all copies side by side."""
    found, at = {}, 0
    for op in graph.walk():
        if op.opcode == "alloc":
            size, copies = op.result.type.partition_bytes, op.attrs["num_buffers"]
            found[op] = tuple(at + size * copy for copy in range(copies))
            at += copies * size
    return found


@pytest.mark.parametrize(("copies", "by"), FORMS)
@pytest.mark.parametrize(("outer", "step"), [(1, 1), (1, 2), (3, 1), (2, 4)])
def test_copies_at_fixed_addresses_are_apart(copies: int, by: int, outer: int, step: int) -> None:
    graph = shifted(copies, by, outer=outer, step=step)
    text = emit_nki(graph, addresses=addresses(graph))
    assert_legal(text)
    feed = feed_of(graph)
    (made,) = run_emitted(text, [feed["x"]])
    np.testing.assert_array_equal(made, feed["x"])


def test_the_checker_finds_copies_that_share_bytes() -> None:
    graph = shifted(2, 1)
    text = emit_nki(graph, addresses=addresses(graph))
    same = re.sub(r"\([^)]*\) % 2 \* 32", "0", text)
    assert same != text
    with pytest.raises(AssertionError):
        assert_legal(same)


@pytest.mark.parametrize(("copies", "by"), FORMS)
@pytest.mark.parametrize("outer", [1, 3])
def test_kernel_builder_turns_copies_and_releases_them(copies: int, by: int, outer: int) -> None:
    builder = assert_kb_agrees(shifted(copies, by, outer=outer))
    assert builder.compiler.live == []


# --- time and memory -----------------------------------------------------------------------------


def test_more_copies_let_more_iterations_overlap() -> None:
    target = load_target("trn2")
    times = [
        simulate_kernel(shifted(copies, trips=40, size=64), target).time_ns for copies in (2, 3, 4)
    ]
    assert times[0] > 1.2 * times[1] > 1.2 * 1.1 * times[2]


@pytest.mark.parametrize(("copies", "by"), FORMS)
@pytest.mark.parametrize("outer", [1, 3])
def test_copies_keep_their_bytes_in_any_order(copies: int, by: int, outer: int) -> None:
    kernel = shifted(copies, by, outer=outer)
    for allocation in (allocate(kernel, LIMITS), tightly(kernel)):
        assert_runs_alike(kernel, feed_of(kernel), allocation, orders=8)


def before_and_after() -> Graph:
    """A tile is stored and freed before a rotating one is made, which ends in its second copy."""
    b = Builder("k")
    x, y = b.add_input("x", (2 * ROWS, 8), F32), b.add_input("y", (2 * ROWS, 8), F32)
    rows = [[ds(k * ROWS, ROWS), ds(0, 8)] for k in range(2)]
    first = b.alloc((ROWS, 8), F32, name="first")
    b.dma_copy(first, b.slice(x, rows[0]))
    b.dma_copy(b.slice(y, rows[0]), first)
    b.dealloc(first)
    tile = b.alloc((ROWS, 8), F32, num_buffers=2, name="tile")
    b.memset(tile, value=0.0)
    b.rotate(tile)
    b.memset(tile, value=2.0)
    b.tensor_tensor_arith(tile, tile, b.previous(tile), op="add")
    b.dma_copy(b.slice(y, rows[1]), tile)
    b.set_outputs({"y": y})
    insert_deallocs(b.graph)
    return b.graph


@pytest.mark.parametrize("copy", [0, 1])
def test_whoever_writes_a_copy_first_waits_for_what_lay_in_its_bytes(copy: int) -> None:
    kernel = before_and_after()
    made = moved(allocate(kernel, LIMITS), "first", 1024)
    made = moved(made, "tile", *((2048, 1024) if copy else (1024, 2048)))
    made = replace(made, hazards=hazards_of(kernel, places_of(kernel, made)))
    assert ("first", 0, "tile", copy) in [
        (h.old, h.old_copy, h.new, h.new_copy) for h in made.hazards
    ]
    assert_runs_alike(kernel, feed_of(kernel), made, orders=20)


def test_psum_tiles_rotate_too() -> None:
    b = Builder("k")
    tile = b.alloc((4, 4), F32, PSUM, 2)
    b.rotate(tile)
    assert sentences(b) == []
