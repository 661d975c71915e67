"""Layer normalisation over the last axis."""

from __future__ import annotations

import numpy as np


def layernorm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """`x` (rows, hidden) with each row at mean 0 and variance 1, times `weight` plus `bias`.

    `weight` and `bias` have the shape (hidden,). The statistics are taken in float32, with 1e-5
    added to the variance; the result has the dtype of `x`.
    """
    x32 = x.astype(np.float32)
    centred = x32 - np.mean(x32, axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    return (centred / np.sqrt(variance + 1e-5)).astype(x.dtype) * weight + bias
