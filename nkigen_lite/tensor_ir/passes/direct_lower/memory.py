"""Moving data: HBM to SBUF and back, copies in HBM, fills and ramps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import DimSlice, MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord, Step, Storage, View
from nkigen_lite.tensor_ir.passes.axes.direct import Division, Run, division_of, run_in_hbm
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Buffer,
    Ranges,
    Rows,
    for_blocks,
    for_each,
    for_instructions,
    for_patterns,
    for_tiles,
    full,
    row_groups,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.packed import Packed, packing_of


@dataclass(eq=False)
class Hbm:
    """The HBM buffers of a kernel, by storage.

    Attributes:
        packed_buffers: of weights that the host has packed.
        prologue: where buffers and reshaped views of them are made, once each; the kernel starts
            with it, so that every loop body sees them.
    """

    b: Builder
    buffers: dict[Storage, Value] = field(default_factory=dict)
    prologue: Graph = field(init=False)
    packed_buffers: dict[tuple[Storage, Packed], Value] = field(default_factory=dict)
    _views: dict[tuple[Storage, tuple[int, ...]], Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prologue = Graph("prologue", self.b.graph.dialect)
        self.prologue.counter = self.b.graph.counter

    def shaped(self, storage: Storage, shape: tuple[int, ...]) -> Value:
        """The whole buffer under another shape."""
        found = self._views.get((storage, shape))
        if found is None:
            with self.in_prologue():
                found = self.b.reshape(self.buffers[storage], shape)
            self._views[storage, shape] = found
        return found

    def packed(self, storage: Storage, packed: Packed) -> Value:
        """The buffer of a packed weight; if there is none yet, a new one."""
        key = storage, packed
        if key not in self.packed_buffers:
            with self.in_prologue():
                self.packed_buffers[key] = self.b.alloc(
                    packing_of(*key).shape, storage.dtype, MemorySpace.HBM
                )
        return self.packed_buffers[key]

    def allocate(self, storage: Storage) -> None:
        """Make an HBM buffer for an intermediate."""
        with self.in_prologue():
            self.buffers[storage] = self.b.alloc(
                storage.shape, storage.dtype, MemorySpace.HBM, name=f"{storage.name}_hbm"
            )

    @contextmanager
    def in_prologue(self) -> Iterator[None]:
        """Build into the prologue for a while."""
        present, self.b.graph = self.b.graph, self.prologue
        try:
            yield
        finally:
            self.b.graph = present

    def view(
        self,
        storage: Storage,
        coords: Sequence[Coord],
        rows: Rows,
        layout_rows: int,
        order: Sequence[Axis],
        ranges: Ranges,
    ) -> Value:
        """The window of HBM that a tile view over ``rows`` and ``order`` mirrors."""
        shape: list[int] = []
        parts: list[DimSlice] = []
        names: list[Axis | str] = []
        for axis, coord in zip(storage.axes, coords, strict=True):
            if coord.axis is not None and coord.axis == rows.axis:
                self._row_parts(axis, coord, rows, layout_rows, shape, parts, names)
                continue
            shape.append(axis.extent)
            if coord.axis is None:
                parts.append(DimSlice(coord.start, None))
                continue
            block = ranges.get(coord.axis, full(coord.axis))
            start = block.start * coord.step + coord.start
            parts.append(DimSlice(start, None if block.size == 1 else block.size, coord.step))
            if block.size > 1:
                names.append(coord.axis)
        base = self.shaped(storage, tuple(shape) or (1,))
        view = self.b.slice(base, parts) if parts else base
        return self.arrange(view, names if parts else ["one"], rows, order, ranges)

    def _row_parts(
        self,
        axis: Axis,
        coord: Coord,
        rows: Rows,
        layout_rows: int,
        shape: list[int],
        parts: list[DimSlice],
        names: list[Axis | str],
    ) -> None:
        start = rows.start * coord.step + coord.start
        if rows.tiles > 1:
            shape += [axis.extent // layout_rows, layout_rows]
            parts += [DimSlice(start.divided_by(layout_rows), rows.tiles), DimSlice(0, rows.rows)]
            names += ["tiles", "rows"]
        else:
            shape.append(axis.extent)
            parts.append(DimSlice(start, rows.rows, coord.step))
            names.append("rows")

    def arrange(
        self,
        view: Value,
        names: list[Axis | str],
        rows: Rows,
        order: Sequence[Axis],
        ranges: Ranges,
    ) -> Value:
        """A window with dimensions ``names``, as a tile view over ``rows`` and ``order``."""
        wanted: list[Axis | str] = ["rows"]
        sizes = [rows.rows]
        if rows.tiles > 1:
            wanted.append("tiles")
            sizes.append(rows.tiles)
        for axis in order:
            size = ranges.get(axis, full(axis)).size
            if size > 1:
                wanted.append(axis)
                sizes.append(size)
        if len(sizes) == 1:
            wanted.append("one")
            sizes.append(1)
        present = [n for n in wanted if n in names]
        if names == ["one"]:
            return self.b.broadcast(view, tuple(sizes), (len(sizes) - 1,))
        view = self.b.permute(view, [names.index(n) for n in present])
        return self.b.broadcast(view, tuple(sizes), [wanted.index(n) for n in present])


def splits(storage: Storage, coords: Sequence[Coord], axis: Axis | None, rows: int) -> bool:
    """Whether several partition tiles of the axis are one strided HBM access."""
    for own, coord in zip(storage.axes, coords, strict=True):
        if coord.axis is not None and coord.axis == axis:
            return coord.step == 1 and own.extent % rows == 0 and coord.start % rows == 0
    return True


def load(
    b: Builder, hbm: Hbm, view: View, buffer: Buffer, coords: Sequence[Coord], ranges: Ranges
) -> None:
    """Fill a buffer with the present block of a view; ``coords`` are the buffer's, in view axes."""
    _transfer(b, hbm, view, buffer, coords, ranges, store=False)


