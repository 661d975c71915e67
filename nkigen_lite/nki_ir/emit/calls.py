"""What rows say about NKI: which ``nki.isa`` call an op is, keyword by keyword.

A row's ``nki`` field is a :data:`Template`, made by :func:`nisa` from argument makers. Signatures:
aws-neuron-sdk, API of nki.isa and nki.language 0.6; everything is passed by keyword.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.errors import NotSupported
from nkigen_lite.nki_ir.access import Access
from nkigen_lite.nki_ir.emit.text import Expr, call, number_text, shape_text
from nkigen_lite.nki_ir.types import INDEX, ON_CHIP, TileType

# fp8_e3m4 has no name in nki.language.
NL_DTYPES: dict[DType, str] = {
    DType.F32: "float32",
    DType.F16: "float16",
    DType.BF16: "bfloat16",
    DType.TF32: "tfloat32",
    DType.FP8_E4M3: "float8_e4m3fn",
    DType.FP8_E4M3_IEEE: "float8_e4m3",
    DType.FP8_E5M2: "float8_e5m2",
    DType.I32: "int32",
    DType.I16: "int16",
    DType.I8: "int8",
    DType.U32: "uint32",
    DType.U16: "uint16",
    DType.U8: "uint8",
    DType.BOOL: "uint8",
}
COMPARISONS = frozenset({"equal", "not_equal", "greater", "greater_equal", "less", "less_equal"})
TRUTHS = COMPARISONS | {"logical_and", "logical_or", "logical_xor"}
_KEEP_BOOLS = frozenset({"copy", "maximum", "minimum", "multiply"})


class Spelling(Protocol):
    """Turns values into expressions while a kernel is written."""

    def value(self, value: Value) -> Expr:
        """The buffer's name, or the view expression that reads it."""
        ...

    def access(self, value: Value) -> Access:
        """What the value reads of which buffer."""
        ...

    def can_reshape(self, value: Value) -> bool:
        """Whether the value's free dimensions are one run, which a reshape may regroup."""
        ...


Template = Callable[[Op, Spelling], Expr]
Argument = Callable[[Op, Spelling], Expr | None]


def nl_dtype(value: Value) -> str:
    """The ``nl`` name of a value's element type; bool is stored as uint8.

    Raises:
        NotSupported: nki.language has no such type.
    """
    name = NL_DTYPES.get(value.type.dtype)
    if name is None:
        raise NotSupported(
            f"emit_nki: dtype of %{value.name} is {value.type.dtype} but nki.language has no name "
            "for it"
        )
    return name


def nki_shape(kind: TileType) -> tuple[int, ...]:
    """The shape that NKI gives a tile: on chip at least two dimensions."""
    return (*kind.shape, 1) if kind.memory in ON_CHIP and kind.rank == 1 else kind.shape


def reshaped(base: Expr, kind: TileType, shape: tuple[int, ...]) -> Expr:
    """``base``, which has type ``kind``, under another shape."""
    return base if nki_shape(kind) == shape else base.method("reshape", shape_text(shape))


def _bool_sources(op: Op) -> bool:
    sources = [v.type for v in op.inputs[1:] if v.type != INDEX]
    return all(t.dtype is DType.BOOL for t in sources)


def truth_of(*names: str) -> Callable[[Op], bool]:
    """Whether the last of the ALU ops in these attributes leaves 0 or 1 in every element."""

    def is_truth(op: Op) -> bool:
        last = next((op.attrs[n] for n in reversed(names) if op.attrs[n]), None)
        return last in TRUTHS or (last in _KEEP_BOOLS and _bool_sources(op))

    return is_truth


