"""What the user's program calls the values of a traced graph."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Iterator
from functools import lru_cache

from nkigen_lite.core.ir import Graph, Op, Value

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
    """The last value of each statement that gives a name, and that name."""
    runs: list[tuple[Op, str | None]] = []
    for op in graph.ops:
        name = _name_at(op)
        if runs and name == runs[-1][1]:
            runs.pop()
        runs.append((op, name))
    for op, name in runs:
        if name is not None and len(op.results) == 1:
            yield op.result, name


def _by_op(graph: Graph) -> Iterable[tuple[Value, str]]:
    for op in graph.ops:
        kind = str(op.attrs.get("kind", op.opcode))
        for result in op.results:
            yield result, _NOUNS.get(kind, f"{kind}_of")


def _name_at(op: Op) -> str | None:
    """The name that the statement at the op's line gives."""
    return _names_of_lines(op.loc.file).get(op.loc.line) if op.loc else None


@lru_cache(maxsize=64)
def _names_of_lines(file: str) -> dict[int, str]:
    """Line to name, for a file's assignments and returns; empty if it cannot be read."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    found: dict[int, str] = {}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                name = _given(node, function)
                if name is not None and isinstance(node, ast.stmt):
                    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                    found |= dict.fromkeys(lines, name)
    return found


def _given(node: ast.AST, function: ast.FunctionDef) -> str | None:
    """The name that a statement gives to a value: a variable's, or for a return the function's."""
    if isinstance(node, ast.Return):
        return function.name
    target: ast.expr | None = None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        target = node.target
    return target.id if isinstance(target, ast.Name) else None
