"""When each on-chip buffer of a kernel is live, in positions of the program text.

The position of an op is its place in ``graph.walk()``, where a loop comes before its body. A buffer
is live from its ``alloc`` until its ``dealloc`` at the same level, or else until the end of that
level. One that is allocated outside a loop and used inside is freed outside, so it lives through
the whole loop; one allocated inside has a life of its own in every trip. Branches count as loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir.rows.table import regions_of
from nkigen_lite.nki_ir.types import ON_CHIP

Span = tuple[int, int]
"""Positions from the first up to, not including, the second."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The life of a buffer.

    Attributes:
        value: the ``alloc`` result.
        copies: that rotate.
        live: in one trip of the loops around it.
        loops: the loops around it, outermost first.
        trips: of these loops, for all that is known; 0 where a branch is not likely to be taken.
    """

    value: Value
    copies: int
    live: Span
    loops: tuple[Span, ...]
    trips: tuple[int, ...]


def lifetimes(graph: Graph) -> list[Lifetime]:
    """The life of every buffer in SBUF and PSUM, in the order of their allocations."""
    return sorted(_level(graph, 0, (), ()), key=lambda life: life.live[0])


def length(graph: Graph) -> int:
    """Ops of a graph, those of loop bodies once."""
    return sum(1 for _ in graph.walk())


def _level(
    graph: Graph, first: int, loops: tuple[Span, ...], trips: tuple[int, ...]
) -> Iterator[Lifetime]:
    """The lives of buffers allocated in a graph or loop body whose first op is at ``first``."""
    allocated: dict[int, tuple[Value, int, int]] = {}
    at = first
    for op in graph.ops:
        if op.opcode == "alloc" and op.result.type.memory in ON_CHIP:
            allocated[id(op.result)] = (op.result, op.attrs["num_buffers"], at)
        elif op.opcode == "dealloc" and id(op.inputs[0]) in allocated:
            value, copies, start = allocated.pop(id(op.inputs[0]))
            yield Lifetime(value, copies, (start, at), loops, trips)
        inside = at + 1
        often = {id(body): times for body, times in regions_of(op)}
        for body in op.regions:
            end = inside + length(body)
            around = (*trips, often.get(id(body), 0))
            yield from _level(body, inside, (*loops, (at, end)), around)
            inside = end
        at = inside
    for value, copies, start in allocated.values():
        yield Lifetime(value, copies, (start, at), loops, trips)
