"""Mean and variance of rows: on VectorE, on ScalarE, or of each row a part on both.

VectorE has an instruction for both values of a short run of elements (bn_stats) and one that pools
those of many runs (bn_aggr). ScalarE adds up what an activation makes, so that it takes two passes:
the mean first, then the squared distances from it. These are the values of one more run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.rows.statistics import STATS, STATS_FREE_MAX, TRIPLE
from nkigen_lite.nki_ir.types import Affine, DimSlice, MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Axis, Step
from nkigen_lite.tensor_ir.passes.axes.moments import MOMENTS
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Range,
    Ranges,
    Rows,
    for_blocks,
    for_each,
    for_tiles,
    full,
    row_groups,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.direct_lower.reduce import Sides
from nkigen_lite.tensor_ir.passes.schedule import Impl

METHODS = ("free", "scalar", "both")
_PIECE = 4096  # elements of a row from which a piece costs little more than its elements
_SHARED_FROM = 4 * STATS_FREE_MAX  # elements of a row from which two engines gain by sharing it


def emit_moments(b: Builder, step: Step, impl: Impl, sides: Sides, ranges: Ranges) -> None:
    """Write the mean and the variance of each row of the present block, [rows, *kept, 2]."""
    axis = impl.partition
    kept = [a for a in step.write.axes if a not in (axis, MOMENTS)]
    order = [a for a in step.reads[0].storage.axes if a in step.reduced]
    looped = [a for a in kept if ranges.get(a, full(a)).size > 1]

    def one(rows: Rows, inner: Ranges) -> None:
        dst = tile_view(b, sides.dst, sides.dst_coords, rows, [MOMENTS], inner)
        part = _Rows(b, sides, rows, order, inner)
        part.write(dst, impl.method)

    for group in row_groups(axis, ranges, sides.src.layout.rows):
        for_tiles(b, group, lambda rows: for_each(b, looped, ranges, lambda i: one(rows, i)))


class _Rows:
    """One row per partition: elements over ``order``, axes in the order of the storage."""

    def __init__(
        self, b: Builder, sides: Sides, rows: Rows, order: Sequence[Axis], ranges: Ranges
    ) -> None:
        self.b, self.sides, self.rows, self.order, self.ranges = b, sides, rows, order, ranges
        self.count = math.prod(self.size(a) for a in order)

    def size(self, axis: Axis) -> int:
        return self.ranges.get(axis, full(axis)).size

    def source(self, ranges: Ranges) -> Value:
        return tile_view(
            self.b, self.sides.src, self.sides.src_coords, self.rows, self.order, ranges
        )

    def column(self, tile: Value, at: int | Affine, size: int = 1) -> Value:
        return self.b.slice(tile, [DimSlice(0, tile.type.shape[0]), DimSlice(at, size)])

    def tile(self, size: int, name: str, copies: int = 2) -> Value:
        shape = (self.rows.rows, size)
        return self.b.alloc(shape, DType.F32, MemorySpace.SBUF, copies, name=name)

    def write(self, dst: Value, method: str) -> None:
        """The moments into a tile [rows, 2]."""
        long = [a for a in self.order if self.size(a) > 1]
        if method == "scalar":
            self.summed(self.ranges, self.count, dst)
        elif method == "both" and len(long) == 1 and self.count >= _SHARED_FROM:
            self.shared(long[0], dst)
        else:
            stats = self.tile(STATS * self.runs(self.ranges), "stats")
            self.in_runs(self.ranges, stats)
            self.b.bn_aggr(dst, stats)

    def shared(self, axis: Axis, dst: Value) -> None:
        """Half of the row on each engine."""
        whole = self.ranges.get(axis, full(axis))
        first = whole.size // 2 // STATS_FREE_MAX * STATS_FREE_MAX
        ours = {**self.ranges, axis: Range(whole.start, first)}
        theirs = {**self.ranges, axis: Range(whole.start + first, whole.size - first)}
        runs = self.runs(ours)
        stats = self.tile(STATS * runs + TRIPLE, "stats")
        count = whole.size - first
        triple = self.column(stats, STATS * runs, TRIPLE)
        self.b.memset(self.column(triple, 0), float(count))
        self.summed(theirs, count, self.column(triple, 1, 2), divide=False)
        self.in_runs(ours, stats)
        self.b.bn_aggr(dst, stats)

    def summed(self, ranges: Ranges, count: int, dst: Value, *, divide: bool = True) -> None:
        """On ScalarE the mean, and the sum of the squared distances from it or their mean."""
        b = self.b
        total, negative = self.tile(1, "total", 1), self.tile(1, "negative", 1)
        squares = self.tile(1, "squares_sum", 1) if divide else self.column(dst, 1)
        self.add_up(ranges, total, op="copy")
        b.activation(negative, total, op="copy", scale=-1.0 / count)
        self.add_up(ranges, squares, negative, op="square")
        b.activation(self.column(dst, 0), total, op="copy", scale=1.0 / count)
        if divide:
            b.activation(self.column(dst, 1), squares, op="copy", scale=1.0 / count)

    def add_up(self, ranges: Ranges, total: Value, *bias: Value, op: str) -> None:
        """The sum of an activation's results; a long row in pieces, so that these need no room."""
        b, axis = self.b, self.order[-1]
        whole = ranges.get(axis, full(axis))
        pieces = -(-whole.size // _PIECE)
        size = -(-whole.size // pieces)
        sums = self.tile(pieces, "sums", 1) if pieces > 1 else total
        shape = self.source({**ranges, axis: Range(whole.start, size)}).type.shape
        scratch = b.alloc(shape, DType.BF16, MemorySpace.SBUF, name="scratch")
        for piece in range(pieces):
            width = min(size, whole.size - piece * size)
            src = self.source({**ranges, axis: Range(whole.start + piece * size, width)})
            part = b.slice(scratch, [*(DimSlice(0, n) for n in shape[:-1]), DimSlice(0, width)])
            b.activation_reduce(part, self.column(sums, piece), src, *bias, op=op)
        if pieces > 1:
            b.activation_reduce(self.tile(pieces, "added", 1), total, sums, op="copy")

    # --- runs ------------------------------------------------------------------------------------

    def pivot(self, ranges: Ranges) -> tuple[int, int]:
        """The axis that is cut into runs, by position, and how many elements of it make one: all
        axes after it are within a run, each index of those before it has runs of its own."""
        inside = 1
        for position in reversed(range(len(self.order))):
            axis = self.order[position]
            size = ranges.get(axis, full(axis)).size
            if inside * size > STATS_FREE_MAX:
                pieces = -(-size // (STATS_FREE_MAX // inside))
                return position, -(-size // pieces)
            inside *= size
        return 0, ranges.get(self.order[0], full(self.order[0])).size

    def runs(self, ranges: Ranges) -> int:
        """How many runs there are."""
        position, block = self.pivot(ranges)
        sizes = [ranges.get(a, full(a)).size for a in self.order]
        return math.prod(sizes[:position]) * -(-sizes[position] // block)

    def in_runs(self, ranges: Ranges, stats: Value) -> None:
        """Both triples of each run, one run after the other."""
        position, block = self.pivot(ranges)
        axis = self.order[position]
        outer = self.order[:position]
        start = ranges.get(axis, full(axis)).start
        per_index = self.runs({**ranges, **{a: Range(Affine(), 1) for a in outer}})

        def run(inner: Ranges) -> None:
            number = (inner.get(axis, full(axis)).start + start * -1).divided_by(block)
            factor = per_index
            for each in reversed(outer):
                base = ranges.get(each, full(each)).start
                number = number + (inner[each].start + base * -1) * factor
                factor *= ranges.get(each, full(each)).size
            self.b.bn_stats(self.column(stats, number * STATS, STATS), self.source(inner))

        blocks: Callable[[Ranges], None] = lambda inner: for_blocks(  # noqa: E731
            self.b, axis, inner, block, run
        )
        for_each(self.b, outer, ranges, blocks)
