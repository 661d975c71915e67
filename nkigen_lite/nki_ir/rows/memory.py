"""Buffers, views of them, and data movement."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType, parse_dtype
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.rows.table import (
    ANY_TILE,
    DMA_SIDE,
    HBM,
    NKI,
    ONLY_SBUF,
    REG,
    TileOpDef,
    check_memory,
    check_same_shape,
    compute,
)
from nkigen_lite.nki_ir.types import INDEX, ON_CHIP, MemorySpace, Slices, TileType

# --- buffers -------------------------------------------------------------------------------------


def _alloc_attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    shape = tuple(int(n) for n in attrs["shape"])
    memory = MemorySpace(attrs["memory"])
    if memory is REG or any(n <= 0 for n in shape):
        raise InvalidOp(f"alloc: {shape} in {memory} is not a buffer of positive extents")
    if memory in ON_CHIP and len(shape) < 2:
        raise InvalidOp(f"alloc: shape {shape} has rank {len(shape)} but tiles on chip need 2")
    return {**attrs, "shape": shape, "dtype": parse_dtype(attrs["dtype"]), "memory": memory.value}


def _alloc_type(types: Types, attrs: Attrs) -> tuple[TileType]:
    return (TileType(attrs["shape"], attrs["dtype"], MemorySpace(attrs["memory"])),)


NKI.define(
    TileOpDef(
        name="alloc",
        summary="A new buffer; num_buffers copies rotate over loop iterations.",
        arity=(0, 0),
        infer=_alloc_type,
        evaluate=None,
        attrs=(Attr("shape", tuple), Attr("dtype", DType), Attr("memory", str),
               Attr("num_buffers", int, 1)),
        prepare=_alloc_attrs,
        effects=("alloc",),
    )  # fmt: skip
)


def _dealloc(types: Types, attrs: Attrs) -> tuple[Any, ...]:
    check_memory("dealloc", types, (ANY_TILE,))
    return ()


NKI.define(
    TileOpDef(
        name="dealloc",
        summary="The buffer is not used any more.",
        arity=(1, 1),
        infer=_dealloc,
        evaluate=None,
        effects=("free 0",),
        memory=(ANY_TILE,),
    )
)

# --- views ---------------------------------------------------------------------------------------


def view(
    name: str,
    summary: str,
    infer: Any,
    evaluate: Any,
    attrs: tuple[Attr, ...],
    *,
    most: int | None = 1,
) -> None:
    """Define an op whose result is another reading of operand 0's storage."""
    NKI.define(
        TileOpDef(
            name=name,
            summary=summary,
            arity=(1, most),
            infer=infer,
            evaluate=evaluate,
            attrs=attrs,
            memory=(ANY_TILE, frozenset({REG})),
            alias=True,
        )
    )


def _slice_type(types: Types, attrs: Attrs) -> tuple[TileType]:
    base, windows = types[0], attrs["slices"].dims
    check_memory("slice", types, (ANY_TILE, frozenset({REG})))
    if len(windows) != base.rank:
        raise InvalidOp(f"slice: {len(windows)} windows for {base}, which has rank {base.rank}")
    for dim, window in enumerate(windows):
        if any(not 1 <= p < len(types) or types[p] != INDEX for p, _ in window.terms):
            raise InvalidOp(f"slice: window {window} names an operand that is not an index")
        extent = 1 if window.size is None else (window.size - 1) * window.stride + 1
        if extent <= 0 or extent > base.shape[dim] or window.stride < 1:
            raise InvalidOp(
                f"slice: window {window} does not fit dimension {dim} of extent {base.shape[dim]}"
            )
        if dim == 0 and base.memory in ON_CHIP and (window.size is None or window.stride != 1):
            raise InvalidOp(f"slice: window {window}: the partition dimension is kept, with step 1")
    shape = tuple(w.size for w in windows if w.size is not None)
    return (base.with_shape(shape),)


def _slice(base: Array, *indices: int, slices: Slices) -> Array:
    operands = list(indices)
    key: list[Any] = []
    for window in slices.dims:
        start = window.offset(operands)
        if window.size is None:
            key.append(start)
        else:
            key.append(slice(start, start + (window.size - 1) * window.stride + 1, window.stride))
    return base[tuple(key)]


def _reshape_type(types: Types, attrs: Attrs) -> tuple[TileType]:
    base, shape = types[0], attrs["shape"]
    if math.prod(shape) != base.num_elements:
        raise InvalidOp(f"reshape: {base} has {base.num_elements} elements, {shape} has not")
    if base.memory in ON_CHIP and shape[0] != base.shape[0]:
        raise InvalidOp(f"reshape: {base} to {shape} changes the partition dimension")
    return (base.with_shape(shape),)


def _permute_type(types: Types, attrs: Attrs) -> tuple[TileType]:
    base, perm = types[0], attrs["perm"]
    if sorted(perm) != list(range(base.rank)):
        raise InvalidOp(f"permute: {perm} is not a permutation of {base.rank} dimensions")
    if base.memory in ON_CHIP and perm[0] != 0:
        raise InvalidOp(f"permute: {perm} moves the partition dimension of {base}")
    return (base.with_shape(tuple(base.shape[p] for p in perm)),)


