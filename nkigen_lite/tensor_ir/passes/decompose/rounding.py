"""Rounding to whole numbers through the float-to-int cast, and whole quotients."""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType, epsilon
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.decompose.whole import is_whole
from nkigen_lite.tensor_ir.passes.match import made_by
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

# These look at a division before the others take it apart.
QUOTIENT_RULES: list[TensorRule] = []
quotient_rule = collect(QUOTIENT_RULES)
# This one looks at floors and the like before they are taken apart; what others make is whole.
CAST_RULES: list[TensorRule] = []
cast_rule = collect(CAST_RULES)
RULES: list[TensorRule] = []
rule = collect(RULES)


@quotient_rule("ceil")
def ceil_of_div(b: Builder, op: Op) -> Value | None:
    """The rules for floors of quotients serve ceilings too.

    %q: <4xf32> = div(%x, %z)
    %y: <4xf32> = ceil(%q)
    -->
    %n: <4xf32> = neg(%x)
    %q: <4xf32> = div(%n, %z)
    %f: <4xf32> = floor(%q)
    %y: <4xf32> = neg(%f)
    """
    quotient = made_by(op.inputs[0], "div")
    if quotient is None:
        return None
    return b.neg(b.floor(b.div(b.neg(quotient.inputs[0]), quotient.inputs[1])))


@quotient_rule("floor")
def floor_of_div(b: Builder, op: Op) -> Value | None:
    """A quotient that is whole must stay whole; a product with a reciprocal may fall short.

    %q: <4xf32> = div(%x, %z)
    %y: <4xf32> = floor(%q)
    -->
    %y: <4xf32> = floor_divide(%x, %z)
    """
    quotient = made_by(op.inputs[0], "div")
    if quotient is None or op.result.type.dtype is not DType.F32:
        return None
    return b.floor_divide(*quotient.inputs)


@quotient_rule("cast")
def integer_of_div(b: Builder, op: Op) -> Value | None:
    """A quotient that is whole must stay whole; casts to integers round toward zero.

    %x: <4xf32>
    %z: <4xf32>
    %q: <4xf32> = div(%x, %z)
    %y: <4xi32> = cast(%q) {dtype=i32}
    -->
    %a: <4xf32> = abs(%x)
    %d: <4xf32> = abs(%z)
    %w: <4xf32> = floor_divide(%a, %d)
    %s: <4xf32> = sign(%x)
    %t: <4xf32> = sign(%z)
    %u: <4xf32> = mul(%s, %t)
    %p: <4xf32> = mul(%w, %u)
    %y: <4xi32> = cast(%p) {dtype=i32}
    """
    quotient = made_by(op.inputs[0], "div")
    dtype = op.attrs["dtype"]
    if quotient is None or quotient.result.type.dtype is not DType.F32 or not dtype.is_integer:
        return None
    x, z = quotient.inputs
    size = b.floor_divide(b.abs(x), b.abs(z))
    return b.cast(b.mul(size, b.mul(b.sign(x), b.sign(z))), dtype)


@quotient_rule("floor", "cast")
def whole_of_narrow_div(b: Builder, op: Op) -> Value | None:
    """A narrow quotient that is whole stays so when it is rounded once, from float32.

    %x: <4xbf16>
    %z: <4xbf16>
    %q: <4xbf16> = div(%x, %z)
    %y: <4xi32> = cast(%q) {dtype=i32}
    -->
    %a: <4xf32> = cast(%x) {dtype=f32}
    %d: <4xf32> = cast(%z) {dtype=f32}
    %w: <4xf32> = div(%a, %d)
    %n: <4xbf16> = cast(%w) {dtype=bf16}
    %y: <4xi32> = cast(%n) {dtype=i32}
    """
    quotient = made_by(op.inputs[0], "div")
    if quotient is None or quotient.result.type.dtype is DType.F32:
        return None
    if op.opcode == "cast" and not op.attrs["dtype"].is_integer:
        return None
    wide = b.div(*(b.cast(v, DType.F32) for v in quotient.inputs))
    narrow = b.cast(wide, quotient.result.type.dtype)
    return b.emit(op.opcode, [narrow], **op.attrs).result


@cast_rule("cast")
def cast_toward_zero(b: Builder, op: Op) -> Value | None:
    """An integer is less than 1 away, and one too far from zero shows in a comparison.

    That holds whether the engine's cast truncates or rounds: the vendor's texts say either.

    %x: <4xf32>
    %y: <4xi32> = cast(%x) {dtype=i32}
    -->
    %a: <4xf32> = abs(%x)
    %i: <4xi32> = near_integer(%a) {dtype=i32}
    %w: <4xf32> = cast(%i) {dtype=f32}
    %o: <4xf32> = greater(%w, %a)
    %f: <4xf32> = sub(%w, %o)
    %s: <4xf32> = sign(%x)
    %t: <4xf32> = mul(%f, %s)
    %y: <4xi32> = cast(%t) {dtype=i32}
    """
    (x,), dtype = op.inputs, op.attrs["dtype"]
    if dtype.is_float or dtype is DType.BOOL or is_whole(x):
        return None
    wide = x if x.type.dtype is DType.F32 else b.cast(x, DType.F32)
    size = b.abs(wide)
    if dtype is DType.U32:  # it holds what i32 does not
        return b.cast(b.mul(b.floor(size), b.sign(wide)), dtype)
    whole = b.cast(b.near_integer(size, DType.I32), DType.F32)
    return b.cast(b.mul(b.sub(whole, b.greater(whole, size)), b.sign(wide)), dtype)


@rule("ceil")
def ceil_as_floor(b: Builder, op: Op) -> Value | None:
    """One way of rounding is enough.

    %y: <4xf32> = ceil(%x)
    -->
    %n: <4xf32> = neg(%x)
    %f: <4xf32> = floor(%n)
    %y: <4xf32> = neg(%f)
    """
    return b.neg(b.floor(b.neg(op.inputs[0])))


@rule("floor")
def floor_through_integers(b: Builder, op: Op) -> Value | None:
    """An integer is less than 1 away, and one too large shows in a comparison.

    That holds whether the engine's cast truncates or rounds. From 1 / epsilon on (2^23 in
    float32) a float holds no fractions: such values, infinities and nan are their own floor.

    %y: <4xf32> = floor(%x)
    -->
    %i: <4xi32> = near_integer(%x) {dtype=i32}
    %w: <4xf32> = cast(%i) {dtype=f32}
    %o: <4xf32> = greater(%w, %x)
    %f: <4xf32> = sub(%w, %o)
    %a: <4xf32> = abs(%x)
    %l: <f32> = constant() {value=8388608.0, shape=()}
    %n: <4xf32> = less(%a, %l)
    %y: <4xf32> = where(%n, %f, %x)
    """
    x, dtype = op.inputs[0], op.result.type.dtype
    whole = b.cast(b.near_integer(x, DType.I32), dtype)
    floor = b.sub(whole, b.greater(whole, x))
    near = b.less(b.abs(x), b.full((), 1.0 / epsilon(dtype), dtype))
    return b.where(near, floor, x)