def store(
    b: Builder,
    hbm: Hbm,
    view: View,
    buffer: Buffer,
    coords: Sequence[Coord],
    ranges: Ranges,
    *,
    engine: str = "dma",
) -> None:
    """Write the present block of a view from a buffer, triggered by an engine."""
    _transfer(b, hbm, view, buffer, coords, ranges, store=True, engine=engine)


def _transfer(
    b: Builder,
    hbm: Hbm,
    view: View,
    buffer: Buffer,
    coords: Sequence[Coord],
    ranges: Ranges,
    *,
    store: bool,
    engine: str = "dma",
) -> None:
    layout = buffer.layout
    mine = dict(zip(buffer.axes, coords, strict=True))
    axis = mine[layout.partition].axis if layout.partition else None
    order = [a for a in view.axes if a != axis]
    copies = 1 if store else layout.rows

    def part(rows: Rows, inner: Ranges) -> None:
        outside = hbm.view(view.storage, view.coords, rows, layout.rows, order, inner)
        inside = tile_view(b, buffer, coords, rows, order, inner)
        b.dma_copy(*((outside, inside) if store else (inside, outside)), engine=engine)

    def one(rows: Rows) -> None:
        for_patterns(b, buffer, coords, rows, order, ranges, part)

    for rows in row_groups(axis, ranges, layout.rows if axis else copies):
        aligned = rows.start.is_multiple_of(layout.rows)
        if rows.tiles == 1 or (aligned and splits(view.storage, view.coords, axis, layout.rows)):
            one(rows)
        else:
            for_tiles(b, rows, one)


def load_transposed(b: Builder, hbm: Hbm, view: View, buffer: Buffer, ranges: Ranges) -> None:
    """Fill a buffer over the view's axes with its present block, transposed by the DMA: the source
    has in its rows what lies on the buffer's partitions."""
    layout = buffer.layout
    coords = [Coord(a) for a in buffer.axes]
    others = [a for a in view.axes if a != layout.partition]
    longest = max(others, key=lambda a: ranges.get(a, full(a)).size)

    def each(inner: Ranges) -> None:
        def one(rows: Rows) -> None:
            outside = hbm.view(view.storage, view.coords, rows, layout.rows, others, inner)
            dims = range(outside.type.rank)
            inside = tile_view(b, buffer, coords, rows, others, inner)
            b.dma_transpose(inside, b.permute(outside, dims[::-1]))

        for rows in row_groups(layout.partition, inner, layout.rows):
            aligned = rows.start.is_multiple_of(layout.rows)
            if aligned and splits(view.storage, view.coords, layout.partition, layout.rows):
                one(rows)
            else:
                for_tiles(b, rows, one)

    for_each(b, [a for a in others if a != longest], ranges, each)


