"""A decoder layer with a mixture of experts, for tokens that continue a sequence.

The sizes are those of the public model configuration of Qwen3-30B-A3B, one of four shards of tensor
parallelism: hidden size 2048, 8 query heads and one key/value head of 128, and of each of 128
experts, of which a token takes 8, 192 of 768 columns.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.patterns import product, rotate, scaled_scores, silu, softmax_scores
from examples.rmsnorm import rmsnorm

Array = Any
ROPE_THETA = 1e6


@dataclass(frozen=True, slots=True)
class MoeSizes:
    """Elements, heads, experts, and positions of the cache."""

    hidden: int = 2048
    heads: int = 8
    head_dim: int = 128
    experts: int = 128
    chosen: int = 8
    ffn: int = 192
    positions: int = 4096

    def shapes(self, tokens: int) -> tuple[tuple[int, ...], ...]:
        """Of the arrays that `moe_layer` takes, in order."""
        width = self.heads * self.head_dim
        return (
            (tokens, self.hidden),
            *((self.positions, self.head_dim),) * 2,
            (self.hidden, width),
            *((self.hidden, self.head_dim),) * 2,
            (width, self.hidden),
            *((self.head_dim,),) * 2,
            *((self.hidden,),) * 2,
            (self.hidden, self.experts),
            *((self.experts, self.hidden, self.ffn),) * 2,
            (self.experts, self.ffn, self.hidden),
        )


def moe_layer(
    x: Array,
    k_cache: Array,
    v_cache: Array,
    wq: Array,
    wk: Array,
    wv: Array,
    wo: Array,
    q_norm: Array,
    k_norm: Array,
    input_norm: Array,
    post_norm: Array,
    router: Array,
    w_gate: Array,
    w_up: Array,
    w_down: Array,
    chosen: int,
) -> tuple[Array, Array, Array]:
    """`x` (tokens, hidden) are the last positions of the caches (positions, head_dim).

    The result is like `x`; the caches come back with the tokens' keys and values in them. There is
    one key/value head. Every expert computes every token; what a token did not choose counts
    nothing.
    """
    tokens, positions, dim = x.shape[0], k_cache.shape[0], q_norm.shape[0]
    before = positions - tokens
    h = rmsnorm(x, input_norm)
    q = rmsnorm(product(h, wq).reshape(tokens, -1, dim), q_norm).transpose(1, 0, 2)
    cos, sin = _tables(before, positions, dim, x.dtype)
    k = rotate(rmsnorm(product(h, wk), k_norm), cos, sin)
    k_cache = np.concatenate([k_cache[:before], k], axis=0)
    v_cache = np.concatenate([v_cache[:before], product(h, wv)], axis=0)
    mask = np.triu(np.full((tokens, positions), -1e9, dtype=np.float32), k=before + 1)
    weights = softmax_scores(scaled_scores(rotate(q, cos, sin), k_cache) + mask, x.dtype)
    merged = product(weights, v_cache).transpose(1, 0, 2).reshape(tokens, -1)
    x = x + product(merged, wo)
    h = rmsnorm(x, post_norm)
    share = _shares(product(h, router).astype(np.float32), chosen)
    gated = silu(product(h[None], w_gate)) * product(h[None], w_up)
    weighted = gated * share.transpose(1, 0)[:, :, None].astype(x.dtype)
    return x + np.sum(product(weighted, w_down), axis=0), k_cache, v_cache


def _shares(logits: Array, chosen: int) -> Array:
    """Softmax of `logits` (tokens, experts), kept for the largest and summing to one for them."""
    every = softmax_scores(logits, np.float32)
    left = every
    for _ in range(chosen):
        left = np.where(left >= np.max(left, axis=-1, keepdims=True), 0.0, left)
    kept = every - left
    return kept / np.sum(kept, axis=-1, keepdims=True)


def _tables(start: int, stop: int, dim: int, dtype: Any) -> tuple[Array, Array]:
    """Cosines and sines (positions, dim / 2) of the rotary embedding."""
    half = dim // 2
    angle = np.arange(start, stop)[:, None] * ROPE_THETA ** (-np.arange(half) / half)[None, :]
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)
