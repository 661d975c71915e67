"""The report of a compilation as text for a terminal. No time in it is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePath

from rich.console import RenderableType
from rich.text import Text

from cost_models import Target
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.report.data import AddressReport, CompileReport, GreedyReport
from nkigen_lite.report.figures import bar, difference, micros, percent, ratio, size
from nkigen_lite.report.tables import LEAST_WIDTH, Column, render, shortened, table
from nkigen_lite.report.timeline import RESOURCE_NAMES
from nkigen_lite.report.timeline_text import MOST_BAR, counted, section, utilisation, waits
from nkigen_lite.tensor_ir.passes.layout_solver import Plan
from nkigen_lite.tensor_ir.passes.layout_solver.plan import DimPlan, SegmentPlan, ValuePlan

ROWS = 12  # of a long table, unless all are asked for
_WAITS = 6  # of all engines together

_STATUS_STYLE = {"optimal": "bold green", "feasible": "bold yellow"}


def report_text(
    report: CompileReport,
    plan: Plan,
    target: Target,
    *,
    width: int = 100,
    full: bool = False,
    hint: str = "full=True shows all",
    colour: bool = False,
    encoding: str = "utf-8",
) -> str:
    """The report of a plan for ``target``, at most ``width`` (40 or more) characters wide.

    With ``full`` the tables of segments and values have all their rows; else the costliest
    segments and the largest values, and a note says how many are left out and, as ``hint``, how
    to see them. ``colour`` adds terminal
    colour codes. What ``encoding`` lacks is replaced by plainer characters.
    """
    if not isinstance(width, int):
        raise InvalidInput(f"report: width is {width!r} but must be a number of columns")
    columns = max(width, LEAST_WIDTH)
    limit = None if full else ROWS
    items = [
        *_headline(report, Limits.of(target)),
        *_times(report, columns),
        *_figures(report, Limits.of(target), columns),
        *_engines(report, columns),
        *waits(report.timeline, columns, None if full else _WAITS),
        *_simulated(report),
        *_segments(plan, columns, limit, hint),
        *_values(plan, columns, limit, hint),
        *_packed(report, plan, columns),
        *_effort(report),
    ]
    return render(items, columns, colour=colour, encoding=encoding)


def _headline(report: CompileReport, limits: Limits) -> Iterator[RenderableType]:
    yield Text.assemble(
        (report.kernel, "bold"),
        f" on {report.target}: predicted {micros(report.predicted_us)} us, simulated "
        f"{micros(report.simulated_us)} us, not measured",
    )
    yield Text.assemble(
        (report.status, _STATUS_STYLE.get(report.status, "bold")),
        f": {_verdict(report, limits.sbuf_bytes)} (proven bound "
        f"{micros(report.best_bound_ns / 1000)} us, gap {percent(report.gap)})",
    )
    resource = RESOURCE_NAMES.get(report.bound_resource, report.bound_resource)
    yield Text(
        f"roofline: {micros(report.bound_us)} us by {resource}; "
        f"the plan takes {ratio(report.predicted_us, report.bound_us)} that"
    )


def _verdict(report: CompileReport, sbuf_bytes: int) -> str:
    if report.status == "optimal":
        limit = report.sbuf_limit_bytes
        within = f" within {size(limit)} of SBUF" if limit < sbuf_bytes else ""
        return f"no plan of the {report.candidates} candidates is faster{within}"
    return "the time limit ended the search; the plan is legal"


def _times(report: CompileReport, width: int) -> Iterator[RenderableType]:
    """The times that are known of the kernel, each against the one that the plan was chosen by."""
    yield from section("Times")
    known = [
        ("roofline", report.bound_us),
        ("predicted", report.predicted_us),
        ("simulated", report.simulated_us),
        ("simulated, and the launch", report.timeline.host_us),
    ]
    if report.unpacked_us is not None:
        known.append(("weights as given, predicted", report.unpacked_us))
    if report.greedy_us is not None:
        known.append(("greedy, predicted", report.greedy_us))
    longest = max(us for _, us in known) or 1.0
    length = min(MOST_BAR, max(8, width - 60))
    rows = [
        (
            name,
            micros(us),
            ratio(us, report.predicted_us),
            "" if name == "predicted" else difference(us, report.predicted_us),
            bar(us / longest, length),
        )
        for name, us in known
    ]
    columns = (
        Column("", least=12),
        Column("us", right=True),
        Column("of predicted", right=True, drop=1),
        Column("", right=True, drop=2),
        Column("", least=8, drop=3),
    )
    yield table(columns, rows, width)


def _figures(report: CompileReport, limits: Limits, width: int) -> Iterator[RenderableType]:
    """The plan's totals beside those of the greedy plan."""
    greedy, addresses = report.greedy, report.addresses

    def beside(figure: Callable[[GreedyReport], str]) -> str:
        return figure(greedy) if greedy else "-"

    yield from section("Totals")
    compulsory = f"the compulsory {size(report.compulsory_bytes)}"
    rows = [
        (
            "predicted us",
            micros(report.predicted_us),
            beside(lambda g: micros(g.predicted_us)),
            beside(lambda g: f"greedy takes {ratio(g.predicted_us, report.predicted_us)} that"),
        ),
        (
            "HBM bytes",
            size(report.hbm_bytes),
            beside(lambda g: size(g.hbm_bytes)),
            f"{ratio(report.hbm_bytes, report.compulsory_bytes)} {compulsory}",
        ),
        (
            "instructions",
            f"{report.instructions:,}",
            beside(lambda g: f"{g.instructions:,}"),
            f"{report.ir_ops:,} ops in nki_ir",
        ),
        ("DMAs", f"{report.dmas:,}", beside(lambda g: f"{g.dmas:,}"), ""),
        (
            "peak SBUF",
            size(report.peak_sbuf_bytes),
            beside(lambda g: size(g.peak_sbuf_bytes)),
            f"of {size(limits.sbuf_bytes)} per partition",
        ),
        ("SBUF by address", size(addresses.sbuf.top), "-", _sharing(addresses)),
        ("peak PSUM", _banks(report.peak_psum_banks), "-", f"of {limits.psum_banks} banks"),
    ]
    columns = (
        Column(""),
        Column("plan", right=True),
        Column("greedy", right=True),
        Column("", least=8, drop=1),
    )
    yield table(columns, rows, width)
    if greedy is None:
        yield Text("greedy: there is no plan op by op through HBM", style="dim")


