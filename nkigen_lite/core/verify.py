"""Checking graphs: structure, scopes, use-lists, and every op against its row."""

from __future__ import annotations

from typing import Any

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidOp

_AROUND = 2  # ops shown before and after the one at fault


def problems(graph: Graph, outer: frozenset[int] = frozenset()) -> list[str]:
    """What is wrong with ``graph``, as sentences; ``outer`` holds ids of values around it."""
    return [sentence for sentence, _ in _find(graph, set(outer))]


def check(graph: Graph) -> None:
    """Raise :class:`InvalidOp` on the first problem, with its place and neighbourhood."""
    for sentence, op in _find(graph, set()):
        where = f"\n  at {op.loc}" if op is not None and op.loc else ""
        raise InvalidOp(f"{sentence}{where}\n{neighbourhood(graph, op)}")


def neighbourhood(graph: Graph, op: Op | None) -> str:
    """A few lines of the graph around ``op``, which ``>>`` marks."""
    lines = [f"  in graph @{graph.name}:"]
    positions = [i for i, o in enumerate(graph.ops) if o is op or (op and op in list(_inside(o)))]
    centre = positions[0] if positions else 0
    for i in range(max(0, centre - _AROUND), min(len(graph.ops), centre + _AROUND + 1)):
        mark = ">>" if positions and i == centre else "  "
        lines.append(f"   {mark} {graph.ops[i]}")
    return "\n".join(lines)


def _inside(op: Op) -> Any:
    for region in op.regions:
        yield from region.walk()


def _find(graph: Graph, visible: set[int]) -> list[tuple[str, Op | None]]:
    found: list[tuple[str, Op | None]] = []
    names: set[str] = set()
    for value in graph.inputs:
        if value.name in names:
            found.append((f"graph @{graph.name}: Duplicate input name {value.name!r}", None))
        names.add(value.name)
    defined = visible | {id(v) for v in graph.inputs}
    everything = {id(r) for op in graph.ops for r in op.results}
    for op in graph.ops:
        found += [(s, op) for s in _operand_problems(op, defined, everything)]
        found += [(s, op) for s in _row_problems(graph, op)]
        for region in op.regions:
            found += _find(region, defined)
        for result in op.results:
            if result.producer is not op:
                found.append((f"{op.opcode}: producer mismatch for %{result.name}", op))
            defined.add(id(result))
    for name, value in graph.outputs.items():
        if id(value) not in defined:
            found.append((f"output {name!r} references undefined value %{value.name}", None))
    return found


def _operand_problems(op: Op, defined: set[int], later: set[int]) -> list[str]:
    found: list[str] = []
    for operand in op.inputs:
        if id(operand) not in defined:
            kind = (
                "used before definition" if id(operand) in later else "references undefined value"
            )
            found.append(f"{op.opcode}: %{operand.name} {kind}")
        if _count(operand._uses, op) != _count_values(op.inputs, operand):
            found.append(f"{op.opcode}: use-list inconsistent for %{operand.name}")
    return found


def _count(ops: list[Op], op: Op) -> int:
    return sum(1 for o in ops if o is op)


def _count_values(values: list[Value], value: Value) -> int:
    return sum(1 for v in values if v is value)


def _row_problems(graph: Graph, op: Op) -> list[str]:
    if graph.dialect is None:
        return []
    types = [v.type for v in op.inputs]
    try:
        row = graph.dialect[op.opcode]
        made = row.infer(types, row.complete(types, op.attrs))
    except InvalidOp as error:
        return [str(error)]
    declared = [r.type for r in op.results]
    if list(made) != declared:
        return [
            f"{op.opcode}: results are declared {', '.join(map(str, declared)) or 'none'} "
            f"but its row makes {', '.join(map(str, made)) or 'none'}"
        ]
    return []
