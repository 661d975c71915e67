"""From a choice to a solver candidate: lowered, priced op by op, and simulated on its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import solver
from cost_models import Target
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.tensor_ir.passes.axes import Storage
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import cuts_of
from nkigen_lite.tensor_ir.passes.direct_lower.segment import PortKey
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import can_convert
from nkigen_lite.tensor_ir.passes.layout_solver.bench import Bench, Piece
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import Choice, can_be_kept
from nkigen_lite.tensor_ir.passes.layout_solver.engines import shared
from nkigen_lite.tensor_ir.passes.layout_solver.memory import (
    Figures,
    Memory,
    layout_at,
    memory_of,
    place_of,
    structure_of,
    structure_of_conversion,
)
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA, Cost
from nkigen_lite.tensor_ir.passes.layout_solver.roles import roles_of
from nkigen_lite.tensor_ir.passes.layout_solver.stages import best_cuts, blocks_of
from nkigen_lite.tensor_ir.passes.layout_solver.units import Unit
from nkigen_lite.tensor_ir.passes.schedule import (
    ALL,
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
_WORTH_DIVIDING = 0.01  # of a segment's time: how much waiting it takes to ask who waits
_HOPELESS = 1.3  # times what a rival takes: what the model may be wrong by
_WORTH_CUTTING = 0.03  # of its time that a segment has to gain by another stage


@dataclass(eq=False, slots=True)
class PortInfo:
    """One boundary of a choice in the schedule's terms.

    Attributes:
        keepable: whether the value can be kept whole in SBUF in that layout.
        via: the layout in which it is loaded and stored, to be transposed on chip.
        cost: of moving it over the boundary.
    """

    storage: Storage
    layout: Layout
    side: str
    keepable: bool
    via: Layout | None = None
    cost: solver.Transfer = FREE

    @property
    def name(self) -> str:
        """The layout's name in the problem; one that cannot be kept has a name of its own."""
        return self.layout.name if self.keepable else self.layout.name + "~"

    @property
    def key(self) -> PortKey:
        return self.storage, self.layout.name, "read" if self.side == "read" else "write"


@dataclass(eq=False, slots=True)
class Priced:
    """A choice with its ports and its solver candidate, where its steps are cut into stages, and
    who runs them.

    ``streamed_ns`` is what it takes alone with all ports streamed, ``kept_ns`` with all kept.
    """

    choice: Choice
    ports: list[PortInfo]
    candidate: solver.Candidate
    cuts: tuple[int, ...]
    engines: tuple[str | None, ...]
    streamed_ns: float
    kept_ns: float

    @property
    def reads(self) -> list[PortInfo]:
        return [p for p in self.ports if p.side == "read"]

    @property
    def writes(self) -> list[PortInfo]:
        return [p for p in self.ports if p.side == "write"]


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to run a segment: ``piece`` is lowered so, but for the cuts; the model's estimate."""

    piece: Piece
    cuts: tuple[int, ...]
    engines: tuple[str | None, ...]
    estimate_ns: float


