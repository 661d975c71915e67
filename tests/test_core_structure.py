"""Structural hash and equality ignore names and places and nothing else; the networkx view."""

from __future__ import annotations

import math
from collections.abc import Callable

import networkx as nx
import pytest
from graph_strategy import Case, graphs
from hypothesis import given, settings

from nkigen_lite.core import (
    DType,
    Graph,
    Value,
    parse,
    structural_hash,
    structurally_equal,
    to_networkx,
)
from nkigen_lite.core.ir import clone
from nkigen_lite.core.location import Location
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.tensor_ir import Builder
from nkigen_lite.tensor_ir.rows import TENSOR

TEXT = """graph @g(%x: <4x2xf32>, %y: <4x2xf32>) {
  %a: <4x2xf32> = constant() {value=0.0, shape=(4, 2), dtype=f32}
  %b: <4x2xf32> = sub(%x, %y)
  %c: <4x2xf32> = maximum(%b, %a)
  %d: <2xf32> = reduce(%c) {axis=(0,), keepdims=false, kind="sum"}
  return d=%d, b=%b
}"""
LOOP = """graph @k(%x: tile<8x4xf32@hbm>, %y: tile<8x4xf32@hbm>) {
  %t: tile<4x4xf32@sbuf> = alloc() {shape=(4, 4), dtype=f32, memory="sbuf", num_buffers=1}
  fori_loop() {extent=8, step=4} with
    body=graph @i(%i: tile<i32@reg>) {
      %s: tile<4x4xf32@hbm> = slice(%x, %i) {slices=slice<1*$1:4, 0:4>}
      dma_copy(%t, %s)
      return
    }
  end
  return y=%y
}"""


def tensor(text: str = TEXT) -> Graph:
    return parse(text, TENSOR)


def kernel(text: str = LOOP) -> Graph:
    return parse(text, NKI)


def assert_equal(a: Graph, b: Graph) -> None:
    assert structurally_equal(a, b)
    assert structural_hash(a) == structural_hash(b)


def assert_different(a: Graph, b: Graph) -> None:
    assert not structurally_equal(a, b)
    assert structural_hash(a) != structural_hash(b)


def test_hash_is_a_hex_digest() -> None:
    assert len(structural_hash(tensor())) == 64
    assert int(structural_hash(tensor()), 16)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: setattr(g, "name", "other"),
        lambda g: setattr(g.inputs[0], "name", "renamed"),
        lambda g: setattr(g.ops[1].result, "name", g.inputs[0].name),
        lambda g: setattr(g.ops[1], "loc", Location("f.py", 3)),
        lambda g: g.set_outputs({"one": g.outputs["d"], "two": g.outputs["b"]}),
        lambda g: g.counter.fresh(),
        lambda g: setattr(g.ops[3], "attrs", dict(reversed(g.ops[3].attrs.items()))),
    ],
)
def test_names_places_and_attribute_order_do_not_count(change: Callable[[Graph], object]) -> None:
    graph = tensor()
    change(graph)
    assert_equal(graph, tensor())


