"""The numpy meaning of elementwise functions keeps its digits everywhere it has any."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from nkigen_lite.core import numerics
from nkigen_lite.core.dtypes import Array, compute_in_f32

X = np.concatenate([np.linspace(-12, 12, 241), [-80.0, -1e-6, 0.0, 1e-6, 80.0]]).astype(np.float32)


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def gelu_tanh(x: float) -> float:
    return x * logistic(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def gelu_exact(x: float) -> float:
    return x * 0.5 * math.erfc(-x / math.sqrt(2))


REFERENCES = [
    (numerics.erf, math.erf, 1e-6),
    (numerics.sigmoid, logistic, 1e-6),
    (numerics.silu, lambda x: x * logistic(x), 1e-6),
    (numerics.gelu_tanh, gelu_tanh, 1e-4),  # float32 rounds the exponent of up to 100 first
    (numerics.gelu_exact, gelu_exact, 1e-6),
    (numerics.relu, lambda x: max(x, 0.0), 0),
]


@pytest.mark.parametrize(
    ("function", "reference", "rtol"), REFERENCES, ids=[f.__name__ for f, _, _ in REFERENCES]
)
def test_function_is_close_to_double_precision(
    function: Callable[[Array], Array], reference: Callable[[float], float], rtol: float
) -> None:
    wanted = np.array([reference(float(x)) for x in X])
    with np.errstate(all="ignore"):
        found = function(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-38)


def test_rsqrt_is_one_over_the_root() -> None:
    x = np.array([0.25, 1.0, 9.0], np.float32)
    np.testing.assert_allclose(numerics.rsqrt(x), [2.0, 1.0, 1 / 3], rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "at_minus_infinity", "at_infinity"),
    [(numerics.sigmoid, 0.0, 1.0), (numerics.erf, -1.0, 1.0), (numerics.relu, 0.0, math.inf)],
)
def test_limits(
    function: Callable[[Array], Array], at_minus_infinity: float, at_infinity: float
) -> None:
    found = function(np.array([-math.inf, math.inf], np.float32))
    assert found.tolist() == [at_minus_infinity, at_infinity]


@pytest.mark.parametrize(
    "name", [n for n, f in numerics.ACTIVATIONS.items() if n not in ("rsqrt", "log", "sqrt")]
)
def test_activations_keep_nan_shape_and_type(name: str) -> None:
    with np.errstate(all="ignore"):
        made = numerics.ACTIVATIONS[name](np.full((2, 1), np.nan, np.float32))
    assert (made.shape, made.dtype) == ((2, 1), np.float32)
    assert np.isnan(made).all()


@pytest.mark.parametrize("name", numerics.ACTIVATIONS)
def test_activations_take_scalars(name: str) -> None:
    made = numerics.ACTIVATIONS[name](np.array(0.5, np.float32))
    assert (np.shape(made), np.asarray(made).dtype) == ((), np.float32)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("logical_and", [False, False, False, True]),
        ("logical_or", [False, True, True, True]),
        ("logical_xor", [False, True, True, False]),
    ],
)
def test_logical_functions_take_the_truth_of_numbers(name: str, wanted: list[bool]) -> None:
    a, b = np.array([0.0, 0.0, 0.5, -3.0]), np.array([0.0, 2.0, 0.0, np.nan])
    assert numerics.ARITHMETIC[name](a, b).tolist() == wanted


def test_narrow_floats_compute_in_float32() -> None:
    seen: list[np.dtype[np.generic]] = []

    def spy(x: Array, y: Array) -> Array:
        seen.extend([x.dtype, y.dtype])
        return x

    compute_in_f32(spy)(np.ones(2, np.float16), np.ones(2, np.int8))
    assert seen == [np.float32, np.int8]
