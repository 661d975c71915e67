"""Two elementwise ops in one instruction, where their operands allow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Stage
from nkigen_lite.tensor_ir.passes.direct_lower.pointwise import (
    ACTIVATIONS,
    ARITHMETIC,
    EMITTERS,
    Args,
    Operand,
    activate,
    in_sbuf,
)


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
    # Two, so that one op can go on while another engine reads what it made before.
    between = b.alloc(args.dst.type.shape, DType.F32, MemorySpace.SBUF, 2, name="between")
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
    return Args(dst, tuple(srcs), tuple(columns), kinds, attrs, sums, args.reduction, args.negate)


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
    if second.opcode not in ACTIVATIONS:
        return False
    for position in (1, 0):
        tile, column = a.srcs[1 - position], a.columns[position]
        other = a.srcs[position]
        if not isinstance(tile, Value):
            continue
        if first.opcode == "mul" and not isinstance(other, Value):
            activate(b, a, tile, op=second.opcode, scale=float(other))
            return True
        if first.opcode in ("add", "sub") and column is not None:
            reverse = first.opcode == "sub" and position == 0
            sign = -1.0 if first.opcode == "sub" and not reverse else 1.0
            bias = column if sign == 1.0 else _negative(b, column)
            activate(b, a, tile, bias, op=second.opcode, scale=-1.0 if reverse else 1.0)
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
