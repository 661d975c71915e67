"""``simulate``: compile a function and show the simulated time line of the kernel."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from cost_models import Bounds
from cost_models.simulate import CRITICAL_PATH, Timeline
from nkigen_lite.api import Compiled
from nkigen_lite.commands import terminal
from nkigen_lite.commands.arguments import request, target_of
from nkigen_lite.commands.compiling import compiled
from nkigen_lite.commands.stages import STAGES, doing_after
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir.simulate import bounds_of_kernel
from nkigen_lite.report.timeline import report_of
from nkigen_lite.report.timeline_lanes import excerpt
from nkigen_lite.report.timeline_svg import timeline_svg
from nkigen_lite.report.timeline_text import timeline_text
from nkigen_lite.report.timeline_trace import timeline_trace

RECORDED = 1024
"""Events recorded at least. They are recorded in the order of the program, but drawn are those
first in time: engines run ahead of each other, seldom by this many instructions."""


def simulate_command(args: argparse.Namespace) -> int:
    """Compile, simulate, write the files that are asked for, and print the time line."""
    with terminal.stdout_is_clean(args.json), terminal.progress(STAGES["trace"]) as progress:
        wanted = request(args.function, args.arg, args.static)
        target = target_of(args.target, args.set)
        kernel = compiled(args, wanted, target, lambda stage, _: progress(doing_after(stage)))
        progress("simulating the kernel")
        record = max(RECORDED, 4 * args.first)
        timeline = kernel.simulate(record, addresses=args.addresses)
        bounds = bounds_of_kernel(kernel.nki, target)
    title = f"{kernel.report.kernel} on {target.name}"
    if args.svg:
        write_text(args.svg, timeline_svg(timeline, title=title, first=args.first))
    if args.trace:
        write_text(args.trace, json.dumps(timeline_trace(timeline, title=title)) + "\n")
    if args.json:
        terminal.write(json.dumps(as_json(kernel, timeline, bounds, args.first), indent=1) + "\n")
        return 0
    terminal.write(
        timeline_text(
            timeline,
            title=title,
            predicted_us=kernel.report.predicted_us,
            bounds=bounds,
            first=args.first,
            width=terminal.width(),
            colour=terminal.colour(),
            encoding=terminal.encoding(),
        )
    )
    terminal.write("".join(f"wrote {path}\n" for path in (args.svg, args.trace) if path))
    return 0


def as_json(kernel: Compiled, timeline: Timeline, bounds: Bounds, first: int) -> dict[str, object]:
    """What ``simulate --json`` prints: the figures, bounds, and the first events in time."""
    report, simulated = kernel.report, report_of(timeline)
    return {
        "kernel": report.kernel,
        "target": report.target,
        "predicted_us": report.predicted_us,
        "simulated_us": simulated.time_us,
        "simulated_ratio": 1000 * simulated.time_us / report.objective_ns,
        "bounds": {
            "us": bounds.ns / 1000,
            "resource": bounds.resource,
            "by_resource_us": {
                CRITICAL_PATH: None,  # of a large kernel
                **{name: ns / 1000 for name, ns in bounds.by_resource.items()},
            },
        },
        "timeline": asdict(simulated),
        "events": [asdict(event) for event in excerpt(timeline, first).events],
    }


def write_text(path: str, text: str) -> None:
    """Write a file.

    Raises:
        InvalidInput: it cannot be written.
    """
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written: {error.strerror}") from None
