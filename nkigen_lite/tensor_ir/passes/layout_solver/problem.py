"""From an axis program to the solver's problem."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import solver
from cost_models import Target
from nkigen_lite.errors import NoPlan
from nkigen_lite.tensor_ir.passes.axes import Program, Storage
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import can_convert
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import (
    Choice,
    chains,
    choices_of_chain,
    choices_of_unit,
)
from nkigen_lite.tensor_ir.passes.layout_solver.ports import PortInfo, resident_bytes, transfer_of
from nkigen_lite.tensor_ir.passes.layout_solver.priced import Priced
from nkigen_lite.tensor_ir.passes.layout_solver.pricer import Pricer
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA
from nkigen_lite.tensor_ir.passes.layout_solver.units import Unit, units_of
from nkigen_lite.tensor_ir.passes.schedule import BY_DMA, HBM, Conversion, Layout, Via

_STREAM_SHARE = 0.8  # of SBUF: what the tiles of one segment may take; the rest is for scratch
_PASSING_NS = 10_000  # of loads that are done before a segment for later ones: room is limited
_HIDDEN = 0.5  # of the wait for such a load, on average; by comparing plans of small kernels
_EPILOGUE = 3  # units in a fused run that begins with a matmul and keeps nothing large inside
_LARGE_SHARE = 0.1  # of SBUF: a value beyond it is worth never holding whole


@dataclass(eq=False)
class Planner:
    """Builds the problem of a program on a target, and turns solutions into schedules."""

    program: Program
    target: Target
    units: list[Unit] = field(init=False)
    priced: dict[str, Priced] = field(default_factory=dict)
    conversions: dict[tuple[str, str, str], Conversion] = field(default_factory=dict)
    pricer: Pricer = field(init=False)

    def __post_init__(self) -> None:
        self.units = units_of(self.program)
        self.consumers: dict[Storage, list[Unit]] = {}
        for unit in self.units:
            for storage in unit.read:
                self.consumers.setdefault(storage, []).append(unit)
        self.pricer = Pricer(self.target, self.consumers)
        self.limits = self.pricer.limits

    # --- the problem -----------------------------------------------------------------------------

    def problem(self) -> solver.Problem:
        """Every candidate, value and conversion of the program, priced.

        Raises:
            NoPlan: a step has no implementation whose tiles fit.
        """
        budget = int(self.limits.sbuf_bytes * _STREAM_SHARE)
        fused: list[tuple[Unit, ...]] = []
        for chain in sorted(chains(self.units), key=len, reverse=True):
            worth = self.pays(chain) and not any(self.splits(chain, longer) for longer in fused)
            if worth and self.price_all(chain, choices_of_chain(chain, budget)):
                fused.append(chain)
        for unit in self.units:
            self.price_all((unit,), choices_of_unit(unit, budget))
        self.require_all()
        values = [self.value(s) for s in self.program.storages if s.kind != "constant"]
        return solver.Problem(
            name=self.program.name,
            ops=tuple(u.name for u in self.units),
            values=tuple(values),
            candidates=tuple(self.apart(p.candidate) for p in self.priced.values()),
            conversions=tuple(self.priced_conversions(values)),
            sbuf_limit_bytes=self.limits.sbuf_bytes,
            psum_limit_banks=self.limits.psum_banks,
            prefetch=DMA,
            passing_ns=_PASSING_NS,
        )

    def price_all(self, units: tuple[Unit, ...], choices: Iterable[Choice]) -> int:
        """Note the candidates of choices for some units; how many fit the hardware with all that
        they read and write streamed."""
        rivals: list[Priced] = []
        longer = [p for p in self.priced.values() if set(units) < set(p.choice.units)]
        enough_ns = min((p.streamed_ns for p in longer), default=math.inf)
        if _products(units) > 1 and any(
            _products(p.choice.units) == _products(units) for p in longer
        ):
            # The longer run takes results out of PSUM with what comes next, at no cost.
            enough_ns = 0.0
        for choice in choices:
            priced = self.pricer.price(choice, self.name_of(choice), rivals, enough_ns)
            if priced is not None:
                rivals.append(priced)
                if _streams(priced.candidate, self.limits.sbuf_bytes):
                    enough_ns = min(enough_ns, priced.anywhere_ns)
                self.priced[priced.candidate.name] = priced
        return sum(_streams(priced.candidate, self.limits.sbuf_bytes) for priced in rivals)

    def name_of(self, choice: Choice) -> str:
        first, last = choice.units[0].name, choice.units[-1].name
        label = first if first == last else f"{first}..{last}"
        return f"{label}#{sum(1 for p in self.priced if p.startswith(label + '#'))}"

    def pays(self, chain: tuple[Unit, ...]) -> bool:
        """Whether fusing a run can win: a matmul drains through what follows it, or some value
        inside is too large to be kept whole beside others."""
        matmuls = [i for i, u in enumerate(chain) if u.steps[0].kind == "matmul"]
        if matmuls == [0] and len(chain) <= _EPILOGUE:
            return True
        if len(matmuls) > 1 and (matmuls[0] > 0 or len(chain) - matmuls[-1] > _EPILOGUE):
            return False
        return any(self.is_large(u.written) for u in chain[:-1])

    def is_large(self, storage: Storage) -> bool:
        """Whether a value takes so much of SBUF that it is worth never holding whole."""
        room = self.limits.sbuf_bytes * self.limits.partitions
        return storage.size_bytes > _LARGE_SHARE * room

    def splits(self, chain: tuple[Unit, ...], longer: tuple[Unit, ...]) -> bool:
        """Whether a run is part of a longer one and moves a large value that stays inside that."""
        if not set(chain) < set(longer):
            return False
        made = {u.written for u in chain}
        own = [u.written for u in longer if not self.leaves(u.written, longer)]
        return any(
            self.is_large(s) and (self.leaves(s, chain) if s in made else self.reads(s, chain))
            for s in own
        )

    def apart(self, candidate: solver.Candidate) -> solver.Candidate:
        """A candidate with less to wait for where it loads what is not made just before it.

        Segments are priced as if the one before had stored what they load. What was stored earlier
        is loaded while that still runs, as far as loads ahead of it are not held up.
        """
        places = {unit.name: place for place, unit in enumerate(self.units)}
        made = {unit.written.name: places[unit.name] for unit in self.units}
        before, dma = places[candidate.ops[0]] - 1, self.target.dma

        def read(port: solver.Port) -> solver.Port:
            if port.hbm is None or made.get(port.value, before) >= before:
                return port
            trip_ns = port.hbm.busy.get(DMA, 0) + dma.first_byte_load_ns + dma.completion_ns
            hidden_ns = int(_HIDDEN * min(port.hbm.wait_ns, trip_ns))
            return replace(port, hbm=replace(port.hbm, wait_ns=port.hbm.wait_ns - hidden_ns))

        return replace(candidate, reads=tuple(map(read, candidate.reads)))

    def leaves(self, storage: Storage, chain: tuple[Unit, ...]) -> bool:
        """Whether something outside a run needs what it makes."""
        outside = any(u not in chain for u in self.consumers.get(storage, ()))
        return outside or storage.kind == "output"

    def reads(self, storage: Storage, chain: tuple[Unit, ...]) -> bool:
        """Whether a run reads a storage."""
        return any(u in chain for u in self.consumers.get(storage, ()))

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
        layouts: dict[str, Layout] = {}
        for priced in self.priced.values():
            for info in priced.ports:
                if info.storage is storage and info.keepable:
                    layouts[info.layout.name] = info.layout
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
        info = PortInfo(storage, target, "read", True)
        vias: list[Via] = [*self.pricer.vias(info)] if source is None else []
        if source is None and self.pricer.turns_by_dma(info):
            vias.append(BY_DMA)
        ways = [Conversion(storage, source, target, via) for via in (None, *vias)]
        costs = [self.pricer.cost_of_conversion(item) for item in ways]
        item, cost = min(zip(ways, costs, strict=True), key=lambda w: sum(w[1].busy.values()))
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


def _products(units: Sequence[Unit]) -> int:
    return sum(unit.steps[0].kind == "matmul" for unit in units)


def _streams(candidate: solver.Candidate, sbuf_bytes: int) -> bool:
    """Whether there is room for a candidate beside tiles of all that it reads and writes."""
    ports = (*candidate.reads, *candidate.writes)
    tiles = sum(port.hbm.sbuf_bytes for port in ports if port.hbm is not None)
    return candidate.sbuf_bytes + tiles <= sbuf_bytes
