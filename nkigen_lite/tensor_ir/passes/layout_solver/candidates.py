"""Every way to run a unit, or a run of units as one fused segment, that is worth pricing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nkigen_lite.tensor_ir.passes.axes import Axis, Hidden, Step, Storage, View
from nkigen_lite.tensor_ir.passes.axes.split import has_long_rows
from nkigen_lite.tensor_ir.passes.axes.tiles import PARTITIONS, partition_tile
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import can_convert
from nkigen_lite.tensor_ir.passes.layout_solver.impls import impls_of, longest
from nkigen_lite.tensor_ir.passes.layout_solver.loops import parallel_axes, shapes_of
from nkigen_lite.tensor_ir.passes.layout_solver.room import Shape
from nkigen_lite.tensor_ir.passes.layout_solver.units import Unit
from nkigen_lite.tensor_ir.passes.schedule import (
    Impl,
    Layout,
    Segment,
    moves_in_hbm,
    read_layout,
    write_layout,
)

MAX_CHAIN = 16  # units in one fused run
MAX_MATMULS = 2  # of them
MAX_COMBINED = 16  # ways for the writers of one storage, each in any of its own


def can_be_kept(view: View, layout: Layout) -> bool:
    """Whether a step can use a whole kept storage in ``layout`` through this view.

    The window on the partition axis, if there is one, has to cover whole partition tiles.
    """
    if layout.partition is None:
        return True
    for own, coord in zip(view.storage.axes, view.coords, strict=True):
        if own == layout.partition:
            if coord.axis is None or coord.step != 1 or coord.start % layout.rows:
                return False
            return partition_tile(coord.axis.extent) == layout.rows
    return False


@dataclass(frozen=True, slots=True)
class Choice:
    """Units with an implementation per step and loops: what becomes a solver candidate."""

    units: tuple[Unit, ...]
    impls: tuple[Impl, ...]
    shape: Shape

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(s for u in self.units for s in u.steps)

    def segment(self, name: str) -> Segment:
        """The segment, without its ports."""
        shape = self.shape
        return Segment(
            name,
            self.steps,
            self.impls,
            shape.loops,
            shape.stream,
            outer_copies=shape.outer_copies,
            hidden=self.hidden,
        )

    @property
    def hidden(self) -> Hidden | None:
        """What a mask hides, if all that it hides is made and used here in a loop over its rows."""
        steps = set(self.steps)
        found = {s.hidden for s in self.steps if s.hidden}
        looped = {loop.axis for loop in self.shape.loops}
        whole = (h for h in found if h.steps <= steps and looped & {h.rows, h.cols} == {h.rows})
        return next(whole, None) if len(found) == 1 else None


def choices_of_unit(unit: Unit, budget: int) -> Iterator[Choice]:
    """Choices for one unit alone; the writers of one storage agree on its layout, or all of them
    copy within HBM."""
    for impls in _agreeing(unit.steps):
        for shape in shapes_of(unit.steps, impls, budget):
            yield Choice((unit,), impls, shape)


def _agreeing(steps: Sequence[Step]) -> Iterator[tuple[Impl, ...]]:
    """Implementations of steps that leave their results in the same place: all combinations, or,
    where these are many, those in which all steps take their first way, their second, and so on."""
    if len(steps) == 1:
        yield from ((impl,) for impl in impls_of(steps[0]))
        return
    ways: dict[tuple[bool, str], list[list[Impl]]] = {}
    for at, step in enumerate(steps):
        for impl in impls_of(step):
            place = moves_in_hbm(step, impl), write_layout(step, impl).name
            ways.setdefault(place, [[] for _ in steps])[at].append(impl)
    for found in ways.values():
        if math.prod(map(len, found)) <= MAX_COMBINED:
            yield from itertools.product(*found)
        elif all(found):
            for nth in range(max(map(len, found))):
                yield tuple(impls[min(nth, len(impls) - 1)] for impls in found)


def chains(units: Sequence[Unit]) -> Iterator[tuple[Unit, ...]]:
    """Runs of neighbouring units that may share a segment.

    Copies in HBM stay alone; what a unit makes is read in the run, unless it is the last; of
    matmuls there are at most two, the second with what the first made.
    """
    for start in range(len(units)):
        parts: list[set[Storage]] = []  # what is made by units that read each other's results
        matmuls = 0
        for end in range(start, min(len(units), start + MAX_CHAIN)):
            unit = units[end]
            kinds = {s.kind for s in unit.steps}
            matmuls += "matmul" in kinds
            if "hbm_copy" in kinds or "ramp" in kinds or matmuls > MAX_MATMULS:
                break
            read = [made for made in parts if made & set(unit.read)]
            if parts and not read and kinds != {"pointwise"}:
                break
            parts = [made for made in parts if made not in read]
            parts.append({unit.written}.union(*read))
            if end > start and len(parts) == 1:
                yield tuple(units[start : end + 1])


def choices_of_chain(units: tuple[Unit, ...], budget: int) -> Iterator[Choice]:
    """Choices for a fused run: loops over axes that all steps keep, and one partition axis that
    only matmuls change."""
    steps = [s for u in units for s in u.steps]
    for impls in itertools.chain(_flows(steps, None), _flows_across(steps)):
        if _internal_layouts_agree(units, steps, impls):
            for shape in shapes_of(steps, impls, budget):
                if _depths_rise(steps, shape):
                    yield Choice(units, tuple(impls), shape)


def _flows(steps: Sequence[Step], axis: Axis | None) -> Iterator[list[Impl]]:
    """Implementations in which each step takes over the partition axis of the step before; a
    matmul turns it into the one of its result."""
    if not steps:
        yield []
        return
    for impl in _impls_after(steps, axis):
        after = impl.out if steps[0].kind == "matmul" else impl.partition
        for rest in _flows(steps[1:], after):
            yield [impl, *rest]


def _flows_across(steps: Sequence[Step]) -> Iterator[list[Impl]]:
    """Implementations for rows that are too long for a partition: parts of them on partitions, over
    which they are reduced, and what is one value per row on all partitions."""
    long = [s for s in steps if s.kind == "reduce" and has_long_rows(s)]
    axes = {a: None for s in long for a in s.reduced if a.extent <= PARTITIONS}
    for axis in axes:
        found = [_across(step, axis) for step in steps]
        if all(found):
            yield from (list(impls) for impls in itertools.product(*found))


def _across(step: Step, axis: Axis) -> list[Impl]:
    if axis in step.reduced:
        return [i for i in impls_of(step) if i.partition == axis and step.kind == "reduce"]
    if step.kind == "pointwise":
        return [Impl(axis if axis in step.write.axes else None)]
    return []


def _impls_after(steps: Sequence[Step], axis: Axis | None) -> list[Impl]:
    first = steps[0]
    if first.kind == "matmul":
        return [i for i in impls_of(first) if i.out is not None]
    if axis is not None:
        return _on(first, axis)
    return [i for a in longest(parallel_axes(steps)) for i in _on(first, a)]


def _on(step: Step, axis: Axis) -> list[Impl]:
    """Implementations with an axis on the partitions of what is read and of what is written."""
    if axis not in step.write.axes:
        return []
    found = [i for i in impls_of(step) if step.kind == "moments" and i.partition == axis]
    return found or [Impl(axis)]


def _internal_layouts_agree(
    units: Sequence[Unit], steps: Sequence[Step], impls: Sequence[Impl]
) -> bool:
    made: dict[Storage, Layout] = {}
    for step, impl in zip(steps, impls, strict=True):
        for position, view in enumerate(step.reads):
            layout = read_layout(step, impl, position)
            have = made.get(view.storage)
            if have is None:
                continue
            copied = (have.name, layout.name) == ("row", "all")
            turns = step.kind == "matmul" or copied
            turned = turns and can_convert(view.storage.dtype, have, layout)
            if not (have.name == layout.name or turned) or not can_be_kept(view, layout):
                return False
        layout = write_layout(step, impl)
        if made.setdefault(step.write.storage, layout).name != layout.name:
            return False
        if not can_be_kept(step.write, layout):
            return False
    return True


def _depths_rise(steps: Sequence[Step], shape: Shape) -> bool:
    """A step never runs outside a loop that an earlier one runs inside; windows are not cut, and no
    reduction is: each block would overwrite what the one before has made."""
    looped = {loop.axis for loop in shape.loops}
    made = {s.write.storage for s in steps}
    for step in steps:
        if step.kind == "reduce" and looped & set(step.reduced):
            return False
        for view in (*step.reads, step.write):
            for own, coord in zip(view.storage.axes, view.coords, strict=True):
                cut = own in looped or coord.axis in looped
                if view.storage in made and cut and not coord.is_identity(own):
                    return False
    depths = [
        max((i for i, p in enumerate(shape.loops) if p.axis in s.axes), default=-1) for s in steps
    ]
    return all(a <= b for a, b in itertools.pairwise(depths))
