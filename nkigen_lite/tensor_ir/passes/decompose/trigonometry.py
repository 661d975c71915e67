"""Sine, cosine and arctangent, with operands brought to where the engine's tables lie."""

from __future__ import annotations

import math

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.decompose.term import Term
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

RULES: list[TensorRule] = []
rule = collect(RULES)

# 2 pi in three parts (Cody and Waite 1980). The first has 8 bits and the second 10, so their
# products with up to 2^14 turns are exact in float32; the third is the rest.
_TURN = (6.28125, 1014 / 2**19, 2 * math.pi - 6.28125 - 1014 / 2**19)


def _within_half_turn(x: Term) -> Term:
    """``x`` less whole turns: in [-pi, pi], give or take the rounding of the turn count.

    Exact up to the last rounding for abs(x) < 2^14 turns, about 1e5; beyond, the error grows as
    abs(x) * 2^-24, and past 2^24 nothing is left of the phase. nan for infinities.
    """
    turns = (x * (0.5 / math.pi) + 0.5).call("floor")
    for part in _TURN:
        x = x - turns * part
    return x


@rule("sin")
def reduce_sin(b: Builder, op: Op) -> Value | None:
    """ScalarE's sine takes [-pi, pi]: whole turns go, and the outer quarters fold inward.

    sin x = sin(pi - x) = sin(-pi - x), so the smaller of x and pi - x, and then the larger of
    that and -pi - x, lies in [-pi/2, pi/2]. Absolute error below 4e-7 for abs(x) < 1e5.

    %y: <4xf32> = sin(%x)
    -->
    ...
    """
    if op.attrs["range_reduced"] or op.result.type.dtype is not DType.F32:
        return None
    x = _within_half_turn(Term(b, op.inputs[0], DType.F32))
    pi = Term(b, math.pi, DType.F32)
    x = x.call("minimum", pi.call("sub", x))
    x = x.call("maximum", (-pi).call("sub", x))
    return b.sin(x.value(), range_reduced=True)


@rule("cos")
def cos_as_sin(b: Builder, op: Op) -> Value | None:
    """There is no cosine on the engines: cos x = sin(pi/2 - abs(x)), in range within half a turn.

    Absolute error below 4e-7 for abs(x) < 1e5.

    %y: <4xf32> = cos(%x)
    -->
    ...
    """
    if op.result.type.dtype is not DType.F32:
        return None
    x = _within_half_turn(Term(b, op.inputs[0], DType.F32))
    quarter = Term(b, math.pi / 2, DType.F32).call("sub", abs(x))
    return b.sin(quarter.value(), range_reduced=True)


@rule("arctan")
def reduce_arctan(b: Builder, op: Op) -> Value | None:
    """ScalarE's arctangent takes [-pi/2, pi/2]: above 1, arctan x = pi/2 - arctan(1/x).

    %y: <4xf32> = arctan(%x)
    -->
    %a: <4xf32> = abs(%x)
    %r: <4xf32> = reciprocal(%a)
    %m: <4xf32> = minimum(%a, %r)
    %t: <4xf32> = arctan(%m) {range_reduced=true}
    %o: <f32> = constant() {value=1.0, shape=()}
    %g: <4xf32> = greater(%a, %o)
    %h: <f32> = constant() {value=1.5707963267948966, shape=()}
    %u: <4xf32> = sub(%h, %t)
    %w: <4xf32> = where(%g, %u, %t)
    %s: <4xf32> = sign(%x)
    %y: <4xf32> = mul(%s, %w)
    """
    x, dtype = op.inputs[0], op.result.type.dtype
    if op.attrs["range_reduced"] or dtype is not DType.F32:
        return None
    size = b.abs(x)
    angle = b.arctan(b.minimum(size, b.reciprocal(size)), range_reduced=True)
    large = b.greater(size, b.full((), 1.0, dtype))
    other = b.sub(b.full((), math.pi / 2, dtype), angle)
    turned = b.where(large, other, angle)
    return b.mul(b.sign(x), turned)
