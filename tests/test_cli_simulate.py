"""``nkigen-lite simulate``: what it prints and writes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from command_line import Run, fails

from nkigen_lite.commands import terminal
from nkigen_lite.report.figures import micros

KEYS = {
    *("kernel", "target", "predicted_us", "simulated_us", "simulated_ratio"),
    *("bounds", "timeline", "events"),
}


def _words(kernels: str, *more: str) -> tuple[str, ...]:
    return ("simulate", f"{kernels}:softmax", "--arg", "x=512x256", *more)


def test_simulate_prints_the_time_line(run: Run, kernels: str) -> None:
    code, out, err = run(*_words(kernels))
    assert (code, err) == (0, "")
    assert out.startswith("softmax on trn2: simulated ")
    assert "\nwith the launch " in out
    assert "the plan was predicted at" in out
    assert "no schedule of these instructions takes less: " in out
    for section in ("Engines", "Why engines were idle", "Device memory and the PE array"):
        assert f"\n{section}\n" in out
    assert "|0 " in out


def test_json_has_the_figures_of_the_report_and_the_first_events(run: Run, kernels: str) -> None:
    code, out, err = run(*_words(kernels, "--json", "--first", "7"))
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert set(data) == KEYS
    report = json.loads(run("compile", f"{kernels}:softmax", "--arg", "x=512x256", "--json")[1])
    simulated = data["timeline"]["simulated"]
    assert {**data["timeline"], "simulated": 0} == {**report["timeline"], "simulated": 0}
    assert simulated <= data["timeline"]["instructions"]
    for name in ("kernel", "target", "predicted_us", "simulated_us", "simulated_ratio"):
        assert data[name] == report[name]
    assert len(data["events"]) == 7
    assert all(set(e) == {"unit", "kind", "start_ns", "end_ns", "label"} for e in data["events"])
    assert all(a["start_ns"] <= b["start_ns"] for a, b in pairwise(data["events"]))


def test_json_has_the_bounds_and_the_time_is_not_below_them(run: Run, kernels: str) -> None:
    data = json.loads(run(*_words(kernels, "--json"))[1])
    bounds = data["bounds"]
    assert bounds["us"] == bounds["by_resource_us"][bounds["resource"]]
    assert bounds["us"] == max(bounds["by_resource_us"].values())
    assert 0 < bounds["by_resource_us"]["critical_path"] <= data["simulated_us"] + 1e-6
    assert 0 < bounds["us"] <= data["simulated_us"] + 1e-6


def test_json_goes_alone_to_stdout(run: Run, kernels: str, tmp_path: Path) -> None:
    svg = str(tmp_path / "a.svg")
    words = ("simulate", f"{kernels}:talking", "--arg", "x=8x8", "--json", "--svg", svg)
    code, out, err = run(*words)
    assert code == 0
    assert json.loads(out)["kernel"] == "talking"
    assert "tracing" in err
    assert Path(svg).is_file()


def test_svg_and_trace_are_written_and_named(run: Run, kernels: str, tmp_path: Path) -> None:
    svg, trace = tmp_path / "a.svg", tmp_path / "a.json"
    code, out, _ = run(*_words(kernels, "--svg", str(svg), "--trace", str(trace)))
    assert code == 0
    assert out.endswith(f"wrote {svg}\nwrote {trace}\n")
    assert ET.parse(svg).getroot().tag.endswith("svg")
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    assert any(e["ph"] == "X" for e in events)
    assert "softmax on trn2" in svg.read_text(encoding="utf-8")


def test_first_says_how_many_events_are_drawn(run: Run, kernels: str, tmp_path: Path) -> None:
    svg = tmp_path / "a.svg"
    run(*_words(kernels, "--first", "3", "--svg", str(svg)))
    text = svg.read_text(encoding="utf-8")
    assert "3 events (instructions, DMA triggers, transfers)" in text
    assert text.count("<title>") == 3


def test_a_file_that_cannot_be_written_is_named(run: Run, kernels: str) -> None:
    fails(
        run(*_words(kernels, "--svg", "/proc/no/such.svg")), "/proc/no/such.svg: cannot be written"
    )
    fails(run(*_words(kernels, "--trace", "/proc")), "/proc: cannot be written")


def test_target_and_set_choose_the_hardware(run: Run, kernels: str) -> None:
    words = ("simulate", f"{kernels}:softmax", "--arg", "x=1024x1024", "--json")
    plain = json.loads(run(*words)[1])
    other = json.loads(run(*words, "--target", "trn1")[1])
    slow = json.loads(run(*words, "--set", "dma.load_cap_gbps=20")[1])
    assert other["target"] == "trn1"
    assert slow["simulated_us"] > plain["simulated_us"]


def test_the_launch_is_set_apart_from_the_device_window(run: Run, kernels: str) -> None:
    words = _words(kernels, "--set", "launch.host_overhead_ns=5000")
    out = run(*words)[1]
    data = json.loads(run(*words, "--json")[1])["timeline"]
    assert data["host_us"] == pytest.approx(data["time_us"] + 5)
    assert f"with the launch {micros(data['host_us'])} us: 5.00 us more" in out


def test_what_the_user_got_wrong_is_told_as_by_compile(run: Run, kernels: str) -> None:
    fails(run("simulate", f"{kernels}:softmx", "--arg", "x=4x4"), "did you mean 'softmax'?")
    fails(run("simulate", f"{kernels}:softmax"), "nothing is given for parameter 'x'")
    fails(run(*_words(kernels, "--target", "trn22")), "did you mean 'trn2'")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_drawing_is_as_wide_as_the_terminal(
    run: Run, kernels: str, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run(*_words(kernels))[1].splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith("VectorE ") and set(line[11:]) & set("█▓▒░") for line in lines)


def test_colours_are_for_terminals(run: Run, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" not in run(*_words(kernels))[1]
    monkeypatch.setattr(terminal, "colour", lambda: True)
    assert "\x1b[33m" in run(*_words(kernels))[1]


def test_progress_names_the_simulation(
    run: Run, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(terminal.Progress, "__call__", lambda _, doing: said.append(doing))
    run(*_words(kernels))
    assert said[-1] == "simulating the kernel"


def test_the_same_seed_prints_the_same_text(run: Run, kernels: str) -> None:
    words = _words(kernels, "--seed", "3")
    assert run(*words) == run(*words)
