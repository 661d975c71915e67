"""The commands of the command line: what they print, write and compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from command_line import Run, fails

from cost_models import load_target, targets
from nkigen_lite.commands import running
from nkigen_lite.commands.stages import STAGES
from nkigen_lite.core.parser import parse
from nkigen_lite.report.agreement import Agreement
from nkigen_lite.tensor_ir.rows import TENSOR

ROOT = Path(__file__).parents[1]


# --- compile -------------------------------------------------------------------------------------


def test_compile_prints_the_report(run: Run, kernels: str) -> None:
    code, out, err = run("compile", f"{kernels}:softmax", "--arg", "x=128x64")
    assert (code, err) == (0, "")
    assert out.startswith("softmax on trn2: predicted ")
    for section in ("Totals", "Predicted busy time by engine", "Segments", "Values"):
        assert f"\n{section}\n" in out
    assert "kernels.py:5" in out


def test_compile_writes_the_files_and_names_them(run: Run, kernels: str, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "softmax"
    code, out, _ = run("compile", f"{kernels}:softmax", "--arg", "x=128x64", "-o", str(folder))
    assert code == 0
    for name in ("kernel.py", "plan.json", "report.json"):
        assert f"wrote {folder / name}\n" in out
        assert (folder / name).is_file()


def test_json_prints_the_report_file_and_nothing_else(
    run: Run, kernels: str, tmp_path: Path
) -> None:
    words = ("compile", f"{kernels}:talking", "--arg", "x=8x8:bf16", "--json", "-o", str(tmp_path))
    code, out, err = run(*words)
    assert code == 0
    assert out == (tmp_path / "report.json").read_text(encoding="utf-8")
    assert json.loads(out)["kernel"] == "talking"
    assert "tracing" in err


def test_quiet_prints_nothing(run: Run, kernels: str, tmp_path: Path) -> None:
    words = ("compile", f"{kernels}:softmax", "--arg", "x=16x16", "--quiet", "-o", str(tmp_path))
    assert run(*words) == (0, "", "")
    assert (tmp_path / "kernel.py").is_file()


def test_static_arguments_are_literals_or_text(run: Run, kernels: str) -> None:
    words = ["show", f"{kernels}:scaled", "--arg", "x=4x4", "--stage", "trace"]
    _, out, _ = run(*words, "--static", "factor=3.5", "--static", "mode=plus")
    assert "value=3.5" in out
    assert "= add(" in out


def test_an_argument_may_be_an_array_in_a_file(run: Run, kernels: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((4, 6), np.float16))
    words = ("show", f"{kernels}:softmax", "--stage", "trace", "--arg")
    assert "%x: <4x6xf16>" in run(*words, f"x=@{tmp_path / 'x.npy'}")[1]
    assert "%x: <4x6xbf16>" in run(*words, f"x=@{tmp_path / 'x.npy'}:bf16")[1]


def test_target_and_set_choose_the_hardware(run: Run, kernels: str) -> None:
    words = ("compile", f"{kernels}:softmax", "--arg", "x=1024x1024", "--json")
    plain = json.loads(run(*words)[1])
    other = json.loads(run(*words, "--target", "trn1")[1])
    slow = json.loads(run(*words, "--set", "dma.load_cap_gbps=20")[1])
    assert other["target"] == "trn1"
    assert slow["predicted_us"] > plain["predicted_us"]


def test_a_profile_may_be_a_file(run: Run, kernels: str, tmp_path: Path) -> None:
    text = (ROOT / "cost_models" / "profiles" / "trn2.json").read_text(encoding="utf-8")
    (tmp_path / "mine.json").write_text(text.replace('"trn2"', '"mine"', 1), encoding="utf-8")
    words = ("compile", f"{kernels}:softmax", "--arg", "x=16x16", "--json")
    assert json.loads(run(*words, "--target", str(tmp_path / "mine.json"))[1])["target"] == "mine"


def test_same_seed_prints_the_same_report_but_for_the_seconds(run: Run, kernels: str) -> None:
    words = ("compile", f"{kernels}:softmax", "--arg", "x=128x64", "--json", "--seed", "5")
    first, second = (json.loads(run(*words)[1]) for _ in range(2))
    for seconds in [name for name in first if name.endswith("_s") and name != "deterministic_s"]:
        first[seconds] = second[seconds] = 0
    assert first == second
    assert first["seed"] == 5


def test_a_kernel_with_parameters_named_like_options_compiles(run: Run, tmp_path: Path) -> None:
    (tmp_path / "k.py").write_text("def f(x, seed, target):\n    return x * seed + target\n")
    words = ("compile", f"{tmp_path / 'k.py'}:f", "--arg", "x=4x4", "--arg", "target=4x4", "--json")
    assert run(*words, "--static", "seed=3")[0] == 0


# --- show ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_show_prints_one_stage(run: Run, kernels: str, stage: str) -> None:
    code, out, err = run("show", f"{kernels}:softmax", "--arg", "x=128x64", "--stage", stage)
    assert (code, err) == (0, "")
    assert not out.startswith("#")
    assert "softmax" in out


def test_show_prints_all_stages_under_headings(run: Run, kernels: str) -> None:
    _, out, _ = run("show", f"{kernels}:softmax", "--arg", "x=128x64")
    headings = [line[2:] for line in out.splitlines() if line.startswith("# ")]
    assert headings == list(STAGES)


def test_an_early_stage_is_shown_even_if_a_later_onefails(run: Run, kernels: str) -> None:
    words = ("show", f"{kernels}:softmax", "--arg", "x=128x64")
    tiny = ("--set", "memory.sbuf_usable_bytes_per_partition=4")
    assert run(*words, *tiny, "--stage", "axes")[0] == 0
    fails(run(*words, *tiny, "--stage", "plan"), "4 bytes of sbuf per partition")


def test_show_of_a_trace_parses_back(run: Run, kernels: str) -> None:
    _, out, _ = run("show", f"{kernels}:softmax", "--arg", "x=128x64", "--stage", "trace")
    assert parse(out, TENSOR).dump() == out.rstrip("\n")


# --- run -----------------------------------------------------------------------------------------


def test_run_checks_random_inputs_against_numpy(run: Run, kernels: str) -> None:
    words = ("run", f"{kernels}:softmax", "--arg", "x=130x70", "--random", "4", "--check")
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert "ran in the interpreter" in out
    assert "not measured" in out
    assert " agrees" in out


@pytest.mark.parametrize("dtype", ["bf16", "f16", "i32", "bool"])
def test_random_inputs_have_their_type(run: Run, kernels: str, dtype: str) -> None:
    words = ("run", f"{kernels}:both", "--arg", f"x=6x8:{dtype}", "--check")
    code, out, _ = run(*words)
    assert code == 0
    assert out.count(" agrees") == 3


def test_run_reads_inputs_and_saves_outputs_by_name(run: Run, kernels: str, tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez(tmp_path / "in.npz", x=x)
    inputs, saved = str(tmp_path / "in.npz"), str(tmp_path / "out.npz")
    code, out, _ = run("run", f"{kernels}:both", "--inputs", inputs, "-o", saved)
    assert code == 0
    assert f"wrote {saved}\n" in out
    with np.load(saved) as arrays:
        np.testing.assert_array_equal(arrays["sum"], x.sum(axis=1))
        np.testing.assert_array_equal(arrays["pair_0"], x + 1)
        np.testing.assert_array_equal(arrays["pair_1"], x > 0)


def test_bf16_arrays_in_files_need_their_type_and_come_back_as_float32(
    run: Run, kernels: str, tmp_path: Path
) -> None:
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4).astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "in.npz", x=x)
    saved = str(tmp_path / "out.npz")
    words = ("run", f"{kernels}:scaled", "--inputs", str(tmp_path / "in.npz"), "-o", saved)
    fails(run(*words), "do not keep the type of its 2-byte elements", "--arg x=2x4:bf16")
    assert run(*words, "--arg", "x=2x4:bf16", "--quiet") == (0, "", "")
    with np.load(saved) as arrays:
        np.testing.assert_array_equal(arrays["output"], (x * 2).astype(np.float32))


def test_numpy_that_adds_up_in_narrow_floats_is_not_the_measure(run: Run, kernels: str) -> None:
    words = ("run", f"{kernels}:softmax", "--arg", "x=4x4096:bf16", "--check")
    code, out, _ = run(*words)
    assert code == 0
    assert "compared with numpy in float64" in out


def test_a_failed_check_exits_with_1(
    run: Run, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disagree(name: str, *_: Any, **__: Any) -> Agreement:
        return Agreement(name, 1.0, 0.5, 1e-4, False)

    monkeypatch.setattr(running, "compare", disagree)
    code, out, err = run("run", f"{kernels}:softmax", "--arg", "x=4x4:bf16", "--check")
    assert code == 1
    assert "DISAGREES" in out
    assert err == ""


def test_infinities_agree_with_numpy(run: Run, kernels: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.array([[0.0, 2.0], [-0.0, np.inf]], np.float32))
    words = ("run", f"{kernels}:inverse", "--inputs", str(tmp_path / "in.npz"), "--check")
    assert run(*words)[0] == 0


# --- targets -------------------------------------------------------------------------------------


def test_targets_lists_the_profiles(run: Run) -> None:
    code, out, _ = run("targets")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == targets()
    banks = {t["name"]: t["psum_banks"] for t in json.loads(run("targets", "--json")[1])}
    assert banks == dict.fromkeys(targets(), 8)


def test_a_target_is_listed_with_unit_status_and_source_of_every_number(run: Run) -> None:
    _, out, _ = run("targets", "trn2")
    data = json.loads(run("targets", "trn2", "--json")[1])
    assert "dma.queues = 16 count (documented)" in out
    assert f"trn2: {len(data['quantities'])} numbers" in out
    for path, quantity in data["quantities"].items():
        assert {"value", "unit", "status", "source", "note"} == set(quantity)
        assert f"{path} = " in out


def test_assumed_lists_the_numbers_without_a_source(run: Run) -> None:
    _, out, _ = run("targets", "trn3", "--assumed")
    data = json.loads(run("targets", "trn3", "--assumed", "--json")[1])
    assert list(data["quantities"]) == load_target("trn3").assumed()
    assert all(q["status"] == "assumed" for q in data["quantities"].values())
    assert out.count("(assumed)") == len(data["quantities"])
    assert "trn1" in run("targets", "--assumed")[1]
