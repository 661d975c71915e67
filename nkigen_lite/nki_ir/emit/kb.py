"""What rows say about the Kernel Builder: which call of its ``isa`` an op is.

A row's ``kb`` field is a :data:`KbTemplate`, made by :func:`kb` from argument makers. The vendor
publishes no signatures of ``nki.compiler.kernel_builder``; the calls are those that nkipy makes
(aws-neuron/nkipy, branch nkigen-lite, emit_to_kb.py), and what that has no call for is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
_ORDERED = frozenset({"power", "subtract"})


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

    def block_at(self, op: Op, table: Value, where: Value, size: int) -> Any:
        """``size`` rows of a table in HBM from an offset on, a register or a tile of one number."""
        ...

    def register(self, value: Value) -> Any:
        """The tile of one number that stands for a register."""
        ...

    def loaded(self, tile: Any) -> Any:
        """What a tile of one number holds, as a value of the Kernel Builder."""
        ...

    def groups(self, ranks: Sequence[Sequence[int]]) -> Any:
        """Groups of ranks, as an object of the vendor's compiler."""
        ...

    def dimension(self, number: int) -> Any:
        """The dimension that a collective joins or splits, as an object of the same."""
        ...

    def index(self, value: Value) -> int:
        """The present value of a loop's index."""
        ...

    def scratch(self, shape: Sequence[int], dtype: DType) -> Any:
        """A new tile in SBUF; the op that asks for it must release it."""
        ...

    def release(self, tile: Any) -> None:
        """End a scratch tile's life."""
        ...

    def identity(self, size: int, dtype: DType) -> Any:
        """A tile that holds the identity matrix."""
        ...


KbTemplate = Callable[[Op, Tracing], None]
KbArgument = Callable[[Op, Tracing], Any]
ScalarStep = tuple[Any, Any]
"""An operation and its operand, a number or a column; or an activation function and None."""

UNARY = ("abs", "rsqrt")
"""Steps of tensor_scalar that take no operand: in the Kernel Builder, activations."""

LEFT_OUT = object()
"""What an argument maker returns to leave its keyword out."""


def kb(function: str, **arguments: KbArgument) -> KbTemplate:
    """A call of the Kernel Builder's ``isa.<function>``, keyword by keyword."""

    def call(op: Op, tracing: Tracing) -> None:
        made = {keyword: make(op, tracing) for keyword, make in arguments.items()}
        given = {keyword: value for keyword, value in made.items() if value is not LEFT_OUT}
        getattr(tracing.isa, function)(**given)

    return call


@dataclass(frozen=True, slots=True)
class Unknown:
    """An op that no known calls of the Kernel Builder amount to, and why."""

    why: str

    def __call__(self, op: Op, tracing: Tracing) -> None:
        raise NotSupported(f"emit_to_kb: {op.opcode}: {self.why}")


NO_CALL = "no call of the Kernel Builder is known for it"
CARRIED = "how the Kernel Builder's loop carries values is not known"
NOT_UNROLLED = "the Kernel Builder unrolls loops, which needs a known number of trips"


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
        _in_f32(op, tracing, lambda to, of: scalar_calls(tracing, to, of, [(differs, 0.0)]))
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
    steps = scalar_steps(op, tracing, op.inputs[2:])
    _in_f32(op, tracing, lambda to, of: scalar_calls(tracing, to, of, steps))


def scalar_steps(
    op: Op, tracing: Tracing, columns: Sequence[Value], numbers: Sequence[int] = (0, 1)
) -> list[ScalarStep]:
    """The steps ``op0`` and, if there is one, ``op1``, with numbers or columns as operands."""
    waiting = [tracing.column(value) for value in columns]
    steps: list[ScalarStep] = []
    for number in numbers:
        name = op.attrs[f"op{number}"]
        if name in UNARY:
            steps.append((getattr(tracing.isa.activation_function, name), None))
        elif name is not None:
            imm = op.attrs[f"imm{number}"]
            steps += _step(op, tracing, number, waiting.pop(0) if imm is None else imm)
    return steps


