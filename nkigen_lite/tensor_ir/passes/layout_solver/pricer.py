"""From a choice to a solver candidate: lowered, priced op by op, and simulated on its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import solver
from cost_models import Target, dma_transposes
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.tensor_ir.passes.axes import Storage
from nkigen_lite.tensor_ir.passes.direct_lower.segment_buffers import PortKey
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import can_convert
from nkigen_lite.tensor_ir.passes.layout_solver.arrange import Arranger
from nkigen_lite.tensor_ir.passes.layout_solver.bench import Piece
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import Choice, can_be_kept
from nkigen_lite.tensor_ir.passes.layout_solver.engines import relieved
from nkigen_lite.tensor_ir.passes.layout_solver.memory import (
    Figures,
    Memory,
    layout_at,
    memory_of,
    place_of,
    structure_of,
    structure_of_conversion,
)
from nkigen_lite.tensor_ir.passes.layout_solver.ports import (
    PortInfo,
    resident_bytes,
    signature,
    solver_ports,
    transfer_of,
)
from nkigen_lite.tensor_ir.passes.layout_solver.priced import Priced, beaten
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA, Cost
from nkigen_lite.tensor_ir.passes.layout_solver.roles import roles_of
from nkigen_lite.tensor_ir.passes.layout_solver.rows import rows_copied
from nkigen_lite.tensor_ir.passes.layout_solver.units import Unit
from nkigen_lite.tensor_ir.passes.layout_solver.waits import Waits, undivided, waits_of
from nkigen_lite.tensor_ir.passes.schedule import (
    ALL,
    BY_DMA,
    ROW,
    Arrangement,
    Conversion,
    Layout,
    Segment,
    Via,
    moves_in_hbm,
    read_layout,
    write_layout,
)


@dataclass
class Pricer:
    """Prices choices on a target.

    Args:
        consumers: the units that read a storage.
    """

    target: Target
    consumers: Mapping[Storage, Sequence[Unit]]
    arranger: Arranger = field(init=False)
    limits: Limits = field(init=False)
    memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        self.memory = memory_of(self.target)
        self.memory.tidy()
        self.arranger = Arranger(self.target)
        self.limits = self.arranger.limits

    def price(
        self, choice: Choice, name: str, rivals: Sequence[Priced], enough_ns: float = math.inf
    ) -> Priced | None:
        """The choice as a candidate; None if it does not fit the hardware, or if one of its rivals,
        other ways to run the same units, is better whatever the rest of the plan.

        One that takes longer than ``enough_ns``, what a longer run or a rival and its neighbours
        take with all ports streamed, is priced as it is: no better way to run it is looked for.
        """
        ports = self.ports(choice)
        structure = structure_of(
            choice, [self.crosses(s.write.storage, choice) for s in choice.steps]
        )
        key = structure, enough_ns  # what is enough decides whether it is arranged
        if key in self.memory.choices:
            return _recalled(self.memory.choices[key], choice, name, ports, rivals)
        segment = choice.segment(name)
        for info in ports:
            info.via = self.best_via(choice, info)
        piece = self._lowered(segment, ports)
        if piece is None:
            self.memory.choices[key] = None
            return None
        for info in ports:
            info.cost = self._transfer(info, piece.port(info.key))
        busy_ns = relieved(piece, 2 * len(segment.steps))
        if beaten(busy_ns, piece.own.sbuf_bytes, ports, rivals):
            return None
        plain = tuple(info.cost for info in ports)
        own = piece.own
        arranged: Piece | None = piece
        can_win = self._least_ns(piece, ports) <= enough_ns
        if can_win:
            arranged = self._arranged(segment, ports, piece, rivals, enough_ns)
        if arranged is None:
            return None
        priced = self._priced(choice, name, ports, segment, arranged, divided=can_win)
        self.memory.choices[key] = _figures(priced, plain, busy_ns, own.sbuf_bytes)
        return priced

    def _priced(
        self,
        choice: Choice,
        name: str,
        ports: list[PortInfo],
        segment: Segment,
        piece: Piece,
        *,
        divided: bool,
    ) -> Priced:
        """The choice as its segment is run; ``divided`` tells whether to find out what of its time
        is due to its ports."""
        for info in ports:
            info.cost = self._transfer(info, piece.port(info.key))
        if divided:
            waits = waits_of(piece, ports, lambda some: self.arranger.lower(segment, ports, some))
        else:
            waits = undivided(piece, ports)
        for info, more in zip(ports, waits.ports, strict=True):
            info.cost = replace(
                info.cost,
                wait_ns=math.floor(more.wait_ns),
                fill_ns=math.ceil(more.fill_ns),
                start_ns=min(math.floor(more.start_ns), info.cost.early_ns),
            )
        return Priced(
            choice,
            ports,
            _candidate(choice, name, ports, piece, waits),
            segment.run,
            streamed_ns=piece.line.time_ns,
            kept_ns=waits.own_ns + max(piece.own.busy.values(), default=0.0),
        )

    def _arranged(
        self,
        segment: Segment,
        ports: Sequence[PortInfo],
        piece: Piece,
        rivals: Sequence[Priced],
        enough_ns: float,
    ) -> Piece | None:
        """The segment in the best way to run it; None if a rival is much faster than any."""
        alike = signature(ports)
        times = [r.streamed_ns for r in rivals if signature(r.ports) == alike]
        least_ns = min(times, default=math.inf)
        return self.arranger.arrange(segment, ports, piece, least_ns, enough_ns)

    def _least_ns(self, piece: Piece, ports: Sequence[PortInfo]) -> float:
        """What a segment takes at least: its busiest resource without what may be kept in SBUF."""
        total = dict(piece.own.busy)
        for info in ports:
            whole = resident_bytes(info.storage, info.layout)
            if not info.keepable or whole > self.limits.sbuf_bytes:
                for resource, ns in piece.port(info.key).busy.items():
                    total[resource] = total.get(resource, 0.0) + ns
        return max(total.values(), default=0.0)

    def _lowered(self, segment: Segment, ports: Sequence[PortInfo]) -> Piece | None:
        """The segment as it is, with what it transposes of its loads transposed by the DMA where
        that leaves the busiest resource less to do; None if it does not fit the hardware."""
        plain = self.arranger.plain(segment, ports)
        loaded = [i for i in ports if i.side == "read" and i.layout == ALL and i.via is None]
        rows = [i for i in loaded if self.vias(i)]
        plain = rows_copied(self.arranger, segment, ports, plain, rows)
        run = segment.run
        turned = [(i, i.via) for i in ports if i.via is not None and self.turns_by_dma(i)]
        if not turned:
            return plain
        for info, _ in turned:
            info.via = BY_DMA
        segment.run = Arrangement()
        by_dma = self.arranger.plain(segment, ports)
        if by_dma is not None and (plain is None or by_dma.busy_ns < plain.busy_ns):
            return by_dma
        segment.run = run
        for info, via in turned:
            info.via = via
        return plain

    # --- ports -----------------------------------------------------------------------------------

    def ports(self, choice: Choice) -> list[PortInfo]:
        """What the choice reads and writes across its boundary."""
        made = {u.written for u in choice.units}
        found: dict[PortKey, PortInfo] = {}
        for step, impl in zip(choice.steps, choice.impls, strict=True):
            views = [(v, read_layout(step, impl, i), "read") for i, v in enumerate(step.reads)]
            views = [v for v in views if v[0].storage not in made]
            if self.crosses(step.write.storage, choice):
                views.append((step.write, write_layout(step, impl), "write"))
            for view, layout, side in views:
                if view.storage.kind != "constant":
                    keepable = not moves_in_hbm(step, impl) and can_be_kept(view, layout)
                    info = PortInfo(view.storage, layout, side, keepable)
                    known = found.setdefault(info.key, info)
                    known.keepable &= keepable
        return sorted(found.values(), key=lambda info: info.side == "write")

    def crosses(self, storage: Storage, choice: Choice) -> bool:
        """Whether something outside the choice needs a storage that it writes."""
        inside = set(choice.units)
        used_outside = any(u not in inside for u in self.consumers.get(storage, ()))
        return storage.kind == "output" or used_outside

    def best_via(self, choice: Choice, info: PortInfo) -> Via | None:
        """The layout in which a port is best loaded or stored, None for the one wanted on chip:
        straight, or transposed on chip where that would mean short DMA runs.

        Judged by loading all of the value.
        """
        whole = all(s.write.is_whole for s in choice.steps if s.write.storage is info.storage)
        vias = self.vias(info) if info.side == "read" or whole else []
        if not vias:
            return None
        ways = [Conversion(info.storage, None, info.layout, via) for via in (None, *vias)]
        return min(ways, key=lambda item: self._weight_of_way(item)).via

    def _weight_of_way(self, item: Conversion) -> tuple[bool, float]:
        """How dear a way to load is when it is not known what it overlaps with: its DMA time first;
        none that takes a row of SBUF beside its result."""
        cost = self.cost_of_conversion(item)
        beside = cost.sbuf_bytes - resident_bytes(item.storage, item.target)
        dear = cost.busy.get(DMA, 0.0) + sum(cost.busy.values())
        return beside > self.limits.sbuf_bytes // 2, dear

    def cost_of_conversion(self, item: Conversion) -> Cost:
        """The cost of a conversion; of those between layouts that look alike, the first's."""
        known, key = self.memory.conversions, structure_of_conversion(item)
        if key not in known:
            known[key] = self.arranger.bench.conversion(item)
        return known[key]

    def turns_by_dma(self, info: PortInfo) -> bool:
        """Whether a DMA can transpose what it loads for a port: rows in HBM become columns."""
        axes = info.storage.axes
        return (
            info.side == "read"
            and dma_transposes(info.storage.dtype.itemsize)
            and len(axes) > 1
            and info.layout.partition == axes[-1]
        )

    def vias(self, info: PortInfo) -> list[Layout]:
        """Layouts to load or store in when the wanted one means short DMA runs."""
        axes = info.storage.axes
        if info.layout == ALL:
            return [ROW] if can_convert(info.storage.dtype, ROW, ALL) and axes else []
        last = axes[-1] if axes else None
        if info.layout.partition is None or info.layout.partition != last:
            return []
        others = sorted(axes[:-1], key=lambda a: -min(a.extent, 128))[:1]
        layouts = [Layout.on(a) for a in others] or [ROW]
        return [v for v in layouts if can_convert(info.storage.dtype, v, info.layout)]

    # --- costs -----------------------------------------------------------------------------------

    def _transfer(self, info: PortInfo, cost: Cost) -> solver.Transfer:
        if info.side == "write":
            return transfer_of(cost, 0)
        if info.storage.kind != "input":
            return replace(transfer_of(cost, 0), blocks=True)
        return transfer_of(cost, 0, early_ns=math.floor(cost.early_ns))


