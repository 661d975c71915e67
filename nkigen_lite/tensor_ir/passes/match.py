"""What rules ask of values: is it one number everywhere, who made it, who else reads it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

from nkigen_lite.core.dtypes import DType, epsilon, round_to
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.rows import TENSOR
from nkigen_lite.tensor_ir.rows.table import pointwise_space

Number = float | int | bool

# Ops of one operand that keep its elements and change only their places.
MOVES = frozenset(row.name for row in TENSOR if row.engine == "none" and row.arity == (1, 1))
# Ops whose every result element depends on one element of each (broadcast) operand.
POINTWISE = tuple(row.name for row in TENSOR if row.space is pointwise_space and row.arity[0] > 0)


def uniform(value: Value) -> Number | None:
    """The number that every element of ``value`` holds, rounded to its dtype; None if unknown."""
    producer = value.producer
    while producer is not None and producer.opcode in MOVES:
        producer = producer.inputs[0].producer
    if producer is None or producer.opcode != "constant":
        return None
    number = producer.attrs["value"]
    return _stored(repr(number), number, producer.attrs["dtype"])


def stored(number: Number, dtype: DType) -> Number:
    """``number`` after rounding to ``dtype``, as a Python number."""
    return _stored(repr(number), number, dtype)


# The text is part of the key because 0.0 == -0.0 and 1 == True.
@lru_cache(maxsize=4096)
def _stored(text: str, number: Number, dtype: DType) -> Number:
    with np.errstate(all="ignore"):
        element = round_to(np.full((1,), number).astype(dtype.np), dtype)[0]
    return as_number(element, dtype)


def as_number(element: Any, dtype: DType) -> Number:
    """One array element of that dtype as a Python number."""
    if dtype.is_float:
        return float(element)
    return bool(element) if dtype is DType.BOOL else int(element)


@dataclass(frozen=True, slots=True)
class FloatRange:
    """The largest, the least normal and the least positive number of a float dtype."""

    largest: float
    least_normal: float
    least: float


@lru_cache(maxsize=16)
def float_range(dtype: DType) -> FloatRange:
    """The range of a float dtype."""
    info = ml_dtypes.finfo(dtype.np)  # type: ignore[no-untyped-call]  # ml_dtypes has no hints
    normal = float(info.smallest_normal)
    # tf32 is stored as float32 but has 10 mantissa bits in its subnormals too.
    least = normal * epsilon(dtype) if dtype is DType.TF32 else float(info.smallest_subnormal)
    return FloatRange(float(info.max), normal, least)


def made_by(value: Value, *opcodes: str) -> Op | None:
    """The op that makes ``value`` when it has one of the opcodes."""
    producer = value.producer
    return producer if producer is not None and producer.opcode in opcodes else None


def read_once(b: Builder, value: Value) -> bool:
    """Whether one operand in the graph, and no graph output, is ``value``."""
    return len(value.uses) == 1 and all(v is not value for v in b.graph.outputs.values())


def with_constant(op: Op) -> tuple[Value, Number] | None:
    """A binary op's operand and the number on its right; either side if the op commutes."""
    left, right = op.inputs
    number = uniform(right)
    if number is not None:
        return left, number
    number = uniform(left) if TENSOR[op.opcode].commutes else None
    return None if number is None else (right, number)


def fit(b: Builder, value: Value, shape: tuple[int, ...]) -> Value:
    """``value`` broadcast to ``shape``, or itself when it has that shape."""
    return value if value.type.shape == shape else b.broadcast_to(value, shape)


def reshaped(b: Builder, value: Value, shape: tuple[int, ...]) -> Value:
    """``value`` reshaped to ``shape``, or itself when it has that shape."""
    return value if value.type.shape == shape else b.reshape(value, shape)
