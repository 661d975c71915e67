"""The text of emitted kernels: readable, stable, formatted, importable without the vendor."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from emit_agreement import assert_agrees
from nki_stand_in import stand_in

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.errors import InvalidOp, NotSupported
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, ts
from nkigen_lite.nki_ir.emit.text import Expr, call, number_text, wrapped
from nkigen_lite.nki_ir.emit_nki import Form, emit_nki, identifier

F32, BF16 = DType.F32, DType.BF16


def copy_kernel(name: str = "copy", tile_name: str = "tile") -> Builder:
    """x -> y through one tile."""
    b = Builder(name)
    x, y = b.add_input("x", (8, 4)), b.add_input("y_out", (8, 4))
    tile = b.alloc((8, 4), F32, name=tile_name)
    b.dma_copy(tile, x)
    b.dma_copy(y, tile)
    b.set_outputs({"y": y})
    return b


def matmul_bias() -> Graph:
    """silu(aT.T @ b + bias), the bias one value per row."""
    b = Builder("matmul_bias")
    a_t, w = b.add_input("aT", (512, 256), BF16), b.add_input("b", (512, 512), BF16)
    bias, y = b.add_input("bias", (256,)), b.add_input("y_out", (256, 512), BF16)

    def add_block(b: Builder, acc: Value, m: Value, k: Value) -> None:
        left = b.alloc((128, 128), BF16, name="a_tile")
        right = b.alloc((128, 512), BF16, name="b_tile")
        b.dma_copy(left, b.slice(a_t, [ts(k, 128), ts(m, 128)]))
        b.dma_copy(right, b.slice(w, [ts(k, 128), ds(0, 512)]))
        b.matmul(acc, left, right, k)
        b.dealloc(left)
        b.dealloc(right)

    def rows(b: Builder, m: Value) -> None:
        acc = b.alloc((128, 512), F32, MemorySpace.PSUM, name="acc")
        b.fori_loop("k", 4, 1, lambda b, k: add_block(b, acc, m, k))
        column = b.alloc((128, 1), F32, name="bias_tile")
        b.dma_copy(column, b.slice(b.reshape(bias, (256, 1)), [ts(m, 128), ds(0, 1)]))
        out = b.alloc((128, 512), BF16, num_buffers=2, name="out")
        b.activation(out, acc, column, op="silu")
        b.dma_copy(b.slice(y, [ts(m, 128), ds(0, 512)]), out)

    b.fori_loop("m", 2, 1, rows)
    b.set_outputs({"y": y})
    return b.graph


def masked_softmax() -> Graph:
    """softmax over the last axis of scores where mask, else of -inf; a remainder of rows."""
    b = Builder("masked_softmax")
    scores, mask = b.add_input("scores", (200, 300)), b.add_input("mask", (200, 300), DType.BOOL)
    row_scale, probs = b.add_input("row_scale", (300,)), b.add_input("probs_out", (200, 300))

    def rows(b: Builder, first: Any, count: int) -> None:
        where = [ds(first, count), ds(0, 300)]
        x, keep = b.alloc((count, 300), F32, name="x"), b.alloc((count, 300), DType.BOOL, name="in")
        scale = b.alloc((count, 300), F32, name="scale")
        b.dma_copy(x, b.slice(scores, where))
        b.dma_copy(keep, b.slice(mask, where))
        b.dma_copy(scale, b.broadcast(row_scale, (count, 300), dims=(1,)))
        logits = b.alloc((count, 300), F32, name="logits")
        b.memset(logits, value=float("-inf"))
        b.tensor_tensor_arith(x, x, scale, op="multiply")
        b.copy_predicated(logits, keep, x)
        peak, total = (b.alloc((count, 1), F32, name=n) for n in ("peak", "total"))
        b.tensor_reduce_arith(peak, logits, op="maximum")
        b.tensor_scalar_arith(logits, logits, peak, op0="subtract")
        b.activation(logits, logits, op="exp")
        b.tensor_reduce_arith(total, logits, op="add")
        b.reciprocal(total, total)
        b.tensor_scalar_arith(logits, logits, total, op0="multiply")
        b.dma_copy(b.slice(probs, where), logits)

    b.fori_loop("row", 128, 128, lambda b, row: rows(b, row, 128))
    rows(b, 128, 72)
    b.set_outputs({"probs": probs})
    return b.graph


def executed(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "emitted"}
    exec(compile(source, "<emitted>", "exec"), namespace)
    return namespace


def test_golden_matmul_computes_what_the_interpreter_computes() -> None:
    assert_agrees(matmul_bias())


def test_golden_softmax_computes_what_the_interpreter_computes() -> None:
    assert_agrees(masked_softmax())


def test_module_imports_without_the_vendor_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nki", None)  # makes `import nki` fail as if absent
    namespace = executed(emit_nki(copy_kernel().graph))
    assert namespace["nl"] is None
    assert callable(namespace["copy"])


def test_kernel_is_jitted_where_the_vendor_package_is_there() -> None:
    with stand_in():
        namespace = executed(emit_nki(copy_kernel().graph))
        assert isinstance(namespace["copy"], sys.modules["nki"].jit)


def test_same_graph_gives_same_text() -> None:
    assert emit_nki(masked_softmax()) == emit_nki(masked_softmax())


def test_names_of_the_values_do_not_depend_on_other_graphs() -> None:
    first = emit_nki(matmul_bias())
    emit_nki(masked_softmax())
    assert emit_nki(matmul_bias()) == first


def test_header_lines_stand_in_the_docstring() -> None:
    text = emit_nki(copy_kernel().graph, Form(header=["one", "two\nthree"]))
    assert text.startswith('"""NKI kernel copy.\n\none\ntwo\nthree\n\nInputs, in HBM:\n')