CHANGES = [
    ("%x: <4x2xf32>, %y: <4x2xf32>", "%y: <4x2xf32>, %x: <4x2xf32>"),
    ("%x: <4x2xf32>, %y: <4x2xf32>", "%x: <4x2xf32>, %y: <4x2xf32>, %z: <4x2xf32>"),
    ("value=0.0", "value=-0.0"),
    ("value=0.0", "value=nan"),
    ("shape=(4, 2)", "shape=(1, 2)"),
    ("sub(%x, %y)", "sub(%y, %x)"),
    ("sub(%x, %y)", "sub(%x, %x)"),
    ("sub(%x, %y)", "add(%x, %y)"),
    ("maximum(%b, %a)", "maximum(%a, %b)"),
    ('kind="sum"', 'kind="max"'),
    ("return d=%d, b=%b", "return b=%b, d=%d"),
    ("return d=%d, b=%b", "return d=%d"),
    ("return d=%d, b=%b", "return d=%d, b=%c"),
    ("(%c)", "(%b)"),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_every_other_change_counts(old: str, new: str) -> None:
    assert TEXT.count(old) == 1
    text = TEXT.replace(old, new)
    if "shape" in old:
        text = text.replace("%a: <4x2xf32>", "%a: <1x2xf32>")
    assert_different(tensor(text), tensor())


def test_types_count() -> None:
    assert_different(tensor(TEXT.replace("f32", "bf16")), tensor())


def test_order_of_independent_ops_counts() -> None:
    lines = TEXT.split("\n")
    lines[1:3] = lines[2], lines[1]
    assert_different(tensor("\n".join(lines)), tensor())


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), ("f32", DType.F32), ((), None)])
def test_the_kind_of_an_attribute_counts(one: object, other: object) -> None:
    graphs_of = [tensor(), tensor()]
    for graph, attr in zip(graphs_of, (one, other), strict=True):
        graph.ops[0].attrs["value"] = attr
    assert_different(*graphs_of)


def test_nan_equals_itself() -> None:
    a, b = tensor(), tensor()
    for graph in (a, b):
        graph.ops[0].attrs["value"] = math.nan
    assert_equal(a, b)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("extent=8", "extent=4"),
        ("0:4>", "0:4:1>"),
        ("graph @i(%i:", "graph @row(%r:"),
    ],
)
def test_regions_count_by_the_same_rules(old: str, new: str) -> None:
    text = LOOP.replace(old, new)
    text = text.replace("(%x, %i)", "(%x, %r)") if "%r" in new else text
    (assert_different if "extent" in old else assert_equal)(kernel(text), kernel())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1*$1:4", "2*$1:4"),
        ("dma_copy(%t, %s)", "dma_copy(%s, %t)"),
        ("slice(%x, %i", "slice(%y, %i"),
    ],
)
def test_what_a_region_does_counts(old: str, new: str) -> None:
    assert_different(kernel(LOOP.replace(old, new)), kernel())


@settings(max_examples=40)
@given(graphs())
def test_renaming_everything_keeps_the_hash(case: Case) -> None:
    renamed = clone(case.graph)
    for number, value in enumerate(renamed.all_values()):
        value.name = f"n{number}"
    renamed.name = "renamed"
    assert_equal(renamed, case.graph)


# --- networkx ------------------------------------------------------------------------------------


def test_view_has_ops_inputs_and_outputs_as_nodes() -> None:
    graph = tensor()
    view = to_networkx(graph)
    kinds = nx.get_node_attributes(view, "kind")
    assert [n for n, kind in kinds.items() if kind == "input"] == graph.inputs
    assert [n for n, kind in kinds.items() if kind == "op"] == graph.ops
    assert [n for n, kind in kinds.items() if kind == "output"] == [
        ("output", "d"),
        ("output", "b"),
    ]
    assert view.graph["name"] == "g"


def test_view_has_an_edge_per_use() -> None:
    b = Builder()
    x = b.add_input("x", (4,))
    square = b.mul(x, x)
    b.set_outputs({"y": square, "again": square})
    view = to_networkx(b.graph)
    assert view.number_of_edges(x, square.producer) == 2
    carried = nx.get_edge_attributes(view, "value")
    assert list(carried.values()) == [x, x, square, square]
    assert set(view.successors(square.producer)) == {("output", "y"), ("output", "again")}


def test_view_is_acyclic_in_program_order() -> None:
    graph = tensor()
    order = [n for n in nx.lexicographical_topological_sort(to_networkx(graph), key=id)]
    assert nx.is_directed_acyclic_graph(to_networkx(graph))
    assert len(order) == len(graph.inputs) + len(graph.ops) + len(graph.outputs)


def test_view_of_a_kernel_sees_what_its_loop_reads() -> None:
    graph = kernel()
    view = to_networkx(graph)
    alloc, loop = graph.ops
    assert view.has_edge(alloc, loop)
    assert {n for n in view.predecessors(loop) if isinstance(n, Value)} == {graph.inputs[0]}
