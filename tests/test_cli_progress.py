"""The progress line of a terminal."""

from __future__ import annotations

import threading
import time
from io import StringIO

import pytest
from rich.console import Console

from nkigen_lite.commands import terminal


def shown(monkeypatch: pytest.MonkeyPatch, seconds: float, *, is_terminal: bool) -> str:
    """What is written to stderr in `seconds` of work."""
    out = StringIO()
    monkeypatch.setattr(
        terminal, "Console", lambda **_: Console(file=out, force_terminal=is_terminal, width=80)
    )
    monkeypatch.setattr(terminal, "_PATIENCE_S", 0.1)
    threads = threading.active_count()
    with terminal.progress("tracing") as line:
        line("solving")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        assert threading.active_count() == threads
    return out.getvalue()


def test_long_work_shows_what_is_done_and_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, 0.4, is_terminal=True)
    assert "solving" in text
    assert text.endswith("\x1b[2K")


def test_short_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, 0.0, is_terminal=True) == ""


def test_a_pipe_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, 0.3, is_terminal=False) == ""
