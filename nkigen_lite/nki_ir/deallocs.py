"""Ending the life of every on-chip buffer right after its last use."""

from __future__ import annotations

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.nki_ir.access import Accesses
from nkigen_lite.nki_ir.types import ON_CHIP


def insert_deallocs(graph: Graph, accesses: Accesses | None = None) -> int:
    """Put a ``dealloc`` after the last use of each SBUF or PSUM buffer that has none.

    A buffer's uses are those of all its views, in nested regions too; it is freed at the level
    where it was allocated. Graph outputs stay. Returns how many were inserted. ``accesses`` are
    those of the graph, if they are known.
    """
    walk = _Walk(accesses or Accesses())
    walk.kept = {walk.accesses.root(value) for value in graph.outputs.values()}
    walk.insert(graph)
    return walk.inserted


class _Walk:
    """Inserts deallocs, regions before what is around them."""

    def __init__(self, accesses: Accesses) -> None:
        self.accesses = accesses
        self.kept: set[Value] = set()
        self.inserted = 0

    def insert(self, graph: Graph) -> set[Value]:
        """The on-chip buffers that a graph uses, its regions too; what it allocates is freed."""
        last: dict[Value, int] = {}  # position of the last op that uses each buffer
        allocated: list[tuple[int, Op]] = []
        gone = set(self.kept)
        for position, op in enumerate(graph.ops):
            for value in op.inputs:
                if value.type.memory in ON_CHIP:
                    last[self.accesses.root(value)] = position
            for region in op.regions:
                last.update(dict.fromkeys(self.insert(region), position))
            if op.opcode == "alloc" and op.result.type.memory in ON_CHIP:
                allocated.append((position, op))
            elif op.opcode == "dealloc":
                gone.add(self.accesses.root(op.inputs[0]))
        after: dict[int, list[Op]] = {}
        for position, op in allocated:
            if op.result not in gone:
                free = Op("dealloc", [op.result], [], {}, loc=op.loc)
                after.setdefault(last.get(op.result, position), []).append(free)
                self.inserted += 1
        if after:
            graph.ops = [o for at, op in enumerate(graph.ops) for o in (op, *after.get(at, ()))]
        return set(last)
