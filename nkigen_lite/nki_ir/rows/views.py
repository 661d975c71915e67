"""Views: other readings of a buffer's storage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit.calls import (
    Template,
)
from nkigen_lite.nki_ir.emit.views import broadcast_text, permute_text, reshape_text, slice_text
from nkigen_lite.nki_ir.rows.table import (
    ANY_TILE,
    NKI,
    REG,
    TileOpDef,
    check_memory,
)
from nkigen_lite.nki_ir.types import INDEX, ON_CHIP, Slices, TileType


def view(
    name: str,
    summary: str,
    infer: Any,
    evaluate: Any,
    attrs: tuple[Attr, ...],
    nki: Template,
    *,
    most: int | None = 1,
    prepare: Any = None,
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
            prepare=prepare,
            memory=(ANY_TILE, frozenset({REG})),
            alias=True,
            nki=nki,
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
    # The ellipsis keeps an array, hence a view, where every dimension is indexed.
    view: Array = base[(*key, ...)]
    return view


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


def _broadcast_attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    dims = attrs["dims"]
    return {**attrs, "dims": tuple(range(types[0].rank)) if dims is None else dims}


def _broadcast_type(types: Types, attrs: Attrs) -> tuple[TileType]:
    base, shape, dims = types[0], attrs["shape"], attrs["dims"]
    fits = len(dims) == base.rank and list(dims) == sorted(set(dims))
    if not fits or any(not 0 <= d < len(shape) for d in dims):
        raise InvalidOp(f"broadcast: dims {dims} do not place {base} in {shape}")
    if any(n not in (1, shape[d]) for n, d in zip(base.shape, dims, strict=True)):
        raise InvalidOp(f"broadcast: {base} does not repeat to {shape}")
    if base.memory in ON_CHIP and (shape[0] != base.shape[0] or dims[0] != 0):
        raise InvalidOp(f"broadcast: {base} to {shape}: partitions have no broadcast view on chip")
    return (base.with_shape(shape),)


def _broadcast(base: Array, shape: tuple[int, ...], dims: tuple[int, ...]) -> Array:
    expanded = [slice(None) if d in dims else None for d in range(len(shape))]
    expanded_base = base[tuple(expanded)]
    # numpy's broadcast_to is read-only; a view that repeats nothing may still be written.
    return expanded_base if expanded_base.shape == shape else np.broadcast_to(expanded_base, shape)


view(
    "slice",
    "A window of every dimension; offsets are affine in loop indices (operands 1 on).",
    _slice_type,
    _slice,
    (Attr("slices", Slices),),
    slice_text,
    most=None,
)
view("reshape", "The whole buffer, row-major, under another shape.", _reshape_type,
     lambda base, shape: base.reshape(shape), (Attr("shape", tuple),),
     reshape_text)  # fmt: skip
view("permute", "Dimensions in another order.", _permute_type,
     lambda base, perm: base.transpose(perm), (Attr("perm", tuple),),
     permute_text)  # fmt: skip
view(
    "broadcast",
    "Repeated reading (stride 0): dimension i of the base becomes dimension dims[i]; the others "
    "are new, and dimensions of extent 1 repeat too.",
    _broadcast_type,
    _broadcast,
    (Attr("shape", tuple), Attr("dims", tuple, None)),
    broadcast_text,
    prepare=_broadcast_attrs,
)
