"""The textual form: whatever prints parses back equal and prints the same again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from graph_strategy import Case, graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from nkigen_lite.core import DType, Graph, Op, Value, parse, structurally_equal
from nkigen_lite.core.location import Location
from nkigen_lite.core.printer import format_attr, unique_names
from nkigen_lite.core.registry import Attr, Dialect, OpDef
from nkigen_lite.tensor_ir import Builder, TensorType, run
from nkigen_lite.tensor_ir.rows import TENSOR

T = TensorType((2, 3), DType.BF16)
S = TensorType((), DType.I8)
TOY: Dialect[OpDef] = Dialect("toy", [TensorType], prefix="t")
TOY.define(
    OpDef("f", "One result.", (0, None), lambda t, a: (T,), None, (Attr("a", object, None),))
)
TOY.define(OpDef("pair", "Two results.", (0, None), lambda t, a: (T, S), None))
TOY.define(OpDef("store", "No result.", (0, None), lambda t, a: (), None))
TOY.define(
    OpDef(
        "branch", "Two regions.", (0, None), lambda t, a: (S,), None,
        attrs=(Attr("n", int), Attr("yes", Graph), Attr("no", Graph, None)),
    )
)  # fmt: skip

NAMES = [
    "x", "v1", "a.b-c$d", "_", "two words", "größe", "名", "return", "graph", "with", "end", "at",
    "inf", "nan", "true", "f32", "inf-3", "3d", "-1", "", "%x", 'quo"te', "back\\slash",
    "line\nbreak", "tab\t", "}", "(", "\u2028", "\x00", "\ud800", "<f32>", "1e5",
]  # fmt: skip
ATTRS = [
    0, 7, -3, 2**80, 0.0, -0.0, 1.5, -2.5, 1e-30, 1e300, -1e-7, 1e16, 5e-324, math.pi,
    math.inf, -math.inf, math.nan, True, False, None, "", "text", 'with "quotes"', "two\nlines",
    "back\\slash", "größe", "f32", "true", "%x", (), (1,), (1, 2), ((),), ((1,), (2.0, ("a",))),
    (None, True, DType.U8), *DType, T, S, (T,),
]  # fmt: skip


def is_same(a: Any, b: Any) -> bool:
    """Equal to the type and the sign of zero; nan equals itself."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(is_same, a, b))
    return type(a) is type(b) and (a == b or a != a) and repr(a) == repr(b)


def assert_round_trip(graph: Graph) -> Graph:
    text = graph.dump(locations=True)
    parsed = parse(text, graph.dialect)
    assert parsed.dump(locations=True) == text
    assert structurally_equal(parsed, graph)
    assert parsed.verify() == []
    for old, new in zip(graph.walk(), parsed.walk(), strict=True):
        assert new.loc == old.loc
        for key, attr in old.attrs.items():
            assert isinstance(attr, Graph) or is_same(new.attrs[key], attr)
    return parsed


def one_op(attr: object, name: str = "x") -> Graph:
    g = Graph("one", TOY)
    op = g.append(Op("f", [g.add_input(name, T)], [T], {"a": attr}))
    g.set_outputs({"y": op.result})
    return g


@pytest.mark.parametrize("attr", ATTRS, ids=repr)
def test_attribute_comes_back_as_it_was(attr: object) -> None:
    assert_round_trip(one_op(attr))