def _candidate(
    choice: Choice, name: str, ports: Sequence[PortInfo], piece: Piece, waits: Waits
) -> solver.Candidate:
    own = piece.own
    reads, writes = solver_ports(ports)
    return solver.Candidate(
        name=name,
        ops=tuple(u.name for u in choice.units),
        reads=reads,
        writes=writes,
        busy=own.busy_ns,
        overhead_ns=0,
        wait_ns=math.ceil(waits.own_ns),
        sbuf_bytes=own.sbuf_bytes,
        psum_banks=own.psum_banks,
        instructions=own.instructions,
        dims=tuple(roles_of(choice)),
        fill_ns=math.ceil(waits.fill_ns),
        drain_ns=math.ceil(waits.drain_ns),
    )


def _figures(
    priced: Priced, plain: tuple[solver.Transfer, ...], busy: Mapping[str, int], sbuf_bytes: int
) -> Figures:
    """What to remember of a priced choice."""
    return Figures(
        candidate=priced.candidate,
        run=priced.run,
        vias=tuple(place_of(i.via, i.storage) if i.via else None for i in priced.ports),
        plain=plain,
        busy=busy,
        sbuf_bytes=sbuf_bytes,
        costs=tuple(i.cost for i in priced.ports),
        streamed_ns=priced.streamed_ns,
        kept_ns=priced.kept_ns,
    )


def _recalled(
    figures: Figures | None,
    choice: Choice,
    name: str,
    ports: list[PortInfo],
    rivals: Sequence[Priced],
) -> Priced | None:
    """A choice with the price of another one of the same structure."""
    if figures is None:
        return None
    for info, via, cost in zip(ports, figures.vias, figures.plain, strict=True):
        info.via = layout_at(via, info.storage) if via else None
        info.cost = cost
    if beaten(figures.busy, figures.sbuf_bytes, ports, rivals):
        return None
    for info, cost in zip(ports, figures.costs, strict=True):
        info.cost = cost
    reads, writes = solver_ports(ports)
    candidate = replace(
        figures.candidate,
        name=name,
        ops=tuple(u.name for u in choice.units),
        reads=reads,
        writes=writes,
        dims=tuple(roles_of(choice)),
    )
    times = figures.streamed_ns, figures.kept_ns
    return Priced(choice, ports, candidate, figures.run, *times)
