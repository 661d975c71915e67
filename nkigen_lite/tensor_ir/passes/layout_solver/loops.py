"""Loop nests for a step or a fused run: block sizes whose tiles fit SBUF."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from nkigen_lite.tensor_ir.passes.axes import Axis, Step
from nkigen_lite.tensor_ir.passes.axes.tiles import partition_tile
from nkigen_lite.tensor_ir.passes.direct_lower.matmul import MOVING_MAX, roles
from nkigen_lite.tensor_ir.passes.layout_solver.impls import elements, longest
from nkigen_lite.tensor_ir.passes.layout_solver.room import Room, Shape, is_staged
from nkigen_lite.tensor_ir.passes.schedule import (
    Impl,
    Loop,
    moves_in_hbm,
    read_layout,
    write_layout,
)


def shapes_of(steps: Sequence[Step], impls: Sequence[Impl], budget: int) -> Iterator[Shape]:
    """Loop shapes whose tiles fit ``budget`` bytes per partition: none, coarse, and fine loops."""
    in_hbm = any(moves_in_hbm(s, i) for s, i in zip(steps, impls, strict=True))
    if in_hbm or any(step.kind == "ramp" for step in steps):
        yield Shape()
        return
    room = Room(steps, impls)
    contractions = [i for i, s in enumerate(steps) if s.kind == "matmul"]
    if len(contractions) > 1:
        yield from _joint_shapes(room, budget)
        return
    if contractions == [0]:
        yield from _matmul_shapes(room, budget)
        return
    found: dict[Shape, None] = {}
    if room.bytes(Shape(), 1) <= budget:
        found.setdefault(Shape())
    turned = len(steps) == 1 and len(steps[0].axes) > 2 and _has_staged(steps[0], impls[0])
    for part, outer_first in itertools.product((1, 2, 8), (False, True)[: 1 + turned]):
        shape = _row_shape(room, budget // part, outer_first=outer_first)
        if shape is not None:
            found.setdefault(shape)
    shape = _finest_shape(room)
    if shape is not None and room.bytes(shape, 1) <= budget:
        found.setdefault(shape)
    yield from found


def parallel_axes(steps: Sequence[Step]) -> list[Axis]:
    """Axes over which the steps may loop: kept by every step that has them."""
    axes = dict.fromkeys(a for s in steps for a in s.axes)
    return [a for a in axes if all(a not in (*s.reduced, *s.inseparable) for s in steps)]


def _has_staged(step: Step, impl: Impl) -> bool:
    """Whether something that a step reads or writes is the other way round in HBM."""
    reads = [(view, read_layout(step, impl, at)) for at, view in enumerate(step.reads)]
    views = [*reads, (step.write, write_layout(step, impl))]
    return any(is_staged(view.storage, layout) for view, layout in views)


def _row_shape(room: Room, budget: int, *, outer_first: bool = False) -> Shape | None:
    """Loop over the partition axis in tiles, then over free axes, until a block fits; with
    ``outer_first`` over free axes first, which leaves what is side by side in HBM together."""
    partitions = {a for i in room.impls for a in (i.partition, i.out) if a}
    parallel = parallel_axes(room.steps)
    order = sorted(parallel, key=lambda a: (a in partitions) == outer_first)
    everywhere = [a for a in order if all(a in s.axes for s in room.steps)]
    loops: list[Loop] = []
    for axis in everywhere if len(room.steps) > 1 else order:
        if room.bytes(Shape(tuple(loops)), 2) <= budget:
            break
        unit = partition_tile(axis.extent) if axis in partitions else 1
        block = _largest_block(room, loops, axis, unit, budget)
        if block < axis.extent:
            loops.append(Loop(axis, block))
    shape = Shape(tuple(loops))
    if room.bytes(shape, 2) <= budget:
        return shape
    return _stream_shape(room, shape, budget)


def _finest_shape(room: Room) -> Shape | None:
    """One partition tile at a time, if a fused run that reduces rows has several: the first is
    there soonest, and the least is left to do after the last."""
    if len(room.steps) == 1 or all(s.kind not in ("reduce", "moments") for s in room.steps):
        return None
    partitions = {i.partition for i in room.impls if i.partition}
    for axis in parallel_axes(room.steps):
        unit = partition_tile(axis.extent)
        if axis in partitions and unit < axis.extent and all(axis in s.axes for s in room.steps):
            return Shape((Loop(axis, unit),))
    return None


def _largest_block(
    room: Room,
    loops: list[Loop],
    axis: Axis,
    unit: int,
    budget: int,
) -> int:
    """The largest multiple of ``unit`` of the axis that fits; a divisor of the extent if near."""
    fitting = unit
    block = unit
    while block < axis.extent:
        if room.bytes(Shape((*loops, Loop(axis, block))), 2) <= budget:
            fitting = block
        block *= 2
    even = [b for b in range(fitting, fitting // 2, -unit) if axis.extent % b == 0]
    return even[0] if even else fitting


def _stream_shape(room: Room, shape: Shape, budget: int) -> Shape | None:
    """Also run over a reduced axis in blocks: only a lone reduction can."""
    if len(room.steps) != 1 or room.steps[0].kind != "reduce":
        return None
    for axis in longest(room.steps[0].reduced):
        unit = partition_tile(axis.extent) if axis == room.impls[0].partition else 1
        block = axis.extent
        while block > unit:
            block = max(unit, block // 2 // unit * unit)
            made = Shape(shape.loops, Loop(axis, block))
            if room.bytes(made, 2) <= budget:
                return made
    return None


def _joint_shapes(room: Room, budget: int) -> Iterator[Shape]:
    """One index of the batch axes that all steps share, and blocks of the others; in both orders,
    as iterations of the innermost loop overlap best when there are many. Rows of which a mask hides
    some columns come first: each block of them is text of its own, so nothing overlaps inside."""
    shared = [a for a in parallel_axes(room.steps) if all(a in s.axes for s in room.steps)]
    rows = {a for i in room.impls for a in (i.partition, i.out) if a} & set(shared)
    batch = [Loop(a, 1) for a in shared if a not in rows]
    blocks = [_blocks(a, _JOINT_BLOCKS) for a in shared if a in rows]
    for chosen in itertools.product(*blocks):
        rows_loops = [loop for loop in chosen if loop]
        masked = any(s.hidden and s.hidden.rows in rows for s in room.steps)
        orders = [[*batch, *rows_loops]]
        if rows_loops and batch and not masked:
            orders.insert(0, [*rows_loops, *batch])
        for loops in orders:
            shape = Shape(tuple(loops))
            if room.bytes(shape, 2) <= budget:
                yield shape


_JOINT_BLOCKS = (512, 256, 128)
_ROW_BLOCKS = (1024, 512, 128)
_MOVING_BLOCKS = (4096, 2048, MOVING_MAX, MOVING_MAX // 2)
_MOST_SHAPES = 5
_BATCH_PARTS = 4  # in which a batch is computed, where it is not one index at a time


def _matmul_shapes(room: Room, budget: int) -> Iterator[Shape]:
    """Blocks of the result's rows and columns in both loop orders; the cheapest in HBM traffic."""
    step, impl = room.steps[0], room.impls[0]
    r = roles(step, impl)
    whole = room.bytes(Shape(), 1) <= budget
    if whole:
        yield Shape()
    wide = max(r.moving, key=lambda a: a.extent, default=None)
    found: dict[Shape, int] = {}
    both = [a for a in r.outer if a in step.reads[0].axes and a in step.reads[1].axes]
    parts = [(Loop(a, a.extent // _BATCH_PARTS),) for a in r.outer if a.extent >= 2 * _BATCH_PARTS]
    singly = (tuple(Loop(a, 1) for a in axes if a.extent > 1) for axes in ((), both, r.outer))
    outers = dict.fromkeys([*singly, *parts])
    for rows, moving in itertools.product(
        _blocks(r.rows, _ROW_BLOCKS), _blocks(wide, _MOVING_BLOCKS)
    ):
        for order in ((rows, moving), (moving, rows)):
            for outer in outers:
                loops = (*outer, *(loop for loop in order if loop))
                for shape in (Shape(loops), Shape(loops, outer_copies=1)):
                    if loops and room.bytes(shape, 2) <= budget:
                        found.setdefault(shape, _traffic(step, shape))
                        break
    ranked = sorted(found, key=lambda s: (found[s], len(s.loops)))
    best = ranked[:_MOST_SHAPES]
    # Some indices of a batch at a time overlap with the next ones, in good DMAs.
    best += [s for s in ranked[_MOST_SHAPES:] if s.loops[:1] in parts][:1]
    yield from best
    if not best and not whole and len(room.steps) == 1 and step.reduced:
        yield from _streamed_matmul(room, budget)


def _blocks(axis: Axis | None, sizes: Sequence[int]) -> list[Loop | None]:
    if axis is None:
        return [None]
    blocks: list[Loop | None] = [None]
    tile = partition_tile(axis.extent)
    for size in sizes:
        block = max(tile, size // tile * tile) if size >= tile else size
        if block < axis.extent:
            blocks.append(Loop(axis, block))
    return list(dict.fromkeys(blocks))


def _traffic(step: Step, shape: Shape) -> int:
    """Bytes loaded when every read is streamed: a tile is loaded once per outer iteration."""
    total = 0
    for view in step.reads:
        last = max((i for i, p in enumerate(shape.loops) if p.axis in view.axes), default=-1)
        size = elements(view.axes) * view.storage.dtype.itemsize
        for loop in shape.loops[: last + 1]:
            if loop.axis not in view.axes:
                size *= -(-loop.axis.extent // loop.block)
        total += size
    return total


def _streamed_matmul(room: Room, budget: int) -> Iterator[Shape]:
    """One PSUM tile at a time, the contraction in blocks: the widest tile that fits, with a deep
    and a shallow block."""
    step, impl = room.steps[0], room.impls[0]
    depth = max(step.reduced, key=lambda a: a.extent)
    unit = partition_tile(depth.extent) if depth == impl.partition else 1
    width = MOVING_MAX
    while width:
        loops = _one_psum_tile(step, impl, width)
        found = False
        for part in (1, 4):
            block = _deepest(room, loops, Loop(depth, unit), budget // part)
            if block:
                found = True
                yield Shape(loops, Loop(depth, block))
        if found:
            return
        width //= 2


def _one_psum_tile(step: Step, impl: Impl, width: int) -> tuple[Loop, ...]:
    """Loops that leave one partition tile of rows and at most ``width`` moving elements."""
    r = roles(step, impl)
    loops = [Loop(a, 1) for a in r.outer if a.extent > 1]
    if r.rows and r.rows.extent > partition_tile(r.rows.extent):
        loops.append(Loop(r.rows, partition_tile(r.rows.extent)))
    for axis in reversed(r.moving):
        block = min(axis.extent, max(1, width))
        width //= block
        if block < axis.extent:
            loops.append(Loop(axis, block))
    return tuple(loops)


def _deepest(room: Room, loops: tuple[Loop, ...], least: Loop, budget: int) -> int:
    """The deepest block of the contracted axis, halving from the whole, that fits; 0 if none."""
    block = least.axis.extent
    while block > least.block:
        block = max(least.block, block // 2 // least.block * least.block)
        if room.bytes(Shape(loops, Loop(least.axis, block)), 2) <= budget:
            return block
    return 0
