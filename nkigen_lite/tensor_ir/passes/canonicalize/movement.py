"""Transposes, reshapes and broadcasts: merged, dropped, or moved behind the computing."""

from __future__ import annotations

import numpy as np

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import POINTWISE, fit, made_by, reshaped, uniform
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect
from nkigen_lite.tensor_ir.rows import TENSOR
from nkigen_lite.tensor_ir.types import TensorType

RULES: list[TensorRule] = []
rule = collect(RULES)

Shape = tuple[int, ...]


def _padded(shape: Shape, rank: int) -> Shape:
    """``shape`` with leading dimensions of extent 1 up to ``rank``."""
    return (1,) * (rank - len(shape)) + shape


@rule("transpose")
def transpose_nothing(b: Builder, op: Op) -> Value | None:
    """Every dimension stays where it is.

    %y: <2x3xf32> = transpose(%x) {perm=(0, 1)}
    -->
    %x
    """
    perm = op.attrs["perm"]
    return op.inputs[0] if perm == tuple(range(len(perm))) else None


@rule("transpose")
def transpose_twice(b: Builder, op: Op) -> Value | None:
    """Two transposes are one.

    %x: <2x3x5xf32>
    %t: <3x5x2xf32> = transpose(%x) {perm=(1, 2, 0)}
    %y: <5x3x2xf32> = transpose(%t) {perm=(1, 0, 2)}
    -->
    %y: <5x3x2xf32> = transpose(%x) {perm=(2, 1, 0)}
    """
    inner = made_by(op.inputs[0], "transpose")
    if inner is None:
        return None
    return b.transpose(inner.inputs[0], tuple(inner.attrs["perm"][p] for p in op.attrs["perm"]))


def _order_stays(shape: Shape, perm: Shape) -> bool:
    """Whether ``perm`` moves only dimensions of extent 1."""
    moved = [p for p in perm if shape[p] != 1]
    return moved == sorted(moved)


@rule("transpose")
def transpose_units(b: Builder, op: Op) -> Value | None:
    """Where only dimensions of extent 1 move, no element does.

    %x: <1x3x5xf32>
    %y: <3x1x5xf32> = transpose(%x) {perm=(1, 0, 2)}
    -->
    %y: <3x1x5xf32> = reshape(%x) {shape=(3, 1, 5)}
    """
    x = op.inputs[0]
    if not _order_stays(x.type.shape, op.attrs["perm"]):
        return None
    return reshaped(b, x, op.result.type.shape)


@rule("transpose")
def transpose_of_broadcast(b: Builder, op: Op) -> Value | None:
    """Fewer elements are transposed before a broadcast than after it.

    %x: <3xf32>
    %w: <2x3xf32> = broadcast_to(%x) {shape=(2, 3)}
    %y: <3x2xf32> = transpose(%w) {perm=(1, 0)}
    -->
    %r: <3x1xf32> = reshape(%x) {shape=(3, 1)}
    %y: <3x2xf32> = broadcast_to(%r) {shape=(3, 2)}
    """
    inner = made_by(op.inputs[0], "broadcast_to")
    if inner is None:
        return None
    x, perm = inner.inputs[0], op.attrs["perm"]
    shape = _padded(x.type.shape, len(perm))
    moved = tuple(shape[p] for p in perm)
    if _order_stays(shape, perm):
        small = reshaped(b, x, moved)
    else:
        small = b.transpose(reshaped(b, x, shape), perm)
    return b.broadcast_to(small, op.result.type.shape)


@rule("reshape")
def reshape_nothing(b: Builder, op: Op) -> Value | None:
    """The shape stays as it is.

    %y: <2x3xf32> = reshape(%x) {shape=(2, 3)}
    -->
    %x
    """
    x = op.inputs[0]
    return x if x.type == op.result.type else None


@rule("reshape")
def reshape_twice(b: Builder, op: Op) -> Value | None:
    """Two reshapes are one.

    %x: <2x3x5xf32>
    %r: <6x5xf32> = reshape(%x) {shape=(6, 5)}
    %y: <2x15xf32> = reshape(%r) {shape=(2, 15)}
    -->
    %y: <2x15xf32> = reshape(%x) {shape=(2, 15)}
    """
    inner = made_by(op.inputs[0], "reshape")
    return b.reshape(inner.inputs[0], op.attrs["shape"]) if inner else None


@rule("reshape")
def reshape_of_broadcast(b: Builder, op: Op) -> Value | None:
    """Dimensions of extent 1 can come and go before a broadcast.

    %x: <2x1xf32>
    %w: <2x3xf32> = broadcast_to(%x) {shape=(2, 3)}
    %y: <2x1x3xf32> = reshape(%w) {shape=(2, 1, 3)}
    -->
    %r: <2x1x1xf32> = reshape(%x) {shape=(2, 1, 1)}
    %y: <2x1x3xf32> = broadcast_to(%r) {shape=(2, 1, 3)}
    """
    inner = made_by(op.inputs[0], "broadcast_to")
    if inner is None:
        return None
    x, wide, shape = inner.inputs[0], inner.attrs["shape"], op.attrs["shape"]
    if [n for n in wide if n != 1] != [n for n in shape if n != 1]:
        return None
    kept = (n for n, w in zip(_padded(x.type.shape, len(wide)), wide, strict=True) if w != 1)
    small = tuple(1 if n == 1 else next(kept) for n in shape)
    return b.broadcast_to(reshaped(b, x, small), shape)


