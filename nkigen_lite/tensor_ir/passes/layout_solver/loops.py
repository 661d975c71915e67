"""Loop nests for a step or a fused run: block sizes whose tiles fit SBUF."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nkigen_lite.tensor_ir.passes.axes import Axis, Step, Storage, View
from nkigen_lite.tensor_ir.passes.axes.tiles import partition_tile
from nkigen_lite.tensor_ir.passes.direct_lower.in_place import taken_over, taken_over_loads
from nkigen_lite.tensor_ir.passes.direct_lower.matmul import MOVING_MAX, roles
from nkigen_lite.tensor_ir.passes.direct_lower.staging import STAGE_BYTES, stages
from nkigen_lite.tensor_ir.passes.direct_lower.sums import only_summed
from nkigen_lite.tensor_ir.passes.layout_solver.impls import elements, longest
from nkigen_lite.tensor_ir.passes.schedule import (
    Impl,
    Layout,
    Loop,
    free_elements,
    moves_in_hbm,
    read_layout,
    write_layout,
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Loops of a candidate: outer ones, and one over a contracted axis.

    ``outer_copies`` of a tile that is loaded outside the innermost loop rotate: with one, its next
    block is loaded when the last of the inner loop is done with it.
    """

    loops: tuple[Loop, ...] = ()
    stream: Loop | None = None
    outer_copies: int = 2

    def copies(self, view: View, most: int) -> int:
        """How many copies of a view's tile rotate: one of what is loaded once."""
        depth = max(
            (i + 1 for i, loop in enumerate(self.loops) if loop.axis in view.axes), default=0
        )
        if self.stream and self.stream.axis in view.axes:
            return most
        if depth == 0:
            return 1
        return min(most, self.outer_copies) if depth < len(self.loops) else most


def tile_bytes(steps: Sequence[Step], impls: Sequence[Impl], shape: Shape, copies: int) -> int:
    """Bytes per partition of one block: tiles from and to outside, each rotating ``copies`` times,
    and the most that is live at once of what is only inside.

    An estimate from tile shapes, used to choose block sizes; the lowered segment is measured.
    """
    sizes = {loop.axis: loop.block for loop in shape.loops}
    if shape.stream:
        sizes[shape.stream.axis] = shape.stream.block
    made = {s.write.storage for s in steps[:-1]}
    over = taken_over(steps, impls, ())
    over_loads = taken_over_loads(steps, impls, shape.loops)
    outside: dict[tuple[Storage, str], int] = {}
    inside: dict[Storage, int] = {}
    last: dict[Storage, int] = {}
    staged = 0
    for number, (step, impl) in enumerate(zip(steps, impls, strict=True)):
        views = [(v, read_layout(step, impl, i)) for i, v in enumerate(step.reads)]
        for view, layout in [*views, (step.write, write_layout(step, impl))]:
            storage = view.storage
            if storage.kind == "constant":
                continue
            size = _block_elements(view, layout, sizes) * storage.dtype.itemsize
            root = storage
            while root in over:
                root = over[root]
            if root in over_loads or (storage in made and only_summed(steps, storage)):
                continue
            stays = storage in made and storage.kind == "temp"
            if stays or root is not storage:
                inside[root] = max(inside.get(root, 0), size * (1 if stays else copies))
                last[root] = number
            else:
                key = (storage, layout.name)
                if view is not step.write and _is_staged(storage, layout):
                    stage = _stage_bytes(view, sizes)
                    staged += min(size, stages(stage) * stage)
                outside[key] = max(outside.get(key, 0), size * shape.copies(view, copies))
    first = {s.write.storage: i for i, s in reversed(list(enumerate(steps)))}
    live = [
        sum(size for s, size in inside.items() if first[s] <= number <= last[s])
        for number in range(len(steps))
    ]
    return sum(outside.values()) + staged + max(live)


def _is_staged(storage: Storage, layout: Layout) -> bool:
    """Whether a load wants a tile of another layout beside it, to be transposed on chip."""
    axes = storage.axes
    return len(axes) > 1 and layout.partition == axes[-1]


def _stage_bytes(view: View, sizes: dict[Axis, int]) -> int:
    """Bytes per partition of such a tile: one row of the block, or what makes a good DMA."""
    last = view.axes[-1] if view.axes else None
    row = sizes.get(last, last.extent) * view.storage.dtype.itemsize if last else 0
    return max(row, STAGE_BYTES)


