"""Results in between keep the digits that engines compute them with, where that is no more work.

Engines compute in f32, whatever they read and write. Rounding what there is one of per row to bf16,
because numpy would have, costs an instruction where the next op wants an f32 column, and rounding
what one instruction could hand on to the next keeps the two apart. What the program casts itself is
rounded as it says.
"""

from __future__ import annotations

import math

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import MOVES, POINTWISE, uniform

_NARROW = (DType.BF16, DType.F16)
_FEW = 16
"""Of what there is one for so many elements, twice the bytes are few."""
_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "maximum", "minimum"})
_ACTIVATIONS = frozenset(
    {"exp", "square", "sqrt", "rsqrt", "tanh", "sigmoid", "silu", "relu", "log"}
)


def keep_digits(graph: Graph) -> int:
    """Compute in f32, in place, what follows from reductions alone, what an activation makes for a
    sum, and what one arithmetic op makes for the next; how many ops.

    %m: <4x1xbf16> = reduce(%x) {axis=(1,), kind="mean", keepdims=true}
    %y: <4x64xbf16> = mul(%x, %m)
    -->
    %w: <4x64xf32> = cast(%x) {dtype=f32}
    %m: <4x1xf32> = reduce(%w) {axis=(1,), kind="mean", keepdims=true}
    %p: <4x64xf32> = mul(%w, %m)
    %y: <4x64xbf16> = cast(%p) {dtype=bf16}
    """
    per_row = _per_row(graph)
    kept = per_row | _handed_on(graph, per_row)
    wide: dict[Value, Value] = {}
    count = 0
    for op in list(graph.ops):
        if op.opcode == "cast":
            _pass_cast(graph, op, kept, wide)
        elif _can_be_wide(op) and (op.result in kept or any(v in wide for v in op.inputs)):
            _compute_in_f32(graph, op, kept, wide)
            count += 1
    graph.dce()
    return count


def _pass_cast(graph: Graph, op: Op, kept: set[Value], wide: dict[Value, Value]) -> None:
    """Let those that read a cast read what was there before it, if that is f32."""
    source = op.inputs[0]
    if op.result in kept and source.type.dtype is DType.F32:
        wide[op.result] = source
    elif op.result.type.dtype is DType.F32 and source in wide:
        graph.replace_value(op.result, wide[source])


def _compute_in_f32(graph: Graph, op: Op, kept: set[Value], wide: dict[Value, Value]) -> None:
    """Replace a narrow result by one that is computed in f32, and rounded only for those that
    do not want it wide."""
    b = Builder.at_op(graph, op)
    made = b.emit(op.opcode, [_widened(b, v, wide) for v in op.inputs], **op.attrs).result
    narrow = b.cast(made, op.result.type.dtype)
    if op.result in kept or op.opcode in MOVES:
        wide[narrow] = made
    graph.replace_value(op.result, narrow)


def _can_be_wide(op: Op) -> bool:
    computes = op.opcode in POINTWISE or op.opcode == "reduce" or op.opcode in MOVES
    return computes and len(op.results) == 1 and op.result.type.dtype in _NARROW


def _widened(b: Builder, value: Value, wide: dict[Value, Value]) -> Value:
    """An operand in f32; conditions stay what they are."""
    if value in wide or not value.type.dtype.is_float:
        return wide.get(value, value)
    number = uniform(value)
    if number is None:
        return b.cast(value, DType.F32)
    return b.full(value.type.shape, number, DType.F32)


def _per_row(graph: Graph) -> set[Value]:
    """Values of which there is one for many elements: reductions, and what is computed from such
    values alone."""
    found: set[Value] = set()
    for op in graph.ops:
        if op.opcode == "reduce":
            many = _elements(op.inputs[0]) >= _FEW * _elements(op.result)
        else:
            sources = [v for v in op.inputs if uniform(v) is None]
            many = bool(sources) and found.issuperset(sources) and _adds_no_elements(op, sources)
        if many and all(v.type.dtype.is_float for v in op.results):
            found.update(op.results)
    return found


def _adds_no_elements(op: Op, sources: list[Value]) -> bool:
    """Whether an op makes no more elements than it reads, elementwise or by moving them."""
    if op.opcode not in POINTWISE and op.opcode not in MOVES:
        return False
    return _elements(op.result) <= max(map(_elements, sources))


def _elements(value: Value) -> int:
    return math.prod(value.type.shape)


def _handed_on(graph: Graph, per_row: set[Value]) -> set[Value]:
    """Results that the instruction which makes them could hand on to their only reader: a sum takes
    what an activation makes; an arithmetic op or an activation what arithmetic makes of a tile and
    a column, but of three ops in a row only two are one instruction."""
    outputs = set(graph.outputs.values())
    found: set[Value] = set()
    second: set[Op] = set()
    for op in graph.ops:
        reader = _only_reader(op.results[0])
        if reader is None or op.results[0] in outputs or not _can_be_wide(op):
            continue
        if reader.opcode == "cast" and reader.result.type.dtype is DType.F32:
            summed = _only_reader(reader.result)
            if summed is not None and _is_summed(op, summed):
                found.add(op.result)
        elif _is_summed(op, reader):
            found.add(op.result)
        elif op not in second and _is_pair(op, reader, per_row):
            found.add(op.result)
            second.add(reader)
    return found


def _is_pair(first: Op, second: Op, per_row: set[Value]) -> bool:
    """Whether one instruction may do two things to a tile, the operands beside it being columns or
    numbers. With another tile there is one, too, but two fast ones of narrow types beat it."""
    if first.opcode not in _ARITHMETIC or _tiles(first, per_row) != 1:
        return False
    narrow = second.opcode in _ARITHMETIC and _tiles(second, per_row) == 1
    return narrow or second.opcode in _ACTIVATIONS


def _only_reader(value: Value) -> Op | None:
    readers = value.uses
    return readers[0] if len(readers) == 1 else None


def _is_summed(op: Op, reader: Op) -> bool:
    sums = reader.opcode == "reduce" and reader.attrs["kind"] in ("sum", "mean")
    return sums and op.opcode in _ACTIVATIONS


def _tiles(op: Op, per_row: set[Value]) -> int:
    """How many operands are neither columns nor numbers."""
    return sum(v not in per_row and uniform(v) is None for v in op.inputs)
