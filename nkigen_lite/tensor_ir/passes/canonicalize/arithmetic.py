"""Folding constants, and dropping ops that change nothing.

A float times zero stays: it is nan where the other factor is nan or infinite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nkigen_lite.core.dtypes import Array, DType, round_to
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import (
    MOVES,
    POINTWISE,
    Number,
    as_number,
    fit,
    made_by,
    uniform,
    with_constant,
)
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect
from nkigen_lite.tensor_ir.rows import TENSOR

RULES: list[TensorRule] = []
rule = collect(RULES)

# x op key is x.
_NEUTRAL: dict[str, float] = {
    "add": 0,
    "sub": 0,
    "mul": 1,
    "div": 1,
    "power": 1,
    "bitwise_or": 0,
    "bitwise_xor": 0,
}
_MOST_ELEMENTS = 1 << 16  # longer constant reductions are left to the program


def _full(shape: tuple[int, ...], number: Number, dtype: DType) -> Array:
    return np.full(shape, number).astype(dtype.np)


def _evaluated(op: Op, operands: Sequence[Array], **attrs: object) -> Number | None:
    """The one number that ``op`` makes of small ``operands``; None where numpy refuses."""
    row = TENSOR[op.opcode]
    assert row.evaluate is not None
    try:
        with np.errstate(all="ignore"):
            made = np.asarray(row.evaluate(*operands, **{**op.attrs, **attrs}))
            made = round_to(made, op.result.type.dtype)
    except ValueError:  # an integer to a negative power
        return None
    return as_number(made.reshape(-1)[0], op.result.type.dtype)


def _constant(b: Builder, op: Op, number: Number | None) -> Value | None:
    result = op.result.type
    return None if number is None else b.full(result.shape, number, result.dtype)


@rule(*POINTWISE)
def fold_pointwise(b: Builder, op: Op) -> Value | None:
    """An op of constants is a constant.

    %a: <f32> = constant() {value=2.0, shape=()}
    %b: <4xf32> = constant() {value=3.0, shape=(4,)}
    %y: <4xf32> = add(%a, %b)
    -->
    %y: <4xf32> = constant() {value=5.0, shape=(4,)}
    """
    operands = []
    for operand in op.inputs:
        number = uniform(operand)
        if number is None:
            return None
        operands.append(_full((1,), number, operand.type.dtype))
    return _constant(b, op, _evaluated(op, operands))


@rule(*sorted(MOVES))
def fold_move(b: Builder, op: Op) -> Value | None:
    """A constant is the same wherever its elements go.

    %c: <f32> = constant() {value=1.5, shape=()}
    %y: <2x4xf32> = broadcast_to(%c) {shape=(2, 4)}
    -->
    %y: <2x4xf32> = constant() {value=1.5, shape=(2, 4)}
    """
    return _constant(b, op, uniform(op.inputs[0]))


@rule("reduce")
def fold_reduce(b: Builder, op: Op) -> Value | None:
    """A reduction of a constant is a constant.

    %c: <2x4xf32> = constant() {value=1.5, shape=(2, 4)}
    %y: <2xf32> = reduce(%c) {axis=(1,), kind="sum"}
    -->
    %y: <2xf32> = constant() {value=6.0, shape=(2,)}
    """
    x = op.inputs[0]
    number, count = uniform(x), x.type.num_elements // op.result.type.num_elements
    if number is None or count > _MOST_ELEMENTS:
        return None
    column = _full((count,), number, x.type.dtype)
    return _constant(b, op, _evaluated(op, [column], axis=(0,)))


@rule("matmul")
def fold_matmul(b: Builder, op: Op) -> Value | None:
    """A product of constant matrices is a constant.

    %a: <2x4xf32> = constant() {value=1.5, shape=(2, 4)}
    %b: <4x3xf32> = constant() {value=2.0, shape=(4, 3)}
    %y: <2x3xf32> = matmul(%a, %b)
    -->
    %y: <2x3xf32> = constant() {value=12.0, shape=(2, 3)}
    """
    left, right = op.inputs
    a, c, count = uniform(left), uniform(right), left.type.shape[-1]
    if a is None or c is None or count > _MOST_ELEMENTS:
        return None
    dtype = left.type.dtype
    return _constant(
        b, op, _evaluated(op, [_full((1, count), a, dtype), _full((count, 1), c, dtype)])
    )


@rule(*_NEUTRAL)
def drop_neutral(b: Builder, op: Op) -> Value | None:
    """Adding zero or multiplying by one changes nothing.

    %c: <f32> = constant() {value=0.0, shape=()}
    %y: <4xf32> = add(%x, %c)
    -->
    %x
    """
    found = with_constant(op)
    if found is None or found[1] != _NEUTRAL[op.opcode]:
        return None
    return fit(b, found[0], op.result.type.shape)


@rule("power")
def power_of_zero(b: Builder, op: Op) -> Value | None:
    """Anything to the power of zero is one, nan too (as numpy has it).

    %c: <f32> = constant() {value=0.0, shape=()}
    %y: <4xf32> = power(%x, %c)
    -->
    %y: <4xf32> = constant() {value=1.0, shape=(4,)}
    """
    return _constant(b, op, 1) if uniform(op.inputs[1]) == 0 else None


@rule("mul")
def integer_times_zero(b: Builder, op: Op) -> Value | None:
    """An integer times zero is zero.

    %c: <i32> = constant() {value=0, shape=(), dtype=i32}
    %y: <4xi32> = mul(%x, %c)
    -->
    %y: <4xi32> = constant() {value=0, shape=(4,), dtype=i32}
    """
    found = with_constant(op)
    if found is None or found[1] != 0 or op.result.type.dtype.is_float:
        return None
    return _constant(b, op, 0)


@rule("mul")
def times_minus_one(b: Builder, op: Op) -> Value | None:
    """A product with -1 is a negation, which other rules see through.

    %c: <f32> = constant() {value=-1.0, shape=()}
    %y: <4xf32> = mul(%x, %c)
    -->
    %y: <4xf32> = neg(%x)
    """
    found = with_constant(op)
    if found is None or found[1] != -1:
        return None
    return fit(b, b.neg(found[0]), op.result.type.shape)


@rule("add")
def add_of_negated(b: Builder, op: Op) -> Value | None:
    """A sum with a negated term is a difference.

    %n: <4xf32> = neg(%z)
    %y: <4xf32> = add(%n, %x)
    -->
    %y: <4xf32> = sub(%x, %z)
    """
    for x, other in (op.inputs, reversed(op.inputs)):
        negated = made_by(other, "neg")
        if negated:
            return b.sub(x, negated.inputs[0])
    return None


@rule("sub")
def sub_of_negated(b: Builder, op: Op) -> Value | None:
    """A difference with a negated term is a sum.

    %n: <4xf32> = neg(%z)
    %y: <4xf32> = sub(%x, %n)
    -->
    %y: <4xf32> = add(%x, %z)
    """
    negated = made_by(op.inputs[1], "neg")
    return b.add(op.inputs[0], negated.inputs[0]) if negated else None


@rule("neg")
def double_negation(b: Builder, op: Op) -> Value | None:
    """Two negations cancel.

    %n: <4xf32> = neg(%x)
    %y: <4xf32> = neg(%n)
    -->
    %x
    """
    inner = made_by(op.inputs[0], "neg")
    return inner.inputs[0] if inner else None


@rule("abs", "relu", "sign", "floor", "ceil")
def idempotent(b: Builder, op: Op) -> Value | None:
    """Doing it twice does no more.

    %a: <4xf32> = abs(%x)
    %y: <4xf32> = abs(%a)
    -->
    %y: <4xf32> = abs(%x)
    """
    inner = made_by(op.inputs[0], op.opcode)
    return inner.result if inner else None


@rule("abs", "square")
def even_of_negated(b: Builder, op: Op) -> Value | None:
    """Even functions do not see the sign.

    %n: <4xf32> = neg(%x)
    %y: <4xf32> = abs(%n)
    -->
    %y: <4xf32> = abs(%x)
    """
    inner = made_by(op.inputs[0], "neg")
    if inner is None or op.result.type.dtype.value.startswith("u"):
        return None
    return b.call(op.opcode, inner.inputs[0])


@rule("maximum", "minimum", "bitwise_and", "bitwise_or")
def same_operands(b: Builder, op: Op) -> Value | None:
    """The larger of two equal values is either.

    %y: <4xf32> = maximum(%x, %x)
    -->
    %x
    """
    left, right = op.inputs
    return left if left is right else None


@rule("where")
def where_of_constant(b: Builder, op: Op) -> Value | None:
    """A constant condition has chosen already.

    %c: <bool> = constant() {value=true, shape=(), dtype=bool}
    %y: <4xf32> = where(%c, %x, %z)
    -->
    %x
    """
    condition, yes, no = op.inputs
    number = uniform(condition)
    if number is None:
        return None
    return fit(b, yes if number != 0 else no, op.result.type.shape)


@rule("where")
def where_of_equal(b: Builder, op: Op) -> Value | None:
    """Nothing is chosen between equal values.

    %y: <4xf32> = where(%c, %x, %x)
    %c: <4xbool>
    -->
    %x
    """
    _, yes, no = op.inputs
    number = uniform(yes)
    # repr: 0.0 and -0.0 differ, nan equals itself
    if yes is not no and (number is None or repr(number) != repr(uniform(no))):
        return None
    return fit(b, yes, op.result.type.shape) if yes is no else _constant(b, op, number)
