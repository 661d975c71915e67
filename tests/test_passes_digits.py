"""Where results in between are rounded: ``keep_digits``."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkigen_lite import trace
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, clone
from nkigen_lite.tensor_ir.interpret import run
from nkigen_lite.tensor_ir.passes.digits import keep_digits

BF16 = ml_dtypes.bfloat16


def rmsnorm(x: Any, w: Any) -> Any:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6) * w


def softmax(x: Any, w: Any) -> Any:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True) * w


def layernorm(x: Any, w: Any) -> Any:
    spread = np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-5)
    return (x - np.mean(x, axis=-1, keepdims=True)) / spread * w


def before_and_after(function: Any, *specs: str) -> tuple[Graph, Graph]:
    graph = trace(function, list(specs)).graph
    wide = clone(graph)
    keep_digits(wide)
    wide.check()
    return graph, wide


def columns(graph: Graph) -> set[DType]:
    """The types in which there is one value per row."""
    results = [v for op in graph.ops for v in op.results]
    return {v.type.dtype for v in results if v.type.shape in ((40,), (40, 1)) and v.has_uses}


@pytest.mark.parametrize("dtype", [BF16, np.float16])
@pytest.mark.parametrize("function", [rmsnorm, softmax, layernorm])
def test_results_are_nearer_to_those_of_many_digits(function: Any, dtype: Any) -> None:
    specs = [f"{shape}:{np.dtype(dtype).name}" for shape in ("40x300", "300")]
    graph, wide = before_and_after(function, *specs)
    rng = np.random.default_rng(0)
    feed = {
        name: rng.standard_normal(shape).astype(dtype)
        for name, shape in (("x", (40, 300)), ("w", (300,)))
    }
    exact = function(*(array.astype(np.float64) for array in feed.values()))
    errors = [
        np.abs(run(g, feed)["output"].astype(np.float64) - exact).mean() for g in (graph, wide)
    ]
    assert errors[1] < errors[0]
    assert wide.outputs["output"].type == graph.outputs["output"].type
    assert columns(wide) == {DType.F32}


def test_f32_and_integers_are_left_alone() -> None:
    for dtype in ("f32", "i32"):
        graph, wide = before_and_after(lambda x: x + x.sum(axis=1, keepdims=True), f"4x64:{dtype}")
        assert wide.dump() == graph.dump()


def test_what_the_program_rounds_stays_rounded() -> None:
    def split(x: Any) -> Any:
        high = x.astype(BF16)
        return (x - high.astype(np.float32)).astype(BF16) * 3, (x * 3).astype(BF16) - high

    graph, wide = before_and_after(split, "40x64:f32")
    x = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    for name, expected in run(graph, {"x": x}).items():
        assert np.array_equal(run(wide, {"x": x})[name], expected)


def test_a_column_that_many_elements_read_is_not_spread_in_f32() -> None:
    def shifted(x: Any, y: Any) -> Any:
        return np.broadcast_to(x.max(axis=1, keepdims=True), (40, 64)) @ y

    _, wide = before_and_after(shifted, "40x64:bf16", "64x32:bf16")
    product = next(op for op in wide.ops if op.opcode == "matmul")
    assert {v.type.dtype for v in product.inputs} == {DType.BF16}


def test_of_three_ops_in_a_row_two_are_one_instruction() -> None:
    def thrice(x: Any) -> Any:
        low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
        return ((x - low) * high + low) * low

    _, wide = before_and_after(thrice, "40x64:bf16")
    tiles = [op for op in wide.ops if op.result.type.shape == (40, 64) and op.opcode != "cast"]
    rounded = [any(r.opcode == "cast" for r in op.result.uses) for op in tiles]
    assert rounded == [False, True, False, True]
