"""Where in the user's program an op comes from."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from types import FrameType

import numpy as np

# Where frames that are not the user's program lie: this package, numpy, and code without a file.
_NOT_THE_USER = (
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep,
    os.path.dirname(os.path.abspath(np.__file__)) + os.sep,
    "<",
)


@dataclass(frozen=True, slots=True)
class Location:
    """A line of a source file.

    ``outer`` is where the function that the line belongs to was called, if that is the user's
    program too; it does not count when locations are compared.
    """

    file: str
    line: int
    outer: Location | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def user_frames() -> list[FrameType]:
    """The stack frames of the user's program, innermost first: outside nkigen_lite and numpy."""
    frame: FrameType | None = sys._getframe(1)
    users: list[FrameType] = []
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_NOT_THE_USER):
            users.append(frame)
        elif users:
            break  # what called the user's program is not part of it
        frame = frame.f_back
    return users


def caller_location() -> Location | None:
    """The innermost stack frame outside nkigen_lite and numpy, or None if there is none."""
    found: Location | None = None
    for frame in reversed(user_frames()):
        found = Location(frame.f_code.co_filename, frame.f_lineno, found)
    return found
