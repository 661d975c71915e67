"""The solver's closed form and the simulator, on kernels of one operation: the same prices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nkigen_lite
import solver
from nkigen_lite.nki_ir.simulate import simulate_kernel

SINGLE: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "add": (lambda a, b: a + b, ("1000x1000", "1000x1000")),
    "scale": (lambda a: a * 3, ("129x4097:bf16",)),
    "exp": (np.exp, ("2048x2048",)),
    "exp bf16": (np.exp, ("127x515:bf16",)),
    "sum of rows": (lambda a: a.sum(-1), ("4096x513",)),
    "sum of columns": (lambda a: a.sum(0), ("1000x700",)),
    "max": (lambda a: a.max(-1), ("3x128x1000:bf16",)),
    "matmul": (lambda a, b: a @ b, ("512x384", "384x1000")),
    "matmul bf16": (lambda a, b: a @ b, ("1024x1024:bf16", "1024x2048:bf16")),
    "matrix by vector": (lambda a, b: a @ b, ("1x2048:bf16", "2048x4099:bf16")),
    "transpose": (lambda a: a.T, ("1000x513",)),
    "broadcast": (lambda a, b: a + b, ("700x1000", "1000")),
    "reciprocal": (lambda a: 1 / a, ("128x128",)),
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_operation_costs_the_same_in_the_solver_and_in_the_simulator(name: str) -> None:
    function, specs = SINGLE[name]
    arguments = [nkigen_lite.parse_spec(spec) for spec in specs]
    # Every value in HBM between segments, so that the kernel is one segment and nothing else.
    names = list(nkigen_lite.trace(function, arguments).graph.inputs)
    pins = [solver.Pin(value.name, location="hbm") for value in names]
    made = nkigen_lite.compile(function, *arguments, pins=pins, name="single")
    assert [s.kind for s in made.plan.segments] == ["segment"]
    simulated = simulate_kernel(made.nki, made.target).time_ns
    assert made.report.objective_ns == pytest.approx(simulated, rel=0.05)
    assert made.report.simulated_us == pytest.approx(simulated / 1000)
