"""What canonicalize recognises, what it leaves alone, and what it counts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from graph_strategy import sample_inputs

from nkigen_lite.core.dtypes import epsilon
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.tensor_ir import Builder, DType, run
from nkigen_lite.tensor_ir.passes.canonicalize import canonicalize

Spelling = Callable[[Builder, Value], Value]


def graph_of(
    spelling: Spelling, shape: tuple[int, ...] = (4, 8), dtype: DType = DType.F32
) -> Graph:
    b = Builder()
    b.set_outputs({"y": spelling(b, b.add_input("x", shape, dtype))})
    return b.graph


def opcodes(graph: Graph) -> list[str]:
    return [op.opcode for op in graph.ops if op.opcode != "constant"]


def like(b: Builder, x: Value, number: float) -> Value:
    """A constant of full shape, as clients without scalars write it."""
    return b.full(x.type.shape, number, x.type.dtype)


def scalar(b: Builder, x: Value, number: float) -> Value:
    return b.full((), number, x.type.dtype)


def check_same(spelling: Spelling, expected: list[str], dtype: DType = DType.F32) -> int:
    """Canonicalize, compare the ops left and the numbers, and return the count."""
    graph = graph_of(spelling, dtype=dtype)
    inputs = sample_inputs(graph, seed=3)
    meaning = run(graph, inputs)["y"].astype(np.float64)
    count = canonicalize(graph)
    assert graph.verify() == []
    assert opcodes(graph) == expected, str(graph)
    tolerance = 8 * epsilon(dtype)
    np.testing.assert_allclose(
        run(graph, inputs)["y"].astype(np.float64), meaning, rtol=tolerance, atol=tolerance
    )
    return count


@pytest.mark.parametrize("constant", [like, scalar])
def test_one_over_sqrt_is_one_rewrite(constant: Callable[..., Value]) -> None:
    assert (
        check_same(lambda b, x: b.div(constant(b, x, 1.0), b.sqrt(b.abs(x))), ["abs", "rsqrt"]) == 1
    )


@pytest.mark.parametrize("constant", [like, scalar])
def test_logistic_function_is_one_rewrite(constant: Callable[..., Value]) -> None:
    def spelled(b: Builder, x: Value) -> Value:
        one = constant(b, x, 1.0)
        return b.div(one, b.add(one, b.exp(b.neg(x))))

    assert check_same(spelled, ["sigmoid"]) == 1


def test_x_over_one_plus_exp_is_one_rewrite() -> None:
    def spelled(b: Builder, x: Value) -> Value:
        return b.div(x, b.add(like(b, x, 1.0), b.exp(b.neg(x))))

    assert check_same(spelled, ["silu"]) == 1


def test_x_times_spelled_out_sigmoid_is_two_rewrites() -> None:
    def spelled(b: Builder, x: Value) -> Value:
        one = like(b, x, 1.0)
        return b.mul(x, b.div(one, b.add(one, b.exp(b.neg(x)))))

    assert check_same(spelled, ["silu"]) == 2


@pytest.mark.parametrize(
    "spelling",
    [
        lambda b, x: b.div(like(b, x, 2.0), b.exp(x)),
        lambda b, x: b.div(like(b, x, 1.0), b.exp(x)),
        lambda b, x: b.div(like(b, x, 1.0), b.add(like(b, x, 2.0), b.exp(b.neg(x)))),
        lambda b, x: b.div(like(b, x, 1.0), b.add(like(b, x, 1.0), b.exp(x))),
        lambda b, x: b.div(b.tanh(x), b.add(like(b, x, 1.0), b.exp(b.neg(x)))),
    ],
)
def test_near_misses_are_left_alone(spelling: Spelling) -> None:
    graph = graph_of(spelling)
    before = opcodes(graph)
    assert canonicalize(graph) == 0
    assert opcodes(graph) == before


def test_an_empty_graph_is_canonical() -> None:
    assert canonicalize(graph_of(lambda b, x: x)) == 0


@pytest.mark.parametrize(
    "negated",
    [
        lambda b, x: b.neg(x),
        lambda b, x: b.mul(x, scalar(b, x, -1.0)),
        lambda b, x: b.sub(scalar(b, x, 0.0), x),
    ],
)
def test_sigmoid_is_found_under_any_negation(negated: Spelling) -> None:
    check_same(lambda b, x: b.reciprocal(b.add(b.exp(negated(b, x)), like(b, x, 1.0))), ["sigmoid"])


def _gelu_tanh(inner: Spelling, outer: Callable[..., Value]) -> Spelling:
    return lambda b, x: outer(b, x, b.tanh(inner(b, x)))


ROOT = math.sqrt(2 / math.pi)
INNER: dict[str, Spelling] = {
    "x + 0.044715 x^3": lambda b, x: b.mul(
        scalar(b, x, ROOT),
        b.add(x, b.mul(scalar(b, x, 0.044715), b.power(x, scalar(b, x, 3.0)))),
    ),
    "products": lambda b, x: b.mul(
        b.add(b.mul(b.mul(b.mul(like(b, x, 0.044715), x), x), x), x), like(b, x, 0.7978845608)
    ),
    "x (1 + 0.044715 x^2)": lambda b, x: b.mul(
        b.mul(x, scalar(b, x, ROOT)),
        b.add(scalar(b, x, 1.0), b.mul(b.square(x), scalar(b, x, 0.044715))),
    ),
    "distributed": lambda b, x: b.add(
        b.mul(x, scalar(b, x, ROOT)),
        b.mul(b.mul(x, b.mul(x, x)), scalar(b, x, ROOT * 0.044715)),
    ),
}
OUTER: dict[str, Callable[..., Value]] = {
    "0.5 x (1 + t)": lambda b, x, t: b.mul(
        b.mul(scalar(b, x, 0.5), x), b.add(scalar(b, x, 1.0), t)
    ),
    "x (1 + t) / 2": lambda b, x, t: b.div(
        b.mul(b.add(t, scalar(b, x, 1.0)), x), scalar(b, x, 2.0)
    ),
    "x (0.5 + 0.5 t)": lambda b, x, t: b.mul(x, b.add(b.mul(t, like(b, x, 0.5)), like(b, x, 0.5))),
    "0.5 x + 0.5 x t": lambda b, x, t: b.add(
        b.mul(x, scalar(b, x, 0.5)), b.mul(b.mul(scalar(b, x, 0.5), t), x)
    ),
}


@pytest.mark.parametrize("dtype", [DType.F32, DType.BF16, DType.F16], ids=str)
@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", INNER)
def test_gelu_is_found_however_it_is_written(inner: str, outer: str, dtype: DType) -> None:
    spelled = _gelu_tanh(INNER[inner], OUTER[outer])
    graph = graph_of(spelled, dtype=dtype)
    canonicalize(graph)
    assert opcodes(graph) == ["gelu"]
    assert graph.ops[-1].attrs["approximate"] == "tanh"


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize(
    "inner",
    [
        lambda b, x: b.div(x, scalar(b, x, math.sqrt(2))),
        lambda b, x: b.mul(like(b, x, 0.70710678), x),
    ],
)
def test_exact_gelu_is_found_however_it_is_written(inner: Spelling, outer: str) -> None:
    graph = graph_of(lambda b, x: OUTER[outer](b, x, b.erf(inner(b, x))))
    canonicalize(graph)
    assert opcodes(graph) == ["gelu"]
    assert graph.ops[-1].attrs["approximate"] == "none"


@pytest.mark.parametrize("inner", INNER)
def test_gelu_of_a_biased_product_starts_at_the_sum(inner: str) -> None:
    """x is itself a polynomial in the matrix product and the bias."""

    def spelled(b: Builder, x: Value) -> Value:
        h = b.add(b.matmul(x, b.add_input("w", (8, 8))), b.add_input("c", (8,)))
        return _gelu_tanh(INNER[inner], OUTER["0.5 x (1 + t)"])(b, h)

    check_same(spelled, ["matmul", "add", "gelu"])


def test_gelu_whose_power_is_computed_in_f32_is_found() -> None:
    def inner(b: Builder, x: Value) -> Value:
        wide = b.power(b.cast(x, DType.F32), full_f32(b, x, 3.0))
        cube = b.mul(scalar(b, x, 0.044715), b.cast(wide, x.type.dtype))
        return b.mul(scalar(b, x, ROOT), b.add(x, cube))

    def full_f32(b: Builder, x: Value, number: float) -> Value:
        return b.full(x.type.shape, number, DType.F32)

    graph = graph_of(_gelu_tanh(inner, OUTER["0.5 x (1 + t)"]), dtype=DType.BF16)
    canonicalize(graph)
    assert opcodes(graph) == ["gelu"]


def test_gelu_with_another_coefficient_is_not_gelu() -> None:
    def inner(b: Builder, x: Value) -> Value:
        cube = b.mul(scalar(b, x, 0.05), b.power(x, scalar(b, x, 3.0)))
        return b.mul(scalar(b, x, ROOT), b.add(x, cube))

    graph = graph_of(_gelu_tanh(inner, OUTER["0.5 x (1 + t)"]))
    canonicalize(graph)
    assert "gelu" not in opcodes(graph)


@pytest.mark.parametrize(
    ("exponent", "left"),
    [(0.5, ["sqrt"]), (-0.5, ["rsqrt"]), (2, ["square"]), (-1, ["reciprocal"]), (1, []), (0, [])],
)
def test_powers_with_a_name_get_it(exponent: float, left: list[str]) -> None:
    check_same(
        lambda b, x: b.power(b.abs(x), like(b, x, exponent)), ["abs", *left] if exponent else []
    )


def test_power_of_an_integer_stays_a_power() -> None:
    graph = graph_of(lambda b, x: b.power(x, like(b, x, 2)), dtype=DType.I32)
    canonicalize(graph)
    assert opcodes(graph) == ["power"]


@pytest.mark.parametrize("dtype", [DType.F32, DType.BF16], ids=str)
@pytest.mark.parametrize("op", ["mul", "div"])
def test_sum_over_the_count_is_a_mean(op: str, dtype: DType) -> None:
    count = {"mul": 1 / 8, "div": 8.0}[op]

    def spelled(b: Builder, x: Value) -> Value:
        total = b.reduce(x, 1, "sum", True)
        return b.call(op, total, like(b, total, count))

    graph = graph_of(spelled, dtype=dtype)
    assert canonicalize(graph) == 1
    assert opcodes(graph) == ["reduce"]
    assert graph.ops[0].attrs["kind"] == "mean"


def test_sum_over_another_count_is_not_a_mean() -> None:
    graph = graph_of(lambda b, x: b.mul(b.reduce(x, 1, "sum"), b.full((4,), 1 / 7)))
    canonicalize(graph)
    assert opcodes(graph) == ["reduce", "mul"]


def test_sum_that_is_read_elsewhere_stays_a_sum() -> None:
    b = Builder()
    total = b.reduce(b.add_input("x", (4, 8)), 1, "sum")
    b.set_outputs({"total": total, "mean": b.mul(total, b.full((), 1 / 8))})
    canonicalize(b.graph)
    assert [op.attrs.get("kind") for op in b.graph.ops if op.opcode == "reduce"] == ["sum"]


def test_float_times_zero_keeps_its_nan() -> None:
    graph = graph_of(lambda b, x: b.mul(x, like(b, x, 0.0)), shape=(2,))
    canonicalize(graph)
    assert np.isnan(run(graph, {"x": np.array([np.inf, 1.0])})["y"]).tolist() == [True, False]


@pytest.mark.parametrize("op", ["sub", "div"])
def test_float_less_or_over_itself_keeps_its_nan(op: str) -> None:
    graph = graph_of(lambda b, x: b.call(op, x, x))
    assert canonicalize(graph) == 0


def test_neutral_constant_of_a_larger_shape_broadcasts() -> None:
    check_same(lambda b, x: b.add(x, b.full((3, 4, 8), 0.0)), ["broadcast_to"])


def test_constants_of_pointwise_ops_become_scalars_uncounted() -> None:
    graph = graph_of(lambda b, x: b.add(b.mul(x, like(b, x, 3.0)), b.full((8,), 3.0)))
    assert canonicalize(graph) == 0
    constants = [op for op in graph.ops if op.opcode == "constant"]
    assert [op.result.type.shape for op in constants] == [()]


def test_names_and_source_lines_of_replaced_values_stay() -> None:
    b = Builder()
    x = b.add_input("x", (4,))
    y = b.div(b.full((), 1.0), b.sqrt(x))
    y.name = "scale"
    loc = y.producer.loc
    b.set_outputs({"y": y})
    canonicalize(b.graph)
    assert b.graph.outputs["y"].name == "scale"
    assert b.graph.ops[0].loc == loc


@pytest.mark.parametrize("dtype", [DType.I32, DType.U8, DType.BOOL], ids=str)
def test_integer_constants_fold_to_numbers_of_their_dtype(dtype: DType) -> None:
    graph = graph_of(lambda b, x: b.bitwise_xor(like(b, x, 1), b.full((), 1, dtype)), dtype=dtype)
    canonicalize(graph)
    assert graph.ops[0].attrs["value"] == 0
    assert type(graph.ops[0].attrs["value"]) is (bool if dtype is DType.BOOL else int)


def test_large_constants_fold_without_being_built() -> None:
    graph = graph_of(lambda b, x: b.exp(b.full((1 << 20, 1 << 20), 0.0)))
    canonicalize(graph)
    assert graph.ops[0].attrs["value"] == 1.0


def test_float_constants_fold_with_the_rounding_of_their_dtype() -> None:
    graph = graph_of(
        lambda b, x: b.add(b.full((), 256.0, "bf16"), b.full((), 1.0, "bf16")), dtype=DType.BF16
    )
    canonicalize(graph)
    assert graph.ops[0].attrs["value"] == 256.0
