"""Ops without operands: constants and index ramps."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType, to_np_dtype
from nkigen_lite.core.registry import Attr, Attrs, OpDef, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir.rows.table import (
    TENSOR,
    check_shape,
    element_type,
    normal_axis,
    pointwise_space,
)
from nkigen_lite.tensor_ir.types import TensorType


def _made_type(types: Types, attrs: Attrs) -> tuple[TensorType]:
    return (TensorType(attrs["shape"], attrs["dtype"]),)


def _constant_attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    dtype = element_type("constant", attrs["dtype"])
    value = np.asarray(attrs["value"])
    if value.size != 1:
        raise InvalidOp(
            f"constant: value has shape {value.shape} but must be one number; "
            "pass whole arrays as inputs"
        )
    return {
        "value": _number(value.item(), dtype),
        "shape": check_shape("constant", attrs["shape"]),
        "dtype": dtype,
    }


def _number(value: Any, dtype: DType) -> float | int | bool:
    """``value`` as a Python number of the kind of ``dtype``; integer types truncate."""
    if not hasattr(value, "__float__") or isinstance(value, complex):
        raise InvalidOp(f"constant: value is {value!r} but must be a number")
    try:
        if dtype is DType.BOOL:
            return bool(value)
        if dtype.is_float:
            return float(value)
        number = int(value)
    except (OverflowError, ValueError):  # inf and nan as integers, huge integers as floats
        raise InvalidOp(f"constant: value {value} is outside the range of {dtype}") from None
    limits = np.iinfo(dtype.np)
    if not limits.min <= number <= limits.max:
        raise InvalidOp(f"constant: value {value} is outside the range of {dtype}")
    return number


def _constant(value: Any, shape: tuple[int, ...], dtype: DType) -> Array:
    return np.full(shape, value).astype(to_np_dtype(dtype))


def _iota_attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    shape = check_shape("iota", attrs["shape"])
    if not shape:
        raise InvalidOp("iota: shape is () but an index ramp needs rank 1 or more")
    return {
        "shape": shape,
        "dim": normal_axis("iota", attrs["dim"], len(shape)),
        "dtype": element_type("iota", attrs["dtype"]),
    }


def _iota(shape: tuple[int, ...], dim: int, dtype: DType) -> Array:
    ramp = np.arange(shape[dim]).reshape([-1 if i == dim else 1 for i in range(len(shape))])
    return np.broadcast_to(ramp, shape).astype(to_np_dtype(dtype))


TENSOR.define(
    OpDef(
        name="constant",
        summary="One number, in every element.",
        arity=(0, 0),
        infer=_made_type,
        evaluate=_constant,
        attrs=(
            Attr("value", (int, float, bool)),
            Attr("shape", tuple),
            Attr("dtype", DType, DType.F32),
        ),
        prepare=_constant_attrs,
        space=pointwise_space,
    )
)
TENSOR.define(
    OpDef(
        name="iota",
        summary="The index along one dimension.",
        arity=(0, 0),
        infer=_made_type,
        evaluate=_iota,
        attrs=(Attr("shape", tuple), Attr("dim", int, 0), Attr("dtype", DType, DType.I32)),
        prepare=_iota_attrs,
        space=pointwise_space,
        engine="gpsimd",
    )
)
