"""On-chip buffers over axes, and views of them in an instruction's terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.access import merge_dims
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.limits import MAX_EXTENT, MAX_FREE_DIMS, fits_pattern
from nkigen_lite.nki_ir.types import Affine, DimSlice, MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord
from nkigen_lite.tensor_ir.passes.schedule import Layout


@dataclass(frozen=True, slots=True)
class Range:
    """``size`` elements of an axis from ``start`` on."""

    start: Affine
    size: int


Ranges = Mapping[Axis, Range]


def full(axis: Axis) -> Range:
    return Range(Affine(), axis.extent)


@dataclass(frozen=True, slots=True)
class Rows:
    """A run of partition tiles of an axis: ``tiles`` of ``rows`` partitions each.

    ``start`` is the first element. With ``axis`` None, ``rows`` partitions that hold copies.
    """

    axis: Axis | None
    start: Affine
    tiles: int
    rows: int


def row_groups(axis: Axis | None, ranges: Ranges, layout_rows: int) -> Iterator[Rows]:
    """The partition tiles of the present block: all full ones as one group, then the remainder."""
    if axis is None:
        yield Rows(None, Affine(), 1, layout_rows)
        return
    block = ranges.get(axis, full(axis))
    tiles, rest = divmod(block.size, layout_rows)
    if tiles:
        yield Rows(axis, block.start, tiles, layout_rows)
    if rest:
        yield Rows(axis, block.start + tiles * layout_rows, 1, rest)


@dataclass(eq=False, slots=True)
class Buffer:
    """A tile in SBUF or PSUM that holds a block of a storage or of a view of one.

    Its shape is [rows, tiles of the partition axis if more than one, *free axes]; a tile without
    free dimensions has one of extent 1.

    Attributes:
        axes: what it runs over, storage axes or, for a streamed block of a view, iteration axes.
        free: those along the free dimension, outermost first.
        origin: per axis, the element at which the block starts.
        sizes: per axis, the extent of the block.
    """

    value: Value
    axes: tuple[Axis, ...]
    layout: Layout
    free: tuple[Axis, ...]
    origin: dict[Axis, Affine] = field(default_factory=dict)
    sizes: dict[Axis, int] = field(default_factory=dict)

    @property
    def dtype(self) -> DType:
        found: DType = self.value.type.dtype
        return found

    @property
    def has_tiles(self) -> bool:
        axis = self.layout.partition
        return axis is not None and self.sizes[axis] > self.layout.rows


def new_buffer(
    b: Builder,
    name: str,
    axes: tuple[Axis, ...],
    layout: Layout,
    dtype: DType,
    ranges: Ranges,
    *,
    memory: MemorySpace = MemorySpace.SBUF,
    copies: int = 1,
    inner: Axis | None = None,
) -> Buffer:
    """Allocate a buffer for the present block of ``axes`` (whole axes where no range is given), its
    elements along ``inner`` side by side if that is one of them."""
    block = {a: ranges.get(a, full(a)) for a in axes}
    sizes = {a: r.size for a, r in block.items()}
    axis = layout.partition
    shape = [min(layout.rows, sizes[axis]) if axis else layout.rows]
    if axis and sizes[axis] > layout.rows:
        shape.append(-(-sizes[axis] // layout.rows))
    free = tuple(sorted((a for a in axes if a != axis), key=lambda a: a == inner))
    shape += [sizes[a] for a in free]
    if len(shape) == 1:
        shape.append(1)
    value = b.alloc(tuple(shape), dtype, memory, copies, name=name)
    return Buffer(value, axes, layout, free, {a: r.start for a, r in block.items()}, sizes)


def tile_view(
    b: Builder,
    buffer: Buffer,
    coords: Sequence[Coord],
    rows: Rows,
    order: Sequence[Axis],
    ranges: Ranges,
) -> Value:
    """The buffer as an instruction over ``rows`` and the free axes ``order`` reads it.

    ``coords`` say, per buffer axis, which iteration axis runs over it. The result has shape
    [rows, tiles if more than one, *sizes of ``order`` above 1], broadcast where the buffer lacks an
    axis, and a last dimension of 1 if that leaves none.
    """
    parts = [DimSlice(0, rows.rows)]
    names: list[Axis | str] = ["rows"]
    at = dict(zip(buffer.axes, coords, strict=True))
    axis = buffer.layout.partition
    if axis is not None and buffer.has_tiles:
        own = at[axis]
        start = rows.start * own.step + own.start + buffer.origin[axis] * -1
        tile = start.divided_by(buffer.layout.rows)
        parts.append(DimSlice(tile, rows.tiles if rows.tiles > 1 else None))
        if rows.tiles > 1:
            names.append("tiles")
    for free_axis in buffer.free:
        part, name = _free_part(free_axis, at[free_axis], buffer, ranges)
        parts.append(part)
        if part.size is not None:
            names.append(name)
    if len(names) == 1:  # a tile on chip keeps at least two dimensions
        names.append("one")
        if len(parts) == 1:
            parts.append(DimSlice(0, 1))
        else:
            last = parts[-1]
            parts[-1] = DimSlice(last.offset, 1)
    wanted: list[Axis | str] = ["rows"]
    sizes = [rows.rows]
    if rows.tiles > 1:
        wanted.append("tiles")
        sizes.append(rows.tiles)
    for wanted_axis in order:
        size = ranges.get(wanted_axis, full(wanted_axis)).size
        if size > 1:
            wanted.append(wanted_axis)
            sizes.append(size)
    view = b.slice(buffer.value, parts)
    return _arrange(b, view, names, wanted, sizes)


def _free_part(
    axis: Axis, coord: Coord, buffer: Buffer, ranges: Ranges
) -> tuple[DimSlice, Axis | str]:
    base = buffer.origin[axis] * -1 + coord.start
    if coord.axis is None:
        return DimSlice(base, None), ""
    block = ranges.get(coord.axis, full(coord.axis))
    start = base + block.start * coord.step
    if block.size == 1:
        return DimSlice(start, None), ""
    return DimSlice(start, block.size, coord.step), coord.axis


def _arrange(
    b: Builder,
    view: Value,
    names: list[Axis | str],
    wanted: list[Axis | str],
    sizes: list[int],
) -> Value:
    """Permute and broadcast a view's dimensions ``names`` into ``wanted``."""
    present = [n for n in wanted if n in names]
    if len(wanted) == 1:
        return view
    if names[-1] == "one":  # one value per partition, repeated over everything wanted
        return b.broadcast(view, tuple(sizes), (0, len(sizes) - 1))
    view = b.permute(view, [names.index(n) for n in present])
    return b.broadcast(view, tuple(sizes), [wanted.index(n) for n in present])


