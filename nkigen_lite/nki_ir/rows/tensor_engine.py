"""What the Tensor engine (the PE array) does: matrix products and transposes."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.ir import Op
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb
from nkigen_lite.nki_ir.emit.calls import (
    Argument,
    Spelling,
    flat_operand,
    nisa,
    on_engine,
    operand,
)
from nkigen_lite.nki_ir.emit.text import Expr, shape_text
from nkigen_lite.nki_ir.rows.table import (
    ONLY_PSUM,
    ONLY_REG,
    ONLY_SBUF,
    TRN1,
    TRN2,
    TRN3,
    check_choice,
    compute,
)
from nkigen_lite.nki_ir.types import INDEX, ON_CHIP

# Documented limits of every generation up to trn2 (aws-neuron-sdk trainium2_arch.rst, nki.isa
# nc_matmul): they are part of what the instruction is, so they stand beside it.
CONTRACTION_MAX = 128
STATIONARY_FREE_MAX = 128
MOVING_FREE_MAX = 512
_ARRAY_TILES = (32, 64, 128)
_DOUBLED = (DType.FP8_E4M3_IEEE, DType.FP8_E5M2, DType.FP8_E4M3)
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
    _check_double_row(types, attrs)
    rows, columns = _check_array_tile(attrs)
    if any(t != INDEX for t in types[3:]):
        raise InvalidOp("matmul: operands after moving must be loop indices")
    if stationary.partition_size != moving.partition_size:
        raise InvalidOp(
            f"matmul: contraction is {stationary.partition_size} partitions of stationary but "
            f"{moving.partition_size} of moving"
        )
    pairs = _pairs(attrs)
    weights, moved = stationary.free_size // pairs, moving.free_size // pairs
    limits = (
        ("contraction", stationary.partition_size, rows),
        ("stationary free size", weights, columns),
        ("moving free size", moved, MOVING_FREE_MAX),
    )
    for what, size, most in limits:
        if size > most:
            raise InvalidOp(f"matmul: {what} is {size} but at most {most}")
    if dst.partition_size != weights or dst.free_size != moved:
        raise InvalidOp(
            f"matmul: {stationary}.T @ {moving} has {weights} rows of {moved}, which {dst} has not"
        )


def _pairs(attrs: Attrs) -> int:
    """Rows of the contraction that a partition holds: two if ``perf_mode`` is double_row."""
    return 2 if attrs["perf_mode"] == "double_row" else 1


def _check_double_row(types: Types, attrs: Attrs) -> None:
    check_choice("matmul", "perf_mode", attrs["perf_mode"], ("none", "double_row"))
    if attrs["perf_mode"] == "none":
        return
    for kind in types[1:3]:
        if kind.dtype not in _DOUBLED or kind.rank != 3 or kind.shape[1] != 2:
            raise InvalidOp(
                f"matmul: {kind} is read two rows at a time but must be (partitions, 2, n) of "
                f"{', '.join(_DOUBLED)}"
            )
    if attrs["tile_size"] and attrs["tile_size"][1] != STATIONARY_FREE_MAX:
        raise InvalidOp("matmul: double_row does not go with tiles of fewer columns")


def _check_array_tile(attrs: Attrs) -> tuple[int, int]:
    """Rows and columns of the part of the PE array that the matmul uses."""
    position, size = attrs["tile_position"], attrs["tile_size"]
    if not position and not size:
        return CONTRACTION_MAX, STATIONARY_FREE_MAX
    if len(position) != 2 or len(size) != 2:
        raise InvalidOp(f"matmul: tile_position is {position} and tile_size {size} but both must "
                        "be (rows, columns), or neither")  # fmt: skip
    for start, extent in zip(position, size, strict=True):
        if extent not in _ARRAY_TILES or start not in range(0, CONTRACTION_MAX, extent):
            raise InvalidOp(
                f"matmul: tile_position is {position} and tile_size {size} but sizes must be 32, "
                "64 or 128, and positions multiples of them below 128"
            )
    rows, columns = size
    return rows, columns


def _version(op: Op) -> int:
    """Tiles of 32 rows or columns and double rows came with trn2.

    The nki.isa reference takes the OCP fp8 (fp8_e4m3) from trn3 on only, but nkipy's Kernel
    Builder multiplies it on trn2 too: plain products are not refused, double rows are.
    """
    if op.attrs["perf_mode"] != "none":
        ocp = any(v.type.dtype is DType.FP8_E4M3 for v in op.inputs[1:3])
        return TRN3 if ocp else TRN2
    return TRN2 if 32 in op.attrs["tile_size"] else TRN1


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
    dst: Array,
    stationary: Array,
    moving: Array,
    *indices: int,
    accumulate: bool,
    perf_mode: str,
    **where: Any,
) -> Array:
    k = stationary.shape[0] * (2 if perf_mode == "double_row" else 1)
    # Strides choose the order in which BLAS adds: without them equal operands give equal bits.
    left, right = (np.ascontiguousarray(x.reshape(k, -1), np.float32) for x in (stationary, moving))
    product = (left.T @ right).reshape(dst.shape)
    adds = any(indices) if indices else accumulate
    return dst + product if adds else product


def _accumulate(op: Op, spelling: Spelling) -> Expr:
    indices = [spelling.value(v) for v in op.inputs[3:]]
    if not indices:
        return Expr(str(op.attrs["accumulate"]))
    return Expr(f"({' or '.join(f'{index} > 0' for index in indices)})")


def _multiplied(position: int) -> Argument:
    flat, paired = flat_operand(position), operand(position)
    return lambda op, spelling: (flat if _pairs(op.attrs) == 1 else paired)(op, spelling)


def _array_tile(attr: str) -> Argument:
    return lambda op, spelling: Expr(shape_text(op.attrs[attr])) if op.attrs[attr] else None


def _perf_mode(op: Op, spelling: Spelling) -> Expr | None:
    mode = op.attrs["perf_mode"]
    return None if mode == "none" else Expr(f"nisa.matmul_perf_mode.{mode}")


def _matmul_size(op: Op) -> dict[str, int]:
    stationary, moving = (v.type for v in op.inputs[1:3])
    return {
        "rows": stationary.partition_size,
        "elems": moving.free_size // _pairs(op.attrs),
        "columns": stationary.free_size // _pairs(op.attrs),
    }


compute(
    "matmul",
    "dst (+)= stationary.T @ moving. It adds if accumulate is set; with index operands, whenever "
    "one of them is not zero.",
    _check_matmul,
    _matmul,
    engines=("tensor",),
    arity=(3, None),
    memory=(ONLY_PSUM, ONLY_SBUF, ONLY_SBUF, ONLY_REG),
    attrs=(
        Attr("accumulate", bool, False),
        Attr("perf_mode", str, "none", "double_row: two rows of the contraction per partition"),
        Attr("tile_position", tuple, (), "first row and column of the PE array"),
        Attr("tile_size", tuple, (), "rows and columns of the PE array; by default all"),
    ),
    effects=("write 0", "read 0"),
    charge=_matmul_size,
    version=_version,
    nki=nisa(
        "nc_matmul",
        dst=flat_operand(0),
        stationary=_multiplied(1),
        moving=_multiplied(2),
        accumulate=_accumulate,
        tile_position=_array_tile("tile_position"),
        tile_size=_array_tile("tile_size"),
        perf_mode=_perf_mode,
    ),
    kb=kb.only(
        kb.kb(
            "matmul",
            dst=kb.flat(0),
            stationary=kb.flat(1),
            moving=kb.flat(2),
            accum=kb.accumulates,
        ),
        perf_mode="none",
        tile_position=(),
        tile_size=(),
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


def _rows_that_move(op: Op) -> dict[str, int]:
    through_array = op.attrs["engine"] == "tensor"
    return {"elems": op.inputs[1].type.partition_size} if through_array else {}


compute(
    "nc_transpose",
    "Partitions become the free dimension and the other way round.",
    _check_transpose,
    _transpose,
    engines=("tensor", "vector"),
    arity=(2, 2),
    memory=(ON_CHIP,),
    charge=_rows_that_move,
    nki=nisa("nc_transpose", dst=operand(0), data=flat_operand(1), engine=on_engine()),
    kb=kb.transpose,
)
