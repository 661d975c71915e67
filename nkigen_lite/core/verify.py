"""Checking graphs: structure, scopes, use-lists, and every op against its row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidOp

_AROUND = 2  # ops shown before and after the one at fault

Problem = tuple[str, Op | None]
Uses = Counter[tuple[int, int]]  # how often an op reads a value, by the id of value and op


def problems(graph: Graph) -> list[str]:
    """What is wrong with ``graph``, as sentences."""
    return [sentence for sentence, _ in _all_problems(graph)]


def check(graph: Graph) -> None:
    """Raise :class:`InvalidOp` on the first problem, with its place and neighbourhood."""
    for sentence, op in _all_problems(graph):
        where = f"\n  at {op.loc}" if op is not None and op.loc else ""
        raise InvalidOp(f"{sentence}{where}\n{neighbourhood(graph, op)}")


def neighbourhood(graph: Graph, op: Op | None) -> str:
    """A few lines around ``op``, which ``>>`` marks, of the graph or region that holds it."""
    home, centre = next(_places(graph, op), (graph, None))
    lines = [f"  in graph @{home.name}:"]
    first = max(0, (centre or 0) - _AROUND)
    for i, shown in enumerate(home.ops[first : (centre or 0) + _AROUND + 1], first):
        lines.append(f"   {'>>' if i == centre else '  '} {shown}")
    return "\n".join(lines)


def _places(graph: Graph, op: Op | None) -> Iterator[tuple[Graph, int]]:
    for position, other in enumerate(graph.ops):
        if other is op:
            yield graph, position
        for region in other.regions:
            yield from _places(region, op)


def _all_problems(graph: Graph) -> Iterator[Problem]:
    return _Checker(graph).level(graph, set())


class _Checker:
    """One walk over a graph and its regions."""

    def __init__(self, graph: Graph) -> None:
        self.seen: set[int] = set()
        self.ops = {id(op) for op in graph.walk()}
        self.expected: Uses = Counter((id(v), id(op)) for op in graph.walk() for v in op.inputs)
        read = {id(v): v for op in graph.walk() for v in op.inputs}
        self.listed: Uses = Counter((id(v), id(op)) for v in read.values() for op in v._uses)

    def level(self, graph: Graph, visible: set[int]) -> Iterator[Problem]:
        """Problems of one graph; ``visible`` holds the ids of the values around it."""
        yield from _input_problems(graph)
        own = {id(v) for v in graph.all_values()}
        defined = visible | {id(v) for v in graph.inputs}
        for op in graph.ops:
            yield from ((s, op) for s in self.operand_problems(op, defined, own))
            yield from ((s, op) for s in _row_problems(graph, op))
            for region in op.regions:
                yield from self.level(region, defined)
            yield from ((s, op) for s in self.result_problems(op))
            defined |= {id(r) for r in op.results}
        for value in graph.inputs:
            yield from ((s, None) for s in self.stale_users(value))
        for name, value in graph.outputs.items():
            if id(value) not in own:
                yield f"output {name!r} references undefined value %{value.name}", None

    def operand_problems(self, op: Op, defined: set[int], own: set[int]) -> Iterator[str]:
        if id(op) in self.seen:
            yield f"{op.opcode}: the op is in the graph twice"
        self.seen.add(id(op))
        for operand in dict.fromkeys(op.inputs):
            if id(operand) not in defined:
                is_late = id(operand) in own
                what = "used before definition" if is_late else "references undefined value"
                yield f"{op.opcode}: %{operand.name} {what}"
            use = (id(operand), id(op))
            if self.listed[use] != self.expected[use]:
                yield f"{op.opcode}: use-list inconsistent for %{operand.name}"

    def result_problems(self, op: Op) -> Iterator[str]:
        for result in op.results:
            if result.producer is not op:
                yield f"{op.opcode}: producer mismatch for %{result.name}"
            yield from self.stale_users(result)

    def stale_users(self, value: Value) -> Iterator[str]:
        if any(id(user) not in self.ops for user in value._uses):
            yield f"use-list inconsistent for %{value.name}: it lists an op outside the graph"


def _input_problems(graph: Graph) -> Iterator[Problem]:
    counts = Counter(v.name for v in graph.inputs)
    for name, count in counts.items():
        if count > 1:
            yield f"graph @{graph.name}: Duplicate input name {name!r}", None


def _row_problems(graph: Graph, op: Op) -> Iterator[str]:
    if graph.dialect is None:
        return
    types = [v.type for v in op.inputs]
    try:
        row = graph.dialect[op.opcode]
        full = row.complete(types, op.attrs)
        made = list(row.infer(types, full))
    except InvalidOp as error:
        yield str(error)
        return
    for name, value in full.items():
        if name not in op.attrs or not _is_same(value, op.attrs[name]):
            found = repr(op.attrs[name]) if name in op.attrs else "missing"
            yield f"{op.opcode}: attribute {name!r} is {found} but its full form is {value!r}"
    declared = [r.type for r in op.results]
    if made != declared:
        yield (
            f"{op.opcode}: results are declared {', '.join(map(str, declared)) or 'none'} "
            f"but its row makes {', '.join(map(str, made)) or 'none'}"
        )


def _is_same(a: Any, b: Any) -> bool:
    """Equal and of one type; nan is itself."""
    return a is b or (type(a) is type(b) and (a == b or (a != a and b != b)))
