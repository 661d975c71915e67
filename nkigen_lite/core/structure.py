"""Views of a graph that analyses use: structural hash and equality, and a networkx graph."""

from __future__ import annotations

import hashlib

import networkx as nx

from nkigen_lite.core.ir import Graph, Op, Value, captured_values
from nkigen_lite.core.printer import format_attr


def structural_hash(graph: Graph) -> str:
    """A hex digest that ignores names and source lines and nothing else.

    Input order, output order, opcodes, attributes, types and wiring all count.
    """
    return hashlib.sha256("\n".join(_lines(graph, {})).encode()).hexdigest()


def structurally_equal(a: Graph, b: Graph) -> bool:
    """Whether two graphs differ at most in names and source lines."""
    return _lines(a, {}) == _lines(b, {})


def _lines(graph: Graph, numbers: dict[int, int]) -> list[str]:
    def number(value: Value) -> str:
        return str(numbers.setdefault(id(value), len(numbers)))

    lines = ["in " + " ".join(f"{number(v)}:{v.type}" for v in graph.inputs)]
    for op in graph.ops:
        operands = " ".join(str(numbers.get(id(v), "?")) for v in op.inputs)
        attrs = sorted((k, a) for k, a in op.attrs.items() if not isinstance(a, Graph))
        text = " ".join(f"{k}={format_attr(a)}" for k, a in attrs)
        lines.append(f"{op.opcode}({operands}) {text}")
        for key, attr in sorted(op.attrs.items(), key=lambda item: item[0]):
            if isinstance(attr, Graph):
                lines += [f"{key} {{", *_lines(attr, numbers), "}"]
        lines.append(" ".join(f"{number(r)}:{r.type}" for r in op.results))
    lines.append("out " + " ".join(str(numbers.get(id(v), "?")) for v in graph.outputs.values()))
    return lines


def to_networkx(graph: Graph) -> nx.MultiDiGraph:
    """The dataflow of one graph level.

    Nodes are the ops and, for graph inputs, the values themselves, each with attribute ``kind``
    ("op" or "input"); an edge per use carries ``value``. Graph outputs are nodes
    ``("output", name)`` of kind "output". Node order is program order.
    """
    view: nx.MultiDiGraph = nx.MultiDiGraph(name=graph.name)
    source: dict[int, Op | Value] = {}
    for value in graph.inputs:
        view.add_node(value, kind="input")
        source[id(value)] = value
    for op in graph.ops:
        view.add_node(op, kind="op")
        for value in captured_values(op):
            if id(value) in source:
                view.add_edge(source[id(value)], op, value=value)
        for result in op.results:
            source[id(result)] = op
    for name, value in graph.outputs.items():
        view.add_node(("output", name), kind="output")
        view.add_edge(source[id(value)], ("output", name), value=value)
    return view
