"""Causal attention with many heads."""

from __future__ import annotations

import numpy as np


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Each query's mean of the values at or before its position, weighted by softmax.

    `q`, `k`, `v` and the result have the shape (batch, heads, seq, head_dim) and one dtype. The
    scores are scaled by 1 / sqrt(head_dim); the softmax is evaluated in float32.
    """
    seq, head_dim = q.shape[-2], q.shape[-1]
    mask = np.triu(np.full((seq, seq), -1e9, dtype=np.float32), k=1)
    scores = (q @ k.transpose(0, 1, 3, 2)).astype(np.float32) * (head_dim**-0.5) + mask
    e = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    weights = (e / np.sum(e, axis=-1, keepdims=True)).astype(q.dtype)
    return (weights @ v).astype(q.dtype)
