"""Random tensor_ir graphs for property tests, drawn from the op table, with inputs to run them on.

`graphs()` draws a :class:`Case`: a valid graph of a few ops and arrays for its inputs, such that
every value is finite and of moderate size. `same_meaning.assert_same_meaning` compares what two
graphs compute on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from nkigen_lite.core.dtypes import Array, DType, round_to
from nkigen_lite.core.interpret import evaluate_op
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.core.registry import OpDef
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir import Builder
from nkigen_lite.tensor_ir.passes.match import POINTWISE
from nkigen_lite.tensor_ir.rows import TENSOR
from nkigen_lite.tensor_ir.rows.table import check_dtype

Draw = st.DrawFn
Shape = tuple[int, ...]

# More often what programs use more often.
DTYPES = (
    *(DType.F32,) * 4,
    *(DType.BF16,) * 2,
    *(DType.I32,) * 2,
    *(d for d in DType if d.is_float and d not in (DType.F32, DType.BF16)),
    *(DType.I16, DType.I8, DType.U32, DType.U8, DType.BOOL),
)
_EXTENTS = (1, 2, 3, 4, 5, 7)
_NUMBERS = (0, 1, 2, 3, -1, 0.5, -0.5, 0.25, -3)
_LARGEST = 1000.0  # values beyond are not kept: narrow types would overflow soon
_LEAST = 0.25  # a divisor, a logarithm's operand and the like are at least this large


@dataclass(frozen=True, slots=True)
class Case:
    """A graph, and an array for each of its inputs, by name."""

    graph: Graph
    inputs: dict[str, Array]


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


def sample_inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """An array for each input of a tensor_ir graph, such that all of its ops may read it."""
    rng = np.random.default_rng(seed)
    kinds = {TENSOR[op.opcode].sample for op in graph.ops}
    kind = next((k for k in ("positive", "nonzero") if k in kinds), "normal")
    return {v.name: sample_array(rng, v.type.shape, v.type.dtype, kind) for v in graph.inputs}


@st.composite
def graphs(
    draw: Draw,
    *,
    max_ops: int = 6,
    max_elements: int = 256,
    max_rank: int = 5,
    dtypes: Sequence[DType] = DTYPES,
    opcodes: Sequence[str] | None = None,
) -> Case:
    """A graph of up to ``max_ops`` ops (and the constants and movements that they bring along).

    Args:
        max_ops: ops drawn; one whose result would not be finite is left out again.
        max_elements: elements of the largest value.
        max_rank: of drawn shapes; ops may add one dimension.
        dtypes: of inputs; casts and comparisons stay within them.
        opcodes: the ops to draw from; default: all that have a numpy meaning.
    """
    names = list(opcodes or drawable())
    b = Builder("random")
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    draft = _Draft(draw, b, rng, max_elements, max_rank, tuple(dtypes))
    draft.new_input(draft.shape(), draw(st.sampled_from(draft.dtypes)))
    for _ in range(draw(st.integers(1, max_ops))):
        draft.add(TENSOR[draw(st.sampled_from(names))])
    unread = [op.result for op in b.graph.ops if not op.result.has_uses]
    ends = [v for v in unread if v.producer.opcode != "constant"] or draft.values[-1:]
    b.set_outputs({f"y{i}": v for i, v in enumerate(ends)})
    b.graph.dce()
    return Case(b.graph, {v.name: draft.arrays[v] for v in b.graph.inputs})


@dataclass(slots=True)
class _Draft:
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
        for extent in self.draw(st.lists(st.sampled_from(_EXTENTS), max_size=self.max_rank)):
            if extent * int(np.prod(extents, initial=1)) <= self.max_elements:
                extents.append(extent)
        return tuple(extents)

    def new_input(self, shape: Shape, dtype: DType, kind: str = "normal") -> Value:
        value = self.b.add_input(f"x{len(self.b.graph.inputs)}", shape, dtype)
        self.arrays[value] = sample_array(self.rng, shape, dtype, kind)
        return value

    def emit(self, opcode: str, *operands: Value, **attrs: object) -> Value | None:
        """The op's result; None, and no op, where it breaks a rule or leaves the range."""
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

    def add(self, row: OpDef) -> Value | None:
        """One more op of that row, if it can be had."""
        return _MAKERS.get(row.name, _pointwise)(self, row)

    def operand(self, row: OpDef) -> Value | None:
        """A value that ``row`` takes, of the graph or a new input; None if no dtype is legal."""
        known = [v for v in self.values if _takes(row, v.type.dtype)]
        legal = [d for d in self.dtypes if _takes(row, d)]
        if known and (not legal or self.draw(st.integers(0, 3))):
            return self.fitting(row, known[-1 - min(self.index(3), len(known) - 1)])
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
        same = [
            v for v in self.values if v.type.dtype == dtype and _broadcasts(v.type.shape, shape)
        ]
        way = self.index(4)
        if way == 0:
            return self.fitting(row, same[self.index(len(same))])
        some = tuple(1 if self.chance() else n for n in shape)[self.index(len(shape) + 1) :]
        if way == 1:
            return self.new_input(some, dtype, row.sample)
        numbers = _NUMBERS if row.sample == "normal" else [n for n in _NUMBERS if n >= _LEAST]
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


def _broadcasts(a: Shape, b: Shape) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False))


