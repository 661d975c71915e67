"""What every test module shares: hypothesis profiles, test order, golden files, the CLI."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Before numpy loads: test workers share the cores, and products here are small.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from command_line import Run, runner, write_kernels
from hypothesis import settings

from nkigen_lite.tensor_ir.passes.layout_solver import solve

GOLDEN = Path(__file__).parent / "golden"

# The default profile draws the same examples in every run; `explore` looks for new ones.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update", action="store_true", help="rewrite the golden files of the tests that run"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow tests last: one run shows the quick verdicts first and counts them all."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session", autouse=True)
def one_process() -> Iterator[None]:
    """Kernels are priced in the process of the test: tests share the cores, and look at calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "usable", lambda: 1)
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` fails unless `text` is exactly what tests/golden/<name> holds.

    With --update it writes the file instead, and the test passes.
    """

    def check(name: str, text: str) -> None:
        path = (GOLDEN / name).resolve()
        if not path.is_relative_to(GOLDEN.resolve()):
            raise ValueError(f"golden: name is {name!r} but it must stay inside tests/golden")
        if request.config.getoption("--update"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        expected = path.read_bytes().decode() if path.is_file() else None
        if text != expected:
            pytest.fail(_explain(name, expected, text, request.node.nodeid), pytrace=False)

    return check


@pytest.fixture
def kernels(tmp_path: Path) -> str:
    """The path of a file of kernels for the command line."""
    return write_kernels(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line, in lines of 120 characters."""
    monkeypatch.setenv("COLUMNS", "120")
    return runner(capsys)


def _explain(name: str, expected: str | None, text: str, nodeid: str) -> str:
    """The failure message: what differs, and the command that accepts the new text."""
    shown = f"tests/golden/{name}"
    accept = f"to accept the new text: .venv/bin/python -m pytest -n 0 --update {nodeid!r}"
    if expected is None:
        return f"{shown} does not exist\n{accept}"
    diff = difflib.unified_diff(
        expected.splitlines(), text.splitlines(), shown, "this run", lineterm="", n=2
    )
    # Equal lines, different text: only line ends or the end of the file can differ.
    return "\n".join([f"{shown} differs", *(list(diff) or ["(in line ends only)"]), accept])
