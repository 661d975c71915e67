"""What the Tensor engine (the PE array) does: matrix products and transposes."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.ir import Op
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb
from nkigen_lite.nki_ir.emit.calls import Spelling, flat_operand, nisa, on_engine, operand
from nkigen_lite.nki_ir.emit.text import Expr
from nkigen_lite.nki_ir.rows.table import (
    ONLY_PSUM,
    ONLY_REG,
    ONLY_SBUF,
    check_choice,
    compute,
)
from nkigen_lite.nki_ir.types import INDEX, ON_CHIP

# Documented limits of every generation up to trn2 (aws-neuron-sdk trainium2_arch.rst, nki.isa
# nc_matmul): they are part of what the instruction is, so they stand beside it.
CONTRACTION_MAX = 128
STATIONARY_FREE_MAX = 128
MOVING_FREE_MAX = 512
MULTIPLIES = frozenset(
    {
        DType.F32,
        DType.TF32,
        DType.BF16,
        DType.F16,
        DType.FP8_E4M3,
        DType.FP8_E4M3_IEEE,
        DType.FP8_E5M2,
        DType.FP8_E3M4,
    }
)


def _check_matmul(types: Types, attrs: Attrs) -> None:
    dst, stationary, moving = types[:3]
    _check_dtypes(dst.dtype, stationary.dtype, moving.dtype)
    if any(t != INDEX for t in types[3:]):
        raise InvalidOp("matmul: operands after moving must be loop indices")
    if stationary.partition_size != moving.partition_size:
        raise InvalidOp(
            f"matmul: contraction is {stationary.partition_size} partitions of stationary but "
            f"{moving.partition_size} of moving"
        )
    limits = (
        ("contraction", stationary.partition_size, CONTRACTION_MAX),
        ("stationary free size", stationary.free_size, STATIONARY_FREE_MAX),
        ("moving free size", moving.free_size, MOVING_FREE_MAX),
    )
    for what, size, most in limits:
        if size > most:
            raise InvalidOp(f"matmul: {what} is {size} but at most {most}")
    if dst.partition_size != stationary.free_size or dst.free_size != moving.free_size:
        raise InvalidOp(
            f"matmul: {stationary}.T @ {moving} has {stationary.free_size} rows of "
            f"{moving.free_size}, which {dst} has not"
        )


def _check_dtypes(dst: DType, stationary: DType, moving: DType) -> None:
    if dst is not DType.F32:
        raise InvalidOp(f"matmul: destination dtype is {dst} but accumulation is f32")
    for dtype in (stationary, moving):
        if dtype not in MULTIPLIES:
            raise InvalidOp(f"matmul: dtype {dtype} is not one that the PE array multiplies")
    wide = {DType.F32, DType.TF32}
    if (stationary in wide or moving in wide) and stationary != moving:
        raise InvalidOp(
            f"matmul: {stationary} and {moving}: f32 and tf32 pair only with themselves"
        )
    if {stationary, moving} == {DType.FP8_E4M3, DType.FP8_E4M3_IEEE}:
        raise InvalidOp(f"matmul: {stationary} and {moving}: the two fp8_e4m3 forms do not mix")


def _matmul(
    dst: Array, stationary: Array, moving: Array, *indices: int, accumulate: bool, engine: str
) -> Array:
    k = stationary.shape[0]
    left = stationary.reshape(k, -1).astype(np.float32, copy=False)
    right = moving.reshape(k, -1).astype(np.float32, copy=False)
    product = (left.T @ right).reshape(dst.shape)
    adds = any(indices) if indices else accumulate
    return dst + product if adds else product


def _accumulate(op: Op, spelling: Spelling) -> Expr:
    indices = [spelling.value(v) for v in op.inputs[3:]]
    if not indices:
        return Expr(str(op.attrs["accumulate"]))
    return Expr(f"({' or '.join(f'{index} > 0' for index in indices)})")


compute(
    "matmul",
    "dst (+)= stationary.T @ moving. It adds if accumulate is set; with index operands, whenever "
    "one of them is not zero.",
    _check_matmul,
    _matmul,
    engines=("tensor",),
    arity=(3, None),
    memory=(ONLY_PSUM, ONLY_SBUF, ONLY_SBUF, ONLY_REG),
    attrs=(Attr("accumulate", bool, False),),
    effects=("write 0", "read 0"),
    nki=nisa(
        "nc_matmul",
        dst=flat_operand(0),
        stationary=flat_operand(1),
        moving=flat_operand(2),
        accumulate=_accumulate,
    ),
    kb=kb.kb(
        "matmul",
        dst=kb.flat(0),
        stationary=kb.flat(1),
        moving=kb.flat(2),
        accum=kb.accumulates,
    ),
)


def _check_transpose(types: Types, attrs: Attrs) -> None:
    dst, src = types
    check_choice("nc_transpose", "engine", attrs["engine"], ("tensor", "vector"))
    if dst.shape != (src.free_size, src.partition_size) or dst.dtype != src.dtype:
        raise InvalidOp(f"nc_transpose: {src} does not transpose into {dst}")
    most = 128 if attrs["engine"] == "tensor" else 32
    if src.free_size > most or src.partition_size > most:
        raise InvalidOp(f"nc_transpose: {src} is larger than {most} x {most}")
    if attrs["engine"] == "tensor" and (dst.memory.value, src.memory.value) != ("psum", "sbuf"):
        raise InvalidOp(
            f"nc_transpose: the PE array reads sbuf and writes psum, not {src} to {dst}"
        )


def _transpose(dst: Array, src: Array, engine: Any) -> Array:
    return src.reshape(src.shape[0], -1).T


compute(
    "nc_transpose",
    "Partitions become the free dimension and the other way round.",
    _check_transpose,
    _transpose,
    engines=("tensor", "vector"),
    arity=(2, 2),
    memory=(ON_CHIP,),
    nki=nisa("nc_transpose", dst=operand(0), data=flat_operand(1), engine=on_engine()),
    kb=kb.transpose,
)
