"""Prices that were worked out before: equal structures cost the same.

Layers of a model, projections of one shape, and kernels that are compiled again differ in names
only. What is remembered is found by structure: axes and storages are numbered in the order in which
the steps name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import solver
from cost_models import Target
from nkigen_lite.tensor_ir.passes.axes import Axis, Hidden, Step, Storage, View
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import Choice
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import Cost
from nkigen_lite.tensor_ir.passes.packed import Packed
from nkigen_lite.tensor_ir.passes.schedule import BY_DMA, Arrangement, Conversion, Layout, Via

MOST = 1 << 15  # prices remembered of each kind

Place = tuple[int, int] | Literal["dma"] | Packed
"""A layout of some storage: the position of its partition axis among the storage's, or -1, and the
rows; or another way in, which has no names."""


def place_of(layout: Via, storage: Storage) -> Place:
    """A layout without the storage's names."""
    if not isinstance(layout, Layout):
        return layout
    axis = layout.partition
    return (storage.axes.index(axis) if axis in storage.axes else -1), layout.rows


def layout_at(place: Place, storage: Storage) -> Via:
    """The layout of a storage at a place."""
    if place == BY_DMA or isinstance(place, Packed):
        return place
    position, rows = place
    return Layout(None if position < 0 else storage.axes[position], rows)


@dataclass(frozen=True, slots=True)
class Figures:
    """What pricing a choice finds, without names.

    Attributes:
        run: how its iterations are run.
        busy: of its engines and the DMA queues (ns), without its ports; ``sbuf_bytes``,
            ``psum_banks`` and ``instructions`` likewise.
        wait_ns, fill_ns, drain_ns: see ``solver.Candidate``.
        store_ns: what is added to ``wait_ns`` at the end of a plan.
        vias, costs: per port, the layout that it is moved in, and what that costs.
        streamed_ns: what it takes alone with all ports streamed.
    """

    run: Arrangement
    busy: Mapping[str, int]
    sbuf_bytes: int
    psum_banks: int
    instructions: int
    wait_ns: int
    fill_ns: int
    drain_ns: int
    store_ns: int
    vias: tuple[Place | None, ...]
    costs: tuple[solver.Transfer, ...]
    streamed_ns: float


@dataclass
class Memory:
    """Prices on one target."""

    choices: dict[object, Figures | None] = field(default_factory=dict)
    conversions: dict[object, Cost] = field(default_factory=dict)

    def tidy(self) -> None:
        """Forget everything once there is too much."""
        for known in (self.choices, self.conversions):
            if len(known) > MOST:
                known.clear()


@lru_cache(maxsize=8)
def memory_of(target: Target) -> Memory:
    """What is remembered of a target's prices."""
    return Memory()


def structure_of(choice: Choice, crossing: Sequence[bool]) -> object:
    """What a choice's price depends on; ``crossing`` tells of each step whether what it writes is
    needed outside."""
    return _Numbering().choice(choice), tuple(crossing)


def structure_of_conversion(item: Conversion) -> object:
    """What a conversion's price depends on."""
    storage = item.storage
    layouts = tuple(
        layout and place_of(layout, storage) for layout in (item.source, item.target, item.via)
    )
    extents = tuple(axis.extent for axis in storage.axes)
    return extents, storage.dtype, storage.kind == "input", layouts


@dataclass
class _Numbering:
    """Numbers of axes and storages in the order of their first appearance."""

    axes: dict[Axis, int] = field(default_factory=dict)
    storages: dict[Storage, int] = field(default_factory=dict)

    def choice(self, choice: Choice) -> object:
        shape = choice.shape
        steps = tuple(self.step(step) for step in choice.steps)
        impls = tuple(
            (self.axis(i.partition), self.axis(i.out), i.stationary, i.rows, i.method)
            for i in choice.impls
        )
        loops = tuple((self.axis(p.axis), p.block) for p in shape.loops)
        stream = shape.stream and (self.axis(shape.stream.axis), shape.stream.block)
        described = tuple(self.described(s) for s in self.storages)
        extents = tuple(a.extent for a in self.axes)
        return steps, impls, loops, stream, shape.outer_copies, described, extents

    def step(self, step: Step) -> object:
        stages = tuple((s.opcode, _plain(s.attrs), s.operands) for s in step.stages)
        op = (step.op.opcode, _plain(step.op.attrs)) if step.op else None
        views = tuple(self.view(v) for v in (*step.reads, step.write))
        return step.kind, op, _plain(step.attrs), stages, views, self.hidden(step.hidden)

    def hidden(self, hidden: Hidden | None) -> object:
        if hidden is None:
            return None
        axes = self.axis(hidden.rows), self.axis(hidden.cols)
        return axes, len(hidden.steps), hidden.plain_to, hidden.seen_to, hidden.added

    def view(self, view: View) -> object:
        number = self.storages.setdefault(view.storage, len(self.storages))
        return number, tuple((self.axis(c.axis), c.start, c.step) for c in view.coords)

    def axis(self, axis: Axis | None) -> int:
        return -1 if axis is None else self.axes.setdefault(axis, len(self.axes))

    def described(self, storage: Storage) -> object:
        axes = tuple(self.axis(a) for a in storage.axes)
        return storage.dtype, storage.kind, axes, storage.shape, storage.fill, storage.is_weight


def _plain(attrs: Any) -> object:
    return repr(sorted(attrs.items()))
