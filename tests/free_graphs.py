"""Graphs to edit by hand: of ops that no row describes, and an empty one of tensors."""

from __future__ import annotations

from nkigen_lite.core import DType, Graph, Op, Value
from nkigen_lite.tensor_ir import Builder, TensorType

T = TensorType((4,), DType.F32)


def free_graph() -> tuple[Graph, Value, Value]:
    """A graph of ops that no row describes, with inputs x and y."""
    g = Graph("free")
    return g, g.add_input("x", T), g.add_input("y", T)


def put(g: Graph, opcode: str, *inputs: Value, results: int = 1, **attrs: object) -> Op:
    return g.append(Op(opcode, inputs, [T] * results, attrs, counter=g.counter))


def tensor_graph() -> tuple[Builder, Value]:
    b = Builder("g")
    return b, b.add_input("x", (4,))
