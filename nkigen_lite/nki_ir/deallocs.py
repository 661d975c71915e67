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
    last = _last_uses(graph, accesses)
    freed = {id(accesses.root(op.inputs[0])) for op in graph.ops if op.opcode == "dealloc"}
    gone = freed | kept
    after: dict[int, list[Op]] = {}
    for position, op in enumerate(graph.ops):
        if op.opcode != "alloc" or op.result.type.memory not in ON_CHIP:
            continue
        if id(op.result) not in gone:
            free = Op("dealloc", [op.result], [], {}, loc=op.loc)
            after.setdefault(last.get(id(op.result), position), []).append(free)
    ops: list[Op] = []
    for position, op in enumerate(graph.ops):
        ops += [op, *after.get(position, ())]
    graph.ops = ops
    inner = [region for op in ops for region in op.regions]
    return sum(map(len, after.values())) + sum(_insert(g, accesses, kept) for g in inner)


def _last_uses(graph: Graph, accesses: Accesses) -> dict[int, int]:
    """Position of the last op that uses each on-chip buffer, itself or inside its regions."""
    last: dict[int, int] = {}
    for position, op in enumerate(graph.ops):
        for value in captured_values(op):
            if value.type.memory in ON_CHIP:
                last[id(accesses.root(value))] = position
    return last
