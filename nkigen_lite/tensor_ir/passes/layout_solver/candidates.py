"""Every way to run a unit, or a run of units as one fused segment, that is worth pricing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nkigen_lite.core.dtypes import DType
from nkigen_lite.errors import NotSupported
from nkigen_lite.nki_ir.rows.tensor_engine import MULTIPLIES
from nkigen_lite.tensor_ir.passes.axes import Axis, Step, Storage, View
from nkigen_lite.tensor_ir.passes.direct_lower.matmul import MOVING_MAX, roles
from nkigen_lite.tensor_ir.passes.direct_lower.pointwise import has_emitter
from nkigen_lite.tensor_ir.passes.layout_solver.units import Unit
from nkigen_lite.tensor_ir.passes.schedule import (
    PARTITIONS,
    Impl,
    Layout,
    Loop,
    Segment,
    free_elements,
    partition_tile,
    read_layout,
    write_layout,
)

MAX_AXES = 3  # partition axes tried per step: the longest ones
MAX_CHAIN = 16  # units in one fused run
ROW_LIMIT = 8192  # elements that a step may put on a single partition


# --- implementations -----------------------------------------------------------------------------


def impls_of(step: Step) -> list[Impl]:
    """Implementations of one step, likely ones first.

    Raises:
        NotSupported: no engine does the step; names the op, its source line and the reason.
    """
    return _IMPLS[step.kind](step)


def _longest(axes: Iterable[Axis], count: int = MAX_AXES) -> list[Axis]:
    return sorted(dict.fromkeys(axes), key=lambda a: -min(a.extent, PARTITIONS))[:count]


def _copies(axes: Sequence[Axis]) -> list[Impl]:
    """Running on one partition, or the same on all of them; few elements, or a lone awkward axis
    whose partition layout would mean DMA runs of one element."""
    if _elements(axes) <= ROW_LIMIT:
        return [Impl(None, rows=PARTITIONS), Impl(None, rows=1)]
    return [Impl(None, rows=1)] if len(axes) == 1 else []


def _elements(axes: Iterable[Axis]) -> int:
    return math.prod(a.extent for a in axes)


def _pointwise(step: Step) -> list[Impl]:
    opcode = step.op.opcode if step.op and step.kind == "pointwise" else "copy"
    if not has_emitter(opcode):
        raise NotSupported(_message(step, f"{opcode}: no engine computes it"))
    found = [Impl(a) for a in _longest(step.write.axes)]
    return found + (_copies(step.write.axes) or ([] if found else [Impl(None)]))


def _reduce(step: Step) -> list[Impl]:
    assert step.op is not None
    kept = [Impl(a) for a in _longest(step.write.axes)]
    over = "ones" if step.op.attrs["kind"] == "sum" else "lanes"
    if over == "ones" and step.reads[0].storage.dtype not in (DType.F32, DType.BF16, DType.F16):
        over = "lanes" if not step.reads[0].storage.dtype.is_float else "ones"
    across = [
        Impl(a, method=over) for a in _longest(step.reduced, 2) if _sums_on_chip(step, over, a)
    ]
    return [*kept, *across, *_copies(step.axes)]


def _sums_on_chip(step: Step, method: str, axis: Axis) -> bool:
    """A product with ones needs a float; GpSimd adds anything."""
    dtype = step.reads[0].storage.dtype
    return method == "lanes" or dtype in MULTIPLIES


def _matmul(step: Step) -> list[Impl]:
    for view in step.reads:
        dtype = view.storage.dtype
        if dtype not in MULTIPLIES:
            raise NotSupported(
                _message(step, f"matmul: dtype {dtype} is not one that the PE array multiplies")
                + "\n  help: cast to bf16 or f32 first"
            )
    found = []
    for stationary in (0, 1):
        r = roles(step, Impl(None, stationary=stationary))
        moving = set(step.reads[1 - stationary].axes)
        own = [a for a in r.outer if a not in moving]
        depths: Sequence[Axis | None] = _longest(step.reduced, 2) or [None]
        outs: Sequence[Axis | None] = _longest(own, 2) or [None]
        found += [Impl(d, o, stationary) for d, o in itertools.product(depths, outs)]
    return found


def _message(step: Step, text: str) -> str:
    return text + (f"\n  at {step.loc}" if step.loc else "")


def _made(step: Step) -> list[Impl]:
    found = [Impl(a) for a in _longest(step.write.axes)]
    return found + (_copies(step.write.axes) or ([] if found else [Impl(None)]))


_IMPLS = {
    "pointwise": _pointwise,
    "copy": _pointwise,
    "reduce": _reduce,
    "matmul": _matmul,
    "fill": _made,
    "ramp": _made,
    "hbm_copy": lambda step: [Impl(None, rows=1)],
}


# --- layouts at the boundary ---------------------------------------------------------------------


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


# --- loops ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """Loops of a candidate: outer ones, and one over a contracted axis."""

    loops: tuple[Loop, ...] = ()
    stream: Loop | None = None


def tile_bytes(
    steps: Sequence[Step], impls: Sequence[Impl], shape: Shape, copies: int
) -> int:
    """Bytes per partition of one block: tiles from and to outside, each rotating ``copies`` times,
    and the most that is live at once of what is only inside.

    An estimate from tile shapes, used to choose block sizes; the lowered segment is measured.
    """
    sizes = {loop.axis: loop.block for loop in shape.loops}
    if shape.stream:
        sizes[shape.stream.axis] = shape.stream.block
    made = {s.write.storage for s in steps[:-1]}
    outside: dict[tuple[Storage, str], int] = {}
    inside: dict[Storage, int] = {}
    last: dict[Storage, int] = {}
    for number, (step, impl) in enumerate(zip(steps, impls, strict=True)):
        views = [(v, read_layout(step, impl, i)) for i, v in enumerate(step.reads)]
        for view, layout in [*views, (step.write, write_layout(step, impl))]:
            storage = view.storage
            if storage.kind == "constant":
                continue
            size = _block_elements(view, layout, sizes) * storage.dtype.itemsize
            if storage in made and storage.kind == "temp":
                inside[storage] = max(inside.get(storage, 0), size)
                last[storage] = number
            else:
                key = (storage, layout.name)
                staged = view is not step.write and _is_staged(storage, layout)
                outside[key] = max(outside.get(key, 0), size * (1 + staged))
    first = {s.write.storage: i for i, s in reversed(list(enumerate(steps)))}
    live = [
        sum(size for s, size in inside.items() if first[s] <= number <= last[s])
        for number in range(len(steps))
    ]
    return sum(outside.values()) * copies + max(live)


def _is_staged(storage: Storage, layout: Layout) -> bool:
    """Whether a load wants a tile of another layout beside it, to be transposed on chip."""
    axes = storage.axes
    return len(axes) > 1 and layout.partition == axes[-1]


def _block_elements(view: View, layout: Layout, sizes: dict[Axis, int]) -> int:
    """Elements per partition of one block of a view."""
    partition = None
    for own, coord in zip(view.storage.axes, view.coords, strict=True):
        if own == layout.partition:
            partition = coord.axis
    return free_elements(view.axes, Layout.on(partition, layout.rows), sizes)


def shapes_of(
    steps: Sequence[Step], impls: Sequence[Impl], budget: int
) -> Iterator[Shape]:
    """Loop shapes whose tiles fit ``budget`` bytes per partition: none, coarse, and fine loops."""
    if any(step.kind in ("hbm_copy", "ramp") for step in steps):
        yield Shape()
        return
    contraction = next((i for i, s in enumerate(steps) if s.kind == "matmul"), None)
    if contraction is not None:
        yield from _matmul_shapes(steps, impls, contraction, budget)
        return
    found: dict[Shape, None] = {}
    if tile_bytes(steps, impls, Shape(), 1) <= budget:
        found.setdefault(Shape())
    for part in (1, 8):
        shape = _row_shape(steps, impls, budget // part)
        if shape is not None:
            found.setdefault(shape)
    yield from found


def _parallel(steps: Sequence[Step]) -> list[Axis]:
    """Axes over which the steps may loop: kept by every step that has them."""
    axes = dict.fromkeys(a for s in steps for a in s.axes)
    return [a for a in axes if all(a not in s.reduced for s in steps)]


def _row_shape(steps: Sequence[Step], impls: Sequence[Impl], budget: int) -> Shape | None:
    """Loop over the partition axis in tiles, then over free axes, until a block fits."""
    partitions = {i.partition for i in impls if i.partition}
    parallel = _parallel(steps)
    order = [a for a in parallel if a in partitions]
    order += [a for a in parallel if a not in partitions]
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
    for axis in _longest(steps[0].reduced):
        unit = partition_tile(axis.extent) if axis == impls[0].partition else 1
        block = axis.extent
        while block > unit:
            block = max(unit, block // 2 // unit * unit)
            made = Shape(shape.loops, Loop(axis, block))
            if tile_bytes(steps, impls, made, 2) <= budget:
                return made
    return None


_ROW_BLOCKS = (1024, 512, 128)
_MOVING_BLOCKS = (4096, 2048, MOVING_MAX)
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
    for rows, moving in itertools.product(_blocks(r.rows, _ROW_BLOCKS), _blocks(wide, _MOVING_BLOCKS)):
        for order in ((rows, moving), (moving, rows)):
            for outer in ((), tuple(Loop(a, 1) for a in r.outer if a.extent > 1)):
                shape = Shape((*outer, *(loop for loop in order if loop)))
                if shape.loops and tile_bytes(steps, impls, shape, 2) <= budget:
                    found.setdefault(shape, _traffic(step, shape))
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
        size = _elements(view.axes) * view.storage.dtype.itemsize
        for loop in shape.loops[: last + 1]:
            if loop.axis not in view.axes:
                size *= -(-loop.axis.extent // loop.block)
        total += size
    return total


def _streamed_matmul(
    steps: Sequence[Step], impls: Sequence[Impl], budget: int
) -> Iterator[Shape]:
    """One PSUM tile at a time, the contraction in blocks."""
    step, impl = steps[0], impls[0]
    r = roles(step, impl)
    loops = [Loop(a, 1) for a in r.outer if a.extent > 1]
    if r.rows and r.rows.extent > partition_tile(r.rows.extent):
        loops.append(Loop(r.rows, partition_tile(r.rows.extent)))
    room = MOVING_MAX
    for axis in reversed(r.moving):
        block = min(axis.extent, max(1, room))
        room //= block
        if block < axis.extent:
            loops.append(Loop(axis, block))
    depth = max(step.reduced, key=lambda a: a.extent)
    unit = partition_tile(depth.extent) if depth == impl.partition else 1
    block = depth.extent
    for part in (1, 4):
        while block > unit:
            block = max(unit, block // 2 // unit * unit)
            shape = Shape(tuple(loops), Loop(depth, block))
            if tile_bytes(steps, impls, shape, 2) <= budget // part:
                yield shape
                break


# --- fused runs ----------------------------------------------------------------------------------


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
        return Segment(name, self.steps, self.impls, self.shape.loops, self.shape.stream)


def choices_of_unit(unit: Unit, budget: int) -> Iterator[Choice]:
    """Choices for one unit alone; the writers of one storage agree on its layout."""
    for impls in itertools.product(*(impls_of(s) for s in unit.steps)):
        layouts = {write_layout(s, i).name for s, i in zip(unit.steps, impls, strict=True)}
        if len(layouts) == 1:
            for shape in shapes_of(unit.steps, impls, budget):
                yield Choice((unit,), impls, shape)


def chains(units: Sequence[Unit]) -> Iterator[tuple[Unit, ...]]:
    """Runs of neighbouring units that may share a segment.

    A matmul may begin a run, never continue one; copies in HBM stay alone; every unit after the
    first reads something made in the run.
    """
    for start in range(len(units)):
        made: set[Storage] = set()
        for end in range(start, min(len(units), start + MAX_CHAIN)):
            unit = units[end]
            kinds = {s.kind for s in unit.steps}
            if "hbm_copy" in kinds or "ramp" in kinds or ("matmul" in kinds and end > start):
                break
            if end > start and not made & set(unit.read):
                break
            made.add(unit.written)
            if end > start:
                yield tuple(units[start : end + 1])


def choices_of_chain(units: tuple[Unit, ...], budget: int) -> Iterator[Choice]:
    """Choices for a fused run: one partition axis for all, loops over axes that all steps keep."""
    steps = [s for u in units for s in u.steps]
    for impls in _agreeing(steps):
        if _internal_layouts_agree(units, steps, impls):
            for shape in shapes_of(steps, impls, budget):
                if _depths_rise(steps, shape):
                    yield Choice(units, tuple(impls), shape)


def _agreeing(steps: list[Step]) -> Iterator[list[Impl]]:
    """Implementations in which every step has the same result partition axis."""
    if steps[0].kind == "matmul":
        for first in impls_of(steps[0]):
            if first.out is not None:
                rest = [_with_axis(s, first.out) for s in steps[1:]]
                if all(rest):
                    yield [first, *(i for i in rest if i)]
        return
    for axis in _longest(a for a in _parallel(steps) if all(a in s.axes for s in steps)):
        impls = [_with_axis(s, axis) for s in steps]
        if all(impls):
            yield [i for i in impls if i]


def _with_axis(step: Step, axis: Axis) -> Impl | None:
    if step.kind == "matmul" or axis not in step.write.axes:
        return None
    return Impl(axis)


def _internal_layouts_agree(
    units: Sequence[Unit], steps: Sequence[Step], impls: Sequence[Impl]
) -> bool:
    made: dict[Storage, str] = {}
    for step, impl in zip(steps, impls, strict=True):
        for position, view in enumerate(step.reads):
            layout = read_layout(step, impl, position)
            if view.storage in made and (
                made[view.storage] != layout.name or not can_be_kept(view, layout)
            ):
                return False
        layout = write_layout(step, impl)
        if made.setdefault(step.write.storage, layout.name) != layout.name:
            return False
        if not can_be_kept(step.write, layout):
            return False
    return True


def _depths_rise(steps: Sequence[Step], shape: Shape) -> bool:
    """A step never runs outside a loop that an earlier one runs inside; windows are not cut."""
    looped = {loop.axis for loop in shape.loops}
    made = {s.write.storage for s in steps}
    for step in steps:
        for view in (*step.reads, step.write):
            for own, coord in zip(view.storage.axes, view.coords, strict=True):
                if view.storage in made and coord.axis in looped and not coord.is_identity(own):
                    return False
    depths = [max((i for i, p in enumerate(shape.loops) if p.axis in s.axes), default=-1) for s in steps]
    return all(a <= b for a, b in zip(depths, depths[1:], strict=False))
