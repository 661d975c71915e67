"""The drawings of a time line: lanes, SVG and trace events."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timelines import ENGINES, rows_copied, timelines, with_events

from cost_models.simulate import Event, Timeline
from nkigen_lite.report import timeline_svg as svg_module
from nkigen_lite.report.timeline_lanes import (
    KIND_NAMES,
    Lane,
    excerpt,
    lanes_of,
    tick_labels,
    ticks,
)
from nkigen_lite.report.timeline_svg import timeline_svg
from nkigen_lite.report.timeline_text import timeline_text
from nkigen_lite.report.timeline_trace import timeline_trace

_SVG = "{http://www.w3.org/2000/svg}"
PIXELS = 0.011  # coordinates are rounded to hundredths


def _apart(lane: Lane) -> bool:
    return all(a.end_ns <= b.start_ns for a, b in pairwise(lane.events))


# --- lanes ---------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(timelines())
def test_lanes_hold_every_event_once_and_none_that_overlap(timeline: Timeline) -> None:
    lanes = lanes_of(timeline.events)
    held = [event for lane in lanes for event in lane.events]
    assert sorted(held, key=repr) == sorted(timeline.events, key=repr)
    assert all(map(_apart, lanes))
    assert all({event.unit for event in lane.events} == {lane.unit} for lane in lanes)
    assert len({lane.name for lane in lanes}) == len(lanes)


def test_a_simulated_engine_needs_one_lane_and_transfers_in_flight_several() -> None:
    lanes = lanes_of(rows_copied().events)
    units = [lane.unit for lane in lanes]
    assert units[:3] == ["vector", "scalar", "sync"]
    assert units[3:] == ["dma"] * len(units[3:])
    assert len(units) > 4
    assert [lane.name for lane in lanes[2:5]] == ["Sync", "DMA 1", "DMA 2"]


@settings(max_examples=60)
@given(timelines(), st.integers(1, 20))
def test_an_excerpt_has_whatever_starts_before_its_end(timeline: Timeline, first: int) -> None:
    part = excerpt(timeline, first)
    assert [e.start_ns for e in part.events] == sorted(e.start_ns for e in part.events)
    if len(timeline.events) <= first:
        assert sorted(part.events, key=repr) == sorted(timeline.events, key=repr)
        return
    early = [e for e in timeline.events if e.start_ns < part.end_ns]
    assert sorted(part.events, key=repr) == sorted(early, key=repr)
    assert part.events
    assert len(part.events) <= first or len({e.start_ns for e in part.events}) == 1


def test_an_excerpt_of_everything_ends_with_the_kernel() -> None:
    timeline = rows_copied()
    part = excerpt(timeline, 1000)
    assert part.whole
    assert part.end_ns == timeline.time_ns
    assert len(part.events) == timeline.instructions + timeline.transfers


def test_an_excerpt_of_a_part_says_so() -> None:
    timeline = rows_copied(record=9)
    assert not excerpt(timeline, 1000).whole
    assert excerpt(timeline, 1000).end_ns == max(e.end_ns for e in timeline.events)
    assert excerpt(replace(timeline, events=())).end_ns == 0


def test_recorded_events_are_the_first_of_the_program_though_loops_settle() -> None:
    settled = rows_copied(trips=400, record=300)
    assert settled.simulated < settled.instructions
    assert settled.events == rows_copied(trips=400, record=300, extrapolate=False).events


@given(st.floats(1e-3, 1e12), st.integers(2, 40))
def test_ticks_are_round_and_few(end_ns: float, most: int) -> None:
    found = ticks(end_ns, most)
    assert found[0] == 0
    assert 1 <= len(found) <= most
    assert found[-1] <= end_ns
    if len(found) > 1:
        mantissa = found[1] / 10 ** math.floor(math.log10(found[1]) + 1e-9)
        assert round(mantissa, 6) in (1, 2, 5)
        assert len(found) * 6 >= most or most < 6


@pytest.mark.parametrize(
    ("end_ns", "labels"),
    [
        (35_000.0, ["0", "10", "20", "30 us"]),
        (4_200.0, ["0", "1", "2", "3", "4 us"]),
        (640.0, ["0", "200", "400", "600 ns"]),
        (35_000_000.0, ["0", "10", "20", "30 ms"]),
        (0.0, ["0 ns"]),
    ],
)
def test_ticks_read_well(end_ns: float, labels: list[str]) -> None:
    assert tick_labels(ticks(end_ns, 5)) == labels


def test_events_have_kinds_that_are_named() -> None:
    kinds = {event.kind for event in rows_copied().events}
    assert kinds == {"vector", "trigger", "load", "store"}
    assert kinds <= set(KIND_NAMES) == set(svg_module._COLOURS)


def test_a_transfer_is_drawn_by_its_direction_whatever_its_label_says() -> None:
    event = Event("dma", "load", 0.0, 500.0, "store of weights")
    timeline = with_events(event)
    assert "event load" in timeline_svg(timeline)
    assert "DMA load" in timeline_text(timeline)
    assert timeline_trace(timeline)["traceEvents"][-1]["cat"] == "load"


# --- SVG -----------------------------------------------------------------------------------------


def _rects(document: str) -> list[tuple[float, float, float, str]]:
    """(x, y, width, tooltip) of every event."""
    found = []
    for rect in ET.fromstring(document).iter(f"{_SVG}rect"):
        title = rect.find(f"{_SVG}title")
        if title is not None:
            place = [float(rect.attrib[key]) for key in ("x", "y", "width")]
            found.append((place[0], place[1], place[2], str(title.text)))
    return found


@settings(max_examples=60)
@given(timelines())
def test_svg_is_xml_with_every_event_inside_and_none_over_another(timeline: Timeline) -> None:
    part = excerpt(timeline, 30)
    rects = _rects(timeline_svg(timeline, first=30))
    assert len(rects) == len(part.events)
    low, high = svg_module.LEFT, svg_module.WIDTH - svg_module.RIGHT
    by_lane = defaultdict(list)
    for x, y, width, _ in rects:
        assert width >= 0
        assert low - PIXELS <= x
        assert x + width <= high + 2 * PIXELS
        by_lane[y].append((x, width))
    for row in by_lane.values():
        for (x, width), (after, _) in pairwise(sorted(row)):
            assert x + width <= after + 2 * PIXELS


def test_svg_of_a_whole_kernel_is_to_scale() -> None:
    timeline = rows_copied()
    scale = (svg_module.WIDTH - svg_module.LEFT - svg_module.RIGHT) / timeline.time_ns
    rects = _rects(timeline_svg(timeline, first=1000))
    drawn = sum(width for *_, width, said in rects if "on VectorE" in said)
    assert drawn == pytest.approx(timeline.engines["vector"].busy_ns * scale, rel=2e-3)


def test_svg_tooltips_say_what_where_and_when() -> None:
    document = timeline_svg(with_events(Event("vector", "vector", 1500.0, 2750.0, "tensor_copy")))
    (rect,) = _rects(document)
    assert rect[-1] == "tensor_copy on VectorE\n1.500 to 2.750 us (1.25 us)"


def test_svg_labels_are_no_wider_than_their_events() -> None:
    events = [
        Event("vector", "vector", 0.0, 9000.0, "tensor_scalar_arith"),
        Event("vector", "vector", 9000.0, 9600.0, "tensor_scalar_arith"),
        Event("vector", "vector", 9600.0, 9700.0, "tensor_scalar_arith"),
    ]
    root = ET.fromstring(timeline_svg(with_events(*events)))
    labels = [t.text for t in root.iter(f"{_SVG}text") if "label" in t.get("class", "")]
    assert labels == ["tensor_scalar_arith", "tensor_sc…"]


def test_svg_names_lanes_colours_and_times() -> None:
    root = ET.fromstring(timeline_svg(rows_copied(), title="rows on trn2", first=1000))
    said = [str(text.text) for text in root.iter(f"{_SVG}text")]
    assert said[0] == "rows on trn2"
    assert "not measured" in said[1]
    for name in ("VectorE", "ScalarE", "Sync", "DMA load", "DMA store", "DMA trigger", "0"):
        assert name in said
    assert any(text.endswith(" us") for text in said)


def test_svg_without_events_says_so() -> None:
    root = ET.fromstring(timeline_svg(with_events()))
    assert any("no events are recorded" in str(t.text) for t in root.iter(f"{_SVG}text"))


def test_svg_with_many_transfers_in_flight_stays_low() -> None:
    events = [Event("dma", "load", float(k), 10_000.0 + k, "load") for k in range(30)]
    root = ET.fromstring(timeline_svg(with_events(*events)))
    assert float(root.attrib["height"]) < 350


def _luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.1)."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("kind", svg_module._COLOURS)
def test_labels_can_be_read_on_their_colour(kind: str) -> None:
    fill, text = svg_module._COLOURS[kind]
    assert _contrast(fill, text) >= 4.5


# --- trace events --------------------------------------------------------------------------------


def _threads(trace: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Complete events by the name of their thread."""
    events = trace["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    threads: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
    for event in events:
        if event["ph"] == "X":
            threads[names[event["tid"]]].append(event)
    return threads


@settings(max_examples=60)
@given(timelines())
def test_trace_has_all_events_and_their_durations(timeline: Timeline) -> None:
    trace = json.loads(json.dumps(timeline_trace(timeline)))
    found = [e for events in _threads(trace).values() for e in events]
    assert len(found) == len(timeline.events)
    total = sum(e.end_ns - e.start_ns for e in timeline.events) / 1000
    assert sum(e["dur"] for e in found) == pytest.approx(total)
    assert sorted(e["name"] for e in found) == sorted(e.label for e in timeline.events)


@settings(max_examples=60)
@given(timelines())
def test_trace_has_one_thread_per_engine_on_which_nothing_overlaps(timeline: Timeline) -> None:
    threads = _threads(timeline_trace(timeline))
    engines = {e.unit for e in timeline.events} - {"dma"}
    assert sum(not name.startswith("DMA") for name in threads) == len(engines)
    for events in threads.values():
        for before, after in pairwise(events):
            assert before["ts"] + before["dur"] <= after["ts"] + 1e-6


def test_trace_of_a_simulation_adds_up_and_stays_within_it() -> None:
    timeline = rows_copied()
    trace = timeline_trace(timeline, title="rows on trn2")
    threads = _threads(trace)
    assert sum(e["dur"] for e in threads["VectorE"]) == pytest.approx(
        timeline.engines["vector"].busy_ns / 1000
    )
    ends = [e["ts"] + e["dur"] for events in threads.values() for e in events]
    assert max(ends) <= timeline.time_ns / 1000 + 1e-6
    process = trace["traceEvents"][0]
    assert process["args"]["name"] == "rows on trn2 (simulated, not measured)"
    assert trace["otherData"]["events"] == len(timeline.events)


def test_threads_come_in_the_order_of_the_engines() -> None:
    units = [("dma", "load"), *((unit, unit) for unit in reversed(ENGINES))]
    events = [Event(u, kind, 0.0, 1.0, "x") for u, kind in units]
    assert list(_threads(timeline_trace(with_events(*events)))) == [
        *("TensorE", "VectorE", "ScalarE", "GpSimd", "Sync", "DMA")
    ]
