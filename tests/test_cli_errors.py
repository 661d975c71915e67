"""The command line when something is wrong, and on terminals of all kinds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Run, fails

import nkigen_lite
from cost_models import targets
from nkigen_lite.commands import terminal
from nkigen_lite.commands.stages import ALL, STAGES

ROOT = Path(__file__).parents[1]


# --- errors and exit codes -----------------------------------------------------------------------


def test_version_and_help_exit_with_0(run: Run) -> None:
    assert run("--version") == (0, f"nkigen-lite {nkigen_lite.__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0
    assert "examples:" in out
    for command in ("compile", "show", "run", "simulate", "targets"):
        assert run(command, "--help")[0] == 0
        assert f"nkigen-lite {command} " in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "required: COMMAND"),
        (("compil",), "invalid choice: 'compil'"),
        (("compile",), "required: FILE:FUNC"),
        (("compile", "a.py:f", "--arg", "x"), "'x' is not of the form NAME=VALUE"),
        (("compile", "a.py:f", "--arg", "=4"), "'=4' is not of the form NAME=VALUE"),
        (("compile", "a.py:f", "--time-limit", "0"), "not a number of seconds above 0"),
        (("compile", "a.py:f", "--time-limit", "nan"), "not a number of seconds above 0"),
        (("compile", "a.py:f", "--seed", "-1"), "not a whole number from 0"),
        (("compile", "a.py:f", "--json", "--quiet"), "not allowed with argument"),
        (("show", "a.py:f", "--stage", "axs"), "did you mean 'axes'?"),
        (("show", "a.py:f", "--bogus"), "unrecognized arguments: --bogus"),
        (("simulate",), "required: FILE:FUNC"),
        (("simulate", "a.py:f", "--first", "0"), "'0' is not a whole number from 1 to 1000000"),
        (("simulate", "a.py:f", "--first", "2.5"), "'2.5' is not a whole number from 1"),
        (("simulate", "a.py:f", "--svg"), "expected one argument"),
    ],
)
def test_wrong_arguments_exit_with_2(run: Run, words: tuple[str, ...], message: str) -> None:
    fails(run(*words), message, code=2)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("softmx", "--arg", "x=4x4"), ["no function 'softmx'; did you mean 'softmax'?"]),
        (("scaled", "--arg", "y=4x4"), ["'y' is not one of its parameters (x, factor, mode)"]),
        (("scaled", "--arg", "x=4x4", "--static", "factr=2"), ["did you mean 'factor'?"]),
        (("softmax",), ["nothing is given for parameter 'x'"]),
        (("softmax", "--arg", "x=4y"), ["--arg x:", "'4y' is not a positive integer"]),
        (("softmax", "--arg", "x=4:bf17"), ["'bf17' is not a known element type", "bf16"]),
        (("softmax", "--arg", "x=4", "--static", "x=4"), ["'x' is given as an array, too"]),
        (("softmax", "--arg", "x=@no.npy"), ["no.npy: cannot be read: No such file"]),
        (("softmax", "--arg", "x=4x4", "--target", "trn22"), [f"one of {', '.join(targets())}"]),
        (("softmax", "--arg", "x=4x4", "--set", "dma.queue=1"), ["did you mean 'dma.queues'?"]),
        (("softmax", "--arg", "x=4x4", "--set", "dma.queues=x"), ["must be a whole number"]),
        (("softmax", "--arg", "x=4x4", "-o", "/proc/no/such"), ["cannot be written"]),
        (("index_error", "--arg", "x=4x4"), ["raised IndexError: list index", "kernels.py:22"]),
        (("sorted_rows", "--arg", "x=4x4"), ["numpy.sort: has no tensor_ir meaning", ":25"]),
    ],
)
def test_what_the_user_got_wrong_exits_with_1(
    run: Run, kernels: str, words: tuple[str, ...], parts: list[str]
) -> None:
    function, *options = words
    fails(run("compile", f"{kernels}:{function}", *options), *parts)


def test_a_file_that_is_not_there_is_named(run: Run, kernels: str) -> None:
    near = kernels.replace("kernels.py", "kernel.py")
    fails(run("compile", f"{near}:softmax"), "is not a file; did you mean", "kernels.py?")
    fails(run("compile", kernels), "names no function; write path/file.py:function")


def test_inputs_that_are_no_arrays_are_named(run: Run, kernels: str, tmp_path: Path) -> None:
    fails(
        run("run", f"{kernels}:softmax", "--inputs", kernels),
        "kernels.py: is not an .npy or .npz file",
    )
    np.save(tmp_path / "one.npy", np.ones(3))
    words = ("run", f"{kernels}:softmax", "--inputs", str(tmp_path / "one.npy"))
    fails(run(*words), "must be an .npz with an array per name")
    np.savez(tmp_path / "in.npz", x=np.ones((2, 3), np.float32), z=np.ones(3, np.float32))
    words = ("run", f"{kernels}:softmax", "--inputs", str(tmp_path / "in.npz"))
    fails(run(*words), "'z' is not one of its parameters (x)")
    words = ("run", f"{kernels}:both", "--inputs", str(tmp_path / "in.npz"), "--arg", "x=2x4")
    fails(run(*words), "'x': the array has shape (2, 3) but --arg says <2x4xf32>")


def test_traceback_shows_where_the_error_was_raised(run: Run, kernels: str) -> None:
    code, _, err = run("compile", f"{kernels}:softmax", "--traceback")
    assert code == 1
    assert err.startswith("Traceback")
    assert "nkigen-lite: error: softmax: nothing is given" in err.splitlines()[-1]


def test_a_mistake_of_the_compiler_is_called_one(
    run: Run, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("nkigen_lite.api.make_report", broken)
    code, _, err = run("compile", f"{kernels}:softmax", "--arg", "x=4x4")
    assert code == 1
    assert "internal error: ZeroDivisionError: oops" in err
    assert "--traceback shows where" in err


def test_an_interrupt_exits_with_130(run: Run, kernels: str) -> None:
    code, out, err = run("compile", f"{kernels}:interrupted", "--arg", "x=4x4")
    assert (code, out, err) == (130, "", "nkigen-lite: interrupted\n")


# --- the terminal --------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_all_output_fits_the_terminal(
    run: Run, kernels: str, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    function = f"{kernels}:both"
    for words in (
        ("compile", function, "--arg", "x=300x200", "--full"),
        ("run", function, "--arg", "x=30x20", "--check"),
        ("simulate", function, "--arg", "x=300x200"),
        ("targets",),
        ("targets", "trn1"),
    ):
        code, out, _ = run(*words)
        assert code == 0
        assert max(map(len, out.splitlines())) <= width


def test_colour_needs_a_terminal_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert terminal.colour()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.colour()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert not terminal.colour()


def _process(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options}
    return subprocess.Popen(
        [sys.executable, "-m", "nkigen_lite", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


def test_the_process_compiles_and_keeps_to_the_encoding(kernels: str) -> None:
    words = ("compile", f"{kernels}:softmax", "--arg", "x=64x64")
    out, err = _process(*words, PYTHONIOENCODING="ascii").communicate(timeout=60)
    assert err == b""
    assert out.isascii()
    assert out.startswith(b"softmax on trn2")


def test_a_reader_that_goes_away_is_not_complained_about() -> None:
    with _process("targets", "--assumed") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


def test_words_are_completed(tmp_path: Path) -> None:
    def complete(line: str) -> list[str]:
        reply = tmp_path / "reply"
        environment = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_TYPE": "9"}
        environment |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
        environment |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(reply)}
        _process(**environment).communicate(timeout=60)
        return [word.strip() for word in reply.read_text().split("\n")]

    assert {"compile", "show", "run", "simulate", "targets"} <= set(complete("nkigen-lite "))
    assert complete("nkigen-lite compile f.py:f --target ") == targets()
    assert set(complete("nkigen-lite simulate f.py:f --s")) == {
        "--static",
        "--set",
        "--seed",
        "--svg",
    }
    assert set(complete("nkigen-lite show f.py:f --stage ")) == {*STAGES, ALL}
