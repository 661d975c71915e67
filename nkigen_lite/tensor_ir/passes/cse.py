"""Merging ops that compute the same."""

from __future__ import annotations

from typing import Any

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.tensor_ir.rows import TENSOR


def merge_equal_ops(graph: Graph) -> int:
    """Keep the first of all ops that compute the same, and drop ops that nobody reads.

    Ops are the same when opcode, operands, attributes and result types are; the operands of an op
    that commutes count in either order. Ops with effects, or with unknown ones, stay.

    Returns:
        How many ops another one stands for now.
    """
    first: dict[tuple[Any, ...], Op] = {}
    instead: dict[Value, Value] = {}
    merged = 0
    for op in graph.ops:
        if graph.effects(op) != () or op.regions:
            continue
        kept = first.setdefault(_key(op, instead), op)
        if kept is not op:
            instead.update(zip(op.results, kept.results, strict=True))
            merged += 1
    graph.replace_values(instead)
    graph.dce()
    return merged


def _key(op: Op, instead: dict[Value, Value]) -> tuple[Any, ...]:
    operands = [id(instead.get(v, v)) for v in op.inputs]
    if TENSOR[op.opcode].commutes:
        operands.sort()
    # repr tells 0.0 from -0.0, 1 from 1.0 and True, and makes nan equal to itself.
    attrs = tuple(sorted((name, repr(attr)) for name, attr in op.attrs.items()))
    return op.opcode, tuple(operands), attrs, tuple(r.type for r in op.results)
