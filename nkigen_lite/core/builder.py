"""Making ops from their rows: the base of both IRs' Builders and of rewrite rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from nkigen_lite.core.ir import Graph, Group, Op, Value
from nkigen_lite.core.location import Location, caller_location
from nkigen_lite.core.registry import Dialect, OpDef
from nkigen_lite.errors import InvalidOp


class BaseBuilder:
    """Appends ops to a graph, or inserts them before one of its ops.

    Args:
        graph: where ops go; its dialect says which ops there are.
        before: insert before this op instead of appending.
        loc: the source line that new ops carry; by default the caller's.
    """

    tracks_location = True  # whether ops without ``loc`` get the caller's line

    def __init__(
        self, graph: Graph, *, before: Op | None = None, loc: Location | None = None
    ) -> None:
        self.graph = graph
        self.before = before
        self.loc = loc
        self.group: Group | None = None  # that new ops belong to

    @classmethod
    def at_op(cls, graph: Graph, op: Op) -> Self:
        """A builder that inserts before ``op`` and gives new ops its source line."""
        made = cls.__new__(cls)
        BaseBuilder.__init__(made, graph, before=op, loc=op.loc)
        made.tracks_location = False  # the caller's line is not where an op without one comes from
        return made

    @property
    def dialect(self) -> Dialect[Any]:
        assert self.graph.dialect is not None, "a Builder needs a graph with a dialect"
        return self.graph.dialect

    def emit(self, opcode: str, operands: Sequence[Value], **attrs: Any) -> Op:
        """Make the op that ``opcode``'s row describes and put it in place.

        Raises:
            InvalidOp: the operands or attributes break the row's rule; the message ends with the
                user's source line.
        """
        row: OpDef = self.dialect[opcode]
        loc = self.location()
        for operand in operands:
            if not isinstance(operand, Value):
                raise InvalidOp(
                    f"{opcode}: operand {operand!r} is {type(operand).__name__} but must be a Value"
                    + at(loc)
                )
        types = [v.type for v in operands]
        try:
            full = row.complete(types, attrs)
            results = row.infer(types, full)
        except InvalidOp as error:
            raise type(error)(f"{error}{at(loc)}") from None
        op = Op(opcode, operands, results, full, counter=self.graph.counter, loc=loc)
        op.group = self.group
        if self.before is None:
            self.graph.append(op)
        else:
            self.graph.insert_before(self.before, op)
        return op

    @contextmanager
    def grouped(self, name: str, about: str) -> Iterator[None]:
        """What is emitted meanwhile is a group."""
        outside = self.group
        self.group = Group(name, about, outside)
        try:
            yield
        finally:
            self.group = outside

    def call(self, opcode: str, *args: Any, **attrs: Any) -> Value:
        """Emit with operands first and then attributes by position; the op's one result."""
        row = self.dialect[opcode]
        split = next((i for i, a in enumerate(args) if not isinstance(a, Value)), len(args))
        least, most = row.arity
        split = max(split, min(len(args), least)) if least == most else split
        names = [a.name for a in row.attrs]
        extra = args[split:]
        if len(extra) > len(names):
            raise self.refusal(
                f"{opcode}: got {len(args)} arguments but takes {len(names) + (most or least)}"
            )
        by_place = dict(zip(names, extra, strict=False))
        twice = [name for name in by_place if name in attrs]
        if twice:
            raise self.refusal(f"{opcode}: attribute {twice[0]!r} is given twice")
        return self.emit(opcode, args[:split], **by_place, **attrs).result

    def refusal(self, sentence: str) -> InvalidOp:
        """The exception that says ``sentence`` and names the caller's line."""
        return InvalidOp(sentence + at(self.location()))

    def location(self) -> Location | None:
        """What new ops carry: the builder's own line, or the caller's."""
        return self.loc or (caller_location() if self.tracks_location else None)


def at(loc: Location | None) -> str:
    """``\\n  at file:line`` for messages, or nothing."""
    return f"\n  at {loc}" if loc else ""
