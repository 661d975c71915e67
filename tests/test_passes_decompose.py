"""What decompose leaves, and that its formulas hold at the edges of every dtype."""

from __future__ import annotations

import numpy as np
import pytest
from graph_strategy import sample_inputs

from nkigen_lite.core.dtypes import Array, epsilon, round_to
from nkigen_lite.core.ir import Op
from nkigen_lite.errors import InvalidStage, NotSupported
from nkigen_lite.tensor_ir import Builder, DType, run
from nkigen_lite.tensor_ir.passes import decompose as stage
from nkigen_lite.tensor_ir.passes.decompose import LEAVES, decompose
from nkigen_lite.tensor_ir.passes.match import float_range
from nkigen_lite.tensor_ir.rows import TENSOR

FLOATS = [d for d in DType if d.is_float]
SIGNED = [DType.I32, DType.I16, DType.I8]
GONE = ("div", "floor", "ceil", "floor_divide", "mod", "power", "cos")


def before_and_after(
    opcode: str, *arrays: Array, dtype: DType = DType.F32, constant: float | None = None, **attrs
) -> tuple[Array, Array]:
    """What an op of inputs, and a constant if given, makes before and after decompose."""
    b = Builder()
    operands = [b.add_input(f"x{i}", a.shape, dtype) for i, a in enumerate(arrays)]
    if constant is not None:
        operands.append(b.full((), constant, dtype))
    b.set_outputs({"y": b.call(opcode, *operands, **attrs)})
    inputs = {f"x{i}": a for i, a in enumerate(arrays)}
    expected = run(b.graph, inputs)["y"]
    decompose(b.graph)
    assert b.graph.verify() == []
    assert {op.opcode for op in b.graph.ops} <= LEAVES
    return expected.astype(np.float64), run(b.graph, inputs)["y"].astype(np.float64)


def pairs(*values: float) -> tuple[Array, Array]:
    left, right = np.meshgrid(np.float32(values), np.float32(values))
    return left.ravel(), right.ravel()


def test_leaves_are_all_ops_but_those_without_an_engine() -> None:
    assert {row.name for row in TENSOR} - LEAVES == set(GONE)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("opcode", [*GONE, "sin", "arctan", "reduce"])
def test_every_op_keeps_its_meaning_in_every_float_type(opcode: str, dtype: DType) -> None:
    b = Builder()
    row = TENSOR[opcode]
    operands = [b.add_input(f"x{i}", (64, 4), dtype) for i in range(row.arity[0])]
    attrs = {"axis": (0,), "kind": "mean"} if opcode == "reduce" else {}
    b.set_outputs({"y": b.emit(opcode, operands, **attrs).result})
    inputs = sample_inputs(b.graph, seed=5)
    expected = run(b.graph, inputs)["y"].astype(np.float64)
    decompose(b.graph)
    assert {op.opcode for op in b.graph.ops} <= LEAVES
    found = run(b.graph, inputs)["y"].astype(np.float64)
    tolerance = 1.5 * epsilon(dtype) + (1e-6 if dtype is DType.F32 else 0)
    np.testing.assert_allclose(
        found, expected, rtol=tolerance, atol=4e-7 + 2 * float_range(dtype).least
    )


def test_sums_of_narrow_floats_stay_as_they_are() -> None:
    b = Builder()
    b.set_outputs({"y": b.reduce(b.add_input("x", (4, 8), "bf16"), 1)})
    assert decompose(b.graph) == 0


@pytest.mark.parametrize("dtype", [DType.BF16, DType.F16], ids=str)
def test_means_of_thousands_of_narrow_values_do_not_drift(dtype: DType) -> None:
    values = round_to(np.full((2, 8192), 100.3, np.float32), dtype)  # float16 sums would overflow
    expected, found = before_and_after("reduce", values, dtype=dtype, axis=1, kind="mean")
    np.testing.assert_array_equal(found, expected)


# --- division ------------------------------------------------------------------------------------


@pytest.mark.parametrize("constant", [3.0, -7.0, 1e-3, 65504.0])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F16, DType.BF16], ids=str)
def test_quotients_by_a_constant_round_as_the_dtype_does(dtype: DType, constant: float) -> None:
    values = round_to(np.linspace(-60, 60, 97, dtype=np.float32), dtype)
    expected, found = before_and_after("div", values, dtype=dtype, constant=constant)
    np.testing.assert_allclose(
        found, expected, rtol=epsilon(dtype), atol=2 * float_range(dtype).least
    )


def test_quotients_by_zero_and_infinity_are_what_they_were() -> None:
    a, d = pairs(0.0, 1.0, -2.0, np.inf, -np.inf, np.nan)
    expected, found = before_and_after("div", a, d)
    np.testing.assert_array_equal(found, expected)