def _broadcast_type(types: Types, attrs: Attrs) -> tuple[TileType]:
    base, shape = types[0], attrs["shape"]
    pairs = zip(base.shape, shape, strict=False)
    if len(shape) != base.rank or any(a not in (1, b) for a, b in pairs):
        raise InvalidOp(f"broadcast: {base} does not repeat to {shape}")
    if base.memory in ON_CHIP and shape[0] != base.shape[0]:
        raise InvalidOp(f"broadcast: {base} to {shape}: partitions have no broadcast view on chip")
    return (base.with_shape(shape),)


view(
    "slice",
    "A window of every dimension; offsets are affine in loop indices (operands 1 on).",
    _slice_type,
    _slice,
    (Attr("slices", Slices),),
    most=None,
)
view("reshape", "The whole buffer, row-major, under another shape.", _reshape_type,
     lambda base, shape: base.reshape(shape), (Attr("shape", tuple),))  # fmt: skip
view("permute", "Dimensions in another order.", _permute_type,
     lambda base, perm: base.transpose(perm), (Attr("perm", tuple),))  # fmt: skip
view("broadcast", "Dimensions of extent 1 read again and again (stride 0).", _broadcast_type,
     lambda base, shape: np.broadcast_to(base, shape), (Attr("shape", tuple),))  # fmt: skip

# --- movement ------------------------------------------------------------------------------------


def _check_dma(types: Types, attrs: Attrs) -> None:
    dst, src = types
    if dst.shape != src.shape or dst.dtype != src.dtype:
        raise InvalidOp(f"dma_copy: {src} to {dst}: shapes and dtypes must be equal")
    if HBM not in (dst.memory, src.memory):
        raise InvalidOp("dma_copy: neither side is in hbm")


compute(
    "dma_copy",
    "Copy between HBM and SBUF (or within HBM), any strides.",
    _check_dma,
    lambda dst, src, engine: src,
    engines=("dma",),
    arity=(2, 2),
    memory=(DMA_SIDE,),
)


def _check_memset(types: Types, attrs: Attrs) -> None:
    if types[0].dtype.is_float != isinstance(attrs["value"], float):
        raise InvalidOp(
            f"memset: value {attrs['value']!r} does not fit dtype {types[0].dtype}: "
            "floats for float types, ints for the others"
        )


def _memset_attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    kind = float if types[0].dtype.is_float else int
    return {**attrs, "value": kind(attrs["value"])}


compute(
    "memset",
    "One value in every element.",
    _check_memset,
    lambda dst, value, engine: np.broadcast_to(np.asarray(value), dst.shape),
    engines=("vector", "gpsimd"),
    arity=(1, 1),
    attrs=(Attr("value", (int, float)),),
    prepare=_memset_attrs,
)


def _check_iota(types: Types, attrs: Attrs) -> None:
    counts = tuple(n for _, n in attrs["pattern"])
    if math.prod(counts) != types[0].free_size or len(counts) > 4:
        raise InvalidOp(
            f"iota: pattern counts {counts} must multiply to {types[0].free_size} in at most 4 steps"
        )


def _iota(
    dst: Array, pattern: tuple[tuple[int, int], ...], offset: int, channel_multiplier: int, engine: str
) -> Array:
    rows = np.arange(dst.shape[0], dtype=np.int64) * channel_multiplier + offset
    free = np.zeros((1,), dtype=np.int64)
    for step, count in pattern:
        free = (free[:, None] + np.arange(count, dtype=np.int64) * step).reshape(-1)
    return (rows[:, None] + free[None, :]).reshape(dst.shape)


compute(
    "iota",
    "offset + partition * channel_multiplier + sum of step * index over the free pattern.",
    _check_iota,
    _iota,
    engines=("gpsimd",),
    arity=(1, 1),
    memory=(ONLY_SBUF,),
    attrs=(Attr("pattern", tuple), Attr("offset", int, 0), Attr("channel_multiplier", int, 0)),
)

compute(
    "tensor_copy",
    "Copy on chip, converting the type.",
    lambda types, attrs: check_same_shape("tensor_copy", types),
    lambda dst, src, engine: src,
    engines=("vector", "scalar", "gpsimd"),
    arity=(2, 2),
)


def _check_predicated(types: Types, attrs: Attrs) -> None:
    dst, predicate, src = types
    check_same_shape("copy_predicated", types)
    if predicate.dtype not in (DType.U8, DType.U16, DType.U32, DType.BOOL):
        raise InvalidOp(
            f"copy_predicated: predicate dtype is {predicate.dtype} but must be u8, u16, u32 or bool"
        )
    if src.dtype != dst.dtype:
        raise InvalidOp(f"copy_predicated: source is {src.dtype} but the destination {dst.dtype}")


compute(
    "copy_predicated",
    "Overwrite the destination where the predicate is not zero.",
    _check_predicated,
    lambda dst, predicate, src, engine: np.where(predicate != 0, src, dst),
    engines=("vector",),
    arity=(3, 3),
    effects=("write 0", "read 0"),
)
