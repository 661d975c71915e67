"""Gated feed-forward network, SwiGLU."""

from __future__ import annotations

import numpy as np


def mlp_swiglu(
    x: np.ndarray, w_gate: np.ndarray, w_up: np.ndarray, w_down: np.ndarray
) -> np.ndarray:
    """silu(`x` @ `w_gate`) * (`x` @ `w_up`) @ `w_down`, with the shape and dtype of `x`.

    `x` is (rows, hidden), `w_gate` and `w_up` are (hidden, inner), `w_down` is (inner, hidden).
    The activation silu(g) = g / (1 + exp(-g)) is evaluated in float32.
    """
    gate = (x @ w_gate).astype(np.float32)
    up = (x @ w_up).astype(x.dtype)
    gated = (gate / (1.0 + np.exp(-gate))).astype(x.dtype) * up
    return (gated @ w_down).astype(x.dtype)
