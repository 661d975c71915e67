"""32-bit integers beyond 2^24: what kernels compare is what numpy compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nki_stand_in import run_emitted

import nkigen_lite
from nkigen_lite.core.dtypes import DType
from nkigen_lite.tensor_ir import Builder
from nkigen_lite.tensor_ir.passes.decompose import decompose

COMPARISONS = (np.equal, np.not_equal, np.greater, np.greater_equal, np.less, np.less_equal)
NEAR = np.int32([2**30, 2**30 + 1, 2**24 + 1, -(2**30), -(2**30) - 1, 2**31 - 1, -(2**31) + 1, 0])


@pytest.mark.parametrize("compare", COMPARISONS, ids=lambda f: f.__name__)
def test_neighbours_are_told_apart(compare: Callable[..., Any]) -> None:
    x, y = (np.ascontiguousarray(a) for a in np.meshgrid(NEAR, NEAR))
    kernel = nkigen_lite.compile(lambda a, b: compare(a, b), x, y, time_limit=1.0, name="compared")
    (made,) = run_emitted(kernel.emit(), [x, y])
    np.testing.assert_array_equal(made.astype(bool), compare(x, y))


def test_magnitudes_keep_all_bits() -> None:
    x = np.tile(NEAR, (4, 1))
    kernel = nkigen_lite.compile(lambda a: np.abs(a), x, time_limit=1.0, name="magnitude")
    (made,) = run_emitted(kernel.emit(), [x])
    np.testing.assert_array_equal(made, np.abs(x))


@pytest.mark.parametrize("number", [5, 2**24])
def test_small_numbers_are_compared_as_they_are(number: int) -> None:
    b = Builder()
    x = b.add_input("x", (4,), DType.I32)
    b.set_outputs({"y": b.greater(x, b.full((4,), number, DType.I32))})
    decompose(b.graph)
    assert ("maximum" in [op.opcode for op in b.graph.ops]) == (number == 2**24)
