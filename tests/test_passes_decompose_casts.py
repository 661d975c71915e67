"""Casts from floats to integers, which truncate whichever way engines round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nkigen_lite.core.dtypes import DType
from nkigen_lite.tensor_ir import Builder, run
from nkigen_lite.tensor_ir.passes.decompose import decompose


@pytest.mark.parametrize("dtype", [d for d in DType if d.is_integer], ids=str)
@pytest.mark.parametrize("rounds", [np.trunc, np.rint])
def test_casts_to_integers_truncate_however_engines_round(
    dtype: DType, rounds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling = [
        np.inf,
        -np.inf,
        np.nan,
        1e30,
        -1e30,
        3e9,
        -3e9,
        2.0**31,
        2.0**23 - 0.5,
        2.0**31 - 128,
    ]
    x = np.float32([*telling, *np.arange(-600, 600) / 4])
    b = Builder()
    b.set_outputs({"y": b.cast(b.add_input("x", x.shape), dtype)})
    expected = run(b.graph, {"x": x})["y"]
    decompose(b.graph)
    monkeypatch.setattr(np, "trunc", rounds)
    np.testing.assert_array_equal(run(b.graph, {"x": x})["y"], expected)


@pytest.mark.parametrize("whole", ["floor", "sign"])
def test_casts_of_whole_numbers_stay_as_they_are(whole: str) -> None:
    b = Builder()
    x = b.call(whole, b.add_input("x", (4,)))
    b.set_outputs({"y": b.cast(b.reshape(b.add(x, x), (2, 2)), DType.I32)})
    decompose(b.graph)
    assert sum(op.opcode == "near_integer" for op in b.graph.ops) == (whole == "floor")
