"""A time line as text: tables, plain words, and the drawing of its beginning."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timelines import rows_copied, timelines, with_events

from cost_models import Bounds
from cost_models.simulate import Event, Timeline
from nkigen_lite.report.figures import difference, duration, micros, percent
from nkigen_lite.report.timeline import reason, report_of
from nkigen_lite.report.timeline_text import cells_of, timeline_text

MARKS = " ░▒▓█"


def _section(text: str, title: str) -> list[str]:
    """The lines under a heading, up to a blank one."""
    lines = text.splitlines()
    start = lines.index(title) + 1
    return lines[start : lines.index("", start) if "" in lines[start:] else None]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("predicted_us", [None, 31.25])
def test_text_stays_within_the_width(width: int, predicted_us: float | None) -> None:
    lines = timeline_text(rows_copied(), predicted_us=predicted_us, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)


@settings(max_examples=40)
@given(timelines(), st.integers(40, 120), st.integers(1, 60))
def test_any_events_can_be_drawn(timeline: Timeline, width: int, first: int) -> None:
    lines = timeline_text(timeline, width=width, first=first).splitlines()
    assert max(map(len, lines)) <= width


def test_text_says_simulated_and_never_claims_to_have_measured() -> None:
    text = timeline_text(rows_copied(), title="rows on trn2", predicted_us=10.0)
    assert text.startswith("rows on trn2: simulated ")
    assert text.count("measured") == text.count("not measured") == 1


def test_the_launch_has_its_own_line_beside_the_device_window() -> None:
    timeline = rows_copied()
    line = timeline_text(timeline).splitlines()[1]
    assert micros(timeline.host_ns / 1000) in line
    assert f"{micros(timeline.launch_ns / 1000)} us more" in line


def test_simulated_is_compared_with_predicted() -> None:
    timeline = replace(rows_copied(), time_ns=15_000.0)
    text = timeline_text(timeline, predicted_us=10.0)
    assert "the plan was predicted at 10.00 us; simulated is 1.50x that (+50.0%)" in text
    assert "predicted" not in timeline_text(timeline)


def test_the_time_is_compared_with_what_no_schedule_goes_below() -> None:
    timeline = replace(rows_copied(), time_ns=15_000.0)
    busy = {"hbm": 12_000.0, "vector": 3000.0}
    bounds = Bounds({**busy, "critical_path": 10_000.0}, "hbm", 12_000.0)
    text = timeline_text(timeline, bounds=bounds, width=200)
    assert (
        "no schedule of these instructions takes less: 12.00 us by HBM traffic; "
        "critical path 10.00 us; the simulated time is 1.25x the larger\n"
    ) in text
    assert "no schedule" not in timeline_text(timeline)


def test_a_kernel_too_large_for_its_critical_path_says_so() -> None:
    timeline = replace(rows_copied(), time_ns=15_000.0)
    text = timeline_text(timeline, bounds=Bounds({"vector": 3000.0}, "vector", 3000.0), width=200)
    assert (
        "3.00 us by VectorE; no critical path beyond 300,000 instructions; "
        "the simulated time is 5.00x the first\n"
    ) in text


def test_instructions_that_follow_from_settled_loops_are_counted_apart() -> None:
    timeline = replace(rows_copied(), instructions=1000, simulated=36)
    assert "1,000 instructions: 36 simulated one by one, 964 follow from loops" in timeline_text(
        timeline, width=120
    )
    assert "36 instructions: each simulated" in timeline_text(rows_copied())


def test_every_engine_with_work_has_a_row_and_the_others_are_named() -> None:
    lines = _section(timeline_text(rows_copied()), "Engines")
    assert [line.split()[0] for line in lines[2:6]] == ["VectorE", "ScalarE", "Sync", "DMA"]
    assert lines[-1] == "nothing to do for TensorE, GpSimd"
    use = rows_copied().engines["vector"]
    assert lines[2].split()[1:3] == [micros(use.busy_ns / 1000), micros(use.idle_ns / 1000)]


def test_waits_are_in_plain_words_with_their_share_of_the_time() -> None:
    timeline = rows_copied()
    text = timeline_text(timeline, width=120)
    engine = timeline.engines["vector"]
    wait = engine.waits_ns["data from dma"]
    (row,) = [r for r in text.splitlines() if "data that DMA brings" in r and "VectorE" in r]
    assert micros(wait / 1000) in row
    assert percent(wait / timeline.time_ns) in row


@pytest.mark.parametrize(
    ("wait", "engine", "expected"),
    [
        ("data from dma", "tensor", "data that DMA brings"),
        ("data from tensor", "vector", "results of TensorE"),
        ("data from vector", "vector", "its own results"),
        ("data from tensor", "tensor", "its own results, or weights"),
        ("buffer from tensor", "vector", "a buffer that TensorE still uses"),
        ("buffer from dma", "vector", "a buffer that DMA still uses"),
        ("end", "sync", "nothing: its work is done"),
    ],
)
def test_reasons_are_plain_words(wait: str, engine: str, expected: str) -> None:
    assert reason(wait, engine) == expected


def test_bytes_are_listed_by_tensor_the_largest_first() -> None:
    timeline = replace(rows_copied(), bytes_by_tensor={f"t{k}": 1024 * (k + 1) for k in range(12)})
    lines = _section(timeline_text(timeline), "Device memory and the PE array")
    start = next(i for i, line in enumerate(lines) if line.startswith("tensor")) + 2
    assert [line.split()[0] for line in lines[start:]] == [
        *(f"t{k}" for k in range(11, 3, -1)),
        "4",
    ]
    assert "4 more" in lines[-1]


def test_cold_time_and_table_loads_are_told_if_there_are_any() -> None:
    text = timeline_text(replace(rows_copied(), table_loads=3, cold_ns=2500.0))
    assert "activation tables loaded: 3" in text
    assert "worked cold, at its lower rate, for 2.50 us" in text
    plain = timeline_text(replace(rows_copied(), table_loads=0, cold_ns=0.0))
    assert "activation tables" not in plain
    assert "cold" not in plain


# --- the drawing ---------------------------------------------------------------------------------


def test_the_drawing_has_a_lane_per_engine_and_direction_and_an_axis() -> None:
    lines = _section(timeline_text(rows_copied()), "The whole kernel")
    names = ["VectorE", "ScalarE", "Sync", "DMA load", "DMA store"]
    assert [line[:10].strip() for line in lines[:5]] == names
    assert lines[5].strip().startswith("|0")
    assert lines[5].endswith(("us", "us|"))
    assert all(set(line[10:]) <= set(MARKS) for line in lines[:5])


def test_the_drawing_shows_no_more_events_than_columns() -> None:
    text = timeline_text(rows_copied(), width=40)
    assert "The first " in text
    assert "40 events (" in text


@given(st.floats(1.0, 1e9), st.integers(24, 200))
def test_times_below_the_drawing_are_apart_and_fit(end_ns: float, cells: int) -> None:
    event = Event("vector", "vector", 0.0, end_ns, "x")
    timeline = replace(with_events(event), instructions=1, transfers=0, time_ns=end_ns)
    width = cells + len("VectorE ")
    (axis,) = [line for line in timeline_text(timeline, width=width).splitlines() if "|0" in line]
    columns = max(width, 40) - 8
    assert len(axis) <= columns + 8
    strokes = axis.count("|")
    assert strokes >= 2
    assert len(re.sub(r" ([num]s)", r"\1", axis).split()) == strokes
    assert re.search(r" [num]s\|?$", axis)


def test_nothing_is_drawn_without_events() -> None:
    text = timeline_text(with_events())
    assert "The first" not in text
    assert "The whole" not in text


def test_cells_are_as_full_as_their_time_is_busy() -> None:
    events = [
        Event("vector", "vector", *times, "x")
        for times in ((0.0, 20.0), (30.0, 35.0), (42.0, 43.0))
    ]
    assert cells_of(events, 60.0, 6) == "██ ▒░ "
    assert cells_of([], 60.0, 6) == " " * 6
    assert cells_of([Event("dma", "load", 0.0, 99.0, "load")] * 2, 60.0, 6) == "█" * 6


@settings(max_examples=60)
@given(timelines(), st.integers(10, 80))
def test_a_lane_is_as_long_as_asked_and_empty_only_where_nothing_happens(
    timeline: Timeline, cells: int
) -> None:
    events = [e for e in timeline.events if e.unit == "vector"]
    end = max((e.end_ns for e in timeline.events), default=1.0)
    line = cells_of(events, end, cells)
    assert len(line) == cells
    for k, mark in enumerate(line):
        low, high = k * end / cells, (k + 1) * end / cells
        inside = sum(max(0.0, min(high, e.end_ns) - max(low, e.start_ns)) for e in events)
        if inside > 1e-6 * (high - low):
            assert mark != " "
        if mark == "█":
            assert inside >= 0.89 * (high - low)


def test_colour_is_there_only_if_asked_for() -> None:
    assert "\x1b[" not in timeline_text(rows_copied())
    assert "\x1b[33m" in timeline_text(rows_copied(), colour=True)


def test_an_ascii_terminal_sees_the_same_lanes() -> None:
    plain = timeline_text(rows_copied(), encoding="ascii")
    assert plain.isascii()
    assert list(map(len, plain.splitlines())) == list(
        map(len, timeline_text(rows_copied()).splitlines())
    )
    (lane,) = [line for line in plain.splitlines() if line.startswith("DMA load")]
    assert set(lane[10:]) <= set(" .:+#")


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (difference(13.53, 10.0), "+35.3%"),
        (difference(9.8, 10.0), "-2.0%"),
        (difference(1.0, 0.0), "-"),
        (duration(820.0), "820 ns"),
        (duration(0.25), "0.25 ns"),
        (duration(999.9), "1.00 us"),
        (duration(3950.0), "3.95 us"),
    ],
)
def test_figures_read_well(text: str, expected: str) -> None:
    assert text == expected


def test_the_parts_of_idle_time_add_up() -> None:
    report = report_of(rows_copied())
    for engine in report.engines.values():
        assert engine.busy_us + engine.idle_us == pytest.approx(report.time_us)
        if engine.instructions:
            assert sum(engine.waits_us.values()) == pytest.approx(engine.idle_us, abs=1e-5)
        assert list(engine.waits_us.values()) == sorted(engine.waits_us.values(), reverse=True)
    assert sum(report.bytes_by_tensor.values()) == report.hbm_bytes
    assert report.host_us == pytest.approx(report.time_us + report.launch_us)
    assert report.dma_active_us == pytest.approx(report.dma_active * report.time_us)
