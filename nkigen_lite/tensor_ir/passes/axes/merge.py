"""Merging axes that always travel together, and splitting what became a single axis."""

from __future__ import annotations

from nkigen_lite.tensor_ir.passes.axes.program import Axis, Coord, Program, Storage, View
from nkigen_lite.tensor_ir.passes.axes.tiles import partition_tile


def merge_axes(program: Program) -> Program:
    """Merge neighbours in place: fewer, longer axes fill partitions and make longer runs.

    Two axes merge when every storage has both side by side in the same order or neither, and every
    view reads both as they are. A storage that had two axes or more keeps two, unless the whole
    program runs over one axis: that is split again into rows of a good length.
    """
    single = _whole_line(program)
    if single:
        _resplit(program, single)
        return program
    while pair := _mergeable(program):
        _merge(program, pair)
    return program


def _storages(program: Program) -> list[Storage]:
    return [s for s in program.storages if s.kind != "constant"]


def _whole_line(program: Program) -> tuple[Axis, ...] | None:
    """The axes of a program whose storages all have the same ones and whose views are whole."""
    storages = [s for s in _storages(program) if s.axes]
    if not storages or any(s.axes != storages[0].axes for s in storages):
        return None
    if any(step.kind not in ("pointwise", "copy", "fill") for step in program.steps):
        return None
    views = [v for step in program.steps for v in (*step.reads, step.write)]
    if all(v.is_whole for v in views):
        return storages[0].axes
    return None


def _resplit(program: Program, axes: tuple[Axis, ...]) -> None:
    total = 1
    for axis in axes:
        total *= axis.extent
    rows = _good_rows(total)
    new = [Axis("rows", rows)] * (rows > 1) + [Axis("cols", total // rows)] * (total // rows > 1)
    for storage in _storages(program):
        if storage.axes:
            storage.axes = tuple(new)
    for step in program.steps:
        step.reads = tuple(_whole(v) for v in step.reads)
        step.write = _whole(step.write)


def _whole(view: View) -> View:
    return View.of(view.storage)


def _good_rows(total: int) -> int:
    """The divisor of ``total`` to lay over partitions that makes one pass cheapest.

    A pass costs the elements in each partition; a row also costs a DMA descriptor, taken as half
    an element (8.3 ns over 16 queues, against about 1 ns per element; trn2 figures).
    """

    def cost(rows: int) -> float:
        tiles = -(-rows // partition_tile(rows))
        return tiles * (total // rows) + 0.5 * rows

    divisors = {d for i in range(1, int(total**0.5) + 1) if total % i == 0 for d in (i, total // i)}
    return min(sorted(divisors), key=cost)


def _mergeable(program: Program) -> tuple[Axis, Axis] | None:
    storages = _storages(program)
    seen: dict[tuple[Axis, Axis], None] = {}
    for storage in storages:
        for a, b in zip(storage.axes, storage.axes[1:], strict=False):
            seen.setdefault((a, b))
    for a, b in seen:
        if all(_together(s, a, b) for s in storages) and _views_agree(program, a, b):
            return a, b
    return None


def _together(storage: Storage, a: Axis, b: Axis) -> bool:
    if a not in storage.axes and b not in storage.axes:
        return True
    if a not in storage.axes or b not in storage.axes or len(storage.axes) <= 2:
        return False
    return storage.axes.index(b) == storage.axes.index(a) + 1


def _views_agree(program: Program, a: Axis, b: Axis) -> bool:
    for step in program.steps:
        if step.kind in ("hbm_copy", "ramp"):
            touched = {x for v in (*step.reads, step.write) for x in v.storage.axes}
            if a in touched or b in touched:
                return False
        for view in (*step.reads, step.write):
            for axis, coord in zip(view.storage.axes, view.coords, strict=True):
                involved = axis in (a, b) or coord.axis in (a, b)
                if involved and not coord.is_identity(axis):
                    return False
        if (a in step.reduced) != (b in step.reduced):
            return False
    return True


def _merge(program: Program, pair: tuple[Axis, Axis]) -> None:
    a, b = pair
    merged = Axis(f"{a.name}{b.name}", a.extent * b.extent)

    def coords(view: View) -> tuple[Coord, ...]:
        kept = (c for c in view.coords if c.axis != b)
        return tuple(Coord(merged) if c.axis == a else c for c in kept)

    views = {
        id(v): View(v.storage, coords(v))
        for step in program.steps
        for v in (*step.reads, step.write)
    }
    for step in program.steps:
        step.reads = tuple(views[id(v)] for v in step.reads)
        step.write = views[id(step.write)]
    for storage in _storages(program):
        if a in storage.axes:
            at = storage.axes.index(a)
            storage.axes = (*storage.axes[:at], merged, *storage.axes[at + 2 :])
    program.dims = {
        name: tuple(tuple(_joined(dim, a, b, merged)) for dim in dims)
        for name, dims in program.dims.items()
    }


def _joined(dim: tuple[Axis, ...], a: Axis, b: Axis, merged: Axis) -> list[Axis]:
    """The axes of a dimension after a merge; halves in two dimensions both name the whole."""
    out: list[Axis] = []
    for axis in dim:
        made = merged if axis in (a, b) else axis
        if made not in out:
            out.append(made)
    return out
