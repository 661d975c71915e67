"""Which element type an operation on mixed operands has."""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkigen_lite.core.dtypes import DType
from nkigen_lite.errors import TraceError
from nkigen_lite.frontend import trace
from nkigen_lite.frontend.promotion import promote, result_type
from nkigen_lite.tensor_ir.types import TensorType

DTYPES = list(DType)


def made(fn: Callable[..., Any], *dtypes: DType | str) -> DType:
    """The type of what ``fn`` makes of arrays of those types."""
    specs = [TensorType((2, 3), DType(d)) for d in dtypes]
    graph = trace(fn, specs).graph
    found: DType = graph.outputs["output"].type.dtype
    return found


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("bf16", "f32", "f32"),
        ("f16", "f32", "f32"),
        ("bf16", "f16", "f32"),
        ("tf32", "bf16", "tf32"),
        ("tf32", "f16", "tf32"),
        ("tf32", "f32", "f32"),
        ("fp8_e4m3", "f32", "f32"),
        ("fp8_e5m2", "bf16", "bf16"),
        ("fp8_e4m3", "f16", "f16"),
        ("fp8_e4m3", "fp8_e5m2", "bf16"),
        ("i32", "bf16", "bf16"),
        ("u8", "f32", "f32"),
        ("bool", "fp8_e4m3", "fp8_e4m3"),
        ("i8", "i32", "i32"),
        ("i8", "u8", "i16"),
        ("u16", "i16", "i32"),
        ("u32", "i32", "i32"),
        ("u32", "i8", "i32"),
        ("u8", "u16", "u16"),
        ("bool", "i8", "i8"),
        ("bool", "bool", "i32"),
    ],
)
def test_two_arrays_meet_in(a: str, b: str, expected: str) -> None:
    assert made(operator.add, a, b) == made(operator.add, b, a) == DType(expected)


@pytest.mark.parametrize(
    ("array", "scalar", "expected"),
    [
        *((d, s, d) for d in ("bf16", "f16", "f32", "fp8_e4m3") for s in (2, 2.5, True)),
        *((d, s, d) for d in ("bf16", "f32") for s in (np.float64(2.5), np.int64(2), np.pi)),
        ("bf16", np.float32(2), "f32"),
        ("bf16", np.int32(2), "bf16"),
        ("i8", 2, "i8"),
        ("u32", np.int64(2), "u32"),
        ("i8", 2.5, "f32"),
        ("bool", 2, "i32"),
        ("bool", 2.5, "f32"),
        ("bool", True, "i32"),
    ],
)
def test_scalars_are_weak(array: str, scalar: Any, expected: str) -> None:
    assert made(lambda x: x + scalar, array) == DType(expected)
    assert made(lambda x: scalar * x, array) == DType(expected)


@pytest.mark.parametrize(
    ("array", "concrete", "expected"),
    [
        ("bf16", np.linspace(0, 1, 3), "f32"),
        ("bf16", np.array([5, 7, 9]), "bf16"),
        ("i8", np.array([5, 7, 9]), "i32"),
        ("u8", np.array([5, 7, 9], np.uint64), "u32"),
        ("f32", np.array([True, False, True]), "f32"),
        ("f16", [1.5, 2.5, 4.0], "f32"),
    ],
)
def test_concrete_arrays_narrow_to_32_bits(array: str, concrete: Any, expected: str) -> None:
    assert made(lambda x: x * concrete, array) == DType(expected)


