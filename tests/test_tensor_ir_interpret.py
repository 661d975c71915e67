"""The interpreter: inputs, rounding of every result to its declared dtype, edge cases, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nkigen_lite.core import DType, Graph, Op
from nkigen_lite.core.dtypes import epsilon, round_to
from nkigen_lite.core.interpret import interpret_values
from nkigen_lite.core.location import Location
from nkigen_lite.errors import InvalidInput, InvalidOp, NotSupported
from nkigen_lite.tensor_ir import Builder, TensorType, interpret, run
from nkigen_lite.tensor_ir.rows import TENSOR

FLOATS = [d for d in DType if d.is_float]
F32, I8, I32, U8, BOOL = DType.F32, DType.I8, DType.I32, DType.U8, DType.BOOL
INF, NAN = math.inf, math.nan


def compute(opcode: str, arrays: list[Any], dtype: DType, /, **attrs: Any) -> list[Any]:
    """The op's result on inputs of that dtype, as a flat list."""
    b = Builder()
    values = [b.add_input(f"x{i}", np.shape(a), dtype) for i, a in enumerate(arrays)]
    b.set_outputs({"y": b.emit(opcode, values, **attrs).result})
    return run(b.graph, {f"x{i}": a for i, a in enumerate(arrays)})["y"].ravel().tolist()


# --- what each op means --------------------------------------------------------------------------

MEANINGS: list[tuple[str, list[Any], dict[str, Any], list[float]]] = [
    ("neg", [[1, -2]], {}, [-1, 2]),
    ("exp", [[0, 1]], {}, [1, math.e]),
    ("log", [[1, math.e]], {}, [0, 1]),
    ("sqrt", [[4, -1]], {}, [2, NAN]),
    ("rsqrt", [[4, 0]], {}, [0.5, INF]),
    ("reciprocal", [[4, 0]], {}, [0.25, INF]),
    ("square", [[-3]], {}, [9]),
    ("tanh", [[0, 50, -50]], {}, [0, 1, -1]),
    ("relu", [[-1, 2]], {}, [0, 2]),
    ("gelu", [[0, 1, -1]], {}, [0, 0.8411920, -0.1588080]),
    ("gelu", [[0, 1, -1]], {"approximate": "none"}, [0, 0.8413447, -0.1586553]),
    ("sigmoid", [[0, -100, 100]], {}, [0.5, 0, 1]),
    ("silu", [[0, 2]], {}, [0, 2 / (1 + math.exp(-2))]),
    ("sin", [[math.pi / 2]], {}, [1]),
    ("cos", [[0, 1]], {}, [1, math.cos(1)]),
    ("arctan", [[1, -INF]], {}, [math.pi / 4, -math.pi / 2]),
    ("erf", [[0, 1]], {}, [0, 0.8427008]),
    ("abs", [[-2, 3]], {}, [2, 3]),
    ("sign", [[-2, 0, 3]], {}, [-1, 0, 1]),
    ("floor", [[1.5, -1.5]], {}, [1, -2]),
    ("ceil", [[1.5, -1.5]], {}, [2, -1]),
    ("add", [[1, 2], [10, 20]], {}, [11, 22]),
    ("sub", [[1, 2], [10, 20]], {}, [-9, -18]),
    ("mul", [[3, 2], [10, 20]], {}, [30, 40]),
    ("div", [[1, 1], [4, 0]], {}, [0.25, INF]),
    ("maximum", [[1, 2, NAN], [2, 1, 0]], {}, [2, 2, NAN]),
    ("minimum", [[1, 2, NAN], [2, 1, 0]], {}, [1, 1, NAN]),
    ("power", [[2, 4], [3, -0.5]], {}, [8, 0.5]),
    ("floor_divide", [[7, -7], [2, 2]], {}, [3, -4]),
    ("mod", [[7, -7, 7], [2, 2, -2]], {}, [1, 1, -1]),
    ("equal", [[1, 2, NAN], [1, 1, NAN]], {}, [1, 0, 0]),
    ("not_equal", [[1, 2, NAN], [1, 1, NAN]], {}, [0, 1, 1]),
    ("greater", [[1, 2], [1, 1]], {}, [0, 1]),
    ("greater_equal", [[1, 0], [1, 1]], {}, [1, 0]),
    ("less", [[1, 0], [1, 1]], {}, [0, 1]),
    ("less_equal", [[1, 2], [1, 1]], {}, [1, 0]),
    ("where", [[1, 0, 0.5], [1, 2, 3], [4, 5, 6]], {}, [1, 5, 3]),
    ("cast", [[1.5]], {"dtype": F32}, [1.5]),
    ("near_integer", [[1.5, -2.5]], {"dtype": I32}, [1, -2]),
    ("constant", [], {"value": 3, "shape": (2,)}, [3, 3]),
    ("iota", [], {"shape": (2, 3), "dim": 1}, [0, 1, 2, 0, 1, 2]),
    ("iota", [], {"shape": (2, 3), "dim": 0, "dtype": F32}, [0, 0, 0, 1, 1, 1]),
    ("reduce", [[[1, 2], [3, 4]]], {"axis": 0}, [4, 6]),
    ("reduce", [[[1, 2], [3, 4]]], {"axis": (0, 1), "kind": "mean"}, [2.5]),
    ("reduce", [[[1, 2], [3, 4]]], {"axis": 1, "kind": "max"}, [2, 4]),
    ("reduce", [[[1, 2], [3, 4]]], {"axis": 1, "kind": "min"}, [1, 3]),
    ("matmul", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], {}, [19, 22, 43, 50]),
    ("matmul", [[1, 2], [3, 4]], {}, [11]),
    ("transpose", [[[1, 2], [3, 4]]], {"perm": (1, 0)}, [1, 3, 2, 4]),
    ("reshape", [[[1, 2], [3, 4]]], {"shape": (4,)}, [1, 2, 3, 4]),
    ("broadcast_to", [[1, 2]], {"shape": (2, 2)}, [1, 2, 1, 2]),
    ("slice", [[0, 1, 2, 3, 4]], {"starts": 1, "stops": 5, "strides": 2}, [1, 3]),
    ("concat", [[1, 2], [3]], {"axis": 0}, [1, 2, 3]),
]


