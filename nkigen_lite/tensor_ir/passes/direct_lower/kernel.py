"""Lowering a whole schedule to one nki_ir kernel."""

from __future__ import annotations

from nkigen_lite.core.ir import Graph
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.deallocs import insert_deallocs
from nkigen_lite.tensor_ir.passes.axes import Axis, Storage, View
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import Buffer, new_buffer
from nkigen_lite.tensor_ir.passes.direct_lower.memory import Hbm
from nkigen_lite.tensor_ir.passes.direct_lower.segment import SegmentLowering
from nkigen_lite.tensor_ir.passes.direct_lower.staging import load_via
from nkigen_lite.tensor_ir.passes.direct_lower.transpose import convert
from nkigen_lite.tensor_ir.passes.schedule import Conversion, Layout, Schedule, Segment


def lower_schedule(schedule: Schedule) -> Graph:
    """The kernel that a schedule describes.

    Its inputs are the program's inputs, of which weights may be packed, and then one HBM buffer per
    output, named ``<output>_out``; its outputs map each output's name to that buffer.
    """
    program = schedule.program
    b = Builder(program.name)
    b.tracks_location = False
    hbm = _buffers(b, schedule)
    kept: dict[tuple[Storage, str], Buffer] = {}
    lowering = SegmentLowering(b, hbm, kept)
    for position, item in enumerate(schedule.items):
        start = len(b.graph.ops)
        if isinstance(item, Segment):
            for (storage, name), port in item.writes.items():
                if not port.streamed:
                    kept[storage, name] = keep(b, storage, port.layout)
            b.loc = next((s.loc for s in item.steps if s.loc), None)
            lowering.lower(item)
        else:
            lower_conversion(b, hbm, kept, item)
        if start < len(b.graph.ops):
            b.graph.ops[start].part = position
    b.graph.ops[:0] = hbm.prologue.ops
    b.set_outputs({s.name: hbm.buffers[s] for s in program.outputs})
    insert_deallocs(b.graph)
    return b.graph


def _buffers(b: Builder, schedule: Schedule) -> Hbm:
    """The buffers in HBM: what the kernel takes and returns, and what it stores in between."""
    program = schedule.program
    hbm = Hbm(b)
    for argument in schedule.arguments():
        storage = argument.storage
        buffer = b.add_input(argument.name, argument.shape, storage.dtype)
        if argument.packed:
            hbm.packed_buffers[storage, argument.packed] = buffer
        else:
            hbm.buffers[storage] = buffer
    for storage in program.outputs:
        name = f"{storage.name}_out"
        hbm.buffers[storage] = b.add_input(name, storage.shape, storage.dtype)
    for storage in program.storages:
        if storage in schedule.stored and storage not in hbm.buffers:
            hbm.allocate(storage)
    return hbm


def keep(b: Builder, storage: Storage, layout: Layout, inner: Axis | None = None) -> Buffer:
    """A buffer for a storage kept whole in SBUF; ``inner`` is the axis along which it is filled."""
    return new_buffer(b, storage.name, storage.axes, layout, storage.dtype, {}, inner=inner)


def lower_conversion(
    b: Builder, hbm: Hbm, kept: dict[tuple[Storage, str], Buffer], item: Conversion
) -> None:
    """Make a kept copy of a storage in another layout, from HBM or from a kept one."""
    storage = item.storage
    turned_from = item.source if item.source is not None else item.via
    inner = turned_from.partition if isinstance(turned_from, Layout) else None
    target = keep(b, storage, item.target, inner)
    kept[storage, item.target.name] = target
    if item.source is not None:
        convert(b, kept[storage, item.source.name], target, {})
        return
    load_via(b, hbm, View.of(storage), target, item.via, {})
