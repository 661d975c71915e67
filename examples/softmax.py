"""Softmax over the last axis."""

from __future__ import annotations

import numpy as np


def softmax(x: np.ndarray) -> np.ndarray:
    """Exponentials of `x` (rows, columns), scaled so that each row sums to one.

    The row's maximum is taken off first, so that no exponential overflows. The work is done in
    float32; the result has the shape and dtype of `x`.
    """
    x32 = x.astype(np.float32)
    e = np.exp(x32 - np.max(x32, axis=-1, keepdims=True))
    return (e / np.sum(e, axis=-1, keepdims=True)).astype(x.dtype)
