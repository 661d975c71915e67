"""Division, quotients and remainders: engines multiply by reciprocals."""

from __future__ import annotations

import math
from typing import TypeGuard

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.decompose.term import Term
from nkigen_lite.tensor_ir.passes.match import Number, fit, float_range, made_by, stored, uniform
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

# Divisions that every float type takes, before narrow ones are widened.
SIMPLE_RULES: list[TensorRule] = []
simple_rule = collect(SIMPLE_RULES)
RULES: list[TensorRule] = []
rule = collect(RULES)

_SPLIT = 4097.0  # 2^12 + 1 cuts float32's 24 bits into halves of 12 (Veltkamp 1968, Dekker 1971)
_DIGIT = 2048.0  # quotients below 2^23 are two digits of 11 and 12 bits
_EXACT = float(2**23)  # from here on float32 holds no fractions


@simple_rule("div")
def div_by_constant(b: Builder, op: Op) -> Value | None:
    """A number is inverted here and now.

    %c: <f32> = constant() {value=4.0, shape=()}
    %y: <2xf32> = div(%x, %c)
    -->
    %r: <f32> = constant() {value=0.25, shape=()}
    %y: <2xf32> = mul(%x, %r)
    """
    x, below = op.inputs
    number, dtype = uniform(below), below.type.dtype
    if number is None or number == 0 or not math.isfinite(number):
        return None
    inverse = stored(1.0 / number, dtype)
    # Below the normal range the rounding of the inverse is no longer relative.
    if not float_range(dtype).least_normal <= abs(inverse) < math.inf:
        return None
    return b.mul(x, b.full(below.type.shape, inverse, dtype))


@simple_rule("div")
def one_over(b: Builder, op: Op) -> Value | None:
    """VectorE has the reciprocal itself.

    %c: <f32> = constant() {value=1.0, shape=()}
    %y: <2xf32> = div(%c, %x)
    -->
    %y: <2xf32> = reciprocal(%x)
    """
    if uniform(op.inputs[0]) != 1:
        return None
    return fit(b, b.reciprocal(op.inputs[1]), op.result.type.shape)


@simple_rule("div")
def div_by_root(b: Builder, op: Op) -> Value | None:
    """Norms divide by a square root, of which ScalarE has the inverse.

    %m: <2x1xf32>
    %s: <2x1xf32> = sqrt(%m)
    %y: <2x4xf32> = div(%x, %s)
    -->
    %r: <2x1xf32> = rsqrt(%m)
    %y: <2x4xf32> = mul(%x, %r)
    """
    root = made_by(op.inputs[1], "sqrt")
    return b.mul(op.inputs[0], b.rsqrt(root.inputs[0])) if root else None


@rule("div")
def div_by_reciprocal(b: Builder, op: Op) -> Value | None:
    """No engine divides; the inverse is taken of the divisor, often the smaller tensor.

    %s: <2x1xf32>
    %y: <2x4xf32> = div(%x, %s)
    -->
    %r: <2x1xf32> = reciprocal(%s)
    %y: <2x4xf32> = mul(%x, %r)
    """
    if op.result.type.dtype not in (DType.F32, DType.TF32, DType.BF16):
        return None
    return b.mul(op.inputs[0], b.reciprocal(op.inputs[1]))


@rule("floor_divide")
def floor_divide_by_power_of_two(b: Builder, op: Op) -> Value | None:
    """Scaling by a power of two does not round, so the floor of the product is exact.

    %c: <f32> = constant() {value=4.0, shape=()}
    %y: <2xf32> = floor_divide(%x, %c)
    -->
    %r: <f32> = constant() {value=0.25, shape=()}
    %q: <2xf32> = mul(%x, %r)
    %y: <2xf32> = floor(%q)
    """
    x, number = op.inputs[0], uniform(op.inputs[1])
    if op.result.type.dtype is not DType.F32 or not _is_power_of_two(number):
        return None
    quotient = b.floor(b.mul(x, b.full((), 1.0 / number, DType.F32)))
    return fit(b, quotient, op.result.type.shape)


@rule("mod")
def mod_by_power_of_two(b: Builder, op: Op) -> Value | None:
    """The low bits of an integer are its remainder, for negative ones too.

    %c: <i32> = constant() {value=8, shape=(), dtype=i32}
    %y: <2xi32> = mod(%x, %c)
    -->
    %m: <i32> = constant() {value=7, shape=(), dtype=i32}
    %y: <2xi32> = bitwise_and(%x, %m)
    """
    x, number = op.inputs[0], uniform(op.inputs[1])
    dtype = op.result.type.dtype
    if not dtype.is_integer or not _is_power_of_two(number):
        return None
    return fit(b, b.bitwise_and(x, b.full((), number - 1, dtype)), op.result.type.shape)


def _is_power_of_two(number: Number | None) -> TypeGuard[Number]:
    """Whether ``number`` is one of 2^-64 to 2^64, whose inverses are numbers of float32 too."""
    if number is None or not 2.0**-64 <= number <= 2.0**64:
        return False
    return math.frexp(number)[0] == 0.5


