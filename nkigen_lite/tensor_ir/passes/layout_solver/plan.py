"""The plan as data: what was chosen, in names and numbers that print, diff and load again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import solver
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir.allocation import Allocation, Place
from nkigen_lite.tensor_ir.passes.axes import Step, Storage
from nkigen_lite.tensor_ir.passes.packed import Packed, Packing
from nkigen_lite.tensor_ir.passes.schedule import (
    HBM,
    Conversion,
    Impl,
    Layout,
    Schedule,
    Segment,
    drained_matmul,
    moves_in_hbm,
    stays_in_psum,
    write_layout,
)
from solver.codec import from_text


@dataclass(frozen=True, slots=True)
class DimPlan:
    """One atomic axis of a value.

    Attributes:
        axis, extent: the axis.
        role: "P" on partitions, "F" along the free dimension, "I" iterated.
        tile: elements at a time in that role.
    """

    axis: str
    extent: int
    role: str
    tile: int


@dataclass(frozen=True, slots=True)
class ValuePlan:
    """Where a value lives.

    Attributes:
        kind: "input", "output" or "temp".
        location: "hbm"; "sbuf" (whole, from producer to last consumer); "tile" (only ever one
            block inside a segment); "psum" (consumed straight from the accumulator). A value that
            is both kept and stored says "sbuf+hbm".
        layouts: on chip, if kept whole ("P=a0": axis a0 on partitions; "row"; "all").
        bytes: of the whole value.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    location: str
    layouts: tuple[str, ...]
    bytes: int
    dims: tuple[DimPlan, ...]


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step of a segment: the op, what it reads and writes, and how it runs.

    Attributes:
        stage: steps of a later stage run that many iterations of the innermost loop behind those of
            stage 0, which go on meanwhile.
        engine: who takes over those instructions that it can run; None leaves them where they
            are usual.
    """

    writes: str
    op: str
    reads: tuple[str, ...]
    how: str
    line: str | None
    stage: int = 0
    engine: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """Steps under one loop nest, or one conversion.

    Attributes:
        loops: (axis, extent, block), outermost first; the last may be a contraction's ("k" in
            ``streamed``).
        loads, stores: values moved from and to HBM inside.
        ns: predicted time; busy: predicted ns per engine, ``dma`` and ``sync``; early_ns: part of
            the loads that the segment before has time to do.
    """

    name: str
    kind: str
    loops: tuple[tuple[str, int, int], ...]
    streamed: tuple[str, int, int] | None
    steps: tuple[StepPlan, ...]
    loads: tuple[str, ...]
    stores: tuple[str, ...]
    ns: int
    overhead_ns: int
    busy: dict[str, int]
    sbuf_bytes: int
    hbm_bytes: int
    early_ns: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole choice for a kernel on a target; ``buffers`` are its tiles on chip with their
    addresses, ``packed`` its weights in another order."""

    kernel: str
    target: str
    segments: tuple[SegmentPlan, ...]
    values: tuple[ValuePlan, ...]
    buffers: tuple[Place, ...]
    packed: tuple[Packing, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """The plan as JSON text; equal plans give equal text."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that ``to_json`` wrote.

        Raises:
            InvalidInput: the text describes no plan; names the field at fault.
        """
        return from_text(cls, text, "plan", InvalidInput)

    def value(self, name: str) -> ValuePlan:
        """The plan of one value.

        Raises:
            KeyError: there is no such value.
        """
        for value in self.values:
            if value.name == name:
                return value
        raise KeyError(name)


def plan_of(schedule: Schedule, report: solver.Report, target: str, allocation: Allocation) -> Plan:
    """The plan of a schedule, with the solver's terms beside each segment."""
    assert report.terms is not None
    terms = {(step.kind, step.name): step for step in report.terms.steps}
    ordered = list(report.terms.steps)
    segments = []
    for item in schedule.items:
        if isinstance(item, Segment):
            segments.append(_segment(item, terms["segment", item.name]))
        else:
            step = next(s for s in ordered if s.kind == "conversion" and _names(s.name, item))
            segments.append(_conversion(item, step))
    values = [
        _value(s, schedule, report) for s in schedule.program.storages if s.kind != "constant"
    ]
    return Plan(
        schedule.program.name,
        target,
        tuple(segments),
        tuple(values),
        allocation.places,
        tuple(a.packing for a in schedule.arguments() if a.packing is not None),
    )


def _names(step: str, item: Conversion) -> bool:
    source = item.source.name if item.source else HBM
    return step == conversion_name(item.storage.name, source, item.target.name)


def conversion_name(value: str, source: str, target: str) -> str:
    """How the solver's terms name a conversion."""
    return f"{value}: {source} -> {target}"


def _segment(item: Segment, term: solver.Step) -> SegmentPlan:
    return SegmentPlan(
        name=item.name,
        kind="segment",
        loops=tuple((p.axis.name, p.axis.extent, p.block) for p in item.loops),
        streamed=(
            (item.stream.axis.name, item.stream.axis.extent, item.stream.block)
            if item.stream
            else None
        ),
        steps=tuple(_step(item, position) for position in range(len(item.steps))),
        loads=tuple(s.name for (s, _), port in item.reads.items() if port.streamed),
        stores=tuple(sorted(s.name for s in item.stored)),
        ns=term.ns,
        overhead_ns=term.overhead_ns,
        busy=dict(term.busy),
        sbuf_bytes=term.sbuf_bytes,
        hbm_bytes=term.hbm_bytes,
        early_ns=term.early_ns,
    )


def _step(segment: Segment, position: int) -> StepPlan:
    step, impl, run = segment.steps[position], segment.impls[position], segment.run
    place = 2 * position + 1
    return StepPlan(
        writes=repr(step.write),
        op=" ".join(s.opcode for s in step.stages) or _opcode(step),
        reads=tuple(repr(v) for v in step.reads),
        how=_how(step, impl),
        line=str(step.loc) if step.loc else None,
        stage=sum(cut <= place for cut in run.cuts),
        engine=run.engines[place] if run.engines else None,
    )


def _opcode(step: Step) -> str:
    return step.op.opcode if step.op and step.kind != "moments" else step.kind


def _how(step: Step, impl: Impl) -> str:
    """The implementation in words."""
    made = write_layout(step, impl).name
    if step.kind == "matmul":
        side = "ab"[impl.stationary]
        depth = impl.partition.name if impl.partition else "1"
        return f"contract {depth} on partitions, {side} stationary, result {made}"
    if step.kind == "reduce":
        ways = {
            "free": "along free",
            "both": "along free on vector and scalar",
            "ones": "over partitions by ones-matmul",
            "lanes": "over partitions on gpsimd",
        }
        return f"{ways[impl.method]}, result {made}"
    if step.kind == "moments":
        ways = {"free": "on vector", "scalar": "on scalar", "both": "on vector and scalar"}
        return f"{ways[impl.method]}, result {made}"
    return "within HBM" if moves_in_hbm(step, impl) else made


def _conversion(item: Conversion, term: solver.Step) -> SegmentPlan:
    source = item.source.name if item.source else HBM
    by = item.via.name if isinstance(item.via, Layout) else item.via
    via = ", packed" if isinstance(by, Packed) else f" via {by}" if by else ""
    step = StepPlan(item.storage.name, "convert", (item.storage.name,),
                    f"{source} to {item.target.name}{via}", None)  # fmt: skip
    return SegmentPlan(
        name=term.name,
        kind="conversion",
        loops=(),
        streamed=None,
        steps=(step,),
        loads=() if item.source else (item.storage.name,),
        stores=(),
        ns=term.ns,
        overhead_ns=term.overhead_ns,
        busy=dict(term.busy),
        sbuf_bytes=term.sbuf_bytes,
        hbm_bytes=term.hbm_bytes,
    )


def _value(storage: Storage, schedule: Schedule, report: solver.Report) -> ValuePlan:
    chosen = {(d.value, d.axis): d for d in report.dims}
    layouts = schedule.kept.get(storage, ())
    dims = []
    for axis in storage.axes:
        found = chosen.get((storage.name, axis.name))
        role, tile = (found.role, found.tile) if found else ("F", axis.extent)
        dims.append(DimPlan(axis.name, axis.extent, role, tile))
    return ValuePlan(
        name=storage.name,
        kind=storage.kind,
        dtype=storage.dtype.value,
        shape=storage.shape,
        location=_location(storage, schedule),
        layouts=tuple(sorted(layouts)),
        bytes=storage.size_bytes,
        dims=tuple(dims),
    )


def _location(storage: Storage, schedule: Schedule) -> str:
    in_hbm = storage.kind in ("input", "output") or storage in schedule.stored
    if schedule.kept.get(storage):
        return "sbuf+hbm" if in_hbm else "sbuf"
    if in_hbm:
        return HBM
    return "psum" if storage in _drained(schedule) else "tile"


def _is_drained(segment: Segment, position: int) -> bool:
    last = position + 1 == len(segment.steps)
    return not last and drained_matmul(segment, position + 1) is not None


def _drained(schedule: Schedule) -> set[Storage]:
    """Matmul results that never leave PSUM as such."""
    return {
        item.steps[position].write.storage
        for item in schedule.items
        if isinstance(item, Segment)
        for position in range(len(item.steps))
        if stays_in_psum(item, position) or _is_drained(item, position)
    }
