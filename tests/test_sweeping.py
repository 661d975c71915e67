"""``nkigen_lite.sweep`` and ``nkigen-lite sweep``: many shapes, targets and profile numbers."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from command_line import Run, fails, runner, write_kernels

import nkigen_lite
from cost_models import ProfileError
from nkigen_lite.errors import InvalidInput
from nkigen_lite.report.sweep_svg import sweep_svg
from nkigen_lite.report.sweep_text import sweep_text

SPACE = {"svg": "http://www.w3.org/2000/svg"}


def times(x: Any, factor: float = 2.0, weights: Any = None) -> Any:
    product = x * factor
    return product if weights is None else product * weights["w"]


@pytest.fixture(scope="module")
def found() -> nkigen_lite.Sweep:
    vary: dict[str, Any] = {"M": [1, 300], "dma.queues": [16, 2], "T": ["f32", "bf16"]}
    return nkigen_lite.sweep(times, "Mx130:T", vary=vary)


def test_every_combination_is_compiled_the_last_fastest(found: nkigen_lite.Sweep) -> None:
    assert found.kernel == "times"
    assert [tuple(p.at.values()) for p in found.points] == [
        (m, queues, dtype) for m in (1, 300) for queues in (16, 2) for dtype in ("f32", "bf16")
    ]
    for point in found.points:
        size = point.at["M"] * 130 * (4 if point.at["T"] == "f32" else 2)
        assert point.report is not None
        assert point.report.compulsory_bytes == 2 * size


def test_a_point_is_what_compile_gives(found: nkigen_lite.Sweep) -> None:
    alone = nkigen_lite.compile(times, "300x130:bf16")
    point = next(p for p in found.points if p.at == {"M": 300, "dma.queues": 16, "T": "bf16"})
    assert point.report is not None
    assert point.report.predicted_us == alone.report.predicted_us
    assert point.plan == alone.plan


def test_fewer_queues_are_never_faster(found: nkigen_lite.Sweep) -> None:
    us = {tuple(p.at.values()): p.report.predicted_us for p in found.points if p.report}
    assert all(us[m, 16, t] <= us[m, 2, t] for m in (1, 300) for t in ("f32", "bf16"))
    assert us[300, 16, "f32"] < us[300, 2, "f32"]


def test_equal_decisions_have_equal_letters() -> None:
    softmax = nkigen_lite.load_function("examples/softmax.py:softmax")
    # One tile of rows has nothing to overlap with, eight have; links do not matter here.
    vary: dict[str, Any] = {"N": [128, 1024], "chip.link_gbps": [10, 20]}
    assert nkigen_lite.sweep(softmax, "Nx300", vary=vary).plans() == ["A", "A", "B", "B"]


def test_parameters_targets_and_containers_are_varied() -> None:
    vary: dict[str, Any] = {"factor": [2.0, 0.5], "target": ["trn1", "trn2"], "N": [7]}
    weights = {"w": ((2, "N"), "f32")}
    made = nkigen_lite.sweep(times, "2xN", weights=weights, vary=vary)
    assert [p.error for p in made.points] == [None] * 4
    assert [p.plan.target for p in made.points if p.plan] == ["trn1", "trn2"] * 2
    assert [p.report.compulsory_bytes for p in made.points if p.report] == [3 * 2 * 7 * 4] * 4


def test_functions_of_any_number_of_arrays() -> None:
    def total(*parts: Any, **more: Any) -> Any:
        return sum(parts) + more["last"]

    made = nkigen_lite.sweep(total, "Nx3", "Nx3", last="Nx3", vary={"N": [5]})
    assert [p.error for p in made.points] == [None]


def test_a_point_that_does_not_compile_says_why_and_the_others_go_on() -> None:
    def pairs(x: Any) -> Any:
        return np.reshape(x, (2, -1))

    made = nkigen_lite.sweep(pairs, "N:f32", vary={"N": [8, 9]})
    good, bad = made.points
    assert (good.error, bad.report, bad.plan) == (None, None, None)
    assert bad.error is not None
    assert "9" in bad.error
    assert made.plans() == ["A", None]
    text = sweep_text(made, width=60)
    assert "1 do not compile" in text
    assert bad.error.splitlines()[0][:20] in text
    assert len(_dots(sweep_svg(made))) == 3  # three times of the one that compiles


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({}, "vary is {}"),
        (None, "vary is None"),
        ({"M": []}, "'M' has []"),
        ({"M": "128"}, "'M' has '128'"),
        ({"M": [1, 2, 1]}, "value 1 twice"),
        ({"K": [1]}, "'K' is not 'target'"),
        ({"M": range(1, 40), "factor": range(40)}, "1560 combinations"),
    ],
)
def test_wrong_grids_are_refused(vary: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match="sweep") as caught:
        nkigen_lite.sweep(times, "Mx8", vary=vary)
    assert said in str(caught.value)


def test_wrong_fields_are_refused_before_anything_is_compiled() -> None:
    began: list[Any] = []
    vary = {"dma.queues": [16, 0]}
    with pytest.raises(ProfileError, match=r"dma\.queues"):
        nkigen_lite.sweep(times, "4x8", vary=vary, watch=lambda *at: began.append(at))
    assert not began


def test_data_is_complete_as_json_and_csv(found: nkigen_lite.Sweep) -> None:
    data = json.loads(found.to_json())
    rows = list(csv.DictReader(StringIO(found.to_csv())))
    assert data["varied"] == {"M": [1, 300], "dma.queues": [16, 2], "T": ["f32", "bf16"]}
    assert len(data["points"]) == len(rows) == 8
    for point, told, row in zip(found.points, data["points"], rows, strict=True):
        assert point.report is not None
        assert told["predicted_us"] == float(row["predicted_us"]) == point.report.predicted_us
        assert (told["T"], row["T"]) == (point.at["T"], point.at["T"])


@pytest.mark.parametrize("width", [40, 100, 200])
def test_the_table_fits(found: nkigen_lite.Sweep, width: int) -> None:
    text = sweep_text(found, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert text.startswith("times: 8 points, ")
    assert text.count("bf16") >= 4


def test_the_chart_has_a_line_for_each_combination_of_the_rest(found: nkigen_lite.Sweep) -> None:
    root = ET.fromstring(sweep_svg(found))
    lines = root.findall("svg:line", SPACE)
    drawn = [line for line in lines if line.get("class", "").startswith("line ")]
    assert len(drawn) == 4 * 3  # of four combinations predicted, simulated and bound
    dots = _dots(sweep_svg(found))
    assert len(dots) == 8 * 3
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert all(0 < float(d.get("cx", 0)) < width for d in dots)
    assert all(0 < float(d.get("cy", 0)) < height for d in dots)


def _dots(svg: str) -> list[ET.Element]:
    return ET.fromstring(svg).findall("svg:circle", SPACE)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_the_command_prints_a_table_and_writes_files(run: Run, tmp_path: Path) -> None:
    svg, table = str(tmp_path / "s.svg"), str(tmp_path / "s.csv")
    words = ["sweep", f"{write_kernels(tmp_path)}:scaled", "--arg", "x=Nx8", "--static", "factor=3"]
    words += ["--vary", "N=4,200", "--vary", "mode=times,plus", "--svg", svg, "--csv", table]
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert out.startswith("scaled: 4 points, ")
    assert out.endswith(f"wrote {svg}\nwrote {table}\n")
    assert len(Path(table).read_text().splitlines()) == 5
    assert Path(svg).read_text().startswith("<svg")
    data = json.loads(run(*words, "--json")[1])
    assert [p["mode"] for p in data["points"]] == ["times", "plus"] * 2


def test_the_command_refuses_what_it_cannot_vary(run: Run, tmp_path: Path) -> None:
    words = ("sweep", f"{write_kernels(tmp_path)}:scaled", "--arg", "x=Nx8")
    fails(run(*words, "--vary", "Q=1"), "'Q' is not 'target'", "parameter of scaled")
    fails(run(*words, "--vary", "N=1,,2"), "--vary N", "empty value")
    fails(run(*words, "--vary", "N=1", "--vary", "N=2"), "--vary N", "given twice")
    assert run(*words)[0] == 2
    code, out, _ = run(*words, "--vary", "N=4,0")
    assert code == 1
    assert "must be a positive integer" in out
