"""32-bit integers beyond 2^24, which engines round when they pass them through float32.

GpSimd adds, subtracts, multiplies and picks the larger of 32-bit integers as they are, and bit
operations keep them; comparisons, and all else, happen in float32.
"""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import uniform
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

RULES: list[TensorRule] = []
rule = collect(RULES)

_WIDE = (DType.I32, DType.U32)
_EXACT = 2**24
# By comparison: which operand the larger one of both is compared with, and how.
_BY_LARGER = {
    "greater": (1, "not_equal"),
    "less_equal": (1, "equal"),
    "less": (0, "not_equal"),
    "greater_equal": (0, "equal"),
}


@rule("equal", "not_equal")
def equality_of_bits(b: Builder, op: Op) -> Value | None:
    """Neighbours beyond 2^24 are one number in float32, but their bits differ.

    %x: <4xi32>
    %z: <4xi32>
    %y: <4xi32> = equal(%x, %z)
    -->
    %d: <4xi32> = bitwise_xor(%x, %z)
    %n: <i32> = constant() {value=0, shape=(), dtype=i32}
    %y: <4xi32> = equal(%d, %n)
    """
    x, z = op.inputs
    if _is_exact(x) or _is_exact(z):
        return None
    return _against_zero(b, op, op.opcode, b.bitwise_xor(x, z))


@rule(*_BY_LARGER)
def order_by_the_larger(b: Builder, op: Op) -> Value | None:
    """A number is greater than another if the larger of both is not that other one.

    %x: <4xi32>
    %z: <4xi32>
    %y: <4xi32> = greater(%x, %z)
    -->
    %m: <4xi32> = maximum(%x, %z)
    %d: <4xi32> = bitwise_xor(%m, %z)
    %n: <i32> = constant() {value=0, shape=(), dtype=i32}
    %y: <4xi32> = not_equal(%d, %n)
    """
    if any(map(_is_exact, op.inputs)):
        return None
    other, opcode = _BY_LARGER[op.opcode]
    return _against_zero(b, op, opcode, b.bitwise_xor(b.maximum(*op.inputs), op.inputs[other]))


@rule("abs")
def larger_of_both_signs(b: Builder, op: Op) -> Value | None:
    """The scalar engine's table computes in float32.

    %x: <4xi32>
    %y: <4xi32> = abs(%x)
    -->
    %n: <4xi32> = neg(%x)
    %y: <4xi32> = maximum(%x, %n)
    """
    (x,) = op.inputs
    return b.maximum(x, b.neg(x)) if x.type.dtype is DType.I32 else None


@rule("iota")
def truth_of_a_ramp(b: Builder, op: Op) -> Value | None:
    """GpSimd counts in int32, and NKI keeps bool in uint8, where 2 would stay 2.

    %y: <3xbool> = iota() {shape=(3,), dim=0, dtype=bool}
    -->
    %i: <3xi32> = iota() {shape=(3,), dim=0, dtype=i32}
    %y: <3xbool> = cast(%i) {dtype=bool}
    """
    shape, dim, dtype = (op.attrs[name] for name in ("shape", "dim", "dtype"))
    return b.cast(b.iota(shape, dim, DType.I32), dtype) if dtype is DType.BOOL else None


def _against_zero(b: Builder, op: Op, opcode: str, value: Value) -> Value:
    """No integer but zero becomes zero in float32."""
    return b.emit(opcode, [value, b.full((), 0, value.type.dtype)], **op.attrs).result


def _is_exact(value: Value) -> bool:
    """Whether float32 holds the value: then no other integer is rounded to its far side."""
    if value.type.dtype not in _WIDE:
        return True
    number = uniform(value)
    if number is not None:
        return abs(number) < _EXACT
    op = value.producer
    if op is None:
        return False
    if op.opcode == "iota":
        return max(op.result.type.shape, default=0) < _EXACT
    source = op.inputs[0].type.dtype if op.opcode == "cast" else value.type.dtype
    return source.is_integer and source not in _WIDE
