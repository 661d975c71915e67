"""Linear layer with a GELU activation."""

from __future__ import annotations

import numpy as np


def gelu_linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """GELU of `x` (rows, k) times `weight` (k, n) plus `bias` (n,): a result (rows, n).

    The tanh form of GELU (Hendrycks and Gimpel, arXiv 1606.08415) is evaluated in float32; the
    result has the dtype of `x`.
    """
    y = (x @ weight).astype(np.float32) + bias.astype(np.float32)
    inner = 0.7978845608028654 * (y + 0.044715 * (y * y * y))  # sqrt(2 / pi)
    return (0.5 * y * (1.0 + np.tanh(inner))).astype(x.dtype)