def _block_elements(view: View, layout: Layout, sizes: dict[Axis, int]) -> int:
    """Elements per partition of one block of a view."""
    partition = None
    for own, coord in zip(view.storage.axes, view.coords, strict=True):
        if own == layout.partition:
            partition = coord.axis
    return free_elements(view.axes, Layout.on(partition, layout.rows), sizes)


def shapes_of(steps: Sequence[Step], impls: Sequence[Impl], budget: int) -> Iterator[Shape]:
    """Loop shapes whose tiles fit ``budget`` bytes per partition: none, coarse, and fine loops."""
    in_hbm = any(moves_in_hbm(s, i) for s, i in zip(steps, impls, strict=True))
    if in_hbm or any(step.kind == "ramp" for step in steps):
        yield Shape()
        return
    contractions = [i for i, s in enumerate(steps) if s.kind == "matmul"]
    if len(contractions) > 1:
        yield from _joint_shapes(steps, impls, budget)
        return
    if contractions == [0]:
        yield from _matmul_shapes(steps, impls, 0, budget)
        return
    found: dict[Shape, None] = {}
    if tile_bytes(steps, impls, Shape(), 1) <= budget:
        found.setdefault(Shape())
    turned = len(steps) == 1 and len(steps[0].axes) > 2 and _has_staged(steps[0], impls[0])
    for part, outer_first in itertools.product((1, 2, 8), (False, True)[: 1 + turned]):
        shape = _row_shape(steps, impls, budget // part, outer_first=outer_first)
        if shape is not None:
            found.setdefault(shape)
    shape = _finest_shape(steps, impls)
    if shape is not None and tile_bytes(steps, impls, shape, 1) <= budget:
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
    return any(_is_staged(view.storage, layout) for view, layout in views)


def _row_shape(
    steps: Sequence[Step], impls: Sequence[Impl], budget: int, *, outer_first: bool = False
) -> Shape | None:
    """Loop over the partition axis in tiles, then over free axes, until a block fits; with
    ``outer_first`` over free axes first, which leaves what is side by side in HBM together."""
    partitions = {a for i in impls for a in (i.partition, i.out) if a}
    parallel = parallel_axes(steps)
    order = sorted(parallel, key=lambda a: (a in partitions) == outer_first)
    everywhere = [a for a in order if all(a in s.axes for s in steps)]
    loops: list[Loop] = []
    for axis in everywhere if len(steps) > 1 else order:
        if tile_bytes(steps, impls, Shape(tuple(loops)), 2) <= budget:
            break
        unit = partition_tile(axis.extent) if axis in partitions else 1
        block = _largest_block(steps, impls, loops, axis, unit, budget)
        if block < axis.extent:
            loops.append(Loop(axis, block))
    shape = Shape(tuple(loops))
    if tile_bytes(steps, impls, shape, 2) <= budget:
        return shape
    return _stream_shape(steps, impls, shape, budget)


def _finest_shape(steps: Sequence[Step], impls: Sequence[Impl]) -> Shape | None:
    """One partition tile at a time, if a fused run that reduces rows has several: the first is
    there soonest, and the least is left to do after the last."""
    if len(steps) == 1 or all(s.kind not in ("reduce", "moments") for s in steps):
        return None
    partitions = {i.partition for i in impls if i.partition}
    for axis in parallel_axes(steps):
        unit = partition_tile(axis.extent)
        if axis in partitions and unit < axis.extent and all(axis in s.axes for s in steps):
            return Shape((Loop(axis, unit),))
    return None


def _largest_block(
    steps: Sequence[Step],
    impls: Sequence[Impl],
    loops: list[Loop],
    axis: Axis,
    unit: int,
    budget: int,
) -> int:
    """The largest multiple of ``unit`` of the axis that fits; a divisor of the extent if near."""
    fitting = unit
    block = unit
    while block < axis.extent:
        if tile_bytes(steps, impls, Shape((*loops, Loop(axis, block))), 2) <= budget:
            fitting = block
        block *= 2
    even = [b for b in range(fitting, fitting // 2, -unit) if axis.extent % b == 0]
    return even[0] if even else fitting


def _stream_shape(
    steps: Sequence[Step], impls: Sequence[Impl], shape: Shape, budget: int
) -> Shape | None:
    """Also run over a reduced axis in blocks: only a lone reduction can."""
    if len(steps) != 1 or steps[0].kind != "reduce":
        return None
    for axis in longest(steps[0].reduced):
        unit = partition_tile(axis.extent) if axis == impls[0].partition else 1
        block = axis.extent
        while block > unit:
            block = max(unit, block // 2 // unit * unit)
            made = Shape(shape.loops, Loop(axis, block))
            if tile_bytes(steps, impls, made, 2) <= budget:
                return made
    return None


def _joint_shapes(steps: Sequence[Step], impls: Sequence[Impl], budget: int) -> Iterator[Shape]:
    """One index of the batch axes that all steps share, and blocks of the others; in both orders,
    as iterations of the innermost loop overlap best when there are many. Rows of which a mask hides
    some columns come first: each block of them is text of its own, so nothing overlaps inside."""
    shared = [a for a in parallel_axes(steps) if all(a in s.axes for s in steps)]
    rows = {a for i in impls for a in (i.partition, i.out) if a} & set(shared)
    batch = [Loop(a, 1) for a in shared if a not in rows]
    blocks = [_blocks(a, _JOINT_BLOCKS) for a in shared if a in rows]
    for chosen in itertools.product(*blocks):
        rows_loops = [loop for loop in chosen if loop]
        masked = any(s.hidden and s.hidden.rows in rows for s in steps)
        orders = [[*batch, *rows_loops]]
        if rows_loops and batch and not masked:
            orders.insert(0, [*rows_loops, *batch])
        for loops in orders:
            shape = Shape(tuple(loops))
            if tile_bytes(steps, impls, shape, 2) <= budget:
                yield shape


_JOINT_BLOCKS = (512, 256, 128)
_ROW_BLOCKS = (1024, 512, 128)
_MOVING_BLOCKS = (4096, 2048, MOVING_MAX, MOVING_MAX // 2)
_MOST_SHAPES = 5


def _matmul_shapes(
    steps: Sequence[Step], impls: Sequence[Impl], position: int, budget: int
) -> Iterator[Shape]:
    """Blocks of the result's rows and columns in both loop orders; the cheapest in HBM traffic."""
    step, impl = steps[position], impls[position]
    r = roles(step, impl)
    whole = tile_bytes(steps, impls, Shape(), 1) <= budget
    if whole:
        yield Shape()
    wide = max(r.moving, key=lambda a: a.extent, default=None)
    found: dict[Shape, int] = {}
    both = [a for a in r.outer if a in step.reads[0].axes and a in step.reads[1].axes]
    outers = {tuple(Loop(a, 1) for a in axes if a.extent > 1): None for axes in ((), both, r.outer)}
    for rows, moving in itertools.product(
        _blocks(r.rows, _ROW_BLOCKS), _blocks(wide, _MOVING_BLOCKS)
    ):
        for order in ((rows, moving), (moving, rows)):
            for outer in outers:
                loops = (*outer, *(loop for loop in order if loop))
                for shape in (Shape(loops), Shape(loops, outer_copies=1)):
                    if loops and tile_bytes(steps, impls, shape, 2) <= budget:
                        found.setdefault(shape, _traffic(step, shape))
                        break
    best = sorted(found, key=lambda s: (found[s], len(s.loops)))[:_MOST_SHAPES]
    yield from best
    if not best and not whole and len(steps) == 1 and step.reduced:
        yield from _streamed_matmul(steps, impls, budget)


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


def _streamed_matmul(steps: Sequence[Step], impls: Sequence[Impl], budget: int) -> Iterator[Shape]:
    """One PSUM tile at a time, the contraction in blocks: the widest tile that fits, with a deep
    and a shallow block."""
    step, impl = steps[0], impls[0]
    depth = max(step.reduced, key=lambda a: a.extent)
    unit = partition_tile(depth.extent) if depth == impl.partition else 1
    width = MOVING_MAX
    while width:
        loops = _one_psum_tile(step, impl, width)
        found = False
        for part in (1, 4):
            block = _deepest(steps, impls, loops, Loop(depth, unit), budget // part)
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


def _deepest(
    steps: Sequence[Step], impls: Sequence[Impl], loops: tuple[Loop, ...], least: Loop, budget: int
) -> int:
    """The deepest block of the contracted axis, halving from the whole, that fits; 0 if none."""
    block = least.axis.extent
    while block > least.block:
        block = max(least.block, block // 2 // least.block * least.block)
        if tile_bytes(steps, impls, Shape(loops, Loop(least.axis, block)), 2) <= budget:
            return block
    return 0
