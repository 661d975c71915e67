"""Elementwise steps: which instruction computes what, operand by operand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.errors import NotSupported
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Stage, Step

NATIVE = (DType.I32, DType.U32)
Operand = Value | float | int | bool


@dataclass(frozen=True, slots=True)
class Args:
    """One instruction's worth of a pointwise step.

    Attributes:
        dst: the destination view.
        srcs: per operand a view of the destination's shape, or the number of a constant.
        columns: per operand, its view as one value per partition where it is no more than that.
        dtypes: per operand, its element type.
        attrs: the tensor_ir op's attributes.
        sums: where the reduction over the free dimensions of what is written is wanted, too: one
            value per partition.
        reduction: which one, as an ALU op.
    """

    dst: Value
    srcs: tuple[Operand, ...]
    columns: tuple[Value | None, ...]
    dtypes: tuple[DType, ...]
    attrs: dict[str, Any]
    sums: Value | None = None
    reduction: str = "add"


Emit = Callable[[Builder, Args], None]


def emit_pointwise(b: Builder, step: Step, args: Args) -> None:
    """Emit the instructions of a pointwise or copy step for one part.

    Raises:
        NotSupported: no engine has the op (decompose should have removed it).
    """
    if step.stages:
        emit_stages(b, step.stages, args)
        return
    opcode = step.op.opcode if step.op and step.kind == "pointwise" else "copy"
    emit = EMITTERS.get(opcode)
    if emit is None:
        raise NotSupported(f"{opcode}: no engine of the target computes it; lowering has no rule")
    emit(b, args)


def whole_tile(b: Builder, operand: Operand, like: Value, dtype: DType) -> Value:
    """The operand as a tile of ``like``'s shape; a constant becomes one column read again."""
    if isinstance(operand, Value):
        return operand
    column = b.alloc((like.type.shape[0], 1), dtype, MemorySpace.SBUF, name="const")
    b.memset(column, float(operand) if dtype.is_float else int(operand))
    return b.broadcast(column, like.type.shape, (0, len(like.type.shape) - 1))


def in_sbuf(b: Builder, operand: Value) -> Value:
    """The operand itself, or an SBUF copy if it is in PSUM (two PSUM reads are not possible)."""
    if operand.type.memory is not MemorySpace.PSUM:
        return operand
    copy = b.alloc(operand.type.shape, operand.type.dtype, MemorySpace.SBUF, name="drained")
    b.tensor_copy(copy, operand)
    return copy


def copy(b: Builder, a: Args) -> None:
    """dst = src, converting the type."""
    src = a.srcs[0]
    if isinstance(src, Value):
        b.tensor_copy(a.dst, src)
    else:
        b.memset(a.dst, float(src) if a.dst.type.dtype.is_float else int(src))


def activation(name: str) -> Emit:
    """One ScalarE activation."""

    def emit(b: Builder, a: Args) -> None:
        _activate(b, a, whole_tile(b, a.srcs[0], a.dst, a.dtypes[0]), op=name)

    return emit


def _activate(b: Builder, a: Args, *operands: Value, **attrs: Any) -> None:
    """The activation, with the sums of its results if they are wanted."""
    if a.sums is None:
        b.activation(a.dst, *operands, **attrs)
    else:
        b.activation_reduce(a.dst, a.sums, *operands, **attrs)


def gelu(b: Builder, a: Args) -> None:
    """The activation of either gelu form."""
    activation({"tanh": "gelu_apprx_tanh", "none": "gelu"}[a.attrs["approximate"]])(b, a)


def reciprocal(b: Builder, a: Args) -> None:
    """VectorE's reciprocal, which has no input range limit."""
    b.reciprocal(a.dst, whole_tile(b, a.srcs[0], a.dst, a.dtypes[0]))


