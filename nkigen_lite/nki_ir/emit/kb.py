"""What rows say about the Kernel Builder: which call of its ``isa`` an op is.

A row's ``kb`` field is a :data:`KbTemplate`, made by :func:`kb` from argument makers. The vendor
publishes no signatures of ``nki.compiler.kernel_builder``; the calls are those that nkipy makes
(aws-neuron/nkipy, branch nkigen-lite, emit_to_kb.py), and what that has no call for is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.errors import NotSupported

ARITH_OPS = {
    "add": "Add",
    "subtract": "Subtract",
    "multiply": "Multiply",
    "maximum": "Max",
    "minimum": "Min",
    "power": "Pow",
    "greater": "IsGT",
    "greater_equal": "IsGE",
    "less": "IsLT",
    "less_equal": "IsLE",
    "equal": "IsEQ",
    "not_equal": "IsNE",
    "logical_and": "LogicalAnd",
    "logical_or": "LogicalOr",
    "logical_xor": "LogicalXor",
}
BITVEC_OPS = {"bitwise_and": "BitwiseAnd", "bitwise_or": "BitwiseOr", "bitwise_xor": "BitwiseXor"}
LANE_OPS = {"add": "Add", "maximum": "Max"}
# What a function is with its operands the other way round; the others do not mind, but for one.
_MIRRORED = {
    "greater": "less",
    "greater_equal": "less_equal",
    "less": "greater",
    "less_equal": "greater_equal",
}
_ORDERED = frozenset({"power"})


class Tracing(Protocol):
    """The Kernel Builder at work on one kernel."""

    @property
    def isa(self) -> Any:
        """The module of its instructions."""
        ...

    def tile(self, value: Value) -> Any:
        """The tile, or the view of one, that a value is."""
        ...

    def flat(self, value: Value) -> Any:
        """The same as (partition, free), where the free dimensions are evenly spaced."""
        ...

    def column(self, value: Value) -> Any:
        """One value per partition, as (partition, 1)."""
        ...

    def padded(self, value: Value, other: Value) -> Any:
        """One side of a copy, with a dimension of 1 more if a side on chip has rank 1."""
        ...

    def rows_at(self, table: Value, indices: Value) -> Any:
        """The rows of a table in HBM whose numbers a tile of shape (P, 1) holds."""
        ...

    def index(self, value: Value) -> int:
        """The present value of a loop's index."""
        ...

    def scratch(self, like: Value, dtype: DType) -> Any:
        """A new tile in SBUF of a value's shape; the op that asks for it must release it."""
        ...

    def release(self, tile: Any) -> None:
        """End a scratch tile's life."""
        ...

    def identity(self, size: int, dtype: DType) -> Any:
        """A tile that holds the identity matrix."""
        ...


KbTemplate = Callable[[Op, Tracing], None]
KbArgument = Callable[[Op, Tracing], Any]

LEFT_OUT = object()
"""What an argument maker returns to leave its keyword out."""


def kb(function: str, **arguments: KbArgument) -> KbTemplate:
    """A call of the Kernel Builder's ``isa.<function>``, keyword by keyword."""

    def call(op: Op, tracing: Tracing) -> None:
        made = {keyword: make(op, tracing) for keyword, make in arguments.items()}
        given = {keyword: value for keyword, value in made.items() if value is not LEFT_OUT}
        getattr(tracing.isa, function)(**given)

    return call


def unknown(why: str) -> KbTemplate:
    """An op for which no call of the Kernel Builder is known."""

    def refuse(op: Op, tracing: Tracing) -> None:
        raise NotSupported(f"emit_to_kb: {op.opcode}: {why}")

    return refuse


NO_CALL = "no call of the Kernel Builder is known for it"
NOT_ALL_KEYWORDS = "the keywords of its call are not all known"
NATIVE_GROUPS = "its groups of ranks are objects that only the vendor's compiler makes"
REGISTERS = "the Kernel Builder's registers are values, which nothing writes again"
ONE_OFFSET = "how a block of rows is found from one offset is not known"


def only(template: KbTemplate, **attrs: Any) -> KbTemplate:
    """The template for ops whose attributes have these values: no call is known for other forms."""

    def call(op: Op, tracing: Tracing) -> None:
        for name, value in attrs.items():
            if op.attrs[name] != value:
                raise NotSupported(
                    f"emit_to_kb: {op.opcode}: {name} is {op.attrs[name]!r} but a call is known "
                    f"for {value!r} only"
                )
        template(op, tracing)

    return call


