"""What benchmarks share: selection by name, exit codes, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from rich.table import Table

from benchmarks import command


@dataclass(frozen=True, slots=True)
class Length:
    """Of a word."""

    word: str
    letters: int


def _measure(word: str, say: command.Say) -> Length:
    say("counting")
    return Length(word, len(word))


def _table(found: Sequence[Length]) -> Table:
    made = command.table_of("lengths", ("word", "letters"))
    for length in found:
        made.add_row(length.word, str(length.letters))
    return made


def _run(*arguments: str, most: int = 9) -> int:
    return command.run(
        command.parser_of("Lengths of words.", "word", 1.0).parse_args(arguments),
        ["rows", "row", "matmul"],
        str,
        _measure,
        _table,
        lambda found: [f"{f.word} is too long" for f in found if f.letters > most],
        lambda found: [f"{len(found)} words"],
    )


def test_names_select_by_their_beginnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("row") == 0
    printed = capsys.readouterr().out
    assert "rows" in printed
    assert "2 words" in printed
    assert "matmul" not in printed


def test_a_missed_target_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(most=5) == 1
    assert "target missed: matmul is too long" in capsys.readouterr().out


def test_a_name_of_nothing_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("column", "x") == 2
    assert capsys.readouterr().err == "nothing is called column or x\n"


def test_json_is_all_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("matmul", "--json", most=5) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == [{"word": "matmul", "letters": 6}]
    assert "target missed: matmul" in printed.err


def test_json_of_what_is_no_data_is_an_error() -> None:
    with pytest.raises(TypeError, match="object is not data"):
        command.print_json({"made": object()})


def test_wide_tables_are_not_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"column {number}" for number in range(30)]
    command.print_table(command.table_of("wide", names))
    printed = capsys.readouterr().out
    assert [name for name in names if name not in printed] == []
    assert max(map(len, printed.splitlines())) < command.WIDTH_IN_A_PIPE
