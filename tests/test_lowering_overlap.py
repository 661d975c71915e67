"""Segments with matmuls inside, stages that overlap, and results that stay in PSUM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lowering import BF16, arrays, assert_lowers, compiled

import solver
from cost_models import load_target
from nkigen_lite.frontend import trace
from nkigen_lite.nki_ir import Builder
from nkigen_lite.nki_ir.interpret import run as run_kernel
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.types import Affine
from nkigen_lite.nki_ir.verify import check
from nkigen_lite.tensor_ir.passes.axes import Axis, Program, analyse
from nkigen_lite.tensor_ir.passes.direct_lower import lower_schedule
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import Ranges
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import overlapped
from nkigen_lite.tensor_ir.passes.layout_solver.planning import schedule_of
from nkigen_lite.tensor_ir.passes.layout_solver.problem import Planner
from nkigen_lite.tensor_ir.passes.layout_solver.units import Unit
from nkigen_lite.tensor_ir.passes.lower_to_nki import simplify
from nkigen_lite.tensor_ir.passes.schedule import Loop

TRN2 = load_target("trn2")


def attention(q: Any, k: Any, v: Any) -> Any:
    scores = (q @ k.swapaxes(-1, -2)).astype(np.float32) * 0.125
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return ((e / e.sum(-1, keepdims=True)).astype(q.dtype) @ v).astype(q.dtype)


def layernorm(x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-6)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def program(fn: Callable[..., Any], *specs: str) -> Program:
    graph = trace(fn, list(specs)).graph
    simplify(graph)
    return analyse(graph)


# --- the order of stages -------------------------------------------------------------------------


@pytest.mark.parametrize(("stages", "trips"), [(2, 2), (2, 3), (2, 9), (3, 3), (3, 7), (4, 5)])
def test_every_stage_runs_once_in_each_iteration_and_one_iteration_apart(
    stages: int, trips: int
) -> None:
    axis, b = Axis("a", trips * 8 + 3), Builder("loop")
    made: list[tuple[int, Affine]] = []

    def stage(number: int, ranges: Ranges, ended: int) -> None:
        made.append((number, ranges[axis].start))

    prepared: list[int] = []
    before: list[int] = []

    def prepare(number: int) -> None:
        prepared.append(number)
        before.append(len(made))
        assert b.graph is top

    top = b.graph
    overlapped(b, Loop(axis, 8), {}, stages, stage, prepare)
    firsts = [next(at for at, (number, _) in enumerate(made) if number == s) for s in prepared]
    assert prepared == list(range(stages))
    assert all(at <= first for at, first in zip(before, firsts, strict=True))
    ran = [(number, start // 8) for number, start in _unrolled(made, trips - stages + 1)]
    assert sorted(ran) == [(s, i) for s in range(stages) for i in range(trips)]
    assert all(ran.index((s, i)) < ran.index((s + 1, i)) for s, i in ran if s + 1 < stages)
    for s, i in ran:
        if s + 1 < stages and i + 1 < trips:
            assert ran.index((s, i + 1)) < ran.index((s + 1, i))


def _unrolled(made: list[tuple[int, Affine]], trips: int) -> list[tuple[int, int]]:
    """The calls with the loop's index counted out; those inside it come one after the other."""
    inside = [m for m in made if m[1].terms]
    first = made.index(inside[0]) if inside else len(made)
    flat = [(n, start.const) for n, start in made[:first]]
    for index in range(trips if inside else 0):
        flat += [(n, s.const + sum(f * index for _, f in s.terms)) for n, s in inside]
    return flat + [(n, s.const) for n, s in made[first + len(inside) :]]


# --- what is computed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 2, 256, 64), BF16),
        ((3, 200, 32), np.float32),
        ((1, 130, 128), BF16),
        ((5, 7, 3), np.float32),
        ((1, 1, 1), np.float32),
    ],
)
def test_attention_of_any_shape_agrees_with_numpy(shape: tuple[int, ...], dtype: Any) -> None:
    q, k, v = arrays([shape] * 3, dtype)
    assert_lowers(attention, q, k, v)


def unbounded(x: Any, v: Any) -> Any:
    e = np.exp(x.astype(np.float32))
    return (e / e.sum(-1, keepdims=True)).astype(v.dtype) @ v


def bounded(x: Any, v: Any) -> Any:
    return softmax(x.astype(np.float32)).astype(v.dtype) @ v


