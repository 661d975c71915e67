"""Root-mean-square normalisation over the last axis."""

from __future__ import annotations

import numpy as np


def rmsnorm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`x` (rows, hidden) over the root mean square of its row, times `weight` (hidden,).

    The mean square is taken in float32, with 1e-6 added; the result has the dtype of `x`.
    """
    x32 = x.astype(np.float32)
    mean_square = np.mean(x32 * x32, axis=-1, keepdims=True)
    return (x32 / np.sqrt(mean_square + 1e-6)).astype(x.dtype) * weight
