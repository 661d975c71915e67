"""A decoder layer of Llama-3-8B in plain numpy, whole or as one shard of tensor parallelism.

Sizes and constants are those of the public model configuration of Llama-3-8B: hidden size 4096,
32 query heads, 8 key/value heads, head size 128, feed-forward size 14336, RMSNorm epsilon 1e-5,
RoPE theta 5e5. A shard has a part of the heads and of the feed-forward size, and all of the hidden
size; where its cores would add up their partial sums, it goes on with its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EPS = 1e-5
ROPE_THETA = 5e5
HEAD_DIM = 128

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Sizes:
    """What fixes the shapes of a layer's weights; every field counts elements or heads."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int

    def shard(self, cores: int) -> Sizes:
        """What one of so many cores holds; they divide the heads and the feed-forward size."""
        return Sizes(
            self.hidden,
            self.heads // cores,
            self.kv_heads // cores,
            self.head_dim,
            self.ffn // cores,
        )

    def shapes(self, batch: int, seq: int) -> dict[str, tuple[int, ...]]:
        """Of the arguments of `llama3_layer`, by name and in the order of its parameters."""
        q_width, kv_width = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "x": (batch, seq, self.hidden),
            "wq": (self.hidden, q_width),
            "wk": (self.hidden, kv_width),
            "wv": (self.hidden, kv_width),
            "wo": (q_width, self.hidden),
            "input_norm": (self.hidden,),
            "post_norm": (self.hidden,),
            "w_gate": (self.hidden, self.ffn),
            "w_up": (self.hidden, self.ffn),
            "w_down": (self.ffn, self.hidden),
        }


LLAMA3_8B = Sizes(hidden=4096, heads=32, kv_heads=8, head_dim=HEAD_DIM, ffn=14336)


def llama3_layer(
    x: Array,
    wq: Array,
    wk: Array,
    wv: Array,
    wo: Array,
    input_norm: Array,
    post_norm: Array,
    w_gate: Array,
    w_up: Array,
    w_down: Array,
    head_dim: int = HEAD_DIM,
) -> Array:
    """One decoder layer: `x` and the result have the shape (batch, seq, hidden) and one dtype.

    `wq` is (hidden, heads * `head_dim`), `wk` and `wv` (hidden, kv_heads * head_dim), `wo`
    (heads * head_dim, hidden), `w_gate` and `w_up` (hidden, ffn), `w_down` (ffn, hidden);
    `input_norm` and `post_norm` are (hidden,). Query head h reads key/value head
    h * kv_heads // heads. Statistics of norms, softmax and the activation are taken in float32.
    """
    h = _rms_norm(x, input_norm)
    q, k, v = (_heads(_linear(h, w), head_dim) for w in (wq, wk, wv))
    attended = _causal_attention(_rotate(q), _rotate(k), v)
    merged = attended.transpose(0, 2, 1, 3).reshape(*x.shape[:2], wq.shape[1])
    x = x + _linear(merged, wo)
    h = _rms_norm(x, post_norm)
    gate = _linear(h, w_gate).astype(np.float32)
    gated = (gate / (1.0 + np.exp(-gate))).astype(x.dtype) * _linear(h, w_up)
    return x + _linear(gated, w_down)


def _linear(x: Array, weight: Array) -> Array:
    return (x @ weight).astype(x.dtype)


def _heads(x: Array, head_dim: int) -> Array:
    """`x` (batch, seq, heads * head_dim) as (batch, heads, seq, head_dim)."""
    batch, seq, width = x.shape
    return x.reshape(batch, seq, width // head_dim, head_dim).transpose(0, 2, 1, 3)


def _rms_norm(x: Array, weight: Array) -> Array:
    """`x` over the root mean square of its last axis, times `weight`."""
    x32 = x.astype(np.float32)
    mean_square = np.mean(x32 * x32, axis=-1, keepdims=True)
    return (x32 / np.sqrt(mean_square + EPS)).astype(x.dtype) * weight


def _rotate(x: Array) -> Array:
    """Rotary position embedding of `x` (..., seq, head_dim), in the rotate-half form."""
    seq, head_dim = x.shape[-2], x.shape[-1]
    half = head_dim // 2
    angle = np.arange(seq)[:, None] * ROPE_THETA ** (-np.arange(half) / half)[None, :]
    cos, sin = np.cos(angle).astype(x.dtype), np.sin(angle).astype(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _causal_attention(q: Array, k: Array, v: Array) -> Array:
    """Softmax attention over the positions at or before each query's.

    `q` is (batch, heads, seq, head_dim), `k` and `v` are (batch, kv_heads, seq, head_dim), and the
    result is like `q`.
    """
    batch, heads, seq, head_dim = q.shape
    grouped = q.reshape(batch, k.shape[1], heads // k.shape[1], seq, head_dim)
    mask = np.triu(np.full((seq, seq), -1e9, dtype=np.float32), k=1)
    scores = grouped @ k[:, :, None].transpose(0, 1, 2, 4, 3)
    scores = scores.astype(np.float32) * (head_dim**-0.5) + mask
    e = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    weights = (e / np.sum(e, axis=-1, keepdims=True)).astype(q.dtype)
    return _linear(weights, v[:, :, None]).reshape(q.shape)
