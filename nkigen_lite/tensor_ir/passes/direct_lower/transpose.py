"""Changing what lies on partitions, on chip: PE transposes and products with ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cost_models import dma_transposes
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import Affine, DimSlice, MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord
from nkigen_lite.tensor_ir.passes.axes.tiles import PARTITIONS
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    PSUM_COPIES,
    Buffer,
    Range,
    Ranges,
    Rows,
    for_blocks,
    for_each,
    for_instructions,
    for_tile_groups,
    for_tiles,
    full,
    new_buffer,
    row_groups,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.schedule import Layout

# The PE array multiplies these exactly by one and moves them bit for bit.
TRANSPOSABLE = frozenset({DType.F32, DType.BF16, DType.F16})
PSUM_BYTES = 2048  # of one bank, per partition
_STARTS = (32, 64)
"""Partitions at whose multiples as many may start (aws-neuron-sdk nki.isa, start partitions)."""
_PSUM_ELEMENTS = PSUM_BYTES // DType.F32.itemsize


def can_convert(dtype: DType, source: Layout, target: Layout) -> bool:
    """Whether ``convert`` has a way on chip from one layout to the other."""
    if source == target:
        return False
    if source.name == "all" and target.name == "row":
        return True
    return dtype in TRANSPOSABLE


def convert(
    b: Builder, source: Buffer, target: Buffer, ranges: Ranges, *, in_turn: int = 1
) -> None:
    """Fill ``target`` with what ``source`` holds, in target's layout; both run over the same axes.
    Copies out of PSUM come in groups of ``in_turn`` where that many engines make them.

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
        first = Rows(None, Affine(), 1, 1)
        views = (
            tile_view(b, buffer, _identity(buffer), first, source.axes, ranges)
            for buffer in (target, source)
        )
        b.tensor_copy(*views)
    else:
        _transpose(b, source, target, ranges, in_turn)


def _row_like(b: Builder, source: Buffer, layout: Layout, ranges: Ranges) -> Buffer:
    return new_buffer(b, "row", source.axes, layout, source.dtype, ranges)


def _identity(buffer: Buffer) -> list[Coord]:
    return [Coord(a) for a in buffer.axes]


def _transpose(
    b: Builder, source: Buffer, target: Buffer, ranges: Ranges, in_turn: int = 1
) -> None:
    """Tile by tile: source partitions become target's free axis and the other way round.

    As many transposed tiles as a PSUM bank holds leave it in one copy.
    """
    s_axis, t_axis = source.layout.partition, target.layout.partition
    others = [a for a in source.axes if a not in (s_axis, t_axis)]

    s_tiles = _tiles(source, ranges)
    t_tiles = _tiles(target, ranges)
    wide = max(others, key=lambda a: ranges.get(a, full(a)).size, default=None)
    across = wide if wide and s_tiles == t_tiles == 1 else None

    def each(inner: Ranges) -> None:
        turning = _Turning(b, source, target, inner, in_turn)
        for s_group in row_groups(s_axis, inner, source.layout.rows if s_axis else 1):
            for t_group in row_groups(t_axis, inner, target.layout.rows if t_axis else 1):
                if across:
                    turning.across(across, s_group, t_group)
                else:
                    turning.groups(s_group, t_group)

    for_each(b, [a for a in others if a != across], ranges, each)


