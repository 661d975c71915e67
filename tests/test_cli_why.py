"""``nkigen-lite why`` and ``nkigen-lite plan diff``, and constraints on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run, runner, write_kernels

from nkigen_lite.commands.explaining import value_names
from nkigen_lite.report.saved import load_plan, load_saved


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def kernels(tmp_path: Path) -> str:
    return write_kernels(tmp_path)


@pytest.fixture
def out(run: Run, kernels: str, tmp_path: Path) -> str:
    """The folder of a compiled softmax."""
    folder = str(tmp_path / "out")
    words = ("compile", f"{kernels}:softmax", "--arg", "x=128x512", "--quiet", "-o", folder)
    assert run(*words) == (0, "", "")
    return folder


def kept_value(folder: str) -> str:
    return next(v.name for v in load_plan(folder).values if v.location == "sbuf")


def test_why_says_what_other_choices_for_a_value_would_cost(run: Run, out: str) -> None:
    value = kept_value(out)
    code, text, err = run("why", out, value)
    assert (code, err) == (0, "")
    assert text.startswith(f"{value} of softmax: sbuf ")
    assert "\nWhat if\n" in text
    spill = next(line for line in text.splitlines() if line.startswith(f"spilling {value}"))
    assert "+" in spill
    assert "KiB" in spill
    assert any(line.split()[:4] == ["32", "KiB", "more", "SBUF"] for line in text.splitlines())
    dma = next(line for line in text.splitlines() if line.startswith("transfers a fifth shorter"))
    assert " -" in dma


def test_why_takes_a_file_of_the_folder_too_and_prints_json(run: Run, out: str) -> None:
    value = kept_value(out)
    code, text, _ = run("why", f"{out}/plan.json", value, "--json")
    assert code == 0
    data = json.loads(text)
    assert data["value"] == value
    choices = {item["what"]: item for item in data["counterfactuals"]}
    spill = choices[f"spilling {value} to HBM"]
    assert spill["status"] == "optimal"
    assert spill["delta_us"] > 0
    assert spill["delta_hbm_bytes"] > 0
    assert data["total_us"] == load_saved(out).predicted_us


def test_why_without_a_value_explains_segments_and_boundaries(run: Run, out: str) -> None:
    code, text, _ = run("why", out)
    assert code == 0
    for heading in ("Segments", "Boundaries"):
        assert f"\n{heading}\n" in text
    data = json.loads(run("why", out, "--json")[1])
    picked = load_saved(out).answer.solution
    assert picked is not None
    assert [reason["segment"] for reason in data["segments"]] == list(picked.picked)
    assert len(data["boundaries"]) == len(picked.picked) - 1


def test_an_unknown_value_is_an_error_with_near_ones(run: Run, out: str) -> None:
    value = kept_value(out)
    code, text, err = run("why", out, f"{value}_")
    assert (code, text) == (1, "")
    assert f"no value of softmax is named '{value}_'; did you mean" in err


def test_a_folder_without_a_problem_is_named(run: Run, tmp_path: Path) -> None:
    code, _, err = run("why", str(tmp_path), "x")
    assert code == 1
    assert "problem.json: cannot be read" in err
    assert "`compile -o` writes it" in err


def test_a_solution_of_another_problem_is_refused(run: Run, out: str) -> None:
    file = Path(out) / "solved.json"
    data = json.loads(file.read_text())
    data["objective_ns"] += 1
    file.write_text(json.dumps(data))
    code, _, err = run("why", out, "x")
    assert code == 1
    assert "does not answer problem.json: the objective is" in err


def test_constraints_of_a_file_hold_and_are_kept_for_why(
    run: Run, out: str, kernels: str, tmp_path: Path
) -> None:
    value = kept_value(out)
    file = tmp_path / "constraints.json"
    file.write_text(json.dumps([{"value": value, "location": "hbm"}]))
    other = str(tmp_path / "other")
    words = ("compile", f"{kernels}:softmax", "--arg", "x=128x512", "--quiet", "-o", other)
    assert run(*words, "--constraints", str(file))[0] == 0
    assert load_plan(other).value(value).location == "hbm"
    assert len(load_saved(other).constraints) == 1

    code, text, _ = run("plan", "diff", out, f"{other}/plan.json")
    assert code == 0
    assert "\nValues that moved\n" in text
    data = json.loads(run("plan", "diff", out, other, "--json")[1])
    assert data["ns"][1] > data["ns"][0]
    assert data["hbm_bytes"][1] > data["hbm_bytes"][0]
    moved = {item["name"]: item for item in data["values"]}
    assert moved[value]["after"] == "hbm"

    assert run(*words)[0] == 0
    assert load_saved(other).constraints == ()


def test_a_plan_does_not_differ_from_itself(run: Run, out: str) -> None:
    code, text, _ = run("plan", "diff", out, out)
    assert code == 0
    assert "the plans are the same" in text


def test_a_wrong_file_of_constraints_is_an_error(run: Run, kernels: str, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text('[{"valu": "x"}]')
    words = ("compile", f"{kernels}:softmax", "--arg", "x=8x8", "--constraints", str(file))
    code, _, err = run(*words)
    assert code == 1
    assert "c.json: constraints[0].valu: is no field; did you mean 'value'?" in err


def test_the_tab_key_completes_values_of_the_folder(out: str, tmp_path: Path) -> None:
    assert kept_value(out) in value_names(out)
    assert value_names(str(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("place", [1, 2])
def test_the_traceback_of_an_error_is_shown_wherever_it_is_asked_for(
    run: Run, tmp_path: Path, place: int
) -> None:
    words = ["plan", "diff", str(tmp_path), str(tmp_path)]
    words.insert(place, "--traceback")
    code, _, err = run(*words)
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert "plan.json: cannot be read" in err


@pytest.mark.parametrize("words", [("why",), ("plan",), ("plan", "diff", "one")])
def test_missing_arguments_exit_with_2(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words)[0] == 2
