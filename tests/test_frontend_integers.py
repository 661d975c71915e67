"""Integer programs are exact: the traced graph gives numpy's integers, in 32 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nkigen_lite.frontend import trace

PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "sums": lambda a, b: a + b - 3 * a,
    "floor_divide": lambda a, b: a // b,
    "floor_divide by a scalar": lambda a, b: a // -3,
    "remainder": lambda a, b: a % b,
    "fmod": np.fmod,
    "divmod": lambda a, b: divmod(a, b)[0] * b + divmod(a, b)[1],
    "signs": lambda a, b: np.sign(a) * abs(b),
    "powers": lambda a, b: a**3 + np.square(b),
    "extremes": lambda a, b: np.maximum(a, b) * np.minimum(a, b),
    "clip": lambda a, b: np.clip(a, -2, 3),
    "bits": lambda a, b: (a & b) | (~a ^ 5),
    "select": lambda a, b: np.where(a > b, a, 0),
    "reduce": lambda a, b: np.sum(a, axis=0) + np.max(b, axis=0) - np.min(a),
    "prod": lambda a, b: np.prod(a[:, :3], axis=1),
    "count": lambda a, b: np.sum(a == b, axis=-1),
    "matmul": lambda a, b: a @ b.T,
    "einsum": lambda a, b: np.einsum("ij,ij->j", a, b),
    "round": lambda a, b: np.round(a) + np.floor(b) + np.trunc(a) + np.ceil(b),
    "joins": lambda a, b: np.pad(np.concatenate([a, b]), 1, constant_values=7),
    "triangle": lambda a, b: np.tril(a) + np.triu(b, 1),
    "concrete": lambda a, b: a * np.array([3, 1, 4, 1, 5]) + np.arange(5),
}


# numpy refuses or wraps the negative scalars in these when the arrays are unsigned.
SIGNED = {"sums", "floor_divide by a scalar", "clip", "bits"}
RUNS = [
    (name, dtype)
    for name in PROGRAMS
    for dtype in (np.int32, np.int16, np.uint16)
    if name not in SIGNED or np.dtype(dtype).kind == "i"
]


@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_integer_program_is_exact(name: str, dtype: type) -> None:
    rng = np.random.default_rng(9)
    low = 0 if np.dtype(dtype).kind == "u" else -9
    a, b = rng.integers(low, 9, (2, 4, 5)).astype(dtype)
    b = np.where(b == 0, 2, b).astype(dtype)
    with np.errstate(all="ignore"):
        expected = PROGRAMS[name](a, b)
    got = trace(PROGRAMS[name], [a, b]).run(a, b)
    np.testing.assert_array_equal(got, expected)
    if expected.dtype.itemsize == 8:
        assert got.dtype.itemsize == 4
    else:
        assert got.dtype == expected.dtype


def test_ratios_and_means_of_integers_are_f32() -> None:
    a, b = np.array([[7, -2, 9]], np.int32), np.array([[2], [-4]], np.int32)
    got = trace(lambda a, b: a / b + np.mean(a) + np.sqrt(abs(b)), [a, b]).run(a, b)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, a / b + np.mean(a) + np.sqrt(abs(b)), rtol=1e-6)
