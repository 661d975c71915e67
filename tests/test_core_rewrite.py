"""Rewriting by rules: what is replaced, how often, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from nkigen_lite.core import Op, Value
from nkigen_lite.core.location import Location
from nkigen_lite.core.rewrite import Rule, rewrite
from nkigen_lite.errors import InvalidStage
from nkigen_lite.tensor_ir import Builder, run


def _double_negation(b: Builder, op: Op) -> Value | None:
    """Two signs cancel."""
    inner = op.inputs[0].producer
    return inner.inputs[0] if inner is not None and inner.opcode == "neg" else None


def _square(b: Builder, op: Op) -> Value | None:
    return b.mul(op.inputs[0], op.inputs[0])


def _div(b: Builder, op: Op) -> Value | None:
    return b.mul(op.inputs[0], b.reciprocal(op.inputs[1]))


CANCEL = Rule("cancel", ("neg",), _double_negation)
SQUARE = Rule("square", ("square",), _square)
DIV = Rule("div", ("div",), _div)


def start() -> tuple[Builder, Value]:
    b = Builder("g")
    return b, b.add_input("x", (4,))


def opcodes(b: Builder) -> list[str]:
    return [op.opcode for op in b.graph.ops]


def test_a_match_is_replaced_and_the_rest_removed() -> None:
    b, x = start()
    b.set_outputs({"y": b.exp(b.neg(b.neg(x)))})
    assert rewrite(b.graph, [CANCEL], Builder) == 1
    assert opcodes(b) == ["exp"]
    assert b.graph.verify() == []


def test_no_match_changes_nothing() -> None:
    b, x = start()
    b.set_outputs({"y": b.exp(b.neg(x))})
    before = b.graph.dump()
    assert rewrite(b.graph, [CANCEL, SQUARE], Builder) == 0
    assert b.graph.dump() == before


@pytest.mark.parametrize(("signs", "count"), [(2, 1), (4, 2), (5, 2), (8, 4)])
def test_rules_apply_until_none_matches(signs: int, count: int) -> None:
    b, x = start()
    value = x
    for _ in range(signs):
        value = b.neg(value)
    b.set_outputs({"y": value})
    assert rewrite(b.graph, [CANCEL], Builder) == count
    assert opcodes(b) == ["neg"] * (signs % 2)
    assert b.graph.verify() == []


def test_rules_see_what_other_rules_build() -> None:
    def to_square(b: Builder, op: Op) -> Value | None:
        return b.square(op.inputs[0])

    b, x = start()
    b.set_outputs({"y": b.exp(x)})
    assert rewrite(b.graph, [SQUARE, Rule("first", ("exp",), to_square)], Builder) == 2
    assert opcodes(b) == ["mul"]


def test_the_first_rule_that_matches_wins() -> None:
    b, x = start()
    b.set_outputs({"y": b.square(x)})
    other = Rule("other", ("square",), lambda b, op: b.abs(op.inputs[0]))
    assert rewrite(b.graph, [SQUARE, other], Builder) == 1
    assert opcodes(b) == ["mul"]


def test_a_rule_may_stand_for_several_opcodes() -> None:
    b, x = start()
    b.set_outputs({"y": b.add(b.exp(x), b.log(x))})
    rule = Rule("to_abs", ("exp", "log"), lambda b, op: b.abs(op.inputs[0]))
    assert rewrite(b.graph, [rule], Builder) == 2
    assert opcodes(b) == ["abs", "abs", "add"]


def test_dead_ops_are_neither_rewritten_nor_counted() -> None:
    b, x = start()
    b.square(x)
    b.set_outputs({"y": b.exp(x)})
    rule = Rule("any", ("square",), _square)
    assert rewrite(b.graph, [rule], Builder) == 0


def test_outputs_follow_the_replacement_under_their_names() -> None:
    b, x = start()
    made = b.square(x)
    made.name = "area"
    b.set_outputs({"y": made, "again": made})
    rewrite(b.graph, [SQUARE], Builder)
    new = b.graph.outputs["y"]
    assert (new.producer.opcode, b.graph.outputs["again"], new.name) == ("mul", new, "area")


def test_a_replacement_that_was_there_before_keeps_its_name() -> None:
    b, x = start()
    b.set_outputs({"y": b.neg(b.neg(x))})
    rewrite(b.graph, [CANCEL], Builder)
    assert b.graph.outputs["y"] is x
    assert x.name == "x"


def test_all_new_ops_carry_the_line_of_the_old_one() -> None:
    b, x = start()
    op = b.div(x, x).producer
    op.loc = Location("model.py", 42)
    b.set_outputs({"y": op.result})
    rewrite(b.graph, [DIV], Builder)
    assert [(o.opcode, o.loc) for o in b.graph.ops] == [
        ("reciprocal", Location("model.py", 42)),
        ("mul", Location("model.py", 42)),
    ]


def test_new_ops_stand_where_the_old_one_was() -> None:
    b, x = start()
    first = b.abs(x)
    middle = b.div(first, x)
    b.set_outputs({"y": b.exp(middle)})
    rewrite(b.graph, [DIV], Builder)
    assert opcodes(b) == ["abs", "reciprocal", "mul", "exp"]
    array = np.array([1, 2, 3, 4], np.float32)
    np.testing.assert_allclose(run(b.graph, {"x": array})["y"], np.e * np.ones(4), rtol=1e-6)


def test_a_rule_that_changes_the_type_is_refused() -> None:
    b, x = start()
    b.set_outputs({"y": b.exp(x)})
    rule = Rule("halve", ("exp",), lambda b, op: b.reduce(op.inputs[0], 0, keepdims=True))
    with pytest.raises(InvalidStage, match="rule 'halve' turns <4xf32> into <1xf32>"):
        rewrite(b.graph, [rule], Builder)


@pytest.mark.parametrize(
    "rule",
    [
        Rule("swap", ("add",), lambda b, op: b.add(op.inputs[1], op.inputs[0])),
        Rule("itself", ("add",), lambda b, op: op.result),
        Rule("grow", ("add",), lambda b, op: b.add(b.add(*op.inputs), op.inputs[0])),
    ],
    ids=lambda rule: rule.name,
)
def test_rules_that_never_end_are_stopped(rule: Rule[Builder]) -> None:
    b, x = start()
    b.set_outputs({"y": b.add(x, b.abs(x))})
    with pytest.raises(InvalidStage, match="rules do not terminate on graph @g"):
        rewrite(b.graph, [rule], Builder)


def test_a_rule_shows_its_docstring() -> None:
    assert CANCEL.doc == "Two signs cancel."
    assert SQUARE.doc == ""
