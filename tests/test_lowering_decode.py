"""Attention of few queries: keys and values over all partitions."""

from __future__ import annotations

import numpy as np
import pytest
from lowering import BF16, Array, arrays, assert_lowers, compiled


def attend(q: Array, k: Array, v: Array) -> Array:
    """Queries (heads, few, d), keys and values (heads, many, d)."""
    scores = q @ np.swapaxes(k, -1, -2)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)) @ v


@pytest.mark.parametrize(("queries", "dtype"), [(1, np.float32), (3, BF16)])
def test_attention_of_few_queries_agrees_in_any_order_of_the_engines(
    queries: int, dtype: type
) -> None:
    inputs = arrays([(2, queries, 32), (2, 384, 32), (2, 384, 32)], dtype)
    kernel = assert_lowers(attend, *inputs)
    named = dict(zip("qkv", inputs, strict=True))
    checked, plain = kernel.run_checked(named, 0), kernel.run(named)
    assert all(np.array_equal(checked[name], plain[name]) for name in plain)


def test_each_partition_loads_neighbouring_keys_and_values_in_one_run() -> None:
    kernel = compiled(attend, "2x1x32:bf16", "2x512x32:bf16", "2x512x32:bf16")
    runs = [
        op.inputs[0].type.shape[-2:]
        for op in kernel.nki.walk()
        if op.opcode == "dma_copy" and op.inputs[0].type.free_size >= 128
    ]
    assert runs == [(4, 32)] * 2


def test_scores_of_few_columns_leave_psum_together() -> None:
    kernel = compiled(attend, "2x1x128:bf16", "2x2048x128:bf16", "2x2048x128:bf16")
    tiles = [op.result.type for op in kernel.nki.walk() if op.opcode == "alloc"]
    scores = [t for t in tiles if t.memory.value == "psum" and str(t.dtype) == "f32"]
    assert max(t.free_size for t in scores) >= 2048 // 128


def test_one_transpose_takes_keys_of_several_columns_if_they_are_narrow() -> None:
    kernel = compiled(attend, "2x1x64:bf16", "2x2048x64:bf16", "2x2048x64:bf16")
    turned = [op.inputs[0].type for op in kernel.nki.walk() if op.opcode == "nc_transpose"]
    assert max(t.partition_size for t in turned) == 2 * 64
