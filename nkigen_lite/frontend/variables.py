"""What the user's program calls the values of a traced graph."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from nkigen_lite.core.ir import Graph, Op, Value

_MOVES = ("reshape", "transpose", "cast")
# What an op without a variable is called, where its own name would mislead or is a verb.
_NOUNS = {
    "sum": "sums",
    "max": "maxima",
    "min": "minima",
    "mean": "means",
    "matmul": "product",
    "reciprocal": "inverse",
    "mul": "scaled",
    "add": "sum_of",
    "sub": "difference",
    "cast": "converted",
    "constant": "constant",
    "iota": "ramp",
}


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement by its first line, and the name that it gives to a value, if any."""

    file: str
    line: int
    name: str | None


def variable_names(traced: Graph, simplified: Graph) -> dict[str, str]:
    """Readable names for the values ``v1``, ``v2``, … of a graph and of what it was simplified to.

    The value of an assignment is called after its variable, that of a ``return`` after the function
    that returns it; any other after its op. No two values have one name.

    Args:
        traced: the graph as it was traced; its ops know their lines.
        simplified: the graph that was lowered.
    """
    outputs = {id(v) for g in (traced, simplified) for v in g.outputs.values()}
    taken = {v.name for v in traced.inputs}
    names: dict[str, str] = {}
    for value, wanted in (*_assigned(traced), *_by_op(simplified)):
        if value.name in names or id(value) in outputs:
            continue
        name, count = wanted, 1
        while name in taken:
            name, count = f"{wanted}_{count}", count + 1
        taken.add(name)
        names[value.name] = name
    return names


def _assigned(graph: Graph) -> Iterator[tuple[Value, str]]:
    """The last value of each statement that gives a name, and that name; callers' names first."""
    yield from _named([(op, _statements(op)) for op in graph.ops])


def _named(ops: list[tuple[Op, list[_Statement]]]) -> Iterator[tuple[Value, str]]:
    """Names by the outermost statement that each op is part of, then inside those statements."""
    for statement, run in groupby((x for x in ops if x[1]), key=lambda x: x[1][0]):
        inside = list(run)
        last = inside[-1][0]
        if statement.name is not None and len(last.results) == 1:
            yield from ((value, statement.name) for value in _moved(last.result)[::-1])
        yield from _named([(op, statements[1:]) for op, statements in inside])


def _moved(value: Value) -> list[Value]:
    """The value, and what it is another shape or type of, that last."""
    found = [value]
    while value.producer is not None and value.producer.opcode in _MOVES:
        value = value.producer.inputs[0]
        if value.producer is not None:
            found.append(value)
    return found


def _statements(op: Op) -> list[_Statement]:
    """The statements that an op is part of, the outermost first."""
    found: list[_Statement] = []
    place = op.loc
    while place is not None:
        unnamed = _Statement(place.file, place.line, None)
        found.append(_statements_of(place.file).get(place.line, unnamed))
        place = place.outer
    return found[::-1]


def _by_op(graph: Graph) -> Iterable[tuple[Value, str]]:
    for op in graph.ops:
        kind = str(op.attrs.get("kind", op.opcode))
        for result in op.results:
            yield result, _NOUNS.get(kind, f"{kind}_of")


@lru_cache(maxsize=64)
def _statements_of(file: str) -> dict[int, _Statement]:
    """Line to statement, for a file's assignments and returns; empty if it cannot be read."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    found: dict[int, _Statement] = {}
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.stmt) and (name := _given(node, function)) is not None:
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                found |= dict.fromkeys(lines, _Statement(file, node.lineno, name))
    return found


def _given(node: ast.stmt, function: ast.FunctionDef) -> str | None:
    """The name that a statement gives to a value: a variable's, or for a return the function's."""
    if isinstance(node, ast.Return):
        return function.name.strip("_") or None
    target: ast.expr | None = None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        target = node.target
    return target.id if isinstance(target, ast.Name) else None
