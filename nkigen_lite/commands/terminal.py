"""Where output goes: reports to stdout, what goes on meanwhile to stderr."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stdout,
    suppress,
)
from threading import current_thread, main_thread

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

PIPE_WIDTH = 100  # characters, where the output is not a terminal and COLUMNS is not set
_PATIENCE_S = 1.0
_EVERY_S = 0.1  # between two looks of the progress line


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

    def __init__(self, console: Console, doing: str) -> None:
        self._spinner = Spinner("dots", doing)
        self._live = Live(self._spinner, console=console, auto_refresh=False, transient=True)

    def __call__(self, doing: str) -> None:
        self._spinner.update(text=doing)

    def draw(self) -> None:
        """Show the line as it is now."""
        with suppress(RuntimeError):  # stderr is being written to, by what this interrupts
            self._live.start()
            self._live.refresh()

    def close(self) -> None:
        """Take the line away."""
        self._live.stop()


@contextmanager
def progress(doing: str) -> Iterator[Progress]:
    """A progress line that is there only while this is open, and only if stderr is a terminal.

    A timer's signal draws it. A thread would keep the compiler from forking processes, and so from
    using more than one core.
    """
    console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")) or None)
    line = Progress(console, doing)
    signals = hasattr(signal, "SIGALRM") and current_thread() is main_thread()
    if not (signals and console.is_terminal):
        yield line
        return
    before = signal.signal(signal.SIGALRM, lambda *_: line.draw())
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S, _EVERY_S)
    try:
        yield line
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        line.close()
