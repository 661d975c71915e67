"""Loads that come in another layout than wanted, and are transposed on chip piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import Affine, DimSlice
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord, View
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Buffer,
    Ranges,
    Rows,
    for_blocks,
    for_patterns,
    for_tile_groups,
    full,
    new_buffer,
    row_groups,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.direct_lower.memory import Hbm, load, load_transposed
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import convert
from nkigen_lite.tensor_ir.passes.packed import Packed
from nkigen_lite.tensor_ir.passes.schedule import (
    BY_DMA,
    Layout,
    Via,
    free_elements,
    in_view_axes,
)

STAGE_BYTES = 4096  # per partition and DMA: from here on longer runs gain nothing
ROW_BYTES = 16384  # of a row on one partition that is on its way to all of them
_MOST_STAGES = 4


def stages(tile_bytes: int) -> int:
    """How many tiles of that size per partition rotate: one is turned while others are on their
    way, as many as keep the queues busy for the 2 us that pass before a DMA's first byte."""
    return max(2, min(_MOST_STAGES, _MOST_STAGES * STAGE_BYTES // tile_bytes))


def stage_rows(view: View, layout: Layout, ranges: Ranges) -> int:
    """How much of the axis on ``layout``'s partitions a staged tile of the view covers."""
    others = [a for a in view.axes if a != layout.partition]
    row_bytes = view.storage.dtype.itemsize
    for axis in others:
        row_bytes *= ranges.get(axis, full(axis)).size
    return layout.rows * max(1, STAGE_BYTES // row_bytes)


def _for_stages(
    b: Builder, view: View, layout: Layout, ranges: Ranges, body: Callable[[Ranges], None]
) -> None:
    """Run ``body`` for blocks of the axes that are not on ``layout``'s partitions: whole axes, from
    the last on, and of the one before that are short in HBM as many indices as make long runs."""
    others = [a for a in view.axes if a != layout.partition]
    row_bytes = view.storage.dtype.itemsize
    blocks: list[tuple[Axis, int]] = []
    for position, axis in enumerate(reversed(others)):
        size = ranges.get(axis, full(axis)).size
        block = min(size, max(1, STAGE_BYTES // row_bytes)) if position else size
        row_bytes *= block
        if block < size:
            blocks.insert(0, (axis, block))

    def nest(depth: int, inner: Ranges) -> None:
        if depth == len(blocks):
            body(inner)
        else:
            axis, block = blocks[depth]
            for_blocks(b, axis, inner, block, partial(nest, depth + 1))

    nest(0, ranges)


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
    if isinstance(via, Packed):
        _load_packed(b, hbm, view, target, via, ranges)
        return
    layout = in_view_axes(view, via)
    whole = {a: ranges.get(a, full(a)).size for a in view.axes}

    def piece(inner: Ranges) -> None:
        name = f"{view.storage.name}_staged"
        kind = view.storage.dtype
        sizes = {a: inner.get(a, full(a)).size for a in view.axes}
        size = free_elements(view.axes, layout, sizes)
        is_all = size == free_elements(view.axes, layout, whole)
        copies = 1 if is_all else stages(size * kind.itemsize)
        first = new_buffer(b, name, view.axes, layout, kind, inner, copies=copies)
        load(b, hbm, view, first, [Coord(a) for a in view.axes], inner)
        convert(b, first, target, inner)

    def pieces(inner: Ranges) -> None:
        assert layout.partition is not None
        rows = stage_rows(view, layout, inner)
        for_blocks(b, layout.partition, inner, rows, piece)

    if layout.partition is None and view.axes:
        block = max(1, ROW_BYTES // view.storage.dtype.itemsize)
        for_blocks(b, view.axes[-1], ranges, block, piece)
    elif layout.partition is None:
        piece(ranges)
    else:
        _for_stages(b, view, layout, ranges, pieces)


def _load_packed(
    b: Builder, hbm: Hbm, view: View, target: Buffer, packed: Packed, ranges: Ranges
) -> None:
    """The present block of a weight, which is one of those that it is packed in, or a part of one
    along axes that are not cut; in pieces, so that what uses the first need not wait for the last.
    """
    axis = view.storage.axes[packed.position]
    others = [a for a in view.axes if a != axis]
    base = hbm.packed(view.storage, packed)
    block = {a: ranges.get(a, full(a)) for a in view.axes}
    cut = {a for at, a in enumerate(view.axes) if packed.cuts(at, a)}
    size = dict(zip(view.axes, packed.blocks, strict=True))
    starts = {a: block[a].start if a in cut else Affine() for a in view.axes}
    outer = [DimSlice(starts[a].divided_by(size[a]), None) for a in view.axes if a in cut]

    def one(rows: Rows, inner: Ranges) -> None:
        parts = [*outer, DimSlice(0, rows.rows)]
        names: list[Axis | str] = ["rows"]
        if size[axis] > packed.rows:
            first = (rows.start + starts[axis] * -1).divided_by(packed.rows)
            parts.append(DimSlice(first, rows.tiles if rows.tiles > 1 else None))
            names += ["tiles"] if rows.tiles > 1 else []
        for other in others:
            here = inner.get(other, full(other))
            start = here.start + starts[other] * -1
            parts.append(DimSlice(start, here.size if here.size > 1 else None))
            names += [other] if here.size > 1 else []
        outside = hbm.arrange(b.slice(base, parts), names, rows, others, inner)
        b.dma_copy(tile_view(b, target, coords, rows, others, inner), outside)

    def piece(rows: Rows) -> None:
        for_patterns(b, target, coords, rows, others, ranges, one)

    coords = [Coord(a) for a in target.axes]
    tile_bytes = view.storage.dtype.itemsize * math.prod(block[a].size for a in others)
    for rows in row_groups(axis, ranges, packed.rows):
        for_tile_groups(b, rows, max(1, STAGE_BYTES // tile_bytes), piece)


def _by_dma(b: Builder, hbm: Hbm, view: View, target: Buffer, ranges: Ranges) -> None:
    """Pieces of its longest other axis, so that what uses the first need not wait for the last."""
    others = [a for a in view.axes if a != target.layout.partition]
    longest = max(others, key=lambda a: ranges.get(a, full(a)).size, default=None)
    if longest is None:
        load(b, hbm, view, target, [Coord(a) for a in target.axes], ranges)
        return
    rows = stage_rows(view, Layout.on(longest), ranges)
    for_blocks(b, longest, ranges, rows, lambda inner: load_transposed(b, hbm, view, target, inner))
