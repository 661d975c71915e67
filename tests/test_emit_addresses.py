"""Emitting kernels whose tiles have fixed addresses, and what is checked of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from emit_agreement import assert_legal, sample_inputs
from nki_stand_in import run_emitted
from test_emit_text import masked_softmax, matmul_bias

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir import Builder, ds
from nkigen_lite.nki_ir.emit_nki import emit_nki
from nkigen_lite.nki_ir.types import ON_CHIP
from nkigen_lite.source_check import check_source


def side_by_side(graph: Graph, *, apart: bool = True) -> dict[Op, int]:
    """An address for every tile: all copies one after the other in SBUF and in PSUM."""
    found: dict[Op, int] = {}
    free = {"sbuf": 0, "psum": 0}
    for op in graph.walk():
        if op.opcode == "alloc" and op.result.type.memory in ON_CHIP:
            memory = op.attrs["memory"]
            found[op] = free[memory]
            if apart:
                free[memory] += op.result.type.partition_bytes * op.attrs["num_buffers"]
    return found


@pytest.mark.parametrize("build", [matmul_bias, masked_softmax], ids=lambda b: b.__name__)
def test_addressed_kernel_is_legal_and_computes_the_same(build: Callable[[], Graph]) -> None:
    graph = build()
    text = emit_nki(graph, addresses=side_by_side(graph))
    assert_legal(text)
    inputs = list(sample_inputs(graph).values())
    for plain, addressed in zip(
        run_emitted(emit_nki(graph), inputs), run_emitted(text, inputs), strict=True
    ):
        assert plain.tobytes() == addressed.tobytes()


def test_address_is_partition_and_byte() -> None:
    graph = matmul_bias()
    text = emit_nki(graph, addresses=side_by_side(graph))
    assert "bias_tile = nl.ndarray(" in text
    assert "(128, 1), dtype=nl.float32, buffer=nl.sbuf, address=(0, 1280)" in text


def test_copies_of_a_rotating_tile_take_turns() -> None:
    graph = matmul_bias()
    text = emit_nki(graph, addresses=side_by_side(graph))
    assert "address=(0, 1284 + m % 2 * 1024)" in text


def test_turns_follow_the_iterations_of_a_loop_with_steps() -> None:
    b = Builder("k")
    x, y = b.add_input("x", (256, 8)), b.add_input("y_out", (256, 8))

    def body(b: Builder, row: Value) -> None:
        tile = b.alloc((64, 8), DType.F32, num_buffers=3, name="tile")
        window = [ds(row, 64), ds(0, 8)]
        b.dma_copy(tile, b.slice(x, window))
        b.dma_copy(b.slice(y, window), tile)

    b.fori_loop("row", 256, 64, body)
    b.set_outputs({"y": y})
    text = emit_nki(b.graph, addresses=side_by_side(b.graph))
    assert "address=(0, 0 + row // 64 % 3 * 32)" in text
    assert_legal(text)


def test_tiles_without_an_address_have_none() -> None:
    graph = matmul_bias()
    first, *_ = side_by_side(graph)
    text = emit_nki(graph, addresses={first: 64})
    assert text.count("address=") == 1


def test_overlapping_addresses_are_found_by_the_checker() -> None:
    graph = matmul_bias()
    text = emit_nki(graph, addresses=side_by_side(graph, apart=False))
    found = [problem.sentence for problem in check_source(text).problems]
    assert any("overlaps a_tile at (0, 0), which is still in use" in said for said in found)


@pytest.mark.parametrize("byte", [-4, 2])
def test_address_that_a_tile_cannot_have_is_refused(byte: int) -> None:
    graph = masked_softmax()
    op = next(op for op in side_by_side(graph) if op.result.type.dtype is DType.F32)
    with pytest.raises(InvalidInput, match=f"is {byte} but must be a byte on chip, a multiple of"):
        emit_nki(graph, addresses={op: byte})
