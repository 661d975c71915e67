"""Casts that take no step of their own, and two ops in one instruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from lowering import BF16, arrays, assert_lowers, compiled

from nkigen_lite.frontend import trace
from nkigen_lite.tensor_ir.passes.axes import Program, analyse
from nkigen_lite.tensor_ir.passes.lower_to_nki import simplify

F32 = np.float32


def program(fn: Callable[..., Any], *specs: str) -> Program:
    """The axis program of a function."""
    graph = trace(fn, list(specs)).graph
    simplify(graph)
    return analyse(graph)


def opcodes(made: Program) -> list[str]:
    return [
        "+".join(s.opcode for s in step.stages) or (step.op.opcode if step.op else step.kind)
        for step in made.steps
    ]


def kernel_text(fn: Callable[..., Any], *specs: str) -> str:
    return str(compiled(fn, *specs).nki)


# --- casts


def mean_square(x: Any) -> Any:
    wide = x.astype(F32)
    return (wide * wide).mean(-1).astype(x.dtype)


def test_a_widening_cast_is_read_through_and_a_narrowing_one_is_written_at_once() -> None:
    made = program(mean_square, "300x500:bf16")
    assert "cast" not in opcodes(made)
    assert {s.name for s in made.storages if s.dtype.value == "bf16"} == {"x", "output"}
    (x,) = arrays([(300, 500)], BF16)
    assert_lowers(mean_square, x)


def test_a_value_that_is_also_wanted_wide_is_written_wide() -> None:
    def fn(x: Any) -> Any:
        y = np.exp(x)
        return y, y.astype(ml_dtypes.bfloat16)

    assert opcodes(program(fn, "100x70")).count("cast") == 1


@pytest.mark.parametrize("kinds", [("bf16", "bf16"), ("f16", "f16")])
def test_a_product_of_widened_operands_multiplies_them_as_they_were(kinds: tuple[str, str]) -> None:
    def fn(a: Any, b: Any) -> Any:
        return a.astype(F32) @ b.astype(F32)

    made = program(fn, f"64x200:{kinds[0]}", f"200x96:{kinds[1]}")
    assert opcodes(made) == ["matmul"]
    a, b = arrays([(64, 200), (200, 96)], BF16)
    assert_lowers(fn, a, b)


def test_a_product_with_one_widened_operand_keeps_the_cast() -> None:
    def fn(a: Any, b: Any) -> Any:
        return a.astype(F32) @ b

    assert "cast" in opcodes(program(fn, "64x200:bf16", "200x96:f32"))


def test_a_narrowing_cast_to_an_integer_keeps_its_step() -> None:
    assert "cast" in opcodes(program(lambda x: (x * 2).astype(np.int32), "64x96"))


def test_a_cast_of_a_slice_is_read_through_at_its_place() -> None:
    def fn(x: Any) -> Any:
        part = x[10:110, ::2].astype(F32)
        return np.exp(part[5:, 3:]) + part[:-5, :-3]

    assert "cast" not in opcodes(program(fn, "130x90:bf16"))
    (x,) = arrays([(130, 90)], BF16)
    assert_lowers(fn, x)


# --- two ops in one instruction

PAIRS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "exp of a difference to a column": (lambda x: np.exp(x - x.max(-1, keepdims=True)), "exp"),
    "exp of a column less a tile": (lambda x: np.exp(x.min(-1, keepdims=True) - x), "exp"),
    "activation of a multiple": (lambda x: np.tanh(x * 0.5), "tanh"),
    "activation of a sum": (lambda x: np.square(x + x.mean(-1, keepdims=True)), "square"),
    "multiply, then add": (lambda x: x * 2.0 + 1.0, "op1"),
    "subtract from, then scale": (lambda x: (3.0 - x) * x.max(-1, keepdims=True), "op1"),
    "clip": (lambda x: np.minimum(np.maximum(x, -1.0), x.mean(-1, keepdims=True)), "op1"),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shape", [(300, 70), (1, 129), (127, 1), (2, 130, 33)])
def test_a_fused_pair_computes_what_its_two_ops_do(name: str, shape: tuple[int, ...]) -> None:
    fn, _ = PAIRS[name]
    (x,) = arrays([shape])
    assert_lowers(fn, x)


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_with_a_column_or_a_number_is_one_instruction(name: str) -> None:
    fn, shown = PAIRS[name]
    assert any("+" in code for code in opcodes(program(fn, "256x512")))
    text = kernel_text(fn, "256x512")
    whole = [line for line in text.splitlines() if "between" in line]
    assert whole == []
    assert shown in text


def test_a_scale_and_a_sum_of_tiles_are_one_instruction() -> None:
    def fn(x: Any, y: Any) -> Any:
        return x * x.max(-1, keepdims=True) + y

    x, y = arrays([(300, 70), (300, 70)])
    assert "scalar_tensor_tensor_arith" in str(assert_lowers(fn, x, y).nki)
    assert_lowers(lambda x, y: y - (2.0 - x), x, y)
    assert_lowers(lambda x, y: np.maximum(y, x - x.mean(0)), x, y)


SUMS: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: (
        np.exp(x - x.max(-1, keepdims=True))
        / np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)
    ),
    "squares": lambda x: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6),
    "squares alone": lambda x: (x * x).sum(-1),
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("shape", [(300, 700), (1, 129), (127, 1), (2, 130, 33), (1000, 3)])
def test_an_activation_that_adds_up_its_rows_computes_what_two_steps_do(
    name: str, shape: tuple[int, ...]
) -> None:
    (x,) = arrays([shape])
    assert_lowers(SUMS[name], x)


@pytest.mark.parametrize("name", ["softmax", "squares"])
def test_rows_are_added_up_while_they_are_made(name: str) -> None:
    text = kernel_text(SUMS[name], "8192x4096")
    assert "activation_reduce" in text
    assert not [t for t in text.splitlines() if "tensor_reduce_arith" in t and 'op="add"' in t]


def test_rows_too_long_for_one_instruction_are_added_up_by_a_step_of_their_own() -> None:
    assert "activation_reduce" not in kernel_text(SUMS["squares alone"], "128x20000")


def test_a_pair_whose_operand_is_no_column_in_the_layout_becomes_two_instructions() -> None:
    def fn(x: Any) -> Any:
        return np.exp(x - x.max(0))

    (x,) = arrays([(120, 400)])
    assert_lowers(fn, x)


def test_a_value_that_two_ops_read_is_not_fused_away() -> None:
    def fn(x: Any) -> Any:
        y = x - x.mean(-1, keepdims=True)
        return y * np.exp(y)

    made = opcodes(program(fn, "64x96"))
    assert "sub" in made
    assert not any("sub+" in code for code in made)


def test_integers_are_not_fused() -> None:
    assert not any("+" in code for code in opcodes(program(lambda x: x * 2 + 1, "64x96:i32")))


def test_an_elementwise_step_comes_right_after_the_product_that_it_takes_over() -> None:
    def gated(x: Any, gate: Any, up: Any) -> Any:
        a, b = x @ gate, x @ up
        return np.exp(a) * b

    made = program(gated, "64x200", "200x96", "200x96")
    assert opcodes(made) == ["matmul", "exp", "matmul", "mul"]


@pytest.mark.parametrize(
    ("fn", "turned"),
    [
        (lambda x, a, b: np.exp(x @ a) @ b, 1),
        (lambda x, a, b: (np.exp(x @ a) + x[:, :1]) @ b, 0),  # rows that are there as they are
        (lambda x, a, b: np.exp(x @ a).T @ b[:64], 0),  # contracted over the first axis
    ],
)
def test_what_only_products_contract_is_stored_the_way_they_read_it(
    fn: Callable[..., Any], turned: int
) -> None:
    made = program(fn, "64x200", "200x96", "96x40")
    rows, kept = made.inputs[0].axes[0], made.inputs[1].axes[1]
    temps = [s.axes for s in made.storages if s.kind == "temp"]
    assert temps.count((kept, rows)) == turned
    if turned:
        assert_lowers(fn, *arrays([(64, 200), (200, 96), (96, 40)]))


# --- rows first


def squared_error(x: Any, y: Any) -> Any:
    return ((x - y) ** 2).sum()


def test_what_is_computed_for_a_sum_over_all_is_added_up_row_by_row() -> None:
    made = program(squared_error, "300x500", "300x500")
    rows, total = [s for s in made.steps if s.kind == "reduce"]
    assert [len(s.reduced) for s in (rows, total)] == [1, 1]
    assert rows.reads[0].storage.name in {v.name for v in made.storages if v.elements == 150_000}
    plan = compiled(squared_error, "300x500", "300x500").plan
    assert plan.value(rows.reads[0].storage.name).location == "tile"
    assert_lowers(squared_error, *arrays([(300, 500), (300, 500)], F32))


def test_few_rows_and_inputs_are_reduced_in_one_step() -> None:
    for fn, shape in ((lambda x: np.exp(x).max(), "200x500"), (lambda x: x.sum(), "300x500")):
        made = program(fn, shape)
        assert sum(s.kind == "reduce" for s in made.steps) == 1


# --- runs of ops that share a segment


def test_ops_that_only_meet_later_share_a_segment() -> None:
    def fn(x: Any, y: Any) -> Any:
        return np.where(x > y, np.exp(x), y * 3)

    assert len(compiled(fn, "500x1000", "500x1000").plan.segments) == 1
    assert_lowers(fn, *arrays([(130, 257), (130, 257)], F32))
