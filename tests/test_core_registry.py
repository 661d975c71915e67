"""Rows, dialects, and the builder that makes ops from them."""

from __future__ import annotations

from typing import Any

import pytest

from nkigen_lite.core import DType, Graph, Op
from nkigen_lite.core.builder import BaseBuilder
from nkigen_lite.core.location import Location, caller_location
from nkigen_lite.core.registry import REQUIRED, Attr, Dialect, OpDef, Space
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir import Builder, TensorType
from nkigen_lite.tensor_ir.rows import TENSOR

T = TensorType((4,), DType.F32)


def row(name: str = "op", arity: tuple[int, int | None] = (1, 1), *attrs: Attr) -> OpDef:
    return OpDef(name, "One.", arity, lambda types, a: (T,), None, tuple(attrs))


FULL = row("op", (1, 1), Attr("axis", int), Attr("name", (str, int), "n"), Attr("part", int, None))


# --- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arity", "count", "sentence"),
    [
        ((1, 1), 0, "op: got 0 operands but takes 1"),
        ((1, 1), 2, "op: got 2 operands but takes 1"),
        ((2, None), 1, "op: got 1 operands but takes at least 2"),
        ((1, 3), 4, "op: got 4 operands but takes 1 to 3"),
    ],
)
def test_wrong_number_of_operands_is_refused(
    arity: tuple[int, int | None], count: int, sentence: str
) -> None:
    with pytest.raises(InvalidOp) as caught:
        row("op", arity).complete([T] * count, {})
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("arity", "count"), [((0, 0), 0), ((2, None), 7), ((1, 3), 2)])
def test_right_number_of_operands_passes(arity: tuple[int, int | None], count: int) -> None:
    assert row("op", arity).complete([T] * count, {}) == {}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "op: attribute 'axis' is missing"),
        ({"axis": 1, "axes": 2}, "op: attribute 'axes' is not one of axis, name, part"),
        ({"axis": "one"}, "op: attribute 'axis' is 'one' but must be int"),
        ({"axis": None}, "op: attribute 'axis' is None but must be int"),
        ({"axis": 1, "name": 1.5}, "op: attribute 'name' is 1.5 but must be str or int"),
        ({"axis": 1, "part": "p"}, "op: attribute 'part' is 'p' but must be int"),
    ],
)
def test_wrong_attributes_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidOp) as caught:
        FULL.complete([T], given)
    assert str(caught.value) == sentence


def test_attribute_of_an_op_that_has_none_is_refused() -> None:
    with pytest.raises(InvalidOp, match="attribute 'axis' is not one of none"):
        row().complete([T], {"axis": 1})


def test_defaults_fill_in_row_order() -> None:
    assert list(FULL.complete([T], {"part": 2, "axis": 1}).items()) == [
        ("axis", 1), ("name", "n"), ("part", 2),
    ]  # fmt: skip
    assert FULL.complete([T], {"axis": 1})["part"] is None


def test_attributes_are_required_by_default() -> None:
    assert Attr("a", int).default is REQUIRED


@pytest.mark.parametrize("op", list(TENSOR), ids=lambda op: op.name)
def test_completing_twice_changes_nothing(op: OpDef) -> None:
    b = Builder()
    x = b.add_input("x", (2, 2), DType.BOOL if op.dtypes == "bits" else DType.F32)
    given: dict[str, dict[str, Any]] = {
        "constant": {"value": 3, "shape": [2, 2]},
        "iota": {"shape": (2, 2), "dim": -1},
        "reduce": {"axis": -1},
        "transpose": {"perm": [-1, 0]},
        "reshape": {"shape": 4},
        "broadcast_to": {"shape": [3, 2, 2]},
        "slice": {"starts": [0, 0], "stops": [1, 2]},
        "concat": {"axis": -2},
        "cast": {"dtype": "bf16"},
        "near_integer": {"dtype": "i32"},
    }
    types = [x.type] * op.arity[0]
    full = op.complete(types, given.get(op.name, {}))
    assert op.complete(types, full) == full
    assert list(op.complete(types, full)) == list(full) == [a.name for a in op.attrs]


def test_reduced_axes_come_in_order_of_appearance() -> None:
    space = Space((("m", "k", None), ("k", "j", "n")), (("m", "n"),))
    assert space.reduced == ("k", "j")


# --- dialects ------------------------------------------------------------------------------------


def test_a_name_is_defined_once() -> None:
    dialect: Dialect[OpDef] = Dialect("toy", [TensorType])
    dialect.define(row("f"))
    with pytest.raises(ValueError, match="toy: op 'f' is defined twice"):
        dialect.define(row("f"))


def test_dialect_is_a_table_of_rows() -> None:
    dialect: Dialect[OpDef] = Dialect("toy", [TensorType])
    made = dialect.define(row("f"))
    assert dialect["f"] is dialect.get("f") is made
    assert ("f" in dialect, "g" in dialect, dialect.get("g")) == (True, False, None)
    assert list(dialect) == [made]


