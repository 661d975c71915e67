"""What VectorE and GpSimd compute of whole tiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Op
from nkigen_lite.core.numerics import ARITHMETIC, BITWISE, REDUCTIONS, SHIFTS
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp, NotSupported
from nkigen_lite.nki_ir.emit import kb, kb_composed
from nkigen_lite.nki_ir.emit.calls import (
    Spelling,
    flag,
    nisa,
    nki_shape,
    on_engine,
    operand,
    reshaped,
    token,
    truth_of,
)
from nkigen_lite.nki_ir.emit.text import Expr, shape_text
from nkigen_lite.nki_ir.rows.pointers import f32
from nkigen_lite.nki_ir.rows.table import (
    ONLY_SBUF,
    PSUM,
    check_choice,
    check_one_psum,
    check_partitions,
    check_same_shape,
    compute,
)

BITS = BITWISE | SHIFTS

# The vector engines compute in float32 whatever the operand types, except that GpSimd has native
# 32-bit integer arithmetic when destination and sources all have that type.
_NATIVE = {np.dtype(np.int32), np.dtype(np.uint32)}

# --- two tensors ---------------------------------------------------------------------------------


def _check_pair(name: str, legal: Any) -> Any:
    def check(types: Types, attrs: Attrs) -> None:
        check_choice(name, "op", attrs["op"], legal)
        check_same_shape(name, types)
        check_one_psum(name, types[1:])

    return check


def _tensor_tensor(dst: Array, a: Array, b: Array, op: str, engine: str) -> Array:
    if engine == "gpsimd" and dst.dtype == a.dtype == b.dtype and a.dtype in _NATIVE:
        return ARITHMETIC[op](a, b)
    return ARITHMETIC[op](f32(a), f32(b))


def _tensor_tensor_engine(op: Op, spelling: Spelling) -> Expr:
    # NKI runs power between two tensors on GpSimd, whichever engine is asked for.
    if op.attrs["op"] != "power":
        return on_engine()(op, spelling)
    if any(v.type.memory is PSUM for v in op.inputs):
        raise NotSupported(
            "emit_nki: tensor_tensor_arith: power runs on gpsimd but an operand is in psum"
        )
    return on_engine("gpsimd")(op, spelling)


compute(
    "tensor_tensor_arith",
    "a op b, elementwise.",
    _check_pair("tensor_tensor_arith", ARITHMETIC),
    _tensor_tensor,
    engines=("vector", "gpsimd"),
    arity=(3, 3),
    attrs=(Attr("op", str),),
    nki=nisa(
        "tensor_tensor",
        bools=truth_of("op"),
        dst=operand(0),
        data1=operand(1),
        data2=operand(2),
        op=token("op"),
        engine=_tensor_tensor_engine,
    ),
    kb=kb.kb(
        "tensor_tensor_arith",
        dst=kb.tile(0),
        lhs=kb.tile(1),
        rhs=kb.tile(2),
        op=kb.member("arith_op", "op", kb.ARITH_OPS),
    ),
)


def _check_bits(types: Types, attrs: Attrs) -> None:
    _check_pair("tensor_tensor_bitvec", BITS)(types, attrs)
    if any(t.dtype.is_float or t.dtype != types[0].dtype for t in types):
        raise InvalidOp("tensor_tensor_bitvec: operands must have one integer type")


compute(
    "tensor_tensor_bitvec",
    "a op b on the bits of integers.",
    _check_bits,
    lambda dst, a, b, op, engine: BITS[op](a, b),
    engines=("vector",),
    arity=(3, 3),
    attrs=(Attr("op", str),),
    nki=nisa("tensor_tensor", dst=operand(0), data1=operand(1), data2=operand(2), op=token("op")),
    kb=kb.kb(
        "tensor_tensor_bitvec",
        dst=kb.tile(0),
        lhs=kb.tile(1),
        rhs=kb.tile(2),
        op=kb.member("bitvec_op", "op", kb.BITVEC_OPS),
    ),
)

# --- one tensor ----------------------------------------------------------------------------------

compute(
    "reciprocal",
    "1 / x, without the input range limits of the activation of that name.",
    lambda types, attrs: check_same_shape("reciprocal", types),
    lambda dst, src, engine: np.reciprocal(f32(src)),
    engines=("vector",),
    arity=(2, 2),
    nki=nisa("reciprocal", bools=lambda op: False, dst=operand(0), data=operand(1)),
    # No reciprocal of VectorE is known there; ScalarE's is for |x| in [2^-42, 2^42].
    kb=kb.kb(
        "activation",
        dst=kb.tile(0),
        src=kb.tile(1),
        bias=kb.given(0.0),
        scale=kb.given(1.0),
        op=kb.constant("activation_function", "reciprocal"),
    ),
)


def _check_reduce(types: Types, attrs: Attrs) -> None:
    name = "tensor_reduce_arith"
    dst, src = types
    check_choice(name, "op", attrs["op"], REDUCTIONS)
    check_partitions(name, types)
    count = attrs["num_r_dim"]
    if not 1 <= count < src.rank:
        raise InvalidOp(
            f"{name}: num_r_dim is {count} but {src} has {src.rank - 1} free dimensions"
        )
    kept = src.shape[: src.rank - count]
    if dst.free_size * dst.partition_size != int(np.prod(kept)):
        raise InvalidOp(f"{name}: reducing {count} dimensions of {src} does not give {dst}")


def _tensor_reduce(
    dst: Array, src: Array, op: str, num_r_dim: int, negate: bool, engine: str
) -> Array:
    axes = tuple(range(src.ndim - num_r_dim, src.ndim))
    made = REDUCTIONS[op](f32(src), axis=axes).reshape(dst.shape)
    return -made if negate else made


def _reduce_shapes(op: Op) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The result's shape without and with the reduced dimensions."""
    shape, count = op.inputs[1].type.shape, op.attrs["num_r_dim"]
    return shape[:-count], shape[:-count] + (1,) * count


