"""What tests of the command line share: kernels in a file, and running a command here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nkigen_lite import cli

Result = tuple[int, str, str]
Run = Callable[..., Result]
KERNELS = """
import numpy as np

def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)

def scaled(x, factor=2, mode="times"):
    return x * factor if mode == "times" else x + factor

def both(x):
    return {"sum": x.sum(axis=1), "pair": (x + 1, x > 0)}

def counts(x, n):
    return x * n + 1

def talking(x):
    print("tracing")
    return x + 1

def index_error(x):
    return [x][3]

def sorted_rows(x):
    return np.sort(x)

def interrupted(x):
    raise KeyboardInterrupt

def inverse(x):
    return 1 / x
"""


def write_kernels(folder: Path) -> str:
    """The path of a file of kernels, some of which do not compile."""
    path = folder / "kernels.py"
    path.write_text(KERNELS, encoding="utf-8")
    return str(path)


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line: exit code, stdout, stderr."""

    def call(*words: str) -> Result:
        try:
            code = cli.main(words)
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def fails(result: Result, *parts: str, code: int = 1) -> None:
    """One message on stderr that has all the parts, nothing on stdout, no traceback."""
    got, out, err = result
    assert got == code
    assert out == ""
    assert "Traceback" not in err
    assert all(part in err for part in parts), err
    if code == 1:
        assert err.startswith("nkigen-lite: error: ")
