"""From an axis program to the solver's problem."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import solver
from cost_models import Target
from nkigen_lite.errors import NoPlan
from nkigen_lite.tensor_ir.passes.axes import Program, Storage
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import can_convert
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import (
    Choice,
    choices_of_chain,
    choices_of_unit,
)
from nkigen_lite.tensor_ir.passes.layout_solver.forked import Forked
from nkigen_lite.tensor_ir.passes.layout_solver.memory import Figures
from nkigen_lite.tensor_ir.passes.layout_solver.ports import PortInfo, resident_bytes, transfer_of
from nkigen_lite.tensor_ir.passes.layout_solver.priced import Priced
from nkigen_lite.tensor_ir.passes.layout_solver.pricer import PACKING_GAIN, Pricer
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA, Cost
from nkigen_lite.tensor_ir.passes.layout_solver.runs import Run, Runs
from nkigen_lite.tensor_ir.passes.layout_solver.units import Unit, units_of
from nkigen_lite.tensor_ir.passes.schedule import BY_DMA, HBM, Conversion, Layout, Via

_STREAM_SHARE = 0.8  # of SBUF: what the tiles of one segment may take; the rest is for scratch
_PASSING_NS = 40_000  # of loads that are done before a segment for later ones: room is limited
_HIDDEN = 0.5  # of the wait for a load of what is stored early; by comparing plans of small kernels

Asked = tuple[int, int, float]
"""A choice to be priced: the place of its run, its own among the choices for that, and what is
enough."""
Found = tuple[Figures | None, Mapping[object, Cost]]


@dataclass(eq=False)
class Planner:
    """Builds the problem of a program on a target, and turns solutions into schedules."""

    program: Program
    target: Target
    units: list[Unit] = field(init=False)
    priced: dict[str, Priced] = field(default_factory=dict)
    conversions: dict[tuple[str, str, str], Conversion] = field(default_factory=dict)
    pricer: Pricer = field(init=False)
    runs: Runs = field(init=False)

    def __post_init__(self) -> None:
        self.units = units_of(self.program)
        self.consumers: dict[Storage, list[Unit]] = {}
        for unit in self.units:
            for storage in unit.read:
                self.consumers.setdefault(storage, []).append(unit)
        self._places = {unit.name: place for place, unit in enumerate(self.units)}
        self._made = {unit.written.name: place for place, unit in enumerate(self.units)}
        self.pricer = Pricer(self.target, self.consumers)
        self.limits = self.pricer.limits
        self.runs = Runs(self.units, self.consumers, self.limits)
        self._choices: dict[Run, list[Choice]] = {}
        self._ports: dict[Storage, list[PortInfo]] = {}  # those that can be kept

    # --- the problem -----------------------------------------------------------------------------

    def problem(self, processes: int = 1) -> solver.Problem:
        """Every candidate, value and conversion of the program, priced, in up to so many processes:
        that changes how long it takes and nothing else.

        Raises:
            NoPlan: a step has no implementation whose tiles fit.
        """
        self.price_all(processes)
        self.require_all()
        for priced in self.priced.values():
            for info in priced.ports:
                if info.keepable:
                    self._ports.setdefault(info.storage, []).append(info)
        values = [self.value(s) for s in self.program.storages if s.kind != "constant"]
        return solver.Problem(
            name=self.program.name,
            ops=tuple(u.name for u in self.units),
            values=tuple(values),
            candidates=tuple(map(self.placed, self.priced.values())),
            conversions=tuple(self.priced_conversions(values)),
            sbuf_limit_bytes=self.limits.sbuf_bytes,
            psum_limit_banks=self.limits.psum_banks,
            prefetch=DMA,
            passing_ns=_PASSING_NS,
        )

    def price_all(self, processes: int = 1) -> None:
        """Note the candidates of all runs that are worth it, longer ones first: no fused part of a
        run that fits the hardware with all its ports streamed is to move a large value that stays
        inside that."""
        found: dict[Run, list[Priced]] = {}
        fused: set[Run] = set()
        with closing(Forked(self.figures, processes)) as forked:
            for wave in self.runs.waves():
                longer = {run: self.runs.longer(run) for run in wave}
                whole = {
                    run: [r for r in longer[run] if r in fused] for run in wave if len(run) > 1
                }
                wave = [
                    run
                    for run in wave
                    if not any(self.runs.splits(run, w) for w in whole.get(run, ()))
                ]
                enough = {
                    run: self.enough_ns(run, [p for r in longer[run] for p in found.get(r, ())])
                    for run in wave
                }
                self.work_out(forked, enough)
                for run in wave:
                    found[run] = self.price_run(run, enough[run])
                    if any(_streams(p.candidate, self.limits.sbuf_bytes) for p in found[run]):
                        fused.add(run)
        for run in self.runs.listed:
            self.priced |= {p.candidate.name: p for p in found.get(run, ())}

    def work_out(self, forked: Forked[Asked, Found], enough: Mapping[Run, float]) -> None:
        """Have the figures of the choices for some runs worked out, once for each structure."""
        memory, asked = self.pricer.memory, dict[object, Asked]()
        for run, enough_ns in enough.items():
            at = self.runs.place[run]
            for nth, choice in enumerate(self.choices(run)):
                key = self.pricer.key(choice, enough_ns)
                if key not in memory.choices:
                    asked.setdefault(key, (at, nth, enough_ns))
        found = forked.map(list(asked.values()))
        for key, (figures, conversions) in zip(asked, found, strict=True):
            memory.choices[key] = figures
            memory.conversions.update(conversions)

    def figures(self, asked: Asked) -> Found:
        """The figures of a choice, and what conversions that were priced on the way cost."""
        at, nth, enough_ns = asked
        known = self.pricer.memory.conversions
        before = set(known)
        found = self.pricer.figures(self.choices(self.runs.listed[at])[nth], enough_ns)
        return found, {key: cost for key, cost in known.items() if key not in before}

    def price_run(self, run: Run, enough_ns: float) -> list[Priced]:
        """The choices for a run that fit the hardware, as candidates."""
        first, last = run[0].name, run[-1].name
        label = first if first == last else f"{first}..{last}"
        found: list[Priced] = []
        for choice in self.choices(run):
            priced = self.pricer.price(choice, f"{label}#{len(found)}", enough_ns)
            if priced is not None:
                found.append(priced)
        return found

    def choices(self, run: Run) -> list[Choice]:
        """All choices for a run."""
        if run not in self._choices:
            budget = int(self.limits.sbuf_bytes * _STREAM_SHARE)
            fused = len(run) > 1
            made = choices_of_chain(run, budget) if fused else choices_of_unit(run[0], budget)
            self._choices[run] = list(made)
        return self._choices[run]

    def placed(self, priced: Priced) -> solver.Candidate:
        """A candidate with the waits that it has at its place in the program.

        Segments are priced as if the one before had stored what they load. What was stored earlier
        is loaded while that still runs, as far as loads ahead of it are not held up. And only at
        the end does nothing run while they store.
        """
        candidate, last = priced.candidate, self.units[-1].name
        before, dma = self._places[candidate.ops[0]] - 1, self.target.dma

        def read(port: solver.Port) -> solver.Port:
            if port.hbm is None or self._made.get(port.value, before) >= before:
                return port
            trip_ns = port.hbm.busy.get(DMA, 0) + dma.first_byte_load_ns + dma.completion_ns
            hidden_ns = int(_HIDDEN * min(port.hbm.wait_ns, trip_ns))
            return replace(port, hbm=replace(port.hbm, wait_ns=port.hbm.wait_ns - hidden_ns))

        wait_ns = candidate.wait_ns + (priced.store_ns if last in candidate.ops else 0)
        return replace(candidate, reads=tuple(map(read, candidate.reads)), wait_ns=wait_ns)

    def enough_ns(self, run: Run, longer: Sequence[Priced]) -> float:
        """What a run need not take, as a longer one takes no more; nothing, if that has as many
        matmuls, and takes results out of PSUM with what comes next at no cost."""
        products = _products(run)
        if products > 1 and any(_products(p.choice.units) == products for p in longer):
            return 0.0
        return min((p.streamed_ns for p in longer), default=math.inf)

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

    # --- values and conversions ------------------------------------------------------------------

    def value(self, storage: Storage) -> solver.Value:
        producer = next((u.name for u in self.units if u.written is storage), None)
        layouts = {info.layout.name: info.layout for info in self._ports.get(storage, ())}
        resident = {n: resident_bytes(storage, layout) for n, layout in sorted(layouts.items())}
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
        """The layouts in which a storage is made and wanted, by their names."""
        made, wanted = (
            {i.layout.name: i.layout for i in self._ports.get(storage, ()) if i.side == side}
            for side in ("write", "read")
        )
        return made, wanted

    def conversion(
        self, storage: Storage, source: Layout | None, target: Layout
    ) -> Iterator[solver.Conversion]:
        if source is not None and not can_convert(storage.dtype, source, target):
            return
        info = PortInfo(storage, target, "read", True)
        vias: list[Via] = [*self.pricer.vias(info)] if source is None else []
        if source is None and self.pricer.turns_by_dma(info):
            vias.append(BY_DMA)
        ways = [Conversion(storage, source, target, via) for via in (None, *vias)]
        costs = [self.pricer.cost_of_conversion(item) for item in ways]
        item, cost = min(zip(ways, costs, strict=True), key=lambda w: sum(w[1].busy.values()))
        packed = self.pricer.packed(info, {}) if source is None else None
        if packed is not None:
            way = Conversion(storage, None, target, packed)
            found = self.pricer.cost_of_conversion(way)
            if found.simulated_ns < (1 - PACKING_GAIN) * cost.simulated_ns:
                item, cost = way, found
        whole = resident_bytes(storage, target)
        most_ns = max(cost.busy_ns.values(), default=0)
        waits_ns = max(0, math.ceil(cost.simulated_ns - most_ns))
        made = transfer_of(cost, waits_ns if source else 0)
        if source is None:
            # Nothing that the plan computes holds up a load, but what is done with it once loaded.
            early_ns = max(0, most_ns - cost.computing_ns)
            made = replace(made, early_ns=early_ns, fill_ns=waits_ns)
        name = source.name if source else HBM
        self.conversions[storage.name, name, target.name] = item
        yield solver.Conversion(
            value=storage.name,
            source=name,
            target=target.name,
            cost=replace(made, sbuf_bytes=max(0, made.sbuf_bytes - whole)),
        )


def _rows(storage: Storage) -> int:
    """How many rows a value has: what its last axis does not count."""
    return math.prod(axis.extent for axis in storage.axes[:-1])


def _products(units: Sequence[Unit]) -> int:
    return sum(unit.steps[0].kind == "matmul" for unit in units)


def _streams(candidate: solver.Candidate, sbuf_bytes: int) -> bool:
    """Whether there is room for a candidate beside tiles of all that it reads and writes."""
    ports = (*candidate.reads, *candidate.writes)
    tiles = sum(port.hbm.sbuf_bytes for port in ports if port.hbm is not None)
    return candidate.sbuf_bytes + tiles <= sbuf_bytes
