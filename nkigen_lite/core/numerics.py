"""The numpy meaning of every elementwise function, written once for both IRs.

All take and return arrays of one float (or integer) type; callers widen narrow floats to float32
before and round afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nkigen_lite.core.dtypes import Array

_erf_each = np.frompyfunc(math.erf, 1, 1)
_erfc_each = np.frompyfunc(math.erfc, 1, 1)


def erf(x: Array) -> Array:
    """The error function, in double precision inside."""
    return np.asarray(_erf_each(x.astype(np.float64)), dtype=np.float64).astype(x.dtype)


def normal_cdf(x: Array) -> Array:
    """The normal distribution function, in double precision; erfc keeps the digits of its tail."""
    return np.asarray(0.5 * _erfc_each(x.astype(np.float64) / -math.sqrt(2.0)), dtype=np.float64)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow and without cancellation whatever the sign of x."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, small, 1.0) / (1.0 + small)).astype(x.dtype)


def silu(x: Array) -> Array:
    """x * sigmoid(x)."""
    return np.asarray(x * sigmoid(x))


def gelu_tanh(x: Array) -> Array:
    """Gaussian error linear unit in its tanh form (Hendrycks & Gimpel 2016).

    0.5 * x * (1 + tanh(z)) is x * sigmoid(2 * z), which loses no digits where tanh nears -1.
    """
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)
    return np.asarray(x * sigmoid(2.0 * inner)).astype(x.dtype)


def gelu_exact(x: Array) -> Array:
    """x times the normal distribution function of x."""
    return np.asarray(x * normal_cdf(x)).astype(x.dtype)


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, np.zeros((), x.dtype))


def rsqrt(x: Array) -> Array:
    """1 / sqrt(x)."""
    return np.asarray(1.0 / np.sqrt(x)).astype(x.dtype)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return np.asarray(np.logaddexp(x, np.zeros((), x.dtype)))


def normal_density(x: Array) -> Array:
    """The density of the normal distribution, in double precision."""
    wide = x.astype(np.float64)
    return np.asarray(np.exp(-0.5 * wide * wide) / math.sqrt(2.0 * math.pi))


def gelu_sigmoid(x: Array) -> Array:
    """x * sigmoid(1.702 * x), the sigmoid form of GELU (Hendrycks & Gimpel 2016)."""
    return np.asarray(x * sigmoid(1.702 * x)).astype(x.dtype)


def gated_slope(x: Array, factor: float) -> Array:
    """The derivative of x * sigmoid(factor * x)."""
    gate = sigmoid(factor * x)
    return np.asarray(gate * (1.0 + factor * x * (1.0 - gate))).astype(x.dtype)


def truth(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """``function`` of the truth values of its arguments."""
    return lambda a, b: function(a != 0, b != 0)


# The vendor's names (nl.*) of the functions ScalarE evaluates.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "copy": lambda x: x,
    "square": np.square,
    "sigmoid": sigmoid,
    "relu": relu,
    "gelu": gelu_exact,
    "gelu_apprx_tanh": gelu_tanh,
    "silu": silu,
    "tanh": np.tanh,
    "erf": erf,
    "erf_dx": lambda x: np.asarray(2.0 / math.sqrt(math.pi) * np.exp(-x * x)).astype(x.dtype),
    "softplus": softplus,
    "mish": lambda x: np.asarray(x * np.tanh(softplus(x))),
    "gelu_apprx_sigmoid": gelu_sigmoid,
    "gelu_apprx_sigmoid_dx": lambda x: gated_slope(x, 1.702),
    "gelu_dx": lambda x: np.asarray(normal_cdf(x) + x * normal_density(x)).astype(x.dtype),
    "silu_dx": lambda x: gated_slope(x, 1.0),
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "arctan": np.arctan,
    "sqrt": np.sqrt,
    "rsqrt": rsqrt,
    "reciprocal": np.reciprocal,
    "sign": np.sign,
    "abs": np.abs,
}

# The vendor's names of the arithmetic that VectorE and GpSimd do, two operands each.
ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": truth(np.logical_and),
    "logical_or": truth(np.logical_or),
    "logical_xor": truth(np.logical_xor),
    "power": np.power,
    "abs_max": lambda a, b: np.maximum(np.abs(a), np.abs(b)),
}
BITWISE: dict[str, Callable[[Array, Array], Array]] = {
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
}


def _logical(shift: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """A shift of the bits alone: zeros come in, also to the right of a sign; all bits may go."""

    def shifted(a: Array, count: Array) -> Array:
        bits = a.dtype.itemsize * 8
        unsigned = a.astype(f"u{a.dtype.itemsize}")
        by = np.asarray(count).astype(np.int64)
        kept = (by >= 0) & (by < bits)
        made = shift(unsigned, np.where(kept, by, 0).astype(unsigned.dtype))
        return np.where(kept, made, 0).astype(a.dtype)

    return shifted


SHIFTS: dict[str, Callable[[Array, Array], Array]] = {
    "left_shift": _logical(np.left_shift),
    "right_shift": _logical(np.right_shift),
}

# Functions of one operand among the vector engines' operations.
UNARY: dict[str, Callable[[Array], Array]] = {"abs": np.abs, "rsqrt": rsqrt}
REDUCTIONS: dict[str, Callable[..., Array]] = {
    "add": np.sum,
    "multiply": np.prod,
    "maximum": np.max,
    "minimum": np.min,
}