def neg(b: Builder, a: Args) -> None:
    """x * -1; integers of 32 bits as 0 - x, which stays exact."""
    src = whole_tile(b, a.srcs[0], a.dst, a.dtypes[0])
    if a.dtypes[0] in NATIVE:
        zero = whole_tile(b, 0, a.dst, a.dtypes[0])
        b.tensor_tensor_arith(a.dst, zero, src, op="subtract", engine="gpsimd")
        return
    b.tensor_scalar_arith(a.dst, src, op0="multiply", imm0=-1.0)


def arith(name: str) -> Emit:
    """A two-operand ALU op in its cheapest form: immediate, per-partition operand, or two tiles."""

    def emit(b: Builder, a: Args) -> None:
        if any(d in NATIVE for d in a.dtypes):
            _native(b, a, name)
            return
        for position in (1, 0):
            number, tile, reverse = a.srcs[position], a.srcs[1 - position], position == 0
            if not isinstance(number, Value) and isinstance(tile, Value):
                _with_scalar(b, a, tile, op0=name, imm0=float(number), reverse0=reverse)
                return
        if not _by_column(b, a, name):
            _two_tiles(b, a, name)

    return emit


def _by_column(b: Builder, a: Args, name: str) -> bool:
    """Use a per-partition operand if one side is no more than that and the other is more."""
    for position in (1, 0):
        other, reverse = 1 - position, position == 0
        column, tile = a.columns[position], a.srcs[other]
        if column is None or a.columns[other] is not None or not isinstance(tile, Value):
            continue
        if column.type.dtype is not DType.F32:
            wide = b.alloc(column.type.shape, DType.F32, MemorySpace.SBUF, name="column")
            b.tensor_copy(wide, column)
            column = wide
        _with_scalar(b, a, tile, column, op0=name, reverse0=reverse)
        return True
    return False


def _with_scalar(
    b: Builder, a: Args, tile: Value, *column: Value, reverse0: bool, **attrs: Any
) -> None:
    """One operation by a scalar, with the reduction of its results if that is wanted."""
    if a.sums is None:
        b.tensor_scalar_arith(a.dst, tile, *column, reverse0=reverse0, **attrs)
    else:
        b.tensor_scalar_reduce(a.dst, a.sums, tile, *column, reduce_op=a.reduction, **attrs)


def _two_tiles(b: Builder, a: Args, name: str) -> None:
    left, right = (whole_tile(b, s, a.dst, d) for s, d in zip(a.srcs, a.dtypes, strict=True))
    if left.type.memory is MemorySpace.PSUM and right.type.memory is MemorySpace.PSUM:
        right = in_sbuf(b, right)
    b.tensor_tensor_arith(a.dst, left, right, op=name)


def _native(b: Builder, a: Args, name: str) -> None:
    """32-bit integers: GpSimd computes them exactly, between two tiles in SBUF."""
    left, right = (
        in_sbuf(b, whole_tile(b, s, a.dst, d)) for s, d in zip(a.srcs, a.dtypes, strict=True)
    )
    b.tensor_tensor_arith(a.dst, left, right, op=name, engine="gpsimd")


def bits(name: str) -> Emit:
    """A bitwise op between two tiles."""

    def emit(b: Builder, a: Args) -> None:
        left, right = (whole_tile(b, s, a.dst, d) for s, d in zip(a.srcs, a.dtypes, strict=True))
        b.tensor_tensor_bitvec(a.dst, left, right, op=name)

    return emit


_PREDICATES = (DType.U8, DType.U16, DType.U32, DType.BOOL)