@pytest.mark.parametrize(("opcode", "arrays", "attrs", "wanted"), MEANINGS)
def test_op_means_this(
    opcode: str, arrays: list[Any], attrs: dict[str, Any], wanted: list[float]
) -> None:
    np.testing.assert_allclose(compute(opcode, arrays, F32, **attrs), wanted, rtol=3e-7, atol=1e-7)


def test_every_op_of_floats_has_its_meaning_in_the_table() -> None:
    assert {row.name for row in TENSOR if row.dtypes != "bits"} == {name for name, *_ in MEANINGS}


@pytest.mark.parametrize(
    ("opcode", "dtype", "arrays", "wanted"),
    [
        ("bitwise_and", U8, [[12, 255], [10, 1]], [8, 1]),
        ("bitwise_or", U8, [[12, 254], [10, 1]], [14, 255]),
        ("bitwise_xor", I8, [[12, -1], [10, 1]], [6, -2]),
        ("bitwise_and", BOOL, [[1, 0], [1, 1]], [True, False]),
        ("bitwise_xor", BOOL, [[1, 0], [1, 1]], [False, True]),
        ("equal", BOOL, [[1, 0], [1, 1]], [True, False]),
        ("less", BOOL, [[1, 0], [1, 1]], [False, True]),
        ("add", I8, [[127, -128], [1, -1]], [-128, 127]),
        ("sub", U8, [[0], [1]], [255]),
        ("mul", I32, [[2**30], [4]], [0]),
        ("neg", U8, [[1]], [255]),
        ("abs", I8, [[-128, -3]], [-128, 3]),
        ("sign", I8, [[-5, 0, 5]], [-1, 0, 1]),
        ("relu", I8, [[-5, 5]], [0, 5]),
        ("maximum", I8, [[-5, 5], [0, 0]], [0, 5]),
        ("floor_divide", I32, [[7, -7, 7], [2, 2, -2]], [3, -4, -4]),
        ("mod", I32, [[7, -7, 7], [2, 2, -2]], [1, 1, -1]),
        ("power", I32, [[3, -2, 0], [2, 3, 0]], [9, -8, 1]),
        ("add", I32, [[2**24 + 1], [0]], [2**24 + 1]),
        ("maximum", I32, [[2**24 + 1], [2**24]], [2**24 + 1]),
    ],
)
def test_integers_are_exact_and_wrap(
    opcode: str, dtype: DType, arrays: list[Any], wanted: list[Any]
) -> None:
    assert compute(opcode, arrays, dtype) == wanted