def tile(position: int) -> KbArgument:
    """The operand at a position; left out if the op has fewer."""

    def make(op: Op, tracing: Tracing) -> Any:
        return tracing.tile(op.inputs[position]) if position < len(op.inputs) else LEFT_OUT

    return make


def flat(position: int) -> KbArgument:
    """The operand at a position as (partition, free)."""
    return lambda op, tracing: tracing.flat(op.inputs[position])


def dma(position: int) -> KbArgument:
    """One side of a copy."""
    return lambda op, tracing: tracing.padded(op.inputs[position], op.inputs[1 - position])


def column(position: int, *, default: Any = LEFT_OUT) -> KbArgument:
    """The operand of one value per partition at a position, or ``default`` if there is none."""

    def make(op: Op, tracing: Tracing) -> Any:
        if position >= len(op.inputs):
            return default
        return tracing.column(op.inputs[position])

    return make


def attribute(name: str) -> KbArgument:
    """The value of an attribute."""
    return lambda op, tracing: op.attrs[name]


def number_or_column(attr: str, position: int) -> KbArgument:
    """The attribute's number, or where that is None the per-partition operand at a position."""

    def make(op: Op, tracing: Tracing) -> Any:
        number = op.attrs[attr]
        return tracing.column(op.inputs[position]) if number is None else number

    return make


def given(value: Any) -> KbArgument:
    """A fixed value."""
    return lambda op, tracing: value


def constant(group: str, member: str) -> KbArgument:
    """A member of one of the ``isa`` module's enums."""
    return lambda op, tracing: getattr(getattr(tracing.isa, group), member)


def member(group: str, attr: str, names: Mapping[str, str] | None = None) -> KbArgument:
    """The enum member for the function that an attribute names."""

    def make(op: Op, tracing: Tracing) -> Any:
        wanted = op.attrs[attr]
        return LEFT_OUT if wanted is None else enum_member(op, tracing, group, wanted, names)

    return make


def enum_member(
    op: Op, tracing: Tracing, group: str, wanted: str, names: Mapping[str, str] | None = None
) -> Any:
    """The member of a group for a function of ``nl``'s name.

    Raises:
        NotSupported: no member is known for it.
    """
    found = wanted if names is None else names.get(wanted)
    if found is None:
        raise NotSupported(f"emit_to_kb: {op.opcode}: no member of {group} is known for {wanted}")
    return getattr(getattr(tracing.isa, group), found)


def copy(op: Op, tracing: Tracing) -> None:
    """tensor_copy; numbers that become bools are compared with zero, as bool is kept in uint8."""
    dst, src = op.inputs
    if dst.type.dtype is DType.BOOL and src.type.dtype is not DType.BOOL:
        differs = tracing.isa.arith_op.IsNE
        _in_f32(op, tracing, lambda to, of: _scalar_calls(tracing, to, of, [(differs, 0.0)]))
    else:
        tracing.isa.tensor_copy(dst=tracing.tile(dst), src=tracing.tile(src))


def transpose(op: Op, tracing: Tracing) -> None:
    """nc_transpose: on VectorE a call of its own, on TensorE a product with the identity."""
    dst, src = op.inputs
    if op.attrs["engine"] == "vector":
        tracing.isa.stream_transpose(dst=tracing.tile(dst), src=tracing.flat(src))
        return
    size, dtype = src.type.partition_size, src.type.dtype
    tracing.isa.matmul(
        dst=tracing.tile(dst),
        stationary=tracing.flat(src),
        moving=tracing.identity(size, dtype),
        accum=False,
        is_transpose=True,
    )


def accumulates(op: Op, tracing: Tracing) -> bool:
    """Whether a matmul adds to what its destination holds."""
    indices = [tracing.index(value) for value in op.inputs[3:]]
    return any(indices) if indices else bool(op.attrs["accumulate"])


def tensor_scalar(op: Op, tracing: Tracing) -> None:
    """(x op0 s0) op1 s1, in float32 tiles: others go through scratch tiles."""
    waiting = [tracing.column(value) for value in op.inputs[2:]]
    steps: list[tuple[Any, Any]] = []
    for number in (0, 1):
        if op.attrs[f"op{number}"] is not None:
            enum_member(op, tracing, "arith_op", op.attrs[f"op{number}"], ARITH_OPS)
            imm = op.attrs[f"imm{number}"]
            steps += _step(op, tracing, number, waiting.pop(0) if imm is None else imm)
    _in_f32(op, tracing, lambda to, of: _scalar_calls(tracing, to, of, steps))