@rule("broadcast_to")
def broadcast_nothing(b: Builder, op: Op) -> Value | None:
    """The shape stays as it is.

    %y: <2x3xf32> = broadcast_to(%x) {shape=(2, 3)}
    -->
    %x
    """
    x = op.inputs[0]
    return x if x.type == op.result.type else None


@rule("broadcast_to")
def broadcast_twice(b: Builder, op: Op) -> Value | None:
    """Two broadcasts are one.

    %x: <3xf32>
    %w: <2x3xf32> = broadcast_to(%x) {shape=(2, 3)}
    %y: <4x2x3xf32> = broadcast_to(%w) {shape=(4, 2, 3)}
    -->
    %y: <4x2x3xf32> = broadcast_to(%x) {shape=(4, 2, 3)}
    """
    inner = made_by(op.inputs[0], "broadcast_to")
    return b.broadcast_to(inner.inputs[0], op.attrs["shape"]) if inner else None


@rule(*POINTWISE)
def broadcast_after(b: Builder, op: Op) -> Value | None:
    """Pointwise ops broadcast by themselves, and work on fewer elements before a broadcast.

    %x: <3xf32>
    %z: <1x3xf32>
    %w: <2x3xf32> = broadcast_to(%x) {shape=(2, 3)}
    %v: <2x3xf32> = broadcast_to(%z) {shape=(2, 3)}
    %y: <2x3xf32> = add(%w, %v)
    -->
    %s: <1x3xf32> = add(%x, %z)
    %y: <2x3xf32> = broadcast_to(%s) {shape=(2, 3)}
    """
    bare = [_before_broadcasts(v) for v in op.inputs]
    numbers = [uniform(v) for v in bare]
    shapes = [() if c is not None else v.type.shape for v, c in zip(bare, numbers, strict=True)]
    small = np.broadcast_shapes(*shapes)
    shape = op.result.type.shape
    unchanged = all(v is w for v, w in zip(bare, op.inputs, strict=True))
    if (unchanged and small == shape) or None not in numbers:
        return None
    operands = [
        v if c is None or not v.type.rank else b.full((), c, v.type.dtype)
        for v, c in zip(bare, numbers, strict=True)
    ]
    return fit(b, b.emit(op.opcode, operands, **op.attrs).result, shape)


def _before_broadcasts(value: Value) -> Value:
    while inner := made_by(value, "broadcast_to"):
        value = inner.inputs[0]
    return value


@rule("matmul")
def matmul_of_broadcast(b: Builder, op: Op) -> Value | None:
    """Matrix products broadcast their batch dimensions by themselves.

    %x: <2x3x4xf32>
    %w: <4x5xf32>
    %v: <2x4x5xf32> = broadcast_to(%w) {shape=(2, 4, 5)}
    %y: <2x3x5xf32> = matmul(%x, %v)
    -->
    %y: <2x3x5xf32> = matmul(%x, %w)
    """
    return _without(b, op, "broadcast_to")


@rule(*POINTWISE, "matmul", "broadcast_to")
def drop_leading_units(b: Builder, op: Op) -> Value | None:
    """Broadcasting adds leading dimensions by itself.

    %x: <3xf32>
    %r: <1x3xf32> = reshape(%x) {shape=(1, 3)}
    %y: <2x3xf32> = mul(%r, %z)
    -->
    %y: <2x3xf32> = mul(%x, %z)
    """
    return _without(b, op, "reshape")


def _without(b: Builder, op: Op, opcode: str) -> Value | None:
    """``op`` on what its first fitting operand is before the ``opcode`` that pads or repeats it."""
    for position, operand in enumerate(op.inputs):
        inner = made_by(operand, opcode)
        if inner is None:
            continue
        operands = [*op.inputs[:position], inner.inputs[0], *op.inputs[position + 1 :]]
        if _is_broadcast(inner) and _makes_same(op, [v.type for v in operands]):
            return b.emit(op.opcode, operands, **op.attrs).result
    return None


def _is_broadcast(op: Op) -> bool:
    """Whether numpy's broadcasting could do what ``op`` does."""
    source, target = op.inputs[0].type.shape, op.result.type.shape
    if len(source) > len(target):
        return False
    padded = _padded(source, len(target))
    return all(n in (1, m) for n, m in zip(padded, target, strict=True))


def _makes_same(op: Op, types: list[TensorType]) -> bool:
    """Whether ``op`` on operands of those types has the result type that it has now."""
    row = TENSOR[op.opcode]
    try:
        return tuple(row.infer(types, row.complete(types, op.attrs))) == (op.result.type,)
    except InvalidOp:
        return False


def shrink_constants(graph: Graph) -> None:
    """Let pointwise ops read constants as scalars wherever that leaves their shape as it is.

    Equal numbers of different shapes become one value this way, and lowerings see immediates.
    """
    names = frozenset(POINTWISE)
    for op in list(graph.ops):
        if op.opcode not in names or len(op.inputs) == 1:
            continue
        for position, operand in enumerate(op.inputs):
            number = uniform(operand) if operand.type.rank else None
            scalar = TensorType((), operand.type.dtype)
            types = [v.type for v in op.inputs]
            if number is not None and _makes_same(
                op, [*types[:position], scalar, *types[position + 1 :]]
            ):
                op.set_input(position, Builder.at_op(graph, op).full((), number, scalar.dtype))
