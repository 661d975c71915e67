"""The question put to the packer: buffers with lifetimes, to be given addresses in one memory.

Two buffers whose lifetimes share an event must not share a byte.  Addresses and sizes are in bytes;
for SBUF, which gives every partition the same addresses, they are bytes of one partition.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..codec import from_text, to_text
from ..problem import ProblemError


@dataclass(frozen=True, slots=True)
class Buffer:
    """`size` bytes that are live at the events `start` to `end` - 1.

    The address must be a multiple of `alignment` bytes.  With `fixed` it is that address.
    """

    name: str
    start: int
    end: int
    size: int
    alignment: int = 1
    fixed: int | None = None

    def __str__(self) -> str:
        return f"buffer {self.name!r} ({self.size} bytes, events {self.start} to {self.end})"


@dataclass(frozen=True, slots=True)
class PackingProblem:
    """Buffers, and the `capacity` in bytes of the memory that they share."""

    buffers: tuple[Buffer, ...]
    capacity: int

    def validate(self) -> None:
        """Raise `ProblemError`, naming the offender and the rule, where a rule is broken.

        Names are distinct; lifetimes and sizes are not empty; alignments are at least 1; fixed
        addresses are aligned and leave each other alone; the capacity is not below 0.
        """
        if self.capacity < 0:
            raise ProblemError(f"capacity: is {self.capacity}, must be at least 0")
        seen: set[str] = set()
        for buffer in self.buffers:
            if buffer.name in seen:
                raise ProblemError(f"buffer {buffer.name!r}: the name is there twice")
            seen.add(buffer.name)
            _validate_buffer(buffer)
        _validate_fixed([buffer for buffer in self.buffers if buffer.fixed is not None])

    def to_json(self) -> str:
        """This problem as JSON text; equal problems give equal text."""
        return to_text(self)

    @classmethod
    def from_json(cls, text: str) -> PackingProblem:
        """The problem that `to_json` wrote.  Raises `ProblemError` naming the field at fault."""
        return from_text(cls, text, "problem", ProblemError)


def _validate_buffer(buffer: Buffer) -> None:
    if buffer.start >= buffer.end:
        raise ProblemError(
            f"buffer {buffer.name!r}: its lifetime is {buffer.start} to {buffer.end}, must have "
            f"at least one event"
        )
    if buffer.size < 1:
        raise ProblemError(f"buffer {buffer.name!r}: its size is {buffer.size}, must be above 0")
    if buffer.alignment < 1:
        raise ProblemError(
            f"buffer {buffer.name!r}: its alignment is {buffer.alignment}, must be at least 1"
        )
    if buffer.fixed is not None and (buffer.fixed < 0 or buffer.fixed % buffer.alignment):
        raise ProblemError(
            f"buffer {buffer.name!r}: its fixed address is {buffer.fixed}, must be a multiple of "
            f"{buffer.alignment} and at least 0"
        )


def _validate_fixed(buffers: list[Buffer]) -> None:
    for index, one in enumerate(buffers):
        for other in buffers[:index]:
            low, high = one.fixed or 0, other.fixed or 0
            together = one.start < other.end and other.start < one.end
            if together and low < high + other.size and high < low + one.size:
                raise ProblemError(
                    f"{other} and {one}: their fixed addresses {high} and {low} overlap"
                )
