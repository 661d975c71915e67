"""Mean and variance of the same rows in one step.

``m = sum(x) / n`` and ``v = sum((x - m)^2) / n``, as norms spell them, read the rows twice and make
two tiles of their size on the way. Engines have better ways to both values, all of which keep the
squares centred, so that a large mean costs no digits (``direct_lower/moments.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nkigen_lite.core.dtypes import DType
from nkigen_lite.tensor_ir.passes.axes.program import Axis, Coord, Program, Step, Storage, View
from nkigen_lite.tensor_ir.passes.axes.tiles import PARTITIONS

MOMENTS = Axis("moments", 2)
"""Over which a moments step writes the mean and then the variance."""

_LONGEST = 16384  # elements of a row: what is sure to fit SBUF whole, and one summing activation
_FEWEST = PARTITIONS // 2  # rows that keep enough partitions busy


@dataclass(frozen=True, slots=True)
class _Found:
    """The steps of a mean and of the sum of the squared distances from it."""

    total: Step
    scaling: Step
    squares: Step


def merge_moments(program: Program) -> Program:
    """Rewrite in place where rows lie along the storage, are many, and are not too long."""
    for squares in [s for s in program.steps if _is_sum(s)]:
        found = _find(program, squares)
        if found is not None:
            _merge(program, found)
    return program


def _find(program: Program, squares: Step) -> _Found | None:
    """What ends in ``squares``, if it is such a sum of squares."""
    square = _only_writer(program, squares.reads[0])
    if (
        square is None
        or not _is_square(square)
        or program.readers(square.write.storage) != [squares]
    ):
        return None
    centre = _only_writer(program, square.reads[0])
    if centre is None or not _is(centre, "sub"):
        return None
    x, mean = centre.reads
    scaling = _only_writer(program, mean)
    if scaling is None or _factor(scaling) is None:
        return None
    total = _only_writer(program, scaling.reads[0])
    if total is None or not _is_sum(total) or total.reads[0] != x or not _suits(x, total):
        return None
    same = total.reduced == squares.reduced and total.write.axes == squares.write.axes
    whole = all(s.write.is_whole for s in (square, centre, scaling, total, squares))
    if not (same and whole and _is_mean(scaling, total)):
        return None
    lined_up = mean.axes == total.write.axes and mean.storage.kind == "temp"
    return _Found(total, scaling, squares) if lined_up else None


def _suits(x: View, total: Step) -> bool:
    count = math.prod(a.extent for a in total.reduced)
    rows = math.prod(a.extent for a in total.write.axes)
    along = bool(x.storage.axes) and x.storage.axes[-1] in total.reduced
    return x.is_whole and x.storage.dtype.is_float and along and (
        count <= _LONGEST and rows >= _FEWEST
    )  # fmt: skip


def _merge(program: Program, found: _Found) -> None:
    total, squares = found.total, found.squares
    mean = found.scaling.write.storage
    shape = tuple(a.extent for a in mean.axes)
    both = Storage(
        f"{mean.name}_moments", DType.F32, (*mean.axes, MOMENTS), "temp", (*shape, MOMENTS.extent)
    )
    step = Step(
        f"{both.name}.moments", "moments", squares.op, total.reads, View.of(both), loc=total.loc
    )
    program.steps.insert(program.steps.index(total), step)
    _replace(program, mean, both, 0)
    program.steps.remove(found.scaling)
    if not program.readers(total.write.storage) and total.write.storage.kind == "temp":
        program.steps.remove(total)
    _replace_squares(program, found, both)
    _drop_unread(program, squares)


def _replace_squares(program: Program, found: _Found, both: Storage) -> None:
    """Read the variance; where the sum itself is wanted, make it of that."""
    squares = found.squares
    made = squares.write.storage
    for scaled in program.readers(made):
        storage = scaled.write.storage
        direct = storage.kind == "temp" and scaled.write.is_whole and storage.axes == made.axes
        if direct and _is_mean(scaled, squares) and program.writers(storage) == [scaled]:
            _replace(program, storage, both, 1)
            program.steps.remove(scaled)
    if made.kind == "temp" and not program.readers(made):
        return
    count = math.prod(a.extent for a in squares.reduced)
    number = Storage(f"{made.name}_count", DType.F32, (), "constant", (), float(count))
    back = Step(
        f"{made.name}.scaled",
        "pointwise",
        found.scaling.op,
        (_reading(View.of(made), both, 1), View(number, ())),
        squares.write,
        loc=squares.loc,
    )
    program.steps.insert(program.steps.index(squares), back)


def _drop_unread(program: Program, squares: Step) -> None:
    """Remove the sum of the squares, and what nobody else reads of what led to it."""
    unread = [squares]
    while unread:
        step = unread.pop()
        program.steps.remove(step)
        for view in step.reads:
            storage = view.storage
            if storage.kind == "temp" and not program.readers(storage):
                unread += program.writers(storage)


def _replace(program: Program, old: Storage, both: Storage, which: int) -> None:
    """Let every reader of a storage read one of the moments instead."""
    for step in program.readers(old):
        step.reads = tuple(
            _reading(view, both, which) if view.storage is old else view for view in step.reads
        )


def _reading(view: View, both: Storage, which: int) -> View:
    return View(both, (*view.coords, Coord(None, which)))


def _only_writer(program: Program, view: View) -> Step | None:
    """The step that made what a view reads as it is."""
    writers = program.writers(view.storage)
    return writers[0] if len(writers) == 1 and view.is_whole else None


def _is(step: Step, opcode: str) -> bool:
    return step.kind == "pointwise" and step.op is not None and step.op.opcode == opcode


def _is_sum(step: Step) -> bool:
    return step.kind == "reduce" and step.op is not None and step.op.attrs["kind"] == "sum"


def _is_square(step: Step) -> bool:
    return _is(step, "square") or (_is(step, "mul") and step.reads[0] == step.reads[1])


def _factor(step: Step) -> float | None:
    """The number that a step multiplies its first operand with."""
    if not _is(step, "mul") or step.reads[1].storage.kind != "constant":
        return None
    return float(step.reads[1].storage.fill or 0.0)


def _is_mean(scaled: Step, total: Step) -> bool:
    """Whether a step divides a sum by how many elements it is of."""
    count = math.prod(a.extent for a in total.reduced)
    factor = _factor(scaled)
    return (
        factor is not None
        and scaled.reads[0].storage is total.write.storage
        and scaled.reads[0].is_whole
        and math.isclose(factor * count, 1.0, rel_tol=1e-6)
        and scaled.write.storage.dtype is DType.F32
    )
