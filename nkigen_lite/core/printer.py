"""The textual form of graphs. What is printed here, ``parser.parse`` reads back equal.

    graph @name(
      %x: <2x4xf32>
    ) {
      %v1: <2x4xf32> = exp(%x)
      %v2: <2xf32> = reduce(%v1) {axis=(1,), keepdims=false, kind="sum"}
      return y=%v2
    }

Nested regions print in full inside the attribute braces. Names are made unique while printing, so
two values that share a name are told apart by a suffix.
"""

from __future__ import annotations

import json
import math
import re
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

    def use(self, value: Value) -> str:
        name = self._of.get(id(value), value.name)
        return "%" + (name if _PLAIN_NAME.match(name) else json.dumps(name))


def format_graph(graph: Graph, *, indent: int = 0, locations: bool = False) -> str:
    """``graph`` as text; with ``locations`` each op ends in ``at "file":line``."""
    return "\n".join(_graph_lines(graph, _Names(), indent, locations))


def format_op(op: Op) -> str:
    """One op on one line, nested regions shortened to their names."""
    names = _Names()
    attrs = {k: v for k, v in op.attrs.items() if not isinstance(v, Graph)}
    text = _op_head(op, names) + _attr_block(attrs)
    return text + "".join(f" {k}=<graph @{v.name}>" for k, v in op.attrs.items() if _is_graph(v))


def _is_graph(value: Any) -> bool:
    return isinstance(value, Graph)


def _graph_lines(graph: Graph, names: _Names, indent: int, locations: bool) -> list[str]:
    pad = "  " * indent
    name = graph.name if _PLAIN_NAME.match(graph.name) else json.dumps(graph.name)
    lines = [f"{pad}graph @{name}("]
    heads = [f"{pad}  {names.define(v)}: {v.type}" for v in graph.inputs]
    lines += [h + ("," if i + 1 < len(heads) else "") for i, h in enumerate(heads)]
    lines.append(f"{pad}) {{")
    for op in graph.ops:
        lines += _op_lines(op, names, indent + 1, locations)
    outputs = ", ".join(f"{_key(k)}={names.use(v)}" for k, v in graph.outputs.items())
    lines.append(f"{pad}  return {outputs}".rstrip())
    lines.append(f"{pad}}}")
    return lines


def _op_lines(op: Op, names: _Names, indent: int, locations: bool) -> list[str]:
    pad = "  " * indent
    operands = ", ".join(names.use(v) for v in op.inputs)
    plain = {k: v for k, v in op.attrs.items() if not isinstance(v, Graph)}
    regions = {k: v for k, v in op.attrs.items() if isinstance(v, Graph)}
    inner: list[str] = []
    for key, region in regions.items():
        first, *rest = _graph_lines(region, names, indent + 1, locations)
        inner += [f"{pad}  {key}={first.strip()}", *rest]
    heads = ", ".join(f"{names.define(r)}: {r.type}" for r in op.results)
    text = f"{heads} = " if heads else ""
    text += f"{op.opcode}({operands}){_attr_block(plain)}"
    where = f" at {json.dumps(op.loc.file)}:{op.loc.line}" if locations and op.loc else ""
    if not regions:
        return [f"{pad}{text}{where}"]
    return [f"{pad}{text} with", *inner, f"{pad}end{where}"]


def _op_head(op: Op, names: _Names) -> str:
    heads = ", ".join(f"{names.define(r)}: {r.type}" for r in op.results)
    operands = ", ".join(names.use(v) for v in op.inputs)
    return (f"{heads} = " if heads else "") + f"{op.opcode}({operands})"


def _attr_block(attrs: dict[str, Any]) -> str:
    if not attrs:
        return ""
    return " {" + ", ".join(f"{k}={format_attr(v)}" for k, v in attrs.items()) + "}"


def _key(name: str) -> str:
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


def _format_float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