def _pointwise(draft: _Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    if x is None:
        return None
    operands = [x] if row.arity == (1, 1) else [x, draft.partner(row, x)]
    if len(operands) == 2 and row.sample == "normal" and draft.chance():
        operands.reverse()
    attrs = {"dtype": DType.BOOL} if row.dtypes == "any" and draft.chance() else {}
    return draft.emit(row.name, *operands, **attrs)


def _power(draft: _Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    if x is None:
        return None
    if not x.type.dtype.is_float:  # integers have no decomposition for other exponents
        return draft.emit("power", x, draft.constant((), draft.index(4), x.type.dtype))
    if draft.chance():
        return draft.emit("power", x, draft.partner(TENSOR["add"], x))
    exponent = draft.choose((-8, -3, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 7))
    return draft.emit("power", x, draft.constant((), exponent, x.type.dtype))


def _cast(draft: _Draft, row: OpDef) -> Value | None:
    return draft.emit("cast", draft.operand(row), dtype=draft.choose(draft.dtypes))


def _where(draft: _Draft, row: OpDef) -> Value | None:
    yes = draft.operand(row)
    no = draft.partner(row, yes)
    shape = yes.type.shape[draft.index(len(yes.type.shape) + 1) :]
    known = [v for v in draft.values if _broadcasts(v.type.shape, yes.type.shape)]
    condition = draft.choose(known) if draft.chance() else draft.new_input(shape, DType.BOOL)
    return draft.emit("where", condition, yes, no)


def _constant(draft: _Draft, row: OpDef) -> Value | None:
    return draft.constant(draft.shape(), draft.choose(_NUMBERS), draft.choose(draft.dtypes))


def _iota(draft: _Draft, row: OpDef) -> Value | None:
    shape = draft.shape() or (3,)
    dtype = draft.choose(draft.dtypes)
    return draft.emit("iota", shape=shape, dim=draft.index(len(shape)), dtype=dtype)


def _reduce(draft: _Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    if x is None or not x.type.rank:
        return None
    axes = tuple(i for i in range(x.type.rank) if draft.chance()) or (draft.index(x.type.rank),)
    kind = draft.choose(("sum", "max", "min", "mean"))
    return draft.emit("reduce", x, axis=axes, kind=kind, keepdims=draft.chance())


def _matmul(draft: _Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    if x is None or not x.type.rank:
        return None
    batch, inner = x.type.shape[:-2], x.type.shape[-1]
    batch = batch[draft.index(len(batch) + 1) :]
    columns = (*batch, inner, draft.choose(_EXTENTS))
    y = draft.new_input(draft.choose([columns, (inner,)]), x.type.dtype)
    if y.type.rank > 2 or not draft.chance():
        return draft.emit("matmul", x, y)
    wide = draft.emit("broadcast_to", y, shape=(*x.type.shape[:-2], *y.type.shape))
    return draft.emit("matmul", x, wide or y)


def _transpose(draft: _Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    perm = draft.draw(st.permutations(range(x.type.rank)))
    return draft.emit("transpose", x, perm=tuple(perm))


def _reshape(draft: _Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    shape = list(x.type.shape)
    if len(shape) > 1 and draft.chance():
        at = draft.index(len(shape) - 1)
        shape[at : at + 2] = [shape[at] * shape[at + 1]]
    if shape and draft.chance():
        at = draft.index(len(shape))
        factor = draft.choose([n for n in range(1, shape[at] + 1) if shape[at] % n == 0])
        shape[at : at + 1] = [factor, shape[at] // factor]
    if draft.chance():
        shape = [n for n in shape if n != 1]
    return draft.emit("reshape", x, shape=tuple(shape))


def _broadcast_to(draft: _Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    shape = tuple(draft.choose((1, 2, 3)) if n == 1 else n for n in x.type.shape)
    lead = (draft.choose((1, 2, 3)),) if draft.chance() else ()
    return draft.emit("broadcast_to", x, shape=(*lead, *shape))


def _slice(draft: _Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    starts = tuple(draft.index(n) for n in x.type.shape)
    pairs = zip(starts, x.type.shape, strict=True)
    stops = tuple(start + 1 + draft.index(n - start) for start, n in pairs)
    strides = tuple(draft.choose((1, 1, 1, 2, 3)) for _ in starts)
    return draft.emit("slice", x, starts=starts, stops=stops, strides=strides)


def _concat(draft: _Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    if not x.type.rank:
        return None
    axis = draft.index(x.type.rank)
    parts = []
    for _ in range(2 + draft.index(3)):
        shape = tuple(
            draft.choose((1, 2, 3)) if i == axis else n for i, n in enumerate(x.type.shape)
        )
        makers = (
            lambda: x,
            lambda shape=shape: draft.new_input(shape, x.type.dtype),
            lambda shape=shape: draft.constant(shape, 1, x.type.dtype),
            lambda: parts[-1] if parts else x,
        )
        parts.append(makers[draft.index(len(makers))]())
    return draft.emit("concat", *parts, axis=axis)


_MAKERS: dict[str, Callable[[_Draft, OpDef], Value | None]] = {
    "power": _power,
    "cast": _cast,
    "where": _where,
    "constant": _constant,
    "iota": _iota,
    "reduce": _reduce,
    "matmul": _matmul,
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast_to": _broadcast_to,
    "slice": _slice,
    "concat": _concat,
}


def drawable() -> list[str]:
    """The ops that :func:`graphs` can draw: all with a numpy meaning, or a maker is missing here.

    Raises:
        KeyError: an op is neither pointwise nor has a maker.
    """
    names = [row.name for row in TENSOR if row.evaluate is not None]
    for name in names:
        if name not in POINTWISE and name not in _MAKERS:
            raise KeyError(f"graph_strategy: op {name!r} needs a maker")
    return names
