"""Where output goes: reports to stdout, what goes on meanwhile to stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from threading import Timer

from rich.console import Console
from rich.status import Status

PIPE_WIDTH = 100  # characters, where the output is not a terminal and COLUMNS is not set
_PATIENCE_S = 1.0


def width() -> int:
    """Characters in a line of the terminal."""
    return shutil.get_terminal_size((PIPE_WIDTH, 24)).columns


def colour() -> bool:
    """Whether stdout takes colour codes: it is a terminal, and NO_COLOR is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.getenv("TERM") != "dumb"


def encoding() -> str:
    """What characters stdout can show."""
    return sys.stdout.encoding or "ascii"


def write(text: str) -> None:
    """Write to stdout now, so that a closed pipe is noticed here."""
    sys.stdout.write(text)
    sys.stdout.flush()


def stdout_is_clean(wanted: bool) -> AbstractContextManager[object]:
    """While this is open and ``wanted``, what the user's code prints goes to stderr."""
    return redirect_stdout(sys.stderr) if wanted else nullcontext()


class Progress:
    """A line on stderr that says what is being done, once that takes longer than a second."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def __call__(self, doing: str) -> None:
        self._status.update(doing)


@contextmanager
def progress(doing: str) -> Iterator[Progress]:
    """A progress line that is there only while this is open, and only if stderr is a terminal."""
    console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")) or None)
    status = Status(doing, console=console)
    timer = Timer(_PATIENCE_S, status.start)
    timer.daemon = True
    if console.is_terminal:
        timer.start()
    try:
        yield Progress(status)
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
        status.stop()