def _keepdims(op: Op, spelling: Spelling) -> Expr | None:
    return Expr("True") if nki_shape(op.inputs[0].type) != _reduce_shapes(op)[0] else None


def _reduced(op: Op, spelling: Spelling) -> Expr:
    dst, (dropped, kept) = op.inputs[0], _reduce_shapes(op)
    text = spelling.value(dst)
    return text if nki_shape(dst.type) == dropped else reshaped(text, dst.type, kept)


def _reduce_axes(op: Op, spelling: Spelling) -> Expr:
    rank, count = op.inputs[1].type.rank, op.attrs["num_r_dim"]
    return Expr(str(rank - 1) if count == 1 else shape_text(range(rank - count, rank)))


compute(
    "tensor_reduce_arith",
    "Reduce the last num_r_dim free dimensions; negate multiplies the results by -1.",
    _check_reduce,
    _tensor_reduce,
    engines=("vector",),
    arity=(2, 2),
    attrs=(Attr("op", str), Attr("num_r_dim", int, 1), Attr("negate", bool, False)),
    nki=nisa(
        "tensor_reduce",
        bools=lambda op: truth_of("op")(op) and not op.attrs["negate"],
        dst=_reduced,
        op=token("op"),
        data=operand(1),
        axis=_reduce_axes,
        negate=flag("negate"),
        keepdims=_keepdims,
    ),
    kb=kb_composed.tensor_reduce,
)


def _check_cross(types: Types, attrs: Attrs) -> None:
    name = "cross_lane_reduce_arith"
    dst, src = types
    check_choice(name, "op", attrs["op"], ("add", "maximum"))
    if dst.shape != (1, *src.shape[1:]):
        raise InvalidOp(f"{name}: reducing the partitions of {src} does not give {dst}")


compute(
    "cross_lane_reduce_arith",
    "Reduce over partitions into partition 0.",
    _check_cross,
    lambda dst, src, op, engine: REDUCTIONS[op](f32(src), axis=0, keepdims=True),
    engines=("gpsimd",),
    arity=(2, 2),
    memory=(ONLY_SBUF,),
    attrs=(Attr("op", str),),
    nki=nisa(
        "tensor_partition_reduce",
        bools=truth_of("op"),
        dst=operand(0),
        op=token("op"),
        data=operand(1),
    ),
    kb=kb.kb(
        "cross_lane_reduce_arith",
        dst=kb.tile(0),
        src=kb.tile(1),
        reduce_op=kb.member("cross_lane_reduce_arith_op", "op", kb.LANE_OPS),
        num_r_dim=kb.given(0),
    ),
)
