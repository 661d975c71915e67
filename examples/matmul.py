"""Matrix product."""

from __future__ import annotations

import numpy as np


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a` (m, k) times `b` (k, n): a result of shape (m, n) with the dtype of `a`."""
    return (a @ b).astype(a.dtype)