@pytest.mark.parametrize(
    ("opcode", "hint"),
    [("expp", "; did you mean 'exp'?"), ("transposed", "; did you mean 'transpose'?"), ("zzz", "")],
)
def test_unknown_opcode_names_a_near_one(opcode: str, hint: str) -> None:
    with pytest.raises(InvalidOp) as caught:
        TENSOR[opcode]
    assert str(caught.value) == f"tensor_ir: unknown opcode {opcode!r}{hint}"


@pytest.mark.parametrize("kind", [T, TensorType((), DType.BOOL), TensorType((1, 20, 3), DType.U8)])
def test_types_read_back(kind: TensorType) -> None:
    assert TENSOR.parse_type(str(kind)) == kind


@pytest.mark.parametrize(
    "text", ["<4>", "f32", "<4xf33>", "<0xf32>", "<-1xf32>", "<04xf32>", "<4 xf32>", "<4x>", "<x4>"]
)
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidOp, match=f"tensor_ir: '{text}' is not a type"):
        TENSOR.parse_type(text)


# --- building ------------------------------------------------------------------------------------


def test_operands_come_first_then_attributes_by_place_or_name() -> None:
    b = Builder()
    x = b.add_input("x", (4, 2))
    made = [b.reduce(x, 0, "max", True), b.reduce(x, axis=0, kind="max", keepdims=True)]
    assert made[0].producer.attrs == made[1].producer.attrs
    assert made[0].type == made[1].type == TensorType((1, 2), DType.F32)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda b, x: b.exp(), "exp: got 0 operands but takes 1"),
        (lambda b, x: b.exp(x, x), "exp: got 2 operands but takes 1"),
        (lambda b, x: b.exp(x, 3), "exp: got 2 arguments but takes 1"),
        (lambda b, x: b.exp(3), "exp: operand 3 is int but must be a Value"),
        (lambda b, x: b.add(x, 1.5), "add: operand 1.5 is float but must be a Value"),
        (lambda b, x: b.add(x), "add: got 1 operands but takes 2"),
        (lambda b, x: b.add(x, x, x), "add: got 3 operands but takes 2"),
        (lambda b, x: b.concat([x]), "concat: got 1 operands but takes at least 2"),
        (lambda b, x: b.concat(x, x), "concat: got 1 operands but takes at least 2"),
        (lambda b, x: b.concat([x, 2]), "concat: operand 2 is int but must be a Value"),
        (lambda b, x: b.reduce(x, 0, axis=0), "reduce: attribute 'axis' is given twice"),
        (lambda b, x: b.reduce(x, 0, kid="sum"), "reduce: attribute 'kid' is not one of axis"),
        (lambda b, x: b.reduce(x), "reduce: attribute 'axis' is missing"),
        (lambda b, x: b.reduce(x, 0, "sum", True, 3), "reduce: got 5 arguments but takes 4"),
    ],
)
def test_wrong_calls_name_op_rule_and_line(call: Any, sentence: str) -> None:
    b = Builder()
    x = b.add_input("x", (4,))
    with pytest.raises(InvalidOp) as caught:
        call(b, x)
    message = str(caught.value)
    assert message.startswith(sentence)
    assert message.endswith(f"\n  at {__file__}:{call.__code__.co_firstlineno}")
    assert b.graph.ops == []
    assert not x.has_uses


def test_methods_tell_what_they_take() -> None:
    assert Builder.exp.__doc__ == "e to the x."
    assert Builder.exp.__name__ == "exp"
    assert "axis: an int or a tuple of ints" in Builder.reduce.__doc__


def test_unknown_methods_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="expp"):
        _ = Builder().expp


def test_a_builder_at_an_op_inserts_before_it_and_copies_its_line() -> None:
    b = Builder()
    x = b.add_input("x", (4,))
    op = b.exp(x).producer
    op.loc = Location("model.py", 5)
    made = Builder.at_op(b.graph, op).neg(x).producer
    assert b.graph.ops == [made, op]
    assert made.loc == Location("model.py", 5)


def test_a_builder_at_an_op_without_a_line_gives_none() -> None:
    b = Builder()
    x = b.add_input("x", (4,))
    op = b.graph.append(Op("exp", [x], [x.type]))
    assert Builder.at_op(b.graph, op).neg(x).producer.loc is None


def test_a_builder_can_be_told_its_line_or_to_keep_none() -> None:
    graph = Graph("g", TENSOR)
    fixed = BaseBuilder(graph, loc=Location("a.py", 1))
    attrs = {"value": 1, "shape": (2,)}
    assert fixed.emit("constant", [], **attrs).loc == Location("a.py", 1)
    silent = BaseBuilder(graph)
    silent.tracks_location = False
    assert silent.emit("constant", [], **attrs).loc is None


def test_the_users_line_is_the_innermost_outside_the_package() -> None:
    def helper() -> Location | None:
        return caller_location()

    found = helper()
    assert found == Location(__file__, helper.__code__.co_firstlineno + 1)


def test_code_without_a_file_is_passed_over() -> None:
    found = eval("caller_location()", {"caller_location": caller_location})
    assert found is not None
    assert found.file == __file__