def _tiles(buffer: Buffer, ranges: Ranges) -> int:
    """Partition tiles of the present block."""
    axis = buffer.layout.partition
    return -(-ranges.get(axis, full(axis)).size // buffer.layout.rows) if axis else 1


@dataclass(frozen=True, slots=True)
class _Turning:
    """Transposes between groups of partition tiles, for one index of all other axes."""

    b: Builder
    source: Buffer
    target: Buffer
    ranges: Ranges
    in_turn: int = 1

    def groups(self, s_group: Rows, t_group: Rows) -> None:
        """All pairs of tiles, collected in PSUM along the group with more of them."""
        most = max(1, PSUM_BYTES // self.source.dtype.itemsize // s_group.rows)
        if s_group.tiles >= t_group.tiles:
            for_tiles(
                self.b,
                t_group,
                lambda t: self.parts(s_group, most, lambda s: self.bank(s, t)),
            )
        else:
            for_tiles(
                self.b,
                s_group,
                lambda s: self.parts(t_group, most, lambda t: self.bank(s, t)),
            )

    def parts(self, group: Rows, most: int, bank: Callable[[Rows], None]) -> None:
        """``bank`` for parts of a group, as many one after the other as engines take turns."""

        def in_turn(part: Rows) -> None:
            each = min(most, -(-part.tiles // self.in_turn))
            for_tile_groups(self.b, part, each, bank, unrolled=True)

        for_tile_groups(self.b, group, most * self.in_turn, in_turn)

    def across(self, axis: Axis, s_rows: Rows, t_rows: Rows) -> None:
        """One pair of tiles for each index of another axis, collected in PSUM along that; of tiles
        that fill no more than half of the partitions there, several in one transpose."""
        b = self.b
        beside = _beside(t_rows, self.ranges.get(axis, full(axis))) if s_rows.rows > 1 else 1
        slots = max(1, PSUM_BYTES // self.source.dtype.itemsize // s_rows.rows)

        def bank(inner: Ranges) -> None:
            here = inner[axis]
            packed = beside if here.size % beside == 0 else 1
            count = [here.size // packed] if here.size > packed else []
            shape = (packed * t_rows.rows, *count, s_rows.rows)
            flipped = b.alloc(shape, self.source.dtype, MemorySpace.PSUM, PSUM_COPIES, name="flip")

            def one(part: Ranges) -> None:
                slot = (part[axis].start + here.start * -1).divided_by(packed)
                parts = [DimSlice(0, shape[0]), *[DimSlice(slot, None) for _ in count]]
                at = _Turning(b, self.source, self.target, part)
                dst = b.slice(flipped, [*parts, DimSlice(0, s_rows.rows)])
                b.nc_transpose(dst, at.tile(self.source, s_rows, t_rows, [axis]))

            for_blocks(b, axis, inner, packed, one)
            for number in range(packed):
                every = Range(here.start.divided_by(packed), here.size // packed)
                at = _Turning(b, self.source, self.target, {**inner, axis: every})
                dst = at.tile(self.target, t_rows, s_rows, [axis], Coord(axis, number, packed))
                rows = DimSlice(number * t_rows.rows, t_rows.rows)
                src = b.slice(flipped, [rows, *(DimSlice(0, n) for n in shape[1:])])
                b.tensor_copy(dst, b.reshape(src, dst.type.shape) if packed == 1 else src)

        for_blocks(b, axis, self.ranges, slots * beside, bank)

    def bank(self, s_rows: Rows, t_rows: Rows) -> None:
        """The tiles of one bank: several of source's or several of target's."""
        b, count = self.b, max(s_rows.tiles, t_rows.tiles)
        shape = (t_rows.rows, *([count] if count > 1 else []), s_rows.rows)
        copies = PSUM_COPIES if self.in_turn == 1 else 1  # those that are taken in turn alternate
        flipped = b.alloc(shape, self.source.dtype, MemorySpace.PSUM, copies, name="flip")

        def one(single: Rows, group: Rows) -> None:
            whole = [DimSlice(0, n) for n in (t_rows.rows, s_rows.rows)]
            if count > 1:
                slot = (single.start + group.start * -1).divided_by(group.rows)
                whole.insert(1, DimSlice(slot, None))
            s, t = (single, t_rows) if group is s_rows else (s_rows, single)
            b.nc_transpose(b.slice(flipped, whole), self.tile(self.source, s, t))

        group = s_rows if s_rows.tiles > 1 else t_rows
        for_tiles(b, group, lambda single: one(single, group))
        dst = self.tile(self.target, t_rows, s_rows)
        b.tensor_copy(dst, b.reshape(flipped, dst.type.shape))

    def tile(
        self,
        buffer: Buffer,
        rows: Rows,
        free: Rows,
        outer: Sequence[Axis] = (),
        along: Coord | None = None,
    ) -> Value:
        """The tiles ``rows`` of a buffer, with ``free`` along its free dimension; ``along`` says
        which indices of its axis are meant, if not those of the ranges themselves."""
        here = dict(self.ranges)
        for part in (rows, free):
            if part.axis:
                here[part.axis] = Range(part.start, part.tiles * part.rows)
        order = [*outer, *([free.axis] if free.axis else [])]
        coords = [along if along and along.axis == a else Coord(a) for a in buffer.axes]
        return tile_view(self.b, buffer, coords, rows, order, here)


def _beside(rows: Rows, along: Range) -> int:
    """How many tiles of so many rows one transpose puts on the partitions, each at a legal start:
    one for each of neighbouring indices."""
    fitting = PARTITIONS // rows.rows if rows.rows in _STARTS else 1
    return fitting if along.start.is_multiple_of(fitting) and along.size >= fitting else 1


def can_turn_by_dma(source: Buffer, target: Buffer) -> bool:
    """Whether a DMA can make the target of the source: columns of elements that it moves."""
    between = source.layout.partition is not None and target.layout.partition is not None
    return between and dma_transposes(source.dtype.itemsize)


def turn_by_dma(b: Builder, source: Buffer, target: Buffer, ranges: Ranges) -> None:
    """As ``convert`` between two partition axes, by DMAs from SBUF to SBUF: one for each tile of
    source's partitions, with all full tiles of target's."""
    s_axis, t_axis = source.layout.partition, target.layout.partition
    assert s_axis is not None
    assert t_axis is not None
    others = [a for a in source.axes if a not in (s_axis, t_axis)]

    def one(inner: Ranges, t: Rows, s: Rows) -> None:
        turning = _Turning(b, source, target, inner)
        columns = turning.tile(source, s, t)
        if t.tiles > 1:
            columns = b.reshape(columns, (s.rows, t.tiles, t.rows))
        b.dma_transpose(turning.tile(target, t, s), columns)

    def each(inner: Ranges) -> None:
        for t_group in row_groups(t_axis, inner, target.layout.rows):
            turn = partial(one, inner, t_group)
            for s_group in row_groups(s_axis, inner, source.layout.rows):
                for_tiles(b, s_group, turn)

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
