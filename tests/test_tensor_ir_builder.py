"""The Builder: what its methods make, and what they refuse in which words."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from nkigen_lite.core import DType, Value
from nkigen_lite.errors import InvalidMatmul, InvalidOp
from nkigen_lite.tensor_ir import Builder, TensorType, run
from nkigen_lite.tensor_ir.rows import TENSOR

F32, I32 = DType.F32, DType.I32
UNARY = (
    *("neg", "exp", "log", "sqrt", "rsqrt", "reciprocal", "tanh", "relu", "gelu", "sigmoid"),
    *("silu", "sin", "cos", "arctan", "abs", "sign", "floor", "ceil", "square", "erf"),
)
BINARY = (
    *("add", "sub", "mul", "div", "maximum", "minimum", "power", "floor_divide", "mod"),
    *("bitwise_and", "bitwise_or", "bitwise_xor"),
)
COMPARE = ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")
BITS = {"bitwise_and", "bitwise_or", "bitwise_xor"}


class Inputs:
    """A builder with one input of each kind that the tables below need."""

    def __init__(self) -> None:
        self.b = Builder("b")
        add = self.b.add_input
        self.s, self.v = add("s", ()), add("v", (4,))
        self.m, self.n = add("m", (4, 6)), add("n", (6, 4))
        self.t, self.half = add("t", (2, 3, 4)), add("half", (4, 6), "f16")
        self.i, self.flag = add("i", (4, 6), I32), add("flag", (4, 6), DType.BOOL)


@pytest.mark.parametrize("name", UNARY)
def test_unary_ops_keep_the_type(name: str) -> None:
    g = Inputs()
    for x in (g.s, g.v, g.t, g.half):
        assert getattr(g.b, name)(x).type == x.type


@pytest.mark.parametrize("name", [*BINARY, *COMPARE])
def test_binary_ops_broadcast_without_inserting_ops(name: str) -> None:
    g = Inputs()
    x = g.i if name in BITS else g.m
    y = g.b.add_input("y", (3, 1, 6), x.type.dtype)
    assert getattr(g.b, name)(x, y).type == TensorType((3, 4, 6), x.type.dtype)
    assert len(g.b.graph.ops) == 1


@pytest.mark.parametrize("name", [*BINARY, *COMPARE])
def test_binary_ops_do_not_promote(name: str) -> None:
    g = Inputs()
    with pytest.raises(ValueError, match=f"{name}: dtype mismatch: f32 and i32; cast one of them"):
        getattr(g.b, name)(g.m, g.i)


@pytest.mark.parametrize("name", [*BINARY, *COMPARE])
def test_binary_ops_refuse_shapes_that_do_not_broadcast(name: str) -> None:
    g = Inputs()
    x, y = g.b.add_input("a", (4, 6), I32), g.b.add_input("c", (4, 5), I32)
    if name == "div":
        x, y = g.m, g.b.add_input("d", (4, 5))
    words = f"{name}: shapes (4, 6) and (4, 5) are not broadcastable"
    with pytest.raises(ValueError, match=re.escape(words)):
        getattr(g.b, name)(x, y)


@pytest.mark.parametrize("name", COMPARE)
def test_comparisons_give_the_operands_dtype_unless_asked(name: str) -> None:
    g = Inputs()
    compare = getattr(g.b, name)
    assert compare(g.m, g.m).type.dtype is F32
    assert compare(g.flag, g.flag).type.dtype is DType.BOOL
    assert compare(g.m, g.m, dtype=DType.BOOL).type.dtype is DType.BOOL
    assert compare(g.m, g.m, "u8").type.dtype is DType.U8


MADE: list[tuple[Any, tuple[int, ...], DType, dict[str, Any] | None]] = [
    (lambda g: g.b.where(g.flag, g.m, g.m), (4, 6), F32, {}),
    (lambda g: g.b.where(g.i, g.half, g.half), (4, 6), DType.F16, {}),
    (lambda g: g.b.where(g.s, g.s, g.m), (4, 6), F32, {}),
    (lambda g: g.b.cast(g.m, I32), (4, 6), I32, {"dtype": I32}),
    (lambda g: g.b.cast(g.m, "bfloat16"), (4, 6), DType.BF16, {"dtype": DType.BF16}),
    (lambda g: g.b.constant(2, (3,)), (3,), F32, {"value": 2.0, "shape": (3,), "dtype": F32}),
    (lambda g: g.b.constant(2.9, (), "i8"), (), DType.I8, {"value": 2, "shape": (), "dtype": "i8"}),
    (lambda g: g.b.full([2, 3], 0.5), (2, 3), F32, {"value": 0.5, "shape": (2, 3), "dtype": F32}),
    (lambda g: g.b.zeros((2,), I32), (2,), I32, {"value": 0, "shape": (2,), "dtype": I32}),
    (lambda g: g.b.iota((2, 3)), (2, 3), I32, {"shape": (2, 3), "dim": 0, "dtype": I32}),
    (lambda g: g.b.iota((2, 3), -1, F32), (2, 3), F32, {"shape": (2, 3), "dim": 1, "dtype": F32}),
    (lambda g: g.b.reduce(g.t, 1), (2, 4), F32, {"axis": (1,), "keepdims": False, "kind": "sum"}),
    (lambda g: g.b.reduce(g.t, (-1, 0), "max", True), (1, 3, 1), F32,
     {"axis": (0, 2), "keepdims": True, "kind": "max"}),
    (lambda g: g.b.reduce(g.t, [2], keepdims=np.True_), (2, 3, 1), F32, None),
    (lambda g: g.b.reduce(g.i, (0, 1), "min"), (), I32, None),
    (lambda g: g.b.transpose(g.t, (2, -3, 1)), (4, 2, 3), F32, {"perm": (2, 0, 1)}),
    (lambda g: g.b.transpose(g.s, ()), (), F32, {"perm": ()}),
    (lambda g: g.b.reshape(g.t, (6, 4)), (6, 4), F32, {"shape": (6, 4)}),
    (lambda g: g.b.reshape(g.t, 24), (24,), F32, {"shape": (24,)}),
    (lambda g: g.b.broadcast_to(g.v, (2, 4)), (2, 4), F32, {"shape": (2, 4)}),
    (lambda g: g.b.broadcast_to(g.s, (5,)), (5,), F32, {"shape": (5,)}),
    (lambda g: g.b.expand_dims(g.m, 1), (4, 1, 6), F32, {"shape": (4, 1, 6)}),
    (lambda g: g.b.expand_dims(g.m, -1), (4, 6, 1), F32, {"shape": (4, 6, 1)}),
    (lambda g: g.b.squeeze(g.b.expand_dims(g.m, 0), -3), (4, 6), F32, {"shape": (4, 6)}),
    (lambda g: g.b.slice(g.m, (1, 0), (4, 5), (2, 3)), (2, 2), F32,
     {"starts": (1, 0), "stops": (4, 5), "strides": (2, 3)}),
    (lambda g: g.b.slice(g.m, (0, 2), (4, 6)), (4, 4), F32,
     {"starts": (0, 2), "stops": (4, 6), "strides": (1, 1)}),
    (lambda g: g.b.concat([g.m, g.m, g.m], axis=-1), (4, 18), F32, {"axis": 1}),
    (lambda g: g.b.concat((g.v, g.v)), (8,), F32, {"axis": 0}),
    (lambda g: g.b.matmul(g.m, g.n), (4, 4), F32, {}),
    (lambda g: g.b.matmul(g.v, g.v), (), F32, {}),
    (lambda g: g.b.matmul(g.t, g.v), (2, 3), F32, {}),
    (lambda g: g.b.gelu(g.m), (4, 6), F32, {"approximate": "tanh"}),
    (lambda g: g.b.gelu(g.m, "none"), (4, 6), F32, {"approximate": "none"}),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "dtype", "attrs"), MADE)
def test_method_makes_the_type_and_attributes(
    make: Any, shape: tuple[int, ...], dtype: DType, attrs: dict[str, Any] | None
) -> None:
    g = Inputs()
    made = make(g)
    assert made.type == TensorType(shape, dtype)
    assert attrs is None or made.producer.attrs == attrs
    assert g.b.graph.verify() == []


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_expand_dims_and_squeeze_agree_with_numpy(axis: int) -> None:
    g = Inputs()
    wide = g.b.expand_dims(g.m, axis)
    assert wide.producer.opcode == "reshape"
    assert wide.type.shape == np.expand_dims(np.empty((4, 6)), axis).shape
    assert g.b.squeeze(wide, axis).type == g.m.type


@pytest.mark.parametrize(
    ("cut", "axis", "extents"),
    [
        (2, 0, [2, 2]),
        (3, -1, [2, 2, 2]),
        ((1, 2, 3), 1, [1, 2, 3]),
        ([4], 0, [4]),
        (np.int64(4), 0, [1, 1, 1, 1]),
    ],
)
def test_split_makes_slices_that_concat_undoes(cut: Any, axis: int, extents: list[int]) -> None:
    g = Inputs()
    parts = g.b.split(g.m, cut, axis)
    assert [part.type.shape[axis] for part in parts] == extents
    assert {part.producer.opcode for part in parts} == {"slice"}
    whole = g.b.concat([*parts, parts[0]], axis)
    g.b.set_outputs({"y": whole})
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    inputs = {v.name: np.zeros(v.type.shape) for v in g.b.graph.inputs} | {"m": x}
    first = np.split(x, [extents[0]], axis)[0]
    np.testing.assert_array_equal(run(g.b.graph, inputs)["y"], np.concatenate([x, first], axis))


REFUSED: list[tuple[Any, str]] = [
    (lambda g: g.b.where(g.flag, g.m, g.half), "where: dtype mismatch: f32 and f16"),
    (lambda g: g.b.where(g.v, g.m, g.m), "where: shapes (4,) and (4, 6) and (4, 6) are not broadc"),
    (lambda g: g.b.reduce(g.m, 2), "reduce: axis 2 is out of range for rank 2"),
    (lambda g: g.b.reduce(g.s, 0), "rank 0"),
    (lambda g: g.b.reduce(g.m, 0, "prod"), "reduce: kind is 'prod' but must be one of sum, max, "),
    (lambda g: g.b.reduce(g.m, 0, ["sum"]), "reduce: kind is ['sum'] but must be one of"),
    (lambda g: g.b.reduce(g.m, (0, -2)), "reduce: axis (0, -2) must name one or more different"),
    (lambda g: g.b.reduce(g.m, ()), "reduce: axis () must name one or more different dimensions"),
    (lambda g: g.b.reduce(g.m, 1.0), "reduce: axis 1.0 must be an int"),
    (lambda g: g.b.reduce(g.m, 0, keepdims="yes"), "'keepdims' is 'yes' but must be bool"),
    (lambda g: g.b.reduce(g.flag, 0), "reduce: dtype is bool but must be a number type"),
    (lambda g: g.b.reduce(g.i, 0, "mean"), "reduce: dtype is i32 but must be a float type"),
    (lambda g: g.b.transpose(g.m, (0, 0)), "transpose: invalid perm (0, 0) for rank 2"),
    (lambda g: g.b.transpose(g.m, (0,)), "transpose: invalid perm (0,) for rank 2"),
    (lambda g: g.b.transpose(g.m, (0, 2)), "transpose: axis 2 is out of range for rank 2"),
    (lambda g: g.b.transpose(g.m, None), "transpose: perm None must hold ints"),
    (lambda g: g.b.reshape(g.m, (5, 5)), "reshape: size mismatch: <4x6xf32> has 24 elements but "),
    (lambda g: g.b.reshape(g.m, (-1, 6)), "extent -1 in shape (-1, 6) must be a positive int"),
    (lambda g: g.b.broadcast_to(g.m, (4, 5)), "shape (4, 6) is not broadcastable to (4, 5)"),
    (lambda g: g.b.broadcast_to(g.m, (6,)), "shape (4, 6) is not broadcastable to (6,)"),
    (lambda g: g.b.expand_dims(g.m, 3), "expand_dims: axis 3 is out of range for rank 3"),
    (lambda g: g.b.squeeze(g.m, 0), "squeeze: dimension 0 has extent 4, expected 1"),
    (lambda g: g.b.squeeze(g.m, 2), "squeeze: axis 2 is out of range for rank 2"),
    (lambda g: g.b.slice(g.m, (0,), (4,)), "slice: starts, stops and strides have 1, 1 and 1 ent"),
    (lambda g: g.b.slice(g.m, (0, 0), (4, 7)), "slice: dimension 1 takes [0:7] of extent 6"),
    (lambda g: g.b.slice(g.m, (-1, 0), (4, 6)), "slice: dimension 0 takes [-1:4] of extent 4"),
    (lambda g: g.b.slice(g.m, (2, 0), (2, 6)), "leave at least one element"),
    (lambda g: g.b.slice(g.m, (0, 0), (4, 6), (1, 0)), "stride 0 of dimension 1 must be positive"),
    (lambda g: g.b.slice(g.m, (0, 0.5), (4, 6)), "slice: starts (0, 0.5) must hold ints"),
    (lambda g: g.b.split(g.m, 5), "split: extent 4 is not divisible into 5 parts"),
    (lambda g: g.b.split(g.m, 0), "split: extent 4 is not divisible into 0 parts"),
    (lambda g: g.b.split(g.m, (1, 2)), "split: sizes [1, 2] sum to 3 but dimension 0 has extent 4"),
    (lambda g: g.b.split(g.m, (5, -1)), "split: sizes [5, -1] must be positive ints"),
    (lambda g: g.b.split(g.m, 2, 2), "split: axis 2 is out of range for rank 2"),
    (lambda g: g.b.concat([g.m], 0), "at least 2"),
    (lambda g: g.b.concat([g.s, g.s], 0), "concat: operands have rank 0 but need rank 1 or more"),
    (lambda g: g.b.concat([g.m, g.t], 0), "concat: rank mismatch: <4x6xf32> and <2x3x4xf32>"),
    (lambda g: g.b.concat([g.m, g.n], 0), "concat: shape mismatch in dimension 1"),
    (lambda g: g.b.concat([g.m, g.i], 0), "concat: dtype mismatch: f32 and i32"),
    (lambda g: g.b.concat([g.m, g.m], 2), "concat: axis 2 is out of range for rank 2"),
    (lambda g: g.b.iota(()), "iota: shape is () but an index ramp needs rank 1 or more"),
    (lambda g: g.b.iota((3,), 1), "iota: axis 1 is out of range for rank 1"),
    (lambda g: g.b.iota((3,), 0, "f64"), "iota: dtype: 'f64' is not a known element type"),
    (lambda g: g.b.cast(g.m, "float64"), "cast: dtype: 'float64' is not a known element type"),
    (lambda g: g.b.less(g.m, g.m, "boolean"), "dtype: 'boolean' is not a known element type"),
    (lambda g: g.b.gelu(g.m, "erf"), "gelu: approximate is 'erf' but must be one of tanh, none"),
    (lambda g: g.b.full(5, 1.0), "constant: shape 5 must be a tuple of positive ints"),
    (lambda g: g.b.full((2,), "3"), "constant: value is '3' but must be a number"),
    (lambda g: g.b.full((2,), None), "constant: value is None but must be a number"),
    (lambda g: g.b.full((2,), 1j), "constant: value is 1j but must be a number"),
    (lambda g: g.b.full((2,), [1, 2]), "constant: value has shape (2,) but must be one number"),
    (lambda g: g.b.full((2,), 256, "u8"), "constant: value 256 is outside the range of u8"),
    (lambda g: g.b.full((2,), -1, "u32"), "constant: value -1 is outside the range of u32"),
    (lambda g: g.b.full((2,), math.nan, I32), "constant: value nan is outside the range of i32"),
    (lambda g: g.b.full((2,), -math.inf, I32), "constant: value -inf is outside the range of i32"),
    (lambda g: g.b.full((2,), 10**400), "is outside the range of f32"),
    (lambda g: g.b.exp(g.i), "exp: dtype is i32 but must be a float type"),
    (lambda g: g.b.div(g.i, g.i), "div: dtype is i32 but must be a float type"),
    (lambda g: g.b.add(g.flag, g.flag), "add: dtype is bool but must be a number type"),
    (lambda g: g.b.bitwise_and(g.m, g.m), "bitwise_and: dtype is f32 but must be an integer type"),
    (lambda g: g.b.add_input("z", (2,), "f64"), "input 'z': dtype: 'f64' is not a known element"),
]  # fmt: skip
EMPTY: list[Any] = [
    lambda g: g.b.add_input("e", (4, 0)),
    lambda g: g.b.full((0,), 1.0),
    lambda g: g.b.zeros((3, 0)),
    lambda g: g.b.iota((0,)),
    lambda g: g.b.reshape(g.m, (0, 24)),
    lambda g: g.b.broadcast_to(g.v, (0, 4)),
]


def assert_refused(call: Any, words: str) -> None:
    g = Inputs()
    with pytest.raises(InvalidOp) as caught:
        call(g)
    message = str(caught.value)
    assert words in message
    assert message.endswith(f"\n  at {__file__}:{call.__code__.co_firstlineno}")
    assert g.b.graph.ops == []


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
def test_refusal_says_the_rule_and_the_users_line(call: Any, words: str) -> None:
    assert_refused(call, words)


@pytest.mark.parametrize("call", EMPTY)
def test_tensors_without_elements_are_refused_in_one_way(call: Any) -> None:
    assert_refused(call, "must be a positive int; tensors without elements are not supported")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: g.b.matmul(g.s, g.m), "matmul: operands <f32> and <4x6xf32>: rank 0"),
        (lambda g: g.b.matmul(g.m, g.s), "rank 0 is not a matrix"),
        (lambda g: g.b.matmul(g.m, g.half), "matmul: dtype mismatch: f32 and f16"),
        (lambda g: g.b.matmul(g.flag, g.flag), "matmul: dtype is bool but must be a number type"),
        (lambda g: g.b.matmul(g.m, g.m), "contraction dim mismatch: 6 in <4x6xf32> but 4 in"),
        (lambda g: g.b.matmul(g.m, g.v), "contraction dim mismatch"),
        (lambda g: g.b.matmul(g.t, g.b.add_input("o", (3, 4, 5))),
         "batch shapes (2,) and (3,) are not broadcastable"),
    ],
)  # fmt: skip
def test_matmul_refuses_with_a_type_error(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=re.escape(words)) as caught:
        call(Inputs())
    assert isinstance(caught.value, InvalidMatmul)
    assert isinstance(caught.value, ValueError)
    assert __file__ in str(caught.value)


def test_inputs_keep_name_shape_and_dtype() -> None:
    b = Builder()
    made = [b.add_input("a", ()), b.add_input("b", [2, np.int64(3)], "bf16")]
    assert [str(v) for v in made] == ["%a: <f32>", "%b: <2x3xbf16>"]
    assert b.graph.inputs == made
    assert all(type(n) is int for n in made[1].type.shape)


def test_every_row_is_a_method_that_gives_one_value() -> None:
    methods = {name for name in vars(Builder) if not name.startswith("_")}
    assert {row.name for row in TENSOR} <= methods
    assert isinstance(Builder().iota((3,)), Value)


def test_graph_has_the_builders_name() -> None:
    assert (Builder().graph.name, Builder("layer").graph.name) == ("main", "layer")