@pytest.mark.parametrize(
    ("fn", "dtype", "expected"),
    [
        (lambda x: x / x, "i32", "f32"),
        (lambda x: x / 2, "bool", "f32"),
        (lambda x: x // 2, "i16", "i16"),
        (lambda x: x > 0, "bf16", "bool"),
        (lambda x: x == 1, "bool", "bool"),
        (np.sqrt, "i8", "f32"),
        (np.floor, "i8", "i8"),
        (np.rint, "i8", "f32"),
        (np.round, "u8", "u8"),
        (np.isfinite, "i32", "bool"),
        (np.logical_not, "f32", "bool"),
        (np.sum, "bf16", "bf16"),
        (np.sum, "i8", "i32"),
        (np.sum, "u8", "u32"),
        (np.sum, "bool", "i32"),
        (np.prod, "i8", "i32"),
        (np.max, "i8", "i8"),
        (np.max, "bool", "bool"),
        (np.any, "f32", "bool"),
        (np.mean, "bf16", "bf16"),
        (np.var, "fp8_e4m3", "fp8_e4m3"),
        (np.std, "i32", "f32"),
        (np.linalg.norm, "f16", "f16"),
        (lambda x: np.sum(x, dtype=np.float32), "bf16", "f32"),
        (lambda x: np.mean(x, dtype="bf16"), "i32", "bf16"),
        (lambda x: np.add(x, x, dtype=np.float32), "bf16", "f32"),
        (lambda x: x.T @ x, "fp8_e4m3", "fp8_e4m3"),
        (lambda x: x.T @ x, "bool", "i32"),
        (lambda x: np.concatenate([x, np.ones((1, 3))]), "bf16", "f32"),
        (lambda x: np.where(x, x, 0.0), "bf16", "bf16"),
        (lambda x: np.clip(x, 0, 6.0), "bf16", "bf16"),
        (lambda x: np.full_like(x, 2), "i8", "i8"),
        (lambda x: np.zeros_like(x, dtype=bool), "bf16", "bool"),
        (lambda x: x.astype("bf16"), "f32", "bf16"),
        (lambda x: x.astype("f4"), "bf16", "f32"),
        (lambda x: x.astype(DType.TF32), "f32", "tf32"),
        (lambda x: x.astype(x.dtype), "fp8_e5m2", "fp8_e5m2"),
    ],
)
def test_result_type_of(fn: Callable[..., Any], dtype: str, expected: str) -> None:
    assert made(fn, dtype) == DType(expected)


def test_means_of_narrow_floats_are_computed_in_f32() -> None:
    ops = trace(lambda x: np.mean(x, axis=1), ["4x8:bf16"]).graph.ops
    assert [(op.opcode, str(op.result.type)) for op in ops] == [
        ("cast", "<4x8xf32>"),
        ("reduce", "<4xf32>"),
        ("cast", "<4xbf16>"),
    ]


def test_in_place_operators_keep_the_type_on_the_left() -> None:
    def scale(x: Any, y: Any) -> Any:
        x += y
        x *= 2
        return x

    assert made(scale, "bf16", "f32") is DType.BF16


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("x /= 2", "the result is f32 but the array on the left i32; write x = x [+] y"),
        ("x += y", r"the result has shape \(3, 4\) but the array on the left \(4,\)"),
    ],
)
def test_in_place_operators_refuse_what_numpy_refuses(statement: str, sentence: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def f(x, y):\n    {statement}\n    return x", namespace)
    with pytest.raises(TraceError, match=sentence):
        trace(namespace["f"], ["4:i32", "3x4:i32"])


def test_integer_scalars_out_of_bounds_are_refused() -> None:
    with pytest.raises(TraceError, match=r"300 is out of bounds for u8 \(0 to 255\)"):
        trace(lambda x: x + 300, ["4:u8"])


def test_scalars_beyond_a_type_without_infinity_are_refused() -> None:
    with pytest.raises(TraceError, match=r"1000.0 is out of bounds for fp8_e4m3 \(-448.0 to 448.0"):
        trace(lambda x: x + 1000.0, ["4:fp8_e4m3"])


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.is_float])
def test_finiteness_of_every_float_type(dtype: DType) -> None:
    x = np.array([1, np.nan, -np.inf]).astype(dtype.np)
    got = trace(lambda x: (np.isfinite(x), np.isinf(x)), [TensorType((3,), dtype)]).run(x)
    np.testing.assert_array_equal(got, [np.isfinite(x), np.isinf(x)])


def test_integer_arrays_beyond_32_bits_are_refused() -> None:
    with pytest.raises(
        TraceError, match="integer 1099511627776 of an int64 array does not fit i32"
    ):
        trace(lambda x: x + np.array([1, 2**40]), ["2:f32"])


@given(st.sampled_from(DTYPES), st.sampled_from(DTYPES), st.sampled_from(DTYPES))
@settings(max_examples=200)
def test_promotion_does_not_depend_on_the_order(a: DType, b: DType, c: DType) -> None:
    met = result_type([a, b, c])
    assert {result_type(order) for order in permutations([a, b, c])} == {met}
    assert promote(promote(a, b), a) is promote(a, b)
    assert met.is_float == any(d.is_float for d in (a, b, c))


@pytest.mark.parametrize(
    "pair",
    [p for p in product(DTYPES, repeat=2) if not any(d.is_float for d in p)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def test_integers_follow_numpy_up_to_32_bits(pair: tuple[DType, DType]) -> None:
    numpys = np.result_type(pair[0].np, pair[1].np)
    expected = np.dtype(np.int32) if numpys == np.int64 else numpys
    assert promote(*pair).np == expected


@pytest.mark.parametrize("dtype", [np.float64, float, "float64", np.int64, int, "f8"])
def test_64_bit_types_are_refused_with_their_twin(dtype: Any) -> None:
    twin = "np.float32" if np.dtype(dtype).kind == "f" else "np.int32"
    with pytest.raises(TraceError, match=f"wider than a NeuronCore's types; use {twin}") as caught:
        trace(lambda x: x.astype(dtype), ["4:f32"])
    assert str(caught.value).startswith("astype: dtype ")
    with pytest.raises(TraceError, match=f"use {twin}"):
        trace(lambda x: np.sum(x, dtype=dtype), ["4:f32"])


@pytest.mark.parametrize("dtype", ["f99", "complex64", object])
def test_unknown_types_are_refused(dtype: Any) -> None:
    with pytest.raises(TraceError, match="is not an element type"):
        trace(lambda x: x.astype(dtype), ["4:f32"])