def test_integer_sums_and_products_of_matrices_wrap_like_one_element() -> None:
    assert compute("reduce", [[100, 100]], I8, axis=0) == [-56]
    assert compute("reduce", [[200, 100]], U8, axis=0) == [44]
    assert compute("matmul", [[[100, 100]], [[2], [1]]], I8) == [44]


@pytest.mark.parametrize(
    ("source", "target", "given", "wanted"),
    [
        (F32, I8, [1.9, -1.9, 300, -INF, NAN], [1, -1, 127, -128, 0]),
        (F32, U8, [-1, 256.5], [0, 255]),
        (F32, BOOL, [0, -0.0, 0.1, NAN], [False, False, True, True]),
        (BOOL, F32, [0, 1], [0.0, 1.0]),
        (I32, U8, [300, -1], [44, 255]),
        (I32, F32, [2**24 + 1], [2**24]),
        (F32, DType.TF32, [1 + 2.0**-11, 1 + 3 * 2.0**-11], [1.0, 1 + 2.0**-9]),
        (F32, DType.FP8_E5M2, [1.125, 1e6], [1.0, INF]),
    ],
)
def test_casts(source: DType, target: DType, given: list[Any], wanted: list[Any]) -> None:
    assert compute("cast", [given], source, dtype=target) == wanted


# --- rounding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_result_is_rounded_to_its_declared_dtype(dtype: DType) -> None:
    b = Builder()
    x = b.add_input("x", (1,), dtype)
    half_step = b.full((1,), epsilon(dtype) / 2, dtype)
    up = b.add(x, half_step)
    b.set_outputs(
        {"up": up, "twice": b.add(up, half_step), "third": b.div(x, b.full((1,), 3, dtype))}
    )
    made = run(b.graph, {"x": [1.0]})
    assert float(made["up"][0]) == float(made["twice"][0]) == 1.0  # a tie, to even, each time
    third = round_to(np.array([1 / 3], np.float32), dtype)
    assert made["third"].tobytes() == third.tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("row", [r for r in TENSOR if r.dtypes == "float"], ids=lambda r: r.name)
def test_narrow_floats_compute_in_float32_and_round_once(row: Any, dtype: DType) -> None:
    arrays = [round_to(np.array([0.75, 1.5]), dtype), round_to(np.array([1.25, 0.5]), dtype)]
    arrays = arrays[: row.arity[0]]
    given = {"dtype": I32} if row.name == "near_integer" else {}
    inputs = [a.astype(np.float32) for a in arrays]
    wide = np.array(compute(row.name, inputs, F32, **given), np.float32)
    assert compute(row.name, arrays, dtype, **given) == round_to(wide, dtype).tolist()


def test_constants_are_rounded_to_their_dtype() -> None:
    b = Builder()
    b.set_outputs({d.value: b.full((1,), 1.3, d) for d in FLOATS})
    made = run(b.graph, {})
    for dtype in FLOATS:
        assert made[dtype.value].tobytes() == round_to(np.array([1.3]), dtype).tobytes()


def test_a_sum_of_narrow_floats_is_rounded_once_at_the_end() -> None:
    assert compute("reduce", [[1.0] + [2.0**-8] * 4], DType.BF16, axis=0) == [1 + 2.0**-6]


@pytest.mark.parametrize("dtype", [F32, DType.BF16, I32, BOOL])
def test_comparisons_hold_one_and_zero_in_their_dtype(dtype: DType) -> None:
    b = Builder()
    x = b.add_input("x", (2,), dtype)
    b.set_outputs({"own": b.equal(x, x), "flag": b.equal(x, x, dtype=BOOL)})
    made = run(b.graph, {"x": [0, 1]})
    assert made["own"].dtype == dtype.np
    assert made["flag"].dtype == np.bool_
    assert made["own"].tolist() == made["flag"].tolist() == [1, 1]


# --- inputs and outputs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [[1, 2], (1.0, 2.0), np.array([1, 2], np.int64), np.array([True, 2])]
)
def test_inputs_are_cast_to_the_declared_dtype(given: Any) -> None:
    b = Builder()
    b.set_outputs({"x": b.add_input("x", (2,), DType.BF16)})
    made = run(b.graph, {"x": given})["x"]
    assert made.dtype == DType.BF16.np
    assert made.tolist() == [1, 2]


