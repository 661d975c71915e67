"""One row per op: what it takes, what it makes, what it means, what it costs to whom.

Builders, verifier, printer, parser, interpreters, layout analysis and test generators all read
these rows; nothing else in the project dispatches on op names. A ``Dialect`` is one IR's table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Generic, TypeVar

from nkigen_lite.errors import InvalidOp

REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Attr:
    """A named attribute of an op.

    Attributes:
        name: the keyword, and its place among a Builder method's positional arguments.
        kind: the Python types that its value may have.
        default: used when the caller gives none; ``REQUIRED`` makes it an error.
        doc: one phrase.
    """

    name: str
    kind: type | tuple[type, ...]
    default: Any = REQUIRED
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """A dimension of one value that is a strided window on a dimension of another.

    Element ``i`` of ``inner`` is element ``start + step * i`` of ``outer``. Each side is
    ``(value, dim)`` with value ``("in", k)`` or ``("out", k)``.
    """

    outer: tuple[str, int, int]
    inner: tuple[str, int, int]
    start: int
    step: int


@dataclass(frozen=True, slots=True)
class Regroup:
    """Row-major regrouping of dimensions (a reshape) from operand 0 to result 0."""


@dataclass(frozen=True, slots=True)
class Space:
    """The iteration space of an op over named axes.

    Attributes:
        operands: per operand, per dimension, the axis it runs over, or None (extent 1, broadcast).
        results: the same for each result.
        extents: axis name to extent.
        links: relations that names cannot say: windows (slice, concat) and regroupings (reshape).
    """

    operands: tuple[tuple[str | None, ...], ...]
    results: tuple[tuple[str | None, ...], ...]
    extents: Mapping[str, int] = field(default_factory=dict)
    links: tuple[Window | Regroup, ...] = ()

    @property
    def reduced(self) -> tuple[str, ...]:
        """Axes that appear in an operand and in no result, in order of appearance."""
        kept = {a for r in self.results for a in r}
        seen = dict.fromkeys(a for o in self.operands for a in o if a and a not in kept)
        return tuple(seen)


Types = Sequence[Any]
Attrs = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class OpDef:
    """One op's row.

    Attributes:
        name: opcode.
        summary: one sentence for docs and ``help()``.
        arity: least and most operands (None: no limit).
        infer: ``(operand types, attrs) -> result types``; raises InvalidOp with a sentence.
        evaluate: numpy meaning, ``evaluate(*arrays, **attrs)``; the caller rounds the result.
        attrs: the attributes, in positional order.
        prepare: normalises attributes before ``infer`` (negative axes, scalars to tuples).
        space: the iteration space from operand types, result types and attributes.
        engine: who does the work: tensor, vector, scalar, gpsimd, dma, or none (pure renaming).
        effects: () pure; None unknown, so never removed or moved; else what it does to whom.
        tolerance: how far hardware may be from ``evaluate``, relative, in float32.
        sample: which values a test may feed: "normal", "positive", "small", "nonzero", "bits".
        dtypes: which operand types are legal: "any", "float", "number" or "bits".
        commutes: whether operands 0 and 1 may swap.
    """

    name: str
    summary: str
    arity: tuple[int, int | None]
    infer: Callable[[Types, Attrs], tuple[Any, ...]]
    evaluate: Callable[..., Any] | None
    attrs: tuple[Attr, ...] = ()
    prepare: Callable[[Types, dict[str, Any]], dict[str, Any]] | None = None
    space: Callable[[Types, Types, Attrs], Space] | None = None
    engine: str = "none"
    effects: tuple[str, ...] | None = ()
    tolerance: float = 1e-6
    sample: str = "normal"
    dtypes: str = "any"
    commutes: bool = False

    def work(self, extents: Iterable[int]) -> int:
        """What ``engine`` does over an iteration space of these extents.

        Element operations, or multiply-accumulates on the tensor engine; 0 for renamings.
        """
        return 0 if self.engine == "none" else math.prod(extents)

    @cached_property
    def _known(self) -> dict[str, Attr]:
        """The attributes by name."""
        return {a.name: a for a in self.attrs}

    def complete(self, types: Types, given: Attrs) -> dict[str, Any]:
        """Attributes with defaults filled in and normalised.

        Raises:
            InvalidOp: wrong number of operands, or an unknown, missing or ill-typed attribute.
        """
        least, most = self.arity
        if len(types) < least or (most is not None and len(types) > most):
            wanted = (
                str(least)
                if least == most
                else f"at least {least}"
                if most is None
                else f"{least} to {most}"
            )
            raise InvalidOp(f"{self.name}: got {len(types)} operands but takes {wanted}")
        known = self._known
        for name in given:
            if name not in known:
                raise InvalidOp(
                    f"{self.name}: attribute {name!r} is not one of {', '.join(known) or 'none'}"
                )
        full: dict[str, Any] = {}
        for name, attr in known.items():
            value = given.get(name, attr.default)
            if value is REQUIRED:
                raise InvalidOp(f"{self.name}: attribute {name!r} is missing")
            full[name] = value
        if self.prepare:
            full = self.prepare(types, full)
        for name, attr in known.items():
            if not isinstance(full[name], attr.kind) and full[name] is not attr.default:
                raise InvalidOp(
                    f"{self.name}: attribute {name!r} is {full[name]!r} but must be "
                    f"{_kind_name(attr.kind)}"
                )
        return full


def _kind_name(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(k.__name__ for k in kinds)


Row = TypeVar("Row", bound=OpDef)


class Dialect(Generic[Row]):
    """One IR's table of op rows, and the types its values have.

    Args:
        name: printed in messages.
        types: classes with ``parse(text) -> instance | None`` that read a printed type.
        prefix: of fresh value names.
    """

    def __init__(self, name: str, types: Sequence[Any], prefix: str = "v") -> None:
        self.name = name
        self.types = tuple(types)
        self.prefix = prefix
        self.rows: dict[str, Row] = {}

    def define(self, row: Row) -> Row:
        """Add a row.

        Raises:
            ValueError: the name is taken.
        """
        if row.name in self.rows:
            raise ValueError(f"{self.name}: op {row.name!r} is defined twice")
        self.rows[row.name] = row
        return row

    def get(self, opcode: str) -> Row | None:
        return self.rows.get(opcode)

    def __getitem__(self, opcode: str) -> Row:
        row = self.rows.get(opcode)
        if row is None:
            near = get_close_matches(opcode, self.rows, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidOp(f"{self.name}: unknown opcode {opcode!r}{hint}")
        return row

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows.values())

    def __contains__(self, opcode: str) -> bool:
        return opcode in self.rows

    def parse_type(self, text: str) -> Any:
        """The type that ``text`` prints as.

        Raises:
            InvalidOp: no type of this dialect prints so.
        """
        for kind in self.types:
            found = kind.parse(text)
            if found is not None:
                return found
        raise InvalidOp(f"{self.name}: {text!r} is not a type")
