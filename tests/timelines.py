"""What tests of time lines share: simulated ones, and ones with events made up."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hypothesis import strategies as st

from cost_models import Instruction, Transfer, load_target
from cost_models.simulate import Buffer, Event, Fresh, Index, Loop, Step, Timeline, Use, simulate

ENGINES = ("tensor", "vector", "scalar", "gpsimd", "sync")
DIRECTIONS = ("load", "store", "copy")


@cache
def rows_copied(trips: int = 12, record: int = 10_000, *, extrapolate: bool = True) -> Timeline:
    """Rows are loaded, copied on VectorE and stored, with three buffers of each."""
    x, y = Buffer("x", "sbuf", copies=3), Buffer("y", "sbuf", copies=3)
    copy = Instruction("tensor_copy", "vector", 128, 2048, ("f32", "f32"), ("sbuf", "sbuf"))
    load = Transfer("load", 128, 8192, rows=128)
    store = Transfer("store", 128, 8192, rows=128)
    body = [
        Fresh(x),
        Fresh(y),
        Step(load, "sync", writes=(Use(x),), tensor="rows"),
        Step(copy, "vector", reads=(Use(x),), writes=(Use(y),)),
        Step(store, "scalar", reads=(Use(y),), tensor="copies"),
    ]
    loop = Loop(Index("i"), trips, body)
    return simulate(load_target("trn2"), [loop], record=record, extrapolate=extrapolate)


def with_events(*events: Event) -> Timeline:
    """A time line whose recorded events are these."""
    return replace(rows_copied(), events=events)


@st.composite
def _engine_events(draw: st.DrawFn, unit: str) -> list[Event]:
    """Events of an engine: one after the other, as engines work."""
    found, now = [], 0.0
    for gap, length in draw(st.lists(st.tuples(_TIMES, _LENGTHS), max_size=8)):
        found.append(
            Event(
                unit,
                draw(st.sampled_from((unit, "trigger"))),
                now + gap,
                now + gap + length,
                draw(_LABELS),
            )
        )
        now += gap + length
    return found


_TIMES = st.integers(0, 50_000).map(float)
_LENGTHS = st.integers(1, 40_000).map(float)
_LABELS = st.text(max_size=12) | st.sampled_from(["tensor_copy", "load x", "matmul"])
_TRANSFERS = st.lists(
    st.builds(
        lambda way, start, length, label: Event("dma", way, start, start + length, label),
        st.sampled_from(DIRECTIONS),
        _TIMES,
        _LENGTHS,
        _LABELS,
    ),
    max_size=12,
)


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Time lines with some events on every unit; those of DMA may overlap."""
    events = draw(_TRANSFERS)
    for unit in ENGINES:
        events += draw(_engine_events(unit))
    return with_events(*draw(st.permutations(events)))