def _sharing(addresses: AddressReport) -> str:
    """What it takes that buffers follow each other on the same bytes."""
    if not addresses.hazards:
        return "no byte is used twice"
    hazards = "1 hazard" if addresses.hazards == 1 else f"{addresses.hazards} hazards"
    return f"{hazards}; simulated with {micros(addresses.simulated_us)} us"


def _banks(count: int) -> str:
    return f"{count} bank" if count == 1 else f"{count} banks"


def _engines(report: CompileReport, width: int) -> Iterator[RenderableType]:
    """Predicted busy time per engine, with a bar as long as its share of the predicted time, and
    how long the simulated engine is busy."""
    yield from section("Predicted busy time by engine")
    of_greedy = report.greedy.engines if report.greedy else {}
    simulated = _simulated_busy(report)
    names = sorted({*report.engines, *of_greedy}, key=lambda n: -report.engines.get(n, 0.0))
    length = min(MOST_BAR, max(8, width - 60))
    rows = []
    for name in names:
        us = report.engines.get(name, 0.0)
        share = us / report.predicted_us if report.predicted_us else 0.0
        theirs = micros(of_greedy[name]) if name in of_greedy else "-"
        mine = micros(simulated[name]) if name in simulated else "-"
        known = RESOURCE_NAMES.get(name, name), micros(us), percent(share)
        rows.append((*known, bar(share, length), mine, theirs))
    columns = (
        Column("engine"),
        Column("us", right=True),
        Column("of time", right=True, drop=1),
        Column("", least=8, drop=2),
        Column("simulated us", right=True, drop=3),
        Column("greedy us", right=True, drop=4),
    )
    yield table(columns, rows, width)


def _simulated_busy(report: CompileReport) -> dict[str, float]:
    """Simulated busy microseconds by the names of ``report.engines``."""
    engines = report.timeline.engines
    return {"dma": report.timeline.dma_active_us, **{n: e.busy_us for n, e in engines.items()}}


def _simulated(report: CompileReport) -> Iterator[RenderableType]:
    """What else the simulation says."""
    yield from section("Simulated use of device memory and the PE array")
    yield from utilisation(report.timeline)
    yield Text(counted(report.timeline))


