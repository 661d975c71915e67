"""The solver's prices and the simulator's, on the same kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import nkigen_lite
import solver
from cost_models import load_target
from nkigen_lite.nki_ir.simulate import simulate_kernel
from nkigen_lite.tensor_ir.passes.layout_solver import cost_of

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


# With a warm PE array and activation tables in place an instruction takes its engine as long in the
# simulator as in the sums by which plans are chosen.
STEADY = load_target("trn2", {"tensor.cold_rate": 1, "scalar.table_load_ns": 0})


def attention(q: Any, k: Any, v: Any) -> Any:
    scores = np.exp(q @ k.T / 8)
    return scores / scores.sum(-1, keepdims=True) @ v


SEVERAL: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "softmax": (lambda a: np.exp(a) / np.exp(a).sum(-1, keepdims=True), ("1000x700",)),
    "attention": (attention, ("512x64", "512x64", "512x64")),
    "two products": (lambda a, b: np.tanh(a @ b) @ b, ("300x256:bf16", "256x256:bf16")),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_segment_is_charged_its_simulated_time(name: str) -> None:
    function, specs = SINGLE[name]
    arguments = [nkigen_lite.parse_spec(spec) for spec in specs]
    # Every value in HBM between segments, so that the kernel is one segment and nothing else.
    names = list(nkigen_lite.trace(function, arguments).graph.inputs)
    pins = [solver.Pin(value.name, location="hbm") for value in names]
    made = nkigen_lite.compile(function, *arguments, constraints=pins, name="single")
    assert [s.kind for s in made.plan.segments] == ["segment"]
    simulated = simulate_kernel(made.nki, made.target).time_ns
    assert made.report.objective_ns == pytest.approx(simulated, rel=0.05)
    assert made.report.simulated_us == pytest.approx(simulated / 1000)


@pytest.mark.parametrize("name", [*SINGLE, *SEVERAL])
def test_engines_are_busy_for_as_long_as_the_prices_of_their_instructions_add_up_to(
    name: str,
) -> None:
    function, specs = {**SINGLE, **SEVERAL}[name]
    arguments = [nkigen_lite.parse_spec(spec) for spec in specs]
    made = nkigen_lite.compile(function, *arguments, target=STEADY, name="kernel")
    cost = cost_of(made.nki, STEADY)
    timeline = simulate_kernel(made.nki, STEADY)
    simulated = {engine: used.busy_ns for engine, used in timeline.engines.items()}
    simulated["dma"] = timeline.transfer_ns
    assert {engine for engine, ns in simulated.items() if ns} == {
        e for e in cost.busy if cost.busy[e]
    }
    for engine, ns in cost.busy.items():
        assert simulated[engine] == pytest.approx(ns, rel=0.001), engine
    assert (timeline.instructions, timeline.transfers) == (cost.instructions, cost.dmas)


def test_stores_take_scalar_and_loads_take_sync_in_both() -> None:
    made = nkigen_lite.compile(np.exp, "2048x2048", target=STEADY, name="kernel")
    busy = cost_of(made.nki, STEADY).busy
    assert {"sync", "scalar", "dma"} <= busy.keys()
    only = replace(STEADY, dma=replace(STEADY.dma, issue_hardware_ns=0.0))
    freed = {e: busy[e] - ns for e, ns in cost_of(made.nki, only).busy.items() if busy[e] != ns}
    assert freed.keys() == {"sync", "scalar"}
    before, after = (simulate_kernel(made.nki, t).engines for t in (STEADY, only))
    for engine, ns in freed.items():
        assert before[engine].busy_ns - after[engine].busy_ns == pytest.approx(ns, rel=0.001)