@rule("floor_divide")
def floor_divide_of_floats(b: Builder, op: Op) -> Value | None:
    """No engine divides; see :func:`_magnitudes` for the quotient of the magnitudes.

    Where the signs differ and something remains, the floor is one further from zero. As numpy's
    up to a quotient of 2^22; from 2^23 on a product with the reciprocal. A zero divisor counts
    as positive, and inf // 0 is nan.

    %y: <4xf32> = floor_divide(%x, %z)
    -->
    ...
    """
    if op.result.type.dtype is not DType.F32:
        return None
    a, d = (Term.of(b, v) for v in op.inputs)
    quotient, rest = _magnitudes(a, d)
    opposite = _signs_differ(a, d)
    size = quotient + (rest > 0) * opposite
    return fit(b, opposite.choose(-size, size).value(), op.result.type.shape)


@rule("mod")
def mod_of_floats(b: Builder, op: Op) -> Value | None:
    """No engine divides; see :func:`_magnitudes` for the remainder of the magnitudes.

    Where the signs differ, what is missing to the next multiple remains, and the sign is that of
    the divisor. As numpy's up to a quotient of 2^22; zero from 2^23 on.

    %y: <4xf32> = mod(%x, %z)
    -->
    ...
    """
    if op.result.type.dtype is not DType.F32:
        return None
    a, d = (Term.of(b, v) for v in op.inputs)
    _, rest = _magnitudes(a, d)
    size = ((rest > 0) * _signs_differ(a, d)).choose(abs(d) - rest, rest)
    return fit(b, (d < 0).choose(-size, size).value(), op.result.type.shape)


def _signs_differ(a: Term, d: Term) -> Term:
    """1 where ``a`` is negative or ``d`` is, but not both; else 0."""
    if d.number is not None:
        return a < 0 if d.number > 0 else a >= 0
    return (a < 0).call("not_equal", d < 0)


def _magnitudes(a: Term, d: Term) -> tuple[Term, Term]:
    """q and r with abs(a) = q abs(d) + r and 0 <= r < abs(d), in float32 without rounding.

    The quotient is found in two digits so that each digit has 12 bits, and the divisor is split
    into halves of 12 bits: then all products are exact, and so is each difference, because its
    operands are close. One comparison at the end makes up for the digits' own error, whichever
    way the engine's float-to-int cast rounds.
    """
    size, step = abs(a), abs(d)
    rate = step.call("reciprocal")
    scaled = step * _SPLIT
    high = scaled - (scaled - step)
    low = step - high
    ratio = size * rate
    coarse = (ratio * (1.0 / _DIGIT)).whole() * _DIGIT
    rest = size - coarse * high - coarse * low
    fine = (rest * rate).whole()
    rest = rest - fine * high - fine * low
    off = (rest >= step) - (rest < 0) - (rest < -step)
    quotient, rest = coarse + fine + off, rest - off * step
    # A divisor that is larger may be infinite, or too large to split, and its halves nan.
    if d.number is None or not abs(d.number) < 2.0**100:
        below = size < step
        quotient, rest = below.choose(0, quotient), below.choose(size, rest)
    # Zero for finite sizes and nan for others: inf // d and inf % d are nan, a % 0 too.
    nothing = size.call("sub", size)
    near = ratio < _EXACT
    return near.choose(quotient, ratio + nothing), near.choose(rest, nothing * rate)


@rule("floor_divide", "mod")
def quotient_of_integers(b: Builder, op: Op) -> Value | None:
    """No engine divides integers; a float32 quotient is close, and exact products correct it.

    The first estimate is off by 2^31 * 2^-22 at most, the second by 1, which comparisons make
    up for. Sums and products are 32-bit integers that wrap around. Exact for all values of
    i8, i16, u8 and u16, for i32 above -2^31 and for u32 below 2^31; x // 0 and x % 0 are 0, as
    in numpy.

    %y: <4xi32> = floor_divide(%x, %z)
    -->
    ...
    """
    dtype = op.result.type.dtype
    if not dtype.is_integer:
        return None
    a, d = (Term.of(b, v).cast(DType.I32) for v in op.inputs)
    # a // d == -a // -d: the divisor is made positive.
    flip = d < 0
    a, step = flip.choose(-a, a), abs(d)
    rate = step.cast(DType.F32).call("reciprocal")
    quotient, rest = Term(b, 0, DType.I32), a
    for _ in range(2 if dtype.itemsize == DType.I32.itemsize else 1):
        digit = (rest.cast(DType.F32) * rate).near_integer()
        quotient, rest = quotient + digit, rest - digit * step
    off = (rest >= step) - (rest < 0) - (rest < -step)
    quotient, rest = quotient + off, rest - off * step
    found = quotient if op.opcode == "floor_divide" else flip.choose(-rest, rest)
    found = step.call("equal", 0).choose(0, found)
    return fit(b, found.cast(dtype).value(), op.result.type.shape)
