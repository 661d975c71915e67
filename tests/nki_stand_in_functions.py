"""What activation functions and ALU ops compute, by their names in ``nki.language``."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from nki_stand_in_tensors import Array

ERF = np.frompyfunc(math.erf, 1, 1)


def _erf(x: Array) -> Array:
    return ERF(x.astype(np.float64)).astype(np.float32)


def _sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _erf64(x: Array) -> Array:
    return ERF(x).astype(np.float64)


def _slope(function: Callable[[Array], Array], x: Array) -> Array:
    """The derivative, by central differences in double precision."""
    wide, step = x.astype(np.float64), 1e-5
    return ((function(wide + step) - function(wide - step)) / (2 * step)).astype(np.float32)


FUNCTIONS = {
    "copy": lambda x: x,
    "square": lambda x: x * x,
    "sigmoid": _sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / np.float32(math.sqrt(2)))),
    "gelu_apprx_tanh": lambda x: (
        0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
    "erf": _erf,
    "erf_dx": lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "gelu_apprx_sigmoid": lambda x: x * _sigmoid(1.702 * x),
    "gelu_apprx_sigmoid_dx": lambda x: _slope(lambda z: z * _sigmoid(1.702 * z), x),
    "gelu_dx": lambda x: _slope(lambda z: 0.5 * z * (1 + _erf64(z / math.sqrt(2))), x),
    "silu_dx": lambda x: _slope(lambda z: z * _sigmoid(z), x),
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "arctan": np.arctan,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "sign": np.sign,
    "abs": np.abs,
}
ARITHMETIC = {
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
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "power": np.power,
    "abs_max": lambda a, b: np.maximum(abs(a), abs(b)),
}
UNARY = {"abs": np.abs, "rsqrt": lambda x: 1 / np.sqrt(x)}


def _shift(a: Array, counts: Array, sign: int) -> Array:
    """Shifts of bit patterns, with Python's unbounded integers."""
    bits = 8 * a.dtype.itemsize
    patterns = a.view(f"u{a.dtype.itemsize}").astype(object)
    spread = np.broadcast_to(counts, a.shape).astype(object)
    made = [
        (p << n if sign > 0 else p >> n) % 2**bits if n < bits else 0
        for p, n in zip(patterns.ravel(), spread.ravel(), strict=True)
    ]
    return np.array(made, f"u{a.dtype.itemsize}").view(a.dtype).reshape(a.shape)


BITVEC = {
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "left_shift": lambda a, n: _shift(a, n, 1),
    "right_shift": lambda a, n: _shift(a, n, -1),
}
REDUCTIONS = {"add": np.sum, "maximum": np.max, "minimum": np.min, "multiply": np.prod}
