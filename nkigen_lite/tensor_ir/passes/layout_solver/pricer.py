"""From a choice to a solver candidate: lowered, priced op by op, and simulated on its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import solver
from cost_models import Target, dma_transposes
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.tensor_ir.passes.axes import Axis, Step, Storage
from nkigen_lite.tensor_ir.passes.direct_lower.segment_buffers import PortKey
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import can_convert
from nkigen_lite.tensor_ir.passes.layout_solver.arrange import Arranger
from nkigen_lite.tensor_ir.passes.layout_solver.bench import Piece
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import Choice, can_be_kept
from nkigen_lite.tensor_ir.passes.layout_solver.memory import (
    Figures,
    Memory,
    memory_of,
    place_of,
    structure_of,
    structure_of_conversion,
)
from nkigen_lite.tensor_ir.passes.layout_solver.ports import (
    PortInfo,
    resident_bytes,
    transfer_of,
)
from nkigen_lite.tensor_ir.passes.layout_solver.priced import Priced
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA, Cost
from nkigen_lite.tensor_ir.passes.layout_solver.rows import rows_copied
from nkigen_lite.tensor_ir.passes.layout_solver.units import Unit
from nkigen_lite.tensor_ir.passes.layout_solver.waits import PortWaits, undivided, waits_of
from nkigen_lite.tensor_ir.passes.packed import Packed
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

PACKING_GAIN = 0.02
"""Of its time, what a segment or a load has to gain for its weights to be packed."""


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

    def price(self, choice: Choice, name: str, enough_ns: float = math.inf) -> Priced | None:
        """The choice as a candidate; None if it does not fit the hardware.

        One that takes longer than ``enough_ns``, what a longer run takes with all ports streamed,
        is priced as it is: no better way to run it is looked for.
        """
        known, key = self.memory.choices, self.key(choice, enough_ns)
        if key not in known:
            known[key] = self.figures(choice, enough_ns)
        figures = known[key]
        return Priced.of(choice, name, self.ports(choice), figures) if figures else None

    def key(self, choice: Choice, enough_ns: float) -> object:
        """What its figures depend on."""
        crossing = [self.crosses(s.write.storage, choice) for s in choice.steps]
        return structure_of(choice, crossing), enough_ns

    def figures(self, choice: Choice, enough_ns: float) -> Figures | None:
        """The figures of a choice, worked out; None if it does not fit the hardware."""
        ports, segment = self.ports(choice), choice.segment("priced")
        for info in ports:
            info.via = self.best_via(choice, info)
        piece = self._packed(segment, ports, self._lowered(segment, ports))
        if piece is None:
            return None
        can_win = self._least_ns(piece, ports) <= enough_ns
        if can_win:
            piece = self.arranger.arrange(segment, ports, piece, enough_ns)
        for info in ports:
            info.cost = self._transfer(info, piece)
        waits = waits_of(piece, ports) if can_win else undivided(piece, ports)
        own = piece.own
        return Figures(
            run=segment.run,
            busy=own.busy_ns,
            sbuf_bytes=own.sbuf_bytes,
            psum_banks=own.psum_banks,
            instructions=own.instructions,
            wait_ns=math.ceil(waits.own_ns),
            fill_ns=math.ceil(waits.fill_ns),
            drain_ns=math.ceil(waits.drain_ns),
            store_ns=math.ceil(waits.store_ns),
            vias=tuple(place_of(i.via, i.storage) if i.via else None for i in ports),
            costs=tuple(_waited(i.cost, w) for i, w in zip(ports, waits.ports, strict=True)),
            streamed_ns=piece.line.time_ns,
        )

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

    def _packed(
        self, segment: Segment, ports: Sequence[PortInfo], piece: Piece | None
    ) -> Piece | None:
        """The segment with the weights that it reads laid out by the host as it loads them, if it
        is faster for that alone; else ``piece``, the segment as it is. The ports are told."""
        loops = (*segment.loops, *((segment.stream,) if segment.stream else ()))
        sizes = {loop.axis: loop.block for loop in loops}
        ways = [(i, w) for i in ports if (w := self.packed(i, sizes, segment.steps)) is not None]
        if not ways:
            return piece
        run, vias = segment.run, [info.via for info, _ in ways]
        for info, way in ways:
            info.via = way
        segment.run = Arrangement()
        packed = self.arranger.plain(segment, ports)
        least_ns = (1 - PACKING_GAIN) * piece.line.time_ns if piece else math.inf
        if packed is not None and packed.line.time_ns < least_ns:
            return packed
        segment.run = run
        for (info, _), via in zip(ways, vias, strict=True):
            info.via = via
        return piece

    def packed(
        self, info: PortInfo, sizes: Mapping[Axis, int], steps: Sequence[Step] = ()
    ) -> Packed | None:
        """How a weight would be packed for a port that loads blocks of these sizes."""
        storage, axis = info.storage, info.layout.partition
        windows = (v for s in steps for v in s.reads if v.storage is storage and not v.is_whole)
        if info.side != "read" or not storage.is_weight or axis is None or any(windows):
            return None
        return Packed.of(storage, axis, info.layout.rows, sizes)

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

    def _transfer(self, info: PortInfo, piece: Piece) -> solver.Transfer:
        """What moving over a port costs, waits apart.

        Loads are triggered in order. So what later segments load waits for the last load of this
        port: for what the plan computes first, and for a copy of its buffer to be free. Of b copies
        for n loads, that is when the segment has b / n of its time left.
        """
        cost = piece.port(info.key)
        if info.side == "write":
            return transfer_of(cost, 0)
        is_input, whole_ns = info.storage.kind == "input", cost.busy.get(DMA, 0.0)
        made = transfer_of(cost, 0, early_ns=math.floor(cost.early_ns) if is_input else 0)
        if is_input and made.early_ns >= math.floor(whole_ns):
            return made
        left_ns = piece.engines_ns * (min(1.0, cost.early_ns / whole_ns) if whole_ns else 1.0)
        left_ns -= cost.lead_ns + whole_ns / max(1, cost.dmas)
        return replace(made, behind_ns=max(0, math.floor(left_ns)))


def _waited(cost: solver.Transfer, waits: PortWaits) -> solver.Transfer:
    """What moving over a port costs, with what the segment waits for it."""
    return replace(
        cost,
        wait_ns=math.floor(waits.wait_ns),
        fill_ns=math.ceil(waits.fill_ns),
        start_ns=min(math.floor(waits.start_ns), cost.early_ns),
        tail_ns=math.floor(waits.tail_ns),
    )
