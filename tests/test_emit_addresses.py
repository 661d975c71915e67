"""Emitting kernels whose tiles have fixed addresses, and what is checked of them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run
from emit_agreement import assert_legal, sample_inputs
from nki_stand_in import run_emitted
from test_emit_text import masked_softmax, matmul_bias

import nkigen_lite
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir import Builder, ds
from nkigen_lite.nki_ir.emit_nki import emit_nki
from nkigen_lite.nki_ir.types import ON_CHIP
from nkigen_lite.source_check import check_source


def side_by_side(graph: Graph, *, apart: bool = True) -> dict[Op, tuple[int, ...]]:
    """An address for every tile: all copies one after the other in SBUF and in PSUM."""
    found: dict[Op, tuple[int, ...]] = {}
    free = {"sbuf": 0, "psum": 0}
    for op in graph.walk():
        if op.opcode == "alloc" and op.result.type.memory in ON_CHIP:
            memory = op.attrs["memory"]
            size = op.result.type.partition_bytes
            found[op] = tuple(free[memory] + size * copy for copy in range(op.attrs["num_buffers"]))
            if apart:
                free[memory] += size * op.attrs["num_buffers"]
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


def blocks(copies: int) -> Graph:
    """Rows copied in blocks through a tile of some copies."""
    b = Builder("k")
    x, y = b.add_input("x", (256, 8)), b.add_input("y_out", (256, 8))

    def body(b: Builder, row: Value) -> None:
        tile = b.alloc((64, 8), DType.F32, num_buffers=copies, name="tile")
        window = [ds(row, 64), ds(0, 8)]
        b.dma_copy(tile, b.slice(x, window))
        b.dma_copy(b.slice(y, window), tile)

    b.fori_loop("row", 256, 64, body)
    b.set_outputs({"y": y})
    return b.graph


def test_turns_follow_the_iterations_of_a_loop_with_steps() -> None:
    graph = blocks(3)
    text = emit_nki(graph, addresses=side_by_side(graph))
    assert "address=(0, row // 64 % 3 * 32)" in text
    assert_legal(text)


@pytest.mark.parametrize(
    ("starts", "written"),
    [
        ((0, 512), "row // 64 % 2 * 512"),
        ((512, 64), "512 - row // 64 % 2 * 448"),
        ((0, 512, 64), "(0, 512, 64)[row // 64 % 3]"),
    ],
)
def test_copies_lie_where_the_plan_has_them(starts: tuple[int, ...], written: str) -> None:
    graph = blocks(len(starts))
    (op,) = side_by_side(graph)
    text = emit_nki(graph, addresses={op: starts})
    assert f"address=(0, {written})" in text
    assert_legal(text)
    (x,) = sample_inputs(graph).values()
    (made,) = run_emitted(text, [x])
    assert made.tobytes() == x.tobytes()


def test_as_many_addresses_as_copies_are_asked_for() -> None:
    graph = blocks(3)
    (op,) = side_by_side(graph)
    with pytest.raises(InvalidInput, match="%tile has 1 addresses but 3 copies"):
        emit_nki(graph, addresses={op: (0,)})


def test_a_tile_that_another_one_overwrites_gives_wrong_results_on_the_stand_in() -> None:
    graph = masked_softmax()
    inputs = list(sample_inputs(graph).values())
    (wanted,) = run_emitted(emit_nki(graph), inputs)
    text = emit_nki(graph, addresses=side_by_side(graph, apart=False))
    (made,) = run_emitted(text, inputs)
    assert made.tobytes() != wanted.tobytes()


@pytest.mark.parametrize(
    ("example", "specs"),
    [("matmul", ("150x200:bf16", "200x600:bf16")), ("attention", ("1x2x150x32:bf16",) * 3)],
)
def test_compiled_kernel_at_its_planned_addresses_computes_the_same(
    example: str, specs: tuple[str, ...]
) -> None:
    function = getattr(importlib.import_module(f"examples.{example}"), example)
    compiled = nkigen_lite.compile(function, *specs, time_limit=2.0)
    text = compiled.emit(direct_alloc=True)
    places = compiled.allocation.places
    assert len(re.findall(r"address=\(0, .*\)", text)) >= len(places)
    assert f"up to byte {compiled.allocation.sbuf.top} of SBUF" in text
    assert_legal(text)
    inputs = list(sample_inputs(compiled.nki).values())
    for plain, addressed in zip(
        run_emitted(compiled.emit(), inputs), run_emitted(text, inputs), strict=True
    ):
        assert plain.tobytes() == addressed.tobytes()


def test_direct_alloc_writes_addresses_that_the_checker_accepts(
    run: Run, kernels: str, tmp_path: Path
) -> None:
    words = ("compile", f"{kernels}:softmax", "--arg", "x=300x64", "--quiet", "-o", str(tmp_path))
    assert run(*words)[0] == 0
    kernel = tmp_path / "kernel.py"
    assert "address=" not in kernel.read_text(encoding="utf-8")
    assert run(*words, "--direct-alloc")[0] == 0
    assert "address=(0, " in kernel.read_text(encoding="utf-8")
    code, out, _ = run("check", str(kernel))
    assert (code, "legal as far as checked" in out) == (0, True)


def test_direct_alloc_needs_a_folder(run: Run, kernels: str) -> None:
    code, out, err = run("compile", f"{kernels}:softmax", "--arg", "x=8x64", "--direct-alloc")
    assert (code, out) == (1, "")
    assert "--direct-alloc writes addresses into kernel.py, so give -o OUT" in err


def test_tiles_without_an_address_have_none() -> None:
    graph = matmul_bias()
    first, *_ = side_by_side(graph)
    text = emit_nki(graph, addresses={first: (64,)})
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
        emit_nki(graph, addresses={op: (byte,)})
