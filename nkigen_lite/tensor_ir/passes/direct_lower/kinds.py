"""Emitting one step of a segment, by kind: where its tiles come from and which instructions run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.types import Affine
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord, Step
from nkigen_lite.tensor_ir.passes.axes.tiles import partition_tile
from nkigen_lite.tensor_ir.passes.direct_lower import memory
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Buffer,
    Range,
    Ranges,
    Rows,
    for_blocks,
    for_each,
    for_instructions,
    for_tiles,
    full,
    new_buffer,
    row_groups,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.direct_lower.masked import emit_masked
from nkigen_lite.tensor_ir.passes.direct_lower.matmul import (
    Accumulation,
    contract,
    emit_matmul,
    new_psum,
    roles,
)
from nkigen_lite.tensor_ir.passes.direct_lower.moments import emit_moments
from nkigen_lite.tensor_ir.passes.direct_lower.reduce import (
    Sides,
    combine,
    emit_reduce,
    identity_start,
)
from nkigen_lite.tensor_ir.passes.direct_lower.step_parts import operands_of, pointwise_part
from nkigen_lite.tensor_ir.passes.schedule import Impl, in_view_axes

if TYPE_CHECKING:
    from nkigen_lite.tensor_ir.passes.direct_lower.segment import SegmentLowering


def pointwise(
    s: SegmentLowering,
    step: Step,
    impl: Impl,
    dst: Buffer,
    coords: Sequence[Coord],
    ranges: Ranges,
    _: int,
) -> None:
    """One pass over the block, an instruction for as much of it as possible."""
    order = [a for a in step.write.axes if a != impl.partition]

    def parts(group: Rows) -> None:
        part = partial(pointwise_part, s, step, impl, dst, coords)
        each = partial(
            for_instructions, s.b, group, order, body=lambda rows, inner: part(rows, order, inner)
        )
        for_each(s.b, _one_by_one(step, order, ranges), ranges, each)

    reduced = s.reader_of_rows(step) is not None
    for group in row_groups(impl.partition, ranges, _rows(s, impl)):
        if reduced or _pays_by_tile(step, order, ranges):
            for_tiles(s.b, group, parts)
        else:
            parts(group)


_LONG_ROW = 32  # elements from which an instruction per tile costs less than a broadcast operand


def _pays_by_tile(step: Step, order: Sequence[Axis], ranges: Ranges) -> bool:
    """Whether an operand is one value per partition of each tile: an instruction takes the column
    of a single tile as a pointer, at twice to four times the rate of two full operands."""
    sizes = {a: ranges.get(a, full(a)).size for a in order}
    varying = [
        any(sizes.get(a, 1) > 1 for a in view.axes)
        for view in step.reads
        if view.storage.kind != "constant"
    ]
    return any(varying) and not all(varying) and math.prod(sizes.values()) >= _LONG_ROW


_LONG_PART = 512  # elements from which an instruction per index costs less


def _one_by_one(step: Step, order: Sequence[Axis], ranges: Ranges) -> list[Axis]:
    """The outer axes of which each index is worth an instruction of its own, as operands that lack
    the inner ones are then one value per partition."""
    sizes = {a: ranges.get(a, full(a)).size for a in order}
    long = [a for a in order if sizes[a] > 1]
    views = [set(v.axes) for v in step.reads if v.storage.kind != "constant"]
    outer = {a for axes in views for a in long if a in axes and not axes >= set(long)}
    inner = math.prod(sizes[a] for a in long if a not in outer)
    leads = set(long[: len(outer)]) == outer
    return long[: len(outer)] if leads and inner >= _LONG_PART else []


def _rows(s: SegmentLowering, impl: Impl) -> int:
    return partition_tile(impl.partition.extent) if impl.partition else impl.rows


def matmul(
    s: SegmentLowering,
    step: Step,
    impl: Impl,
    dst: Buffer,
    coords: Sequence[Coord],
    ranges: Ranges,
    writer: int,
) -> None:
    """Contract, and drain each PSUM tile through the epilogue if there is one."""
    if step.write.storage in s.in_psum:
        emit_matmul(s.b, step, impl, operands_of(s, step, impl), ranges, into=(dst, coords))
        return
    position = s.segment.steps.index(step)
    split = s.split_at(writer, ranges) if writer != position else None
    if split is not None:
        emit_masked(s, step, impl, dst, coords, ranges, split)
        return
    drain = _drain(s, step, impl, dst, coords, writer if writer != position else None)
    if s.segment.stream and step is s.streaming_step():
        _streamed_matmul(s, step, impl, ranges, drain)
    else:
        banks, apart = s.segment.run.psum_banks, s.reader_of_rows(s.segment.steps[writer])
        operands = operands_of(s, step, impl)
        emit_matmul(s.b, step, impl, operands, ranges, drain, banks=banks, together=apart is None)


def _drain(
    s: SegmentLowering,
    step: Step,
    impl: Impl,
    dst: Buffer,
    coords: Sequence[Coord],
    epilogue: int | None,
) -> Callable[[Value, Rows, Ranges], None]:
    r = roles(step, impl)
    order = [*r.outer, *r.moving]

    def drain(acc: Value, rows: Rows, ranges: Ranges) -> None:
        if epilogue is None:
            s.b.tensor_copy(tile_view(s.b, dst, coords, rows, order, ranges), acc)
            return
        after = s.segment.steps[epilogue]
        s.psum[step.write.storage] = (acc, rows)
        pointwise_part(s, after, s.segment.impls[epilogue], dst, coords, rows, order, ranges, acc)
        del s.psum[step.write.storage]

    return drain


def _streamed_matmul(
    s: SegmentLowering,
    step: Step,
    impl: Impl,
    ranges: Ranges,
    drain: Callable[[Value, Rows, Ranges], None],
) -> None:
    """One PSUM tile, the contraction in blocks that are loaded inside its loop."""
    stream = s.segment.stream
    assert stream is not None
    r = roles(step, impl)
    groups = list(row_groups(r.rows, ranges, partition_tile(r.rows.extent) if r.rows else 1))
    assert [g.tiles for g in groups] == [1], "a streamed matmul has one PSUM tile"
    acc = new_psum(s.b, r, groups[0], ranges)
    sums = Accumulation()
    top = s.b.graph

    def block(inner: Ranges) -> None:
        before = dict(s.blocks)
        opened = s.b.graph is not top
        if opened:
            sums.indices.append(s.b.graph.inputs[0])
        for position, view in enumerate(step.reads):
            if stream.axis in view.axes:
                s.load(step, impl, position, inner)
        contract(s.b, r, operands_of(s, step, impl), acc, groups[0], inner, sums)
        if opened:
            sums.indices.pop()
        s.blocks = before

    for_blocks(s.b, stream.axis, ranges, stream.block, block)
    drain(acc, groups[0], ranges)


def reduce(
    s: SegmentLowering,
    step: Step,
    impl: Impl,
    dst: Buffer,
    coords: Sequence[Coord],
    ranges: Ranges,
    _: int,
) -> None:
    """Reduce the block, or run over it in blocks of the streamed axis."""
    stream, negate = s.segment.stream, step.write.storage in s.negated
    if step in s.partial:
        parts, along = s.partial.pop(step)
        own = [Coord(a) for a in parts.axes]
        rows = {**ranges, along: Range(Affine(), parts.sizes[along])}
        emit_reduce(s.b, step, impl, Sides(parts, own, dst, coords, negate), rows)
        return
    if stream is None or step is not s.streaming_step():
        src, at = s.source(step, impl, 0)
        emit_reduce(s.b, step, impl, Sides(src, at, dst, coords, negate), ranges)
        return
    wide = DType.F32 if dst.dtype.is_float else dst.dtype
    axes = step.write.axes
    layout = in_view_axes(step.write, dst.layout)
    running = new_buffer(s.b, "running", axes, layout, wide, ranges)
    own = [Coord(a) for a in axes]
    identity_start(s.b, step, running)

    def block(inner: Ranges) -> None:
        before = dict(s.blocks)
        s.load(step, impl, 0, inner)
        src, at = s.source(step, impl, 0)
        part = new_buffer(s.b, "part", axes, layout, wide, inner)
        emit_reduce(s.b, step, impl, Sides(src, at, part, own), inner)
        combine(s.b, step, running, part)
        s.blocks = before

    for_blocks(s.b, stream.axis, ranges, stream.block, block)
    order = [a for a in axes if a != layout.partition]
    for group in row_groups(layout.partition, ranges, layout.rows):
        for_instructions(
            s.b,
            group,
            order,
            ranges,
            lambda rows, inner: s.b.tensor_copy(
                tile_view(s.b, dst, coords, rows, order, inner),
                tile_view(s.b, running, own, rows, order, inner),
            ),
        )


def moments(
    s: SegmentLowering,
    step: Step,
    impl: Impl,
    dst: Buffer,
    coords: Sequence[Coord],
    ranges: Ranges,
    _: int,
) -> None:
    """Mean and variance of the rows of the block."""
    src, at = s.source(step, impl, 0)
    emit_moments(s.b, step, impl, Sides(src, at, dst, coords), ranges)


def fill(
    s: SegmentLowering,
    step: Step,
    impl: Impl,
    dst: Buffer,
    coords: Sequence[Coord],
    ranges: Ranges,
    _: int,
) -> None:
    """A constant in memory."""
    memory.fill(s.b, dst, coords, step, impl.partition, ranges)


def ramp(
    s: SegmentLowering,
    step: Step,
    impl: Impl,
    dst: Buffer,
    coords: Sequence[Coord],
    ranges: Ranges,
    _: int,
) -> None:
    """An index ramp in memory."""
    memory.ramp(s.b, dst, coords, step, impl.partition, ranges)


Emit = Callable[["SegmentLowering", Step, Impl, Buffer, Sequence[Coord], Ranges, int], None]
EMIT: dict[str, Emit] = {
    "pointwise": pointwise,
    "copy": pointwise,
    "matmul": matmul,
    "reduce": reduce,
    "moments": moments,
    "fill": fill,
    "ramp": ramp,
}
