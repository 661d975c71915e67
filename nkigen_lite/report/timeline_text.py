"""A simulated time line as text for a terminal: tables, and a drawing of its beginning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from cost_models import Bounds
from cost_models.simulate import CRITICAL_PATH, MOST_STEPS, Event, Timeline
from nkigen_lite.report.figures import bar, difference, duration, micros, percent, ratio, size
from nkigen_lite.report.tables import LEAST_WIDTH, Column, render, shortened, table
from nkigen_lite.report.timeline import (
    AFTER,
    RESOURCE_NAMES,
    UNIT_NAMES,
    EngineReport,
    TimelineReport,
    reason,
    report_of,
)
from nkigen_lite.report.timeline_lanes import (
    DRAWN,
    KIND_NAMES,
    excerpt,
    said,
    tick_labels,
    ticks,
)

REASONS = 3  # of an engine that the table of waits has, at most
_LEAST_WAIT = 0.01  # of the time: shorter waits are not worth a row
_TENSORS = 8
MOST_BAR = 40  # characters
_CELLS = ((0.9, "█"), (0.6, "▓"), (0.3, "▒"), (0.0, "░"))
_STYLES = {
    "tensor": "blue",
    "vector": "yellow",
    "scalar": "green",
    "gpsimd": "magenta",
    "sync": "bright_black",
    "load": "cyan",
    "store": "red",
    "copy": "cyan",
}


def timeline_text(
    timeline: Timeline,
    *,
    title: str = "kernel",
    predicted_us: float | None = None,
    bounds: Bounds | None = None,
    first: int = DRAWN,
    width: int = 100,
    colour: bool = False,
    encoding: str = "utf-8",
) -> str:
    """A time line as text, at most ``width`` (40 or more) characters wide.

    ``title`` names the kernel and its target. ``predicted_us``, the time that a plan was chosen
    by, and ``bounds``, what no schedule of the same instructions goes below, are to compare with.
    Of recorded events the ``first`` are drawn, one lane per engine. ``colour`` adds terminal
    colour codes. What ``encoding`` lacks is replaced by plainer characters.
    """
    columns = max(width, LEAST_WIDTH)
    report = report_of(timeline)
    items = [
        *_headline(report, title, predicted_us, bounds),
        *_engines(report, columns),
        *waits(report, columns),
        *_memory(report, columns),
        *drawing(timeline, columns, first),
    ]
    return render(items, columns, colour=colour, encoding=encoding)


def section(title: str) -> Iterator[RenderableType]:
    """A blank line and a heading."""
    yield Text()
    yield Text(title, style="bold")


def _headline(
    report: TimelineReport, title: str, predicted_us: float | None, bounds: Bounds | None
) -> Iterator[RenderableType]:
    yield Text.assemble(
        (title, "bold"), f": simulated {micros(report.time_us)} us on the device, not measured"
    )
    yield Text(
        f"with the launch {micros(report.host_us)} us: {micros(report.launch_us)} us more, in "
        "latency as nki.benchmark counts it"
    )
    if predicted_us is not None:
        more = difference(report.time_us, predicted_us)
        yield Text(
            f"the plan was predicted at {micros(predicted_us)} us; simulated is "
            f"{ratio(report.time_us, predicted_us)} that ({more})"
        )
    if bounds is not None:
        yield Text(_bounded(report, bounds))
    yield Text(counted(report))


def _bounded(report: TimelineReport, bounds: Bounds) -> str:
    """What holds for any schedule of these instructions, and how far above it the time is."""
    busy = {name: ns for name, ns in bounds.by_resource.items() if name != CRITICAL_PATH}
    most = max(busy, key=lambda name: busy[name])
    path_ns = bounds.by_resource.get(CRITICAL_PATH)
    path, which = f"critical path {micros((path_ns or 0.0) / 1000)} us", "the larger"
    if path_ns is None:
        path, which = f"no critical path beyond {MOST_STEPS:,} instructions", "the first"
    return (
        f"no schedule of these instructions takes less: {micros(busy[most] / 1000)} us by "
        f"{RESOURCE_NAMES[most]}; {path}; the simulated time is "
        f"{ratio(report.time_us, bounds.ns / 1000)} {which}"
    )


def counted(report: TimelineReport) -> str:
    """How many instructions there are, and how many of them follow from loops that settled."""
    total, rest = report.instructions, report.instructions - report.simulated
    how = f"{report.simulated:,} simulated one by one, {rest:,} follow from loops that settled"
    return f"{total:,} instructions: {how if rest else 'each simulated'}"


def _engines(report: TimelineReport, width: int) -> Iterator[RenderableType]:
    """Busy and idle time per engine; the bars are shares of the simulated time."""
    yield from section("Engines")
    length = min(MOST_BAR, max(8, width - 52))
    rows = [
        _use(name, engine, report.time_us, length)
        for name, engine in report.engines.items()
        if engine.instructions
    ]
    active = report.dma_active_us
    rows.append(
        (
            "DMA",
            micros(active),
            micros(report.time_us - active),
            percent(report.dma_active),
            bar(report.dma_active, length),
            f"{report.transfers:,}",
        )
    )
    columns = (
        Column("engine"),
        Column("busy us", right=True),
        Column("idle us", right=True),
        Column("busy", right=True, drop=1),
        Column("", least=8, drop=3),
        Column("instructions", right=True, drop=2),
    )
    yield table(columns, rows, width)
    unused = [UNIT_NAMES.get(n, n) for n, e in report.engines.items() if not e.instructions]
    if unused:
        yield Text(f"nothing to do for {', '.join(unused)}", style="dim")


def _use(name: str, engine: EngineReport, time_us: float, length: int) -> tuple[str, ...]:
    share = engine.busy_us / time_us if time_us else 0.0
    return (
        UNIT_NAMES.get(name, name),
        micros(engine.busy_us),
        micros(engine.idle_us),
        percent(share),
        bar(share, length),
        f"{engine.instructions:,}",
    )


def waits(report: TimelineReport, width: int, most: int | None = None) -> Iterator[RenderableType]:
    """What engines waited for: of each the longest waits, and its time after its last instruction;
    with ``most`` only the longest waits of all."""
    parts = [
        (name, reason(key, name), us)
        for name, engine in report.engines.items()
        for key, us in list(engine.waits_us.items())[:REASONS]
        if us >= _LEAST_WAIT * report.time_us and (most is None or key != AFTER)
    ]
    shown, _ = shortened(parts, most, lambda part: part[2])
    if not shown:
        return
    yield from section("Why engines were idle")
    length = min(MOST_BAR, max(8, width - 60))
    rows = []
    for place, (name, why, us) in enumerate(shown):
        again = place and shown[place - 1][0] == name
        share = us / report.time_us
        engine = "" if again else UNIT_NAMES.get(name, name)
        rows.append((engine, why, micros(us), percent(share), bar(share, length)))
    columns = (
        Column("engine"),
        Column("waited for", least=16),
        Column("us", right=True),
        Column("of time", right=True, drop=1),
        Column("", least=8, drop=2),
    )
    yield table(columns, rows, width)


def _memory(report: TimelineReport, width: int) -> Iterator[RenderableType]:
    yield from section("Device memory and the PE array")
    yield from utilisation(report)
    if not report.hbm_bytes:
        return
    moved = list(report.bytes_by_tensor.items())
    shown, left = shortened(moved, _TENSORS, lambda item: item[1])
    length = min(MOST_BAR, max(8, width - 46))
    rows = []
    for name, nbytes in shown:
        share = nbytes / report.hbm_bytes
        rows.append((name, size(nbytes), percent(share), bar(share, length)))
    if left:
        nbytes = sum(n for _, n in left)
        share = nbytes / report.hbm_bytes
        rows.append((f"{len(left)} more", size(nbytes), percent(share), bar(share, length)))
    columns = (
        Column("tensor", least=8),
        Column("moved", right=True),
        Column("of all", right=True, drop=1),
        Column("", least=8, drop=2),
    )
    yield table(columns, rows, width)


def utilisation(report: TimelineReport) -> Iterator[RenderableType]:
    """Lines on DMA, on how far the core is from its peaks, and on what warms up or is loaded."""
    yield Text(
        f"DMA: {size(report.hbm_bytes)} in {report.transfers:,} transfers, in flight "
        f"{percent(report.dma_active)} of the time, then at {percent(report.dma_efficiency)} of "
        "what the queues can move"
    )
    yield Text(
        f"MFU {percent(report.mfu)} (of the PE array's 16-bit rate), "
        f"MBU {percent(report.mbu)} (of HBM's bandwidth)"
    )
    if report.table_loads:
        yield Text(f"activation tables loaded: {report.table_loads:,}")
    if report.cold_us:
        yield Text(f"the PE array worked cold, at its lower rate, for {micros(report.cold_us)} us")


# --- the drawing ---------------------------------------------------------------------------------


def drawing(timeline: Timeline, width: int, first: int = DRAWN) -> Iterator[RenderableType]:
    """The ``first`` recorded events, or as many as there are columns if that is less: a lane per
    engine and per direction of DMA, time to the right. The fuller a cell, the more of its time
    something is going on. Nothing if no events are recorded."""
    part = excerpt(timeline, min(first, width))
    if not part.events or part.end_ns <= 0:
        return
    end = micros(part.end_ns / 1000)
    yield from section("The whole kernel" if part.whole else f"The first {end} us")
    lanes: dict[tuple[str, str], list[Event]] = {}
    for event in part.events:
        key = ("dma", KIND_NAMES[event.kind]) if event.unit == "dma" else (event.unit, "")
        lanes.setdefault(key, []).append(event)
    names = {key: key[1] or UNIT_NAMES.get(key[0], key[0]) for key in lanes}
    margin = max(map(len, names.values())) + 1
    cells = width - margin
    order = list(UNIT_NAMES)
    for key in sorted(lanes, key=lambda k: (order.index(k[0]) if k[0] in order else 9, k[1])):
        drawn = cells_of(lanes[key], part.end_ns, cells)
        style = _STYLES.get(lanes[key][0].kind, _STYLES.get(key[0], ""))
        yield Text.assemble(names[key].ljust(margin), (drawn, style), no_wrap=True)
    yield Text(" " * margin + _axis(part.end_ns, cells), no_wrap=True)
    yield Text(
        f"{said(part)}; a cell is {duration(part.end_ns / cells)}, full if busy throughout",
        style="dim",
    )


def cells_of(events: Iterable[Event], end_ns: float, cells: int) -> str:
    """A line of ``cells`` characters for the time up to ``end_ns``, fuller where more is busy."""
    share = [0.0] * cells
    per_cell = end_ns / cells
    for start, end in _merged(events):
        low, high = start / per_cell, min(end / per_cell, cells)
        for k in range(int(low), min(cells, int(high) + 1)):
            share[k] += max(0.0, min(high, k + 1) - max(low, k))
    return "".join(_cell(part) for part in share)


def _cell(share: float) -> str:
    return next((mark for least, mark in _CELLS if share > least), " ")


def _merged(events: Iterable[Event]) -> list[tuple[float, float]]:
    """The times in which any of the events is going on."""
    found: list[tuple[float, float]] = []
    for event in sorted(events, key=lambda e: e.start_ns):
        if found and event.start_ns <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], event.end_ns))
        else:
            found.append((event.start_ns, event.end_ns))
    return found


def _axis(end_ns: float, cells: int) -> str:
    """As many round times as there is room for, each at a stroke in the cell in which it lies."""
    for most in range(max(2, cells // 9), 1, -1):
        line = _strokes(ticks(end_ns, most), end_ns, cells)
        if line is not None:
            return line
    return "|0"


def _strokes(times: Sequence[float], end_ns: float, cells: int) -> str | None:
    """Times at their strokes; None if there is no blank between two."""
    line = ""
    for time, label in zip(times, tick_labels(times), strict=True):
        at = min(cells - 1, int(time / end_ns * cells))
        text = f"|{label}"
        if at + len(text) > cells:  # no room after the stroke: the label stands before it
            at, text = at + 1 - len(text), f"{label}|"
        if line and at <= len(line):
            return None
        line = line.ljust(at) + text
    return line