def _step(op: Op, tracing: Tracing, number: int, operand: Any) -> list[ScalarStep]:
    """One step as (operation, operand) pairs; ``s - x`` is ``x * -1 + s``."""
    name, isa = op.attrs[f"op{number}"], tracing.isa
    if op.attrs.get(f"reverse{number}"):
        if name == "subtract":
            return [(isa.arith_op.Multiply, -1.0), (isa.arith_op.Add, operand)]
        name = other_way_round(op, name)
    if name == "abs_max" and isinstance(operand, float):
        return [(isa.activation_function.abs, None), (isa.arith_op.Max, abs(operand))]
    return [(enum_member(op, tracing, "arith_op", name, ARITH_OPS), operand)]


def other_way_round(op: Op, name: str) -> str:
    """The function that is ``name`` with its operands changed."""
    if name in _ORDERED:
        raise NotSupported(f"emit_to_kb: {op.opcode}: no call is known for a reversed {name}")
    return _MIRRORED.get(name, name)


def scalar_calls(tracing: Tracing, dst: Any, src: Any, steps: Sequence[ScalarStep]) -> None:
    """The steps one after the other on float32 tiles, two in a call unless one is an activation."""
    waiting = list(steps)
    while waiting:
        operation, operand = waiting.pop(0)
        if operand is None:
            tracing.isa.activation(dst=dst, src=src, bias=0.0, scale=1.0, op=operation)
        else:
            more = {}
            if waiting and waiting[0][1] is not None:
                more = dict(zip(("op1", "operand1"), waiting.pop(0), strict=True))
            tracing.isa.tensor_scalar_arith(
                dst=dst, src=src, op0=operation, operand0=operand, **more
            )
        src = dst


@contextmanager
def temporaries(tracing: Tracing) -> Iterator[Callable[[Sequence[int], DType], Any]]:
    """Within the block, makes scratch tiles that are released at its end."""
    made: list[Any] = []

    def new(shape: Sequence[int], dtype: DType) -> Any:
        made.append(tracing.scratch(shape, dtype))
        return made[-1]

    yield new
    for tile in made:
        tracing.release(tile)


def _in_f32(op: Op, tracing: Tracing, call: Callable[[Any, Any], None]) -> None:
    """``call(dst, src)`` on float32 tiles; others are copied from and to scratch tiles."""
    dst, src = op.inputs[:2]
    with temporaries(tracing) as new:
        tiles = [
            tracing.tile(v) if v.type.dtype is DType.F32 else new(v.type.shape, DType.F32)
            for v in (dst, src)
        ]
        if src.type.dtype is not DType.F32:
            tracing.isa.tensor_copy(dst=tiles[1], src=tracing.tile(src))
        call(*tiles)
        if dst.type.dtype is not DType.F32:
            tracing.isa.tensor_copy(dst=tracing.tile(dst), src=tiles[0])


def scalar_tensor_tensor(op: Op, tracing: Tracing) -> None:
    """(x op0 s) op1 tensor; ``tensor - y`` is ``(y - tensor) * -1``."""
    dst, x, tensor = (tracing.tile(value) for value in op.inputs[:3])
    imm, second = op.attrs["imm0"], op.attrs["op1"]
    scalar = tracing.column(op.inputs[3]) if imm is None else imm
    negated = op.attrs["reverse1"] and second == "subtract"
    if op.attrs["reverse1"] and not negated:
        second = other_way_round(op, second)
    steps = _step(op, tracing, 0, scalar)
    between = None
    if len(steps) > 1:
        between = tracing.scratch(op.inputs[1].type.shape, DType.F32)
        tracing.isa.tensor_copy(dst=between, src=x)
        scalar_calls(tracing, between, between, steps[:-1])
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
