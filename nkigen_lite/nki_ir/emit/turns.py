"""Which copy of a rotating buffer is in use, and where it begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir.rows.table import regions_of

Turns = tuple[int, tuple[tuple[str, int], ...]]
"""A number of rotations: a constant, and so many per trip of each of some loops."""


def is_rotated(buffer: Value) -> bool:
    """Whether the program says when the buffer's next copy is taken."""
    return any(op.opcode == "rotate" for op in buffer.uses)


def rotations(graph: Graph) -> Counter[int]:
    """How often a graph rotates each buffer, by ``id``, where nothing but loops decides that."""
    found: Counter[int] = Counter()
    for op in graph.ops:
        if op.opcode == "rotate":
            found[id(op.inputs[0])] += 1
        if op.opcode == "fori_loop":
            for body, trips in regions_of(op):
                found.update({buffer: trips * n for buffer, n in rotations(body).items()})
    return found


def byte_of(starts: Sequence[int], turn: str) -> str:
    """The byte at which the copy number ``turn`` begins, as an expression."""
    steps = {later - before for before, later in pairwise(starts)}
    if len(steps) != 1:
        return f"{tuple(starts)}[{turn}]"
    (step,) = steps
    if starts[0] == 0:
        return f"{turn} * {step}"
    return f"{starts[0]} {'-' if step < 0 else '+'} {turn} * {abs(step)}"


def listed(starts: Sequence[int]) -> str:
    return ", ".join(map(str, starts))


def times(index: str, factor: int) -> str:
    return index if factor == 1 else f"{index} * {factor}"


def oldest(buffer: Value) -> int:
    """How many rotations ago the oldest copy was in use that is still read."""
    return max((op.attrs["by"] for op in buffer.uses if op.opcode == "previous"), default=0)
