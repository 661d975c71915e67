"""What lowering tests share: compiling a numpy function and judging its tiles against numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

import nkigen_lite
from nkigen_lite.api import Compiled

Array = np.ndarray[Any, np.dtype[Any]]
BF16 = ml_dtypes.bfloat16
TOLERANCE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def arrays(
    shapes: Sequence[tuple[int, ...]], dtype: Any = np.float32, seed: int = 0
) -> list[Array]:
    """Normal floats or small integers."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        return [rng.integers(0, 9, s).astype(dtype) for s in shapes]
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def compiled(fn: Callable[..., Any], *specs: Any, **options: Any) -> Compiled:
    return nkigen_lite.compile(fn, *specs, name="kernel", **{"time_limit": 2.0, **options})


def assert_lowers(
    fn: Callable[..., Any], *inputs: Array, tolerance: float | None = None
) -> Compiled:
    """The compiled function computes what numpy does, relative to the largest element."""
    kernel = compiled(fn, *inputs)
    found = kernel(*inputs)
    wide = [x.astype(np.float32) if x.dtype.kind not in "iub" else x for x in inputs]
    wanted = fn(*wide)
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    for got, want in pairs:
        want = np.asarray(want, dtype=np.float64)
        assert got.shape == want.shape
        allowed = tolerance or TOLERANCE.get(inputs[0].dtype.name, 0.3)
        scale = np.abs(want).max() + 1e-6
        assert np.abs(got.astype(np.float64) - want).max() <= allowed * scale
    return kernel
