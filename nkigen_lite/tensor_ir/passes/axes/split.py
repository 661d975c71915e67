"""Long or few rows over all partitions: an axis that is reduced, in two.

A row that does not fit a partition twice would go through HBM once per op. Cut into as many pieces
as there are partitions it fits many times over, and a reduction has one part along the free
dimension and one over partitions.

Rows that are too few to fill the partitions, as the scores of a single query are, lie along them:
there a piece is what one partition holds, so that a DMA moves all of a piece in one run, of keys
and values dozens of rows instead of one.
"""

from __future__ import annotations

import math

from nkigen_lite.tensor_ir.passes.axes.program import Axis, Coord, Program, Step, Storage, View
from nkigen_lite.tensor_ir.passes.axes.tiles import PARTITIONS

_FEW_ROWS = PARTITIONS // 2
ROW_BYTES = 96 << 10
"""Of a row, from which on two of them and their results do not fit a partition (192 KiB, trn2)."""


def split_rows(program: Program) -> Program:
    """Cut in place every axis whose rows are too long, or too few, where they are reduced, in
    pieces of which there are as many as partitions or no less than half of that."""
    reduced = {a: None for s in program.steps if s.kind == "reduce" for a in s.reduced}
    for axis in reduced:
        pieces = _pieces(axis)
        wanted = pieces and (_is_long(axis, program) or _has_few_rows(axis, program))
        if wanted and all(_allows(s, axis) for s in program.steps):
            _split(program, axis, pieces)
    return program


def has_long_rows(step: Step) -> bool:
    """Whether what a step reduces is too long for a partition."""
    elements = math.prod(a.extent for a in step.reduced)
    return elements * step.reads[0].storage.dtype.itemsize > ROW_BYTES


def _pieces(axis: Axis) -> int:
    fitting = range(PARTITIONS, PARTITIONS // 2 - 1, -1)
    return next((n for n in fitting if axis.extent % n == 0), 0)


def _is_long(axis: Axis, program: Program) -> bool:
    storages = (s for s in program.storages if axis in s.axes)
    return any(axis.extent * s.dtype.itemsize > ROW_BYTES for s in storages)


def _has_few_rows(axis: Axis, program: Program) -> bool:
    """Whether every product that makes or reads such rows has few of them per batch index."""
    rows = [_rows(s, axis) for s in program.steps if s.kind == "matmul" and axis in s.axes]
    return axis.extent > PARTITIONS and 0 < max(rows, default=0) < _FEW_ROWS


def _rows(product: Step, axis: Axis) -> int:
    """The rows of one batch index over an axis that a product makes, or of those that it
    multiplies along the axis the fewer."""
    left, right = (set(view.axes) for view in product.reads)
    own = [
        math.prod(a.extent for a in mine - other - {axis})
        for mine, other in ((left, right), (right, left))
    ]
    if axis in left & right:
        return min(own)
    return own[axis in left]


def _allows(step: Step, axis: Axis) -> bool:
    """Whether a step does not mind in how many axes its operands come, or has nothing of this."""
    views = (*step.reads, step.write)
    touched = [v for v in views if axis in v.storage.axes or axis in v.axes]
    if not touched:
        return True
    pairs = (p for v in touched for p in zip(v.storage.axes, v.coords, strict=True))
    whole = all(c.is_identity(a) for a, c in pairs if axis in (a, c.axis))
    return whole and step.kind in ("pointwise", "reduce", "copy", "fill", "ramp", "matmul")


def _split(program: Program, axis: Axis, pieces: int) -> None:
    parts = Axis(f"{axis.name}o", pieces), Axis(f"{axis.name}i", axis.extent // pieces)

    def axes(before: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(p for a in before for p in (parts if a == axis else (a,)))

    def view(before: View) -> View:
        coords = (
            made
            for coord in before.coords
            for made in ([Coord(p) for p in parts] if coord.axis == axis else [coord])
        )
        return View(before.storage, tuple(coords))

    views = {id(v): view(v) for s in program.steps for v in (*s.reads, s.write)}
    storages: list[Storage] = program.storages
    for step in program.steps:
        step.reads = tuple(views[id(v)] for v in step.reads)
        step.write = views[id(step.write)]
    for storage in storages:
        storage.axes = axes(storage.axes)
    program.dims = {name: tuple(map(axes, dims)) for name, dims in program.dims.items()}
