"""One kernel compiled for a benchmark: its figures, or why there are none."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter, process_time
from types import FrameType
from typing import Any

import nkigen_lite
from benchmarks.kernels import Kernel
from nkigen_lite.report.timeline import AFTER, UNIT_NAMES

STAGES = ("trace_s", "build_s", "solve_s", "lower_s")
"""Of a report: seconds tracing, pricing candidates, solving and lowering."""


class TookTooLong(Exception):
    """A kernel was not compiled in the time it was given."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TookTooLong in the body after so many seconds; 0 is for ever. In the main thread."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"stopped after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(kernel: Kernel, target: str, time_limit: float, most_s: float = 0.0) -> dict[str, Any]:
    """The report of a kernel as plain data with its name, the wall and processor seconds taken,
    ``compile_s`` and ``cpu_s``, and what it ``waits_on``; or its name, the seconds and the
    ``error``, whatever that was.

    ``time_limit`` is the solver's, ``most_s`` that of all.
    """
    start, worked = perf_counter(), process_time()
    report: dict[str, Any] = {}
    try:
        with at_most(most_s):
            made = nkigen_lite.compile(
                kernel.function,
                *kernel.specs,
                target=target,
                time_limit=time_limit,
                prepack=kernel.weights,
                name="kernel",
            )
    except Exception as error:
        report["error"] = f"{type(error).__name__}: {error}".strip()
    else:
        report |= made.report.to_dict()
        report["waits_on"] = waits_on(report["timeline"])
    seconds = {"compile_s": perf_counter() - start, "cpu_s": process_time() - worked}
    return {"name": kernel.name, **seconds, **report}


def waits_on(timeline: Mapping[str, Any]) -> str:
    """The busiest unit, how busy it is, and its longest wait before it was done: both of all time.

    DMA queues wait for nothing but triggers, so theirs are the waits of Sync, which triggers loads.
    """
    engines, total = timeline["engines"], timeline["time_us"]
    busy = {name: engine["busy_us"] for name, engine in engines.items()}
    busy["dma"] = timeline["dma_active_us"]
    unit = max(busy, key=lambda name: busy[name])
    waiting = engines["sync" if unit == "dma" else unit]["waits_us"]
    waits = {what: us for what, us in waiting.items() if what != AFTER}
    text = f"{UNIT_NAMES[unit]} {busy[unit] / total:.0%}"
    if waits:
        what = max(waits, key=lambda name: waits[name])
        text += f", {'Sync ' if unit == 'dma' else ''}{what} {waits[what] / total:.0%}"
    return text
