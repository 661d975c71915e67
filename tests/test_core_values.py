"""Values and ops: use-lists, replacing, identity by object."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from free_graphs import T, free_graph, put, tensor_graph

from nkigen_lite.core import Graph, Op, Value, ValueCounter
from nkigen_lite.core.location import Location
from nkigen_lite.tensor_ir import Builder, run

# --- values and ops ------------------------------------------------------------------------------


def test_counter_hands_out_numbered_names() -> None:
    names, tiles = ValueCounter(), ValueCounter("t")
    assert [names.fresh(), names.fresh(), tiles.fresh()] == ["v1", "v2", "t1"]


def test_value_shows_its_name_and_type() -> None:
    value = Value("a", T)
    assert (repr(value), str(value)) == ("%a", "%a: <4xf32>")
    assert value.producer is None
    assert not value.has_uses


def test_values_are_equal_only_to_themselves() -> None:
    a, b = Value("a", T), Value("a", T)
    assert a != b
    assert len({a, b}) == 2


def test_op_names_its_results_from_a_private_counter() -> None:
    op = Op("pair", [], [T, T])
    assert [r.name for r in op.results] == ["v1", "v2"]
    assert all(r.producer is op for r in op.results)


def test_result_asserts_that_there_is_exactly_one() -> None:
    with pytest.raises(AssertionError, match="pair has 2 results"):
        _ = Op("pair", [], [T, T]).result
    with pytest.raises(AssertionError, match="store has 0 results"):
        _ = Op("store", [], []).result


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (Op("f", [Value("a", T), Value("b", T)], [T], {"k": 1}), "%v1: <4xf32> = f(%a, %b) {k=1}"),
        (Op("store", [Value("a", T)], []), "store(%a)"),
        (Op("f", [], [T, T]), "%v1: <4xf32>, %v2: <4xf32> = f()"),
        (Op("loop", [], [], {"n": 2, "body": Graph("i")}), "loop() {n=2} body=<graph @i>"),
        (Op("odd", [], [], {"a": [1], "b": (1,)}), "odd() {a=[1], b=(1,)}"),
        (Op("neg", [Value("v1", T)], [T]), "%v1_1: <4xf32> = neg(%v1)"),
    ],
)  # fmt: skip
def test_op_as_one_line(op: Op, text: str) -> None:
    assert str(op) == repr(op) == text


def test_uses_count_operand_positions() -> None:
    g, x, y = free_graph()
    op = put(g, "f", x, x, y)
    assert x.uses == [op, op]
    assert y.uses == [op]


def test_uses_is_a_copy() -> None:
    g, x, _ = free_graph()
    put(g, "f", x)
    x.uses.clear()
    assert len(x.uses) == 1


# --- replacing -----------------------------------------------------------------------------------


def test_replacing_all_uses_keeps_multiplicity() -> None:
    g, x, y = free_graph()
    twice, once = put(g, "f", x, y, x), put(g, "g", x)
    x.replace_all_uses_with(y)
    assert twice.inputs == [y, y, y]
    assert once.inputs == [y]
    assert x.uses == []
    assert Counter(map(id, y.uses)) == {id(twice): 3, id(once): 1}


def test_replacing_a_value_by_itself_changes_nothing() -> None:
    g, x, _ = free_graph()
    op = put(g, "f", x)
    x.replace_all_uses_with(x)
    assert x.uses == [op]


def test_replacing_all_uses_leaves_graph_outputs() -> None:
    g, x, y = free_graph()
    g.set_outputs({"o": x})
    x.replace_all_uses_with(y)
    assert g.outputs["o"] is x


def test_replace_value_rewires_outputs_too() -> None:
    g, x, y = free_graph()
    op = put(g, "f", x)
    g.set_outputs({"o": x, "p": op.result, "q": x})
    g.replace_value(x, y)
    assert op.inputs == [y]
    assert g.output_values() == [y, op.result, y]


def test_replace_values_does_many_at_once() -> None:
    b, x = tensor_graph()
    first, second = b.exp(x), b.exp(x)
    total = b.add(second, b.neg(second))
    b.set_outputs({"total": total, "second": second})
    b.graph.replace_values({second: first})
    assert second.uses == []
    assert b.graph.outputs["second"] is first
    assert b.graph.verify() == []


def test_set_input_moves_one_use() -> None:
    g, x, y = free_graph()
    op = put(g, "f", x, x)
    op.set_input(1, y)
    assert op.inputs == [x, y]
    assert (x.uses, y.uses) == ([op], [op])


def test_set_outputs_copies_the_mapping() -> None:
    g, x, _ = free_graph()
    given = {"o": x}
    g.set_outputs(given)
    given.clear()
    assert g.outputs == {"o": x}


# --- identity ------------------------------------------------------------------------------------


def colliding() -> Builder:
    """An input whose name is that of a generated value."""
    b = Builder("collide")
    x, named = b.add_input("x", (2,)), b.add_input("v2", (2,))
    first = b.neg(x)
    second = b.exp(first)
    assert second.name == named.name == "v2"
    b.set_outputs({"y": b.add(second, named)})
    return b


def test_an_input_called_like_a_generated_value_computes_right() -> None:
    x, v2 = np.array([0.0, 1.0], np.float32), np.array([10.0, 20.0], np.float32)
    made = run(colliding().graph, {"x": x, "v2": v2})["y"]
    np.testing.assert_allclose(made, np.exp(-x) + v2, rtol=1e-6)


def test_printing_tells_values_of_one_name_apart() -> None:
    assert "%v3: <2xf32> = add(%v2_1, %v2)" in colliding().graph.dump()


def test_renaming_a_result_changes_only_the_text() -> None:
    b, x = tensor_graph()
    y = b.exp(x)
    b.set_outputs({"y": y})
    y.name = "x"
    assert "%x_1: <4xf32> = exp(%x)" in b.graph.dump()
    assert b.graph.verify() == []


def test_graph_shows_its_dump() -> None:
    b, x = tensor_graph()
    b.set_outputs({"y": b.exp(x)})
    lines = ["graph @g(", "  %x: <4xf32>", ") {", "  %v1: <4xf32> = exp(%x)", "  return y=%v1", "}"]
    assert repr(b.graph).split("\n") == lines
    assert b.graph.dump(indent=1).split("\n") == ["  " + line for line in lines]


def test_all_values_are_inputs_and_results_in_order() -> None:
    b, x = tensor_graph()
    y = b.exp(x)
    z = b.neg(y)
    assert b.graph.all_values() == [x, y, z]


def test_ops_remember_the_line_that_made_them() -> None:
    b, x = tensor_graph()
    op = b.exp(x).producer
    assert op.loc == Location(__file__, op.loc.line)
    assert str(op.loc) == f"{__file__}:{op.loc.line}"


def test_dump_is_the_same_for_the_same_program() -> None:
    def build() -> str:
        b, x = tensor_graph()
        b.set_outputs({"y": b.reduce(b.mul(x, b.full((4,), 0.1)), 0)})
        return b.graph.dump()

    assert build() == build()
    assert "value=0.1" in build()