def test_header_cannot_end_the_docstring() -> None:
    text = emit_nki(copy_kernel().graph, Form(header=['C:\\new """ import os']))
    assert ast.get_docstring(ast.parse(text)).splitlines()[2] == "C:/new ''' import os"


def test_docstring_says_names_shapes_and_element_types() -> None:
    doc = ast.get_docstring(ast.parse(emit_nki(masked_softmax())))
    assert doc is not None
    assert "scores: (200, 300) float32" in doc
    assert "mask: (200, 300) uint8 (bool)" in doc
    assert "probs: (200, 300) float32" in doc


def test_comments_name_the_source_line_once_per_run_of_ops() -> None:
    b = copy_kernel()
    for op in b.graph.ops:
        op.loc = b.graph.ops[0].loc
    lines = emit_nki(b.graph).splitlines()
    comments = [line.strip() for line in lines if line.startswith("    #")]
    assert comments == [f"# test_emit_text.py:{b.graph.ops[0].loc.line}"]


def test_comments_can_be_left_out() -> None:
    assert "# test_emit" not in emit_nki(copy_kernel().graph, Form(comments=False))


def test_output_buffers_are_made_inside_and_returned() -> None:
    text = emit_nki(copy_kernel().graph)
    assert (
        "def copy(x):\n    y = nl.ndarray((8, 4), dtype=nl.float32, buffer=nl.shared_hbm)" in text
    )
    assert "    return y\n" in text


def test_dealloc_and_buffer_count_leave_no_trace() -> None:
    text = emit_nki(matmul_bias())
    assert "dealloc" not in text
    assert "num_buffers" not in text


def test_empty_loop_body_is_pass() -> None:
    b = copy_kernel()
    b.fori_loop("i", 3, 1, lambda b, i: None)
    assert "    for _ in range(3):\n        pass\n" in emit_nki(b.graph, Form(comments=False))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.0", "x_0"),
        ("0x", "t0x"),
        ("", "t"),
        ("for", "for_"),
        ("nl", "nl_"),
        ("range", "range_"),
        ("nisa", "nisa_"),
        ("none", "none"),
        ("größe", "gr__e"),
        ("INF", "INF_"),
    ],
)
def test_value_names_become_python_identifiers(name: str, expected: str) -> None:
    assert identifier(name) == expected
    assert identifier(name).isidentifier()


def test_equal_names_in_one_scope_are_told_apart() -> None:
    b = Builder("twice")
    x, y = b.add_input("x", (8, 4)), b.add_input("y_out", (8, 4))
    tiles = [b.alloc((8, 4), F32, name="x") for _ in range(2)]
    b.dma_copy(tiles[0], x)
    b.tensor_copy(tiles[1], tiles[0])
    b.dma_copy(y, tiles[1])
    b.set_outputs({"y": y})
    text = assert_agrees(b.graph)
    assert "nisa.tensor_copy(dst=x_sbuf_1, src=x_sbuf, " in text


def test_names_are_free_again_after_their_loop() -> None:
    b = Builder("loops")
    x, y = b.add_input("x", (4, 8, 4)), b.add_input("y_out", (4, 8, 4))

    def body(b: Builder, i: Value) -> None:
        tile = b.alloc((8, 4), F32, name="tile")
        window = [ds(i, None), ds(0, 8), ds(0, 4)]
        b.dma_copy(tile, b.slice(x, window))
        b.dma_copy(b.slice(y, window), tile)

    for _ in range(2):
        b.fori_loop("i", 4, 1, body)
    b.set_outputs({"y": y})
    text = assert_agrees(b.graph)
    assert text.count("for i in range(4):") == 2
    assert "tile_1" not in text


