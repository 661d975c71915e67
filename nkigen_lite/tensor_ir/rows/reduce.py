"""Reductions over any dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, compute_in_f32
from nkigen_lite.core.registry import Attr, Attrs, OpDef, Space, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir.rows.table import TENSOR, axis_name, check_dtype, normal_axis
from nkigen_lite.tensor_ir.types import TensorType

KINDS: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "max": np.max,
    "min": np.min,
    "mean": np.mean,
}


def _attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    rank = types[0].rank
    if rank == 0:
        raise InvalidOp("reduce: operand has rank 0 but a reduction needs rank 1 or more")
    if attrs["kind"] not in list(KINDS):
        raise InvalidOp(f"reduce: kind is {attrs['kind']!r} but must be one of {', '.join(KINDS)}")
    given = attrs["axis"]
    axes = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    normal = tuple(sorted(normal_axis("reduce", a, rank) for a in axes))
    if len(set(normal)) != len(normal) or not normal:
        raise InvalidOp(f"reduce: axis {given!r} must name one or more different dimensions")
    keepdims = attrs["keepdims"]
    if isinstance(keepdims, np.bool_):
        keepdims = bool(keepdims)
    return {"axis": normal, "kind": attrs["kind"], "keepdims": keepdims}


def _types(types: Types, attrs: Attrs) -> tuple[TensorType]:
    source = types[0]
    check_dtype("reduce", source.dtype, "float" if attrs["kind"] == "mean" else "number")
    shape = (
        1 if i in attrs["axis"] else n
        for i, n in enumerate(source.shape)
        if attrs["keepdims"] or i not in attrs["axis"]
    )
    return (TensorType(tuple(shape), source.dtype),)


def _evaluate(x: Array, axis: tuple[int, ...], kind: str, keepdims: bool) -> Array:
    reduced = KINDS[kind](x, axis=axis, keepdims=keepdims)
    return np.asarray(reduced)


def _space(types: Types, results: Types, attrs: Attrs) -> Space:
    shape = types[0].shape
    names = tuple(axis_name(i) if n != 1 else None for i, n in enumerate(shape))
    kept = tuple(
        None if i in attrs["axis"] else names[i]
        for i in range(len(shape))
        if attrs["keepdims"] or i not in attrs["axis"]
    )
    extents = {axis_name(i): n for i, n in enumerate(shape) if n != 1}
    return Space((names,), (kept,), extents)


TENSOR.define(
    OpDef(
        name="reduce",
        summary="Sum, max, min or mean over one or more dimensions.",
        arity=(1, 1),
        infer=_types,
        evaluate=compute_in_f32(_evaluate),
        attrs=(
            Attr("axis", tuple, doc="an int or a tuple of ints"),
            Attr("kind", str, "sum"),
            Attr("keepdims", bool, False),
        ),
        prepare=_attrs,
        space=_space,
        engine="vector",
        tolerance=1e-5,
        dtypes="number",
    )
)
