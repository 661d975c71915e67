"""Ending the life of every on-chip buffer right after its last use."""

from __future__ import annotations

from nkigen_lite.core.ir import Graph, Op, captured_values
from nkigen_lite.nki_ir.access import Accesses
from nkigen_lite.nki_ir.types import ON_CHIP


def insert_deallocs(graph: Graph) -> int:
    """Put a ``dealloc`` after the last use of each SBUF or PSUM buffer that has none.

    A buffer's uses are those of all its views, in nested regions too; it is freed at the level
    where it was allocated. Graph outputs stay. Returns how many were inserted.
    """
    accesses = Accesses()
    return _insert(graph, accesses, {id(accesses.root(v)) for v in graph.outputs.values()})


def _insert(graph: Graph, accesses: Accesses, kept: set[int]) -> int:
    last: dict[int, int] = {}
    freed: set[int] = set()
    for position, op in enumerate(graph.ops):
        for value in captured_values(op):
            if value.type.memory in ON_CHIP:
                last[id(accesses.root(value))] = position
        if op.opcode == "dealloc":
            freed.add(id(accesses.root(op.inputs[0])))
    after: dict[int, list[Op]] = {}
    count = 0
    for position, op in enumerate(graph.ops):
        if op.opcode == "alloc" and op.result.type.memory in ON_CHIP:
            buffer = op.result
            if id(buffer) not in freed and id(buffer) not in kept:
                free = Op("dealloc", [buffer], [], {}, loc=op.loc)
                after.setdefault(last.get(id(buffer), position), []).append(free)
                count += 1
    ops: list[Op] = []
    for position, op in enumerate(graph.ops):
        ops.append(op)
        ops.extend(after.get(position, ()))
    graph.ops = ops
    for op in graph.ops:
        for region in op.regions:
            count += _insert(region, accesses, kept)
    return count
