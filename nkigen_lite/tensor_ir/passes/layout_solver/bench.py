"""Lowering pieces of a plan on their own, to price them."""

from __future__ import annotations

from dataclasses import dataclass, field

from cost_models import Target
from nkigen_lite.core.ir import Graph
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.deallocs import insert_deallocs
from nkigen_lite.tensor_ir.passes.axes import Storage
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import Buffer
from nkigen_lite.tensor_ir.passes.direct_lower.kernel import keep, lower_conversion
from nkigen_lite.tensor_ir.passes.direct_lower.memory import Hbm
from nkigen_lite.tensor_ir.passes.direct_lower.segment import SegmentLowering
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import Cost, cost_of
from nkigen_lite.tensor_ir.passes.schedule import Conversion, Layout, Segment


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

    def segment(self, segment: Segment, only: tuple[Storage, str, str] | None = None) -> Cost:
        """The cost of a segment, simulated too; with ``only`` = (storage, layout name, "read" or
        "write") just that port's transfers inside the segment's loops."""
        for (storage, name), port in (*segment.reads.items(), *segment.writes.items()):
            self._buffer(storage)
            if not port.streamed:
                self._keep(storage, name, port.layout)
        lowering = SegmentLowering(self.b, self.hbm, self.kept, only)
        return self._measure(lambda: lowering.lower(segment), simulate=only is None)

    def conversion(self, item: Conversion) -> Cost:
        """The cost of making a kept copy, without the copy itself; simulated too."""
        self._buffer(item.storage)
        if item.source:
            self._keep(item.storage, item.source.name, item.source)
        return self._measure(
            lambda: lower_conversion(self.b, self.hbm, self.kept, item), simulate=True
        )

    def _buffer(self, storage: Storage) -> None:
        if storage not in self.hbm.buffers:
            self.hbm.allocate(storage)

    def _keep(self, storage: Storage, name: str, layout: Layout) -> None:
        if (storage, name) not in self.kept:
            with self.hbm.in_prologue():
                self.kept[storage, name] = keep(self.b, storage, layout)

    def _measure(self, emit: object, simulate: bool = False) -> Cost:
        assert callable(emit)
        outer = self.b.graph
        piece = Graph("piece", outer.dialect)
        piece.counter = outer.counter
        self.b.graph = piece
        try:
            emit()
        finally:
            self.b.graph = outer
        insert_deallocs(piece)
        return cost_of(piece, self.target, simulate=simulate)
