"""The SSA core that both IRs share: values, ops, graphs.

Identity is by object everywhere: a value's name is for people, and two values may share one (the
printer tells them apart). An op holds its operands in ``inputs`` and registers itself in each
operand's use-list, once per operand position; go through the helpers here to change operands.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nkigen_lite.core.location import Location

if TYPE_CHECKING:
    from nkigen_lite.core.registry import Dialect


class ValueCounter:
    """Hands out fresh value names: ``v1``, ``v2``, …"""

    def __init__(self, prefix: str = "v") -> None:
        self.prefix = prefix
        self._next = 0

    def fresh(self) -> str:
        self._next += 1
        return f"{self.prefix}{self._next}"


class Value:
    """An SSA value: a name for printing, a type, and the op that makes it (None: a graph input)."""

    __slots__ = ("_uses", "name", "producer", "type")

    def __init__(self, name: str, type: Any, producer: Op | None = None) -> None:
        self.name = name
        self.type = type
        self.producer = producer
        self._uses: list[Op] = []

    @property
    def uses(self) -> list[Op]:
        """The ops that read this value, one entry per operand position (a copy)."""
        return list(self._uses)

    @property
    def has_uses(self) -> bool:
        return bool(self._uses)

    def replace_all_uses_with(self, new: Value) -> None:
        """Make every reader of this value read ``new``; graph outputs are not touched."""
        if new is self:
            return
        for op in dict.fromkeys(self._uses):
            for position, operand in enumerate(op.inputs):
                if operand is self:
                    op.inputs[position] = new
                    new._uses.append(op)
        self._uses.clear()

    def __repr__(self) -> str:
        return f"%{self.name}"

    def __str__(self) -> str:
        return f"%{self.name}: {self.type}"


@dataclass(frozen=True, eq=False)
class Group:
    """Ops that were emitted together and do one thing: each time it is done is a group of its own.

    Attributes:
        name: of what the ops do, which groups that do the same share.
        about: the same as a sentence; both may hold names of values of the IR.
        parent: the group that this one is in.
    """

    name: str
    about: str
    parent: Group | None = None


class Op:
    """One operation: an opcode, operand values, result values, and attributes.

    Attributes are plain data (numbers, strings, tuples, DType, …) or nested ``Graph`` regions.
    ``part`` is the position of the plan's segment that begins with this op, or None, and ``group``
    what it belongs to; like ``loc`` they are for people, and no part of what the op means.
    """

    __slots__ = ("attrs", "group", "inputs", "loc", "opcode", "part", "results")

    def __init__(
        self,
        opcode: str,
        inputs: Iterable[Value],
        result_types: Iterable[Any],
        attrs: Mapping[str, Any] | None = None,
        *,
        counter: ValueCounter | None = None,
        loc: Location | None = None,
    ) -> None:
        self.opcode = opcode
        self.inputs = list(inputs)
        self.attrs: dict[str, Any] = dict(attrs or {})
        self.loc = loc
        self.part: int | None = None
        self.group: Group | None = None
        names = counter or ValueCounter()
        self.results = [Value(names.fresh(), t, self) for t in result_types]
        for operand in self.inputs:
            operand._uses.append(self)

    @property
    def result(self) -> Value:
        """The op's one result."""
        assert len(self.results) == 1, f"{self.opcode} has {len(self.results)} results, not one"
        return self.results[0]

    @property
    def regions(self) -> list[Graph]:
        """The nested graphs among the attributes, in attribute order."""
        return [a for a in self.attrs.values() if isinstance(a, Graph)]

    def set_input(self, position: int, value: Value) -> None:
        """Read ``value`` at operand ``position`` from now on."""
        self.inputs[position]._uses.remove(self)
        self.inputs[position] = value
        value._uses.append(self)

    def drop_uses(self) -> None:
        """Forget all operands, in nested regions too; for an op that is about to go."""
        for operand in self.inputs:
            if self in operand._uses:
                operand._uses.remove(self)
        for region in self.regions:
            for op in region.ops:
                op.drop_uses()

    def __str__(self) -> str:
        from nkigen_lite.core.printer import format_op

        return format_op(self)

    __repr__ = __str__


