"""From an axis program to the solver's problem, and from its solution to a schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import solver
from cost_models import Target
from nkigen_lite.errors import NoPlan
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.tensor_ir.passes.axes import Program, Storage
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import cuts_of
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import can_convert
from nkigen_lite.tensor_ir.passes.layout_solver.bench import Bench
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import (
    Choice,
    can_be_kept,
    chains,
    choices_of_chain,
    choices_of_unit,
)
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA, Cost
from nkigen_lite.tensor_ir.passes.layout_solver.roles import roles_of
from nkigen_lite.tensor_ir.passes.layout_solver.units import Unit, units_of
from nkigen_lite.tensor_ir.passes.schedule import (
    ALL,
    HBM,
    ROW,
    Conversion,
    Layout,
    Port,
    Segment,
    free_elements,
    read_layout,
    write_layout,
)

FREE = solver.Transfer(busy={}, overhead_ns=0, hbm_bytes=0, sbuf_bytes=0, instructions=0, dmas=0)
_STREAM_SHARE = 0.8  # of SBUF: what the tiles of one segment may take; the rest is for scratch
_EPILOGUE = 3  # units in a fused run that begins with a matmul and keeps nothing large inside
_WORTH_CUTTING = 0.03  # of its time that a segment has to gain by another stage
MOST_CUTS = 3
_LARGE_SHARE = 0.1  # of SBUF: a value beyond it is worth never holding whole


@dataclass(eq=False, slots=True)
class PortInfo:
    """One boundary of a choice in the schedule's terms."""

    storage: Storage
    layout: Layout
    keepable: bool
    via: Layout | None = None
    cost: solver.Transfer | None = None

    @property
    def name(self) -> str:
        """The layout's name in the problem; one that cannot be kept has a name of its own."""
        return self.layout.name if self.keepable else self.layout.name + "~"


@dataclass(eq=False, slots=True)
class Priced:
    """A choice with its ports and its solver candidate."""

    choice: Choice
    reads: list[PortInfo]
    writes: list[PortInfo]
    candidate: solver.Candidate
    cuts: tuple[int, ...]


