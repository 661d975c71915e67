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
from nkigen_lite.core.ir import Graph
from nkigen_lite.frontend import trace
from nkigen_lite.nki_ir.interpret import run as run_kernel
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.types import Affine
from nkigen_lite.nki_ir.verify import check
from nkigen_lite.tensor_ir.passes.axes import Axis, Program, analyse
from nkigen_lite.tensor_ir.passes.direct_lower import lower_schedule
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import Range, Ranges
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import Blocks, Pipeline, Slot
from nkigen_lite.tensor_ir.passes.layout_solver.planning import schedule_of
from nkigen_lite.tensor_ir.passes.layout_solver.problem import Planner
from nkigen_lite.tensor_ir.passes.layout_solver.runs import Runs
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


class Unrolling:
    """A builder that notes what runs, with loops counted out."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, Affine, Affine]] = []

    def fori_loop(self, _: str, extent: int, __: int, body: Callable[[Any, Any], None]) -> None:
        first, index = len(self.events), object()
        body(self, index)
        inside = self.events[first:]
        del self.events[first:]
        for at in range(extent):
            self.events += [(w, n, _at(a, index, at), _at(b, index, at)) for w, n, a, b in inside]

    def repeat(self, name: str, trips: int, body: Callable[[Any], None]) -> None:
        self.fori_loop(name, trips, 1, lambda _, i: body(Affine(0, ((i, 1),))))


def _at(place: Affine, index: object, value: int) -> Affine:
    factor = sum(f for i, f in place.terms if i is index)
    terms = tuple((i, f) for i, f in place.terms if i is not index)
    return Affine(place.const + factor * value, terms)


@pytest.mark.parametrize("heads", [0, 2, 5])
@pytest.mark.parametrize(("stages", "trips"), [(2, 2), (2, 3), (2, 9), (3, 3), (3, 7), (4, 5)])
def test_every_stage_runs_once_in_each_iteration_and_one_iteration_apart(
    stages: int, trips: int, heads: int
) -> None:
    """Also where the pipeline runs on through the ``heads`` iterations of the loop around it."""
    outer, axis = Axis("h", max(1, heads)), Axis("a", trips * 8)
    b: Any = Unrolling()

    def stage(slot: Slot, ranges: Ranges) -> None:
        b.events.append(("run", slot.stage, ranges[outer].start, ranges[axis].start))

    def before(number: int, ranges: Ranges) -> None:
        b.events.append(("before", number, ranges[outer].start, Affine()))

    pipeline = Pipeline(Blocks(b, Loop(axis, 8), Affine(), trips), stages, stage, before)
    if heads:
        pipeline.run_through(b, Loop(outer, 1), {})
    else:
        pipeline.run({outer: Range(Affine(), 1)})
    assert not any(place.terms for _, _, *places in b.events for place in places)
    found = [(w, n, h.const * trips + i.const // 8) for w, n, h, i in b.events]
    total = max(1, heads) * trips
    every = [(n, i) for n in range(stages) for i in range(total)]
    assert sorted((n, i) for w, n, i in found if w == "run") == every
    at = {event: place for place, event in enumerate(found)}
    assert len(at) == len(found)
    for n, i in every:
        if n + 1 < stages:
            assert at["run", n, i] < at["run", n + 1, i]
            assert i + 1 == total or at["run", n, i + 1] < at["run", n + 1, i]
        if i % trips == 0:
            assert at["before", n, i] < at["run", n, i]
            assert i == 0 or at["before", n, i] > at["run", n, i - 1]


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


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_segments_that_overlap_iterations_or_share_work_compute_the_function(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fn, specs = CASES[name]
    monkeypatch.setattr(Runs, "pays", lambda *_: True)  # small values are fused, too
    planner = Planner(program(fn, *specs), TRN2)
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
            # Every second one with its stages in turns.
            planner.priced[candidate.name].run = replace(run, interleaved=tried % 2 == 0)
            found = _run_with(planner, problem, candidate, given)
        if found is not None:
            tried += 1
            worst = np.abs(found - wanted).max()
            assert worst <= 3e-2 * np.abs(wanted).max(), (candidate.name, run)
    assert tried


def test_a_large_operand_of_a_product_may_come_in_pieces() -> None:
    planner = Planner(program(lambda a, b: a @ b, "130x640", "640x1500"), TRN2)
    problem = replace(planner.problem(), conversions=())  # all is loaded where it is used
    given = arrays([(130, 640), (640, 1500)])
    wanted = given[0] @ given[1]
    whole = [c for c in problem.candidates if not planner.priced[c.name].choice.shape.loops]
    assert {planner.priced[c.name].choice.impls[0].stationary for c in whole} == {0, 1}
    for candidate in whole:
        priced = planner.priced[candidate.name]
        priced.run = replace(priced.run, load_pieces=True)
        kernel = _kernel_with(planner, problem, candidate)
        assert kernel is not None
        loads = [op for op in kernel.walk() if op.opcode == "dma_copy"]
        assert len([op for op in loads if op.inputs[0].type.shape[:2] == (128, 5)]) > 1
        assert np.abs(_result_of(kernel, given) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_tile_without_copies_is_loaded_again_once_all_stages_are_done_with_it() -> None:
    target = load_target("trn2", {"memory.sbuf_usable_bytes_per_partition": 24576})
    planner = Planner(program(lambda a, b: a @ b, "512x256:bf16", "256x1024:bf16"), target)
    problem = planner.problem()
    given = arrays([(512, 256), (256, 1024)], BF16)
    wanted = (given[0] @ given[1]).astype(np.float32)
    tried = 0
    for candidate in problem.candidates:
        priced = planner.priced[candidate.name]
        shape = priced.choice.shape
        if len(shape.loops) > 1 and priced.run.cuts:
            priced.choice = replace(priced.choice, shape=replace(shape, outer_copies=1))
            found = _run_with(planner, problem, candidate, given)
            assert np.abs(found - wanted).max() <= 3e-2 * np.abs(wanted).max()
            tried += 1
    assert tried


def _run_with(
    planner: Planner, problem: solver.Problem, candidate: solver.Candidate, given: list[Any]
) -> Any:
    """What the kernel of the best plan that uses a candidate, and else ops alone, computes; None
    if there is no such plan."""
    kernel = _kernel_with(planner, problem, candidate)
    return None if kernel is None else _result_of(kernel, given)


def _kernel_with(
    planner: Planner, problem: solver.Problem, candidate: solver.Candidate
) -> Graph | None:
    others = [c for c in problem.candidates if len(c.ops) == 1 and c.ops[0] not in candidate.ops]
    forced = replace(problem, candidates=(candidate, *others))
    report = solver.solve(forced)
    if report.solution is None:
        return None
    kernel = lower_schedule(schedule_of(planner, report.solution))
    check(kernel, Limits.of(TRN2))
    return kernel


def _result_of(kernel: Graph, given: list[Any]) -> Any:
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
