"""Recomposing what programs spell out: rsqrt, square, sigmoid, silu, relu, mean.

Each of these is one instruction where the spelled-out form is three to six.
"""

from __future__ import annotations

import math

from nkigen_lite.core.dtypes import epsilon
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import (
    fit,
    made_by,
    read_once,
    stored,
    uniform,
    with_constant,
)
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

RULES: list[TensorRule] = []
rule = collect(RULES)

# power(x, key) is this op of x.
_POWERS = {-1.0: "reciprocal", -0.5: "rsqrt", 0.5: "sqrt", 2.0: "square"}


def _inverse(op: Op) -> Value | None:
    """``v`` when ``op`` computes 1 / v."""
    if op.opcode == "reciprocal":
        return op.inputs[0]
    return op.inputs[1] if op.opcode == "div" and uniform(op.inputs[0]) == 1 else None


def _negated(value: Value) -> Value | None:
    """``x`` when ``value`` is -x, up to the sign of zero."""
    op = made_by(value, "neg", "mul", "sub")
    if op is None:
        return None
    if op.opcode == "neg":
        return op.inputs[0]
    if op.opcode == "sub":
        return op.inputs[1] if uniform(op.inputs[0]) == 0 else None
    found = with_constant(op)
    return found[0] if found and found[1] == -1 else None


def _one_plus_exp_of_minus(value: Value) -> Value | None:
    """``x`` when ``value`` is 1 + exp(-x), in either order."""
    op = made_by(value, "add")
    found = with_constant(op) if op else None
    if found is None or found[1] != 1:
        return None
    power = made_by(found[0], "exp")
    return _negated(power.inputs[0]) if power else None


@rule("div", "reciprocal")
def inverse_root(b: Builder, op: Op) -> Value | None:
    """ScalarE has 1 / sqrt(x) as one function.

    %c: <f32> = constant() {value=1.0, shape=()}
    %s: <4xf32> = sqrt(%x)
    %y: <4xf32> = div(%c, %s)
    -->
    %y: <4xf32> = rsqrt(%x)
    """
    below = _inverse(op)
    root = made_by(below, "sqrt") if below else None
    return fit(b, b.rsqrt(root.inputs[0]), op.result.type.shape) if root else None


@rule("power")
def named_power(b: Builder, op: Op) -> Value | None:
    """Powers of -1, -1/2, 1/2 and 2 have functions of their own.

    %c: <f32> = constant() {value=-0.5, shape=()}
    %y: <4xf32> = power(%x, %c)
    -->
    %y: <4xf32> = rsqrt(%x)
    """
    base, exponent = op.inputs
    number = uniform(exponent)
    if number not in _POWERS or not base.type.dtype.is_float:
        return None
    return fit(b, b.call(_POWERS[float(number)], base), op.result.type.shape)


@rule("mul")
def square_of_product(b: Builder, op: Op) -> Value | None:
    """A square reads its operand once.

    %y: <4xf32> = mul(%x, %x)
    -->
    %y: <4xf32> = square(%x)
    """
    left, right = op.inputs
    return b.square(left) if left is right and left.type.dtype.is_float else None


@rule("div", "reciprocal")
def sigmoid_of_exp(b: Builder, op: Op) -> Value | None:
    """ScalarE has the logistic function, and unlike the written form it cannot overflow.

    %c: <f32> = constant() {value=1.0, shape=()}
    %n: <4xf32> = neg(%x)
    %e: <4xf32> = exp(%n)
    %d: <4xf32> = add(%c, %e)
    %y: <4xf32> = div(%c, %d)
    -->
    %y: <4xf32> = sigmoid(%x)
    """
    below = _inverse(op)
    x = _one_plus_exp_of_minus(below) if below else None
    return fit(b, b.sigmoid(x), op.result.type.shape) if x else None


@rule("div")
def silu_of_exp(b: Builder, op: Op) -> Value | None:
    """ScalarE has x * sigmoid(x).

    %c: <f32> = constant() {value=1.0, shape=()}
    %n: <4xf32> = neg(%x)
    %e: <4xf32> = exp(%n)
    %d: <4xf32> = add(%e, %c)
    %y: <4xf32> = div(%x, %d)
    -->
    %y: <4xf32> = silu(%x)
    """
    x, below = op.inputs
    if _one_plus_exp_of_minus(below) is not x:
        return None
    return fit(b, b.silu(x), op.result.type.shape)


@rule("mul")
def silu_of_sigmoid(b: Builder, op: Op) -> Value | None:
    """ScalarE has x * sigmoid(x).

    %s: <4xf32> = sigmoid(%x)
    %y: <4xf32> = mul(%s, %x)
    -->
    %y: <4xf32> = silu(%x)
    """
    for x, other in (op.inputs, reversed(op.inputs)):
        gate = made_by(other, "sigmoid")
        if gate and gate.inputs[0] is x:
            return b.silu(x)
    return None


@rule("maximum")
def relu_of_maximum(b: Builder, op: Op) -> Value | None:
    """ScalarE has max(x, 0).

    %c: <f32> = constant() {value=0.0, shape=()}
    %y: <4xf32> = maximum(%x, %c)
    -->
    %y: <4xf32> = relu(%x)
    """
    found = with_constant(op)
    if found is None or found[1] != 0:
        return None
    return fit(b, b.relu(found[0]), op.result.type.shape)


@rule("mul", "div")
def mean_of_sum(b: Builder, op: Op) -> Value | None:
    """A sum over N elements times 1 / N is their mean, which later stages keep in range.

    %x: <2x4xf32>
    %s: <2x1xf32> = reduce(%x) {axis=(1,), kind="sum", keepdims=true}
    %c: <f32> = constant() {value=0.25, shape=()}
    %y: <2x1xf32> = mul(%s, %c)
    -->
    %y: <2x1xf32> = reduce(%x) {axis=(1,), kind="mean", keepdims=true}
    """
    found = with_constant(op)
    total = made_by(found[0], "reduce") if found else None
    if found is None or total is None or total.attrs["kind"] != "sum":
        return None
    x = total.inputs[0]
    if not x.type.dtype.is_float or not read_once(b, found[0]):
        return None
    count = math.prod(x.type.shape[axis] for axis in total.attrs["axis"])
    wanted = float(count) if op.opcode == "div" else 1.0 / count
    if found[1] != stored(wanted, x.type.dtype) or not math.isclose(
        found[1], wanted, rel_tol=epsilon(x.type.dtype)
    ):
        return None
    return fit(b, b.reduce(x, **{**total.attrs, "kind": "mean"}), op.result.type.shape)
