"""Rotary position embedding."""

from __future__ import annotations

import numpy as np


def rope(x: np.ndarray) -> np.ndarray:
    """`x` (batch, heads, seq, head_dim) turned by its position, in the rotate-half form.

    Feature i of the first half and feature i of the second half are one plane, turned at
    position p by p * 10000 ** (-2 i / head_dim) radians (Su et al., arXiv 2104.09864). The tables
    depend on the shape alone; the result has the shape and dtype of `x`.
    """
    seq, head_dim = x.shape[-2], x.shape[-1]
    half = head_dim // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    angle = np.arange(seq)[:, None] * frequency[None, :]
    cos = np.concatenate([np.cos(angle), np.cos(angle)], axis=-1).astype(np.float32)
    sin = np.concatenate([np.sin(angle), np.sin(angle)], axis=-1).astype(np.float32)
    rotated = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return x * cos.astype(x.dtype) + rotated * sin.astype(x.dtype)
