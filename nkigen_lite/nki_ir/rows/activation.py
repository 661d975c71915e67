"""What ScalarE computes: functions of a scaled and shifted tile, and their sums.

Rules and meanings: aws-neuron-sdk, nki.isa reference of activation and activation_reduce (NKI 0.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.ir import Op
from nkigen_lite.core.numerics import ACTIVATIONS
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb_composed
from nkigen_lite.nki_ir.emit.calls import (
    Argument,
    Spelling,
    column,
    column_text,
    nisa,
    operand,
    token,
    truth_of,
)
from nkigen_lite.nki_ir.emit.text import Expr, number_text
from nkigen_lite.nki_ir.rows.pointers import column_of, f32, f32_pointer_ok, pointer_ok
from nkigen_lite.nki_ir.rows.table import (
    TRN1,
    TRN2,
    check_choice,
    check_same_shape,
    compute,
)

# What an accumulating activation sums at most, of each partition (nki-autotune @d57bcc3).
SUMMED_FREE_MAX = 16384


def _check(name: str, types: Types, attrs: Attrs) -> None:
    """Of (dst, src, bias if it is an operand, scale if it is an operand)."""
    check_choice(name, "op", attrs["op"], ACTIVATIONS)
    check_same_shape(name, types[:2])
    columns = list(types[2:])
    rows = types[0].partition_size
    if attrs["scale"] is None:
        if not columns:
            raise InvalidOp(f"{name}: scale is none but the operands have no column for it")
        f32_pointer_ok(name, columns.pop(), rows)
    if len(columns) > 1:
        raise InvalidOp(
            f"{name}: {len(columns)} per-partition operands but one is the bias and the last, if "
            "scale is none, the scale"
        )
    for kind in columns:
        pointer_ok(name, kind, rows)
        if kind.dtype is DType.TF32 or attrs["bias"]:
            raise InvalidOp(
                f"{name}: the bias is {kind} and {attrs['bias']} but must be a number, or one "
                "operand of a type other than tf32"
            )


def _activation(
    dst: Array,
    src: Array,
    *columns: Array,
    op: str,
    scale: float | None,
    bias: float,
    engine: str,
) -> Array:
    given = [column_of(c, src.ndim) for c in columns]
    factor = given.pop() if scale is None else np.float32(scale)
    x = f32(src) * factor
    if given or bias:
        x = x + (given[0] if given else np.float32(bias))
    return ACTIVATIONS[op](x)


def _function(op: Op) -> dict[str, Any]:
    return {"function": op.attrs["op"]}


def _keeps_bools(op: Op) -> bool:
    return truth_of("op")(op) and op.attrs["scale"] == 1.0 and not op.attrs["bias"]


def _bias(position: int) -> Argument:
    """The operand at a position, unless that is the scale; else the number."""

    def make(op: Op, spelling: Spelling) -> Expr | None:
        columns: Sequence[Any] = op.inputs[position:]
        if len(columns) > (op.attrs["scale"] is None):
            return column_text(columns[0], spelling)
        return Expr(number_text(op.attrs["bias"])) if op.attrs["bias"] else None

    return make


def _scale(op: Op, spelling: Spelling) -> Expr | None:
    scale = op.attrs["scale"]
    if scale is None:
        return column_text(op.inputs[-1], spelling)
    return None if scale == 1.0 else Expr(number_text(scale))


def _version(op: Op) -> int:
    """A bias that is a number came with trn2."""
    return TRN2 if op.attrs["bias"] else TRN1


_ATTRS = (
    Attr("op", str),
    Attr("scale", (float, type(None)), 1.0, "none: the last operand"),
    Attr("bias", float, 0.0, "where no operand is the bias"),
)

compute(
    "activation",
    "op(src * scale + bias). The bias is a number or an operand; so is the scale, in f32, which is "
    "then the last; both have one value per partition.",
    lambda types, attrs: _check("activation", types, attrs),
    _activation,
    engines=("scalar",),
    arity=(2, 4),
    attrs=_ATTRS,
    full=(0, 1),
    charge=_function,
    version=_version,
    nki=nisa(
        "activation",
        bools=_keeps_bools,
        dst=operand(0),
        op=token("op"),
        data=operand(1),
        bias=_bias(2),
        scale=_scale,
    ),
    kb=kb_composed.activation,
)


def _check_reduce(types: Types, attrs: Attrs) -> None:
    name = "activation_reduce"
    dst, sums, *sources = types
    _check(name, (dst, *sources), attrs)
    pointer_ok(name, sums, dst.partition_size)
    if dst.free_size > SUMMED_FREE_MAX:
        raise InvalidOp(f"{name}: free size is {dst.free_size} but at most {SUMMED_FREE_MAX}")


def _activation_reduce(
    dst: Array, sums: Array, *sources: Array, **attrs: Any
) -> tuple[Array, Array]:
    made = _activation(dst, *sources, **attrs)
    axes = tuple(range(1, made.ndim))
    return made, made.sum(axis=axes, dtype=np.float32).reshape(sums.shape)


compute(
    "activation_reduce",
    "As activation, and sums = the sum of what it makes over the free dimensions, one value per "
    "partition. Operands: dst, sums, src and, if given, bias and scale.",
    _check_reduce,
    _activation_reduce,
    engines=("scalar",),
    arity=(3, 5),
    attrs=_ATTRS,
    effects=("write 0", "write 1"),
    full=(0, 2),
    charge=_function,
    version=_version,
    sums=1,
    nki=nisa(
        "activation_reduce",
        bools=_keeps_bools,
        dst=operand(0),
        op=token("op"),
        data=operand(2),
        reduce_op=lambda op, spelling: Expr("nl.add"),
        reduce_res=column(1),
        bias=_bias(3),
        scale=_scale,
    ),
    kb=kb_composed.activation_reduce,
)


def _check_accumulate(types: Types, attrs: Attrs) -> None:
    _check_reduce(types, attrs)
    if types[1].dtype is not DType.F32:
        raise InvalidOp(f"activation_accumulate: sums are {types[1].dtype} but the registers f32")


def _activation_accumulate(
    dst: Array, sums: Array, *sources: Array, **attrs: Any
) -> tuple[Array, Array]:
    made, added = _activation_reduce(dst, sums, *sources, **attrs)
    return made, sums + added


compute(
    "activation_accumulate",
    "As activation_reduce, but sums grow by what is summed. They live on in registers of the "
    "engine, so the summing activation before it, in the same region, must have left them.",
    _check_accumulate,
    _activation_accumulate,
    engines=("scalar",),
    arity=(3, 5),
    attrs=_ATTRS,
    effects=("write 0", "write 1", "read 1"),
    full=(0, 2),
    charge=_function,
    version=_version,
    sums=1,
    continues=True,
    nki=nisa(
        "activation",
        bools=_keeps_bools,
        dst=operand(0),
        op=token("op"),
        data=operand(2),
        bias=_bias(3),
        scale=_scale,
        reduce_op=lambda op, spelling: Expr("nl.add"),
        reduce_res=column(1),
        reduce_cmd=lambda op, spelling: Expr("nisa.reduce_cmd.reduce"),
    ),
    kb=kb_composed.activation_accumulate,
)