def nisa(
    function: str,
    *,
    bools: Callable[[Op], bool] = _bool_sources,
    module: str = "nisa",
    **arguments: Argument,
) -> Template:
    """A call of ``nki.isa``'s ``function``.

    Args:
        function: its name.
        bools: whether what the op writes is 0 or 1 everywhere. NKI keeps bool in uint8, so an op
            that relies on the conversion "not zero is true" has no NKI form.
        module: the name that the emitted file gives the module of the function.
        arguments: keyword to argument maker; a maker that returns None leaves the keyword out.
    """

    def spell(op: Op, spelling: Spelling) -> Expr:
        if op.inputs[0].type.dtype is DType.BOOL and not bools(op):
            raise NotSupported(
                f"emit_nki: {op.opcode} writes numbers to the bool tile %{op.inputs[0].name} but "
                "nki stores bool as uint8; compare with zero instead"
            )
        made = ((keyword, make(op, spelling)) for keyword, make in arguments.items())
        return call(f"{module}.{function}", [e.named(keyword) for keyword, e in made if e])

    return spell


def operand(position: int) -> Argument:
    """The operand at a position; left out if the op has fewer."""

    def make(op: Op, spelling: Spelling) -> Expr | None:
        return spelling.value(op.inputs[position]) if position < len(op.inputs) else None

    return make


def flat_operand(position: int) -> Argument:
    """The operand as (partition, free) where that is a plain reshape."""

    def make(op: Op, spelling: Spelling) -> Expr:
        value = op.inputs[position]
        kind: TileType = value.type
        if kind.rank <= 2 or not spelling.can_reshape(value):
            return spelling.value(value)
        return reshaped(spelling.value(value), kind, (kind.partition_size, kind.free_size))

    return make


def dma_side(position: int) -> Argument:
    """One side of a copy: in HBM with the extra dimension that NKI gives a rank-1 tile on chip."""

    def make(op: Op, spelling: Spelling) -> Expr:
        this, other = op.inputs[position], op.inputs[1 - position]
        text = spelling.value(this)
        extra = len(nki_shape(other.type)) > len(nki_shape(this.type))
        return text.method("expand_dim", str(this.type.rank)) if extra else text

    return make


def column_text(value: Value, spelling: Spelling) -> Expr:
    """An operand of one value per partition, as (partition, 1)."""
    return reshaped(spelling.value(value), value.type, (value.type.partition_size, 1))


def column(position: int) -> Argument:
    """The operand of one value per partition at a position; left out if there is none."""

    def make(op: Op, spelling: Spelling) -> Expr | None:
        return column_text(op.inputs[position], spelling) if position < len(op.inputs) else None

    return make


def number_or_column(attr: str, position: int) -> Argument:
    """The attribute's number, or where that is None the per-partition operand at a position."""

    def make(op: Op, spelling: Spelling) -> Expr:
        value = op.attrs[attr]
        if value is not None:
            return Expr(number_text(value))
        return column_text(op.inputs[position], spelling)

    return make


def flag(attr: str) -> Argument:
    """``True`` if the attribute is set; left out otherwise."""
    return lambda op, spelling: Expr("True") if op.attrs[attr] else None


def text(attr: str) -> Argument:
    """The attribute, a tuple of numbers, as Python writes it."""
    return lambda op, spelling: Expr(shape_text(op.attrs[attr]))


def steps(attr: str) -> Argument:
    """The attribute, (step, count) pairs, as NKI's list of lists."""
    return lambda op, spelling: Expr(repr([list(step) for step in op.attrs[attr]]))


def literal(attr: str, *, omit: Any = None) -> Argument:
    """The attribute's number; left out if it equals ``omit``, NKI's default."""

    def make(op: Op, spelling: Spelling) -> Expr | None:
        value = op.attrs[attr]
        return None if value is None or value == omit else Expr(number_text(value))

    return make


def token(attr: str) -> Argument:
    """The ALU op or activation function that the attribute names: ``nl.add``."""

    def make(op: Op, spelling: Spelling) -> Expr | None:
        return Expr(f"nl.{op.attrs[attr]}") if op.attrs[attr] else None

    return make


def on_engine(engine: str | None = None) -> Template:
    """``nisa.engine.<name>``: the given engine, or else the one in the op's attribute."""

    def make(op: Op, spelling: Spelling) -> Expr:
        return Expr(f"nisa.engine.{engine or op.attrs['engine']}")

    return make