@pytest.mark.parametrize(
    ("attr", "text"),
    [
        (-0.0, "-0.0"),
        (1e-30, "1e-30"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        (True, "true"),
        (None, "none"),
        ((1,), "(1,)"),
        ((), "()"),
        (DType.BF16, "bf16"),
        ("bf16", '"bf16"'),
        (T, "<2x3xbf16>"),
        (np.float64(0.5), "0.5"),
    ],
)
def test_attributes_have_one_spelling(attr: object, text: str) -> None:
    assert format_attr(attr) == text


@pytest.mark.parametrize("attr", [[1], {"a": 1}, np.int32(3), object(), (1, [2]), len])
def test_what_is_not_plain_data_does_not_print(attr: object) -> None:
    with pytest.raises(TypeError, match="is not plain data"):
        one_op(attr).dump()


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_round_trips_wherever_it_stands(name: str) -> None:
    g = Graph(name, TOY)
    op = g.append(Op("f", [g.add_input(name, T)], [T], {"a": name}, loc=Location(name, 3)))
    op.result.name = name + "'"
    g.set_outputs({name: op.result, name + "2": g.inputs[0]})
    parsed = assert_round_trip(g)
    assert (parsed.name, parsed.inputs[0].name) == (name, name)
    assert list(parsed.outputs) == [name, name + "2"]


def test_values_of_one_name_come_back_apart() -> None:
    g = Graph("same", TOY)
    value = g.add_input("x", T)
    for _ in range(3):
        value = g.append(Op("f", [value, g.inputs[0]], [T], {"a": None})).result
        value.name = "x"
    g.set_outputs({"y": value})
    parsed = assert_round_trip(g)
    assert [v.name for v in parsed.all_values()] == ["x", "x_1", "x_2", "x_3"]
    assert list(unique_names(g).values()) == ["x", "x_1", "x_2", "x_3"]


def test_a_suffix_does_not_take_anothers_name() -> None:
    g = Graph("same", TOY)
    names = ["x", "x_1", "y"]
    a, b, c = (g.add_input(name, T) for name in names)
    op = g.append(Op("f", [a, b, c], [T], {"a": None}))
    op.result.name = "x"
    g.set_outputs({"o": op.result})
    assert assert_round_trip(g).outputs["o"].name == "x_2"


def test_several_results_and_none() -> None:
    g = Graph("results", TOY)
    pair = g.append(Op("pair", [], [T, S], counter=g.counter))
    g.append(Op("store", pair.results, []))
    g.set_outputs({"second": pair.results[1]})
    parsed = assert_round_trip(g)
    assert parsed.outputs["second"] is parsed.ops[0].results[1]


def test_graph_without_inputs_ops_or_outputs() -> None:
    g = Graph("nothing", TOY)
    assert g.dump() == "graph @nothing(\n) {\n  return\n}"
    assert_round_trip(g)


def region(name: str, *captured: Value) -> Graph:
    g = Graph(name, TOY)
    op = g.append(Op("f", [*captured, g.add_input("i", S)], [T], {"a": 1}))
    g.set_outputs({"r": op.result})
    return g


def test_nested_regions_print_in_full_and_come_back() -> None:
    g = Graph("outer", TOY)
    x = g.add_input("x", T)
    inner = Graph("middle", TOY)
    inner.append(Op("branch", [x], [S], {"n": 2, "yes": region("deep", x)}, loc=Location("a b", 1)))
    attrs = {"n": 1, "yes": inner, "no": region("other", x)}
    g.append(Op("branch", [], [S], attrs, loc=Location("f.py", 12)))
    g.ops[0].attrs["yes"].ops[0].attrs["no"] = region("more")
    parsed = assert_round_trip(g)
    assert [op.opcode for op in parsed.walk()] == ["branch", "branch", "f", "f", "f"]
    deep = parsed.ops[0].attrs["yes"].ops[0].attrs["yes"]
    assert deep.ops[0].inputs == [parsed.inputs[0], deep.inputs[0]]


def test_locations_print_only_when_asked_for() -> None:
    g = one_op(1)
    g.ops[0].loc = Location("dir with space/f.py", 7)
    assert g.dump(locations=True).count(' at "dir with space/f.py":7\n') == 1
    assert " at " not in g.dump()
    assert parse(g.dump(), TOY).ops[0].loc is None


def test_left_out_attributes_take_their_defaults() -> None:
    text = "graph @g(%x: <4x3xf32>) { %y: <4xf32> = reduce(%x) {axis=-1} return y=%y }"
    graph = parse(text, TENSOR)
    assert graph.ops[0].attrs == {"axis": (1,), "kind": "sum", "keepdims": False}
    assert graph.verify() == []
    made = run(graph, {"x": np.ones((4, 3), np.float32)})["y"]
    assert made.tolist() == [3.0] * 4


def test_parsed_graphs_go_on_with_free_names() -> None:
    text = "graph @g(%v7: <4xf32>) { %v2: <4xf32> = exp(%v7) return y=%v2 }"
    assert parse(text, TENSOR).counter.fresh() == "v8"
    assert parse("graph @g() { return }", TOY).counter.fresh() == "t1"


def test_spaces_and_line_ends_do_not_matter() -> None:
    b = Builder("g")
    x = b.add_input("x", (4, 2))
    b.set_outputs({"y": b.transpose(x, (1, 0))})
    text = b.graph.dump()
    assert parse(" ".join(text.split()), TENSOR).dump() == text
    assert parse(text.replace(" ", "\n\t "), TENSOR).dump() == text


def test_trailing_commas_are_read() -> None:
    text = "graph @g(%x: <4xf32>,) { %y: <4xf32> = exp(%x,) return y=%y, }"
    assert parse(text, TENSOR).verify() == []


@settings(max_examples=100)
@given(graphs())
def test_random_graphs_round_trip(case: Case) -> None:
    parsed = assert_round_trip(case.graph)
    old, new = run(case.graph, case.inputs), run(parsed, case.inputs)
    assert all(new[name].tobytes() == array.tobytes() for name, array in old.items())


literals = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
        st.sampled_from(list(DType)), st.sampled_from([T, S]),
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=150)
@given(literals, st.text(max_size=5))
def test_random_attributes_and_names_round_trip(attr: object, name: str) -> None:
    assert_round_trip(one_op(attr, name))