def sum_graph() -> Graph:
    b = Builder("sums")
    x, y = b.add_input("x", (2, 3)), b.add_input("y", (3,))
    b.set_outputs({"z": b.add(x, y)})
    return b.graph


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": np.ones((2, 3))}, "Missing input: y"),
        ({}, "Missing input: x"),
        ({"x": np.ones((3, 2)), "y": np.ones(3)}, r"Shape mismatch for x: got \(3, 2\) but"),
        ({"x": np.ones((2, 3)), "y": 1.0}, r"Shape mismatch for y: got \(\) but"),
        ({"x": np.ones((2, 3), complex), "y": np.ones(3)}, "Type mismatch for x: got complex128"),
        ({"x": np.ones((2, 3)), "y": ["a", "b", "c"]}, "Type mismatch for y: got <U1"),
        ({"x": np.ones((2, 3)), "y": [None] * 3}, "Type mismatch for y: got object"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_refused(inputs: dict[str, Any], words: str) -> None:
    for call in (run, interpret):
        with pytest.raises(InvalidInput, match=words):
            call(sum_graph(), inputs)


def test_a_graph_without_outputs_does_not_run() -> None:
    b = Builder("empty")
    b.exp(b.add_input("x", (2,)))
    with pytest.raises(ValueError, match="Graph has no outputs: @empty; call set_outputs first"):
        run(b.graph, {"x": [1, 2]})
    assert list(interpret(b.graph, {"x": [0, 0]})) == ["x", "v1"]


def test_outputs_come_in_the_order_in_which_they_were_named() -> None:
    b = Builder()
    x = b.add_input("x", (1,))
    b.set_outputs({"z": b.neg(x), "a": x, "m": b.exp(x)})
    assert list(run(b.graph, {"x": [0]})) == ["z", "a", "m"]


def test_outputs_share_no_memory_with_inputs_or_each_other() -> None:
    b = Builder()
    x = b.add_input("x", (2, 2))
    wide = b.broadcast_to(x, (3, 2, 2))
    b.set_outputs({"same": x, "turned": b.transpose(x, (1, 0)), "wide": wide, "again": wide})
    given = np.ones((2, 2), np.float32)
    made = run(b.graph, {"x": given})
    for array in made.values():
        array[...] = 7
    assert given.tolist() == [[1, 1], [1, 1]]
    arrays = list(made.values())
    assert not any(np.shares_memory(a, b) for a in arrays for b in arrays if a is not b)


def test_interpret_gives_every_value_under_its_printed_name() -> None:
    b = Builder()
    x, named = b.add_input("x", (1,)), b.add_input("v1", (1,))
    b.set_outputs({"y": b.add(b.neg(x), named)})
    made = interpret(b.graph, {"x": [1], "v1": [10]})
    assert {name: array.tolist() for name, array in made.items()} == {
        "x": [1], "v1": [10], "v1_1": [-1], "v2": [9],
    }  # fmt: skip
    assert all(f"%{name}: " in b.graph.dump() for name in made)


def test_values_can_be_asked_for_by_object() -> None:
    graph = sum_graph()
    made = interpret_values(graph, {"x": np.ones((2, 3)), "y": [1, 2, 3]})
    assert list(made) == graph.all_values()


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [TENSOR, None])
def test_an_unknown_op_is_not_supported(dialect: Any) -> None:
    g = Graph("g", dialect)
    kind = TensorType((2,), F32)
    op = g.append(Op("frobnicate", [g.add_input("x", kind)], [kind], loc=Location("m.py", 3)))
    g.set_outputs({"y": op.result})
    with pytest.raises(NotImplementedError, match="op 'frobnicate' has no numpy meaning") as caught:
        run(g, {"x": [1, 2]})
    assert isinstance(caught.value, NotSupported)
    assert str(caught.value).endswith("\n  at m.py:3")


def test_a_result_of_another_shape_than_declared_is_refused() -> None:
    b = Builder()
    op = b.exp(b.add_input("x", (2,))).producer
    op.result.type = TensorType((3,), F32)
    b.set_outputs({"y": op.result})
    with pytest.raises(
        InvalidOp, match=r"exp: numpy made shape \(2,\) but the op declares <3xf32>"
    ):
        run(b.graph, {"x": [1, 2]})


def test_what_numpy_refuses_names_the_op_and_the_line() -> None:
    with pytest.raises(InvalidOp, match="power: Integers to negative integer powers") as caught:
        compute("power", [[2], [-1]], I32)
    assert f"\n  at {__file__}:" in str(caught.value)
