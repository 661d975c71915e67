"""A simulated time line as trace events, which Perfetto and chrome://tracing open.

The format is the JSON of "Trace Event Format" (Google, 2016): complete events ("X") with times in
microseconds, and metadata events ("M") that name the threads.
"""

from __future__ import annotations

from typing import Any

from cost_models.simulate import Timeline
from nkigen_lite.report.timeline_lanes import lanes_of

_PROCESS = 1


def timeline_trace(timeline: Timeline, *, title: str = "kernel") -> dict[str, Any]:
    """All recorded events: a thread per engine, and as many for transfers as overlap.

    The result holds only what ``json.dumps`` takes.
    """
    events = [_named("process_name", 0, f"{title} (simulated, not measured)")]
    for thread, lane in enumerate(lanes_of(timeline.events), 1):
        events.append(_named("thread_name", thread, lane.name))
        events.append({**_metadata("thread_sort_index", thread), "args": {"sort_index": thread}})
        events += [
            {
                "name": event.label,
                "cat": event.kind,
                "ph": "X",
                "ts": event.start_ns / 1000,
                "dur": (event.end_ns - event.start_ns) / 1000,
                "pid": _PROCESS,
                "tid": thread,
            }
            for event in lane.events
        ]
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {
            "simulated_us": timeline.time_ns / 1000,
            "instructions": timeline.instructions,
            "events": len(timeline.events),
        },
    }


def _named(what: str, thread: int, name: str) -> dict[str, Any]:
    return {**_metadata(what, thread), "args": {"name": name}}


def _metadata(what: str, thread: int) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PROCESS, "tid": thread}
