"""Changing what lies on partitions, on chip: PE transposes and products with ones."""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import DimSlice, MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord
from nkigen_lite.tensor_ir.passes.axes.tiles import PARTITIONS
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    PSUM_COPIES,
    Buffer,
    Range,
    Ranges,
    Rows,
    for_each,
    for_instructions,
    for_tiles,
    new_buffer,
    row_groups,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.schedule import Layout

# The PE array multiplies these exactly by one and moves them bit for bit.
TRANSPOSABLE = frozenset({DType.F32, DType.BF16, DType.F16})
_PSUM_ELEMENTS = 512  # f32 elements of one PSUM bank, per partition


def can_convert(dtype: DType, source: Layout, target: Layout) -> bool:
    """Whether ``convert`` has a way on chip from one layout to the other."""
    if source == target:
        return False
    if source.name == "all" and target.name == "row":
        return True
    return dtype in TRANSPOSABLE


def convert(b: Builder, source: Buffer, target: Buffer, ranges: Ranges) -> None:
    """Fill ``target`` with what ``source`` holds, in target's layout; both run over the same axes.

    Between two partition axes, or between one partition and a partition axis: PE transposes of up
    to 128 x 128. To copies on all partitions: a product with a row of ones.
    """
    if target.layout.name == "all" and source.layout.partition is None:
        _replicate(b, source, target, ranges)
    elif target.layout.name == "all":
        row = Layout(None, 1)
        middle = _row_like(b, source, row, ranges)
        _transpose(b, source, middle, ranges)
        _replicate(b, middle, target, ranges)
    elif source.layout.partition is None and target.layout.partition is None:
        first = b.slice(source.value, _first_row(source.value))
        b.tensor_copy(target.value, first)
    else:
        _transpose(b, source, target, ranges)


def _first_row(value: Value) -> list[DimSlice]:
    return [DimSlice(0, 1), *(DimSlice(0, n) for n in value.type.shape[1:])]


def _row_like(b: Builder, source: Buffer, layout: Layout, ranges: Ranges) -> Buffer:
    return new_buffer(b, "row", source.axes, layout, source.dtype, ranges)


def _identity(buffer: Buffer) -> list[Coord]:
    return [Coord(a) for a in buffer.axes]


def _transpose(b: Builder, source: Buffer, target: Buffer, ranges: Ranges) -> None:
    """Tile by tile: source partitions become target's free axis and the other way round."""
    s_axis, t_axis = source.layout.partition, target.layout.partition
    others = [a for a in source.axes if a not in (s_axis, t_axis)]

    def block(inner: Ranges, s_rows: Rows, t_rows: Rows) -> None:
        here: dict[Axis, Range] = dict(inner)
        order_s: list[Axis] = []
        order_t: list[Axis] = []
        if t_axis:
            here[t_axis] = Range(t_rows.start, t_rows.rows)
            order_s.append(t_axis)
        if s_axis:
            here[s_axis] = Range(s_rows.start, s_rows.rows)
            order_t.append(s_axis)
        src = tile_view(b, source, _identity(source), s_rows, order_s, here)
        dst = tile_view(b, target, _identity(target), t_rows, order_t, here)
        flipped = b.alloc(
            (dst.type.shape[0], dst.type.free_size),
            source.dtype,
            MemorySpace.PSUM,
            PSUM_COPIES,
            name="flip",
        )
        b.nc_transpose(flipped, src)
        b.tensor_copy(dst, flipped)

    def each(inner: Ranges) -> None:
        for s_group in row_groups(s_axis, inner, source.layout.rows if s_axis else 1):
            for t_group in row_groups(t_axis, inner, target.layout.rows if t_axis else 1):
                for_tiles(
                    b,
                    s_group,
                    lambda s_rows, t=t_group: for_tiles(  # type: ignore[misc]
                        b, t, lambda t_rows: block(inner, s_rows, t_rows)
                    ),
                )

    for_each(b, others, ranges, each)


def _replicate(b: Builder, source: Buffer, target: Buffer, ranges: Ranges) -> None:
    """Copies of partition 0 on all partitions: ones[1, 128].T @ row."""
    ones = b.alloc((1, PARTITIONS), source.dtype, MemorySpace.SBUF, name="ones")
    b.memset(ones, 1.0)
    order = list(source.axes)

    def part(rows: Rows, inner: Ranges) -> None:
        row = tile_view(b, source, _identity(source), rows, order, inner)
        dst = tile_view(
            b, target, _identity(target), Rows(None, rows.start, 1, PARTITIONS), order, inner
        )
        spread = b.alloc(dst.type.shape, DType.F32, MemorySpace.PSUM, PSUM_COPIES, name="spread")
        b.matmul(spread, ones, row)
        b.tensor_copy(dst, spread)

    for group in row_groups(None, ranges, 1):
        for_instructions(b, group, order, ranges, part, most=_PSUM_ELEMENTS)
