"""The PE array, cold and warm, its weights, and the tables of the Scalar engine."""

from __future__ import annotations

import doctest

import pytest

import cost_models
from cost_models import (
    Instruction,
    PriceError,
    activation_table,
    instruction_price,
    load_target,
    weight_load_price,
)
from cost_models.instructions import TABLE_FREE, TABLE_SETS

TRN1, TRN2 = load_target("trn1"), load_target("trn2")


def matmul(dtype: str, elems: int, columns: int = 0) -> Instruction:
    dtypes, memories = ("f32", dtype, dtype), ("psum", "sbuf", "sbuf")
    return Instruction("matmul", "tensor", 128, elems, dtypes, memories, columns=columns)


def test_f32_matmuls_take_four_times_the_bf16_rate() -> None:
    bf16, f32 = matmul("bf16", 512), matmul("f32", 512)
    overhead_ns = TRN2.tensor.overhead_cycles / TRN2.clock.tensor_ghz
    rows_ns = instruction_price(TRN2, bf16).interval_ns - overhead_ns
    assert instruction_price(TRN2, f32).interval_ns == pytest.approx(4 * rows_ns + 2 * overhead_ns)


def test_f32_transposes_gain_their_own_rate_with_trn2() -> None:
    transpose = Instruction("nc_transpose", "tensor", 128, 128, ("f32", "f32"), ("psum", "sbuf"))
    overhead_cycles = TRN1.tensor.overhead_cycles
    cycles_trn1 = instruction_price(TRN1, transpose).interval_ns * TRN1.clock.tensor_ghz
    cycles_trn2 = instruction_price(TRN2, transpose).interval_ns * TRN2.clock.tensor_ghz
    assert cycles_trn1 - overhead_cycles == pytest.approx(2 * (cycles_trn2 - overhead_cycles))


@pytest.mark.parametrize("dtype", ["bf16", "f32"])
def test_a_cold_array_works_at_half_the_clock(dtype: str) -> None:
    cold = instruction_price(TRN2, matmul(dtype, 512), cold=True)
    cycles = 512 * (4 if dtype == "f32" else 1)
    assert cold.interval_ns == pytest.approx(cycles / (TRN2.clock.tensor_ghz / 2))


@pytest.mark.parametrize(
    ("columns", "elems", "cycles"), [(128, 512, 512), (128, 16, 64), (40, 16, 40), (8, 16, 16)]
)
def test_few_moving_rows_pay_for_the_stationary_columns(
    columns: int, elems: int, cycles: int
) -> None:
    price = instruction_price(TRN2, matmul("bf16", elems, columns))
    spent = price.interval_ns * TRN2.clock.tensor_ghz - TRN2.tensor.overhead_cycles
    assert spent == pytest.approx(cycles)


def test_the_stationary_floor_counts_for_each_cycle_of_an_f32_row() -> None:
    price = instruction_price(TRN2, matmul("f32", 1, 128))
    spent = price.interval_ns * TRN2.clock.tensor_ghz - 2 * TRN2.tensor.overhead_cycles
    assert spent == pytest.approx(4 * 64)


def test_weights_load_at_a_quarter_of_a_cycle_per_column() -> None:
    narrow, wide = (weight_load_price(TRN2, "bf16", columns) for columns in (64, 128))
    extra_ns = wide.interval_ns - narrow.interval_ns
    assert extra_ns == pytest.approx(64 / 4 / TRN2.clock.tensor_ghz)
    assert wide.latency_ns > wide.interval_ns


def test_f32_weights_load_in_two_passes() -> None:
    price = weight_load_price(TRN2, "f32", 128)
    one_ns = (2 * 128 + TRN2.tensor.overhead_cycles) / TRN2.clock.tensor_ghz
    assert price.interval_ns == pytest.approx(2 * one_ns)
    assert weight_load_price(TRN2, "f32", 128, cold=True).interval_ns > price.interval_ns


def test_weight_loads_that_cannot_be_are_refused() -> None:
    with pytest.raises(PriceError, match="weight load: columns is 0 but must be at least 1"):
        weight_load_price(TRN2, "bf16", 0)
    with pytest.raises(PriceError, match="matmul: dtype is 'i32' but must be one of"):
        weight_load_price(TRN2, "i32", 128)


@pytest.mark.parametrize("dtype", ["bf16", "f32"])
def test_no_profile_makes_a_cold_array_faster_than_a_warm_one(dtype: str) -> None:
    quick_when_cold = {
        "tensor.cold_latency_ns": 0,
        "tensor.cold_latency_ratio": 0.1,
        "tensor.cold_latency_ratio_f32": 0.1,
        "tensor.weight_load_cold_latency_ns": 0,
    }
    target = load_target("trn2", quick_when_cold)
    instr = matmul(dtype, 512)
    warm, cold = (instruction_price(target, instr, cold=c).latency_ns for c in (False, True))
    assert cold >= warm
    warm, cold = (weight_load_price(target, dtype, 128, cold=c).latency_ns for c in (False, True))
    assert cold >= warm


@pytest.mark.parametrize("function", ["", *sorted(TABLE_FREE)])
def test_functions_of_every_table_set_need_no_load(function: str) -> None:
    assert activation_table(function) is None
    assert activation_table(function, loaded="exp") is None


@pytest.mark.parametrize(("name", "held"), TABLE_SETS.items())
def test_a_loaded_set_serves_all_its_functions(name: str, held: tuple[str, ...]) -> None:
    assert {activation_table(function, loaded=name) for function in held} == {name}
    assert all(activation_table(function) in TABLE_SETS for function in held)


def test_functions_of_different_sets_change_the_table() -> None:
    published = {"exp": "exp", "sigmoid": "sigmoid", "silu": "silu", "softplus": "softplus"}
    assert {f: activation_table(f, loaded="rsqrt") for f in published} == published
    assert activation_table("tanh", loaded="exp") == "exp"
    assert activation_table("tanh", loaded="sqrt") == "exp"


def test_a_function_of_no_known_set_has_its_own() -> None:
    assert activation_table("bessel") == "bessel"
    assert activation_table("bessel", loaded="bessel") == "bessel"
    assert activation_table("exp", loaded="bessel") == "exp"


def test_the_example_of_the_activation_tables_runs() -> None:
    result = doctest.testmod(cost_models.instructions)
    assert (result.attempted, result.failed) == (1, 0)
