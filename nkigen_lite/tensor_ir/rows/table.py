"""The table itself, and what the rows' rules share: broadcasting, dtype checks, axis names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import DType, parse_dtype
from nkigen_lite.core.registry import Dialect, OpDef, Space
from nkigen_lite.errors import InvalidInput, InvalidOp
from nkigen_lite.tensor_ir.types import TensorType

TENSOR: Dialect[OpDef] = Dialect("tensor_ir", [TensorType])

_LEGAL: dict[str, Callable[[DType], bool]] = {
    "any": lambda d: True,
    "float": lambda d: d.is_float,
    "number": lambda d: d is not DType.BOOL,
    "bits": lambda d: not d.is_float,
}
_WANTED = {"float": "a float type", "number": "a number type", "bits": "an integer type or bool"}


def check_dtype(name: str, dtype: DType, legal: str) -> None:
    """Raise InvalidOp unless ``dtype`` belongs to the class ``legal`` of the op's row."""
    if not _LEGAL[legal](dtype):
        raise InvalidOp(f"{name}: dtype is {dtype} but must be {_WANTED[legal]}")


def same_dtype(name: str, types: Sequence[TensorType]) -> DType:
    """The one dtype of all operands; there is no promotion at this level."""
    first = types[0].dtype
    for other in types[1:]:
        if other.dtype != first:
            raise InvalidOp(f"{name}: dtype mismatch: {first} and {other.dtype}; cast one of them")
    return first


def broadcast(name: str, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The numpy broadcast of ``shapes``."""
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        listed = " and ".join(str(s) for s in shapes)
        raise InvalidOp(f"{name}: shapes {listed} are not broadcastable") from None


def element_type(name: str, given: Any) -> DType:
    """``given``, a DType or the name of one, as a DType."""
    try:
        return parse_dtype(given)
    except InvalidInput as error:
        raise InvalidOp(f"{name}: {error}") from None


def check_shape(name: str, shape: Any) -> tuple[int, ...]:
    """``shape`` as a tuple of positive ints."""
    if not isinstance(shape, Iterable):
        raise InvalidOp(f"{name}: shape {shape!r} must be a tuple of positive ints")
    dims = tuple(shape)
    for dim in dims:
        if not isinstance(dim, (int, np.integer)) or isinstance(dim, bool) or dim <= 0:
            raise InvalidOp(
                f"{name}: extent {dim!r} in shape {dims} must be a positive int; "
                "tensors without elements are not supported"
            )
    return tuple(int(d) for d in dims)


def axis_name(index: int) -> str:
    return f"d{index}"


def aligned(shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[str | None, ...]:
    """Axes of an operand right-aligned with the result; None where it is broadcast."""
    offset = len(out) - len(shape)
    return tuple(
        axis_name(i + offset) if n == out[i + offset] and n != 1 else None
        for i, n in enumerate(shape)
    )


def pointwise_space(types: Sequence[Any], results: Sequence[Any], attrs: Any) -> Space:
    """Every result dimension is an axis; operands run over those that they have."""
    out = results[0].shape
    return Space(
        tuple(aligned(t.shape, out) for t in types),
        (aligned(out, out),),
        {axis_name(i): n for i, n in enumerate(out) if n != 1},
    )


def normal_axis(name: str, axis: Any, rank: int) -> int:
    """``axis`` as an int in [0, rank)."""
    if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool):
        raise InvalidOp(f"{name}: axis {axis!r} must be an int")
    if not -rank <= axis < rank:
        raise InvalidOp(f"{name}: axis {axis} is out of range for rank {rank}")
    return int(axis) % rank