def for_blocks(
    b: Builder, axis: Axis, ranges: Ranges, block: int, body: Callable[[Ranges], None]
) -> None:
    """Run ``body`` for each block of the axis: a loop over the full ones, then the remainder."""
    whole = ranges.get(axis, full(axis))
    trips, rest = divmod(whole.size, block)
    if trips > 1:
        b.repeat(
            f"i_{axis.name}",
            trips,
            lambda i: body({**ranges, axis: Range(whole.start + i * block, block)}),
        )
    elif trips == 1:
        body({**ranges, axis: Range(whole.start, block)})
    if rest:
        body({**ranges, axis: Range(whole.start + trips * block, rest)})


def for_each(
    b: Builder, axes: Sequence[Axis], ranges: Ranges, body: Callable[[Ranges], None]
) -> None:
    """Run ``body`` for every index of ``axes``, as nested loops."""
    if not axes:
        body(ranges)
        return
    for_blocks(b, axes[0], ranges, 1, lambda inner: for_each(b, axes[1:], inner, body))


def for_tiles(b: Builder, rows: Rows, body: Callable[[Rows], None]) -> None:
    """Run ``body`` for each single partition tile of a group."""
    if rows.tiles == 1:
        body(rows)
        return
    name = f"p_{rows.axis.name}" if rows.axis else "p"
    b.repeat(
        name,
        rows.tiles,
        lambda i: body(Rows(rows.axis, rows.start + i * rows.rows, 1, rows.rows)),
    )