def test_inner_loop_does_not_take_the_name_of_an_outer_value() -> None:
    b = Builder("shadow")
    x, y = b.add_input("x", (8, 4)), b.add_input("y_out", (8, 4))
    tile = b.alloc((8, 4), F32, name="tile")
    b.dma_copy(tile, x)

    def body(b: Builder, i: Value) -> None:
        inner = b.alloc((8, 4), F32, name="tile")
        b.memset(inner, value=0.0)

    b.fori_loop("tile", 2, 1, body)
    b.dma_copy(y, tile)
    b.set_outputs({"y": y})
    assert_agrees(b.graph)


def test_kernel_name_is_not_taken_by_a_tile() -> None:
    text = assert_agrees(copy_kernel(name="tile", tile_name="tile").graph)
    assert "tile_1 = nl.ndarray" in text


def test_infinity_is_a_named_constant_only_where_it_is_used() -> None:
    assert 'INF = float("inf")' in emit_nki(masked_softmax())
    assert "INF" not in emit_nki(matmul_bias())


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (0.5, "0.5"), (1e-30, "1e-30"), (float("-inf"), "-INF"), (float("nan"), "NAN")],
)
def test_numbers_are_written_as_literals(value: float, text: str) -> None:
    assert number_text(value) == text


def test_long_call_puts_its_arguments_on_a_line_of_their_own() -> None:
    made = wrapped(call("a_function", [Expr("a" * 40), Expr("b" * 45)]), 1)
    assert made == ["    a_function(", f"        {'a' * 40}, {'b' * 45}", "    )"]


def test_longer_call_gives_each_argument_a_line() -> None:
    made = wrapped(call("f", [Expr("a" * 50), Expr("b" * 50)]), 0)
    assert made == ["f(", f"    {'a' * 50},", f"    {'b' * 50},", ")"]


def test_long_subscript_is_broken_inside() -> None:
    index = Expr("x").subscript(["i" * 60, "j" * 60])
    made = wrapped(call("f", [index]), 0)
    assert made == ["f(", "    x[", f"        {'i' * 60},", f"        {'j' * 60},", "    ],", ")"]


def deeply_nested(depth: int) -> Graph:
    """A copy under many loops, whose subscripts and output list are long."""
    b = Builder("nested")
    outputs = {}
    for n in range(6):
        x = b.add_input(f"a_rather_long_input_name_{n}", (2,) * depth + (16, 8))
        y = b.add_input(f"a_rather_long_output_name_{n}_out", (2,) * depth + (16, 8))
        outputs[f"a_rather_long_output_name_{n}"] = y

        def level(b: Builder, indices: list[Value], x: Value = x, y: Value = y) -> None:
            if len(indices) < depth:
                name = f"index_{len(indices)}"
                b.fori_loop(name, 2, 1, lambda b, i: level(b, [*indices, i], x, y))
                return
            window = [*[ds(i, None) for i in indices], ds(0, 16), ds(0, 8)]
            tile = b.alloc((16, 8), F32, name="tile")
            b.dma_copy(tile, b.slice(x, window))
            b.dma_copy(b.slice(y, window), tile)

        level(b, [])
    b.set_outputs(outputs)
    return b.graph


def test_lines_stay_within_100_columns_under_many_loops() -> None:
    text = assert_agrees(deeply_nested(5))
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.skipif(not importlib.util.find_spec("ruff"), reason="ruff is not installed")
@pytest.mark.parametrize(
    "build", [matmul_bias, masked_softmax, lambda: deeply_nested(3)], ids=["mm", "softmax", "deep"]
)
def test_text_is_as_the_formatter_would_write_it(build: Callable[[], Graph]) -> None:
    text = emit_nki(build())
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=100", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert done.stdout == text


def test_kernel_without_outputs_is_refused() -> None:
    b = Builder("silent")
    with pytest.raises(InvalidOp, match="kernel @silent has no outputs but must return some"):
        emit_nki(b.graph)


def test_output_on_chip_is_refused() -> None:
    b = Builder("chip")
    tile = b.alloc((8, 4), F32, name="tile")
    b.memset(tile, value=0.0)
    b.set_outputs({"y": tile})
    with pytest.raises(
        NotSupported, match=r"output 'y' is %tile, .* must be a whole buffer in hbm"
    ):
        emit_nki(b.graph)


def test_output_that_is_a_view_is_refused() -> None:
    b = Builder("view")
    x = b.add_input("x", (8, 4))
    b.set_outputs({"y": b.reshape(x, (4, 8))})
    with pytest.raises(NotSupported, match="must be a whole buffer in hbm"):
        emit_nki(b.graph)


def test_unsound_graph_is_refused() -> None:
    b = copy_kernel()
    b.graph.ops[1].attrs["engine"] = "warp"
    with pytest.raises(InvalidOp, match="engine is 'warp' but must be one of dma"):
        emit_nki(b.graph)
