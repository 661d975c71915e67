"""The textual form of graphs. What is printed here, ``parser.parse`` reads back equal.

    graph @name(
      %x: <2x4xf32>
    ) {
      %v1: <2x4xf32> = exp(%x)
      %v2: <2xf32> = reduce(%v1) {axis=(1,), keepdims=false, kind="sum"}
      return y=%v2
    }

Nested regions print in full between ``with`` and ``end`` after the op's other attributes. Names are
made unique while printing, so two values that share a name are told apart by a suffix; a name that
is not of ASCII letters, digits and ``_.$-`` is quoted like a JSON string.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op, Value

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$-]*\Z")


class _Names:
    """Printed names: each value keeps its own name unless an earlier value has taken it."""

    def __init__(self) -> None:
        self._of: dict[int, str] = {}
        self._taken: set[str] = set()

    def define(self, value: Value) -> str:
        name, suffix = value.name, 1
        while name in self._taken:
            name, suffix = f"{value.name}_{suffix}", suffix + 1
        self._taken.add(name)
        self._of[id(value)] = name
        return self.use(value)

    def of(self, value: Value) -> str:
        return self._of.get(id(value), value.name)

    def use(self, value: Value) -> str:
        return "%" + _quoted(self.of(value))


def format_graph(graph: Graph, *, indent: int = 0, locations: bool = False) -> str:
    """``graph`` as text; with ``locations`` each op ends in ``at "file":line``.

    Raises:
        TypeError: an attribute is not plain data.
    """
    return "\n".join(_graph_lines(graph, _Names(), indent, locations))


def unique_names(graph: Graph) -> dict[Value, str]:
    """The name under which each value of the graph, not of its regions, prints."""
    names = _Names()
    _graph_lines(graph, names, 0, locations=False)
    return {value: names.of(value) for value in graph.all_values()}


def format_op(op: Op) -> str:
    """One op on one line, nested regions shortened to their names; any attribute prints."""
    names = _Names()
    for operand in dict.fromkeys(op.inputs):
        names.define(operand)
    regions = [f" {k}=<graph @{v.name}>" for k, v in op.attrs.items() if isinstance(v, Graph)]
    return _op_text(op, names, _format_anything) + "".join(regions)


def _graph_lines(graph: Graph, names: _Names, indent: int, locations: bool) -> list[str]:
    pad = "  " * indent
    lines = [f"{pad}graph @{_quoted(graph.name)}("]
    heads = [f"{pad}  {names.define(v)}: {v.type}" for v in graph.inputs]
    lines += [h + ("," if i + 1 < len(heads) else "") for i, h in enumerate(heads)]
    lines.append(f"{pad}) {{")
    for op in graph.ops:
        lines += _op_lines(op, names, indent + 1, locations)
    outputs = ", ".join(f"{_quoted(k)}={names.use(v)}" for k, v in graph.outputs.items())
    lines.append(f"{pad}  return {outputs}".rstrip())
    lines.append(f"{pad}}}")
    return lines


def _op_lines(op: Op, names: _Names, indent: int, locations: bool) -> list[str]:
    pad = "  " * indent
    inner: list[str] = []
    for key, region in op.attrs.items():
        if isinstance(region, Graph):
            first, *rest = _graph_lines(region, names, indent + 1, locations)
            inner += [f"{pad}  {key}={first.strip()}", *rest]
    text = _op_text(op, names, format_attr)
    where = f" at {json.dumps(op.loc.file)}:{op.loc.line}" if locations and op.loc else ""
    if not inner:
        return [f"{pad}{text}{where}"]
    return [f"{pad}{text} with", *inner, f"{pad}end{where}"]


def _op_text(op: Op, names: _Names, show: Callable[[Any], str]) -> str:
    operands = ", ".join(names.use(v) for v in op.inputs)
    heads = ", ".join(f"{names.define(r)}: {r.type}" for r in op.results)
    text = (f"{heads} = " if heads else "") + f"{op.opcode}({operands})"
    attrs = [f"{k}={show(v)}" for k, v in op.attrs.items() if not isinstance(v, Graph)]
    return text + (" {" + ", ".join(attrs) + "}" if attrs else "")


def _quoted(name: str) -> str:
    return name if _PLAIN_NAME.match(name) else json.dumps(name)


def format_attr(value: Any) -> str:
    """An attribute as text.

    Raises:
        TypeError: the value is not plain data.
    """
    if isinstance(value, DType):
        return value.value
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(str(value))
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float):
        return _format_float(float(value))
    if isinstance(value, tuple):
        inner = ", ".join(format_attr(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if hasattr(value, "parse"):
        return str(value)
    raise TypeError(f"attribute {value!r} of type {type(value).__name__} is not plain data")


def _format_anything(value: Any) -> str:
    """For messages: what is wrong with an op may be that an attribute has no textual form."""
    try:
        return format_attr(value)
    except TypeError:
        return repr(value)


def _format_float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
