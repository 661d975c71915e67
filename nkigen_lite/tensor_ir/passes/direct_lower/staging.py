"""Loads that come in another layout than wanted, and are transposed on chip piece by piece."""

from __future__ import annotations

from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.axes import Coord, View
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Buffer,
    Ranges,
    for_blocks,
    full,
    new_buffer,
)
from nkigen_lite.tensor_ir.passes.direct_lower.memory import Hbm, load, load_transposed
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import convert
from nkigen_lite.tensor_ir.passes.schedule import BY_DMA, Layout, Via, in_view_axes

STAGE_BYTES = 4096  # per partition and DMA: from here on longer runs gain nothing
STAGES = 2  # tiles that wait to be transposed: one is loaded while the other is turned


def stage_rows(view: View, layout: Layout, ranges: Ranges) -> int:
    """How much of the axis on ``layout``'s partitions a staged tile of the view covers."""
    others = [a for a in view.axes if a != layout.partition]
    row_bytes = view.storage.dtype.itemsize
    for axis in others:
        row_bytes *= ranges.get(axis, full(axis)).size
    return layout.rows * max(1, STAGE_BYTES // row_bytes)


def load_via(
    b: Builder, hbm: Hbm, view: View, target: Buffer, via: Via | None, ranges: Ranges
) -> None:
    """Fill ``target``, over the view's axes, with its present block: straight, or transposed on the
    way piece by piece."""
    if via is None:
        load(b, hbm, view, target, [Coord(a) for a in target.axes], ranges)
        return
    if via == BY_DMA:
        _by_dma(b, hbm, view, target, ranges)
        return
    layout = in_view_axes(view, via)

    def piece(inner: Ranges) -> None:
        name = f"{view.storage.name}_staged"
        kind = view.storage.dtype
        first = new_buffer(b, name, view.axes, layout, kind, inner, copies=STAGES)
        load(b, hbm, view, first, [Coord(a) for a in view.axes], inner)
        convert(b, first, target, inner)

    if layout.partition is None:
        piece(ranges)
    else:
        rows = stage_rows(view, layout, ranges)
        for_blocks(b, layout.partition, ranges, rows, piece)


def _by_dma(b: Builder, hbm: Hbm, view: View, target: Buffer, ranges: Ranges) -> None:
    """Pieces of its longest other axis, so that what uses the first need not wait for the last."""
    others = [a for a in view.axes if a != target.layout.partition]
    longest = max(others, key=lambda a: ranges.get(a, full(a)).size, default=None)
    if longest is None:
        load(b, hbm, view, target, [Coord(a) for a in target.axes], ranges)
        return
    rows = stage_rows(view, Layout.on(longest), ranges)
    for_blocks(b, longest, ranges, rows, lambda inner: load_transposed(b, hbm, view, target, inner))