def _step(op: Op, tracing: Tracing, number: int, operand: Any) -> list[tuple[Any, Any]]:
    """One step as (operation, operand) pairs; ``s - x`` is ``x * -1 + s``."""
    name, isa = op.attrs[f"op{number}"], tracing.isa
    if op.attrs[f"reverse{number}"]:
        if name == "subtract":
            return [(isa.arith_op.Multiply, -1.0), (isa.arith_op.Add, operand)]
        name = _other_way_round(op, name)
    return [(enum_member(op, tracing, "arith_op", name, ARITH_OPS), operand)]


def _other_way_round(op: Op, name: str) -> str:
    """The function that is ``name`` with its operands changed."""
    if name in _ORDERED:
        raise NotSupported(f"emit_to_kb: {op.opcode}: no call is known for a reversed {name}")
    return _MIRRORED.get(name, name)


def _scalar_calls(tracing: Tracing, dst: Any, src: Any, steps: list[tuple[Any, Any]]) -> None:
    """The steps one after the other, two in a call."""
    for start in range(0, len(steps), 2):
        given: dict[str, Any] = {}
        for number, (operation, operand) in enumerate(steps[start : start + 2]):
            given |= {f"op{number}": operation, f"operand{number}": operand}
        tracing.isa.tensor_scalar_arith(dst=dst, src=dst if start else src, **given)


def _in_f32(op: Op, tracing: Tracing, call: Callable[[Any, Any], None]) -> None:
    """``call(dst, src)`` on float32 tiles; others are copied from and to scratch tiles."""
    dst, src = op.inputs[:2]
    made = [tracing.scratch(v, DType.F32) for v in (dst, src) if v.type.dtype is not DType.F32]
    tiles = iter(made)
    target = tracing.tile(dst) if dst.type.dtype is DType.F32 else next(tiles)
    source = tracing.tile(src) if src.type.dtype is DType.F32 else next(tiles)
    if src.type.dtype is not DType.F32:
        tracing.isa.tensor_copy(dst=source, src=tracing.tile(src))
    call(target, source)
    if dst.type.dtype is not DType.F32:
        tracing.isa.tensor_copy(dst=tracing.tile(dst), src=target)
    for scratch in made:
        tracing.release(scratch)


def scalar_reduce(op: Op, tracing: Tracing) -> None:
    """x op0 s and its reduction, in two calls; in float32 tiles, as the reduction reads what was
    written."""
    dst, reduced, x = op.inputs[:3]
    if dst.type.dtype is not DType.F32 or x.type.dtype is not DType.F32 or op.attrs["negate"]:
        raise NotSupported(f"emit_to_kb: {op.opcode}: calls are known for float32, not negated")
    imm = op.attrs["imm0"]
    operand = tracing.column(op.inputs[3]) if imm is None else imm
    operation = enum_member(op, tracing, "arith_op", op.attrs["op0"], ARITH_OPS)
    _scalar_calls(tracing, tracing.tile(dst), tracing.tile(x), [(operation, operand)])
    tracing.isa.tensor_reduce_arith(
        dst=tracing.column(reduced),
        src=tracing.tile(dst),
        op=enum_member(op, tracing, "arith_op", op.attrs["reduce_op"], ARITH_OPS),
        num_r_dim=dst.type.rank - 1,
    )


def scalar_tensor_tensor(op: Op, tracing: Tracing) -> None:
    """(x op0 s) op1 tensor; ``tensor - y`` is ``(y - tensor) * -1``."""
    dst, x, tensor = (tracing.tile(value) for value in op.inputs[:3])
    imm, second = op.attrs["imm0"], op.attrs["op1"]
    scalar = tracing.column(op.inputs[3]) if imm is None else imm
    negated = op.attrs["reverse1"] and second == "subtract"
    if op.attrs["reverse1"] and not negated:
        second = _other_way_round(op, second)
    steps = _step(op, tracing, 0, scalar)
    between = None
    if len(steps) > 1:
        between = tracing.scratch(op.inputs[1], DType.F32)
        tracing.isa.tensor_copy(dst=between, src=x)
        _scalar_calls(tracing, between, between, steps[:-1])
    first, operand = steps[-1]
    tracing.isa.scalar_tensor_tensor_arith(
        dst=dst,
        src0=x if between is None else between,
        src1=tensor,
        imm0=operand,
        op0=first,
        op1=enum_member(op, tracing, "arith_op", second, ARITH_OPS),
    )
    if between is not None:
        tracing.release(between)
    if negated:
        copies = tracing.isa.activation_function.copy
        tracing.isa.activation(dst=dst, src=dst, bias=0.0, scale=-1.0, op=copies)
