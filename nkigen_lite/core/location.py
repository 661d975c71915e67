"""Where in the user's program an op comes from."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
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
    """A line of a source file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def caller_location() -> Location | None:
    """The innermost stack frame outside nkigen_lite and numpy, or None if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_NOT_THE_USER):
            return Location(name, frame.f_lineno)
        frame = frame.f_back
    return None