class Graph:
    """A list of ops in execution order, with named inputs and outputs.

    Nested in an op's attributes it is a region: its ops may read values of the graphs around it,
    its outputs are values of its own.

    Args:
        name: printed name.
        dialect: the op rows that its ops follow; None for a graph of unknown ops, whose effects
            are unknown too, so nothing in it is ever removed.
    """

    def __init__(self, name: str = "main", dialect: Dialect[Any] | None = None) -> None:
        self.name = name
        self.dialect = dialect
        self.counter = ValueCounter("v")
        self.inputs: list[Value] = []
        self.ops: list[Op] = []
        self.outputs: dict[str, Value] = {}
        self._last_position = 0

    def add_input(self, name: str, type: Any) -> Value:
        value = Value(name, type)
        self.inputs.append(value)
        return value

    def append(self, op: Op) -> Op:
        self.ops.append(op)
        return op

    def set_outputs(self, outputs: Mapping[str, Value]) -> None:
        self.outputs = dict(outputs)

    def insert_before(self, ref: Op, new: Op) -> Op:
        """Put ``new`` just before ``ref``.

        Raises:
            ValueError: ``ref`` is not an op of this graph.
        """
        self.ops.insert(self._position(ref), new)
        return new

    def insert_after(self, ref: Op, new: Op) -> Op:
        """Put ``new`` just after ``ref``; raises like :meth:`insert_before`."""
        self.ops.insert(self._position(ref) + 1, new)
        return new

    def _position(self, op: Op) -> int:
        # Edits come in program order mostly, so the search starts where the last one ended.
        count = len(self.ops)
        for step in range(count):
            position = (self._last_position + step) % count
            if self.ops[position] is op:
                self._last_position = position
                return position
        raise ValueError(f"graph @{self.name}: {op.opcode} is not one of its ops")

    def erase_op(self, op: Op) -> None:
        """Remove an op whose results nobody uses.

        Raises:
            ValueError: a result is still used or is a graph output, or the use-lists are broken.
        """
        kept = {id(v) for v in self.outputs.values()}
        for result in op.results:
            count = len(result._uses) + (id(result) in kept)
            if count:
                raise ValueError(
                    f"cannot erase {op.opcode}: %{result.name} still has {count} use(s)"
                )
        for operand in op.inputs:
            if op not in operand._uses:
                raise ValueError(
                    f"cannot erase {op.opcode}: use-list inconsistency, %{operand.name} "
                    "does not know it as a user"
                )
        position = self._position(op)
        op.drop_uses()
        del self.ops[position]

    def replace_value(self, old: Value, new: Value) -> None:
        """Make every reader of ``old``, graph outputs included, read ``new``."""
        old.replace_all_uses_with(new)
        for name, value in self.outputs.items():
            if value is old:
                self.outputs[name] = new

    def replace_values(self, instead: Mapping[Value, Value]) -> None:
        """:meth:`replace_value` for many values at once, in time linear in their readers' operands.

        No value that comes in may itself be replaced.
        """
        readers = dict.fromkeys(op for old in instead for op in old._uses)
        for op in readers:
            for position, operand in enumerate(op.inputs):
                new = instead.get(operand)
                if new is not None:
                    op.inputs[position] = new
                    new._uses.append(op)
        for old in instead:
            old._uses.clear()
        for name, value in self.outputs.items():
            self.outputs[name] = instead.get(value, value)

    def forget_uses(self) -> None:
        """Forget who reads the values of this level: graphs that are no longer wanted, which would
        be kept alive by it."""
        for value in self.all_values():
            value._uses.clear()

    def dce(self) -> int:
        """Remove ops of this level that have no effect and that nobody reads; how many went.

        An op whose effects are unknown (no row, or a row that does not say) is kept.
        """
        kept = {id(v) for v in self.outputs.values()}
        dead: set[int] = set()
        for op in reversed(self.ops):
            used = any(r._uses or id(r) in kept for r in op.results)
            if not used and self.effects(op) == ():
                op.drop_uses()
                dead.add(id(op))
        self.ops = [op for op in self.ops if id(op) not in dead]
        return len(dead)

    def effects(self, op: Op) -> tuple[str, ...] | None:
        """What ``op`` does besides making results; ``None`` when that is not known."""
        row = self.dialect.get(op.opcode) if self.dialect else None
        return row.effects if row else None

    def toposort(self) -> None:
        """Put producers before users, otherwise keeping the present order (Kahn).

        Raises:
            ValueError: the graph has a cycle.
        """
        rank = {id(op): i for i, op in enumerate(self.ops)}
        waiting: dict[int, int] = {}
        users: dict[int, list[int]] = {}
        for i, op in enumerate(self.ops):
            needed = {rank[id(v.producer)] for v in captured_values(op) if id(v.producer) in rank}
            waiting[i] = len(needed)
            for producer in needed:
                users.setdefault(producer, []).append(i)
        ready = [i for i, n in waiting.items() if n == 0]
        heapq.heapify(ready)
        order: list[Op] = []
        while ready:
            i = heapq.heappop(ready)
            order.append(self.ops[i])
            for user in users.get(i, ()):
                waiting[user] -= 1
                if waiting[user] == 0:
                    heapq.heappush(ready, user)
        if len(order) != len(self.ops):
            raise ValueError(f"graph @{self.name}: its ops form a cycle")
        self.ops = order

    def walk(self) -> Iterator[Op]:
        """All ops, those of nested regions included, in program order."""
        for op in self.ops:
            yield op
            for region in op.regions:
                yield from region.walk()

    def all_values(self) -> list[Value]:
        """Inputs, then op results in order (this level only)."""
        return [*self.inputs, *(r for op in self.ops for r in op.results)]

    def output_values(self) -> list[Value]:
        return list(self.outputs.values())

    def verify(self) -> list[str]:
        """What is wrong with the graph, as sentences; empty when it is sound."""
        from nkigen_lite.core.verify import problems

        return problems(self)

    def check(self) -> None:
        """Raise :class:`InvalidOp` with the first problem that :meth:`verify` finds."""
        from nkigen_lite.core.verify import check

        check(self)

    def dump(self, indent: int = 0, *, locations: bool = False) -> str:
        """The textual form; :func:`nkigen_lite.core.parser.parse` reads it back."""
        from nkigen_lite.core.printer import format_graph

        return format_graph(self, indent=indent, locations=locations)

    def __repr__(self) -> str:
        return self.dump()


