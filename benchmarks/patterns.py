"""Numpy functions that are compiled in benchmarks only; examples/ has the others.

Statistics of norms, softmax and activations are taken in float32; results have the dtype of the
first argument.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from examples.mlp_swiglu import mlp_swiglu
from examples.rmsnorm import rmsnorm

Array = Any


def silu(x: Array) -> Array:
    """x / (1 + exp(-x))."""
    x32 = x.astype(np.float32)
    return (x32 / (1.0 + np.exp(-x32))).astype(x.dtype)


def gelu(x: Array) -> Array:
    """The tanh form."""
    x32 = x.astype(np.float32)
    inner = 0.7978845608028654 * (x32 + 0.044715 * (x32 * x32 * x32))  # sqrt(2 / pi)
    return (0.5 * x32 * (1.0 + np.tanh(inner))).astype(x.dtype)


def halves(x: Array) -> tuple[Array, Array]:
    """The first and the second half of the last axis."""
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


# --- elementwise, row by row


def swiglu(gate: Array, up: Array) -> Array:
    """silu(`gate`) * `up`, of one shape."""
    return silu(gate) * up


def swiglu_halves(x: Array) -> Array:
    """`x` (rows, 2 n): silu of the first half, times the second."""
    return swiglu(*halves(x))


def log_softmax(x: Array) -> Array:
    """The logarithm of softmax over the last axis."""
    x32 = x.astype(np.float32)
    shifted = x32 - np.max(x32, axis=-1, keepdims=True)
    total = np.sum(np.exp(shifted), axis=-1, keepdims=True)
    return (shifted - np.log(total)).astype(x.dtype)


def scale_bias_gelu(x: Array, scale: Array, bias: Array) -> Array:
    """gelu(`x` * `scale` + `bias`): `x` is (rows, n), the others (n,)."""
    return gelu(x * scale + bias)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotary embedding: `x` is (..., seq, dim), the tables are (..., seq, dim / 2)."""
    first, second = halves(x)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# --- products


def product(a: Array, b: Array) -> Array:
    """`a` @ `b`; numpy gives float32 for narrow types."""
    return (a @ b).astype(a.dtype)


def residual_product(x: Array, weight: Array) -> Array:
    """`x` (rows, n) @ `weight` (n, n) + `x`."""
    return product(x, weight) + x


def mlp(x: Array, w_up: Array, w_down: Array) -> Array:
    """gelu(`x` @ `w_up`) @ `w_down`."""
    return product(gelu(product(x, w_up)), w_down)


def swiglu_product(x: Array, w_gate: Array, w_up: Array) -> Array:
    """silu(`x` @ `w_gate`) * (`x` @ `w_up`)."""
    return swiglu(product(x, w_gate), product(x, w_up))


def ffn(x: Array, w_gate_up: Array, w_down: Array) -> Array:
    """One product for gate and up, which are its halves; silu(gate) * up; down."""
    return product(swiglu_halves(product(x, w_gate_up)), w_down)


def ffn_biased(x: Array, w_gate_up: Array, b_gate_up: Array, w_down: Array, b_down: Array) -> Array:
    """The same with a bias after each product."""
    return product(swiglu_halves(product(x, w_gate_up) + b_gate_up), w_down) + b_down


def split_heads(x: Array, heads: int) -> Array:
    """(batch, seq, heads * d) as (batch, heads, seq, d)."""
    batch, seq, width = x.shape
    return x.reshape(batch, seq, heads, width // heads).transpose(0, 2, 1, 3)


def merge_heads(x: Array) -> Array:
    """(batch, heads, seq, d) as (batch, seq, heads * d)."""
    batch, heads, seq, dim = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, seq, heads * dim)


def head_projection(x: Array, w_qkv: Array, heads: int) -> tuple[Array, Array, Array]:
    """Queries, keys and values (batch, heads, seq, d), out of one product."""
    width = w_qkv.shape[1] // 3
    every = product(x, w_qkv)
    q, k, v = (every[..., i * width : (i + 1) * width] for i in range(3))
    return split_heads(q, heads), split_heads(k, heads), split_heads(v, heads)


def output_projection(x: Array, weight: Array) -> Array:
    """`x` (batch, heads, seq, d), its heads side by side, times `weight` (heads * d, n)."""
    return product(merge_heads(x), weight)


