"""Copies from inputs to outputs that DMAs can make within HBM, without a way through SBUF.

A concatenation of inputs, a slice, an updated cache: what leaves is what came in, elsewhere. On
chip, all pieces of a result would have to lie alike, and a piece of one row among many would be
moved element by element. The way through SBUF moves everything twice, but any permutation in long
runs. Which is faster is for prices to tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nkigen_lite.tensor_ir.passes.axes.program import Axis, Program, Step, Storage, View

RUN_BYTES = 256
"""Bytes side by side from which on DMA moves them well: a descriptor costs as much as 227 bytes
(8.3 ns at 27.3 bytes per ns, trn2 traces)."""

_DESCRIPTOR_BYTES = 227
_TRIGGER_BYTES = 15 << 10  # what a queue moves in the 0.56 us that a trigger takes
_QUEUES = 16
_MOST_STRETCHES = 128
_MOST_DMAS = 64


@dataclass(frozen=True, slots=True)
class Run:
    """What lies side by side both where a step reads and where it writes.

    Attributes:
        axis: the outermost axis of it.
        size: how many of its indices.
        inner_bytes: bytes per index.
        count: how many such runs there are.
    """

    axis: Axis
    size: int
    inner_bytes: int
    count: int

    @property
    def bytes(self) -> int:
        return self.size * self.inner_bytes


def run_in_hbm(step: Step) -> Run | None:
    """The runs of a step that DMAs can make within HBM: one that moves long runs of bytes from an
    input to an output."""
    if step.kind != "copy" or step.write.storage.kind != "output":
        return None
    source, target = step.reads[0], step.write
    if source.storage.kind != "input" or source.storage.dtype is not target.storage.dtype:
        return None
    if set(source.axes) != set(target.axes):
        return None
    run_bytes = inner_bytes = target.storage.dtype.itemsize
    outermost: Axis | None = None
    for ours, theirs in zip(_from_last(source), _from_last(target), strict=False):
        axis, whole = ours
        if axis is None or theirs[0] is not axis:
            break
        outermost, inner_bytes = axis, run_bytes
        run_bytes *= axis.extent
        if not (whole and theirs[1]):
            break
    if outermost is None or run_bytes < RUN_BYTES:
        return None
    elements = math.prod(axis.extent for axis in target.axes)
    count = elements * target.storage.dtype.itemsize // run_bytes
    return Run(outermost, outermost.extent, inner_bytes, count)


def copied_in_hbm(storage: Storage, program: Program) -> list[Run]:
    """The runs of all that is copied to an output, if DMAs can make all of it within HBM."""
    found = [run_in_hbm(step) for step in program.writers(storage)]
    runs = [run for run in found if run is not None]
    return runs if len(runs) == len(found) else []


def _from_last(view: View) -> Iterator[tuple[Axis | None, bool]]:
    """The axes that run over those of a storage, the last one first, if side by side: and whether
    over all of it."""
    for own, coord in zip(reversed(view.storage.axes), reversed(view.coords), strict=True):
        axis = coord.axis if coord.step == 1 else None
        yield axis, axis is not None and axis.extent == own.extent


@dataclass(frozen=True, slots=True)
class Division:
    """How runs are divided so that all queues have the same to do.

    Attributes:
        block: how many indices of the runs' axis a DMA moves, of every run.
        inner, outer: with ``outer`` above 1, a DMA takes ``outer`` times ``inner`` stretches of
            each run, in turn from each outer one: what lies side by side but is not taken in that
            order stays a descriptor of its own, for a queue of its own.
    """

    block: int
    inner: int = 1
    outer: int = 1


def division_of(step: Step, run: Run) -> Division:
    """The way to divide the runs of a step in which the fullest queue has the least to do."""
    ways = {Division(run.size): _queue_bytes(run, 1)}
    edges = math.gcd(run.size, *_edges(step.reads[0], run.axis), *_edges(step.write, run.axis))
    for stretches in range(4, min(_MOST_STRETCHES, run.size) + 1):
        inner = next((n for n in (2, 3, 5, 7) if stretches % n == 0), stretches)
        outer = stretches // inner
        if run.size // stretches * run.inner_bytes < _DESCRIPTOR_BYTES:
            break  # these cost more than what they move
        if outer > 1 and run.size % stretches == 0 and edges % (run.size // outer) == 0:
            ways[Division(run.size, inner, outer)] = _queue_bytes(run, stretches)
    for number in range(2, min(_MOST_DMAS, run.size) + 1):
        block = -(-run.size // number)
        even = run.count * (run.bytes + number * _DESCRIPTOR_BYTES) // _QUEUES
        last = _queue_bytes(run, number) // -(-run.count * number // _QUEUES)
        ways[Division(block)] = max(even, number * _TRIGGER_BYTES) + last
    return min(ways, key=lambda way: ways[way])


def _edges(view: View, axis: Axis) -> tuple[int, int]:
    """Where an axis starts in a storage, and how far the storage goes."""
    pairs = zip(view.storage.axes, view.coords, strict=True)
    return next((coord.start, own.extent) for own, coord in pairs if coord.axis == axis)


def _queue_bytes(run: Run, stretches: int) -> int:
    """What the fullest queue moves with each run in so many stretches, descriptors counted as the
    bytes that would take as long."""
    longest = -(-run.size // stretches) * run.inner_bytes
    return -(-run.count * stretches // _QUEUES) * (_DESCRIPTOR_BYTES + longest)
