"""Passes keep the meaning of random graphs over all ops and dtypes."""

from __future__ import annotations

from graph_strategy import Case, drawable, families, graphs
from hypothesis import given, settings
from same_meaning import assert_same_meaning

from nkigen_lite.core.ir import clone
from nkigen_lite.core.parser import parse
from nkigen_lite.core.structure import structurally_equal
from nkigen_lite.tensor_ir.passes.canonicalize import canonicalize
from nkigen_lite.tensor_ir.passes.decompose import LEAVES, decompose
from nkigen_lite.tensor_ir.rows import TENSOR


def test_random_graphs_draw_from_every_op_that_has_a_meaning() -> None:
    assert set(drawable()) == {row.name for row in TENSOR if row.evaluate}


@given(case=graphs())
@settings(max_examples=100)
def test_random_graphs_are_sound_and_read_back_equal(case: Case) -> None:
    assert case.graph.verify() == []
    assert structurally_equal(parse(case.graph.dump(), TENSOR), case.graph)


@given(case=graphs())
@settings(max_examples=200)
def test_canonicalize_keeps_the_meaning(case: Case) -> None:
    graph = clone(case.graph)
    canonicalize(graph)
    assert graph.verify() == []
    assert_same_meaning(case.graph, graph, case.inputs)


@given(case=graphs(opcodes=families()["phrases"], max_ops=3))
@settings(max_examples=250)
def test_canonicalize_keeps_the_meaning_of_spelled_out_ops(case: Case) -> None:
    graph = clone(case.graph)
    canonicalize(graph)
    assert graph.verify() == []
    assert_same_meaning(case.graph, graph, case.inputs)


@given(case=graphs())
@settings(max_examples=200)
def test_decompose_keeps_the_meaning(case: Case) -> None:
    graph = clone(case.graph)
    decompose(graph)
    assert graph.verify() == []
    assert {op.opcode for op in graph.ops} <= LEAVES
    assert_same_meaning(case.graph, graph, case.inputs)


@given(case=graphs())
@settings(max_examples=200)
def test_both_stages_together_keep_the_meaning(case: Case) -> None:
    graph = clone(case.graph)
    canonicalize(graph)
    decompose(graph)
    assert graph.verify() == []
    assert_same_meaning(case.graph, graph, case.inputs)


@given(case=graphs())
@settings(max_examples=100)
def test_a_canonical_graph_stays_as_it_is(case: Case) -> None:
    canonicalize(case.graph)
    before = clone(case.graph)
    assert canonicalize(case.graph) == 0
    assert structurally_equal(before, case.graph)
