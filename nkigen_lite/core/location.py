"""Where in the user's program an op comes from."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from types import FrameType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_SKIPPED = (os.sep + "numpy" + os.sep, os.sep + "ml_dtypes" + os.sep, "<")


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
        if not name.startswith(_PACKAGE) and not name.startswith("<") and _SKIPPED[0] not in name:
            return Location(name, frame.f_lineno)
        frame = frame.f_back
    return None
