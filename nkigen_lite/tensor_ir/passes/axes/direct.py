"""Copies from inputs to outputs that one DMA can make in HBM, without a way through SBUF.

A concatenation of inputs, a slice, an updated cache: what leaves is what came in, elsewhere. On
chip, all pieces of a result would have to lie alike, and a piece of one row among many would be
moved element by element.
"""

from __future__ import annotations

import math

from nkigen_lite.tensor_ir.passes.axes.program import Program, Step, View

RUN_BYTES = 256
"""Bytes side by side from which on DMA moves them well: a descriptor costs as much as 227 bytes
(8.3 ns at 27.3 bytes per ns, trn2 traces)."""

RUNS = 8
"""Stretches of bytes that keep enough queues busy, of 16: each is one descriptor."""

SMALL_BYTES = 32 << 10
"""A copy that takes no longer than to start it, on one queue."""

Region = tuple[tuple[int, ...], tuple[tuple[int, int, int], ...]]


def copy_in_hbm(program: Program) -> Program:
    """Make copies in HBM, in place, of steps that copy inputs to an output which they alone
    write."""
    for storage in program.outputs:
        found = {step: _regions(step) for step in program.writers(storage)}
        if all(found.values()):
            for step, regions in found.items():
                assert regions is not None
                step.kind = "hbm_copy"
                step.attrs = dict(zip(("source", "target"), regions, strict=True))
    return program


def _regions(step: Step) -> tuple[Region, Region] | None:
    """The regions that a step copies from and to, if it moves long runs of bytes in their order
    from an input to an output."""
    if step.kind != "copy":
        return None
    source, target = step.reads[0], step.write
    if source.storage.kind != "input" or source.storage.dtype is not target.storage.dtype:
        return None
    if source.axes != target.axes:
        return None
    runs = [_run_bytes(view) for view in (source, target)]
    total = math.prod(axis.extent for axis in target.axes) * target.storage.dtype.itemsize
    if min(runs) < RUN_BYTES or (total > SMALL_BYTES and total < RUNS * min(runs)):
        return None
    places = sorted({*_fixed(source), *_fixed(target)})
    return _region(source, places), _region(target, places)


def _run_bytes(view: View) -> int:
    """Bytes side by side in a window."""
    run = view.storage.dtype.itemsize
    for axis, coord in zip(reversed(view.storage.axes), reversed(view.coords), strict=True):
        if coord.step == 1 and coord.axis is not None:
            run *= coord.axis.extent
        if coord.axis is None or coord.step != 1 or coord.axis.extent < axis.extent:
            break
    return run


def _fixed(view: View) -> list[tuple[int, int]]:
    """Before how many of a view's axes it has a fixed coordinate, and the how manieth there."""
    found: list[tuple[int, int]] = []
    before = 0
    for coord in view.coords:
        if coord.axis is None:
            found.append((before, sum(place == before for place, _ in found)))
        else:
            before += 1
    return found


def _region(view: View, places: list[tuple[int, int]]) -> Region:
    """The shape of a storage and its window there, start, size and step per axis; with an extent of
    1 at places where only the other side of a copy has a coordinate that is fixed."""
    shape: list[int] = []
    window: list[tuple[int, int, int]] = []
    own = dict(zip(_fixed(view), _of_fixed(view), strict=True))
    moving = [(a, c) for a, c in zip(view.storage.axes, view.coords, strict=True) if c.axis]
    for before in range(len(moving) + 1):
        for place in places:
            if place[0] == before:
                extent, start = own.get(place, (1, 0))
                shape.append(extent)
                window.append((start, 1, 1))
        if before < len(moving):
            axis, coord = moving[before]
            assert coord.axis is not None
            shape.append(axis.extent)
            window.append((coord.start, coord.axis.extent, coord.step))
    return tuple(shape), tuple(window)


def _of_fixed(view: View) -> list[tuple[int, int]]:
    """The extents of the axes with a fixed coordinate, and that."""
    pairs = zip(view.storage.axes, view.coords, strict=True)
    return [(axis.extent, coord.start) for axis, coord in pairs if coord.axis is None]
