"""A decoder layer of Qwen3-0.6B in plain numpy.

Sizes and constants are those of the public model configuration of Qwen3-0.6B: hidden size 1024,
16 query heads, 8 key/value heads, head size 128, feed-forward size 3072, RMSNorm epsilon 1e-6,
RoPE theta 1e6. Matrix products and elementwise results keep the dtype of the input; statistics
of norms, softmax and the activation are evaluated in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

EPS = 1e-6
ROPE_THETA = 1e6

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Sizes:
    """What fixes the shapes of a layer's weights; every field counts elements or heads."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int


QWEN3_0_6B = Sizes(hidden=1024, heads=16, kv_heads=8, head_dim=128, ffn=3072)


def qwen3_layer(
    x: Array,
    wq: Array,
    wk: Array,
    wv: Array,
    wo: Array,
    q_norm: Array,
    k_norm: Array,
    input_norm: Array,
    post_norm: Array,
    w_gate: Array,
    w_up: Array,
    w_down: Array,
) -> Array:
    """One decoder layer: `x` and the result have the shape (batch, seq, hidden) and one dtype.

    `wq` is (hidden, heads * head_dim), `wk` and `wv` (hidden, kv_heads * head_dim), `wo`
    (heads * head_dim, hidden), `w_gate` and `w_up` (hidden, ffn), `w_down` (ffn, hidden);
    `q_norm` and `k_norm` are (head_dim,), `input_norm` and `post_norm` (hidden,).
    """
    batch, seq, _ = x.shape
    head_dim = q_norm.shape[0]
    kv_heads = wk.shape[1] // head_dim
    group = wq.shape[1] // wk.shape[1]

    # Query head h reads key/value head h // group: (kv_heads, group) against (kv_heads, 1).
    h = _rms_norm(x, input_norm)
    q = _rms_norm(_linear(h, wq).reshape(batch, seq, kv_heads, group, head_dim), q_norm)
    k = _rms_norm(_linear(h, wk).reshape(batch, seq, kv_heads, 1, head_dim), k_norm)
    v = _linear(h, wv).reshape(batch, seq, kv_heads, 1, head_dim)
    attended = _causal_attention(
        _rotate(q.transpose(0, 2, 3, 1, 4)),
        _rotate(k.transpose(0, 2, 3, 1, 4)),
        v.transpose(0, 2, 3, 1, 4),
    )
    merged = attended.transpose(0, 3, 1, 2, 4).reshape(batch, seq, kv_heads * group * head_dim)
    x = x + _linear(merged, wo)

    h = _rms_norm(x, post_norm)
    gated = _silu(_linear(h, w_gate)) * _linear(h, w_up)
    return x + _linear(gated, w_down)


def shapes_of(
    batch: int = 1, seq: int = 128, *, sizes: Sizes = QWEN3_0_6B
) -> dict[str, tuple[int, ...]]:
    """Of the arguments of `qwen3_layer`, by name and in the order of its parameters."""
    q_width = sizes.heads * sizes.head_dim
    kv_width = sizes.kv_heads * sizes.head_dim
    return {
        "x": (batch, seq, sizes.hidden),
        "wq": (sizes.hidden, q_width),
        "wk": (sizes.hidden, kv_width),
        "wv": (sizes.hidden, kv_width),
        "wo": (q_width, sizes.hidden),
        "q_norm": (sizes.head_dim,),
        "k_norm": (sizes.head_dim,),
        "input_norm": (sizes.hidden,),
        "post_norm": (sizes.hidden,),
        "w_gate": (sizes.hidden, sizes.ffn),
        "w_up": (sizes.hidden, sizes.ffn),
        "w_down": (sizes.ffn, sizes.hidden),
    }


def make_weights(
    seed: int, dtype: DTypeLike, batch: int = 1, seq: int = 128, *, sizes: Sizes = QWEN3_0_6B
) -> dict[str, Array]:
    """Random arguments for `qwen3_layer`, by parameter name and in the order of its parameters.

    `x` is (batch, seq, hidden), standard normal. Matrices have standard deviation
    1 / sqrt(rows), so that products keep the scale of their input; norm weights lie near one.
    The same seed gives the same values in every dtype, up to its rounding.
    """
    rng = np.random.default_rng(seed)
    arrays = {
        name: rng.standard_normal(shape)
        for name, shape in shapes_of(batch, seq, sizes=sizes).items()
    }
    for name, drawn in arrays.items():
        if drawn.ndim == 1:
            arrays[name] = 1.0 + 0.1 * drawn
        elif drawn.ndim == 2:
            arrays[name] = drawn / np.sqrt(drawn.shape[0])
    return {name: array.astype(dtype) for name, array in arrays.items()}


def _linear(x: Array, weight: Array) -> Array:
    return (x @ weight).astype(x.dtype)


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
    cos = np.concatenate([np.cos(angle), np.cos(angle)], axis=-1).astype(np.float32)
    sin = np.concatenate([np.sin(angle), np.sin(angle)], axis=-1).astype(np.float32)
    rotated = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return x * cos.astype(x.dtype) + rotated * sin.astype(x.dtype)


def _causal_attention(q: Array, k: Array, v: Array) -> Array:
    """Softmax attention over the positions at or before each query's.

    `q` is (..., group, seq, head_dim), `k` and `v` are (..., 1, seq, head_dim).
    """
    seq, head_dim = q.shape[-2], q.shape[-1]
    mask = np.triu(np.full((seq, seq), -1e9, dtype=np.float32), k=1)
    scores = (q @ k.transpose(0, 1, 2, 4, 3)).astype(np.float32) * (head_dim**-0.5) + mask
    e = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    weights = (e / np.sum(e, axis=-1, keepdims=True)).astype(q.dtype)
    return _linear(weights, v)


def _silu(x: Array) -> Array:
    x32 = x.astype(np.float32)
    return (x32 / (1.0 + np.exp(-x32))).astype(x.dtype)
