"""A random tensor_ir graph under construction, run as it grows; see graph_strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from nkigen_lite.core.dtypes import Array, DType, round_to
from nkigen_lite.core.interpret import evaluate_op
from nkigen_lite.core.ir import Value
from nkigen_lite.core.registry import OpDef
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir import Builder
from nkigen_lite.tensor_ir.rows.table import check_dtype

Draw = st.DrawFn
Shape = tuple[int, ...]

EXTENTS = (1, 2, 3, 4, 5, 7)
NUMBERS = (0, 1, 2, 3, -1, 0.5, -0.5, 0.25, -3)
_LARGEST = 1000.0  # values beyond are not kept: narrow types would overflow soon
_LEAST = 0.25  # a divisor, a logarithm's operand and the like are at least this large


def sample_array(rng: np.random.Generator, shape: Shape, dtype: DType, kind: str) -> Array:
    """Values of about 1, of a row's ``sample`` kind: "positive" and "nonzero" stay off zero."""
    if not dtype.is_float:
        low = 1 if kind in ("positive", "nonzero") else -8
        low = max(low, 0) if dtype.value.startswith("u") else low
        drawn = rng.integers(low, 9, shape)
        return round_to(drawn % 2 if dtype is DType.BOOL else drawn, dtype)
    drawn = rng.uniform(-2.0, 2.0, shape)
    if kind in ("positive", "nonzero"):
        size = np.abs(drawn) + _LEAST
        drawn = size if kind == "positive" else np.where(drawn < 0, -size, size)
    return round_to(np.asarray(drawn), dtype)


@dataclass(slots=True)
class Draft:
    """A graph under construction, run as it grows."""

    draw: Draw
    b: Builder
    rng: np.random.Generator
    max_elements: int
    max_rank: int
    dtypes: tuple[DType, ...]
    arrays: dict[Value, Array] = field(default_factory=dict)

    @property
    def values(self) -> list[Value]:
        return list(self.arrays)

    def choose(self, items: Sequence[object]) -> object:
        return self.draw(st.sampled_from(list(items)))

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def index(self, count: int) -> int:
        return self.draw(st.integers(0, count - 1))

    def shape(self) -> Shape:
        """Any shape within the limits, rank 0 included."""
        extents: list[int] = []
        for _ in range(self.choose(range(self.max_rank + 1))):
            extent = self.choose(EXTENTS)
            if extent * int(np.prod(extents, initial=1)) <= self.max_elements:
                extents.append(extent)
        return tuple(extents)

    def new_input(self, shape: Shape, dtype: DType, kind: str = "normal") -> Value:
        value = self.b.add_input(f"x{len(self.b.graph.inputs)}", shape, dtype)
        self.arrays[value] = sample_array(self.rng, shape, dtype, kind)
        return value

    def emit(self, opcode: str, *operands: Value | None, **attrs: object) -> Value | None:
        """The op's result; None, and no op, where it breaks a rule or leaves the range."""
        if None in operands:
            return None
        try:
            op = self.b.emit(opcode, operands, **attrs)
        except InvalidOp:
            return None
        (array,) = evaluate_op(self.b.graph, op, [self.arrays[v] for v in operands])
        wide = array.astype(np.float64)
        if array.size > self.max_elements or not np.all(np.abs(wide) <= _LARGEST):
            self.b.graph.erase_op(op)
            return None
        self.arrays[op.result] = array
        return op.result

    def operand(self, row: OpDef) -> Value | None:
        """A value that ``row`` takes, of the graph or a new input; None if no dtype is legal."""
        known = [v for v in self.values if _takes(row, v.type.dtype)]
        legal = [d for d in self.dtypes if _takes(row, d)]
        if known and (not legal or self.index(6)):
            return self.fitting(row, known[-1 - self.index(min(2, len(known)))])
        if not legal:
            return None
        return self.new_input(self.shape(), self.choose(legal), row.sample)

    def fitting(self, row: OpDef, value: Value) -> Value:
        """``value`` if its elements are of the row's kind, else a new input of its type."""
        array = self.arrays[value].astype(np.float64)
        fits = {"positive": np.all(array >= _LEAST), "nonzero": np.all(np.abs(array) >= _LEAST)}
        if row.sample == "small" and np.any(np.abs(array) > 4):
            return self.new_input(value.type.shape, value.type.dtype)
        if fits.get(row.sample, True):
            return value
        return self.new_input(value.type.shape, value.type.dtype, row.sample)

    def partner(self, row: OpDef, value: Value) -> Value:
        """Another operand of the same dtype whose shape broadcasts with that of ``value``."""
        shape, dtype = value.type.shape, value.type.dtype
        same = [v for v in self.values if v.type.dtype == dtype and broadcasts(v.type.shape, shape)]
        way = self.index(4)
        if way == 0:
            return self.fitting(row, same[self.index(len(same))])
        some = tuple(1 if self.chance() else n for n in shape)[self.index(len(shape) + 1) :]
        if way == 1:
            return self.new_input(some, dtype, row.sample)
        numbers = NUMBERS if row.sample == "normal" else [n for n in NUMBERS if n >= _LEAST]
        source = self.constant(some if way == 2 else (), self.choose(numbers), dtype)
        return self.emit("broadcast_to", source, shape=shape) or source

    def constant(self, shape: Shape, number: float, dtype: DType) -> Value:
        number = abs(number) if dtype.value.startswith("u") else number
        value = self.b.full(shape, number, dtype)
        (self.arrays[value],) = evaluate_op(self.b.graph, value.producer, [])
        return value


def _takes(row: OpDef, dtype: DType) -> bool:
    try:
        check_dtype(row.name, dtype, row.dtypes)
    except InvalidOp:
        return False
    return True


def broadcasts(a: Shape, b: Shape) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False))
