"""The demo, on a small layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nkigen_lite
from examples import demo
from examples.qwen3_layer import Sizes, make_weights
from nkigen_lite.report.agreement import Agreement

SMALL = Sizes(hidden=48, heads=4, kv_heads=2, head_dim=16, ffn=80)


@pytest.mark.parametrize("precision", demo.PRECISIONS)
def test_demo_runs_compares_reports_and_writes(
    precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = make_weights(1, demo.PRECISIONS[precision], seq=16, sizes=SMALL)
    outcome = demo.demonstrate(precision, weights, tmp_path, width=80)
    assert outcome.agreement.ok
    assert outcome.agreement.allowed == {"f32": 1e-4, "bf16": 4 * 2**-7}[precision]
    assert 0 < outcome.agreement.max_rel <= outcome.agreement.allowed
    out = capsys.readouterr().out
    assert f"{precision}: compiling\n" in out
    assert "qwen3_layer on trn2: predicted" in out
    assert max(map(len, (line for line in out.splitlines() if "wrote" not in line))) <= 80
    assert json.loads((tmp_path / "report.json").read_text())["kernel"] == "qwen3_layer"
    assert "def qwen3_layer(" in (tmp_path / "kernel.py").read_text()


def test_disagreement_is_shown_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = nkigen_lite.compile(lambda x: x + 1, "4x4:f32", name="f").report

    def demonstrate(precision: str, *_: object) -> demo.Outcome:
        return demo.Outcome(precision, report, Agreement("y", 1.0, 0.5, 1e-4, False))

    monkeypatch.setattr(demo, "demonstrate", demonstrate)
    monkeypatch.setattr(demo, "PRECISIONS", {"f32": np.dtype(np.float32)})
    monkeypatch.chdir(tmp_path)
    assert demo.main() == 1
    out = capsys.readouterr().out
    assert "DISAGREES" in out
    assert "all agree" not in out
