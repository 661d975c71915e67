"""What a candidate makes of every dimension: iterated, on partitions, or along the free one."""

from __future__ import annotations

from collections.abc import Iterator

import solver
from nkigen_lite.tensor_ir.passes.axes import Axis, Storage
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import Choice
from nkigen_lite.tensor_ir.passes.schedule import Layout, read_layout, write_layout


def roles_of(choice: Choice) -> Iterator[solver.DimChoice]:
    """Role and tile of every axis of every value that the choice touches."""
    looped = {p.axis: p.block for p in choice.shape.loops}
    if choice.shape.stream:
        looped[choice.shape.stream.axis] = choice.shape.stream.block
    seen: set[tuple[str, str]] = set()
    for step, impl in zip(choice.steps, choice.impls, strict=True):
        pairs = [(v, read_layout(step, impl, i)) for i, v in enumerate(step.reads)]
        pairs.insert(0, (step.write, write_layout(step, impl)))
        for view, layout in pairs:
            if view.storage.kind == "constant":
                continue
            for axis, coord in zip(view.storage.axes, view.coords, strict=True):
                key = (view.storage.name, axis.name)
                if key not in seen:
                    seen.add(key)
                    yield _dim(view.storage, axis, coord.axis, layout, looped)


def _dim(
    storage: Storage, axis: Axis, index: Axis | None, layout: Layout, looped: dict[Axis, int]
) -> solver.DimChoice:
    block = looped.get(index, axis.extent) if index else 1
    if axis == layout.partition:
        return solver.DimChoice(storage.name, axis.name, "P", min(layout.rows, block))
    role: solver.Role = "I" if block == 1 and axis.extent > 1 else "F"
    return solver.DimChoice(storage.name, axis.name, role, min(block, axis.extent))
