"""Element types: names, sizes, and rounding into them."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkigen_lite.core import _DTYPE_BYTES, _DTYPE_TO_NP, DType, to_np_dtype
from nkigen_lite.core.dtypes import epsilon, from_np_dtype, parse_dtype, round_to
from nkigen_lite.errors import InvalidInput

FLOATS = [d for d in DType if d.is_float]
NARROW = [d for d in FLOATS if d is not DType.F32]
INTEGERS = [d for d in DType if d.is_integer]
INF, NAN = math.inf, math.nan

# name, bytes, numpy's name, another name that is read
TABLE = [
    (DType.F32, "f32", 4, "float32", "fp32"),
    (DType.F16, "f16", 2, "float16", "fp16"),
    (DType.BF16, "bf16", 2, "bfloat16", "BFloat16"),
    (DType.TF32, "tf32", 4, "float32", "tfloat32"),
    (DType.FP8_E4M3, "fp8_e4m3", 1, "float8_e4m3fn", "fp8_e4m3fn"),
    (DType.FP8_E4M3_IEEE, "fp8_e4m3_ieee", 1, "float8_e4m3", "float8_e4m3"),
    (DType.FP8_E5M2, "fp8_e5m2", 1, "float8_e5m2", "float8_e5m2"),
    (DType.FP8_E3M4, "fp8_e3m4", 1, "float8_e3m4", "float8_e3m4"),
    (DType.I32, "i32", 4, "int32", "int32"),
    (DType.I16, "i16", 2, "int16", "int16"),
    (DType.I8, "i8", 1, "int8", "int8"),
    (DType.U32, "u32", 4, "uint32", "uint32"),
    (DType.U16, "u16", 2, "uint16", "uint16"),
    (DType.U8, "u8", 1, "uint8", "uint8"),
    (DType.BOOL, "bool", 1, "bool", " bool_ "),
]


def rounded(value: float, dtype: DType) -> float:
    return float(round_to(np.array([value]), dtype)[0])


def test_the_table_names_every_dtype() -> None:
    assert [row[0] for row in TABLE] == list(DType)
    assert list(_DTYPE_TO_NP) == list(_DTYPE_BYTES) == list(DType)


@pytest.mark.parametrize(("dtype", "name", "size", "np_name", "alias"), TABLE)
def test_names_and_sizes(dtype: DType, name: str, size: int, np_name: str, alias: str) -> None:
    assert (dtype.value, str(dtype), f"{dtype}", dtype == name) == (name, name, name, True)
    assert dtype.itemsize == _DTYPE_BYTES[dtype] == size
    assert to_np_dtype(dtype) == dtype.np == np.dtype(_DTYPE_TO_NP[dtype])
    assert dtype.np.name == np_name


@pytest.mark.parametrize(("dtype", "name", "size", "np_name", "alias"), TABLE)
def test_every_name_reads_back(
    dtype: DType, name: str, size: int, np_name: str, alias: str
) -> None:
    assert parse_dtype(dtype) is parse_dtype(name) is parse_dtype(alias) is dtype
    assert DType(name) is dtype


@pytest.mark.parametrize("dtype", [d for d in DType if d is not DType.TF32])
def test_numpy_dtype_leads_back(dtype: DType) -> None:
    assert from_np_dtype(dtype.np) is dtype
    assert parse_dtype(dtype.np.name) is dtype


def test_inverting_the_table_prefers_f32_for_float32() -> None:
    first: dict[np.dtype[np.generic], DType] = {}
    for ours, theirs in _DTYPE_TO_NP.items():
        first.setdefault(np.dtype(theirs), ours)
    assert first[np.dtype(np.float32)] is DType.F32
    assert from_np_dtype(np.float32) is DType.F32


def test_each_dtype_is_float_integer_or_bool() -> None:
    kinds = {d: (d.is_float, d.is_integer, d is DType.BOOL) for d in DType}
    assert all(sum(kind) == 1 for kind in kinds.values())
    assert len(FLOATS) == 8
    assert len(INTEGERS) == 6


@pytest.mark.parametrize("text", ["f64", "float64", "", "F 32", "int", "i32x", "None"])
def test_unknown_name_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not a known element type; known are f32, f16"):
        parse_dtype(text)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.complex64, object, "S3"])
def test_numpy_dtype_without_a_twin_is_refused(dtype: object) -> None:
    with pytest.raises(InvalidInput, match="is not an element type of a NeuronCore"):
        from_np_dtype(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_epsilon_is_the_step_above_one(dtype: DType) -> None:
    eps = epsilon(dtype)
    assert rounded(1 + eps, dtype) == 1 + eps
    assert rounded(1 + eps * 0.49, dtype) == 1.0


@pytest.mark.parametrize("dtype", [*INTEGERS, DType.BOOL])
def test_integers_have_no_epsilon(dtype: DType) -> None:
    assert epsilon(dtype) == 0.0


@pytest.mark.parametrize("dtype", NARROW)
def test_ties_round_to_even(dtype: DType) -> None:
    eps = epsilon(dtype)
    assert rounded(1 + 0.5 * eps, dtype) == 1.0
    assert rounded(1 + 1.5 * eps, dtype) == 1 + 2 * eps
    assert rounded(-1 - 1.5 * eps, dtype) == -1 - 2 * eps


@pytest.mark.parametrize("dtype", NARROW)
def test_beyond_a_tie_rounds_up(dtype: DType) -> None:
    eps = epsilon(dtype)
    assert rounded(np.float32(1 + 0.5 * eps + 2.0**-22), dtype) == 1 + eps


@pytest.mark.parametrize("dtype", FLOATS)
def test_signed_zero_and_nan_survive(dtype: DType) -> None:
    assert math.copysign(1.0, rounded(-0.0, dtype)) == -1.0
    assert math.isnan(rounded(NAN, dtype))


@pytest.mark.parametrize("dtype", [d for d in FLOATS if d is not DType.FP8_E4M3])
def test_infinities_survive(dtype: DType) -> None:
    assert (rounded(INF, dtype), rounded(-INF, dtype)) == (INF, -INF)


def test_the_finite_fp8_has_nan_instead_of_infinity() -> None:
    assert math.isnan(rounded(INF, DType.FP8_E4M3))
    assert rounded(448.0, DType.FP8_E4M3) == 448.0
    assert rounded(240.0, DType.FP8_E4M3_IEEE) == 240.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3.4028235e38, INF),  # the largest float32 rounds away from tf32's range
        (1.0 + 2.0**-10, 1.0 + 2.0**-10),
        (1.0 + 2.0**-11, 1.0),
        (2.0**-126, 2.0**-126),
        (3 * 2.0**-137, 2.0**-135),  # a subnormal tie
        (-(1.0 + 3 * 2.0**-11), -(1.0 + 2.0**-9)),
    ],
)
def test_tf32_keeps_ten_mantissa_bits(value: float, expected: float) -> None:
    assert rounded(value, DType.TF32) == expected


@settings(max_examples=60)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_tf32_is_the_nearest_number_with_a_short_mantissa(value: float) -> None:
    found = round_to(np.array([value], np.float32), DType.TF32)
    assert found.view(np.uint32)[0] & 0x1FFF == 0
    below = np.array([value], np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
    near = [below.view(np.float32)[0], (below + np.uint32(0x2000)).view(np.float32)[0]]
    best = min(abs(float(n) - value) for n in near if math.isfinite(n))
    if math.isfinite(found[0]):
        assert abs(float(found[0]) - value) == best


@pytest.mark.parametrize("dtype", FLOATS)
def test_rounding_twice_changes_nothing(dtype: DType) -> None:
    rng = np.random.default_rng(0)
    once = round_to(rng.standard_normal((7, 5)) * 3, dtype)
    assert once.dtype == dtype.np
    assert round_to(once, dtype).tobytes() == once.tobytes()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_floats_truncate_and_saturate_to_integers(dtype: DType) -> None:
    info = np.iinfo(dtype.np)
    given = np.array([1.9, -0.9, 2.5, 1e30, -1e30, INF, -INF, NAN, -0.0])
    wanted = [1, 0, 2, info.max, info.min, info.max, info.min, 0, 0]
    assert round_to(given, dtype).tolist() == wanted
    assert round_to(np.array([-1.9]), dtype).tolist() == [max(-1, info.min)]


@pytest.mark.parametrize("source", FLOATS)
def test_every_float_type_truncates_to_integers(source: DType) -> None:
    assert round_to(np.array([-3.5, 2.5]).astype(source.np), DType.I32).tolist() == [-3, 2]


def test_integers_wrap_around_among_themselves_as_in_numpy() -> None:
    assert round_to(np.array([300, -1, 127]), DType.U8).tolist() == [44, 255, 127]
    assert round_to(np.array([200], np.uint8), DType.I8).tolist() == [-56]


@pytest.mark.parametrize("source", list(DType))
def test_bool_is_what_is_not_zero(source: DType) -> None:
    made = round_to(np.array([0, 1, 1]).astype(source.np), DType.BOOL)
    assert made.dtype == np.bool_
    assert made.tolist() == [False, True, True]


def test_fractions_and_nan_are_true() -> None:
    assert round_to(np.array([0.5, NAN, -0.0]), DType.BOOL).tolist() == [True, True, False]


@pytest.mark.parametrize("dtype", list(DType))
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_rounding_keeps_shapes_scalars_included(dtype: DType, shape: tuple[int, ...]) -> None:
    made = round_to(np.ones(shape), dtype)
    assert (made.shape, made.dtype) == (shape, dtype.np)


def test_rounding_leaves_the_given_array_alone() -> None:
    given = np.array([1.0 + 2.0**-12], np.float32)
    round_to(given, DType.TF32)
    assert given[0] == np.float32(1.0 + 2.0**-12)


def test_bf16_bits_are_those_of_ml_dtypes() -> None:
    values = np.random.default_rng(1).standard_normal(64).astype(np.float32)
    wanted = values.astype(ml_dtypes.bfloat16)
    assert round_to(values, DType.BF16).tobytes() == wanted.tobytes()
