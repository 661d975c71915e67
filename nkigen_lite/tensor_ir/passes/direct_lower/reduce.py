"""Reductions: along the free dimension, over partitions, and in blocks with a running result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.limits import MAX_EXTENT, MAX_FREE_DIMS
from nkigen_lite.nki_ir.rows.activation import SUMMED_FREE_MAX
from nkigen_lite.nki_ir.types import Affine, DimSlice, MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord, Step
from nkigen_lite.tensor_ir.passes.axes.tiles import PARTITIONS
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    MAX_ELEMENTS,
    PSUM_COPIES,
    Buffer,
    Range,
    Ranges,
    Rows,
    for_instructions,
    for_tile_groups,
    for_tiles,
    full,
    row_groups,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.direct_lower.matmul import Accumulation
from nkigen_lite.tensor_ir.passes.schedule import Impl

ALU = {"sum": "add", "max": "maximum", "min": "minimum"}
START = {"sum": 0.0, "max": -math.inf, "min": math.inf}
_PSUM_ELEMENTS = 512
_PSUM_DIMS = 3  # free ones of what the PE array reads


@dataclass(eq=False, slots=True)
class Sides:
    """A reduction's source and destination buffers with their coords; ``negate``: a largest or
    least element along the free dimension is wanted times -1."""

    src: Buffer
    src_coords: Sequence[Coord]
    dst: Buffer
    dst_coords: Sequence[Coord]
    negate: bool = False


def kind_of(step: Step) -> str:
    """sum, max or min."""
    assert step.op is not None
    return str(step.op.attrs["kind"])


def emit_reduce(b: Builder, step: Step, impl: Impl, sides: Sides, ranges: Ranges) -> None:
    """Reduce the present block of the source into the destination."""
    emit = {"free": _free, "both": _both, "ones": _ones, "lanes": _lanes}[impl.method]
    emit(b, step, impl, sides, ranges)


def identity_start(b: Builder, step: Step, buffer: Buffer) -> None:
    """Set a running result to the value that changes nothing."""
    start = START[kind_of(step)]
    b.memset(buffer.value, start if buffer.dtype.is_float else _integer(start, buffer.dtype))


def _integer(start: float, dtype: DType) -> int:
    info = np.iinfo(dtype.np)
    return int(min(max(start, int(info.min)), int(info.max))) if start else 0


def combine(b: Builder, step: Step, into: Buffer, part: Buffer) -> None:
    """into = into op part, elementwise."""
    b.tensor_tensor_arith(into.value, into.value, part.value, op=ALU[kind_of(step)])


def _present(axes: Sequence[Axis], ranges: Ranges) -> list[Axis]:
    return [a for a in axes if ranges.get(a, full(a)).size > 1]


def _elements(axes: Sequence[Axis], ranges: Ranges) -> int:
    return math.prod(ranges.get(a, full(a)).size for a in axes)


def _free(b: Builder, step: Step, impl: Impl, sides: Sides, ranges: Ranges) -> None:
    axis = impl.partition
    kept = [a for a in step.write.axes if a != axis]
    reduced = list(step.reduced)
    for group in row_groups(axis, ranges, sides.src.layout.rows):
        _free_group(b, step, group, kept, reduced, sides, ranges)


def _both(b: Builder, step: Step, impl: Impl, sides: Sides, ranges: Ranges) -> None:
    """Sums along the free dimension, half of each row on VectorE and half on ScalarE, which adds up
    what an activation makes."""
    axis = impl.partition
    kept = _present([a for a in step.write.axes if a != axis], ranges)
    long = _present(step.reduced, ranges)
    sizes = [ranges.get(a, full(a)).size for a in long]
    elements = math.prod(sizes)
    if kept or len(long) not in (1, 2) or sizes[-1] < 4 or elements > SUMMED_FREE_MAX:
        _free(b, step, impl, sides, ranges)
        return
    whole = ranges.get(long[-1], full(long[-1]))
    ours, theirs = whole.size // 2, whole.size - whole.size // 2
    first = {**ranges, long[-1]: Range(whole.start, ours)}
    second = {**ranges, long[-1]: Range(whole.start + ours, theirs)}
    for group in row_groups(axis, ranges, sides.src.layout.rows):
        shape = (group.rows, group.tiles)
        added = b.alloc(shape, DType.F32, MemorySpace.SBUF, 2, name="added")
        summed = b.alloc(shape, DType.F32, MemorySpace.SBUF, 2, name="summed")
        made = b.alloc(
            (group.rows, *sizes[:-1], theirs), DType.BF16, MemorySpace.SBUF, name="scratch"
        )

        def column(of: Value, rows: Rows, start: Affine) -> Value:
            at = (rows.start + start * -1).divided_by(rows.rows)
            return b.slice(of, [DimSlice(0, rows.rows), DimSlice(at, rows.tiles)])

        def on_scalar(
            rows: Rows, start: Affine = group.start, summed: Value = summed, made: Value = made
        ) -> None:
            src = tile_view(b, sides.src, sides.src_coords, rows, long, second)
            b.activation_reduce(made, column(summed, rows, start), src, op="copy")

        def on_vector(rows: Rows, start: Affine = group.start, added: Value = added) -> None:
            src = tile_view(b, sides.src, sides.src_coords, rows, long, first)
            count = len(_present(long, first))
            b.tensor_reduce_arith(column(added, rows, start), src, op="add", num_r_dim=count)

        for_tiles(b, group, on_scalar)
        for_tile_groups(b, group, max(1, MAX_ELEMENTS // elements), on_vector)
        dst = tile_view(b, sides.dst, sides.dst_coords, group, [], ranges)
        b.tensor_tensor_arith(dst, added, summed, op="add")


def _free_group(
    b: Builder,
    step: Step,
    group: Rows,
    kept: list[Axis],
    reduced: list[Axis],
    sides: Sides,
    ranges: Ranges,
) -> None:
    """Reduce trailing axes of a group; the kept axes are looped as far as one access needs it."""

    def part(rows: Rows, inner: Ranges) -> None:
        dst = tile_view(b, sides.dst, sides.dst_coords, rows, kept, inner)
        _reduce_view(b, step, sides, rows, kept, reduced, inner, dst, negate=sides.negate)

    elements = _elements(reduced, ranges)
    for_instructions(
        b,
        group,
        kept,
        ranges,
        part,
        most=max(1, MAX_ELEMENTS // elements),
        max_dims=max(1, 4 - len(_present(reduced, ranges))),
    )


def _reduce_view(
    b: Builder,
    step: Step,
    sides: Sides,
    rows: Rows,
    kept: list[Axis],
    reduced: list[Axis],
    ranges: Ranges,
    dst: Value,
    *,
    negate: bool = False,
) -> None:
    count = len(_present(reduced, ranges))
    src = tile_view(b, sides.src, sides.src_coords, rows, [*kept, *reduced], ranges)
    if count == 0 and negate:
        b.tensor_scalar_arith(dst, src, op0="multiply", imm0=-1.0)
        return
    if count == 0:
        b.tensor_copy(dst, src)
        return
    kind = kind_of(step)
    if kind in ("max", "min"):
        src = _halved(b, src, ALU[kind])
    _reduce_last(b, dst, src, op=ALU[kind], count=count, negate=negate)


def _reduce_last(
    b: Builder, dst: Value, src: Value, *, op: str, count: int, negate: bool = False
) -> None:
    """Reduce the last ``count`` dimensions into one element for each of the others, of which there
    is one if an instruction does not take them all: then in parts, whose results are reduced."""
    shape = src.type.shape
    parts = -(-math.prod(shape[-count:]) // MAX_EXTENT)
    if parts > 1:
        longest = max(range(-count, 0), key=shape.__getitem__) + len(shape)
        block = -(-shape[longest] // parts)
        starts = range(0, shape[longest], block)
        made = b.alloc((shape[0], len(starts)), DType.F32, MemorySpace.SBUF, name="parts")
        for at, start in enumerate(starts):
            cut = [DimSlice(0, extent) for extent in shape]
            cut[longest] = DimSlice(start, min(block, shape[longest] - start))
            one = b.slice(made, [DimSlice(0, shape[0]), DimSlice(at, 1)])
            _reduce_last(b, one, b.slice(src, cut), op=op, count=count)
        src, count = made, 1
    b.tensor_reduce_arith(dst, src, op=op, num_r_dim=count, negate=negate)


_NARROW = (DType.BF16, DType.F16)
_LEAST_HALF = 256  # elements from which a halving gains more than an instruction costs


def _halved(b: Builder, src: Value, op: str) -> Value:
    """Rows with the same largest (least) element, halved while that pays.

    Between two tiles of 16-bit floats VectorE takes two elements per cycle, within one it takes one
    (aws-neuron-sdk, nki.isa reference of tensor_tensor and tensor_reduce). Neither rounds. Halves
    of an odd length share an element.
    """
    shape = src.type.shape
    narrow = src.type.dtype in _NARROW and src.type.memory is MemorySpace.SBUF
    while narrow and shape[-1] >= 2 * _LEAST_HALF:
        size = shape[-1]
        shape = (*shape[:-1], -(-size // 2))
        whole = [DimSlice(0, n) for n in shape[:-1]]
        left, right = (
            b.slice(src, [*whole, DimSlice(start, shape[-1])]) for start in (0, size - shape[-1])
        )
        half = b.alloc(shape, src.type.dtype, MemorySpace.SBUF, name="half")
        src = b.tensor_tensor_arith(half, left, right, op=op)
    return src


def _of_tiles(
    b: Builder, step: Step, impl: Impl, sides: Sides, rows: Rows, kept: list[Axis], ranges: Ranges
) -> Value:
    """The source of some partition tiles, with its free reduced axes and the tiles added up, and
    the rows of a tile still there.

    Shape [rows, *kept]. If nothing along the free dimension is reduced this is a view.
    """
    reduced = [a for a in step.reduced if a != impl.partition]
    src = tile_view(b, sides.src, sides.src_coords, rows, [*kept, *reduced], ranges)
    count = len(_present(reduced, ranges))
    if rows.tiles > 1:
        dims = list(range(src.type.rank))
        src = b.permute(src, [0, *dims[2:], 1])
        count += 1
    if count == 0:
        return src
    sizes = [ranges.get(a, full(a)).size for a in _present(kept, ranges)] or [1]
    partial = b.alloc((rows.rows, *sizes), DType.F32, MemorySpace.SBUF, 2, name="partial")
    kind = kind_of(step)
    if rows.tiles == 1 and kind in ("max", "min"):
        src = _halved(b, src, ALU[kind])
    _reduce_last(b, partial, src, op=ALU[kind], count=count)
    return partial


def _tiles_together(groups: Sequence[Rows], long: Sequence[Axis], ranges: Ranges) -> int:
    """Elements per result and partition if all tiles of a group are reduced at once along with the
    axes ``long``; 0 if that has too many dimensions or elements for one access."""
    tiles = max(group.tiles for group in groups)
    elements = tiles * _elements(long, ranges)
    return elements if len(long) + 2 <= MAX_FREE_DIMS and elements <= MAX_EXTENT else 0


def _ones(b: Builder, step: Step, impl: Impl, sides: Sides, ranges: Ranges) -> None:
    """Sum over partitions: ones[rows, 128].T @ x puts the sum on all 128 partitions.

    The PE array multiplies f32 in four passes: VectorE adds up tiles of them in less time.
    """
    kept = list(step.write.axes)
    groups = list(row_groups(impl.partition, ranges, sides.src.layout.rows))
    long = _present([a for a in step.reduced if a != impl.partition], ranges)
    dtype = DType.F32 if long else sides.src.dtype
    together = _tiles_together(groups, long, ranges) if dtype is DType.F32 else 0
    ones = b.alloc((groups[0].rows, PARTITIONS), dtype, MemorySpace.SBUF, name="ones")
    b.memset(ones, 1.0)

    def part(whole: Rows, inner: Ranges) -> None:
        dst = tile_view(b, sides.dst, sides.dst_coords, whole, kept, inner)
        acc = b.alloc(dst.type.shape, DType.F32, MemorySpace.PSUM, PSUM_COPIES, name="acc")
        sums = Accumulation()

        def add(rows: Rows) -> None:
            x = _of_tiles(b, step, impl, sides, rows, kept, inner)
            cut = [DimSlice(0, rows.rows), DimSlice(0, PARTITIONS)]
            sums.emit(b, acc, b.slice(ones, cut), x)

        for group in groups:
            top = b.graph

            def inside(rows: Rows, top: object = top) -> None:
                if b.graph is not top:
                    sums.indices.append(b.graph.inputs[0])
                add(rows)

            if together:
                add(group)
            else:
                for_tiles(b, group, inside)
            sums.indices.clear()
        if together > 1:  # VectorE goes on adding
            b.activation(dst, acc, op="copy")
        else:
            b.tensor_copy(dst, acc)

    most = min(_PSUM_ELEMENTS, max(1, MAX_ELEMENTS // (together or _elements(long, ranges))))
    dims = min(_PSUM_DIMS, max(1, MAX_FREE_DIMS - len(long) - bool(together)))
    for whole in row_groups(None, ranges, PARTITIONS):
        for_instructions(b, whole, kept, ranges, part, most=most, max_dims=dims)


def _lanes(b: Builder, step: Step, impl: Impl, sides: Sides, ranges: Ranges) -> None:
    """Over partitions on GpSimd, once VectorE has reduced their tiles; min as -max(-x)."""
    kept = list(step.write.axes)
    kind = kind_of(step)
    groups = list(row_groups(impl.partition, ranges, sides.src.layout.rows))
    long = _present([a for a in step.reduced if a != impl.partition], ranges)
    together = _tiles_together(groups, long, ranges)
    at_once = len(groups) == 1 and (together or groups[0].tiles == 1)

    def part(whole: Rows, inner: Ranges) -> None:
        dst = tile_view(b, sides.dst, sides.dst_coords, whole, kept, inner)
        if at_once and dst.type.dtype is DType.F32:
            _across(b, kind, dst, _of_tiles(b, step, impl, sides, groups[0], kept, inner))
            return
        running = b.alloc(dst.type.shape, DType.F32, MemorySpace.SBUF, name="running")
        b.memset(running, START[kind])

        def one(rows: Rows) -> None:
            x = _of_tiles(b, step, impl, sides, rows, kept, inner)
            found = b.alloc(dst.type.shape, DType.F32, MemorySpace.SBUF, name="lanes")
            _across(b, kind, found, x)
            b.tensor_tensor_arith(running, running, found, op=ALU[kind])

        for group in groups:
            if together:
                one(group)
            else:
                for_tiles(b, group, one)
        b.tensor_copy(dst, running)

    most = max(1, MAX_ELEMENTS // (together or _elements(long, ranges)))
    dims = max(1, MAX_FREE_DIMS - len(long) - bool(together))
    for whole in row_groups(None, ranges, 1):
        for_instructions(b, whole, kept, ranges, part, most=most, max_dims=dims)


def _across(b: Builder, kind: str, dst: Value, x: Value) -> None:
    if kind != "min":
        b.cross_lane_reduce_arith(dst, x, op=ALU[kind])
        return
    flipped = b.alloc(x.type.shape, DType.F32, MemorySpace.SBUF, name="flipped")
    b.tensor_scalar_arith(flipped, x, op0="multiply", imm0=-1.0)
    b.cross_lane_reduce_arith(dst, flipped, op="maximum")
    b.tensor_scalar_arith(dst, dst, op0="multiply", imm0=-1.0)


__all__ = ["Sides", "combine", "emit_reduce", "identity_start", "kind_of"]
