"""The verifier: what it finds, and how a message shows the place."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from nkigen_lite.core import DType, Graph, Op, Value
from nkigen_lite.core.location import Location
from nkigen_lite.core.registry import Attr, Dialect, OpDef
from nkigen_lite.core.verify import check, problems
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir import Builder, TensorType, run

T = TensorType((4,), DType.F32)
TOY: Dialect[OpDef] = Dialect("toy", [TensorType])
TOY.define(OpDef("f", "f.", (0, None), lambda types, attrs: (T,), None))
TOY.define(
    OpDef(
        "loop", "Runs its body.", (0, None), lambda t, a: (), None,
        attrs=(Attr("body", Graph),), effects=None,
    )
)  # fmt: skip


def chain() -> tuple[Builder, Value, Value]:
    """x -> neg -> exp -> y."""
    b = Builder("chain")
    x = b.add_input("x", (4,))
    neg = b.neg(x)
    b.set_outputs({"y": b.exp(neg)})
    return b, x, neg


def with_region() -> tuple[Graph, Graph, Op]:
    """outer: a = f(x); loop { b = f(a, i); return r=b }."""
    g = Graph("outer", TOY)
    a = g.append(Op("f", [g.add_input("x", T)], [T])).result
    body = Graph("body", TOY)
    inner = body.append(Op("f", [a, body.add_input("i", T)], [T]))
    body.set_outputs({"r": inner.result})
    g.append(Op("loop", [], [], {"body": body}))
    return g, body, inner


def test_sound_graphs_have_no_problems() -> None:
    assert chain()[0].graph.verify() == []
    assert with_region()[0].verify() == []
    assert problems(Graph("empty")) == []
    check(chain()[0].graph)


# --- one mistake per case ------------------------------------------------------------------------


def _duplicate_input(b: Builder, x: Value, neg: Value) -> None:
    b.add_input("x", (2,))


def _late_definition(b: Builder, x: Value, neg: Value) -> None:
    b.graph.ops.reverse()


def _wrong_producer(b: Builder, x: Value, neg: Value) -> None:
    neg.producer = None


def _foreign_operand(b: Builder, x: Value, neg: Value) -> None:
    neg.producer.set_input(0, Value("elsewhere", T))


def _foreign_output(b: Builder, x: Value, neg: Value) -> None:
    b.set_outputs({"y": Value("nowhere", T)})


def _missing_use(b: Builder, x: Value, neg: Value) -> None:
    x._uses.clear()


def _use_too_many(b: Builder, x: Value, neg: Value) -> None:
    x._uses.append(neg.producer)


def _stale_use(b: Builder, x: Value, neg: Value) -> None:
    Op("exp", [neg], [T])


def _stale_use_of_input(b: Builder, x: Value, neg: Value) -> None:
    Op("exp", [x], [T])


def _operand_behind_the_back(b: Builder, x: Value, neg: Value) -> None:
    b.graph.ops[1].inputs[0] = x


def _twice(b: Builder, x: Value, neg: Value) -> None:
    b.graph.ops.insert(0, neg.producer)


def _unknown_opcode(b: Builder, x: Value, neg: Value) -> None:
    neg.producer.opcode = "negg"


def _wrong_type(b: Builder, x: Value, neg: Value) -> None:
    neg.type = TensorType((5,), DType.F32)


def _illegal_dtype(b: Builder, x: Value, neg: Value) -> None:
    x.type = neg.type = TensorType((4,), DType.BOOL)


def _too_many_operands(b: Builder, x: Value, neg: Value) -> None:
    neg.producer.inputs.append(x)
    x._uses.append(neg.producer)


def _result_too_many(b: Builder, x: Value, neg: Value) -> None:
    neg.producer.results.append(Value("extra", T, neg.producer))


def _unknown_attribute(b: Builder, x: Value, neg: Value) -> None:
    neg.producer.attrs["axis"] = 0


MISTAKES: list[tuple[Callable[[Builder, Value, Value], None], str]] = [
    (_duplicate_input, "graph @chain: Duplicate input name 'x'"),
    (_late_definition, "exp: %v1 used before definition"),
    (_wrong_producer, "neg: producer mismatch for %v1"),
    (_foreign_operand, "neg: %elsewhere references undefined value"),
    (_foreign_output, "output 'y' references undefined value %nowhere"),
    (_missing_use, "neg: use-list inconsistent for %x"),
    (_use_too_many, "neg: use-list inconsistent for %x"),
    (_stale_use, "use-list inconsistent for %v1: it lists an op outside the graph"),
    (_stale_use_of_input, "use-list inconsistent for %x: it lists an op outside the graph"),
    (_operand_behind_the_back, "exp: use-list inconsistent for %x"),
    (_twice, "neg: the op is in the graph twice"),
    (_unknown_opcode, "tensor_ir: unknown opcode 'negg'; did you mean 'neg'?"),
    (_wrong_type, "neg: results are declared <5xf32> but its row makes <4xf32>"),
    (_illegal_dtype, "neg: dtype is bool but must be a number type"),
    (_too_many_operands, "neg: got 2 operands but takes 1"),
    (_result_too_many, "neg: results are declared <4xf32>, <4xf32> but its row makes <4xf32>"),
    (_unknown_attribute, "neg: attribute 'axis' is not one of none"),
]


@pytest.mark.parametrize(
    ("make", "sentence"), MISTAKES, ids=[make.__name__[1:] for make, _ in MISTAKES]
)
def test_mistake_is_found_and_named(
    make: Callable[[Builder, Value, Value], None], sentence: str
) -> None:
    b, x, neg = chain()
    make(b, x, neg)
    assert sentence in b.graph.verify()
    with pytest.raises(InvalidOp):
        b.graph.check()


@pytest.mark.parametrize(
    ("attrs", "sentence"),
    [
        ({"axis": (-1,)}, "reduce: attribute 'axis' is (-1,) but its full form is (0,)"),
        ({"axis": [0]}, "reduce: attribute 'axis' is [0] but its full form is (0,)"),
        ({"kind": "median"}, "reduce: kind is 'median' but must be one of sum, max, min, mean"),
        ({"keepdims": 1}, "reduce: attribute 'keepdims' is 1 but must be bool"),
        ({"axis": (3,)}, "reduce: axis 3 is out of range for rank 1"),
    ],
)
def test_attributes_must_be_as_the_row_makes_them(attrs: dict[str, object], sentence: str) -> None:
    b = Builder()
    op = b.reduce(b.add_input("x", (4,)), 0).producer
    op.attrs.update(attrs)
    assert b.graph.verify() == [sentence]


def test_a_default_left_out_is_found() -> None:
    b = Builder()
    op = b.reduce(b.add_input("x", (4,)), 0).producer
    del op.attrs["kind"]
    assert b.graph.verify() == ["reduce: attribute 'kind' is missing but its full form is 'sum'"]


def test_nan_as_an_attribute_is_itself() -> None:
    b = Builder()
    b.set_outputs({"y": b.full((2,), float("nan"))})
    assert b.graph.verify() == []


def test_values_of_one_name_are_no_problem() -> None:
    b, x, neg = chain()
    neg.name = x.name
    assert b.graph.verify() == []


def test_rows_are_not_asked_without_a_dialect() -> None:
    g = Graph("free")
    g.append(Op("anything", [g.add_input("x", T)], [T, T], {"a": object()}))
    assert g.verify() == []


# --- regions -------------------------------------------------------------------------------------


def test_a_region_may_not_return_what_it_did_not_make() -> None:
    g, body, _ = with_region()
    body.set_outputs({"r": g.ops[0].result})
    assert g.verify() == ["output 'r' references undefined value %v1"]


def test_what_a_region_makes_is_not_defined_outside() -> None:
    g, _, inner = with_region()
    g.append(Op("f", [inner.result], [T]))
    assert g.verify() == ["f: %v1 references undefined value"]


def test_a_region_may_not_read_what_comes_later() -> None:
    g, _, inner = with_region()
    late = g.append(Op("f", [], [T]))
    late.result.name = "late"
    inner.set_input(0, late.result)
    assert g.verify() == ["f: %late references undefined value"]


def test_broken_use_lists_inside_regions_are_found() -> None:
    g, _, inner = with_region()
    g.ops[0].result._uses.clear()
    assert g.verify() == ["f: use-list inconsistent for %v1"]
    assert inner.inputs[0] is g.ops[0].result


def test_rows_are_checked_inside_regions() -> None:
    g, body, _ = with_region()
    body.append(Op("frobnicate", [], [T]))
    assert g.verify() == ["toy: unknown opcode 'frobnicate'"]


# --- messages ------------------------------------------------------------------------------------


def test_check_shows_place_and_neighbourhood() -> None:
    b = Builder("deep")
    value = b.add_input("x", (4,))
    for _ in range(4):
        value = b.neg(value)
    bad = b.exp(value).producer
    b.tanh(b.abs(b.sign(bad.result)))
    bad.loc = Location("kernels/mlp.py", 31)
    bad.opcode = "expp"
    with pytest.raises(InvalidOp) as caught:
        b.graph.check()
    assert str(caught.value).split("\n") == [
        "tensor_ir: unknown opcode 'expp'; did you mean 'exp'?",
        "  at kernels/mlp.py:31",
        "  in graph @deep:",
        "      %v3: <4xf32> = neg(%v2)",
        "      %v4: <4xf32> = neg(%v3)",
        "   >> %v5: <4xf32> = expp(%v4)",
        "      %v6: <4xf32> = sign(%v5)",
        "      %v7: <4xf32> = abs(%v6)",
    ]


def test_neighbourhood_is_that_of_the_region_at_fault() -> None:
    g, body, _ = with_region()
    body.append(Op("frobnicate", [], [T]))
    with pytest.raises(InvalidOp) as caught:
        g.check()
    lines = str(caught.value).split("\n")
    assert lines[1] == "  in graph @body:"
    assert lines[-1] == "   >> %v1: <4xf32> = frobnicate()"


def test_a_problem_of_the_graph_itself_marks_no_op() -> None:
    b, x, neg = chain()
    _foreign_output(b, x, neg)
    with pytest.raises(InvalidOp, match="references undefined value") as caught:
        b.graph.check()
    assert ">>" not in str(caught.value)
    assert "%v1: <4xf32> = neg(%x)" in str(caught.value)


def test_an_attribute_without_a_textual_form_still_gives_a_message() -> None:
    b = Builder()
    op = b.transpose(b.add_input("x", (4, 2)), (1, 0)).producer
    op.attrs["perm"] = [1, 0]
    with pytest.raises(
        InvalidOp, match=re.escape(">> %v1: <2x4xf32> = transpose(%x) {perm=[1, 0]}")
    ):
        b.graph.check()


def test_checked_graphs_still_run() -> None:
    b, _, _ = chain()
    b.graph.check()
    assert run(b.graph, {"x": [0, 0, 0, 0]})["y"].tolist() == [1, 1, 1, 1]
