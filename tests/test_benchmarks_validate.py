"""How close predictions come to what is published, and the command that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import validate
from benchmarks.measured import compare
from benchmarks.measured.compare import Comparison


@pytest.fixture(scope="module")
def kernels() -> list[Comparison]:
    """Every simulated row."""
    return validate.kernels([])


def test_every_predicted_kernel_is_within_its_bound(kernels: list[Comparison]) -> None:
    judged = [c for c in kernels if c.judged]
    far = {c.name: f"{c.error:+.1%}" for c in judged if abs(c.error) > validate.MOST_ERROR}
    assert far == {}


def test_kernels_meet_the_targets(kernels: list[Comparison]) -> None:
    assert validate.kernel_failures(kernels) == []


def test_instructions_meet_their_target() -> None:
    assert validate.single_failures(validate.singles([])) == []


# --- the summary


def _comparison(name: str, published: float, predicted: float, **extra: Any) -> Comparison:
    error = predicted / published - 1
    usual = {"unit": "us", "low": published, "high": published, "outside": error}
    return Comparison(
        name=name,
        device="trn2",
        published=published,
        predicted=predicted,
        error=error,
        **{**usual, **extra},
    )


def test_rank_correlation_shares_ranks_of_equal_values() -> None:
    assert compare.spearman([1, 2, 2, 4], [10, 20, 20, 40]) == pytest.approx(1)
    assert compare.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 1.0, 1.0]])
def test_too_little_has_no_rank_correlation(values: list[float]) -> None:
    assert compare.spearman(values, values) is None


def test_summary_names_the_worst_row() -> None:
    found = compare.summarise([_comparison("a", 10, 11), _comparison("b", 10, 8)])
    assert found is not None
    assert (found.rows, found.worst_name) == (2, "b")
    assert (found.median, found.worst) == pytest.approx((0.15, 0.2))


def test_rows_used_for_calibration_are_summarised_apart() -> None:
    rows = [
        _comparison("a", 10, 10, calibrates="dma.queues"),
        _comparison("b", 10, 12),
        *(_comparison(f"s{i}", 10, 11, series="s") for i in range(3)),
    ]
    counts = {name: s.rows for name, s in validate.parts(rows).items() if s}
    assert counts == {
        "used for calibration": 1,
        "all other rows": 4,
        "all other rows, no series": 1,
        "all": 5,
    }


def test_rows_used_for_calibration_miss_no_target() -> None:
    rows = [_comparison(name, 10, 90, calibrates="dma.queues") for name in "abc"]
    assert validate.kernel_failures(rows) == validate.single_failures(rows) == []


def test_rates_have_no_rank_among_times() -> None:
    times = [_comparison(str(n), n, n) for n in range(1, 5)]
    found = compare.summarise([*times, _comparison("rate", 100, 1, unit="GB/s")])
    assert found is not None
    assert found.rank_correlation == pytest.approx(1)


def test_rows_that_are_not_judged_miss_no_target_and_are_in_no_summary() -> None:
    rows = [_comparison("a", 10, 10.5), _comparison("b", 10, 90, judged=False, reason="doubt")]
    assert validate.kernel_failures(rows) == []
    assert {s.rows for s in validate.parts(rows).values() if s} == {1}


def test_each_missed_target_is_a_sentence() -> None:
    rows = [_comparison(str(i), 10 + i, 20 - i) for i in range(5)]
    missed = validate.kernel_failures(rows)
    assert [line.split(": ")[1].split(" error")[0] for line in missed[:2]] == ["median", "worst"]
    assert "rank correlation -1.000, target 0.97" in missed[2]


def test_instructions_are_held_to_their_range_and_listed_misses_to_nothing() -> None:
    rows = [
        _comparison("a", 10, 20, miss=True),
        _comparison("b", 10, 11),
        _comparison("c", 10, 14, low=6, high=14, outside=0),
    ]
    assert validate.single_failures(rows) == ["b: +10.0% outside the published range, target 5%"]


def test_ranges_are_printed_as_published_with_both_errors() -> None:
    rows = [_comparison("a", 10, 12, low=8, high=11.5, outside=12 / 11.5 - 1, unit="ns")]
    table = validate.singles_table(rows)
    cells = {str(c.header): next(iter(c.cells)) for c in table.columns}
    assert (cells["published"], cells["predicted"]) == ("8 to 11.5", "12")
    assert (cells["error"], cells["outside"]) == ("+20.0%", "+4.3%")


# --- the command


def test_selected_rows_are_printed_and_plotted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "plots" / "validate.svg"
    assert validate.main(["--only", "vector add", "--only", "semaphore", "--out", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert "vector add 25600 rows 128 trn2" in printed
    assert "matmul" not in printed
    assert "targets met" in printed
    assert "\x1b" not in printed
    assert "predicted (µs)" in plot.read_text(encoding="utf-8")


def test_rows_that_are_not_judged_are_shown_apart_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--only", "layernorm", "--out", str(tmp_path / "p.svg")]
    assert validate.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "kernels: shown, not judged" in printed
    assert "layernorm v2 f32 4096x8192 trn1" in printed
    assert printed.count("the shape is in doubt") == 2
    assert printed.count("a miss under either shape") == 4 + 2
    assert "no row is judged" in printed
    assert "shown, not judged" in (tmp_path / "p.svg").read_text(encoding="utf-8")


def test_json_has_rows_and_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--json",
        "--only",
        "gemm gelu fused f32 128x512",
        "--out",
        str(tmp_path / "p.svg"),
    ]
    code = validate.main(arguments)
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] == (code == 0) == (not found["missed"])
    assert [(row["published"], row["unit"]) for row in found["kernels"]] == [(40, "us")]
    assert found["summary"]["kernels"]["all"]["rows"] == 1


def test_series_is_a_line_unless_all_points_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--only", "gemm gelu fused f32 12", "--out", str(tmp_path / "p.svg")]
    validate.main(arguments)
    assert "1280x512x2048" not in capsys.readouterr().out
    validate.main([*arguments, "--all"])
    assert "1280x512x2048" in capsys.readouterr().out


def test_rates_alone_are_printed_but_not_plotted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "p.svg"
    assert validate.main(["--only", "dma_burst", "--out", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert "296 to 335" in printed
    assert "No plot: no time is selected." in printed
    assert not plot.exists()


def test_prefix_of_no_row_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert validate.main(["--only", "nothing"]) == 2
    assert "no row starts with nothing" in capsys.readouterr().err