def test_one_over_x_is_the_reciprocal_alone() -> None:
    b = Builder()
    b.set_outputs({"y": b.div(b.full((4, 1), 1.0), b.add_input("x", (4,)))})
    decompose(b.graph)
    assert [op.opcode for op in b.graph.ops] == ["reciprocal", "broadcast_to"]


@pytest.mark.parametrize("opcode", ["floor_divide", "mod"])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F16, DType.BF16], ids=str)
def test_exact_multiples_and_negative_operands_are_right(dtype: DType, opcode: str) -> None:
    steps = round_to(np.float32([0.1, 0.7, 1.5, 3.0, 7.0, 100.0, -0.1, -3.0]), dtype)
    counts = np.arange(-100, 101, dtype=np.float32)
    a = round_to(counts[:, None] * steps.astype(np.float32), dtype)
    for off in (0.0, 0.25, -0.25):
        shifted = round_to(a.astype(np.float32) + off * steps.astype(np.float32), dtype)
        d = np.broadcast_to(steps, shifted.shape)
        expected, found = before_and_after(opcode, shifted, d, dtype=dtype)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("opcode", ["floor_divide", "mod"])
@pytest.mark.parametrize("constant", [3.0, 0.1, -7.0, 8.0, 0.5, 6.2831855])
def test_quotients_and_remainders_by_a_constant_are_exact(constant: float, opcode: str) -> None:
    counts = np.arange(-4000, 4000, dtype=np.float32)
    a = np.concatenate([counts, counts * np.float32(constant), counts * np.float32(0.37)])
    expected, found = before_and_after(opcode, a, constant=constant)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("opcode", ["floor_divide", "mod"])
def test_quotients_up_to_four_million_are_exact(opcode: str) -> None:
    rng = np.random.default_rng(0)
    d = (rng.standard_normal(20000) * 10.0 ** rng.uniform(-3, 3, 20000)).astype(np.float32)
    counts = rng.integers(-(2**22) + 2, 2**22 - 2, 20000)
    a = (d.astype(np.float64) * counts).astype(np.float32)
    a[::2] = np.nextafter(a[::2], np.float32(np.inf))
    expected, found = before_and_after(opcode, a, d)
    np.testing.assert_array_equal(found, expected)


def test_quotients_too_large_for_fractions_are_products_with_the_reciprocal() -> None:
    a, d = np.float32([1e30, -1e30, 2.0**40]), np.float32([3.0, 7.0, 3.0])
    expected, found = before_and_after("floor_divide", a, d)
    np.testing.assert_allclose(found, expected, rtol=3e-7)


@pytest.mark.parametrize("opcode", ["floor_divide", "mod"])
def test_quotients_of_infinities_and_by_zero_are_numpys(opcode: str) -> None:
    a = np.float32([np.inf, -np.inf, np.nan, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 0.0, np.inf])
    d = np.float32([2.0, 2.0, 2.0, np.inf, np.inf, -np.inf, -np.inf, 0.0, 0.0, 0.0, np.inf])
    expected, found = before_and_after(opcode, a, d)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("opcode", "attrs"), [("floor", {}), ("ceil", {}), ("cast", {"dtype": DType.I32})]
)
@pytest.mark.parametrize("dtype", [DType.F32, DType.BF16, DType.F16], ids=str)
def test_whole_quotients_stay_whole(dtype: DType, opcode: str, attrs: dict[str, DType]) -> None:
    """49 * (1 / 49) is less than 1 in float32."""
    d = np.arange(1, 100, dtype=np.float32)[:, None]
    a = d * np.float32([-3, -1, 0, 1, 2, 5])
    b = Builder()
    quotient = b.div(b.add_input("a", a.shape, dtype), b.add_input("d", d.shape, dtype))
    b.set_outputs({"y": b.call(opcode, quotient, **attrs)})
    inputs = {"a": round_to(a, dtype), "d": round_to(d, dtype)}
    expected = run(b.graph, inputs)["y"]
    decompose(b.graph)
    np.testing.assert_array_equal(
        run(b.graph, inputs)["y"].astype(np.float32), expected.astype(np.float32)
    )