# --- attention


def softmax_scores(scores: Array, dtype: Any) -> Array:
    """Softmax of float32 scores over the last axis, rounded to `dtype`."""
    e = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return (e / np.sum(e, axis=-1, keepdims=True)).astype(dtype)


def scaled_scores(q: Array, k: Array) -> Array:
    """`q` times `k` transposed, over the root of their last extent, in float32."""
    return (q @ np.swapaxes(k, -1, -2)).astype(np.float32) * (q.shape[-1] ** -0.5)


def full_attention(q: Array, k: Array, v: Array) -> Array:
    """Without a mask: `q` is (..., queries, d), `k` and `v` are (..., keys, d)."""
    return product(softmax_scores(scaled_scores(q, k), q.dtype), v)


def grouped(q: Array, kv_heads: int) -> Array:
    """`q` (batch, heads, seq, d) as (batch, kv_heads, heads of each, seq, d)."""
    batch, heads, seq, dim = q.shape
    return q.reshape(batch, kv_heads, heads // kv_heads, seq, dim)


def grouped_attention(q: Array, k: Array, v: Array) -> Array:
    """The same, where several query heads (batch, heads, seq, d) read one head of `k` and `v`."""
    each = grouped(q, k.shape[1])
    return full_attention(each, k[:, :, None], v[:, :, None]).reshape(q.shape)


def causal_grouped_attention(q: Array, k: Array, v: Array) -> Array:
    """The same over the positions at or before each query's."""
    seq = q.shape[2]
    mask = np.triu(np.full((seq, seq), -1e9, dtype=np.float32), k=1)
    scores = scaled_scores(grouped(q, k.shape[1]), k[:, :, None]) + mask
    return product(softmax_scores(scores, q.dtype), v[:, :, None]).reshape(q.shape)


def decode_attention(q: Array, k: Array, v: Array) -> Array:
    """One query per head: `q` is (batch, heads, d), `k` and `v` are (batch, kv_heads, keys, d)."""
    batch, heads, dim = q.shape
    each = q.reshape(batch, k.shape[1], heads // k.shape[1], dim)
    return full_attention(each, k, v).reshape(q.shape)


def transformer_layer(
    x: Array,
    wq: Array,
    wk: Array,
    wv: Array,
    wo: Array,
    w_gate: Array,
    w_up: Array,
    w_down: Array,
    input_norm: Array,
    post_norm: Array,
    heads: int,
) -> Array:
    """Norm, attention without a mask, residual, norm, SwiGLU, residual; `x` (batch, seq, n)."""
    h = rmsnorm(x, input_norm)
    q, k, v = (split_heads(product(h, w), heads) for w in (wq, wk, wv))
    x = x + product(merge_heads(full_attention(q, k, v)), wo)
    return x + mlp_swiglu(rmsnorm(x, post_norm), w_gate, w_up, w_down)


# --- moves and sums


def transposed(x: Array) -> Array:
    """The last two axes swapped."""
    return np.swapaxes(x, -1, -2)


def heads_first(x: Array) -> Array:
    """(batch, seq, heads, d) as (batch, heads, seq, d)."""
    return x.transpose(0, 2, 1, 3)


def summed(x: Array, axis: int) -> Array:
    """The sum over one axis."""
    return np.sum(x, axis=axis)


def largest(x: Array, axis: int) -> Array:
    """The largest along one axis."""
    return np.max(x, axis=axis)


def joined(a: Array, b: Array, axis: int) -> Array:
    """`a`, then `b`."""
    return np.concatenate([a, b], axis=axis)


def middle(x: Array, axis: int) -> Array:
    """The half of `x` in the middle of an axis."""
    n = x.shape[axis]
    return np.take(x, range(n // 4, n // 4 + n // 2), axis=axis)


def every_other(x: Array) -> Array:
    """Every other row."""
    return x[::2]


def cache_update(cache: Array, new: Array, position: int) -> Array:
    """`cache` (batch, heads, positions, d) with `new` at `position` and what follows."""
    end = position + new.shape[2]
    return np.concatenate([cache[:, :, :position], new, cache[:, :, end:]], axis=2)
