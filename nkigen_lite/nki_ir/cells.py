"""Which parts of a buffer the ops of a kernel use: equal cells, as fine as the accesses need.

The simulator tells uses of a buffer apart by cells. A cell is a run of elements whose length
divides the offsets and strides of the accesses, so that cells follow loop indices exactly; where
that gives too many cells, the finest offsets are left out and an access covers all that they
reach. Coarser cells only add dependencies that are not there.

Offsets count loop indices in trips, whatever the step of the loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from cost_models.simulate import Buffer, Index, Use
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.access import Access
from nkigen_lite.nki_ir.types import ON_CHIP, Affine, TileType

MOST_CELLS = 1024
"""Cells of a line; a buffer on chip has a line of partitions and one of free elements."""

MOST_PER_ACCESS = 64
"""Cells of a line that one access covers: what the simulator looks at for each execution."""


@dataclass(frozen=True, slots=True)
class Span:
    """A strided walk over one line of elements: ``offset``, in trips, plus all of ``dims``."""

    offset: Affine
    dims: tuple[tuple[int, int], ...]

    def lengths(self) -> Iterable[int]:
        """Everything that moves the walk, but for steps to the next element.

        Runs that begin where cells do share a cell only if they overlap, wherever they end.
        """
        yield abs(self.offset.const)
        yield from (abs(factor) for _, factor in self.offset.terms)
        yield from (stride for extent, stride in self.dims if extent > 1 and stride > 1)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of elements in ``cells`` cells of ``cell`` elements.

    Accesses stay on the line in all trips, as the verifier has found, so their cells do as well.
    """

    cell: int
    cells: int

    def covered(self, span: Span, loops: Mapping[Value, Loops]) -> Cover:
        """The cells of a walk: start and index factors in cells, and offsets from there."""
        exact = []
        low = high = span.offset.const % self.cell
        for value, factor in span.offset.terms:
            if factor % self.cell == 0:
                exact.append((value, factor // self.cell))
            else:
                low += min(0, factor * loops[value].last)
                high += max(0, factor * loops[value].last)
        wide = [(extent, stride) for extent, stride in span.dims if stride % self.cell]
        high += sum((extent - 1) * stride for extent, stride in wide)
        steps = [
            range(0, extent * stride // self.cell, stride // self.cell)
            for extent, stride in span.dims
            if stride and stride % self.cell == 0
        ]
        near = range(low // self.cell, high // self.cell + 1)
        offsets = {sum(at) + k for at in product(*steps) for k in near}
        return Cover(span.offset.const // self.cell, tuple(exact), tuple(sorted(offsets)))


@dataclass(frozen=True, slots=True)
class Loops:
    """A loop index as the simulator counts it: ``index``, in trips, times ``step`` is its value."""

    index: Index
    step: int
    trips: int

    @property
    def last(self) -> int:
        """The last trip."""
        return self.trips - 1


@dataclass(frozen=True, slots=True)
class Cover:
    """Cells of one line."""

    start: int
    terms: tuple[tuple[Value, int], ...]
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of a buffer: those of its partitions times those of its free elements."""

    buffer: Buffer
    partitions: Line
    free: Line

    def use(self, access: Access, loops: Mapping[Value, Loops]) -> Use:
        """The cells of an access."""
        rows, elems = (
            line.covered(span, loops)
            for line, span in zip((self.partitions, self.free), spans(access, loops), strict=True)
        )
        width = self.free.cells
        terms = [(v, f * width) for v, f in rows.terms] + list(elems.terms)
        return Use(
            self.buffer,
            tuple(r * width + e for r in rows.offsets for e in elems.offsets),
            rows.start * width + elems.start,
            tuple((loops[v].index, f) for v, f in terms),
            access.back,
        )


def spans(access: Access, loops: Mapping[Value, Loops]) -> tuple[Span, Span]:
    """The walks of an access over partitions and over free elements (in HBM: all elements)."""
    elems = Span(_in_trips(access.offset, loops), tuple(access.free_dims()))
    if access.root.type.memory not in ON_CHIP:
        return Span(Affine(), ()), elems
    return Span(_in_trips(access.partition, loops), (access.dims[0],)), elems


def _in_trips(offset: Affine, loops: Mapping[Value, Loops]) -> Affine:
    return Affine(offset.const, tuple((v, f * loops[v].step) for v, f in offset.terms))


def grid(
    name: str, root: Value, copies: int, accesses: Sequence[Access], loops: Mapping[Value, Loops]
) -> Grid:
    """Cells for a buffer that is used by ``accesses``."""
    kind = root.type
    on_chip = kind.memory in ON_CHIP
    walks = [spans(a, loops) for a in accesses]
    rows = _line(kind.partition_size if on_chip else 1, [w[0] for w in walks], loops)
    elems = _line(kind.free_size if on_chip else kind.num_elements, [w[1] for w in walks], loops)
    return Grid(Buffer(name, kind.memory.value, rows.cells * elems.cells, copies), rows, elems)


def _line(size: int, walks: Sequence[Span], loops: Mapping[Value, Loops]) -> Line:
    """The finest cells that are few enough."""
    lengths = sorted({n for walk in walks for n in walk.lengths() if 0 < n < size})
    for k in range(len(lengths)):
        cell = math.gcd(*lengths[k:])
        line = Line(cell, -(-size // cell))
        if line.cells > MOST_CELLS or not all(_few(line, walk) for walk in walks):
            continue
        covers = [line.covered(walk, loops) for walk in walks]
        if all(len(cover.offsets) <= MOST_PER_ACCESS for cover in covers):
            return line
    return Line(size, 1)


def _few(line: Line, walk: Span) -> bool:
    steps = [extent for extent, stride in walk.dims if stride and stride % line.cell == 0]
    return math.prod(steps) <= MOST_PER_ACCESS


def shared_cells(
    mine: Grid, kind: TileType, other: Grid, other_kind: TileType, apart: int
) -> list[tuple[int, int]]:
    """The pairs of cells of two on-chip buffers that have a byte in common.

    ``apart`` is how many bytes of a partition after the first the second begins.
    """
    rows = _common(mine.partitions, other.partitions, 0)
    elems = _common(
        _in_bytes(mine.free, kind.dtype.itemsize),
        _in_bytes(other.free, other_kind.dtype.itemsize),
        apart,
    )
    width, other_width = mine.free.cells, other.free.cells
    return [
        (row * width + elem, other_row * other_width + other_elem)
        for row, other_row in rows
        for elem, other_elem in elems
    ]


def _in_bytes(line: Line, itemsize: int) -> Line:
    return Line(line.cell * itemsize, line.cells)


def _common(line: Line, other: Line, apart: int) -> list[tuple[int, int]]:
    """The pairs of cells of two lines that overlap, the second ``apart`` after the first."""
    found = []
    for k in range(line.cells):
        first, last = k * line.cell - apart, (k + 1) * line.cell - 1 - apart
        low, high = max(0, first // other.cell), min(other.cells - 1, last // other.cell)
        found += [(k, near) for near in range(low, high + 1)]
    return found