def for_tile_groups(
    b: Builder, rows: Rows, most: int, body: Callable[[Rows], None], *, unrolled: bool = False
) -> None:
    """Run ``body`` for parts of up to ``most`` partition tiles of a group: in a loop, or one after
    the other."""
    if rows.tiles <= most:
        body(rows)
        return
    trips, rest = divmod(rows.tiles, most)
    step = most * rows.rows
    if unrolled:
        for trip in range(trips):
            body(Rows(rows.axis, rows.start + trip * step, most, rows.rows))
    else:
        for_tiles(
            b,
            Rows(rows.axis, rows.start, trips, step),
            lambda part: body(Rows(rows.axis, part.start, most, rows.rows)),
        )
    if rest:
        body(Rows(rows.axis, rows.start + trips * step, rest, rows.rows))


PSUM_COPIES = 2
"""Of a PSUM tile, so that one is taken out while the next is made; a segment may have more."""
MAX_ELEMENTS = 32768  # elements per partition in one instruction, half of the documented 64 Ki


def for_instructions(
    b: Builder,
    rows: Rows,
    order: Sequence[Axis],
    ranges: Ranges,
    body: Callable[[Rows, Ranges], object],
    *,
    most: int = MAX_ELEMENTS,
    max_dims: int = MAX_FREE_DIMS,
) -> None:
    """Run ``body`` over parts of a group that one instruction can take, the largest possible."""
    long = [a for a in order if ranges.get(a, full(a)).size > 1]
    elements = rows.tiles
    for axis in long:
        elements *= ranges.get(axis, full(axis)).size
    dims = len(long) + (rows.tiles > 1)
    if elements <= most and dims <= max_dims:
        body(rows, ranges)
    elif rows.tiles > 1:
        for_tiles(
            b, rows, lambda one: for_instructions(
                b, one, order, ranges, body, most=most, max_dims=max_dims
            )
        )  # fmt: skip
    else:
        size = ranges.get(long[0], full(long[0])).size
        rest = elements // size
        block = 1 if dims > max_dims or rest >= most else max(1, most // rest)
        for_blocks(
            b,
            long[0],
            ranges,
            block,
            lambda inner: for_instructions(
                b, rows, order, inner, body, most=most, max_dims=max_dims
            ),
        )


def for_patterns(
    b: Builder,
    buffer: Buffer,
    coords: Sequence[Coord],
    rows: Rows,
    order: Sequence[Axis],
    ranges: Ranges,
    body: Callable[[Rows, Ranges], object],
) -> None:
    """Run ``body`` over parts of a group whose ``tile_view`` an access pattern holds: all of it if
    possible, else equal parts of the outermost dimension that is too long or whose elements are
    too far apart, or, of too many dimensions, each index of the outermost."""
    again = partial(for_patterns, b, buffer, coords, order=order, body=body)
    dims = _view_dims(buffer, coords, rows, order, ranges)
    crowded = len(merge_dims([dim for _, dim in dims])) > MAX_FREE_DIMS
    for axis, (extent, stride) in dims:
        if extent == 1 or (fits_pattern(extent, stride) and not crowded):
            continue
        parts = -(-extent // MAX_EXTENT) if fits_pattern(2, stride) and not crowded else extent
        block = -(-extent // parts)
        if axis is None:
            for_tile_groups(b, rows, block, lambda part: again(rows=part, ranges=ranges))
        else:
            for_blocks(b, axis, ranges, block, lambda inner: again(rows=rows, ranges=inner))
        return
    body(rows, ranges)


def _view_dims(
    buffer: Buffer, coords: Sequence[Coord], rows: Rows, order: Sequence[Axis], ranges: Ranges
) -> list[tuple[Axis | None, tuple[int, int]]]:
    """(extent, stride in elements) of the free dimensions of a ``tile_view``: first of the tiles,
    whose axis is None here, then of ``order``."""
    shape = buffer.value.type.shape
    strides = [math.prod(shape[at + 1 :]) for at in range(len(shape))]
    apart: dict[Axis | None, int] = {None: strides[1]} if buffer.has_tiles else {}
    at = dict(zip(buffer.axes, coords, strict=True))
    for own, stride in zip(reversed(buffer.free), reversed(strides), strict=False):
        coord = at[own]
        if coord.axis is not None:
            apart[coord.axis] = stride * coord.step
    sizes: dict[Axis | None, int] = {None: rows.tiles}
    sizes |= {axis: ranges.get(axis, full(axis)).size for axis in order}
    return [(axis, (size, apart.get(axis, 0))) for axis, size in sizes.items()]
