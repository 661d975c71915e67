"""Selections in the Kernel Builder: a mask of bytes, a fill, and copy_predicated.

It has calls named select_reduce and range_select, but not all of their keywords are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.nki_ir.emit.kb import (
    ARITH_OPS,
    KbTemplate,
    Tracing,
    enum_member,
    scalar_calls,
    temporaries,
)
from nkigen_lite.nki_ir.emit.kb_composed import New, converted, reduce

Fill = Callable[[Any], None]
"""Writes a fill value into a float32 tile."""


def _as_mask(tracing: Tracing, new: New, truth: Any, shape: Sequence[int]) -> Any:
    """A float32 tile of 0 and 1 in the type that predicates have."""
    made = new(shape, DType.U8)
    tracing.isa.tensor_copy(dst=made, src=truth)
    return made


def _mask(tracing: Tracing, new: New, predicate: Value, *, reverse: bool) -> Any:
    """A predicate as copy_predicated takes it: bytes, not zero where it holds."""
    if predicate.type.dtype in (DType.BOOL, DType.U8) and not reverse:
        return tracing.tile(predicate)
    truth = converted(tracing, new, predicate, DType.F32)
    compares = tracing.isa.arith_op.IsEQ if reverse else tracing.isa.arith_op.IsNE
    scalar_calls(tracing, truth, truth, [(compares, 0.0)])
    return _as_mask(tracing, new, truth, predicate.type.shape)


def copy_predicated(op: Op, tracing: Tracing) -> None:
    """dst where the predicate does not hold, else the source, or a number."""
    dst, predicate, *sources = op.inputs
    with temporaries(tracing) as new:
        mask = _mask(tracing, new, predicate, reverse=op.attrs["reverse"])
        if sources:
            source = tracing.tile(sources[0])
        else:
            source = new(dst.type.shape, dst.type.dtype)
            tracing.isa.memset(dst=source, value=_number_in(dst, op.attrs["imm"]))
        tracing.isa.copy_predicated(dst=tracing.tile(dst), pred_mask=mask, src=source)


def _number_in(dst: Value, number: float) -> float:
    """A number as memset takes it for a tile."""
    return float(number) if dst.type.dtype.is_float else int(number)


def _select(
    tracing: Tracing, new: New, op: Op, tiles: tuple[Value, Value], mask: Any, fill: Fill
) -> Any:
    """Write src where the mask holds and the fill elsewhere; a tile of float32 with the same."""
    dst, src = tiles
    if dst.type.dtype == src.type.dtype and not dst.type.dtype.is_float:  # bits are kept
        chosen = converted(tracing, new, src, src.type.dtype)
        others = new(dst.type.shape, DType.F32)
        fill(others)
        tracing.isa.tensor_copy(dst=tracing.tile(dst), src=others)
        tracing.isa.copy_predicated(dst=tracing.tile(dst), pred_mask=mask, src=chosen)
        return tracing.tile(dst)
    made = new(dst.type.shape, DType.F32)
    fill(made)
    chosen = converted(tracing, new, src, DType.F32)
    tracing.isa.copy_predicated(dst=made, pred_mask=mask, src=chosen)
    tracing.isa.tensor_copy(dst=tracing.tile(dst), src=made)
    return made


def _constant_fill(tracing: Tracing, number: float) -> Fill:
    return lambda tile: tracing.isa.memset(dst=tile, value=float(number))


def _column_fill(tracing: Tracing, column: Value) -> Fill:
    def fill(tile: Any) -> None:
        tracing.isa.memset(dst=tile, value=0.0)
        adds = tracing.isa.arith_op.Add
        scalar_calls(tracing, tile, tile, [(adds, tracing.column(column))])

    return fill


def select(op: Op, tracing: Tracing) -> None:
    """src where the predicate holds, elsewhere a number or a column."""
    dst, predicate, src, *columns = op.inputs
    _by_predicate(op, tracing, (dst, predicate, src), columns, None)


def select_reduce(op: Op, tracing: Tracing) -> None:
    """The same, and the largest of each partition."""
    dst, largest, predicate, src, *columns = op.inputs
    _by_predicate(op, tracing, (dst, predicate, src), columns, largest)


def _by_predicate(
    op: Op,
    tracing: Tracing,
    tiles: tuple[Value, Value, Value],
    columns: Sequence[Value],
    largest: Value | None,
) -> None:
    (dst, predicate, src), number = tiles, op.attrs["on_false"]
    filled = _constant_fill(tracing, number) if number is not None else None
    with temporaries(tracing) as new:
        mask = _mask(tracing, new, predicate, reverse=op.attrs["reverse"])
        fill = filled or _column_fill(tracing, columns[0])
        made = _select(tracing, new, op, (dst, src), mask, fill)
        if largest is not None:
            reduce(tracing, "maximum", tracing.column(largest), made, dst.type.rank - 1)


def _ramp(
    tracing: Tracing, new: New, shape: Sequence[int], pattern: Any, offset: int, multiplier: int
) -> Any:
    """iota as float32, which keeps the sign of every int32 and the value of those below 2^24."""
    whole, made = new(shape, DType.I32), new(shape, DType.F32)
    steps = [list(step) for step in pattern]
    tracing.isa.iota(dst=whole, pattern=steps, offset=offset, channel_multiplier=multiplier)
    tracing.isa.tensor_copy(dst=made, src=whole)
    return made


def affine_select(op: Op, tracing: Tracing) -> None:
    """src where a function of partition and place, compared with zero, holds."""
    dst, src = op.inputs
    shape, attrs = dst.type.shape, op.attrs
    compares = enum_member(op, tracing, "arith_op", attrs["cmp_op"], ARITH_OPS)
    with temporaries(tracing) as new:
        ramp = _ramp(
            tracing, new, shape, attrs["pattern"], attrs["offset"], attrs["channel_multiplier"]
        )
        scalar_calls(tracing, ramp, ramp, [(compares, 0.0)])
        mask = _as_mask(tracing, new, ramp, shape)
        fill = _constant_fill(tracing, attrs["on_false"])
        _select(tracing, new, op, (dst, src), mask, fill)


def range_select(least: float) -> KbTemplate:
    """src where the free index lies between two bounds, ``least`` elsewhere."""

    def call(op: Op, tracing: Tracing) -> None:
        dst, src, *bounds = op.inputs
        shape, isa = dst.type.shape, tracing.isa
        strides = [math.prod(shape[d + 1 :]) for d in range(1, len(shape))]
        pattern = list(zip(strides, shape[1:], strict=True))
        with temporaries(tracing) as new:
            index = _ramp(tracing, new, shape, pattern, op.attrs["range_start"], 0)
            first, both = new(shape, DType.F32), isa.arith_op.LogicalAnd
            for place, inside in ((0, first), (1, index)):
                compares = enum_member(op, tracing, "arith_op", op.attrs[f"op{place}"], ARITH_OPS)
                scalar_calls(tracing, inside, index, [(compares, tracing.column(bounds[place]))])
            isa.tensor_tensor_arith(dst=index, lhs=first, rhs=index, op=both)
            mask = _as_mask(tracing, new, index, shape)
            made = _select(tracing, new, op, (dst, src), mask, _constant_fill(tracing, least))
            if len(bounds) > 2:
                reduce(tracing, "maximum", tracing.column(bounds[2]), made, dst.type.rank - 1)

    return call
