"""The report as data and as text, and the comparison of results."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nkigen_lite
from cost_models import load_target
from nkigen_lite.core.dtypes import DType
from nkigen_lite.report.agreement import compare, tolerance
from nkigen_lite.report.figures import bar, difference, micros, percent, ratio, scientific, size
from nkigen_lite.report.tables import Column, encodable, render, shortened, table
from nkigen_lite.report.text import report_text

TRN2 = load_target("trn2")
# The names that other programs read from report.json.
PUBLISHED = {
    *("status", "objective_ns", "best_bound_ns", "gap", "predicted_us", "simulated_us"),
    *("bound_us", "bound_resource", "greedy_us", "engines", "hbm_bytes", "compulsory_bytes"),
    *("instructions", "dmas", "ir_ops", "peak_sbuf_bytes", "peak_psum_banks", "solve_s", "lower_s"),
    *("simulated_ratio", "timeline"),
}
TIMELINE = {
    *("time_us", "launch_us", "host_us", "engines", "dma_active_us", "dma_active"),
    *("dma_efficiency", "transfers", "hbm_bytes", "bytes_by_tensor", "mfu", "mbu"),
    *("table_loads", "cold_us", "instructions", "simulated"),
}


def normed_product(x: np.ndarray, g: np.ndarray, w: np.ndarray) -> np.ndarray:
    scale = 1.0 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return np.maximum((x * scale * g) @ w, 0.0)


@pytest.fixture(scope="module")
def compiled() -> nkigen_lite.Compiled:
    return nkigen_lite.compile(normed_product, "256x192:f32", "192:f32", "192x320:f32")


def _text(compiled: nkigen_lite.Compiled, **options: object) -> str:
    return report_text(compiled.report, compiled.plan, TRN2, **options)  # type: ignore[arg-type]


# --- data ----------------------------------------------------------------------------------------


def test_json_has_the_published_names(compiled: nkigen_lite.Compiled) -> None:
    data = json.loads(compiled.report.to_json())
    assert set(data) >= PUBLISHED
    assert set(data["timeline"]) == TIMELINE
    for engine in data["timeline"]["engines"].values():
        assert set(engine) == {"busy_us", "idle_us", "instructions", "waits_us"}


def test_figures_of_the_report_fit_each_other(compiled: nkigen_lite.Compiled) -> None:
    report = compiled.report
    assert report.status == "optimal"
    assert report.best_bound_ns == report.objective_ns
    assert report.gap == 0
    assert report.predicted_us == report.objective_ns / 1000
    assert 0 < report.bound_us <= report.predicted_us
    assert max(report.engines.values()) <= report.predicted_us
    assert (
        report.hbm_bytes >= report.compulsory_bytes == 4 * (256 * 192 + 192 + 192 * 320 + 256 * 320)
    )
    assert report.greedy is not None
    assert report.greedy_us == report.greedy.predicted_us >= report.predicted_us
    assert 0 < report.dmas < report.instructions
    assert 0 < report.peak_sbuf_bytes <= TRN2.memory.sbuf_usable_bytes_per_partition
    assert 0 < report.peak_psum_banks <= TRN2.memory.psum_banks


def test_the_simulation_is_of_the_kernel_that_was_priced(compiled: nkigen_lite.Compiled) -> None:
    report, timeline = compiled.report, compiled.report.timeline
    assert report.simulated_us == timeline.time_us
    assert report.simulated_ratio == pytest.approx(report.simulated_us / report.predicted_us)
    assert report.bound_us <= report.simulated_us
    assert timeline.instructions == report.instructions
    assert timeline.transfers == report.dmas
    assert timeline.hbm_bytes == report.hbm_bytes == sum(timeline.bytes_by_tensor.values())
    assert {"x", "g", "w"} <= set(timeline.bytes_by_tensor)
    assert 0 < timeline.mfu < 1
    assert 0 < timeline.mbu < 1


def test_busy_and_idle_time_of_an_engine_are_the_simulated_time(
    compiled: nkigen_lite.Compiled,
) -> None:
    timeline = compiled.report.timeline
    for engine in timeline.engines.values():
        assert engine.busy_us + engine.idle_us == pytest.approx(timeline.time_us)
        if engine.instructions:
            assert sum(engine.waits_us.values()) == pytest.approx(engine.idle_us, abs=1e-5)


# --- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_text_stays_within_the_width(
    compiled: nkigen_lite.Compiled, width: int, full: bool
) -> None:
    lines = _text(compiled, width=width, full=full).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_table_row_goes_on_in_a_second_line(compiled: nkigen_lite.Compiled, width: int) -> None:
    lines = _text(compiled, width=width, full=True).splitlines()
    start = lines.index("Values") + 3
    rows = lines[start : start + len(compiled.plan.values)]
    assert [row.split()[0] for row in rows] == [value.name for value in compiled.plan.values]


def test_text_says_where_values_live_and_in_which_roles(compiled: nkigen_lite.Compiled) -> None:
    text = _text(compiled, width=200, full=True)
    for value in compiled.plan.values:
        (row,) = [r for r in text.splitlines() if r.split()[:2] == [value.name, value.kind]]
        assert value.location in row
        for dim in value.dims:
            assert f"{dim.axis}={dim.extent} {dim.role}{dim.tile}" in row


def test_text_calls_times_predicted_and_never_claims_to_have_measured(
    compiled: nkigen_lite.Compiled,
) -> None:
    text = _text(compiled, width=120)
    assert "predicted" in text
    assert text.count("measured") == text.count("not measured") == 1


def test_text_has_the_bound_the_gap_and_the_capacities(compiled: nkigen_lite.Compiled) -> None:
    text = _text(compiled, width=120)
    assert "optimal: no plan of the" in text
    assert "gap 0.0%" in text
    assert f"roofline: {micros(compiled.report.bound_us)} us by" in text
    assert "of 208.0 KiB per partition" in text
    assert "of 8 banks" in text


def test_text_puts_simulated_beside_predicted(compiled: nkigen_lite.Compiled) -> None:
    report = compiled.report
    lines = _text(compiled, width=120).splitlines()
    assert f"simulated {micros(report.simulated_us)} us, not measured" in lines[0]
    start = lines.index("Times") + 3
    rows = {line[:26].strip(): line[26:].split() for line in lines[start : start + 5]}
    assert rows["predicted"][:2] == [micros(report.predicted_us), "1.00x"]
    assert rows["simulated"][:3] == [
        micros(report.simulated_us),
        ratio(report.simulated_us, report.predicted_us),
        difference(report.simulated_us, report.predicted_us),
    ]
    assert rows["simulated, and the launch"][0] == micros(report.timeline.host_us)
    assert list(rows)[::4] == ["roofline", "greedy, predicted"]


def test_text_says_what_engines_wait_for(compiled: nkigen_lite.Compiled) -> None:
    lines = _text(compiled, width=120).splitlines()
    assert "Why engines were idle" in lines
    assert any(line.startswith("DMA: ") for line in lines)
    assert any(line.startswith("MFU ") for line in lines)


def test_long_tables_are_shortened_with_a_note(compiled: nkigen_lite.Compiled) -> None:
    values = compiled.plan.values * 5
    plan = replace(compiled.plan, values=values)
    short = report_text(compiled.report, plan, TRN2, hint="ask for more")
    assert f"and {len(values) - 12} more of {len(values)}" in short
    assert "together; ask for more" in short
    assert "ask for more" not in report_text(compiled.report, plan, TRN2, full=True)


def test_text_without_a_greedy_plan_says_so(compiled: nkigen_lite.Compiled) -> None:
    report = replace(compiled.report, greedy=None, greedy_us=None)
    assert "greedy: there is no plan" in report_text(report, compiled.plan, TRN2)


def test_a_plan_that_is_not_proven_optimal_says_what_is_known(
    compiled: nkigen_lite.Compiled,
) -> None:
    report = replace(compiled.report, status="feasible", gap=0.25)
    text = report_text(report, compiled.plan, TRN2)
    assert "feasible: the time limit ended the search" in text
    assert "gap 25.0%" in text


def test_colour_is_there_only_if_asked_for(compiled: nkigen_lite.Compiled) -> None:
    assert "\x1b[" not in _text(compiled)
    assert "\x1b[" in _text(compiled, colour=True)


def test_text_for_an_ascii_terminal_keeps_its_columns(compiled: nkigen_lite.Compiled) -> None:
    plain = _text(compiled, width=100, encoding="ascii")
    assert plain.isascii()
    assert list(map(len, plain.splitlines())) == list(map(len, _text(compiled).splitlines()))


# --- tables and figures --------------------------------------------------------------------------

_CELLS = st.text("abc·… ", max_size=30)


@settings(max_examples=60)
@given(st.lists(st.tuples(_CELLS, _CELLS, _CELLS), min_size=1, max_size=5), st.integers(24, 90))
def test_a_table_with_a_shrinking_column_fits_any_width(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    columns = (Column("a", least=8), Column("b", least=6, drop=2), Column("c", drop=1))
    text = render([table(columns, rows, width)], width)
    assert max(map(len, text.splitlines())) <= width
    assert len(text.splitlines()) == len(rows) + 2


def test_the_highest_drop_number_goes_first() -> None:
    columns = (Column("name"), Column("second", drop=1), Column("third", drop=2))
    text = render([table(columns, [("n" * 10, "s" * 10, "t" * 10)], 24)], 24)
    assert "second" in text
    assert "third" not in text


def test_a_column_that_says_nothing_is_left_out() -> None:
    columns = (Column("name"), Column("loops", drop=1))
    assert "loops" not in render([table(columns, [("a", "-"), ("b", "")], 60)], 60)
    assert "loops" in render([table(columns, [("a", "-"), ("b", "i")], 60)], 60)


def test_shortening_keeps_the_heaviest_in_their_order() -> None:
    assert shortened([5, 1, 9, 7], 2, float) == ([9, 7], [5, 1])
    assert shortened([5, 1], None, float) == ([5, 1], [])


def test_characters_are_replaced_one_for_one() -> None:
    assert encodable("a · b … █ é", "ascii") == "a | b ~ # ?"
    assert encodable("a · b", "utf-8") == "a · b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (size(0), "0 B"),
        (size(1023), "1023 B"),
        (size(1024), "1.0 KiB"),
        (size(64168960), "61.2 MiB"),
        (size(3 * 2**30), "3.0 GiB"),
        (micros(0.1), "0.10"),
        (micros(298.731), "298.73"),
        (micros(12345.6), "12,346"),
        (percent(0), "0.0%"),
        (percent(0.00001), "<0.1%"),
        (percent(1), "100.0%"),
        (scientific(0.0), "0"),
        (scientific(4.71e-07), "4.7e-07"),
        (scientific(3.0), "3"),
        (bar(0.0, 10), ""),
        (bar(0.001, 10), "█"),
        (bar(2.0, 10), "█" * 10),
    ],
)
def test_figures_read_well(text: str, expected: str) -> None:
    assert text == expected


# --- agreement -----------------------------------------------------------------------------------


def test_tolerance_follows_the_coarsest_float_of_the_program() -> None:
    assert tolerance({DType.F32}, DType.F32) == 1e-4
    assert tolerance({DType.F32, DType.BF16}, DType.F32) == 4 * 2**-7
    assert tolerance({DType.I32}, DType.I32) == 0
    assert tolerance({DType.I32, DType.F32}, DType.I32) == 1
    assert tolerance({DType.F32}, DType.BOOL) == 0


def test_comparison_is_relative_to_the_largest_magnitude() -> None:
    found = compare("y", np.array([100.0, 0.5]), np.array([100.0, 0.0]), 1e-2, exact=False)
    assert (found.max_abs, found.max_rel, found.ok) == (0.5, 0.005, True)
    assert not compare("y", np.array([102.0]), np.array([100.0]), 1e-2, exact=False).ok


def test_integers_are_compared_absolutely() -> None:
    assert compare("y", np.array([1001]), np.array([1000]), 1.0, exact=True).ok
    assert not compare("y", np.array([1001]), np.array([1000]), 0.0, exact=True).ok


def test_infinities_and_nan_must_stand_at_the_same_places() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert compare("y", odd, odd.copy(), 1e-4, exact=False).ok
    found = compare("y", np.array([np.inf, 1.0]), np.array([1.0, 1.0]), 1e-4, exact=False)
    assert not found.ok
    assert found.note == "1 elements are infinite or NaN on one side"
    assert math.isnan(found.max_abs)
    assert not compare("y", np.array([np.inf]), np.array([-np.inf]), 1e-4, exact=False).ok


def test_other_shapes_cannot_be_compared() -> None:
    found = compare("y", np.zeros(3), np.zeros((3, 1)), 1e-4, exact=False)
    assert not found.ok
    assert "shape (3,) but numpy gives (3, 1)" in found.note


def test_a_reference_of_zeros_is_compared_absolutely() -> None:
    assert compare("y", np.full(3, 1e-6), np.zeros(3), 1e-4, exact=False).ok
