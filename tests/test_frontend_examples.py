"""The examples trace to what they compute."""

from __future__ import annotations

import importlib
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from examples.qwen3_layer import Sizes, make_weights, qwen3_layer
from nkigen_lite.frontend import trace

F32 = np.float32
BF16 = ml_dtypes.bfloat16

EXAMPLES = {
    "softmax": ((17, 30),),
    "rmsnorm": ((17, 30), (30,)),
    "layernorm": ((17, 30), (30,), (30,)),
    "matmul": ((17, 30), (30, 9)),
    "gelu_linear": ((17, 30), (30, 9), (9,)),
    "mlp_swiglu": ((17, 30), (30, 20), (30, 20), (20, 30)),
    "attention": ((2, 3, 11, 16),) * 3,
    "rope": ((2, 3, 11, 16),),
}


def assert_agree(function: Any, arguments: list[np.ndarray]) -> None:
    """Within a few roundings of the largest magnitude."""
    traced = trace(function, arguments)
    got, expected = traced.run(*arguments), function(*arguments)
    assert got.dtype == expected.dtype
    wide = expected.astype(np.float64)
    tolerance = 1e-6 if expected.dtype == F32 else 2**-7
    np.testing.assert_allclose(
        got.astype(np.float64), wide, rtol=tolerance, atol=tolerance * np.abs(wide).max()
    )


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_traces_to_what_it_computes(name: str, dtype: Any) -> None:
    function = getattr(importlib.import_module(f"examples.{name}"), name)
    rng = np.random.default_rng(4)
    assert_agree(function, [rng.standard_normal(s).astype(dtype) for s in EXAMPLES[name]])


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_layer_traces_to_what_it_computes(dtype: Any) -> None:
    sizes = Sizes(hidden=48, heads=6, kv_heads=2, head_dim=16, ffn=80)
    assert_agree(qwen3_layer, list(make_weights(0, dtype, seq=12, sizes=sizes).values()))


def test_examples_bring_their_tables_along_in_the_type_they_use() -> None:
    rope = importlib.import_module("examples.rope").rope
    traced = trace(rope, ["1x2x8x16:bf16"])
    assert {a.dtype for a in traced.constants.values()} == {np.dtype(BF16)}
    assert all(op.opcode != "cast" for op in traced.graph.ops)
