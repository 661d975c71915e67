"""Results that take over the buffer of an operand that nobody needs any more.

An instruction may write the elements that it reads. A chain of elementwise steps over long rows
then holds one tile instead of one per step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from nkigen_lite.tensor_ir.passes.axes import Axis, Step, Storage, View
from nkigen_lite.tensor_ir.passes.schedule import (
    Impl,
    Layout,
    Loop,
    free_elements,
    read_layout,
    write_layout,
)

_LONG_BYTES = 24 << 10  # of each partition: a ninth of what trn2 has, a seventh of trn1's
_IN_TURNS = frozenset({"where"})  # written before all of its operands are read


def taken_over(
    steps: Sequence[Step], impls: Sequence[Impl], leaving: Collection[Storage]
) -> dict[Storage, Storage]:
    """Per result the storage whose buffer it may take over, made by an earlier one of the steps.

    ``leaving`` are storages that are needed after the steps.
    """
    made: dict[Storage, int] = {}
    found: dict[Storage, Storage] = {}
    writers = [s.write.storage for s in steps]
    for position, (step, impl) in enumerate(zip(steps, impls, strict=True)):
        storage = step.write.storage
        for operand, view in enumerate(step.reads):
            source = view.storage
            if source not in made or source in leaving or writers.count(storage) > 1:
                continue
            later = any(v.storage is source for s in steps[position + 1 :] for v in s.reads)
            layouts = read_layout(step, impl, operand), write_layout(step, impl)
            maker = made[source]
            as_made = write_layout(steps[maker], impls[maker]) == layouts[0] == layouts[1]
            if not later and as_made and _alike(step, view):
                found[storage] = source
                break
        made[storage] = position
    return found


def taken_over_loads(
    steps: Sequence[Step], impls: Sequence[Impl], loops: Sequence[Loop]
) -> dict[Storage, View]:
    """Per result the reading whose loaded tile it may take over.

    Only of long rows, of which few tiles fit: the tile is not free to be loaded again until the
    result is stored. Only of inputs: a value that is kept on chip must not be overwritten.
    """
    sizes = {loop.axis: loop.block for loop in loops}
    found: dict[Storage, View] = {}
    for storage, view, layout in loads_to_take_over(steps, impls):
        if loops and storage not in found and is_long(storage, view, layout, sizes):
            found[storage] = view
    return found


def is_long(storage: Storage, view: View, layout: Layout, sizes: dict[Axis, int]) -> bool:
    """Whether a block that is read for a result has long rows."""
    return free_elements(view.axes, layout, sizes) * storage.dtype.itemsize >= _LONG_BYTES


def loads_to_take_over(
    steps: Sequence[Step], impls: Sequence[Impl]
) -> Iterator[tuple[Storage, View, Layout]]:
    """The results with the readings whose loaded tiles they may take over, were these long."""
    writers = [s.write.storage for s in steps]
    for position, (step, impl) in enumerate(zip(steps, impls, strict=True)):
        storage = step.write.storage
        for operand, view in enumerate(step.reads):
            if view.storage.kind != "input" or writers.count(storage) > 1:
                continue
            layout = read_layout(step, impl, operand)
            later = any(v.storage is view.storage for s in steps[position + 1 :] for v in s.reads)
            if not later and layout == write_layout(step, impl) and _alike(step, view):
                yield storage, view, layout


def _alike(step: Step, view: View) -> bool:
    """Whether a step reads an operand element by element as it writes its result."""
    opcodes = [s.opcode for s in step.stages] or [step.op.opcode if step.op else step.kind]
    elementwise = step.kind in ("pointwise", "copy") and not _IN_TURNS & set(opcodes)
    source, made = view.storage, step.write.storage
    others = [v for v in step.reads if v.storage is source and v != view]
    return (
        elementwise
        and not others
        and source.dtype is made.dtype
        and source.dtype.is_float
        and source.axes == made.axes
        and view.is_whole
        and step.write.is_whole
    )
