"""Elementwise steps: which instruction computes what, operand by operand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.errors import NotSupported
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Step

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
        negate: whether it is wanted times -1.
    """

    dst: Value
    srcs: tuple[Operand, ...]
    columns: tuple[Value | None, ...]
    dtypes: tuple[DType, ...]
    attrs: dict[str, Any]
    sums: Value | None = None
    reduction: str = "add"
    negate: bool = False


Emit = Callable[[Builder, Args], None]


def emit_pointwise(b: Builder, step: Step, args: Args) -> None:
    """Emit the instructions of a pointwise or copy step of one op for one part.

    Raises:
        NotSupported: no engine has the op (decompose should have removed it).
    """
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
        activate(b, a, whole_tile(b, a.srcs[0], a.dst, a.dtypes[0]), op=name)

    return emit


def activate(b: Builder, a: Args, *operands: Value, **attrs: Any) -> None:
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
    if a.dtypes[0] in NATIVE:
        zero = whole_tile(b, 0, a.dst, a.dtypes[0])
        src = whole_tile(b, a.srcs[0], a.dst, a.dtypes[0])
        b.tensor_tensor_arith(a.dst, zero, src, op="subtract", engine="gpsimd")
        return
    b.tensor_scalar_arith(
        a.dst, whole_tile(b, a.srcs[0], a.dst, a.dtypes[0]), op0="multiply", imm0=-1.0
    )


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
        attrs |= {"reduce_op": a.reduction, "negate": a.negate}
        b.tensor_scalar_reduce(a.dst, a.sums, tile, *column, **attrs)


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


ACTIVATIONS = (
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
    **{name: activation(name) for name in ACTIVATIONS},
    **{name: arith(alu) for name, alu in ARITHMETIC.items()},
    **{name: bits(name) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
}


def is_activation(step: Step) -> bool:
    """Whether the last thing a pointwise step does is an activation of ScalarE."""
    if step.kind != "pointwise" or step.op is None:
        return False
    return step.op.opcode in ACTIVATIONS


def has_emitter(opcode: str) -> bool:
    """Whether a pointwise op lowers as it is."""
    return opcode in EMITTERS
