"""Contractions on the PE array, accumulated in PSUM, with an epilogue on the way out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.types import DimSlice, MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord, Step
from nkigen_lite.tensor_ir.passes.axes.tiles import partition_tile
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    PSUM_COPIES,
    Buffer,
    Range,
    Ranges,
    Rows,
    for_each,
    for_instructions,
    for_tiles,
    full,
    row_groups,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.schedule import Impl

MOVING_MAX = 512  # moving free size, and f32 elements of one PSUM bank
_PIECE_BYTES = 1 << 20  # of an operand that is loaded in pieces: what takes longer than DMAs wait
_FEW_COLUMNS = 64
"""Of a result, up to which an instruction that takes them out of PSUM costs more than its elements
(VectorE 60 cycles, ScalarE 50: aws-neuron-sdk ISA reference, see the profile of trn2)."""


@dataclass(eq=False, slots=True)
class Operands:
    """The two operands of a contraction: buffers and their coords, stationary first."""

    buffers: tuple[Buffer, Buffer]
    coords: tuple[Sequence[Coord], Sequence[Coord]]


@dataclass(frozen=True, slots=True)
class Roles:
    """The axes of a contraction by what they do.

    Attributes:
        outer: looped one index at a time: batch axes, and stationary axes besides ``rows``.
        rows: the result's partition axis, from the stationary operand, or None.
        moving: the moving operand's own axes, the result's free dimension.
        contracted: axes summed over, without the one on partitions.
        depth: the contracted axis on partitions, or None if nothing is contracted.
    """

    outer: tuple[Axis, ...]
    rows: Axis | None
    moving: tuple[Axis, ...]
    contracted: tuple[Axis, ...]
    depth: Axis | None


def roles(step: Step, impl: Impl) -> Roles:
    """Sort the axes of a matmul step under an implementation."""
    stationary = set(step.reads[impl.stationary].axes)
    moving = set(step.reads[1 - impl.stationary].axes)
    kept = step.write.axes
    return Roles(
        outer=tuple(a for a in kept if a in stationary and a != impl.out),
        rows=impl.out,
        moving=tuple(a for a in kept if a in moving and a not in stationary),
        contracted=tuple(a for a in step.reduced if a != impl.partition),
        depth=impl.partition,
    )


def piece_of(r: Roles, operand: Buffer) -> tuple[Axis, int]:
    """The axis along which a product uses up an operand, that of its outermost loop, and how much
    of it is worth a DMA of its own."""
    assert r.depth is not None
    own = [a for a in (r.rows, *r.moving) if a in operand.axes and operand.sizes[a] > MOVING_MAX]
    axis, unit = (own[0], MOVING_MAX) if own else (r.depth, partition_tile(r.depth.extent))
    size_bytes = operand.value.type.size_bytes * unit // operand.sizes[axis]
    return axis, unit * max(1, -(-_PIECE_BYTES // size_bytes))


@dataclass(eq=False)
class Accumulation:
    """Which matmul of a PSUM group overwrites: the very first one that runs.

    ``indices`` are the loops opened since the group began. The first matmul op adds whenever one
    of them is not zero; every later op runs after it, so it always adds.
    """

    started: bool = False
    indices: list[Value] = field(default_factory=list)

    def emit(self, b: Builder, dst: Value, stationary: Value, moving: Value) -> None:
        if self.started:
            b.matmul(dst, stationary, moving, accumulate=True)
        elif self.indices:
            b.matmul(dst, stationary, moving, *self.indices, accumulate=True)
        else:
            b.matmul(dst, stationary, moving, accumulate=False)
        self.started = True


Drain = Callable[[Value, Rows, Ranges], None]


def emit_matmul(
    b: Builder,
    step: Step,
    impl: Impl,
    operands: Operands,
    ranges: Ranges,
    drain: Drain | None = None,
    *,
    into: tuple[Buffer, Sequence[Coord]] | None = None,
    banks: int = 1,
    together: bool = False,
    more: Drain | None = None,
) -> None:
    """All PSUM tiles of the present block, of up to ``banks`` banks: ``drain(psum, rows, ranges)``
    takes each one out, or they are parts of a buffer in PSUM with its coords. With ``together``,
    results of few columns share a tile, whatever their rows and outer indices. ``more`` adds to
    what is in a bank, whose ranges it is told."""
    r = roles(step, impl)
    tile = partition_tile(r.rows.extent) if r.rows else 1
    most = MOVING_MAX * (1 if into else banks)
    columns = math.prod(ranges.get(a, full(a)).size for a in r.moving)
    together = together and columns <= _FEW_COLUMNS
    shared = list(r.outer) if together else []

    def part(rows: Rows, inner: Ranges) -> None:
        _one(b, r, operands, rows, inner, drain, into, more)

    def each(inner: Ranges) -> None:
        for group in row_groups(r.rows, inner, tile):
            order = [*shared, *r.moving]
            fill = partial(
                for_instructions, b, order=order, ranges=inner, body=part, most=most, max_dims=3
            )
            if together:
                fill(group)
            else:
                for_tiles(b, group, fill)

    for_each(b, [a for a in r.outer if a not in shared], ranges, each)


def _one(
    b: Builder,
    r: Roles,
    operands: Operands,
    rows: Rows,
    ranges: Ranges,
    drain: Drain | None,
    into: tuple[Buffer, Sequence[Coord]] | None,
    more: Drain | None,
) -> None:
    """One PSUM tile, a contraction per index of the outer axes and tile of rows in it."""
    acc = tile_view(b, *into, rows, r.moving, ranges) if into else new_psum(b, r, rows, ranges)

    def bank(one: Rows, part: Ranges) -> None:
        here = _part_of(b, r, acc, (rows, ranges), (one, part))
        contract(b, r, operands, here, one, part, Accumulation())
        if more is not None:
            more(here, one, part)

    def each(inner: Ranges) -> None:
        for_tiles(
            b,
            rows,
            lambda one: for_instructions(
                b, one, r.moving, inner, bank, most=MOVING_MAX, max_dims=3
            ),
        )

    with nullcontext() if more is None else b.in_pieces(MOVING_MAX):  # a bank is told its place
        for_each(b, r.outer, ranges, each)
    if drain is not None:
        drain(acc, rows, ranges)


def new_psum(b: Builder, r: Roles, rows: Rows, ranges: Ranges) -> Value:
    """A PSUM tile for the results of ``rows`` and the present part of the outer and moving axes:
    [rows, tiles if more than one, *sizes above 1]."""
    sizes = [rows.tiles, *(ranges.get(a, full(a)).size for a in (*r.outer, *r.moving))]
    shape = (rows.rows, *([s for s in sizes if s > 1] or [1]))
    return b.alloc(shape, DType.F32, MemorySpace.PSUM, PSUM_COPIES, name="acc")


def _part_of(
    b: Builder, r: Roles, acc: Value, whole: tuple[Rows, Ranges], part: tuple[Rows, Ranges]
) -> Value:
    """The part of a PSUM tile that one contraction fills: [rows, *sizes of its moving axes]."""
    (rows, ranges), (one, inner) = whole, part
    cuts = [DimSlice(0, rows.rows)]
    if rows.tiles > 1:
        cuts.append(DimSlice((one.start + rows.start * -1).divided_by(rows.rows), None))
    for axis in (*r.outer, *r.moving):
        all_of, here = ranges.get(axis, full(axis)), inner.get(axis, full(axis))
        if all_of.size > 1:
            size = here.size if here.size > 1 else None
            cuts.append(DimSlice(here.start + all_of.start * -1, size))
    if [cut.size for cut in cuts] == list(acc.type.shape) or len(cuts) == 1:
        return acc
    if all(cut.size is None for cut in cuts[1:]):  # a tile on chip keeps two dimensions
        cuts[-1] = DimSlice(cuts[-1].offset, 1)
    return b.slice(acc, cuts)


def contract(
    b: Builder,
    r: Roles,
    operands: Operands,
    acc: Value,
    rows: Rows,
    ranges: Ranges,
    group: Accumulation,
) -> None:
    """Accumulate the products over all contracted tiles of the present block into ``acc``."""
    depth_rows = partition_tile(r.depth.extent) if r.depth else 1
    groups = list(row_groups(r.depth, ranges, depth_rows))

    def product(inner: Ranges, depth: Rows) -> None:
        here = dict(inner)
        if r.rows:
            here[r.rows] = Range(rows.start, rows.rows)
        left = tile_view(
            b, operands.buffers[0], operands.coords[0], depth, [r.rows] if r.rows else [], here
        )
        right = tile_view(b, operands.buffers[1], operands.coords[1], depth, r.moving, here)
        group.emit(b, acc, left, right)

    def over_depth(inner: Ranges) -> None:
        for depth in groups:
            _counted(
                b,
                group,
                lambda body, d=depth: for_tiles(b, d, body),
                lambda d: product(inner, d),
            )

    _contract_axes(b, group, r.contracted, ranges, over_depth)


def _contract_axes(
    b: Builder,
    group: Accumulation,
    axes: Sequence[Axis],
    ranges: Ranges,
    body: Callable[[Ranges], None],
) -> None:
    if not axes:
        body(ranges)
        return
    whole = ranges.get(axes[0], full(axes[0]))

    def each(index: Range) -> None:
        _contract_axes(b, group, axes[1:], {**ranges, axes[0]: index}, body)

    def loop(run: Callable[[Range], None]) -> None:
        if whole.size == 1:
            run(whole)
            return
        name = f"k_{axes[0].name}"
        b.repeat(name, whole.size, lambda i: run(Range(whole.start + i, 1)))

    _counted(b, group, loop, each)


def _counted(
    b: Builder, group: Accumulation, loop: Callable[..., None], body: Callable[..., None]
) -> None:
    """Run a loop of accumulating matmuls, noting its index while it is open."""
    before = len(group.indices)
    top = b.graph

    def inside(*args: object) -> None:
        if b.graph is not top:
            group.indices.append(b.graph.inputs[0])
        body(*args)

    loop(inside)
    del group.indices[before:]


__all__ = [
    "Accumulation",
    "Drain",
    "Operands",
    "Roles",
    "contract",
    "emit_matmul",
    "new_psum",
    "piece_of",
    "roles",
]
