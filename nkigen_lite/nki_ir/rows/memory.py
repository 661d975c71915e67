"""Buffers and data movement."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType, parse_dtype
from nkigen_lite.core.ir import Op
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb, kb_selects
from nkigen_lite.nki_ir.emit.calls import (
    Spelling,
    dma_side,
    flag,
    literal,
    nisa,
    on_engine,
    operand,
    steps,
)
from nkigen_lite.nki_ir.emit.text import Expr, number_text
from nkigen_lite.nki_ir.rows.patterns import affine_values, check_pattern
from nkigen_lite.nki_ir.rows.pointers import f32
from nkigen_lite.nki_ir.rows.table import (
    ANY_TILE,
    DMA_SIDE,
    HBM,
    NKI,
    ONLY_SBUF,
    REG,
    TRN1,
    TRN2,
    TileOpDef,
    check_memory,
    check_one_psum,
    check_same_shape,
    compute,
)
from nkigen_lite.nki_ir.types import ON_CHIP, MemorySpace, TileType

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
        attrs=(
            Attr("shape", tuple),
            Attr("dtype", DType),
            Attr("memory", str),
            Attr("num_buffers", int, 1),
        ),
        prepare=_alloc_attrs,
        effects=("alloc",),
    )
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

# --- movement ------------------------------------------------------------------------------------


def _check_dma(types: Types, attrs: Attrs) -> None:
    dst, src = types
    if dst.shape != src.shape:
        raise InvalidOp(f"dma_copy: {src} to {dst}: shapes must be equal")
    if dst.dtype != src.dtype and attrs["engine"] in ("sync", "scalar"):
        raise InvalidOp(
            f"dma_copy: {src} to {dst}: the descriptors that {attrs['engine']} triggers do not "
            "convert; leave the engine open or take gpsimd"
        )
    if HBM not in (dst.memory, src.memory):
        raise InvalidOp("dma_copy: neither side is in hbm")


def _converts(op: Op) -> bool:
    dst, src = op.inputs
    return bool(dst.type.dtype != src.type.dtype)


def _dge_mode(op: Op, spelling: Spelling) -> Expr | None:
    modes = {"sync": "hwdge", "scalar": "hwdge", "gpsimd": "swdge"}
    mode = modes.get(op.attrs["engine"])
    return Expr(f"nisa.dge_mode.{mode}") if mode else None


def _dma_trigger(op: Op, spelling: Spelling) -> Expr | None:
    # NKI takes an engine with hardware descriptors only; software ones are made by GpSimd.
    return on_engine()(op, spelling) if op.attrs["engine"] in ("sync", "scalar") else None


compute(
    "dma_copy",
    "Copy between HBM and SBUF (or within HBM), any strides, converting the type through f32. The "
    "engine is who triggers it; dma leaves that open: loads are then triggered by sync, stores by "
    "scalar, and what converts by gpsimd.",
    _check_dma,
    lambda dst, src, engine: src if dst.dtype == src.dtype else f32(src),
    engines=("dma", "sync", "scalar", "gpsimd"),
    arity=(2, 2),
    memory=(DMA_SIDE,),
    charge=lambda op: {"cast": True} if _converts(op) else {},
    nki=nisa("dma_copy", dst=dma_side(0), src=dma_side(1), dge_mode=_dge_mode, engine=_dma_trigger),
    kb=kb.kb("dma_copy", dst=kb.dma(0), src=kb.dma(1)),
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


def _memset_number(op: Op) -> float:
    value: float = op.attrs["value"]
    return int(value != 0) if op.inputs[0].type.dtype is DType.BOOL else value


compute(
    "memset",
    "One value in every element.",
    _check_memset,
    lambda dst, value, engine: np.broadcast_to(np.asarray(value), dst.shape),
    engines=("vector", "gpsimd"),
    arity=(1, 1),
    attrs=(Attr("value", (int, float)),),
    prepare=_memset_attrs,
    charge=lambda op: {"function": "zero"} if op.attrs["value"] == 0 else {},
    nki=nisa(
        "memset",
        dst=operand(0),
        value=lambda op, spelling: Expr(number_text(_memset_number(op))),
        engine=on_engine(),
    ),
    kb=kb.kb("memset", dst=kb.tile(0), value=lambda op, tracing: _memset_number(op)),
)


compute(
    "iota",
    "offset + partition * channel_multiplier + sum of step * index over the free pattern.",
    lambda types, attrs: check_pattern("iota", types[0], attrs["pattern"]),
    lambda dst, engine, **affine: affine_values(dst.shape, **affine),
    engines=("gpsimd",),
    arity=(1, 1),
    memory=(ONLY_SBUF,),
    attrs=(Attr("pattern", tuple), Attr("offset", int, 0), Attr("channel_multiplier", int, 0)),
    nki=nisa(
        "iota",
        bools=lambda op: False,
        dst=operand(0),
        pattern=steps("pattern"),
        offset=literal("offset", omit=0),
        channel_multiplier=literal("channel_multiplier", omit=0),
    ),
    kb=kb.kb(
        "iota",
        dst=kb.tile(0),
        pattern=lambda op, tracing: [list(step) for step in op.attrs["pattern"]],
        offset=kb.attribute("offset"),
        channel_multiplier=kb.attribute("channel_multiplier"),
    ),
)


def _tensor_copy(dst: Array, src: Array, engine: str) -> Array:
    # ScalarE always, and the others when the type changes, go through float32.
    exact = dst.dtype == src.dtype and engine != "scalar"
    return src if exact else src.astype(np.float32)


_COPY = nisa("tensor_copy", dst=operand(0), src=operand(1), engine=on_engine())
# Bool is uint8 in NKI, where a copy would keep numbers other than 0 and 1.
_COPY_TRUTH = nisa(
    "tensor_scalar",
    bools=lambda op: True,
    dst=operand(0),
    data=operand(1),
    op0=lambda op, spelling: Expr("nl.not_equal"),
    operand0=lambda op, spelling: Expr("0.0"),
    engine=on_engine("vector"),
)


def _spell_copy(op: Op, spelling: Spelling) -> Expr:
    dst, src = (v.type.dtype for v in op.inputs)
    template = _COPY_TRUTH if dst is DType.BOOL and src is not DType.BOOL else _COPY
    return template(op, spelling)


compute(
    "tensor_copy",
    "Copy on chip, converting the type.",
    lambda types, attrs: check_same_shape("tensor_copy", types),
    _tensor_copy,
    engines=("vector", "scalar", "gpsimd"),
    arity=(2, 2),
    version=lambda op: TRN2 if op.attrs["engine"] == "scalar" else TRN1,
    nki=_spell_copy,
    kb=kb.copy,
)


def _check_predicated(types: Types, attrs: Attrs) -> None:
    dst, predicate, *sources = types
    check_same_shape("copy_predicated", types)
    if len(sources) + (attrs["imm"] is not None) != 1:
        raise InvalidOp(
            f"copy_predicated: {len(sources)} sources and the immediate {attrs['imm']} but must be "
            "one of the two"
        )
    if predicate.dtype not in (DType.U8, DType.U16, DType.U32, DType.BOOL):
        raise InvalidOp(
            f"copy_predicated: predicate dtype is {predicate.dtype} but must be u8, u16, u32 or "
            "bool"
        )
    for src in sources:
        if src.dtype != dst.dtype:
            raise InvalidOp(
                f"copy_predicated: source is {src.dtype} but the destination {dst.dtype}"
            )
    check_one_psum("copy_predicated", types[1:])


def _copy_predicated(
    dst: Array, predicate: Array, *src: Array, imm: float | None, reverse: bool, engine: str
) -> Array:
    return np.where((predicate != 0) != reverse, src[0] if src else np.asarray(imm), dst)


def _predicated_source(op: Op, spelling: Spelling) -> Expr:
    imm = op.attrs["imm"]
    return spelling.value(op.inputs[2]) if imm is None else Expr(number_text(imm))


compute(
    "copy_predicated",
    "Overwrite the destination where the predicate is not zero (with reverse: is zero), with the "
    "third operand or a number.",
    _check_predicated,
    _copy_predicated,
    engines=("vector",),
    arity=(2, 3),
    attrs=(Attr("imm", (int, float), None), Attr("reverse", bool, False)),
    effects=("write 0", "read 0"),
    nki=nisa(
        "tensor_copy_predicated",
        bools=lambda op: True,
        dst=operand(0),
        src=_predicated_source,
        predicate=operand(1),
        reverse_pred=flag("reverse"),
    ),
    kb=kb_selects.copy_predicated,
)
