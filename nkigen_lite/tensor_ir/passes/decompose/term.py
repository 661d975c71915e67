"""Formulas over values: Python operators that emit ops, or fold numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nkigen_lite.core.dtypes import DType, round_to
from nkigen_lite.core.ir import Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import Number, as_number, stored, uniform
from nkigen_lite.tensor_ir.rows import TENSOR
from nkigen_lite.tensor_ir.types import TensorType


@dataclass(frozen=True, slots=True)
class Term:
    """A value, or a number, of one dtype in a formula.

    Operators between numbers are evaluated at once, with the op's own meaning in ``dtype``;
    others emit one op each, with numbers as scalar constants. Adding the number 0 and multiplying
    by the number 0 or 1 emit nothing, so a formula must not count on 0 times nan.
    """

    b: Builder
    held: Value | Number
    dtype: DType

    @classmethod
    def of(cls, b: Builder, value: Value) -> Term:
        """The term of a value; a number when the value is uniform."""
        number = uniform(value)
        return cls(b, value if number is None else number, value.type.dtype)

    @property
    def number(self) -> Number | None:
        return None if isinstance(self.held, Value) else self.held

    def value(self) -> Value:
        """The value that the term stands for; a number becomes a scalar constant."""
        if isinstance(self.held, Value):
            return self.held
        return self.b.full((), self.held, self.dtype)

    def call(self, opcode: str, *others: Term | Number) -> Term:
        """The op on this term and ``others``; comparisons give 1 or 0 in ``dtype``."""
        terms = [self, *(self._lift(other) for other in others)]
        numbers = [t.number for t in terms if t.number is not None]
        if len(numbers) == len(terms):
            return self._lift(_evaluated(opcode, numbers, self.dtype))
        return Term(self.b, self.b.emit(opcode, [t.value() for t in terms]).result, self.dtype)

    def cast(self, dtype: DType) -> Term:
        """The term as another dtype."""
        if dtype is self.dtype:
            return self
        if self.number is not None:
            return Term(self.b, stored(self.number, dtype), dtype)
        return Term(self.b, self.b.cast(self.value(), dtype), dtype)

    def whole(self) -> Term:
        """An integer less than 1 away, whichever way the engine's float-to-int cast rounds."""
        return self.near_integer().cast(self.dtype)

    def near_integer(self) -> Term:
        """The same as i32."""
        if self.number is not None:
            return self.cast(DType.I32)
        return Term(self.b, self.b.near_integer(self.value(), DType.I32), DType.I32)

    def choose(self, yes: Term | Number, no: Term | Number) -> Term:
        """``yes`` where this term is not zero, else ``no``."""
        if self.number is not None:
            return self._lift(yes if self.number != 0 else no)
        return self.call("where", yes, no)

    def _lift(self, other: Term | Number) -> Term:
        if isinstance(other, Term):
            return other
        return Term(self.b, stored(other, self.dtype), self.dtype)

    def __add__(self, other: Term | Number) -> Term:
        right = self._lift(other)
        if self.number == 0:
            return right
        return self if right.number == 0 else self.call("add", right)

    def __sub__(self, other: Term | Number) -> Term:
        right = self._lift(other)
        return self if right.number == 0 else self.call("sub", right)

    def __mul__(self, other: Term | Number) -> Term:
        right = self._lift(other)
        if self.number == 1 or right.number == 0:
            return right
        return self if right.number == 1 or self.number == 0 else self.call("mul", right)

    def __neg__(self) -> Term:
        return self.call("neg")

    def __abs__(self) -> Term:
        return self.call("abs")

    def __lt__(self, other: Term | Number) -> Term:
        return self.call("less", other)

    def __ge__(self, other: Term | Number) -> Term:
        return self.call("greater_equal", other)

    def __gt__(self, other: Term | Number) -> Term:
        return self.call("greater", other)


def _evaluated(opcode: str, numbers: Sequence[Number], dtype: DType) -> Number:
    """The op of ``numbers`` in ``dtype``."""
    row = TENSOR[opcode]
    attrs = row.complete([TensorType((1,), dtype)] * len(numbers), {})
    assert row.evaluate is not None
    with np.errstate(all="ignore"):
        arrays = [np.full((1,), n).astype(dtype.np) for n in numbers]
        made = round_to(np.asarray(row.evaluate(*arrays, **attrs)), dtype)
    return as_number(made[0], dtype)