def _segments(plan: Plan, width: int, limit: int | None, hint: str) -> Iterator[RenderableType]:
    """What runs, in order: loops, predicted time and what bounds it."""
    yield from section("Segments")
    shown, left = shortened(plan.segments, limit, lambda s: s.ns)
    columns = (
        Column("makes", least=10),
        Column("ops", least=8, drop=2),
        Column("loops", least=9, drop=3),
        Column("us", right=True),
        Column("bound by"),
        Column("HBM", right=True, drop=4),
        Column("at", drop=5),
    )
    yield table(columns, [_segment_row(s) for s in shown], width)
    if left:
        us = micros(sum(s.ns for s in left) / 1000)
        yield _more(
            f"and {len(left)} more of {len(plan.segments)}, {us} us predicted together; {hint}"
        )


def _segment_row(segment: SegmentPlan) -> tuple[str, ...]:
    bound_by = max(segment.busy, key=lambda r: segment.busy[r], default="")
    line = next((step.line for step in segment.steps if step.line), None)
    return (
        segment.name.partition("#")[0],
        "convert" if segment.kind == "conversion" else " ".join(s.op for s in segment.steps),
        _loops(segment),
        micros(segment.ns / 1000),
        RESOURCE_NAMES.get(bound_by, bound_by),
        size(segment.hbm_bytes) if segment.hbm_bytes else "-",
        PurePath(line).name if line else "-",
    )


def _loops(segment: SegmentPlan) -> str:
    parts = [f"{axis} {_trips(extent, block)}" for axis, extent, block in segment.loops]
    if segment.streamed:
        axis, extent, block = segment.streamed
        parts.append(f"sum over {axis} {_trips(extent, block)}")
    stages = max((step.stage for step in segment.steps), default=0) + 1
    overlap = f" in {stages} stages" if stages > 1 else ""
    return (", ".join(parts) or "-") + overlap


def _trips(extent: int, block: int) -> str:
    """``32x128``: 32 trips of 128 elements; a smaller last one counts as a trip."""
    return f"{-(-extent // block)}x{block}"


def _values(plan: Plan, width: int, limit: int | None, hint: str) -> Iterator[RenderableType]:
    """Where every value lives, and the role and tile of each of its dimensions."""
    yield from section("Values")
    shown, left = shortened(plan.values, limit, lambda v: v.bytes)
    columns = (
        Column("value", least=8),
        Column("kind", drop=3),
        Column("lives in", least=8),
        Column("type", drop=1),
        Column("bytes", right=True, drop=2),
        Column("dims: extent, role and tile", least=30),
    )
    yield table(columns, [_value_row(v) for v in shown], width)
    if left:
        total = size(sum(v.bytes for v in left))
        yield _more(f"and {len(left)} more of {len(plan.values)}, {total} together; {hint}")
    yield Text("P on partitions, F along the free dimension, I one at a time", style="dim")


def _packed(report: CompileReport, plan: Plan, width: int) -> Iterator[RenderableType]:
    """The weights that the kernel takes in another order, and what that gains."""
    if not plan.packed or report.unpacked_us is None:
        return
    yield from section("Weights that the host packs, once")
    columns = (
        Column("weight", least=8),
        Column("argument", least=8),
        Column("of shape", least=8),
        Column("made by reshape", least=8, drop=2),
        Column("and transpose", least=8, drop=1),
    )
    rows = [
        (p.value, p.argument, *("x".join(map(str, n)) for n in (p.shape, p.cut)), f"{p.order}")
        for p in plan.packed
    ]
    yield table(columns, rows, width)
    gain = report.unpacked_us - report.predicted_us
    yield Text(
        f"predicted to save {micros(gain)} us of the {micros(report.unpacked_us)} us without",
        style="dim",
    )


def _value_row(value: ValuePlan) -> tuple[str, ...]:
    return (
        value.name,
        value.kind,
        " ".join((value.location, *value.layouts)),
        value.dtype,
        size(value.bytes),
        " · ".join(_dim(d) for d in value.dims) or "one element",
    )


def _dim(dim: DimPlan) -> str:
    return f"{dim.axis}={dim.extent} {dim.role}{dim.tile}"


def _more(text: str) -> Text:
    return Text(text, style="dim")


def _effort(report: CompileReport) -> Iterator[RenderableType]:
    yield Text()
    yield Text(
        f"trace {report.trace_s:.2f} s, pricing {report.build_s:.2f} s, solving "
        f"{report.solve_s:.2f} s, lowering {report.lower_s:.2f} s; {report.variables:,} variables, "
        f"{report.constraints:,} constraints, seed {report.seed}",
        style="dim",
    )
