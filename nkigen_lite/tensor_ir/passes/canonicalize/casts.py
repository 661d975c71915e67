"""Casts that need not happen."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nkigen_lite.core.dtypes import DType, epsilon
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import float_range, made_by, read_once
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

RULES: list[TensorRule] = []
rule = collect(RULES)

COMPARE = ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")


@lru_cache(maxsize=512)
def is_exact(source: DType, target: DType) -> bool:
    """Whether every value of ``source``, special ones included, is a value of ``target``."""
    if source is target or source is DType.BOOL:
        return True
    if source.is_integer:
        return _integer_is_exact(source, target)
    if not target.is_float:
        return False
    inner, outer = float_range(source), float_range(target)
    return (
        epsilon(source) >= epsilon(target)
        and inner.largest <= outer.largest
        and inner.least >= outer.least
        and (_has_infinity(target) or not _has_infinity(source))
    )


def _integer_is_exact(source: DType, target: DType) -> bool:
    inner = np.iinfo(source.np)
    if target.is_integer:
        outer = np.iinfo(target.np)
        return bool(inner.min >= outer.min and inner.max <= outer.max)
    if not target.is_float:
        return False
    # Integers up to 2 / epsilon are exact, if the range holds them.
    largest = max(-int(inner.min), int(inner.max))
    return largest <= min(2 / epsilon(target), float_range(target).largest)


def _has_infinity(dtype: DType) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.isinf(np.full((1,), np.inf).astype(dtype.np).astype(np.float32))[0])


@rule("cast")
def cast_to_same(b: Builder, op: Op) -> Value | None:
    """A cast to the type that it has already does nothing.

    %y: <4xf32> = cast(%x) {dtype=f32}
    -->
    %x
    """
    return op.inputs[0] if op.attrs["dtype"] is op.inputs[0].type.dtype else None


@rule("cast")
def cast_of_exact_cast(b: Builder, op: Op) -> Value | None:
    """A cast that loses nothing can be skipped on the way to another type.

    %x: <4xbf16>
    %w: <4xf32> = cast(%x) {dtype=f32}
    %y: <4xf16> = cast(%w) {dtype=f16}
    -->
    %y: <4xf16> = cast(%x) {dtype=f16}
    """
    inner = made_by(op.inputs[0], "cast")
    if inner is None:
        return None
    x, target = inner.inputs[0], op.attrs["dtype"]
    if not is_exact(x.type.dtype, inner.attrs["dtype"]):
        return None
    return x if x.type.dtype is target else b.cast(x, target)


@rule("cast")
def cast_of_compare(b: Builder, op: Op) -> Value | None:
    """A comparison writes its zeros and ones in any type.

    %x: <4xf32>
    %z: <4xf32>
    %c: <4xf32> = greater(%x, %z)
    %y: <4xbool> = cast(%c) {dtype=bool}
    -->
    %y: <4xbool> = greater(%x, %z) {dtype=bool}
    """
    compare = made_by(op.inputs[0], *COMPARE)
    if compare is None or not read_once(b, op.inputs[0]):
        return None
    return b.call(compare.opcode, *compare.inputs, dtype=op.attrs["dtype"])


@rule("where")
def where_of_compare(b: Builder, op: Op) -> Value | None:
    """A comparison writes its zeros and ones in the type that engines select by.

    %x: <4xf32>
    %z: <4xf32>
    %p: <4xf32>
    %c: <4xf32> = greater(%x, %z)
    %y: <4xf32> = where(%c, %p, %x)
    -->
    %n: <4xbool> = greater(%x, %z) {dtype=bool}
    %y: <4xf32> = where(%n, %p, %x)
    """
    condition, *values = op.inputs
    compare = made_by(condition, *COMPARE)
    if compare is None or condition.type.dtype is DType.BOOL or not read_once(b, condition):
        return None
    return b.where(b.call(compare.opcode, *compare.inputs, dtype=DType.BOOL), *values)


@rule("cast")
def cast_of_iota(b: Builder, op: Op) -> Value | None:
    """An index ramp counts in any type that its first type did not cut short.

    %i: <4xi32> = iota() {shape=(4,), dim=0, dtype=i32}
    %y: <4xf32> = cast(%i) {dtype=f32}
    -->
    %y: <4xf32> = iota() {shape=(4,), dim=0, dtype=f32}
    """
    ramp = made_by(op.inputs[0], "iota")
    if ramp is None:
        return None
    last = ramp.attrs["shape"][ramp.attrs["dim"]] - 1
    dtype = ramp.attrs["dtype"]
    if dtype is DType.BOOL or (dtype.is_integer and last > np.iinfo(dtype.np).max):
        return None
    if dtype.is_float and last > min(2 / epsilon(dtype), float_range(dtype).largest):
        return None
    return b.iota(ramp.attrs["shape"], ramp.attrs["dim"], op.attrs["dtype"])


@rule("where")
def where_of_cast(b: Builder, op: Op) -> Value | None:
    """A condition is only asked whether it is zero, which exact casts do not change.

    %c: <4xbool>
    %f: <4xf32> = cast(%c) {dtype=f32}
    %y: <4xf32> = where(%f, %x, %z)
    -->
    %y: <4xf32> = where(%c, %x, %z)
    """
    condition, yes, no = op.inputs
    inner = made_by(condition, "cast")
    if inner is None or not is_exact(inner.inputs[0].type.dtype, inner.attrs["dtype"]):
        return None
    return b.where(inner.inputs[0], yes, no)