@dataclass(eq=False)
class Planner:
    """Builds the problem of a program on a target, and turns solutions into schedules."""

    program: Program
    target: Target
    units: list[Unit] = field(init=False)
    priced: dict[str, Priced] = field(default_factory=dict)
    conversions: dict[tuple[str, str, str], Conversion] = field(default_factory=dict)
    bench: Bench = field(init=False)
    _transfers: dict[object, tuple[solver.Transfer, Layout | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.units = units_of(self.program)
        self.bench = Bench(self.target)
        self.consumers: dict[Storage, list[Unit]] = {}
        for unit in self.units:
            for storage in unit.read:
                self.consumers.setdefault(storage, []).append(unit)

    @property
    def limits(self) -> Limits:
        return Limits.of(self.target)

    # --- the problem -----------------------------------------------------------------------------

    def problem(self) -> solver.Problem:
        """Every candidate, value and conversion of the program, priced.

        Raises:
            NoPlan: a step has no implementation whose tiles fit.
        """
        budget = int(self.limits.sbuf_bytes * _STREAM_SHARE)
        for choice in self.choices(budget):
            self.price(choice)
        self.require_all()
        values = [self.value(s) for s in self.program.storages if s.kind != "constant"]
        return solver.Problem(
            name=self.program.name,
            ops=tuple(u.name for u in self.units),
            values=tuple(values),
            candidates=tuple(p.candidate for p in self.priced.values()),
            conversions=tuple(self.priced_conversions(values)),
            sbuf_limit_bytes=self.limits.sbuf_bytes,
            psum_limit_banks=self.limits.psum_banks,
        )

    def choices(self, budget: int) -> Iterator[Choice]:
        for unit in self.units:
            yield from choices_of_unit(unit, budget)
        for chain in chains(self.units):
            if self.pays(chain):
                yield from choices_of_chain(chain, budget)

    def pays(self, chain: tuple[Unit, ...]) -> bool:
        """Whether fusing a run can win: a matmul drains through what follows it, or some value
        inside is too large to be kept whole beside others."""
        matmuls = [i for i, u in enumerate(chain) if u.steps[0].kind == "matmul"]
        if matmuls == [0] and len(chain) <= _EPILOGUE:
            return True
        if len(matmuls) > 1 and (matmuls[0] > 0 or len(chain) - matmuls[-1] > _EPILOGUE):
            return False
        inside = [u.written for u in chain[:-1]]
        return any(
            s.size_bytes > _LARGE_SHARE * self.limits.sbuf_bytes * self.limits.partitions
            for s in inside
        )

    def require_all(self) -> None:
        covered = {c.candidate.ops[0] for c in self.priced.values() if len(c.candidate.ops) == 1}
        for unit in self.units:
            if unit.name not in covered:
                step = unit.steps[-1]
                where = f"\n  at {step.loc}" if step.loc else ""
                raise NoPlan(
                    f"{step.op.opcode if step.op else step.kind}: no tiling of {step!r} fits "
                    f"{self.limits.sbuf_bytes} bytes of sbuf per partition and "
                    f"{self.limits.psum_banks} psum banks on {self.target.name}{where}"
                )

    def price(self, choice: Choice) -> None:
        """Lower the choice, measure it, and note its candidate if it fits the hardware."""
        reads, writes = self.ports(choice)
        segment = choice.segment("candidate")
        for info in (*reads, *writes):
            side = segment.reads if info in reads else segment.writes
            side[info.storage, info.layout.name] = Port(info.layout, not info.keepable)
        whole = self.bench.segment(segment)
        if not self.fits(whole):
            return
        for info in reads:
            info.cost, info.via = self.best_load(choice, segment, info)
        for info in writes:
            info.cost, info.via = self.best_store(choice, segment, info)
        segment.cuts = self.best_cuts(segment, reads, writes)
        if segment.cuts:
            whole = self.bench.segment(segment)
        # Loads that cannot be left out were measured with the whole; they belong to their ports.
        loads = [self.transfer_of(segment, i, "read") for i in reads if not i.keepable]
        tiles = [i.cost for i in writes if not i.keepable and i.cost]
        busy = whole.busy_ns
        for cost in loads:
            busy = {r: max(0, ns - cost.busy.get(r, 0)) for r, ns in busy.items()}
        busy = {r: ns for r, ns in busy.items() if ns}
        overhead = self.overheads(segment, whole, busy, reads, writes)
        name = self.name_of(choice)
        candidate = solver.Candidate(
            name=name,
            ops=tuple(u.name for u in choice.units),
            reads=tuple(solver.Port(i.storage.name, i.name, i.cost) for i in reads),
            writes=tuple(solver.Port(i.storage.name, i.name, i.cost) for i in writes),
            busy=busy,
            overhead_ns=overhead,
            sbuf_bytes=max(0, whole.sbuf_bytes - sum(c.sbuf_bytes for c in (*loads, *tiles))),
            psum_banks=whole.psum_banks,
            instructions=whole.instructions - sum(c.instructions for c in loads),
            dims=tuple(roles_of(choice)),
        )
        self.priced[name] = Priced(choice, reads, writes, candidate, segment.cuts)

    def best_cuts(
        self, segment: Segment, reads: Sequence[PortInfo], writes: Sequence[PortInfo]
    ) -> tuple[int, ...]:
        """Where to cut the steps into stages of overlapping iterations: one cut after the other,
        each where it makes the simulated time of the segment least, as long as that pays."""
        best: tuple[int, ...] = ()
        cuts = cuts_of(segment)
        if not cuts:
            return best
        cost = self.streamed(segment, reads, writes)
        least = cost.simulated_ns
        while len(best) < MOST_CUTS and _fill(least, cost.busy_ns) > _WORTH_CUTTING * least:
            found: dict[tuple[int, ...], float] = {}
            for cut in cuts:
                if cut not in best:
                    segment.cuts = tuple(sorted((*best, cut)))
                    cost = self.streamed(segment, reads, writes)
                    if self.fits(cost):
                        found[segment.cuts] = cost.simulated_ns
            tried = min(found, key=lambda cuts: found[cuts], default=())
            if not found or found[tried] > (1 - _WORTH_CUTTING) * least:
                break
            best, least = tried, found[tried]
        return best

    def streamed(
        self, segment: Segment, reads: Sequence[PortInfo], writes: Sequence[PortInfo]
    ) -> Cost:
        """What the segment costs with every port to and from HBM."""
        before = dict(segment.reads), dict(segment.writes), segment.stored
        for info in (*reads, *writes):
            side = segment.reads if info in reads else segment.writes
            side[info.storage, info.layout.name] = Port(info.layout, True, info.via)
        segment.stored = frozenset(i.storage for i in writes)
        cost = self.bench.segment(segment)
        segment.reads, segment.writes, segment.stored = before
        return cost

    def overheads(
        self,
        segment: Segment,
        whole: Cost,
        busy: dict[str, int],
        reads: Sequence[PortInfo],
        writes: Sequence[PortInfo],
    ) -> int:
        """What filling and draining the segment's pipeline costs beyond its busiest resource.

        It is what the simulated time of the segment on its own has over the closed form: with
        everything kept in SBUF it is the candidate's (returned), and what streaming all ports adds
        is spread over them.
        """
        ports = [info for info in (*reads, *writes) if info.cost is not None]
        kept = _fill(whole.simulated_ns, busy)
        if not any(info.cost and info.cost.dmas for info in ports):
            return kept
        streamed = self.streamed(segment, reads, writes)
        total = dict(busy)
        for info in ports:
            for resource, ns in info.cost.busy.items() if info.cost else ():
                total[resource] = total.get(resource, 0) + ns
        added = _fill(streamed.simulated_ns, total) - kept
        for info in ports:
            assert info.cost is not None
            share = max(0, added) // len(ports)
            info.cost = replace(info.cost, overhead_ns=info.cost.overhead_ns + share)
        return kept + min(0, added)

    def fits(self, cost: Cost) -> bool:
        limits = self.limits
        return cost.psum_banks <= limits.psum_banks and cost.sbuf_bytes <= limits.sbuf_bytes

    def name_of(self, choice: Choice) -> str:
        first, last = choice.units[0].name, choice.units[-1].name
        label = first if first == last else f"{first}..{last}"
        return f"{label}#{sum(1 for p in self.priced if p.startswith(label + '#'))}"

    def ports(self, choice: Choice) -> tuple[list[PortInfo], list[PortInfo]]:
        """What the choice reads and writes across its boundary."""
        made = {u.written for u in choice.units}
        reads: dict[tuple[Storage, str], PortInfo] = {}
        writes: dict[Storage, PortInfo] = {}
        for step, impl in zip(choice.steps, choice.impls, strict=True):
            fixed = step.kind == "hbm_copy"
            for position, view in enumerate(step.reads):
                storage = view.storage
                if storage.kind == "constant" or storage in made:
                    continue
                layout = read_layout(step, impl, position)
                keepable = not fixed and can_be_kept(view, layout)
                info = reads.setdefault((storage, layout.name), PortInfo(storage, layout, keepable))
                info.keepable &= keepable
            if self.crosses(step.write.storage, choice):
                layout = write_layout(step, impl)
                keepable = not fixed and can_be_kept(step.write, layout)
                info = writes.setdefault(
                    step.write.storage, PortInfo(step.write.storage, layout, keepable)
                )
                info.keepable &= keepable
        return list(reads.values()), list(writes.values())

    def crosses(self, storage: Storage, choice: Choice) -> bool:
        inside = set(choice.units)
        used_outside = any(u not in inside for u in self.consumers.get(storage, ()))
        return storage.kind == "output" or used_outside

    # --- transfers -------------------------------------------------------------------------------

    def best_load(
        self, choice: Choice, segment: Segment, info: PortInfo
    ) -> tuple[solver.Transfer, Layout | None]:
        """The cheapest way to stream a read: straight, or loaded otherwise and transposed."""
        if choice.steps[0].kind == "hbm_copy":
            return FREE, None
        key = self.load_key(choice, info)
        if key not in self._transfers:
            ways: list[tuple[solver.Transfer, Layout | None]] = []
            for via in (None, *self.vias(info)):
                ways.append((self.transfer_of(segment, info, "read", via), via))
            room = _STREAM_SHARE * self.limits.sbuf_bytes
            fitting = [way for way in ways if way[0].sbuf_bytes <= room]
            self._transfers[key] = min(fitting or ways[:1], key=lambda way: _weight(way[0]))
        return self._transfers[key]

    def best_store(
        self, choice: Choice, segment: Segment, info: PortInfo
    ) -> tuple[solver.Transfer, Layout | None]:
        """The cheapest way to store a write: as it lies, or transposed before."""
        whole = all(s.write.is_whole for s in choice.steps if s.write.storage is info.storage)
        vias = [None, *(self.vias(info) if whole else [])]
        ways = [(self.transfer_of(segment, info, "write", via), via) for via in vias]
        return min(ways, key=lambda way: _weight(way[0]))

    def load_key(self, choice: Choice, info: PortInfo) -> object:
        views = tuple(v.coords for s in choice.steps for v in s.reads if v.storage is info.storage)
        axes = {c.axis for coords in views for c in coords}
        loops = choice.shape.loops
        deep = max((i + 1 for i, p in enumerate(loops) if p.axis in axes), default=0)
        inner = deep == len(loops), choice.shape.outer_copies
        return info.storage, info.layout, views, loops[:deep], choice.shape.stream, inner

    def vias(self, info: PortInfo) -> list[Layout]:
        """Layouts to load in when the wanted one means short DMA runs."""
        axes = info.storage.axes
        if info.layout == ALL:
            return [ROW] if can_convert(info.storage.dtype, ROW, ALL) and axes else []
        last = axes[-1] if axes else None
        if info.layout.partition is None or info.layout.partition != last:
            return []
        others = sorted(axes[:-1], key=lambda a: -min(a.extent, 128))[:1]
        layouts = [Layout.on(a) for a in others] or [ROW]
        return [v for v in layouts if can_convert(info.storage.dtype, v, info.layout)]

    def transfer_of(
        self, segment: Segment, info: PortInfo, side: str, via: Layout | None = None
    ) -> solver.Transfer:
        if segment.steps[0].kind == "hbm_copy":
            return FREE
        ports = segment.reads if side == "read" else segment.writes
        key = (info.storage, info.layout.name)
        port = ports[key]
        ports[key] = Port(info.layout, True, via)
        cost = self.bench.segment(segment, (*key, side))
        ports[key] = port
        # A load that waits for a store holds up the loads queued behind it.
        inside = info.storage.kind not in ("input", "output")
        return _transfer(cost, math.ceil(cost.latency.get(DMA, 0.0)) if inside else 0)

    # --- values and conversions ------------------------------------------------------------------

    def value(self, storage: Storage) -> solver.Value:
        producer = next((u.name for u in self.units if u.written is storage), None)
        layouts: dict[str, Layout] = {}
        for priced in self.priced.values():
            for info in (*priced.reads, *priced.writes):
                if info.storage is storage and info.keepable:
                    layouts[info.layout.name] = info.layout
        size = storage.dtype.itemsize
        resident = {
            name: max(1, free_elements(storage.axes, layout, {})) * size
            for name, layout in sorted(layouts.items())
        }
        return solver.Value(
            name=storage.name,
            producer=producer,
            consumers=tuple(u.name for u in self.consumers.get(storage, ())),
            output=storage.kind == "output",
            resident_bytes={n: b for n, b in resident.items() if b <= self.limits.sbuf_bytes},
        )

    def priced_conversions(self, values: Sequence[solver.Value]) -> Iterator[solver.Conversion]:
        """Ways to have a value in a layout that its producer does not make."""
        storages = {s.name: s for s in self.program.storages}
        for value in values:
            made, wanted = self.layouts_at(storages[value.name])
            kept = [layout for name, layout in made.items() if name in value.resident_bytes]
            sources: list[Layout | None] = [None] if value.producer is None else [*kept]
            for source in sources:
                for name, target in wanted.items():
                    if name in value.resident_bytes and source != target:
                        yield from self.conversion(storages[value.name], source, target)

    def layouts_at(self, storage: Storage) -> tuple[dict[str, Layout], dict[str, Layout]]:
        made: dict[str, Layout] = {}
        wanted: dict[str, Layout] = {}
        for priced in self.priced.values():
            for infos, found in ((priced.writes, made), (priced.reads, wanted)):
                for info in infos:
                    if info.storage is storage and info.keepable:
                        found[info.layout.name] = info.layout
        return made, wanted

    def conversion(
        self, storage: Storage, source: Layout | None, target: Layout
    ) -> Iterator[solver.Conversion]:
        if source is not None and not can_convert(storage.dtype, source, target):
            return
        vias = self.vias(PortInfo(storage, target, True)) if source is None else []
        ways = [Conversion(storage, source, target, via) for via in (None, *vias)]
        costs = [self.bench.conversion(item) for item in ways]
        item, cost = min(zip(ways, costs, strict=True), key=lambda w: sum(w[1].busy.values()))
        whole = max(1, free_elements(storage.axes, target, {})) * storage.dtype.itemsize
        made = _transfer(cost, _fill(cost.simulated_ns, cost.busy_ns))
        name = source.name if source else HBM
        self.conversions[storage.name, name, target.name] = item
        yield solver.Conversion(
            value=storage.name,
            source=name,
            target=target.name,
            cost=replace(made, sbuf_bytes=max(0, made.sbuf_bytes - whole)),
        )


def _weight(transfer: solver.Transfer) -> int:
    """How dear a transfer is when it is not known what it overlaps with: its DMA time first."""
    return transfer.busy.get(DMA, 0) + sum(transfer.busy.values()) + transfer.overhead_ns


def _fill(simulated_ns: float, busy: Mapping[str, int]) -> int:
    """What a simulated time has over the busiest resource."""
    return max(0, math.ceil(simulated_ns) - max(busy.values(), default=0))


def _transfer(cost: Cost, overhead_ns: int) -> solver.Transfer:
    return solver.Transfer(
        busy=cost.busy_ns,
        overhead_ns=overhead_ns,
        hbm_bytes=cost.hbm_bytes,
        sbuf_bytes=cost.sbuf_bytes,
        instructions=cost.instructions,
        dmas=cost.dmas,
    )