def captured_values(op: Op) -> list[Value]:
    """Every value that ``op`` reads, including those its nested regions take from outside."""
    values = list(op.inputs)
    for region in op.regions:
        own = {id(v) for v in region.all_values()}
        for inner in region.ops:
            values.extend(v for v in captured_values(inner) if id(v) not in own)
    return values


def clone(graph: Graph, mapping: dict[int, Value] | None = None) -> Graph:
    """A deep copy; values captured from outside are looked up in ``mapping`` by ``id``."""
    known: dict[int, Value] = dict(mapping or {})
    copy = Graph(graph.name, graph.dialect)
    copy.counter.prefix = graph.counter.prefix
    copy.counter._next = graph.counter._next
    for value in graph.inputs:
        known[id(value)] = copy.add_input(value.name, value.type)
    for op in graph.ops:
        attrs = {k: clone(a, known) if isinstance(a, Graph) else a for k, a in op.attrs.items()}
        new = Op(
            op.opcode,
            [known.get(id(v), v) for v in op.inputs],
            [r.type for r in op.results],
            attrs,
            loc=op.loc,
        )
        new.part, new.group = op.part, op.group
        for old_result, new_result in zip(op.results, new.results, strict=True):
            new_result.name = old_result.name
            known[id(old_result)] = new_result
        copy.append(new)
    copy.set_outputs({k: known.get(id(v), v) for k, v in graph.outputs.items()})
    return copy
