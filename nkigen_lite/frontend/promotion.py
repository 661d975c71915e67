"""Which element type an operation on mixed operands has.

The rules, in the order in which they are tried:

* Traced arrays and concrete numpy arrays count by their type. Concrete float64 and int64 arrays
  narrow to f32 and i32 first (uint64 to u32), because NeuronCores have nothing wider.
* Python scalars, 64-bit numpy scalars and 0-d 64-bit arrays are weak: they take the type of the
  arrays beside them. A weak float beside integers or bools gives f32, a weak int beside bools i32.
* Two float types give the wider one; bf16 with f16, of which neither holds the other, gives f32;
  two different fp8 types give bf16.
* An integer or bool beside a float gives that float type, so i32 with bf16 is bf16.
* Two integer types follow numpy, but what numpy widens to int64 stays i32.
* Arithmetic on bools is done in i32; ``/``, means, roots and the like on integers in f32, where
  numpy has float64.

They are numpy's rules but for the weak scalars beside narrow floats (numpy with ml_dtypes widens
``bfloat16 + 1.5`` to float32), integers beside narrow floats, and the absent 64-bit types.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import reduce
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType, from_np_dtype, parse_dtype
from nkigen_lite.errors import InvalidInput


class Weak(IntEnum):
    """The kind of a scalar without a width of its own; a higher member wins."""

    BOOL = 0
    INT = 1
    FLOAT = 2


Kind = DType | Weak

# Each float type's rank; the higher of two wins, and equal ranks meet in the type named below.
_FLOAT_RANK = {
    DType.FP8_E4M3: 0,
    DType.FP8_E4M3_IEEE: 0,
    DType.FP8_E5M2: 0,
    DType.FP8_E3M4: 0,
    DType.BF16: 1,
    DType.F16: 1,
    DType.TF32: 2,
    DType.F32: 3,
}
_MEET_AT_RANK = {0: DType.BF16, 1: DType.F32}
_WEAK_KINDS = {"b": Weak.BOOL, "i": Weak.INT, "u": Weak.INT, "f": Weak.FLOAT}
_DEFAULT = {Weak.BOOL: DType.BOOL, Weak.INT: DType.I32, Weak.FLOAT: DType.F32}
_NARROW = {"f": DType.F32, "i": DType.I32, "u": DType.U32}  # of 64-bit types, by numpy's kind


def promote(a: DType, b: DType) -> DType:
    """The type in which an ``a`` and a ``b`` meet."""
    if a is b:
        return a
    if a.is_float and b.is_float:
        if _FLOAT_RANK[a] == _FLOAT_RANK[b]:
            return _MEET_AT_RANK[_FLOAT_RANK[a]]
        return max(a, b, key=_FLOAT_RANK.__getitem__)
    if a.is_float or b.is_float:
        return a if a.is_float else b
    met = np.result_type(a.np, b.np)
    return DType.I32 if met.itemsize > DType.I32.itemsize else from_np_dtype(met)


def result_type(kinds: Iterable[Kind]) -> DType:
    """The type in which operands of these kinds meet; weak kinds alone give f32, i32 or bool."""
    given = list(kinds)
    weak = max((k for k in given if isinstance(k, Weak)), default=Weak.BOOL)
    strong = [k for k in given if isinstance(k, DType)]
    # The widest float first, so that the order of the operands makes no difference: f16 takes in
    # two different fp8 types one by one, though on their own they would meet in bf16.
    strong.sort(key=lambda d: _FLOAT_RANK.get(d, -1), reverse=True)
    if not strong:
        return _DEFAULT[weak]
    met = reduce(promote, strong)
    if weak is Weak.FLOAT and not met.is_float:
        return DType.F32
    return DType.I32 if weak is Weak.INT and met is DType.BOOL else met


def weak_kind(operand: Any) -> Weak | None:
    """The kind of a Python scalar, a 64-bit numpy scalar or a 0-d 64-bit array; else None."""
    if isinstance(operand, bool):
        return Weak.BOOL
    if isinstance(operand, (np.generic, np.ndarray)):
        wide = operand.ndim == 0 and operand.dtype.itemsize >= 8
        return _WEAK_KINDS.get(operand.dtype.kind) if wide else None
    if isinstance(operand, int):
        return Weak.INT
    return Weak.FLOAT if isinstance(operand, float) else None


def narrow_type(dtype: np.dtype[Any]) -> DType:
    """The element type that holds arrays of ``dtype``; 64-bit types narrow to 32 bits.

    Raises:
        InvalidInput: none does (complex, object, text, dates).
    """
    if dtype.itemsize >= 8 and dtype.kind in _NARROW:
        return _NARROW[dtype.kind]
    return from_np_dtype(dtype)


def check_range(array: Array) -> None:
    """Raise InvalidInput if narrowing ``array`` to :func:`narrow_type` would wrap an integer."""
    target = narrow_type(array.dtype)
    if not target.is_integer or array.dtype == target.np or not array.size:
        return
    limits = np.iinfo(target.np)
    low, high = int(array.min()), int(array.max())
    if low < limits.min or high > limits.max:
        raise InvalidInput(
            f"integer {high if high > limits.max else low} of an {array.dtype} array does not fit "
            f"{target}, the widest that a NeuronCore has"
        )


def element_type(dtype: Any) -> DType:
    """The element type that a ``dtype=`` argument names: ours, numpy's, or either's name.

    Raises:
        InvalidInput: there is none; for 64-bit types the message suggests the 32-bit twin.
    """
    if isinstance(dtype, DType):
        return dtype
    if isinstance(dtype, str):
        try:
            return parse_dtype(dtype)
        except InvalidInput:
            pass  # numpy knows more spellings: "f4", "<i4", …
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise InvalidInput(f"dtype {dtype!r} is not an element type") from None
    if wanted.itemsize >= 8 and wanted.kind in _NARROW:
        twin = _NARROW[wanted.kind].np
        raise InvalidInput(f"dtype {wanted} is wider than a NeuronCore's types; use np.{twin}")
    return from_np_dtype(wanted)