def where(b: Builder, a: Args) -> None:
    """dst = b, then overwritten with a where the condition is not zero."""
    condition, yes, no = a.srcs
    copy(b, Args(a.dst, (no,), (None,), a.dtypes[2:], {}))
    mask = whole_tile(b, condition, a.dst, a.dtypes[0])
    if mask.type.dtype not in _PREDICATES:
        flags = b.alloc(a.dst.type.shape, DType.U8, MemorySpace.SBUF, name="mask")
        b.tensor_scalar_arith(flags, mask, op0="not_equal", imm0=0.0)
        mask = flags
    source = whole_tile(b, yes, a.dst, a.dtypes[1])
    if source.type.dtype != a.dst.type.dtype:
        cast = b.alloc(a.dst.type.shape, a.dst.type.dtype, MemorySpace.SBUF, name="chosen")
        b.tensor_copy(cast, source)
        source = cast
    b.copy_predicated(a.dst, mask, source)


_ACTIVATIONS = (
    *("exp", "log", "sqrt", "rsqrt", "square", "tanh", "relu", "sigmoid", "silu", "sin"),
    *("arctan", "abs", "sign", "erf"),
)
ARITHMETIC = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "maximum": "maximum",
    "minimum": "minimum",
    "equal": "equal",
    "not_equal": "not_equal",
    "greater": "greater",
    "greater_equal": "greater_equal",
    "less": "less",
    "less_equal": "less_equal",
}

