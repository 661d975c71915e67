"""Which copy of a rotating buffer is in use, and where it begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir.emit.names import Names
from nkigen_lite.nki_ir.rows.table import regions_of
from nkigen_lite.nki_ir.types import ON_CHIP

Turns = tuple[int, tuple[tuple[str, int], ...]]
"""A number of rotations: a constant, and so many per trip of each of some loops."""


_MANY = 4  # turns: of fewer, names that are bound anew say better what goes on


def is_rotated(buffer: Value) -> bool:
    """Whether the program says when the buffer's next copy is taken."""
    return any(op.opcode == "rotate" for op in buffer.uses)


class WrittenOut:
    """Buffers each of whose many turns is text of its own: a turn only changes the name."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._copies: dict[int, list[str]] = {}

    @staticmethod
    def are_written_out(alloc: Op, block: Graph) -> bool:
        """Whether all turns of a buffer are in the block of its ``alloc``, in no loop or branch."""
        rotates = {op for op in alloc.result.uses if op.opcode == "rotate"}
        return len(rotates) >= _MANY and rotates.issubset(block.ops)

    def begin(self, alloc: Op) -> list[str]:
        """Names for all copies of a buffer; the first is the buffer's."""
        name = self._names.of[id(alloc.result)]
        more = range(1, alloc.attrs["num_buffers"])
        names = [name, *(self._names.fresh(f"{name}_{number}") for number in more)]
        self._copies[id(alloc.result)] = names
        return names

    def take(self, buffer: Value, turn: int) -> bool:
        """Let a buffer's name be that of its copy of a turn, and those before likewise; whether
        its turns are written out."""
        names = self._copies.get(id(buffer))
        if names is None:
            return False
        self._names.of[id(buffer)] = names[turn % len(names)]
        self._names.before[id(buffer)] = [
            names[(turn - by) % len(names)] for by in range(1, oldest(buffer) + 1)
        ]
        return True


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


def check_starts(alloc: Op, starts: Sequence[int]) -> None:
    """Refuse addresses that the copies of a tile cannot have.

    Raises:
        InvalidInput: one is not a byte on chip that the type may begin at, or there are not as
            many as copies.
    """
    kind, copies = alloc.result.type, alloc.attrs["num_buffers"]
    if kind.memory not in ON_CHIP or any(n < 0 or n % kind.dtype.itemsize for n in starts):
        raise InvalidInput(
            f"emit_nki: address of %{alloc.result.name}, {kind}, is {', '.join(map(str, starts))} "
            f"but must be a byte on chip, a multiple of {kind.dtype.itemsize}"
        )
    if len(starts) != copies:
        raise InvalidInput(
            f"emit_nki: %{alloc.result.name} has {len(starts)} addresses but {copies} copies"
        )


def times(index: str, factor: int) -> str:
    return index if factor == 1 else f"{index} * {factor}"


def oldest(buffer: Value) -> int:
    """How many rotations ago the oldest copy was in use that is still read."""
    return max((op.attrs["by"] for op in buffer.uses if op.opcode == "previous"), default=0)
