"""The bridge between programs and the solver: problems, plans, prices and pins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from graph_strategy import Case, graphs
from hypothesis import given, settings
from lowering import compiled

import solver
from cost_models import load_target
from nkigen_lite.api import Compiled
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import clone
from nkigen_lite.errors import NoPlan
from nkigen_lite.nki_ir import overlaps
from nkigen_lite.nki_ir.allocation import Allocation
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.tensor_ir.passes.layout_solver import cost_of
from nkigen_lite.tensor_ir.passes.layout_solver import solve as solving
from nkigen_lite.tensor_ir.passes.lower_to_nki import lower

TRN2 = load_target("trn2")
FLOATS = tuple(d for d in DType if d.is_float)


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def mlp(x: Any, w: Any, v: Any) -> Any:
    return np.maximum(x @ w, 0) @ v


KERNELS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "softmax": (softmax, ("300x1000:f32",)),
    "large_softmax": (softmax, ("4096x4096:bf16",)),
    "mlp": (mlp, ("128x256:bf16", "256x512:bf16", "512x256:bf16")),
    "tall_mlp": (mlp, ("2048x1024:f32", "1024x512:f32", "512x1024:f32")),
    "sum": (lambda x: x.sum(axis=0), ("1009x77:f32",)),
}


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Compiled:
    fn, specs = KERNELS[request.param]
    return compiled(fn, *specs)


def test_the_priced_kernel_is_the_priced_plan(kernel: Compiled) -> None:
    """Candidates are priced by lowering them, so plan and kernel agree to a rounding each."""
    planned: dict[str, int] = {}
    for segment in kernel.plan.segments:
        for resource, ns in segment.busy.items():
            planned[resource] = planned.get(resource, 0) + ns
    cost = cost_of(kernel.nki, TRN2)
    steps = 4 * len(kernel.plan.segments)
    for resource, ns in cost.busy.items():
        assert abs(planned[resource] - ns) <= steps
    assert sum(s.hbm_bytes for s in kernel.plan.segments) == cost.hbm_bytes
    assert cost.sbuf_bytes <= max(s.sbuf_bytes for s in kernel.plan.segments)


def test_plans_obey_the_partition_limit_and_name_every_dimension(kernel: Compiled) -> None:
    for value in kernel.plan.values:
        assert {d.role for d in value.dims} <= {"I", "P", "F"}
        assert sum(d.role == "P" for d in value.dims) <= 1
        for dim in value.dims:
            assert 1 <= dim.tile <= dim.extent
            assert dim.role != "P" or dim.tile <= 128


def test_the_plan_is_never_slower_than_greedy_nor_faster_than_its_bounds(kernel: Compiled) -> None:
    report = kernel.report
    assert report.greedy_us is not None
    assert report.bound_us <= report.predicted_us <= report.greedy_us
    assert report.best_bound_ns <= report.objective_ns


def test_problems_replay_from_json_without_the_compiler(kernel: Compiled) -> None:
    again = solver.Problem.from_json(kernel.problem.to_json())
    report = solver.solve(again, time_limit=2.0)
    assert report.objective_ns == kernel.report.objective_ns
    assert report.solution is not None
    assert solver.check(again, report.solution, claimed_ns=report.objective_ns) == []


def test_a_tiny_time_limit_still_gives_a_legal_kernel() -> None:
    fn, specs = KERNELS["mlp"]
    quick = compiled(fn, *specs, time_limit=0.001)
    assert quick.report.greedy_us is not None
    assert quick.report.predicted_us <= quick.report.greedy_us


def test_a_pinned_location_is_respected() -> None:
    fn, specs = KERNELS["mlp"]
    free = compiled(fn, *specs)
    inner = next(v.name for v in free.plan.values if v.kind == "temp" and v.location == "sbuf")
    pinned = compiled(fn, *specs, constraints=[solver.Pin(inner, location="hbm")])
    assert pinned.plan.value(inner).location == "hbm"
    assert pinned.report.objective_ns > free.report.objective_ns


def test_contradicting_pins_are_named() -> None:
    fn, specs = KERNELS["softmax"]
    pins = [solver.Pin("x", location="sbuf"), solver.Pin("x", location="hbm")]
    with pytest.raises(NoPlan, match="value 'x' is kept in SBUF"):
        compiled(fn, *specs, constraints=pins)


def test_more_bandwidth_never_makes_a_slower_plan() -> None:
    fn, specs = KERNELS["tall_mlp"]
    times = [
        compiled(fn, *specs, target=load_target("trn2", {"dma.load_cap_gbps": gbps})).report
        for gbps in (100.0, 310.0)
    ]
    # Engines in order and an array that warms up make the filling of a pipeline no monotone
    # function of bandwidth; to within that, more is faster.
    costs = [t.objective_ns for t in times]
    assert all(more <= 1.01 * less for less, more in pairwise(costs))
    assert costs[-1] < costs[0]


@given(case=graphs(max_elements=2048, dtypes=FLOATS))
@settings(max_examples=24)
def test_random_plans_price_as_their_kernels_do(case: Case) -> None:
    lowered = lower(clone(case.graph), time_limit=1.0)
    terms = lowered.solved.report.terms
    assert terms is not None
    cost = cost_of(lowered.kernel, TRN2)
    for resource, ns in cost.busy.items():
        assert abs(terms.busy.get(resource, 0) - ns) <= 8 * len(terms.steps)
    assert terms.hbm_bytes == cost.hbm_bytes


# --- addresses -----------------------------------------------------------------------------------


def _solved(monkeypatch: pytest.MonkeyPatch, *overflows: int) -> list[int]:
    """SBUF limits of the problems solved, where the kernels' addresses go that far beyond it."""
    limits: list[int] = []
    excess = iter(overflows)
    solve, place = solver.solve, solving.allocate

    def noted(problem: solver.Problem, **options: Any) -> solver.Report:
        limits.append(problem.sbuf_limit_bytes)
        return solve(problem, **options)

    def allocated(*args: Any, **options: Any) -> Allocation:
        made = place(*args, **options)
        top = made.sbuf.capacity + next(excess, 0)
        return replace(made, sbuf=replace(made.sbuf, top=top))

    monkeypatch.setattr(solving.solver, "solve", noted)
    monkeypatch.setattr(solving, "allocate", allocated)
    compiled(lambda x: np.exp(x) + 1, "256x64:f32")
    return limits


def test_a_kernel_whose_addresses_overflow_is_solved_again_with_less_sbuf(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, third = _solved(monkeypatch, 100, 28)
    assert (first - second, second - third) == (100, 28)


def test_a_kernel_that_gets_no_addresses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoPlan, match=r"the buffers of @kernel on trn2 reach byte 213092 of each"):
        _solved(monkeypatch, *[100] * 9)


def test_the_plan_has_the_addresses_of_every_buffer_on_chip() -> None:
    kernel = compiled(lambda a, b: np.exp(a @ b), "256x128:f32", "128x64:f32")
    allocation = kernel.allocation
    assert kernel.plan.buffers == allocation.places
    made = [op for op in kernel.nki.walk() if op.opcode == "alloc"]
    on_chip = [op for op in made if op.result.type.memory != "hbm"]
    assert [len(p.offsets) for p in allocation.places] == [
        op.attrs["num_buffers"] for op in on_chip
    ]
    assert overlaps.problems(kernel.nki, allocation, Limits.of(kernel.target)) == []