@pytest.mark.parametrize("opcode", ["floor_divide", "mod"])
@pytest.mark.parametrize("dtype", [d for d in DType if d.is_integer], ids=str)
def test_integer_quotients_are_exact(dtype: DType, opcode: str) -> None:
    info = np.iinfo(dtype.np)
    top = min(info.max, 2**31 - 1)
    low = max(info.min, -(2**31) + 1)
    telling = [low, low + 1, -100, -50, -49, -7, -1, 0, 1, 7, 49, 50, 100, top // 2, top - 1, top]
    values = np.array(sorted({v for v in telling if low <= v <= top}), np.int64)
    left, right = (g.ravel().astype(dtype.np) for g in np.meshgrid(values, values))
    expected, found = before_and_after(opcode, left, right, dtype=dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("constant", [1, 7, 16, -3])
@pytest.mark.parametrize("opcode", ["floor_divide", "mod"])
def test_integer_quotients_by_a_constant_are_exact(opcode: str, constant: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(-(2**31) + 1, 2**31, 5000).astype(np.int32)
    values[:100] = np.arange(-50, 50) * constant
    expected, found = before_and_after(opcode, values, dtype=DType.I32, constant=constant)
    np.testing.assert_array_equal(found, expected)


# --- rounding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", ["floor", "ceil"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floors_are_exact_for_every_kind_of_value(dtype: DType, opcode: str) -> None:
    telling = [0.0, -0.0, 0.5, -0.5, -1e-30, 1e-30, 2.0**22 + 0.5, -(2.0**22) - 0.5, 2.0**23 + 1]
    values = [*telling, 1e30, -1e30, 65504.0, 448.0, 15.5, -15.5, np.inf, -np.inf, np.nan]
    with np.errstate(over="ignore"):
        x = round_to(np.float32([*values, *np.arange(-64, 64) / 4]), dtype)
    expected, found = before_and_after(opcode, x, dtype=dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("opcode", ["floor", "ceil", "floor_divide", "mod", "sin", "cos"])
def test_formulas_hold_for_casts_that_round_to_nearest(
    opcode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter's casts to integers truncate; an engine's may round."""
    rng = np.random.default_rng(2)
    x = np.float32(rng.uniform(-3000, 3000, 5000))
    x[:1000] = np.arange(-500, 500) / 4
    operands = [x] if TENSOR[opcode].arity == (1, 1) else [x, np.roll(x, 1) + np.float32(0.125)]
    monkeypatch.setattr(np, "trunc", np.rint)
    expected, found = before_and_after(opcode, *operands)
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-7 if opcode in "sincos" else 0)


@pytest.mark.parametrize("opcode", ["floor_divide", "mod"])
def test_integer_formulas_hold_for_casts_that_round_to_nearest(
    opcode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    a = rng.integers(-(2**31) + 1, 2**31, 5000).astype(np.int32)
    d = rng.integers(-60, 61, 5000).astype(np.int32)
    monkeypatch.setattr(np, "trunc", np.rint)
    expected, found = before_and_after(opcode, a, d, dtype=DType.I32)
    np.testing.assert_array_equal(found, expected)


def test_an_op_that_is_left_names_its_source_line(monkeypatch: pytest.MonkeyPatch) -> None:
    b = Builder()
    b.set_outputs({"y": b.cos(b.add_input("x", (4,)))})
    monkeypatch.setattr(stage, "_MAIN", ())
    with pytest.raises(InvalidStage, match=r"(?s)cos.* is left but no engine computes it.*\.py:"):
        decompose(b.graph)


def test_decomposing_twice_changes_nothing() -> None:
    b = Builder()
    x = b.add_input("x", (4,))
    b.set_outputs({"s": b.sin(x), "c": b.cos(x), "a": b.arctan(x), "m": b.mod(x, b.exp(x))})
    assert decompose(b.graph) > 0
    assert decompose(b.graph) == 0


def test_sine_and_cosine_of_one_angle_share_the_reduction() -> None:
    b = Builder()
    x = b.add_input("x", (4,))
    b.set_outputs({"s": b.sin(x), "c": b.cos(x)})
    decompose(b.graph)
    assert sum(op.opcode == "near_integer" for op in b.graph.ops) == 1


# --- powers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [*range(-8, 9), 0.5, -0.5, 1.5, -2.5])
@pytest.mark.parametrize("dtype", [DType.F32, DType.BF16, DType.F16], ids=str)
def test_small_powers_are_products(dtype: DType, exponent: float) -> None:
    x = round_to(np.float32([-4, -1.3, -1, -0.3, 0.3, 1, 1.7, 2, 3, 4]), dtype)
    expected, found = before_and_after("power", x, dtype=dtype, constant=exponent)
    rtol = 1e-6 if dtype is DType.F32 else epsilon(dtype)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=2 * float_range(dtype).least)


@pytest.mark.parametrize("exponent", [-3.0, -1.0, -0.5, 0.0, 0.5, 1.5, 2.0, 3.0, 0.3, -1.7, 10.0])
def test_powers_of_zero_and_infinity_are_numpys(exponent: float) -> None:
    x = np.float32([0.0, np.inf, np.nan])
    expected, found = before_and_after("power", x, constant=exponent)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("exponent", [9.0, 10.0, -9.0, -12.0])
def test_large_whole_powers_of_negative_bases_have_the_right_sign(exponent: float) -> None:
    x = np.float32([-3, -1.5, -1, -0.5, 0.5, 2])
    expected, found = before_and_after("power", x, constant=exponent)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


@pytest.mark.parametrize("base", [10000.0, 2.0, 0.5, 1.0])
def test_powers_of_a_constant_take_its_logarithm_at_once(base: float) -> None:
    b = Builder()
    x = b.add_input("x", (41,))
    b.set_outputs({"y": b.power(b.full((), base), x)})
    decompose(b.graph)
    assert "log" not in {op.opcode for op in b.graph.ops}
    values = np.linspace(-1, 1, 41, dtype=np.float32)
    np.testing.assert_allclose(
        run(b.graph, {"x": values})["y"], np.power(np.float32(base), values), rtol=2e-6
    )


def test_powers_of_tensors_are_numpys_for_every_kind_of_pair() -> None:
    a, e = pairs(-2.5, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 7.5, np.nan)
    expected, found = before_and_after("power", a, e)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    a, e = np.float32([1, 1, 2, 2, 0.5, np.inf, 0]), np.float32([np.inf, -np.inf] * 3 + [np.inf])
    expected, found = before_and_after("power", a, e)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("exponent", [0, 1, 2, 5, 13])
@pytest.mark.parametrize("dtype", [DType.I32, DType.U8], ids=str)
def test_integer_powers_are_exact_and_wrap(dtype: DType, exponent: int) -> None:
    x = np.array([0, 1, 2, 3, 7, 11], dtype.np)
    expected, found = before_and_after("power", x, dtype=dtype, constant=exponent)
    np.testing.assert_array_equal(found, expected)


def test_integer_power_with_a_tensor_exponent_is_not_supported() -> None:
    b = Builder()
    x = b.add_input("x", (4,), "i32")
    b.set_outputs({"y": b.power(x, x)})
    with pytest.raises(NotSupported, match=r"(?s)exponent is a tensor but must be.*\.py:\d+"):
        decompose(b.graph)


def test_integer_power_with_a_negative_exponent_is_not_supported() -> None:
    b = Builder()
    x = b.add_input("x", (4,), "i32")
    b.set_outputs({"y": b.power(x, b.full((), -2, "i32"))})
    with pytest.raises(NotSupported, match="exponent is -2 but must be a constant of 0 or more"):
        decompose(b.graph)


# --- trigonometry --------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1.0, 10.0, 1e3, 1e5])
@pytest.mark.parametrize("opcode", ["sin", "cos"])
def test_sine_and_cosine_are_close_up_to_large_angles(opcode: str, limit: float) -> None:
    x = np.linspace(-limit, limit, 20001, dtype=np.float32)
    quarters = np.arange(int(limit)) * (np.pi / 2)
    x = np.concatenate([x, quarters[quarters <= limit].astype(np.float32)])
    _, found = before_and_after(opcode, x)
    assert np.max(np.abs(found - getattr(np, opcode)(x.astype(np.float64)))) < 4e-7


@pytest.mark.parametrize("opcode", ["sin", "cos"])
def test_reduced_angles_lie_in_the_table_of_the_engine(opcode: str) -> None:
    x = np.concatenate([np.linspace(-1e5, 1e5, 20001), np.arange(999) * np.pi]).astype(np.float32)
    b = Builder()
    b.set_outputs({"y": b.call(opcode, b.add_input("x", x.shape))})
    decompose(b.graph)
    sine = _only(b, "sin")
    b.set_outputs({"angle": sine.inputs[0]})
    assert sine.attrs["range_reduced"]
    assert np.max(np.abs(run(b.graph, {"x": x})["angle"])) <= 3.14  # the table is [-pi, pi]


@pytest.mark.parametrize("opcode", ["sin", "cos", "arctan"])
def test_trigonometry_of_zero_infinity_and_nan_is_numpys(opcode: str) -> None:
    x = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30])
    expected, found = before_and_after(opcode, x)
    np.testing.assert_allclose(found, expected, rtol=2e-7)


def test_arctangents_are_close_for_every_magnitude() -> None:
    x = np.float32([*np.logspace(-20, 20, 2001), 1.0, np.nextafter(np.float32(1), np.float32(2))])
    for signed in (x, -x):
        expected, found = before_and_after("arctan", signed)
        np.testing.assert_allclose(found, expected, rtol=4e-7)


def _only(b: Builder, opcode: str) -> Op:
    (op,) = [op for op in b.graph.ops if op.opcode == opcode]
    return op
