"""Powers: repeated products where the exponent is known and small, else exp(b log a)."""

from __future__ import annotations

import math

from nkigen_lite.core.builder import at
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.errors import NotSupported
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.decompose.term import Term
from nkigen_lite.tensor_ir.passes.match import fit, uniform
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

# Powers that every float type takes, before narrow ones are widened.
SMALL_RULES: list[TensorRule] = []
small_rule = collect(SMALL_RULES)
RULES: list[TensorRule] = []
rule = collect(RULES)

_LARGEST = 8  # exponents up to here are products: four of them at most, and more exact
_ONE_STEP = (0.0, 1.0, 2.0, -1.0, 0.5, -0.5)  # these round once or not at all


def _product(b: Builder, x: Value, exponent: int) -> Value:
    """``x`` to a whole power of 1 or more, by squaring."""
    if exponent == 1:
        return x
    half = _product(b, x, exponent // 2)
    squared = b.square(half) if x.type.dtype.is_float else b.mul(half, half)
    return b.mul(squared, x) if exponent % 2 else squared


@small_rule("power")
def power_as_product(b: Builder, op: Op) -> Value | None:
    """Products and square roots are exact to the last digits, and take one pass each.

    Exponents are multiples of 1/2 up to 8. A negative base to a half is nan, as it is of the root.

    %c: <f32> = constant() {value=-3.5, shape=()}
    %y: <4xf32> = power(%x, %c)
    -->
    %a: <4xf32> = square(%x)
    %p: <4xf32> = mul(%a, %x)
    %s: <4xf32> = sqrt(%x)
    %q: <4xf32> = mul(%p, %s)
    %y: <4xf32> = reciprocal(%q)
    """
    x, number = op.inputs[0], uniform(op.inputs[1])
    dtype, shape = x.type.dtype, op.result.type.shape
    if number is None or not dtype.is_float or abs(number) > _LARGEST or number * 2 % 1 != 0:
        return None
    if dtype is not DType.F32 and number not in _ONE_STEP:
        return None
    if number == 0:
        return b.full(shape, 1.0, dtype)
    if number == -0.5:
        return fit(b, b.rsqrt(x), shape)
    whole, has_half = divmod(abs(number), 1)
    power = _product(b, x, int(whole)) if whole else None
    if has_half:
        root = b.sqrt(x)
        power = b.mul(power, root) if power else root
    assert power is not None
    return fit(b, b.reciprocal(power) if number < 0 else power, shape)


@rule("power")
def power_of_integers(b: Builder, op: Op) -> Value | None:
    """Integers stay exact, and wrap around, in repeated products.

    %c: <i32> = constant() {value=3, shape=(), dtype=i32}
    %y: <4xi32> = power(%x, %c)
    -->
    %s: <4xi32> = mul(%x, %x)
    %y: <4xi32> = mul(%s, %x)
    """
    x, number = op.inputs[0], uniform(op.inputs[1])
    dtype, shape = x.type.dtype, op.result.type.shape
    if dtype.is_float:
        return None
    if number is None or number < 0:
        what = "a tensor" if number is None else number
        raise NotSupported(
            f"decompose: power of {dtype}: the exponent is {what} but must be a constant of 0 or "
            f"more; cast to a float type{at(op.loc)}"
        )
    if number == 0:
        return b.full(shape, 1, dtype)
    return fit(b, _product(b, x, int(number)), shape)


@rule("power")
def power_of_constant(b: Builder, op: Op) -> Value | None:
    """The logarithm of a number is taken here and now.

    %c: <f32> = constant() {value=1.0, shape=()}
    %y: <4xf32> = power(%c, %x)
    -->
    %l: <f32> = constant() {value=0.0, shape=()}
    %a: <4xf32> = mul(%x, %l)
    %y: <4xf32> = exp(%a)
    """
    base, exponent = op.inputs
    number = uniform(base)
    if number is None or not 0 < number < math.inf or base.type.dtype is not DType.F32:
        return None
    scale = b.full((), math.log(number), DType.F32)
    return fit(b, b.exp(b.mul(exponent, scale)), op.result.type.shape)


@rule("power")
def power_of_fraction(b: Builder, op: Op) -> Value | None:
    """A power that is not whole is nan for negative bases, and so is their logarithm.

    %c: <f32> = constant() {value=0.25, shape=()}
    %y: <4xf32> = power(%x, %c)
    -->
    %l: <4xf32> = log(%x)
    %k: <f32> = constant() {value=0.25, shape=()}
    %a: <4xf32> = mul(%l, %k)
    %y: <4xf32> = exp(%a)
    """
    base, exponent = op.inputs
    number = uniform(exponent)
    if number is None or number % 1 == 0 or base.type.dtype is not DType.F32:
        return None
    product = b.mul(b.log(base), b.full((), number, DType.F32))
    return fit(b, b.exp(product), op.result.type.shape)


@rule("power")
def power_by_exp(b: Builder, op: Op) -> Value | None:
    """No engine's tables hold powers: a^b is exp(b log|a|), with the sign of an odd power.

    A zero base follows from log 0 = -inf. A negative base gives a negative power where the
    exponent is whole and odd, a positive one where it is even, and nan otherwise; b = 0 and
    a = 1 give 1 whatever the other is, as numpy has it. Powers of -inf to fractions, and of -1 to
    infinities, are nan. The relative error is 2^-24 times abs(b log a), and a few roundings.

    %y: <4xf32> = power(%x, %z)
    -->
    ...
    """
    if op.result.type.dtype is not DType.F32:
        return None
    a, e = (Term.of(b, v) for v in op.inputs)
    size = (abs(a).call("log") * e).call("exp")
    whole = e.call("floor")
    half = whole * 0.5
    odd = half.call("floor").call("not_equal", half)
    is_whole = whole.call("equal", e)
    signed = is_whole.choose(odd.choose(-size, size), math.nan)
    power = (a < 0).choose(signed, size)
    if e.number is not None:  # then exp and log give the 1 by themselves
        return fit(b, power.value(), op.result.type.shape)
    one = e.call("equal", 0).call("maximum", a.call("equal", 1))
    return fit(b, one.choose(1, power).value(), op.result.type.shape)