def copy_within_hbm(b: Builder, hbm: Hbm, step: Step) -> None:
    """Copy what a step reads to where it writes, by DMAs within HBM."""
    if step.kind == "hbm_copy":
        _copy_region(b, hbm, step)
        return
    run = run_in_hbm(step)
    assert run is not None
    way = division_of(step, run)

    def one(ranges: Ranges) -> None:
        source, have = _window(hbm, step.reads[0], run, way, ranges)
        target, want = _window(hbm, step.write, run, way, ranges)
        b.dma_copy(target, b.permute(source, [have.index(name) for name in want]))

    for_blocks(b, run.axis, {}, way.block, one)


def _window(
    hbm: Hbm, view: View, run: Run, way: Division, ranges: Ranges
) -> tuple[Value, list[str]]:
    """A part of a view, with the names of its dimensions."""
    shape: list[int] = []
    parts: list[DimSlice] = []
    names: list[str] = []
    for own, coord in zip(view.storage.axes, view.coords, strict=True):
        if coord.axis is None:
            shape.append(own.extent)
            parts.append(DimSlice(coord.start, None))
        elif coord.axis == run.axis and way.outer > 1:
            size = run.size // way.outer
            shape += [own.extent // size, way.inner, size // way.inner]
            parts.append(DimSlice(coord.start // size, way.outer))
            parts += [DimSlice(0, extent) for extent in shape[-2:]]
            names += ["outer", "inner", coord.axis.name]
        else:
            block = ranges.get(coord.axis, full(coord.axis))
            shape.append(own.extent)
            parts.append(DimSlice(block.start * coord.step + coord.start, block.size, coord.step))
            names.append(coord.axis.name)
    made = hbm.b.slice(hbm.shaped(view.storage, tuple(shape)), parts)
    if way.outer > 1:
        at = names.index("outer")
        order = [*range(at), at + 1, at, *range(at + 2, len(names))]
        made, names = hbm.b.permute(made, order), [names[n] for n in order]
    return made, names


def _copy_region(b: Builder, hbm: Hbm, step: Step) -> None:
    """Copy a region of one row-major HBM buffer to a region of another."""
    source_shape, source_region = step.attrs["source"]
    target_shape, target_region = step.attrs["target"]

    def region(
        storage: Storage, shape: tuple[int, ...], parts: Sequence[tuple[int, int, int]]
    ) -> Value:
        base = hbm.shaped(storage, tuple(shape))
        return b.slice(base, [DimSlice(start, size, s) for start, size, s in parts])

    source = region(step.reads[0].storage, source_shape, source_region)
    b.dma_copy(region(step.write.storage, target_shape, target_region), source)


def fill(
    b: Builder,
    buffer: Buffer,
    coords: Sequence[Coord],
    step: Step,
    axis: Axis | None,
    ranges: Ranges,
) -> None:
    """Set every element of the written block to the step's value."""
    order = [a for a in step.write.axes if a != axis]
    value = step.attrs["value"]
    value = float(value) if buffer.dtype.is_float else int(value)
    for group in row_groups(axis, ranges, buffer.layout.rows):
        for_instructions(
            b,
            group,
            order,
            ranges,
            lambda rows, inner: b.memset(tile_view(b, buffer, coords, rows, order, inner), value),
        )


def ramp(
    b: Builder,
    buffer: Buffer,
    coords: Sequence[Coord],
    step: Step,
    axis: Axis | None,
    ranges: Ranges,
) -> None:
    """Write the running index of an iota's dimension, through f32-exact 32-bit integers."""
    order = [a for a in step.write.axes if a != axis]
    strides: dict[Axis, int] = {}
    unit = 1
    for own in reversed(step.write.axes):
        strides[own] = unit
        unit *= own.extent

    def one(rows: Rows, inner: Ranges) -> None:
        dst = tile_view(b, buffer, coords, rows, order, inner)
        long = [a for a in order if inner.get(a, full(a)).size > 1]
        pattern = [(strides[a], inner.get(a, full(a)).size) for a in long] or [(0, 1)]
        if rows.tiles > 1 and axis:
            pattern.insert(0, (strides[axis] * rows.rows, rows.tiles))
            pattern = [p for p in pattern if p != (0, 1)]
        starts = [(inner.get(a, full(a)).start, strides[a]) for a in order]
        if rows.axis:
            starts.append((rows.start, strides[rows.axis]))
        base = sum(start.const * stride for start, stride in starts)
        assert not any(start.terms for start, _ in starts), "a ramp is made in one piece"
        b.iota(
            dst,
            pattern=tuple(pattern),
            offset=base,
            channel_multiplier=strides[axis] if axis else 0,
        )

    for group in row_groups(axis, ranges, buffer.layout.rows):
        one(group, ranges)
