"""What pricing leaves out: candidates that cannot win, and segments that need no lowering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lowering import compiled

from nkigen_lite.core.ir import Graph
from nkigen_lite.tensor_ir.passes.layout_solver import memory
from nkigen_lite.tensor_ir.passes.layout_solver.arrange import Arranger
from nkigen_lite.tensor_ir.passes.layout_solver.bench import Piece
from nkigen_lite.tensor_ir.passes.layout_solver.engines import shared
from nkigen_lite.tensor_ir.passes.layout_solver.ports import PortInfo
from nkigen_lite.tensor_ir.passes.layout_solver.problem import Planner
from nkigen_lite.tensor_ir.passes.schedule import Segment


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def linear(x: Any, weight: Any) -> Any:
    return np.maximum(x @ weight, 0.0)


def plan_of(fn: Any, specs: Sequence[str], arranged: list[str]) -> str:
    """The plan as text, priced afresh; the segments that were arranged for it are noted."""
    memory.memory_of.cache_clear()
    whole = Arranger.arrange
    with pytest.MonkeyPatch.context() as patch:

        def noted(self: Arranger, segment: Segment, *args: Any) -> Piece:
            arranged.append(segment.name)
            return whole(self, segment, *args)

        patch.setattr(Arranger, "arrange", noted)
        return compiled(fn, *specs).plan.to_json()


def test_a_candidate_that_is_left_as_it_is_would_not_have_won() -> None:
    some: list[str] = []
    every: list[str] = []
    found = plan_of(softmax, ["512x16384"], some)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Planner, "enough_ns", lambda *_: math.inf)
        assert plan_of(softmax, ["512x16384"], every) == found
    assert len(some) < len(every)


def described(graph: Graph) -> list[tuple[str, Any, Any]]:
    """The ops of a graph without the names of their values."""
    attrs = ("num_buffers", "engine", "shape", "slices")
    return [
        (op.opcode, [op.attrs.get(name) for name in attrs], [v.type for v in op.inputs])
        for op in graph.walk()
    ]


def test_more_psum_copies_are_what_lowering_again_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.memory_of.cache_clear()
    whole = Arranger._with_psum_copies
    copies: set[int] = set()

    def compared(
        self: Arranger, segment: Segment, ports: Sequence[PortInfo], piece: Piece
    ) -> Piece:
        found = whole(self, segment, ports, piece)
        again = self.lower(segment, ports)
        assert described(found.graph) == described(again.graph)
        assert (found.own, found.moved) == (again.own, again.moved)
        copies.add(segment.run.psum_copies)
        return found

    monkeypatch.setattr(Arranger, "_with_psum_copies", compared)
    compiled(linear, "130x200", "200x260")
    assert len(copies) > 1


def test_sharing_work_leaves_to_the_busiest_what_was_foreseen_or_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory.memory_of.cache_clear()
    whole = Arranger._ways
    known: list[float] = []

    def compared(self: Arranger, segment: Segment, piece: Piece) -> Any:
        if not segment.run.engines and not segment.run.turns_by_dma:
            sharing = shared(piece, 2 * len(segment.steps))
            if any(sharing.engines) and not sharing.takes_turns:
                plain, segment.run = segment.run, replace(segment.run, engines=sharing.engines)
                known.append(self.bench.segment(segment).busy_ns)
                segment.run = plain
                assert known[-1] >= sharing.busy_ns * (1 - 1e-9)
        return whole(self, segment, piece)

    monkeypatch.setattr(Arranger, "_ways", compared)
    compiled(lambda x, a: np.maximum(x * a + x * 2.0, 0.0) * a, "384x512", "384x1")
    assert known
