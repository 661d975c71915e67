"""Ops that move or rename elements and compute nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.registry import Attr, Attrs, OpDef, Regroup, Space, Types, Window
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir.rows.table import (
    TENSOR,
    aligned,
    axis_name,
    check_shape,
    normal_axis,
    same_dtype,
)
from nkigen_lite.tensor_ir.types import TensorType


def _names(shape: tuple[int, ...]) -> tuple[str | None, ...]:
    return tuple(axis_name(i) if n != 1 else None for i, n in enumerate(shape))


def _extents(shape: tuple[int, ...]) -> dict[str, int]:
    return {axis_name(i): n for i, n in enumerate(shape) if n != 1}


def _ints(name: str, what: str, given: Any) -> tuple[int, ...]:
    items = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in items):
        raise InvalidOp(f"{name}: {what} {given!r} must hold ints")
    return tuple(int(i) for i in items)


# --- transpose -----------------------------------------------------------------------------------


def _perm(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    rank = types[0].rank
    given = _ints("transpose", "perm", attrs["perm"])
    perm = tuple(normal_axis("transpose", p, rank) for p in given)
    if sorted(perm) != list(range(rank)):
        raise InvalidOp(f"transpose: invalid perm {given} for rank {rank}")
    return {"perm": perm}


def _transpose_types(types: Types, attrs: Attrs) -> tuple[TensorType]:
    source = types[0]
    return (TensorType(tuple(source.shape[p] for p in attrs["perm"]), source.dtype),)


def _transpose_space(types: Types, results: Types, attrs: Attrs) -> Space:
    names = _names(types[0].shape)
    return Space((names,), (tuple(names[p] for p in attrs["perm"]),), _extents(types[0].shape))


TENSOR.define(
    OpDef(
        name="transpose",
        summary="Dimensions in another order.",
        arity=(1, 1),
        infer=_transpose_types,
        evaluate=lambda x, perm: np.transpose(x, perm),
        attrs=(Attr("perm", tuple),),
        prepare=_perm,
        space=_transpose_space,
    )
)

# --- reshape -------------------------------------------------------------------------------------


def _reshape_attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    shape = check_shape("reshape", _ints("reshape", "shape", attrs["shape"]))
    if math.prod(shape) != types[0].num_elements:
        raise InvalidOp(
            f"reshape: size mismatch: {types[0]} has {types[0].num_elements} elements "
            f"but {shape} has {math.prod(shape)}"
        )
    return {"shape": shape}


TENSOR.define(
    OpDef(
        name="reshape",
        summary="The same elements in row-major order under another shape.",
        arity=(1, 1),
        infer=lambda types, attrs: (TensorType(attrs["shape"], types[0].dtype),),
        evaluate=lambda x, shape: np.reshape(x, shape),
        attrs=(Attr("shape", tuple),),
        prepare=_reshape_attrs,
        space=lambda types, results, attrs: Space((), (), {}, (Regroup(),)),
    )
)

# --- broadcast_to --------------------------------------------------------------------------------


def _broadcast_attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    shape = check_shape("broadcast_to", _ints("broadcast_to", "shape", attrs["shape"]))
    source = types[0].shape
    tail = shape[len(shape) - len(source) :] if len(source) <= len(shape) else ()
    if len(tail) != len(source) or any(s not in (1, n) for s, n in zip(source, tail, strict=True)):
        raise InvalidOp(f"broadcast_to: shape {source} is not broadcastable to {shape}")
    return {"shape": shape}


def _broadcast_space(types: Types, results: Types, attrs: Attrs) -> Space:
    out = attrs["shape"]
    return Space((aligned(types[0].shape, out),), (_names(out),), _extents(out))


TENSOR.define(
    OpDef(
        name="broadcast_to",
        summary="Repeat along dimensions of extent 1 and along new leading dimensions.",
        arity=(1, 1),
        infer=lambda types, attrs: (TensorType(attrs["shape"], types[0].dtype),),
        evaluate=lambda x, shape: np.broadcast_to(x, shape),
        attrs=(Attr("shape", tuple),),
        prepare=_broadcast_attrs,
        space=_broadcast_space,
    )
)

# --- slice ---------------------------------------------------------------------------------------


def _slice_attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    shape = types[0].shape
    starts = _ints("slice", "starts", attrs["starts"])
    stops = _ints("slice", "stops", attrs["stops"])
    given = attrs["strides"]
    strides = (1,) * len(starts) if given is None else _ints("slice", "strides", given)
    if not len(starts) == len(stops) == len(strides) == len(shape):
        raise InvalidOp(
            f"slice: starts, stops and strides have {len(starts)}, {len(stops)} and "
            f"{len(strides)} entries but the operand has rank {len(shape)}"
        )
    for i, (start, stop, step) in enumerate(zip(starts, stops, strides, strict=True)):
        if step <= 0:
            raise InvalidOp(f"slice: stride {step} of dimension {i} must be positive")
        if not 0 <= start < stop <= shape[i]:
            raise InvalidOp(
                f"slice: dimension {i} takes [{start}:{stop}] of extent {shape[i]}; "
                "bounds must lie inside and leave at least one element"
            )
    return {"starts": starts, "stops": stops, "strides": strides}


def _slice_types(types: Types, attrs: Attrs) -> tuple[TensorType]:
    bounds = zip(attrs["starts"], attrs["stops"], attrs["strides"], strict=True)
    return (TensorType(tuple(-(-(b - a) // s) for a, b, s in bounds), types[0].dtype),)


def _slice_space(types: Types, results: Types, attrs: Attrs) -> Space:
    source, out = types[0].shape, results[0].shape
    whole = [source[i] == out[i] for i in range(len(out))]
    names = tuple(axis_name(i) if whole[i] and out[i] != 1 else None for i in range(len(out)))
    links = tuple(
        Window(("in", 0, i), ("out", 0, i), attrs["starts"][i], attrs["strides"][i])
        for i in range(len(out))
        if not whole[i]
    )
    return Space(
        (names,), (names,), {axis_name(i): out[i] for i, n in enumerate(names) if n}, links
    )


def _slice(
    x: Array, starts: tuple[int, ...], stops: tuple[int, ...], strides: tuple[int, ...]
) -> Array:
    return x[tuple(map(slice, starts, stops, strides))]


TENSOR.define(
    OpDef(
        name="slice",
        summary="A strided window of every dimension; strides are positive.",
        arity=(1, 1),
        infer=_slice_types,
        evaluate=_slice,
        attrs=(Attr("starts", tuple), Attr("stops", tuple), Attr("strides", tuple, None)),
        prepare=_slice_attrs,
        space=_slice_space,
    )
)

# --- concat --------------------------------------------------------------------------------------


def _concat_attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    first = types[0]
    axis = normal_axis("concat", attrs["axis"], first.rank) if first.rank else -1
    if axis < 0:
        raise InvalidOp("concat: operands have rank 0 but need rank 1 or more")
    for other in types[1:]:
        if other.rank != first.rank:
            raise InvalidOp(f"concat: rank mismatch: {first} and {other}")
        for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)):
            if a != b and i != axis:
                raise InvalidOp(
                    f"concat: shape mismatch in dimension {i}: {first} and {other} "
                    f"may differ only in dimension {axis}"
                )
    return {"axis": axis}


def _concat_types(types: Types, attrs: Attrs) -> tuple[TensorType]:
    dtype = same_dtype("concat", types)
    shape = list(types[0].shape)
    shape[attrs["axis"]] = sum(t.shape[attrs["axis"]] for t in types)
    return (TensorType(tuple(shape), dtype),)


def _concat_space(types: Types, results: Types, attrs: Attrs) -> Space:
    out, axis = results[0].shape, attrs["axis"]
    names = tuple(axis_name(i) if n != 1 and i != axis else None for i, n in enumerate(out))
    links, start = [], 0
    for k, t in enumerate(types):
        links.append(Window(("out", 0, axis), ("in", k, axis), start, 1))
        start += t.shape[axis]
    extents = {axis_name(i): out[i] for i, n in enumerate(names) if n}
    return Space((names,) * len(types), (names,), extents, tuple(links))


TENSOR.define(
    OpDef(
        name="concat",
        summary="Operands one after the other along one dimension.",
        arity=(2, None),
        infer=_concat_types,
        evaluate=lambda *arrays, axis: np.concatenate(arrays, axis=axis),
        attrs=(Attr("axis", int),),
        prepare=_concat_attrs,
        space=_concat_space,
    )
)
