"""Lowering pieces of a plan on their own, to price them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from cost_models import Target, Transfer, dma_price, dma_transposes
from cost_models.simulate import Timeline, simulate
from nkigen_lite.core.ir import Graph, Op
from nkigen_lite.nki_ir.access import Accesses
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.deallocs import insert_deallocs
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.simulate import Translation
from nkigen_lite.tensor_ir.passes.axes import Storage
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import Buffer
from nkigen_lite.tensor_ir.passes.direct_lower.engines import rotate_in_psum
from nkigen_lite.tensor_ir.passes.direct_lower.kernel import keep, lower_conversion
from nkigen_lite.tensor_ir.passes.direct_lower.memory import Hbm
from nkigen_lite.tensor_ir.passes.direct_lower.segment import SegmentLowering
from nkigen_lite.tensor_ir.passes.direct_lower.segment_buffers import PortKey
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import (
    DMA,
    Cost,
    cost_of,
    costs_by_owner,
    counted,
    is_store,
    psum_banks,
    psum_in_flight,
    psum_of_texts,
)
from nkigen_lite.tensor_ir.passes.schedule import Conversion, Layout, Segment


@dataclass
class Piece:
    """A lowered segment: its cost without its streamed ports, and what each of these costs.

    ``charged`` tells which ops move what passes a port, ``steps`` the place of the step that an op
    belongs to, ``texts`` which ops belong to different iterations of a loop that is written out;
    ``accesses`` are the graph's, and ``translation`` its ops as the simulator sees them.
    """

    graph: Graph
    target: Target
    own: Cost
    moved: Mapping[PortKey, Cost]
    charged: Mapping[Op, PortKey]
    steps: dict[Op, int]
    texts: dict[Op, int]
    accesses: Accesses
    translation: Translation | None = None

    def port(self, key: PortKey) -> Cost:
        """The cost of a port; nothing, if nothing moves."""
        return self.moved.get(key) or Cost()

    @cached_property
    def line(self) -> Timeline:
        """The simulated time line of all of it: without what moves nothing."""
        if self.translation is None:
            self.translation = Translation(self.graph, accesses=self.accesses)
        left_out = {op for op, key in self.charged.items() if key not in self.moved}
        return simulate(self.target, self.translation.items(self.graph, left_out))

    def streaming(self, keys: Collection[PortKey]) -> Piece:
        """The segment with some of its streamed ports only: what the others load is there from the
        start, and what they store stays where it is made."""
        moved = {key: cost for key, cost in self.moved.items() if key in keys}
        return replace(self, moved=moved)

    @property
    def busy(self) -> dict[str, float]:
        """The busy times of all of it, per resource."""
        total = dict(self.own.busy)
        for cost in self.moved.values():
            for resource, ns in cost.busy.items():
                total[resource] = total.get(resource, 0.0) + ns
        return total

    @property
    def turning_by_dma_ns(self) -> float:
        """What the DMA queues would take to transpose what the PE array does."""
        total = 0.0
        for op, trips, _ in counted(self.graph, {}, None):
            if op.opcode == "nc_transpose" and dma_transposes(op.inputs[1].type.dtype.itemsize):
                kind = op.inputs[1].type
                rows, run = kind.partition_size, kind.free_size * kind.dtype.itemsize
                tile = Transfer("copy", rows, run, rows, True, elem_bytes=kind.dtype.itemsize)
                total += dma_price(self.target, tile).transfer_ns * trips
        return total

    def rotate_in_psum(self, copies: int) -> None:
        """Have that many copies of each PSUM tile that rotates, in place of ``PSUM_COPIES``: what
        lowering the segment so would give, as nothing else depends on it."""
        rotate_in_psum(copies, self.graph.ops)
        self.own.psum_banks = psum_banks(self.graph, Limits.of(self.target))

    def psum_in_flight(self, copies: int) -> int:
        """The most PSUM banks that an iteration uses, with that many copies of what rotates."""
        limits = Limits.of(self.target)
        if self.texts:
            return psum_of_texts(self.graph, limits, copies, self.texts, self.steps)
        return psum_in_flight(self.graph, limits, copies)

    @property
    def busiest(self) -> str:
        """The busiest resource."""
        busy = self.busy
        return max(busy, key=lambda resource: busy[resource], default="")

    @property
    def busy_ns(self) -> float:
        """The time of the busiest resource."""
        return max(self.busy.values(), default=0.0)

    @property
    def engines_ns(self) -> float:
        """The time of the busiest engine, DMA queues apart."""
        return max((ns for name, ns in self.busy.items() if name != DMA), default=0.0)

    def busy_of_places(self, count: int) -> list[tuple[dict[str, float], dict[str, float]]]:
        """The busy times of the first ``count`` places among the steps, DMA queues apart: of what
        they do, and of triggering the stores of what they have made."""
        owners: dict[Op, tuple[int, bool] | None] = {
            op: (place, is_store(op)) for op, place in self.steps.items()
        }
        costs = costs_by_owner(self.graph, self.target, owners, None, self.accesses)

        def busy(place: int, stores: bool) -> dict[str, float]:
            found = costs.get((place, stores), Cost()).busy
            return {r: ns for r, ns in found.items() if r != DMA}

        return [(busy(place, False), busy(place, True)) for place in range(count)]

    @property
    def unhidden_ns(self) -> float:
        """What all of it takes on its own beyond that: filling and draining, as far as DMA does not
        bring in or take out there what it would have to anyway."""
        return max(0.0, self.line.time_ns - self.busy_ns - self.overhead_ns)

    @property
    def overhead_ns(self) -> float:
        """What all of it takes beyond filling, draining and its busiest resource."""
        core = self.line.time_ns - self.line.fill_ns - self.line.drain_ns
        return max(0.0, core - self.busy_ns)


@dataclass
class Bench:
    """A place where segments and conversions are lowered without a kernel around them."""

    target: Target
    b: Builder = field(init=False)
    hbm: Hbm = field(init=False)
    kept: dict[tuple[Storage, str], Buffer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.b = Builder("bench")
        self.b.tracks_location = False
        self.hbm = Hbm(self.b)

    def segment(self, segment: Segment) -> Piece:
        """A segment, lowered on its own."""
        for (storage, name), port in (*segment.reads.items(), *segment.writes.items()):
            self._buffer(storage)
            if not port.streamed:
                self._keep(storage, name, port.layout)
        lowering = SegmentLowering(self.b, self.hbm, self.kept)
        piece, accesses = self._lowered(lambda: lowering.lower(segment))
        owners: dict[Op, PortKey | None] = {**lowering.charged}
        costs = costs_by_owner(piece, self.target, owners, None, accesses)
        own = costs.pop(None)
        moved = {key: cost for key, cost in costs.items() if key is not None}
        return Piece(
            piece,
            self.target,
            own,
            moved,
            lowering.charged,
            lowering.steps,
            lowering.texts,
            accesses,
        )

    def conversion(self, item: Conversion) -> Cost:
        """The cost of making a kept copy, without the copy itself; simulated too."""
        self._buffer(item.storage)
        if item.source:
            self._keep(item.storage, item.source.name, item.source)
        piece, _ = self._lowered(lambda: lower_conversion(self.b, self.hbm, self.kept, item))
        return cost_of(piece, self.target, simulate=True)

    def _buffer(self, storage: Storage) -> None:
        if storage not in self.hbm.buffers:
            self.hbm.allocate(storage)

    def _keep(self, storage: Storage, name: str, layout: Layout) -> None:
        if (storage, name) not in self.kept:
            with self.hbm.in_prologue():
                self.kept[storage, name] = keep(self.b, storage, layout)

    def _lowered(self, emit: Callable[[], None]) -> tuple[Graph, Accesses]:
        outer = self.b.graph
        piece = Graph("piece", outer.dialect)
        piece.counter = outer.counter
        self.b.graph = piece
        try:
            emit()
        finally:
            self.b.graph = outer
            self.hbm.prologue.forget_uses()
        accesses = Accesses()
        insert_deallocs(piece, accesses)
        return piece, accesses
