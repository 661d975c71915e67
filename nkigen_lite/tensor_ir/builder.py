"""Building tensor_ir graphs by hand, with a numpy-like vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nkigen_lite.core.builder import BaseBuilder
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.core.registry import OpDef
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir.rows import TENSOR
from nkigen_lite.tensor_ir.rows.table import check_shape, element_type, normal_axis
from nkigen_lite.tensor_ir.types import TensorType


class Builder(BaseBuilder):
    """Appends tensor_ir ops to a new graph; ``builder.graph`` holds it.

    Every op row is a method: operands first, then attributes by position or keyword, and the op's
    one result comes back (``b.reduce(x, (1,), kind="max")``). There is no dtype promotion; shapes
    broadcast as in numpy. The methods written out below are shorthands over those ops.

    Raises:
        InvalidOp: an operand or attribute breaks the op's rule; the message names the op, what was
            found, the rule, and the caller's source line. ``InvalidMatmul`` for matmul.
    """

    def __init__(self, name: str = "main") -> None:
        super().__init__(Graph(name, TENSOR))

    if TYPE_CHECKING:

        def __getattr__(self, opcode: str) -> Callable[..., Value]: ...

    def add_input(self, name: str, shape: Sequence[int], dtype: DType | str = DType.F32) -> Value:
        """A graph input of that shape and type."""
        who = f"input {name!r}"
        try:
            kind = TensorType(check_shape(who, shape), element_type(who, dtype))
        except InvalidOp as error:
            raise self.refusal(str(error)) from None
        return self.graph.add_input(name, kind)

    def set_outputs(self, outputs: Mapping[str, Value]) -> None:
        """Name the graph's outputs, in this order."""
        self.graph.set_outputs(outputs)

    def full(self, shape: Sequence[int], fill: float, dtype: DType | str = DType.F32) -> Value:
        """``fill`` in every element."""
        return self.call("constant", fill, shape, dtype)

    def zeros(self, shape: Sequence[int], dtype: DType | str = DType.F32) -> Value:
        """Zero in every element."""
        return self.full(shape, 0, dtype)

    def expand_dims(self, x: Value, axis: int) -> Value:
        """``x`` with a dimension of extent 1 put in at ``axis``."""
        shape = x.type.shape
        where = self._axis("expand_dims", axis, len(shape) + 1)
        return self.call("reshape", x, (*shape[:where], 1, *shape[where:]))

    def squeeze(self, x: Value, axis: int) -> Value:
        """``x`` without its dimension ``axis``, which must have extent 1."""
        shape = x.type.shape
        where = self._axis("squeeze", axis, len(shape))
        if shape[where] != 1:
            raise self.refusal(f"squeeze: dimension {where} has extent {shape[where]}, expected 1")
        return self.call("reshape", x, (*shape[:where], *shape[where + 1 :]))

    def split(self, x: Value, n_or_sizes: int | Sequence[int], axis: int = 0) -> list[Value]:
        """``x`` cut along ``axis`` into ``n`` equal parts, or into parts of the given sizes."""
        shape = x.type.shape
        where = self._axis("split", axis, len(shape))
        parts, start = [], 0
        for size in self._sizes(n_or_sizes, shape[where], where):
            starts = tuple(start if i == where else 0 for i in range(len(shape)))
            stops = tuple(start + size if i == where else n for i, n in enumerate(shape))
            parts.append(self.call("slice", x, starts, stops))
            start += size
        return parts

    def _sizes(self, n_or_sizes: int | Sequence[int], extent: int, dim: int) -> list[int]:
        """The extents of the parts that ``split`` makes."""
        if isinstance(n_or_sizes, (int, np.integer)):
            if n_or_sizes <= 0 or extent % n_or_sizes:
                raise self.refusal(
                    f"split: extent {extent} is not divisible into {n_or_sizes} parts"
                )
            return [extent // int(n_or_sizes)] * int(n_or_sizes)
        sizes = list(n_or_sizes)
        if not all(isinstance(s, (int, np.integer)) and s > 0 for s in sizes):
            raise self.refusal(f"split: sizes {sizes} must be positive ints")
        if sum(sizes) != extent:
            raise self.refusal(
                f"split: sizes {sizes} sum to {sum(sizes)} but dimension {dim} has extent {extent}"
            )
        return [int(s) for s in sizes]

    def _axis(self, name: str, axis: int, rank: int) -> int:
        try:
            return normal_axis(name, axis, rank)
        except InvalidOp as error:
            raise self.refusal(str(error)) from None


def _method(row: OpDef) -> Callable[..., Value]:
    def method(self: BaseBuilder, *args: Any, **attrs: Any) -> Value:
        return self.call(row.name, *args, **attrs)

    method.__name__ = row.name
    method.__qualname__ = f"Builder.{row.name}"
    takes = [f"\n    {a.name}{': ' if a.doc else ''}{a.doc}" for a in row.attrs]
    method.__doc__ = row.summary
    if takes:
        method.__doc__ += "\n\nAttributes, in order:" + "".join(takes)
    return method


def _concat(self: BaseBuilder, inputs: Sequence[Value], axis: int = 0) -> Value:
    """Operands one after the other along ``axis``."""
    operands = [inputs] if isinstance(inputs, Value) else inputs
    return self.emit("concat", operands, axis=axis).result


for _row in TENSOR:
    setattr(Builder, _row.name, _method(_row))
setattr(Builder, "concat", _concat)  # noqa: B010  (mypy: the class declares no such attribute)
