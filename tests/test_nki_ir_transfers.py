"""DMA transposes, gathers and scatters: meaning, emitted code, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from emit_agreement import assert_agrees

from cost_models import Transfer, dma_price, load_target
from nkigen_lite.core.dtypes import DType, round_to
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.errors import InvalidInput, NotSupported
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, run
from nkigen_lite.nki_ir.access import Accesses
from nkigen_lite.nki_ir.emit_nki import emit_nki
from nkigen_lite.nki_ir.simulate import simulate_kernel
from nkigen_lite.nki_ir.types import affine
from nkigen_lite.nki_ir.work import transfer, trigger

F32, BF16, I32, U32 = DType.F32, DType.BF16, DType.I32, DType.U32
TRN2 = load_target("trn2")
Array = np.ndarray[Any, np.dtype[Any]]


def stored(b: Builder, tile: Value) -> Graph:
    out = b.add_input("y_out", tile.type.shape, tile.type.dtype)
    b.dma_copy(out, tile)
    b.set_outputs({"y": out})
    return b.graph


def loaded(b: Builder, name: str, shape: tuple[int, ...], dtype: DType = F32) -> Value:
    return b.dma_copy(b.alloc(shape, dtype), b.add_input(name, shape, dtype))


def result(graph: Graph, **inputs: Array) -> Array:
    """The emitted kernel agrees, and this is what it gives."""
    assert_agrees(graph, inputs)
    kind = graph.outputs["y"].type
    buffer = np.zeros(kind.shape, kind.dtype.np)
    return run(graph, {**{k: v.copy() for k, v in inputs.items()}, "y_out": buffer})["y"]


# --- conversions


@pytest.mark.parametrize(
    ("dtype", "into"), [(F32, BF16), (BF16, F32), (I32, F32), (F32, DType.I8), (I32, BF16)]
)
@pytest.mark.parametrize("engine", ["dma", "gpsimd"])
def test_a_copy_converts_through_f32(dtype: DType, into: DType, engine: str) -> None:
    b = Builder("k")
    x, tile = b.add_input("x", (4, 6), dtype), b.alloc((4, 6), into)
    b.dma_copy(tile, x, engine=engine)
    values = np.linspace(-300, 300, 24).reshape(4, 6).astype(dtype.np)
    wanted = round_to(values.astype(np.float32), into)
    np.testing.assert_array_equal(result(stored(b, tile), x=values), wanted)


def test_a_copy_that_converts_is_counted_in_the_wider_type_and_triggered_by_gpsimd() -> None:
    b = Builder("k")
    b.dma_copy(b.alloc((96, 40), BF16), b.add_input("x", (96, 40), F32))
    op = b.graph.ops[-1]
    found = transfer(op, Accesses())
    assert found == Transfer("load", 96, 160, 96, cast=True)
    assert trigger(op) == "gpsimd"
    assert (
        dma_price(TRN2, found).transfer_ns > dma_price(TRN2, replace(found, cast=False)).transfer_ns
    )


# --- transposes


@pytest.mark.parametrize("shape", [(16, 24), (4, 3, 20), (2, 3, 4, 20)])
@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("memory", ["hbm", "sbuf"])
def test_dma_transposes_reverse_the_outer_dimensions(
    shape: tuple[int, ...], dtype: DType, memory: str
) -> None:
    b = Builder("k")
    src = b.add_input("x", shape, dtype) if memory == "hbm" else loaded(b, "x", shape, dtype)
    axes = {2: (1, 0), 3: (2, 1, 0), 4: (3, 1, 2, 0)}[len(shape)]
    dst = b.alloc(tuple(shape[a] for a in axes), dtype)
    graph = stored(b, b.dma_transpose(dst, src))
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype.np)
    np.testing.assert_array_equal(result(graph, x=x), x.transpose(axes))


def test_a_dma_transpose_counts_the_runs_of_its_source() -> None:
    b = Builder("k")
    b.dma_transpose(b.alloc((64, 128), BF16), b.add_input("x", (128, 64), BF16))
    found = transfer(b.graph.ops[-1], Accesses())
    assert found == Transfer("load", 128, 128, rows=64, transpose=True, elem_bytes=2)
    plain = Transfer("load", 128, 128, rows=64)
    assert dma_price(TRN2, found).transfer_ns > dma_price(TRN2, plain).transfer_ns


def test_a_dma_transpose_within_sbuf_is_a_copy() -> None:
    b = Builder("k")
    b.dma_transpose(b.alloc((64, 128), F32), b.alloc((128, 64), F32))
    op = b.graph.ops[-1]
    assert transfer(op, Accesses()).direction == "copy"
    assert trigger(op) == "sync"


@pytest.mark.parametrize("columns", [1, 2])
def test_a_gathering_transpose_takes_rows_down_the_columns_of_the_indices(columns: int) -> None:
    b = Builder("k")
    table = b.add_input("table", (300, 64), BF16)
    indices = loaded(b, "at", (128, columns), U32)
    dst = b.alloc((64, 128 * columns), BF16)
    graph = stored(b, b.dma_gather_transpose(dst, table, indices))
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 64)).astype(BF16.np)
    at = rng.integers(0, 300, (128, columns)).astype(np.uint32)
    made = result(graph, table=rows, at=at)
    np.testing.assert_array_equal(made, rows[at.T.reshape(-1)].T)


def test_a_gathering_transpose_of_rank_4() -> None:
    b = Builder("k")
    table = b.add_input("table", (50, 1, 3, 40), BF16)
    dst = b.alloc((40, 1, 3, 32), BF16)
    graph = stored(b, b.dma_gather_transpose(dst, table, loaded(b, "at", (32, 1), U32)))
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 1, 3, 40)).astype(BF16.np)
    at = rng.integers(0, 50, (32, 1)).astype(np.uint32)
    made = result(graph, table=rows, at=at)
    np.testing.assert_array_equal(made, rows[at[:, 0]].transpose(3, 1, 2, 0))


# --- rows


ROWS = np.arange(40 * 12, dtype=np.float32).reshape(40, 12)


def gather(indices: tuple[int, ...], rows: int, **attrs: Any) -> Graph:
    """y = rows of a table of 40, in place of 5.0."""
    b = Builder("k")
    table = b.add_input("table", (40, 12))
    at = loaded(b, "at", indices, I32)
    dst = b.memset(b.alloc((rows, 12), F32), value=5.0)
    return stored(b, b.dma_gather(dst, table, at, **attrs))


def test_gather_takes_one_row_for_each_partition() -> None:
    at = np.array([[7], [0], [39], [7]], np.int32)
    text = assert_agrees(gather((4, 1), 4), {"table": ROWS, "at": at})
    assert "table.ap(" in text
    assert "pattern=[[12, 4], [1, 12]], vector_offset=" in text
    assert "dge_mode=nisa.dge_mode.swdge" in text
    np.testing.assert_array_equal(result(gather((4, 1), 4), table=ROWS, at=at), ROWS[at[:, 0]])


def test_gather_at_one_offset_takes_a_block_of_rows() -> None:
    at = np.array([[9]], np.int32)
    text = assert_agrees(gather((1, 1), 4), {"table": ROWS, "at": at})
    assert "scalar_offset=" in text
    np.testing.assert_array_equal(result(gather((1, 1), 4), table=ROWS, at=at), ROWS[9:13])


@pytest.mark.parametrize(("indices", "at"), [((4, 1), [[7], [40], [-1], [2]]), ((1, 1), [[37]])])
def test_rows_that_the_table_has_not_are_an_error_or_are_skipped(
    indices: tuple[int, ...], at: list[list[int]]
) -> None:
    given = np.array(at, np.int32)
    with pytest.raises(InvalidInput, match="dma_gather: index is 40 but must be 0 to 39"):
        result(gather(indices, 4), table=ROWS, at=given)
    made = result(gather(indices, 4, oob="skip"), table=ROWS, at=given)
    wanted = np.full((4, 12), 5, np.float32)
    if len(at) > 1:
        wanted[[0, 3]] = ROWS[[7, 2]]
    np.testing.assert_array_equal(made, wanted)


def scatter(indices: tuple[int, ...], shape: tuple[int, ...], dim: int = 0) -> Graph:
    """The rows of x written to a copy of a table."""
    b = Builder("k")
    given, table = b.add_input("table", (40, 12)), b.add_input("y_out", (40, 12))
    b.dma_copy(table, given)
    b.dma_scatter(table, loaded(b, "x", shape), loaded(b, "at", indices, I32), dim=dim)
    b.set_outputs({"y": table})
    return b.graph


def test_scatter_overwrites_the_rows_that_the_indices_name() -> None:
    at, x = np.array([[7], [0], [39]], np.int32), -np.ones((3, 12), np.float32)
    made = result(scatter((3, 1), (3, 12)), table=ROWS, x=x, at=at)
    wanted = ROWS.copy()
    wanted[at[:, 0]] = x
    np.testing.assert_array_equal(made, wanted)


def added(dtype: DType, rows_first: bool) -> Graph:
    """Rows of a table added to a tile, or a tile to rows of a copy of the table."""
    b = Builder("k")
    given = b.add_input("table", (40, 12), dtype)
    tile, at = loaded(b, "x", (3, 12), dtype), loaded(b, "at", (3, 1), I32)
    if rows_first:
        return stored(b, b.dma_gather(tile, given, at, add=True))
    table = b.add_input("y_out", (40, 12), dtype)
    b.dma_copy(table, given)
    b.dma_scatter(table, tile, at, add=True)
    b.set_outputs({"y": table})
    return b.graph


@pytest.mark.parametrize("dtype", [F32, BF16, I32])
def test_rows_are_added_to_what_is_there(dtype: DType) -> None:
    at = np.array([[7], [0], [39]], np.int32)
    table = ROWS.astype(dtype.np)
    x = np.full((3, 12), 3, dtype.np)
    sums = round_to(table[at[:, 0]].astype(np.float32) + 3, dtype)
    assert "nisa.dma_compute(" in emit_nki(added(dtype, True))
    made = result(added(dtype, True), table=table, x=x, at=at)
    np.testing.assert_array_equal(made, sums)
    wanted = table.copy()
    wanted[at[:, 0]] = sums
    made = result(added(dtype, False), table=table, x=x, at=at)
    np.testing.assert_array_equal(made, wanted)


def test_scatter_at_one_offset_counts_along_any_dimension() -> None:
    x = -np.ones((40, 2), np.float32)
    made = result(scatter((1, 1), (40, 2), dim=1), table=ROWS, x=x, at=np.array([[6]], np.int32))
    wanted = ROWS.copy()
    wanted[:, 6:8] = x
    np.testing.assert_array_equal(made, wanted)


def test_rows_of_a_window_keep_the_stride_of_their_table() -> None:
    b = Builder("k")
    table = b.add_input("table", (40, 12))
    window = b.slice(table, [ds(0, 40), ds(4, 8)])
    dst = b.alloc((4, 8), F32)
    graph = stored(b, b.dma_gather(dst, window, loaded(b, "at", (4, 1), I32)))
    at = np.array([[3], [1], [30], [2]], np.int32)
    np.testing.assert_array_equal(result(graph, table=ROWS, at=at), ROWS[at[:, 0], 4:])


def test_windows_that_move_with_a_loop_move_the_rows() -> None:
    b = Builder("k")
    table, out = b.add_input("table", (40, 12)), b.add_input("y_out", (4, 12))
    at = loaded(b, "at", (4, 1), I32)

    def body(b: Builder, i: Value) -> None:
        columns = [ds(affine(i) * 3, 3)]
        dst = b.alloc((4, 3), F32)
        b.dma_gather(dst, b.slice(table, [ds(0, 40), *columns]), at)
        b.dma_copy(b.slice(out, [ds(0, 4), *columns]), dst)

    b.fori_loop("i", 4, 1, body)
    b.set_outputs({"y": out})
    given = np.array([[3], [1], [30], [2]], np.int32)
    np.testing.assert_array_equal(result(b.graph, table=ROWS, at=given), ROWS[given[:, 0]])


def test_every_second_row_is_no_dimension_of_the_buffer() -> None:
    b = Builder("k")
    rows = b.slice(b.add_input("table", (40, 12)), [ds(0, 20, 2), ds(0, 12)])
    graph = stored(b, b.dma_gather(b.alloc((4, 12), F32), rows, loaded(b, "at", (4, 1), I32)))
    with pytest.raises(NotSupported, match="lie 24 elements apart but an indirect access counts"):
        emit_nki(graph)


def test_indices_cost_software_descriptors_and_one_offset_does_not() -> None:
    b = Builder("k")
    table, dst = b.add_input("table", (4096, 512)), b.alloc((128, 512), F32)
    b.dma_gather(dst, table, b.alloc((128, 1), I32))
    many = b.graph.ops[-1]
    b.dma_gather(dst, table, b.alloc((1, 1), I32))
    one = b.graph.ops[-1]
    assert transfer(many, Accesses()) == Transfer("load", 128, 2048, 128, indirect=128)
    assert transfer(one, Accesses()) == Transfer("load", 128, 2048, 128)
    assert (trigger(many), trigger(one)) == ("gpsimd", "sync")


def test_a_scatter_waits_for_its_indices_and_holds_up_readers_of_the_table() -> None:
    b = Builder("k")
    table = b.alloc((256, 64), F32, MemorySpace.HBM, name="table")
    x, at = b.alloc((128, 64), F32, name="x"), b.alloc((128, 1), I32, name="at")
    b.memset(x, value=1.0)
    b.iota(at, pattern=((0, 1),), channel_multiplier=1)
    b.dma_scatter(table, x, at)
    again = b.alloc((128, 64), F32, name="again")
    b.dma_copy(again, b.slice(table, [ds(128, 128), ds(0, 64)]))
    made = simulate_kernel(b.graph, TRN2, record=100)
    stored_, read = (e for e in made.events if e.unit == "dma")
    assert (stored_.label, read.label) == ("store table", "load table")
    assert read.start_ns > stored_.end_ns
