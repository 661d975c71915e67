"""Choosing between elements and a fill value: by place, by range, by a predicate.

Rules and meanings: aws-neuron-sdk, nki.isa reference of affine_select, range_select and
select_reduce (NKI 0.6).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType, from_np_dtype, round_to
from nkigen_lite.core.ir import Op
from nkigen_lite.core.numerics import ARITHMETIC
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb_selects
from nkigen_lite.nki_ir.emit.calls import (
    COMPARISONS,
    Spelling,
    column,
    flag,
    literal,
    nisa,
    number_or_column,
    operand,
    steps,
    token,
)
from nkigen_lite.nki_ir.emit.text import Expr
from nkigen_lite.nki_ir.rows.patterns import affine_values, check_pattern
from nkigen_lite.nki_ir.rows.pointers import column_of, f32, f32_pointer_ok, pointer_ok
from nkigen_lite.nki_ir.rows.table import (
    ONLY_SBUF,
    TRN2,
    check_choice,
    check_one_psum,
    check_same_shape,
    compute,
)

FP32_MIN = float(np.finfo(np.float32).min)
"""What range_select writes outside the range: the hardware knows no other value."""

# --- by place ------------------------------------------------------------------------------------


def _check_affine(types: Types, attrs: Attrs) -> None:
    check_same_shape("affine_select", types)
    check_pattern("affine_select", types[0], attrs["pattern"])
    check_choice("affine_select", "cmp_op", attrs["cmp_op"], sorted(COMPARISONS))


def _affine_select(
    dst: Array, src: Array, on_false: float, cmp_op: str, engine: str, **affine: Any
) -> Array:
    chosen = ARITHMETIC[cmp_op](affine_values(dst.shape, **affine), np.zeros((), np.int64))
    fill = np.asarray(on_false, np.float32)
    if dst.dtype == src.dtype:  # bits are kept
        return np.where(chosen, src, round_to(fill, from_np_dtype(dst.dtype)))
    return np.where(chosen, f32(src), fill)


compute(
    "affine_select",
    "src where offset + partition * channel_multiplier + sum of step * index, compared with zero, "
    "holds; on_false elsewhere.",
    _check_affine,
    _affine_select,
    engines=("gpsimd",),
    arity=(2, 2),
    memory=(ONLY_SBUF,),
    attrs=(
        Attr("pattern", tuple),
        Attr("on_false", float),
        Attr("cmp_op", str, "equal"),
        Attr("offset", int, 0),
        Attr("channel_multiplier", int, 0),
    ),
    nki=nisa(
        "affine_select",
        bools=lambda op: False,
        dst=operand(0),
        pattern=steps("pattern"),
        channel_multiplier=literal("channel_multiplier"),
        on_true_tile=operand(1),
        on_false_value=literal("on_false"),
        cmp_op=token("cmp_op"),
        offset=literal("offset", omit=0),
    ),
    kb=kb_selects.affine_select,
)

# --- by range ------------------------------------------------------------------------------------

_RANGE_COMPARISONS = ("equal", "less", "less_equal", "greater", "greater_equal")
_INDEX_END = 2**24  # indices are compared in f32


def _check_range(types: Types, attrs: Attrs) -> None:
    name = "range_select"
    dst, src = types[:2]
    check_same_shape(name, (dst, src))
    for place in ("op0", "op1"):
        check_choice(name, place, attrs[place], _RANGE_COMPARISONS)
    if not src.dtype.is_float:
        raise InvalidOp(f"{name}: source dtype is {src.dtype} but must be a float type")
    for kind in types[2:4]:
        f32_pointer_ok(name, kind, dst.partition_size)
    for kind in types[4:]:
        pointer_ok(name, kind, dst.partition_size)
    start = attrs["range_start"]
    if start < 0 or start + dst.free_size > _INDEX_END:
        raise InvalidOp(
            f"{name}: indices {start} to {start + dst.free_size - 1} must lie within 0 to 2^24"
        )


def _range_select(
    dst: Array,
    src: Array,
    bound0: Array,
    bound1: Array,
    *largest: Array,
    op0: str,
    op1: str,
    range_start: int,
    engine: str,
) -> Any:
    flat = f32(src).reshape(src.shape[0], -1)
    index = np.arange(range_start, range_start + flat.shape[1], dtype=np.float32)[None, :]
    first, second = (column_of(bound, 2) for bound in (bound0, bound1))
    inside = ARITHMETIC[op0](index, first) & ARITHMETIC[op1](index, second)
    made = np.where(inside, flat, np.float32(FP32_MIN))
    if not largest:
        return made.reshape(dst.shape)
    return made.reshape(dst.shape), made.max(axis=1).reshape(largest[0].shape)


compute(
    "range_select",
    "src where the free index plus range_start, compared by op0 with bound0 and by op1 with bound1 "
    "(one value per partition), lies in the range; the least f32 elsewhere. A last operand takes "
    "the largest of each partition.",
    _check_range,
    _range_select,
    engines=("vector",),
    arity=(4, 5),
    attrs=(Attr("op0", str), Attr("op1", str), Attr("range_start", int, 0)),
    effects=("write 0", "write 4"),
    full=(0, 1),
    version=TRN2,
    nki=nisa(
        "range_select",
        bools=lambda op: False,
        dst=operand(0),
        on_true_tile=operand(1),
        comp_op0=token("op0"),
        comp_op1=token("op1"),
        bound0=column(2),
        bound1=column(3),
        reduce_res=column(4),
        range_start=literal("range_start", omit=0),
        on_false_value=lambda op, spelling: Expr(repr(FP32_MIN)),
    ),
    kb=kb_selects.range_select(FP32_MIN),
)

# --- by a predicate ------------------------------------------------------------------------------

_PREDICATES = (DType.U8, DType.I8, DType.U16, DType.I16, DType.BOOL)
_NOT_SELECTED = (DType.TF32, DType.I32, DType.U32)


def _check_select(name: str, types: Types, attrs: Attrs) -> None:
    """Of (dst, predicate, on_true, and on_false where it is no number)."""
    dst, predicate, src = types[:3]
    check_same_shape(name, types[:3])
    check_one_psum(name, types[1:3])
    if predicate.dtype not in _PREDICATES:
        raise InvalidOp(
            f"{name}: predicate dtype is {predicate.dtype} but must be one of "
            f"{', '.join(_PREDICATES)}"
        )
    if src.dtype in _NOT_SELECTED:
        raise InvalidOp(f"{name}: source dtype is {src.dtype} but must not be of tf32, i32 or u32")
    wanted = 1 if attrs["on_false"] is None else 0
    if len(types) - 3 != wanted:
        raise InvalidOp(
            f"{name}: {len(types) - 3} per-partition operands but {wanted} goes with "
            f"on_false={attrs['on_false']}"
        )
    for kind in types[3:]:
        f32_pointer_ok(name, kind, dst.partition_size)


def _select(
    dst: Array,
    predicate: Array,
    src: Array,
    *column: Array,
    on_false: float | None,
    reverse: bool,
    engine: str,
) -> Array:
    other = np.float32(on_false) if on_false is not None else column_of(column[0], src.ndim)
    return np.where((predicate != 0) != reverse, f32(src), other)


def _check_select_reduce(types: Types, attrs: Attrs) -> None:
    dst, largest, *rest = types
    pointer_ok("select_reduce", largest, dst.partition_size)
    if not largest.dtype.is_float:
        raise InvalidOp(f"select_reduce: maxima are {largest.dtype} but must be of a float type")
    _check_select("select_reduce", (dst, *rest), attrs)


def _select_reduce(dst: Array, largest: Array, *sources: Array, **attrs: Any) -> Any:
    made = _select(dst, *sources, **attrs)
    return made, made.reshape(len(made), -1).max(axis=1).reshape(largest.shape)


def _reset_reduce(op: Op, spelling: Spelling) -> Expr:
    return Expr("nisa.reduce_cmd.reset_reduce")


_SELECT_ATTRS = (Attr("on_false", float, None), Attr("reverse", bool, False))

compute(
    "select",
    "src where the predicate is not zero (with reverse: is zero), elsewhere on_false, a number or "
    "one f32 value per partition (the last operand). Operands: dst, predicate, src.",
    lambda types, attrs: _check_select("select", types, attrs),
    _select,
    engines=("vector",),
    arity=(3, 4),
    attrs=_SELECT_ATTRS,
    full=(0, 1, 2),
    nki=nisa(
        "select_reduce",
        bools=lambda op: False,
        dst=operand(0),
        predicate=operand(1),
        on_true=operand(2),
        on_false=number_or_column("on_false", 3),
        reverse_pred=flag("reverse"),
    ),
    kb=kb_selects.select,
)

compute(
    "select_reduce",
    "As select, and the largest of what it writes in each partition. Operands: dst, the maxima, "
    "predicate, src and, unless on_false is a number, its column.",
    _check_select_reduce,
    _select_reduce,
    engines=("vector",),
    arity=(4, 5),
    attrs=_SELECT_ATTRS,
    effects=("write 0", "write 1"),
    full=(0, 2, 3),
    nki=nisa(
        "select_reduce",
        bools=lambda op: False,
        dst=operand(0),
        predicate=operand(2),
        on_true=operand(3),
        on_false=number_or_column("on_false", 4),
        reduce_res=column(1),
        reduce_cmd=_reset_reduce,
        reverse_pred=flag("reverse"),
    ),
    kb=kb_selects.select_reduce,
)
