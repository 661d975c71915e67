"""What ScalarE, VectorE and GpSimd compute."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType, widen
from nkigen_lite.core.numerics import ACTIVATIONS, ARITHMETIC, BITWISE, REDUCTIONS
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.rows.table import (
    ONLY_SBUF,
    check_choice,
    check_one_psum,
    check_partitions,
    check_same_shape,
    compute,
)

# The vector engines compute in float32 whatever the operand types, except that GpSimd has native
# 32-bit integer arithmetic between two tensors.
_NATIVE = {np.dtype(np.int32), np.dtype(np.uint32)}


def _f32(array: Array) -> Array:
    return array.astype(np.float32, copy=False)


def _pointer_ok(name: str, kind: Any, partitions: int) -> None:
    if kind.free_size != 1 or kind.partition_size != partitions:
        raise InvalidOp(
            f"{name}: a per-partition operand is {kind} but must hold one value in each of "
            f"{partitions} partitions"
        )


def _column(array: Array, rank: int) -> Array:
    return _f32(array).reshape((array.shape[0],) + (1,) * (rank - 1))


# --- activation ----------------------------------------------------------------------------------


def _check_activation(types: Types, attrs: Attrs) -> None:
    check_choice("activation", "op", attrs["op"], ACTIVATIONS)
    check_same_shape("activation", types[:2])
    for kind in types[2:]:
        _pointer_ok("activation", kind, types[0].partition_size)


def _activation(dst: Array, src: Array, *bias: Array, op: str, scale: float, engine: str) -> Array:
    x = _f32(src) * np.float32(scale)
    if bias:
        x = x + _column(bias[0], src.ndim)
    return ACTIVATIONS[op](x)


compute(
    "activation",
    "op(src * scale + bias); bias is an optional operand, one value per partition.",
    _check_activation,
    _activation,
    engines=("scalar",),
    arity=(2, 3),
    attrs=(Attr("op", str), Attr("scale", float, 1.0)),
)

# --- two tensors ---------------------------------------------------------------------------------


def _check_pair(name: str, legal: Any) -> Any:
    def check(types: Types, attrs: Attrs) -> None:
        check_choice(name, "op", attrs["op"], legal)
        check_same_shape(name, types)
        check_one_psum(name, types[1:])

    return check


def _tensor_tensor(dst: Array, a: Array, b: Array, op: str, engine: str) -> Array:
    if engine == "gpsimd" and a.dtype == b.dtype and a.dtype in _NATIVE:
        return ARITHMETIC[op](a, b)
    return ARITHMETIC[op](_f32(a), _f32(b))


compute(
    "tensor_tensor_arith",
    "a op b, elementwise.",
    _check_pair("tensor_tensor_arith", ARITHMETIC),
    _tensor_tensor,
    engines=("vector", "gpsimd"),
    arity=(3, 3),
    attrs=(Attr("op", str),),
)


def _check_bits(types: Types, attrs: Attrs) -> None:
    _check_pair("tensor_tensor_bitvec", BITWISE)(types, attrs)
    if any(t.dtype.is_float or t.dtype != types[0].dtype for t in types):
        raise InvalidOp("tensor_tensor_bitvec: operands must have one integer type")


compute(
    "tensor_tensor_bitvec",
    "a op b on the bits of integers.",
    _check_bits,
    lambda dst, a, b, op, engine: BITWISE[op](a, b),
    engines=("vector",),
    arity=(3, 3),
    attrs=(Attr("op", str),),
)

# --- tensor and scalar ---------------------------------------------------------------------------


def _scalar_count(attrs: Attrs) -> int:
    return sum(attrs[i] is None and attrs[o] is not None for i, o in (("imm0", "op0"), ("imm1", "op1")))


def _check_tensor_scalar(types: Types, attrs: Attrs) -> None:
    name = "tensor_scalar_arith"
    for op in (attrs["op0"], attrs["op1"]):
        if op is not None:
            check_choice(name, "op", op, ARITHMETIC)
    check_same_shape(name, types[:2])
    if len(types) - 2 != _scalar_count(attrs):
        raise InvalidOp(
            f"{name}: {len(types) - 2} per-partition operands for {_scalar_count(attrs)} steps "
            "without an immediate"
        )
    for kind in types[2:]:
        _pointer_ok(name, kind, types[0].partition_size)
        if kind.dtype is not DType.F32:
            raise InvalidOp(f"{name}: a per-partition operand is {kind.dtype} but must be f32")


def _tensor_scalar(dst: Array, x: Array, *pointers: Array, **attrs: Any) -> Array:
    waiting = list(pointers)
    value = _f32(x)
    for op, imm, reverse in (("op0", "imm0", "reverse0"), ("op1", "imm1", "reverse1")):
        if attrs[op] is None:
            continue
        given = attrs[imm]
        other = _column(waiting.pop(0), x.ndim) if given is None else np.float32(given)
        pair = (other, value) if attrs[reverse] else (value, other)
        value = np.asarray(ARITHMETIC[attrs[op]](*pair)).astype(np.float32)
    return value


compute(
    "tensor_scalar_arith",
    "(x op0 s0) op1 s1; each s is an immediate or one f32 value per partition (an operand).",
    _check_tensor_scalar,
    _tensor_scalar,
    engines=("vector", "gpsimd", "scalar"),
    arity=(2, 4),
    attrs=(
        Attr("op0", str),
        Attr("imm0", float, None),
        Attr("reverse0", bool, False),
        Attr("op1", str, None),
        Attr("imm1", float, None),
        Attr("reverse1", bool, False),
    ),
)

# --- one tensor ----------------------------------------------------------------------------------

compute(
    "reciprocal",
    "1 / x, without the input range limits of the activation of that name.",
    lambda types, attrs: check_same_shape("reciprocal", types),
    lambda dst, src, engine: np.reciprocal(widen(src)),
    engines=("vector",),
    arity=(2, 2),
)


def _check_reduce(types: Types, attrs: Attrs) -> None:
    name = "tensor_reduce_arith"
    dst, src = types
    check_choice(name, "op", attrs["op"], REDUCTIONS)
    check_partitions(name, types)
    count = attrs["num_r_dim"]
    if not 1 <= count < src.rank:
        raise InvalidOp(f"{name}: num_r_dim is {count} but {src} has {src.rank - 1} free dimensions")
    kept = src.shape[: src.rank - count]
    if dst.free_size * dst.partition_size != int(np.prod(kept)):
        raise InvalidOp(f"{name}: reducing {count} dimensions of {src} does not give {dst}")


def _tensor_reduce(dst: Array, src: Array, op: str, num_r_dim: int, engine: str) -> Array:
    axes = tuple(range(src.ndim - num_r_dim, src.ndim))
    return REDUCTIONS[op](_f32(src), axis=axes).reshape(dst.shape)


compute(
    "tensor_reduce_arith",
    "Reduce the last num_r_dim free dimensions.",
    _check_reduce,
    _tensor_reduce,
    engines=("vector",),
    arity=(2, 2),
    attrs=(Attr("op", str), Attr("num_r_dim", int, 1)),
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
    lambda dst, src, op, engine: REDUCTIONS[op](_f32(src), axis=0, keepdims=True),
    engines=("gpsimd",),
    arity=(2, 2),
    memory=(ONLY_SBUF,),
    attrs=(Attr("op", str),),
)
