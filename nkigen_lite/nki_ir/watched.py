"""Instructions of a checked run: they watch what they read, and own what they write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Op
from nkigen_lite.errors import MemoryFault
from nkigen_lite.nki_ir.byte_memory import ByteMemory, Stray
from nkigen_lite.nki_ir.rows import NKI, written_operands
from nkigen_lite.nki_ir.types import MemorySpace


@dataclass(eq=False, slots=True)
class Contents:
    """What a buffer holds between one execution of its ``alloc`` and the next."""

    number: int
    name: str
    memory: ByteMemory
    array: Array
    copy: int = 0
    alive: bool = True

    def __str__(self) -> str:
        return f"%{self.name}" + (f" copy {self.copy}" if self.memory.name != "hbm" else "")


@dataclass(eq=False, slots=True)
class Instruction:
    """An op of an engine about to be executed; operand by operand its array or loop index, and
    the contents that the array is part of."""

    op: Op
    arrays: list[Any]
    contents: list[Contents | None]
    every: Sequence[Contents]
    run: Callable[[Sequence[Any]], None]

    def execute(self) -> None:
        """Check what it reads, run it, and make what it writes its own.

        Raises:
            MemoryFault: it reads bytes that are not those of its operand.
        """
        for at in _reads(self.op, self.arrays):
            mine = self.contents[at]
            assert mine is not None
            stray = mine.memory.stray(self.arrays[at], mine.number)
            if stray is not None:
                raise MemoryFault(located(self.op, self._sentence(mine, stray)))
        self.run(self.arrays)
        for at in written_operands(self.op):
            mine = self.contents[at]
            if mine is not None:  # no register
                mine.memory.owners(self.arrays[at])[...] = mine.number

    def _sentence(self, mine: Contents, stray: Stray) -> str:
        where = f"{bytes_of(stray)} of {mine.memory.name}, part of {mine},"
        others = [self.every[n - 1] for n in stray.others if n]
        if not others:
            return f"{where} are read but were never written"
        names = ", ".join(dict.fromkeys(str(other) for other in others[:4]))
        return f"{where} hold what was written to {names} but must hold what was written to it"


def bytes_of(stray: Stray) -> str:
    rows, columns = stray.rows, stray.columns
    found = f"bytes {columns[0]} to {columns[1]}"
    return f"{found} of partitions {rows[0]} to {rows[1]}" if rows[1] else found


def located(op: Op, sentence: str) -> str:
    where = f"\n  at {op.loc}" if op.loc else ""
    return f"{op.opcode}: {sentence}{where}"


def _reads(op: Op, arrays: Sequence[Any]) -> Iterator[int]:
    """Positions of the tiles that an op reads; its destination only if it adds to that."""
    written = written_operands(op)
    for at, value in enumerate(op.inputs):
        if value.type.memory is MemorySpace.REG:
            continue
        also_read = f"read {at}" in (NKI[op.opcode].effects or ()) and _adds(op, arrays)
        if at not in written or also_read:
            yield at


def _adds(op: Op, arrays: Sequence[Any]) -> bool:
    """Whether an op that may add to its destination does; those without a choice always do."""
    if "accumulate" not in op.attrs:
        return NKI[op.opcode].keeps(op)
    indices = [a for a, v in zip(arrays, op.inputs, strict=True) if v.type.memory == "reg"]
    return any(indices) if indices else bool(op.attrs["accumulate"])
