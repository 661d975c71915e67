"""Element types: their names, numpy twins, sizes, and rounding into them."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import ml_dtypes
import numpy as np

from nkigen_lite.errors import InvalidInput

NpDtype = np.dtype[Any]
Array = np.ndarray[Any, NpDtype]


class DType(str, Enum):  # noqa: UP042  (clients rely on a str mixin; StrEnum changes hashing of names)
    """An element type of a NeuronCore; the member's value is its name in text.

    ``FP8_E4M3`` is the finite-only variant (ml_dtypes' ``float8_e4m3fn``), ``FP8_E4M3_IEEE`` the
    one with infinities (``float8_e4m3``). ``TF32`` is stored as float32 with a 10-bit mantissa.
    """

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    TF32 = "tf32"
    FP8_E4M3 = "fp8_e4m3"
    FP8_E4M3_IEEE = "fp8_e4m3_ieee"
    FP8_E5M2 = "fp8_e5m2"
    FP8_E3M4 = "fp8_e3m4"
    I32 = "i32"
    I16 = "i16"
    I8 = "i8"
    U32 = "u32"
    U16 = "u16"
    U8 = "u8"
    BOOL = "bool"

    def __str__(self) -> str:
        return self.value

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return _DTYPE_BYTES[self]

    @property
    def is_float(self) -> bool:
        return self in FLOATS

    @property
    def is_integer(self) -> bool:
        """True for signed and unsigned integers, not for bool."""
        return not self.is_float and self is not DType.BOOL

    @property
    def np(self) -> NpDtype:
        """The numpy dtype that stores this type."""
        return to_np_dtype(self)


FLOATS = frozenset(
    {
        DType.F32,
        DType.F16,
        DType.BF16,
        DType.TF32,
        DType.FP8_E4M3,
        DType.FP8_E4M3_IEEE,
        DType.FP8_E5M2,
        DType.FP8_E3M4,
    }
)

# Order matters to clients that invert this mapping: F32 comes before TF32.
_DTYPE_TO_NP: dict[DType, Any] = {
    DType.F32: np.float32,
    DType.F16: np.float16,
    DType.BF16: ml_dtypes.bfloat16,
    DType.TF32: np.float32,
    DType.FP8_E4M3: ml_dtypes.float8_e4m3fn,
    DType.FP8_E4M3_IEEE: ml_dtypes.float8_e4m3,
    DType.FP8_E5M2: ml_dtypes.float8_e5m2,
    DType.FP8_E3M4: ml_dtypes.float8_e3m4,
    DType.I32: np.int32,
    DType.I16: np.int16,
    DType.I8: np.int8,
    DType.U32: np.uint32,
    DType.U16: np.uint16,
    DType.U8: np.uint8,
    DType.BOOL: np.bool_,
}
_DTYPE_BYTES: dict[DType, int] = {d: np.dtype(t).itemsize for d, t in _DTYPE_TO_NP.items()}
_ALIASES = {
    "float32": DType.F32,
    "fp32": DType.F32,
    "float16": DType.F16,
    "fp16": DType.F16,
    "bfloat16": DType.BF16,
    "tfloat32": DType.TF32,
    "float8_e4m3fn": DType.FP8_E4M3,
    "fp8_e4m3fn": DType.FP8_E4M3,
    "float8_e4m3": DType.FP8_E4M3_IEEE,
    "float8_e5m2": DType.FP8_E5M2,
    "float8_e3m4": DType.FP8_E3M4,
    "int32": DType.I32,
    "int16": DType.I16,
    "int8": DType.I8,
    "uint32": DType.U32,
    "uint16": DType.U16,
    "uint8": DType.U8,
    "bool_": DType.BOOL,
}

# The smallest distance from 1.0 to the next value: what one rounding costs, relatively.
_EPSILON = {
    DType.F32: 2.0**-23,
    DType.TF32: 2.0**-10,
    DType.F16: 2.0**-10,
    DType.BF16: 2.0**-7,
    DType.FP8_E4M3: 2.0**-3,
    DType.FP8_E4M3_IEEE: 2.0**-3,
    DType.FP8_E5M2: 2.0**-2,
    DType.FP8_E3M4: 2.0**-4,
}


def to_np_dtype(dtype: DType) -> NpDtype:
    """The numpy dtype that stores ``dtype``."""
    found: NpDtype = np.dtype(_DTYPE_TO_NP[dtype])
    return found


def epsilon(dtype: DType) -> float:
    """Machine epsilon of a float type; 0.0 for integers and bool."""
    return _EPSILON.get(dtype, 0.0)


def parse_dtype(text: str) -> DType:
    """The type of that name (``bf16``, ``bfloat16``, ``f32`` …).

    Raises:
        InvalidInput: no type has the name.
    """
    name = str(text).strip().lower()
    found = _ALIASES.get(name) or next((d for d in DType if d.value == name), None)
    if found is None:
        raise InvalidInput(
            f"dtype: {text!r} is not a known element type; known are "
            + ", ".join(d.value for d in DType)
        )
    return found


def from_np_dtype(dtype: Any) -> DType:
    """The element type that a numpy dtype stands for.

    Raises:
        InvalidInput: NeuronCores have no such type (float64, int64, complex, …).
    """
    wanted = np.dtype(dtype)
    for ours, theirs in _DTYPE_TO_NP.items():
        if np.dtype(theirs) == wanted:
            return ours
    raise InvalidInput(
        f"dtype: numpy's {wanted} is not an element type of a NeuronCore; use one of "
        + ", ".join(d.value for d in DType)
    )


def round_to(values: Array, dtype: DType) -> Array:
    """``values`` stored as ``dtype``: floats to nearest even, floats to integers truncated.

    Beyond an integer type's range floats saturate and NaN becomes 0, which numpy's ``astype``
    leaves undefined; integers wrap around as in numpy. What is wider than float32 reaches narrow
    floats through float32 (ml_dtypes does the same), so float64 may round twice.
    """
    target = to_np_dtype(dtype)
    source = values.dtype
    if dtype is DType.BOOL:
        return np.asarray(values != 0)
    if dtype is DType.TF32:
        return _round_mantissa(np.asarray(values, dtype=np.float32))
    if dtype.is_integer and _is_inexact(source):
        info = np.iinfo(target)
        wide = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0)
        return np.clip(np.trunc(wide), info.min, info.max).astype(target)
    return values if source == target else values.astype(target)


def _is_inexact(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "fV" or dtype.name.startswith(("bfloat", "float"))


def _round_mantissa(values: Array) -> Array:
    """float32 rounded to nearest even on tf32's 10 mantissa bits."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))) & np.uint32(
        0xFFFFE000
    )
    special = (bits & np.uint32(0x7F800000)) == np.uint32(0x7F800000)
    return np.where(special, bits, rounded).view(np.float32).reshape(values.shape)


def widen(values: Array) -> Array:
    """Floats as float32, anything else as it is."""
    return values.astype(np.float32, copy=False) if _is_inexact(values.dtype) else values


def compute_in_f32(function: Callable[..., Array]) -> Callable[..., Array]:
    """``function`` with narrow floats widened to float32 first, as the engines do.

    Integer and bool arrays pass as they are; the caller rounds the result to its declared type.
    """

    def widened(*arrays: Array, **attrs: Any) -> Array:
        wide = [widen(a) for a in arrays]
        return function(*wide, **attrs)

    return widened
