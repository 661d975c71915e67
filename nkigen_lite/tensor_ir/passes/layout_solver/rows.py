"""Rows that all partitions need: loaded onto each, or onto one and copied by the PE array."""

from __future__ import annotations

from collections.abc import Sequence

from nkigen_lite.tensor_ir.passes.layout_solver.arrange import Arranger
from nkigen_lite.tensor_ir.passes.layout_solver.bench import Piece
from nkigen_lite.tensor_ir.passes.layout_solver.ports import PortInfo
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA
from nkigen_lite.tensor_ir.passes.schedule import ROW, Arrangement, Segment


def rows_copied(
    arranger: Arranger,
    segment: Segment,
    ports: Sequence[PortInfo],
    piece: Piece | None,
    loaded: Sequence[PortInfo],
) -> Piece | None:
    """The segment with the rows ``loaded`` copied on chip, if the queues are what is busiest and
    have less to do then; else ``piece``, the segment as it is. The ports are told."""
    if piece is None or piece.busiest != DMA or not loaded:
        return piece
    run = segment.run
    for info in loaded:
        info.via = ROW
    segment.run = Arrangement()
    copied = arranger.plain(segment, ports)
    if copied is not None and copied.busy_ns < piece.busy_ns:
        return copied
    segment.run = run
    for info in loaded:
        info.via = None
    return piece