@pytest.mark.parametrize(("fn", "last"), [(bounded, "mul"), (unbounded, "matmul")])
def test_only_bounded_exponentials_are_divided_after_their_product(
    fn: Callable[..., Any], last: str
) -> None:
    op = program(fn, "130x70:f16", "70x40:f16").steps[-1].op
    assert op is not None
    assert op.opcode == last


def test_exponentials_above_the_largest_of_a_narrow_type_are_divided_first() -> None:
    x, v = arrays([(130, 70), (70, 40)], np.float16)
    assert_lowers(unbounded, x + np.float16(12), v)


def test_attention_keeps_scores_on_chip() -> None:
    kernel = compiled(attention, *["1x2x512x64:bf16"] * 3)
    temps = {v.location for v in kernel.plan.values if v.kind == "temp"}
    assert "hbm" not in temps
    assert kernel.report.hbm_bytes == kernel.report.compulsory_bytes


CASES: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "attention": (attention, ("2x256x32:bf16", "2x256x32:bf16", "2x256x32:bf16")),
    "layernorm": (layernorm, ("520x300",)),
    "softmax": (softmax, ("520x300",)),
}


class Fusing(Planner):
    """A planner that fuses small values, too."""

    def pays(self, chain: tuple[Unit, ...]) -> bool:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_segments_that_overlap_iterations_or_share_work_compute_the_function(name: str) -> None:
    fn, specs = CASES[name]
    planner = Fusing(program(fn, *specs), TRN2)
    problem = planner.problem()
    shapes = [tuple(map(int, s.split(":")[0].split("x"))) for s in specs]
    given = arrays(shapes, BF16 if "bf16" in specs[0] else np.float32)
    wanted = np.asarray(fn(*given)).astype(np.float32)
    runs = {c.name: planner.priced[c.name].run for c in problem.candidates}
    tried = 0
    for candidate in reversed(problem.candidates):  # the longest fused runs come last
        run = runs[candidate.name]
        found = None
        if (run.cuts or run.engines) and tried < 4:
            found = _run_with(planner, problem, candidate, given)
        if found is not None:
            tried += 1
            worst = np.abs(found - wanted).max()
            assert worst <= 3e-2 * np.abs(wanted).max(), (candidate.name, run)
    assert tried


def _run_with(
    planner: Planner, problem: solver.Problem, candidate: solver.Candidate, given: list[Any]
) -> Any:
    """What the kernel of the best plan that uses a candidate, and else ops alone, computes; None
    if there is no such plan."""
    others = [c for c in problem.candidates if len(c.ops) == 1 and c.ops[0] not in candidate.ops]
    forced = replace(problem, candidates=(candidate, *others))
    report = solver.solve(forced)
    if report.solution is None:
        return None
    kernel = lower_schedule(schedule_of(planner, report.solution))
    check(kernel, Limits.of(TRN2))
    inputs = {v.name: np.ascontiguousarray(a) for v, a in zip(kernel.inputs, given, strict=False)}
    for value in kernel.outputs.values():
        inputs[value.name] = np.zeros(value.type.shape, value.type.dtype.np)
    (found,) = run_kernel(kernel, inputs).values()
    return found.astype(np.float32)


# --- dividing after the product ------------------------------------------------------------------


def opcodes(made: Program) -> list[str]:
    return [s.op.opcode if s.op else s.kind for s in made.steps]


def test_a_softmax_divides_after_its_product() -> None:
    made = program(attention, *["2x64x32:bf16"] * 3)
    assert opcodes(made)[-2:] == ["matmul", "mul"]
    assert [s.write.storage.name for s in made.steps][-1] == "output"


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, v: (x / x.sum(-1, keepdims=True)) @ v,  # no exponentials: sums may cancel
        lambda x, v: (np.exp(x) / x.sum(-1, keepdims=True)) @ v,  # not by their own sum
        lambda x, v: (np.exp(x) / np.exp(x).sum(0, keepdims=True)) @ v,  # along the kept axis
    ],
)
def test_other_products_are_scaled_where_they_were(fn: Callable[..., Any]) -> None:
    assert opcodes(program(fn, "64x48", "48x32"))[-1] == "matmul"


def test_weights_that_are_also_returned_are_divided_first() -> None:
    def fn(x: Any, v: Any) -> Any:
        weights = softmax(x)
        return weights, weights @ v

    x, v = arrays([(100, 60), (60, 40)], np.float32)
    assert_lowers(fn, x, v)
    assert opcodes(program(fn, "100x60", "60x40"))[-1] == "matmul"
