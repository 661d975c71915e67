"""How a segment's iterations are run: stages, engines, and prices that are remembered."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lowering import compiled

from cost_models import load_target
from nkigen_lite.frontend import trace
from nkigen_lite.tensor_ir.passes.axes import analyse
from nkigen_lite.tensor_ir.passes.layout_solver import bench, memory
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import choices_of_unit
from nkigen_lite.tensor_ir.passes.layout_solver.engines import SHARING, Option, _Search
from nkigen_lite.tensor_ir.passes.layout_solver.problem import Planner
from nkigen_lite.tensor_ir.passes.layout_solver.stages import Block, Pipeline, best_cuts
from nkigen_lite.tensor_ir.passes.lower_to_nki import simplify
from solver import Candidate

times = st.dictionaries(
    st.sampled_from(["tensor", "vector", "scalar"]), st.integers(1, 900).map(float), max_size=2
)


@st.composite
def blocks(draw: st.DrawFn) -> list[Block]:
    count = draw(st.integers(2, 7))
    return [
        Block(draw(times), tuple(draw(st.sets(st.integers(0, at - 1), max_size=2))) if at else ())
        for at in range(count)
    ]


# --- stages --------------------------------------------------------------------------------------


@given(blocks())
def test_an_iteration_takes_at_least_what_its_busiest_engine_does(made: list[Block]) -> None:
    busy: dict[str, float] = {}
    for block in made:
        for engine, ns in block.busy.items():
            busy[engine] = busy.get(engine, 0.0) + ns
    for cuts in [(), (1,), (1, len(made) - 1)]:
        if len(set(cuts)) == len(cuts):
            assert Pipeline(made).interval_ns(cuts) >= max(busy.values(), default=0.0) - 1e-6


@given(blocks())
def test_more_cuts_are_listed_only_where_they_gain(made: list[Block]) -> None:
    ways = best_cuts(made, range(1, len(made)))
    assert ways[0][0] == ()
    assert [len(cuts) for cuts, _ in ways] == sorted({len(cuts) for cuts, _ in ways})
    assert all(after < before for (_, before), (_, after) in pairwise(ways))
    assert all(taken == Pipeline(made).interval_ns(cuts) for cuts, taken in ways)


def test_two_engines_that_wait_for_each_other_overlap_when_cut() -> None:
    made = [
        Block({"vector": 500.0}, ()),
        Block({"scalar": 900.0}, (0,)),
        Block({"vector": 400.0}, (1,)),
    ]
    assert Pipeline(made).interval_ns(()) > 1800
    assert Pipeline(made).interval_ns((1, 2)) == pytest.approx(900, rel=0.05)


# --- engines -------------------------------------------------------------------------------------

options = st.lists(
    st.dictionaries(st.sampled_from(SHARING), st.integers(1, 99).map(float), min_size=1, max_size=2)
    .map(lambda busy: Option(None, busy)),
    min_size=1,
    max_size=3,
)  # fmt: skip


@given(st.lists(options, max_size=5), times)
def test_no_other_assignment_of_engines_has_a_less_busy_one(
    places: list[list[Option]], fixed: dict[str, float]
) -> None:
    def most(chosen: tuple[Option, ...]) -> float:
        total = {e: ns for e, ns in fixed.items() if e in SHARING}
        for option in chosen:
            for engine, ns in option.busy.items():
                total[engine] = total.get(engine, 0.0) + ns
        return max(total.values(), default=0.0)

    found = _Search(places, dict(fixed)).best()
    assert most(tuple(found)) == pytest.approx(min(map(most, product(*places)), default=math.inf))


def test_work_moves_to_an_idle_engine() -> None:
    """Scaling rows is VectorE's; where that is the busiest, ScalarE takes some of it over."""

    def fn(x: Any, a: Any, b: Any) -> Any:
        return np.maximum(x * a + x * b, 0.0) * a

    kernel = compiled(fn, "1024x2048", "1024x1", "1024x1")
    engines = {op.attrs["engine"] for op in kernel.nki.walk() if "engine" in op.attrs}
    assert {"vector", "scalar"} <= engines


# --- prices that are remembered ------------------------------------------------------------------


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_a_kernel_that_is_compiled_again_has_the_same_plan_and_prices_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory.memory_of.cache_clear()
    lowered: list[str] = []
    whole = bench.Bench.segment

    def counted(self: bench.Bench, segment: Any) -> Any:
        lowered.append(segment.name)
        return whole(self, segment)

    monkeypatch.setattr(bench.Bench, "segment", counted)
    first = compiled(softmax, "384x96")
    count = len(lowered)
    second = compiled(softmax, "384x96")
    assert count > 0
    assert len(lowered) == count
    assert first.problem.to_json() == second.problem.to_json()
    assert first.plan.to_json() == second.plan.to_json()


def test_equal_parts_of_a_program_are_priced_once() -> None:
    def both(x: Any, y: Any) -> Any:
        return softmax(x), softmax(y)

    memory.memory_of.cache_clear()
    problem = compiled(both, "384x96", "384x96").problem
    prices: dict[tuple[str, ...], set[Any]] = {}
    for c in problem.candidates:
        prices.setdefault(c.ops, set()).add((c.drain_ns, tuple(c.busy.items()), c.sbuf_bytes))
    found = list(prices.values())
    assert sum(found.count(own) > 1 for own in found) >= len(found) - 1


def test_prices_do_not_depend_on_what_was_priced_before() -> None:
    graph = trace(softmax, ["1024x1024:f32"]).graph
    simplify(graph)

    def planner() -> Planner:
        return Planner(analyse(graph), load_target("trn2"))

    def priced(made: Planner, enough_ns: float) -> list[Candidate]:
        found = []
        for unit in made.units[-1:]:
            for choice in choices_of_unit(unit, made.limits.sbuf_bytes):
                way = made.pricer.price(choice, "way", enough_ns)
                assert way is not None
                found.append(way.candidate)
        return found

    memory.memory_of.cache_clear()
    alone = priced(planner(), math.inf)
    memory.memory_of.cache_clear()
    left_as_they_are = priced(planner(), 0.0)
    assert priced(planner(), math.inf) == alone
    assert left_as_they_are != alone


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_several_processes_find_the_same_prices() -> None:
    graph = trace(softmax, ["256x512:f32"]).graph
    simplify(graph)
    found = []
    for processes in (1, 2):
        memory.memory_of.cache_clear()
        found.append(Planner(analyse(graph), load_target("trn2")).problem(processes).to_json())
    assert found[0] == found[1]
