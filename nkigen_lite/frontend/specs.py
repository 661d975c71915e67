"""Describing arrays without their values: ``"4x8:bf16"`` and what else stands for a TensorType."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import DType, parse_dtype
from nkigen_lite.errors import InvalidInput
from nkigen_lite.frontend.promotion import element_type
from nkigen_lite.tensor_ir.types import TensorType

_FORM = '"4x8:bf16", "128", ":f32" or "scalar:f32"'
_EXTENT = re.compile(r"[0-9]+\Z")
_MOST_ELEMENTS = 2**60 - 1  # numpy counts bytes in 64 bits with a sign, 8 for an element at most


def parse_spec(spec: Any) -> TensorType:
    """The type that ``spec`` describes.

    ``spec`` is text (extents joined by ``x``, then ``:`` and an element type, by default f32;
    ``scalar`` or nothing before the colon is rank 0), a TensorType, an array or anything else with
    ``shape`` and ``dtype``, or a pair ``(shape, dtype)``.

    Raises:
        InvalidInput: it is none of these, an extent is not a positive integer, they are too large,
            or the element type is unknown.
    """
    if isinstance(spec, TensorType):
        return TensorType(_checked(str(spec), spec.shape), spec.dtype)
    if isinstance(spec, str):
        return _parse_text(spec)
    if _is_shape_first(spec):
        return TensorType(_checked(repr(spec), spec[0]), _dtype_of(repr(spec), spec[1]))
    if has_shape_and_dtype(spec):
        shown = f"array of {spec.dtype}"
        return TensorType(_checked(shown, spec.shape), _dtype_of(shown, spec.dtype))
    raise InvalidInput(
        f"spec: {spec!r} is {type(spec).__name__} but must be text such as {_FORM}, a TensorType, "
        "an array, or a pair (shape, dtype)"
    )


def has_shape_and_dtype(spec: Any) -> bool:
    """Whether ``spec`` is an array in all but values; numpy scalars are not."""
    return hasattr(spec, "shape") and hasattr(spec, "dtype") and not isinstance(spec, np.generic)


def is_pair(spec: Any) -> bool:
    """Whether ``spec`` is a ``(shape, dtype)``: a sequence of ints and an element type."""
    if not _is_shape_first(spec):
        return False
    dtype = spec[1]
    if isinstance(dtype, str):
        try:
            parse_dtype(dtype)
        except InvalidInput:
            return False
        return True
    is_class = isinstance(dtype, type) and issubclass(dtype, (np.generic, float, int))
    return is_class or isinstance(dtype, np.dtype)


def _is_shape_first(spec: Any) -> bool:
    return (
        isinstance(spec, tuple)
        and len(spec) == 2
        and isinstance(spec[0], (tuple, list))
        and all(_is_int(n) for n in spec[0])
    )


def _is_int(n: Any) -> bool:
    return isinstance(n, (int, np.integer)) and not isinstance(n, bool)


def _parse_text(text: str) -> TensorType:
    dims, colon, dtype = text.strip().partition(":")
    try:
        element = parse_dtype(dtype) if colon else DType.F32
    except InvalidInput as error:
        raise InvalidInput(f"spec: {text!r}: {error}") from None
    if not dims and not colon:
        raise InvalidInput(f"spec: {text!r} is empty but must be like {_FORM}")
    if dims in ("", "scalar"):
        return TensorType((), element)
    parts = dims.split("x")
    for part in parts:
        if not _EXTENT.match(part):
            raise InvalidInput(
                f"spec: {text!r}: extent {part!r} is not a positive integer; write it like {_FORM}"
            )
    return TensorType(_checked(repr(text), [int(part) for part in parts]), element)


def _checked(shown: str, shape: Sequence[Any]) -> tuple[int, ...]:
    for extent in shape:
        if not _is_int(extent) or extent <= 0:
            raise InvalidInput(
                f"spec: {shown}: extent {extent!r} must be a positive integer; "
                "arrays without elements are not supported"
            )
    if math.prod(map(int, shape)) > _MOST_ELEMENTS:
        raise InvalidInput(f"spec: {shown}: no array has more than {_MOST_ELEMENTS:,} elements")
    return tuple(int(n) for n in shape)


def _dtype_of(shown: str, dtype: Any) -> DType:
    try:
        return element_type(dtype)
    except InvalidInput as error:
        raise InvalidInput(f"spec: {shown}: {error}") from None
