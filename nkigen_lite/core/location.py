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


def caller_location() -> Location | None:
    """The innermost stack frame outside nkigen_lite and numpy, or None if there is none."""
    frame: FrameType | None = sys._getframe(1)
    users: list[tuple[str, int]] = []
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_NOT_THE_USER):
            users.append((name, frame.f_lineno))
        elif users:
            break  # what called the user's program is not part of it
        frame = frame.f_back
    found: Location | None = None
    for file, line in reversed(users):
        found = Location(file, line, found)
    return found
