"""Delicate formulas of narrow floats are computed in float32, as the engines compute inside."""

from __future__ import annotations

from nkigen_lite.core.dtypes import FLOATS, DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import uniform
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

RULES: list[TensorRule] = []
rule = collect(RULES)

_NARROW = FLOATS - {DType.F32}
# bfloat16 and tf32 have float32's exponents, so a reciprocal stays in range; float16's and
# float8's leave it.
_SHORT_RANGE = _NARROW - {DType.BF16, DType.TF32}
# opcode -> the dtypes in which its decomposition would lose too much
_WIDENED = {
    "div": _SHORT_RANGE,
    "power": _NARROW,
    "floor_divide": _NARROW,
    "mod": _NARROW,
    "sin": _NARROW,
    "cos": _NARROW,
    "arctan": _NARROW,
    "reduce": _NARROW,
}


def _needs_it(op: Op) -> bool:
    """Whether ``op`` is one that a later rule takes apart."""
    return op.attrs.get("kind", "mean") == "mean" and not op.attrs.get("range_reduced", False)


def _widened(b: Builder, value: Value) -> Value:
    number = uniform(value)
    if number is None:
        return b.cast(value, DType.F32)
    return b.full(value.type.shape, number, DType.F32)


@rule(*_WIDENED)
def compute_in_f32(b: Builder, op: Op) -> Value | None:
    """Sums, remainders and long products need float32's digits and range on the way.

    %x: <2x4xbf16>
    %y: <2xbf16> = reduce(%x) {axis=(1,), kind="mean"}
    -->
    %w: <2x4xf32> = cast(%x) {dtype=f32}
    %m: <2xf32> = reduce(%w) {axis=(1,), kind="mean"}
    %y: <2xbf16> = cast(%m) {dtype=bf16}
    """
    dtype = op.result.type.dtype
    if dtype not in _WIDENED[op.opcode] or not _needs_it(op):
        return None
    wide = b.emit(op.opcode, [_widened(b, v) for v in op.inputs], **op.attrs)
    return b.cast(wide.result, dtype)