@dataclass
class Pricer:
    """Prices choices on a target.

    Args:
        consumers: the units that read a storage.
    """

    target: Target
    consumers: Mapping[Storage, Sequence[Unit]]
    bench: Bench = field(init=False)
    limits: Limits = field(init=False)
    memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        self.memory = memory_of(self.target)
        self.memory.tidy()
        self.bench = Bench(self.target)
        self.limits = Limits.of(self.target)

    def price(self, choice: Choice, name: str, rivals: Sequence[Priced]) -> Priced | None:
        """The choice as a candidate; None if it does not fit the hardware, or if one of its rivals,
        other ways to run the same units, is better whatever the rest of the plan."""
        ports = self.ports(choice)
        key = structure_of(choice, [self.crosses(s.write.storage, choice) for s in choice.steps])
        if key in self.memory.choices:
            return _recalled(self.memory.choices[key], choice, name, ports, rivals)
        segment = choice.segment(name)
        for info in ports:
            info.via = self.best_via(choice, info)
        piece = self._lower(segment, ports)
        if not self._fits(piece, [i for i in ports if not i.keepable]):
            self.memory.choices[key] = None
            return None
        for info in ports:
            info.cost = self._transfer(info, piece.port(info.key))
        if _beaten(piece.own.busy_ns, piece.own.sbuf_bytes, ports, rivals):
            return None
        plain = tuple(info.cost for info in ports)
        own = piece.own
        arranged = self._arrange(segment, ports, piece, rivals)
        if arranged is None:
            return None
        priced = self._priced(choice, name, ports, segment, arranged)
        self.memory.choices[key] = _figures(priced, plain, own.busy_ns, own.sbuf_bytes)
        return priced

    def _priced(
        self,
        choice: Choice,
        name: str,
        ports: list[PortInfo],
        segment: Segment,
        piece: Piece,
    ) -> Priced:
        for info in ports:
            info.cost = self._transfer(info, piece.port(info.key))
        own_ns = self._spread(segment, piece, ports)
        return Priced(
            choice,
            ports,
            _candidate(choice, name, ports, piece, own_ns),
            segment.cuts,
            segment.engines,
            streamed_ns=piece.line.time_ns,
            kept_ns=own_ns + max(piece.own.busy.values(), default=0.0),
        )

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
                    keepable = step.kind != "hbm_copy" and can_be_kept(view, layout)
                    info = PortInfo(view.storage, layout, side, keepable)
                    known = found.setdefault(info.key, info)
                    known.keepable &= keepable
        return sorted(found.values(), key=lambda info: info.side == "write")

    def crosses(self, storage: Storage, choice: Choice) -> bool:
        """Whether something outside the choice needs a storage that it writes."""
        inside = set(choice.units)
        used_outside = any(u not in inside for u in self.consumers.get(storage, ()))
        return storage.kind == "output" or used_outside

    def best_via(self, choice: Choice, info: PortInfo) -> Layout | None:
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
            known[key] = self.bench.conversion(item)
        return known[key]

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

    def _lower(
        self, segment: Segment, ports: Sequence[PortInfo], *, streamed: bool = True
    ) -> Piece:
        """The segment with every port to and from HBM, or with all kept in SBUF that can be."""
        segment.reads, segment.writes = {}, {}
        for info in ports:
            side = segment.reads if info.side == "read" else segment.writes
            moves = streamed or not info.keepable
            side[info.storage, info.layout.name] = Port(info.layout, moves, info.via)
        written = frozenset(i.storage for i in ports if i.side == "write")
        segment.stored = written if streamed else frozenset()
        return self.bench.segment(segment)

    def _fits(self, piece: Piece, ports: Sequence[PortInfo]) -> bool:
        """Whether a segment with these ports streamed fits."""
        sbuf = piece.own.sbuf_bytes + sum(piece.port(i.key).sbuf_bytes for i in ports)
        limits = self.limits
        return piece.own.psum_banks <= limits.psum_banks and sbuf <= limits.sbuf_bytes

    def _arrange(
        self, segment: Segment, ports: Sequence[PortInfo], piece: Piece, rivals: Sequence[Priced]
    ) -> Piece | None:
        """Cut the segment's steps into stages and share its work among the engines, where its
        simulated time is less for it; of many ways those are simulated that a model of engines in
        order finds best.

        None if the model finds them all much slower than a rival with the same ports.
        """
        ways = self._ways(segment, piece)
        engines = shared(piece, 2 * len(segment.steps))
        if any(engines):
            segment.engines = engines
            balanced = self._lower(segment, ports)
            if balanced.busy_ns < (1 - _WORTH_CUTTING) * piece.busy_ns:
                ways += self._ways(segment, balanced)
            segment.engines = ()
        signature = _signature(ports)
        least = [r.streamed_ns for r in rivals if _signature(r.ports) == signature]
        promising = min(way.estimate_ns for way in ways)
        if promising > _HOPELESS * min(least, default=math.inf):
            return None
        best, found = ways[0], piece
        for way in ways[1:]:
            if way.estimate_ns <= _HOPELESS * promising:
                segment.cuts, segment.engines = way.cuts, way.engines
                tried = self._lower(segment, ports) if way.cuts else way.piece
                gained = tried.line.time_ns < (1 - _WORTH_CUTTING) * found.line.time_ns
                if gained and self._fits(tried, ports):
                    best, found = way, tried
        segment.cuts, segment.engines = best.cuts, best.engines
        return found

    def _ways(self, segment: Segment, piece: Piece) -> list[_Way]:
        """The best cuts of a segment by the model, for engines as they are in ``piece``: none, then
        the best of each number."""
        steps, cuts = segment.steps, cuts_of(segment)
        trips = math.prod(-(-loop.axis.extent // loop.block) for loop in segment.loops)
        busy = [
            {engine: ns / trips for engine, ns in own.items()}
            for own in piece.busy_of_places(2 * len(steps))
        ]
        return [
            _Way(piece, way, segment.engines, max(piece.busy_ns, interval * trips))
            for way, interval in best_cuts(blocks_of(steps, busy), cuts if trips > 1 else [])
        ]

    def _transfer(self, info: PortInfo, cost: Cost) -> solver.Transfer:
        # A load that waits for a store holds up the loads queued behind it, and nothing hides how
        # long the store takes to be done.
        inside = info.storage.kind == "temp" or (
            info.side == "read" and info.storage.kind == "output"
        )
        early = info.side == "read" and info.storage.kind == "input"
        return transfer_of(
            cost,
            math.ceil(cost.latency.get(DMA, 0.0)) if inside else 0,
            early_ns=math.floor(cost.early_ns) if early else 0,
        )

    def _spread(self, segment: Segment, piece: Piece, ports: Sequence[PortInfo]) -> float:
        """Divide what the segment takes beyond its busiest resource, filling and draining apart:
        neighbours overlap with these. The segment's own part, in ns, is returned.

        What it takes with everything kept in SBUF is its own; what streaming adds is its ports'.
        """
        whole = piece.overhead_ns
        if whole < _WORTH_DIVIDING * piece.line.time_ns or not any(i.keepable for i in ports):
            return whole
        own_ns = min(whole, self._lower(segment, ports, streamed=False).overhead_ns)
        share = math.floor(whole - own_ns) // len(ports)
        for info in ports:
            info.cost = replace(info.cost, overhead_ns=info.cost.overhead_ns + share)
        return own_ns


def _candidate(
    choice: Choice, name: str, ports: Sequence[PortInfo], piece: Piece, own_ns: float
) -> solver.Candidate:
    own = piece.own
    reads, writes = _solver_ports(ports)
    return solver.Candidate(
        name=name,
        ops=tuple(u.name for u in choice.units),
        reads=reads,
        writes=writes,
        busy=own.busy_ns,
        overhead_ns=math.ceil(own_ns),
        sbuf_bytes=own.sbuf_bytes,
        psum_banks=own.psum_banks,
        instructions=own.instructions,
        dims=tuple(roles_of(choice)),
        fill_ns=math.ceil(piece.line.fill_ns),
        drain_ns=math.ceil(piece.line.drain_ns),
    )


def _figures(
    priced: Priced, plain: tuple[solver.Transfer, ...], busy: Mapping[str, int], sbuf_bytes: int
) -> Figures:
    """What to remember of a priced choice."""
    return Figures(
        candidate=priced.candidate,
        cuts=priced.cuts,
        engines=priced.engines,
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
    if _beaten(figures.busy, figures.sbuf_bytes, ports, rivals):
        return None
    for info, cost in zip(ports, figures.costs, strict=True):
        info.cost = cost
    reads, writes = _solver_ports(ports)
    candidate = replace(
        figures.candidate,
        name=name,
        ops=tuple(u.name for u in choice.units),
        reads=reads,
        writes=writes,
        dims=tuple(roles_of(choice)),
    )
    times = figures.streamed_ns, figures.kept_ns
    return Priced(choice, ports, candidate, figures.cuts, figures.engines, *times)


def _solver_ports(
    ports: Sequence[PortInfo],
) -> tuple[tuple[solver.Port, ...], tuple[solver.Port, ...]]:
    """The ports as the solver's records: reads and writes."""
    made = [(i.side, solver.Port(i.storage.name, i.name, i.cost)) for i in ports]
    reads, writes = (tuple(p for at, p in made if at == side) for side in ("read", "write"))
    return reads, writes


def _signature(ports: Sequence[PortInfo]) -> frozenset[object]:
    return frozenset((i.key, i.keepable) for i in ports)


def _beaten(
    busy: Mapping[str, int], sbuf_bytes: int, ports: Sequence[PortInfo], rivals: Sequence[Priced]
) -> bool:
    """Whether a rival with the same ports is faster than a choice can be, with all of them streamed
    and with all kept, in no more SBUF; ``busy`` and ``sbuf_bytes`` are the choice's own."""
    total = dict(busy)
    for info in ports:
        for resource, ns in info.cost.busy.items():
            total[resource] = total.get(resource, 0) + ns
    streamed_ns, kept_ns = max(total.values(), default=0), max(busy.values(), default=0)
    signature = _signature(ports)
    return any(
        rival.streamed_ns <= streamed_ns
        and rival.kept_ns <= kept_ns
        and rival.candidate.sbuf_bytes <= sbuf_bytes
        and all(
            r.cost.sbuf_bytes <= p.cost.sbuf_bytes for r, p in zip(rival.ports, ports, strict=True)
        )
        for rival in rivals
        if _signature(rival.ports) == signature
    )


def resident_bytes(storage: Storage, layout: Layout) -> int:
    """Bytes per partition of a storage kept whole."""
    return max(1, free_elements(storage.axes, layout, {})) * storage.dtype.itemsize


def transfer_of(cost: Cost, overhead_ns: int, *, early_ns: int = 0) -> solver.Transfer:
    """A cost as the solver's record."""
    busy = cost.busy_ns
    return solver.Transfer(
        busy=busy,
        overhead_ns=overhead_ns,
        hbm_bytes=cost.hbm_bytes,
        sbuf_bytes=cost.sbuf_bytes,
        instructions=cost.instructions,
        dmas=cost.dmas,
        early_ns=min(early_ns, busy.get(DMA, 0)),
    )