EMITTERS: dict[str, Emit] = {
    "copy": copy,
    "cast": copy,
    "near_integer": copy,
    "reciprocal": reciprocal,
    "neg": neg,
    "gelu": gelu,
    "where": where,
    **{name: activation(name) for name in _ACTIVATIONS},
    **{name: arith(alu) for name, alu in ARITHMETIC.items()},
    **{name: bits(name) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
}


def emit_stages(b: Builder, stages: Sequence[Stage], args: Args) -> None:
    """Two ops in one instruction if their operands allow it, else one after the other."""
    if len(stages) == 1:
        EMITTERS[stages[0].opcode](b, _of_stage(stages[0], args, None, args.dst))
        return
    first, second = stages
    before = _of_stage(first, args, None, args.dst)
    if _as_activation(b, first, second, before) or _as_tensor_scalar(b, stages, args):
        return
    if _as_scalar_tensor_tensor(b, stages, args):
        return
    between = b.alloc(args.dst.type.shape, DType.F32, MemorySpace.SBUF, name="between")
    EMITTERS[first.opcode](b, _of_stage(first, args, None, between))
    EMITTERS[second.opcode](b, _of_stage(second, args, between, args.dst))


def _of_stage(stage: Stage, args: Args, previous: Value | None, dst: Value) -> Args:
    """The arguments of one stage; the result before it is f32 and no column."""
    srcs: list[Operand] = []
    columns: list[Value | None] = []
    dtypes: list[DType] = []
    for k in stage.operands:
        if k is None:
            assert previous is not None
            srcs.append(previous)
        else:
            srcs.append(args.srcs[k])
        columns.append(None if k is None else args.columns[k])
        dtypes.append(DType.F32 if k is None else args.dtypes[k])
    sums = args.sums if dst is args.dst else None
    kinds, attrs = tuple(dtypes), dict(stage.attrs)
    return Args(dst, tuple(srcs), tuple(columns), kinds, attrs, sums, args.reduction)


def _column_f32(b: Builder, column: Value) -> Value:
    """One f32 value per partition."""
    if column.type.dtype is DType.F32:
        return column
    made = b.alloc(column.type.shape, DType.F32, MemorySpace.SBUF, 2, name="column")
    return b.tensor_copy(made, column)


def _negative(b: Builder, column: Value) -> Value:
    """A column times -1, by the engine that reads it as a bias: it need not wait for another."""
    made = b.alloc(column.type.shape, DType.F32, MemorySpace.SBUF, name="column")
    return b.activation(made, column, op="copy", scale=-1.0)


def _as_activation(b: Builder, first: Stage, second: Stage, a: Args) -> bool:
    """f(x * number), f(x + column), f(x - column) or f(column - x) on ScalarE."""
    if second.opcode not in _ACTIVATIONS:
        return False
    for position in (1, 0):
        tile, column = a.srcs[1 - position], a.columns[position]
        other = a.srcs[position]
        if not isinstance(tile, Value):
            continue
        if first.opcode == "mul" and not isinstance(other, Value):
            _activate(b, a, tile, op=second.opcode, scale=float(other))
            return True
        if first.opcode in ("add", "sub") and column is not None:
            reverse = first.opcode == "sub" and position == 0
            sign = -1.0 if first.opcode == "sub" and not reverse else 1.0
            bias = column if sign == 1.0 else _negative(b, column)
            _activate(b, a, tile, bias, op=second.opcode, scale=-1.0 if reverse else 1.0)
            return True
    return False


def _as_tensor_scalar(b: Builder, stages: Sequence[Stage], args: Args) -> bool:
    """(x op0 s0) op1 s1 on VectorE, each s a number or a column."""
    tile: Value | None = None
    pointers: list[Value] = []
    attrs: dict[str, Any] = {}
    for number, stage in enumerate(stages):
        if stage.opcode not in ARITHMETIC:
            return False
        found = _tile_and_scalar(stage, args, number > 0)
        if found is None:
            return False
        taken, scalar, reverse = found
        tile = tile or taken
        attrs |= {f"op{number}": ARITHMETIC[stage.opcode], f"reverse{number}": reverse}
        if isinstance(scalar, Value):
            pointers.append(scalar)
        else:
            attrs[f"imm{number}"] = float(scalar)
    assert tile is not None
    wide = [_column_f32(b, column) for column in pointers]
    b.tensor_scalar_arith(args.dst, tile, *wide, **attrs)
    return True


def _as_scalar_tensor_tensor(b: Builder, stages: Sequence[Stage], args: Args) -> bool:
    """(x op0 s) op1 tile on VectorE, s a number or a column."""
    first, second = stages
    found = _tile_and_scalar(first, args, False)
    if second.opcode not in ARITHMETIC or first.opcode not in ARITHMETIC or found is None:
        return False
    tile, scalar, reverse = found
    position = 0 if second.operands[0] is not None else 1
    other = args.srcs[second.operands[position] or 0]
    if tile is None or not isinstance(other, Value):
        return False
    if tile.type.memory is MemorySpace.PSUM and other.type.memory is MemorySpace.PSUM:
        other = in_sbuf(b, other)
    pointers = [_column_f32(b, scalar)] if isinstance(scalar, Value) else []
    b.scalar_tensor_tensor_arith(
        args.dst,
        tile,
        other,
        *pointers,
        op0=ARITHMETIC[first.opcode],
        op1=ARITHMETIC[second.opcode],
        imm0=None if pointers else float(scalar),  # type: ignore[arg-type]
        reverse0=reverse,
        reverse1=position == 0,
    )
    return True


def _tile_and_scalar(
    stage: Stage, args: Args, chained: bool
) -> tuple[Value | None, Operand, bool] | None:
    """(tile, number or column, whether the scalar comes first) of a stage, or None."""
    for position in (1, 0):
        scalar, tile = stage.operands[position], stage.operands[1 - position]
        if scalar is None or (tile is not None) == chained:
            continue
        given = args.columns[scalar] or args.srcs[scalar]
        if isinstance(given, Value) and args.columns[scalar] is None:
            continue
        if tile is None:
            return None, given, position == 0
        source = args.srcs[tile]
        if isinstance(source, Value):
            return source, given, position == 0
    return None


def is_activation(step: Step) -> bool:
    """Whether the last thing a pointwise step does is an activation of ScalarE."""
    if step.kind != "pointwise" or step.op is None:
        return False
    return step.op.opcode in _ACTIVATIONS


def has_emitter(opcode: str) -> bool:
    """Whether a pointwise op lowers as it is."""
    return opcode in EMITTERS


__all__ = ["EMITTERS", "Args", "Operand", "Sequence", "emit_pointwise", "has_emitter", "whole_tile"]
