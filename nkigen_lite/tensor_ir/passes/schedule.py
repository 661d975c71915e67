"""What the lowering is told: segments of steps with loops, layouts and places. Plain records.

A ``Schedule`` is the plan in the terms of the axis program. The solver's answer becomes one; the
lowering carries it out and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from nkigen_lite.tensor_ir.passes.axes import Axis, Hidden, Program, Step, Storage, View
from nkigen_lite.tensor_ir.passes.axes.tiles import PARTITIONS, partition_tile
from nkigen_lite.tensor_ir.passes.packed import Packed, Packing, packing_of

HBM = "hbm"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a storage (or a view of one) lies on chip.

    Attributes:
        partition: the axis on partitions, or None.
        rows: partitions used: the axis's tile, or with ``partition`` None the number of partitions
            that hold a copy of everything (1 or 128).

    All other axes, and the tiles of the partition axis, lie along the free dimension in order.
    """

    partition: Axis | None
    rows: int

    @classmethod
    def on(cls, axis: Axis | None, rows: int = PARTITIONS) -> Layout:
        """The axis on partitions; for None, a copy on each of ``rows`` partitions."""
        return cls(axis, partition_tile(axis.extent) if axis else rows)

    @property
    def name(self) -> str:
        """``P=a0``, ``row`` (one partition) or ``all`` (a copy on every partition)."""
        if self.partition:
            return f"P={self.partition.name}"
        return "row" if self.rows == 1 else "all"


ROW = Layout(None, 1)
ALL = Layout(None, PARTITIONS)

BY_DMA: Literal["dma"] = "dma"
Via = Layout | Literal["dma"] | Packed
"""How a storage comes into a layout that HBM's order does not suit: loaded in another layout and
transposed on chip, transposed by the DMA that loads it, or, of a weight, laid out by the host."""


def free_elements(axes: tuple[Axis, ...], layout: Layout, sizes: dict[Axis, int]) -> int:
    """Elements per partition of a tile over ``axes`` with the given extents."""
    count = 1
    for axis in axes:
        size = sizes.get(axis, axis.extent)
        count *= -(-size // layout.rows) if axis == layout.partition else size
    return count


@dataclass(frozen=True, slots=True)
class Impl:
    """How one step runs.

    Attributes:
        partition: the iteration axis on partitions; for matmul the contracted axis that is.
        out: matmul: the axis on the result's partitions (one of the stationary operand's).
        stationary: matmul: which operand is stationary (0 or 1).
        rows: with ``partition`` None, on how many partitions the step is repeated (1 or 128).
        method: reduce: "free" (along the free dimension), "both" (so, half of each row on VectorE
            and half on ScalarE), "ones" (over partitions, by a product with ones) or "lanes" (over
            partitions, on GpSimd); moments: "free" (on VectorE),
            "scalar" (on ScalarE) or "both" (a part of each row on either); copy: "free" (through
            SBUF) or "hbm" (by DMAs within HBM).
    """

    partition: Axis | None
    out: Axis | None = None
    stationary: int = 0
    rows: int = PARTITIONS
    method: str = "free"


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over an axis in blocks of ``block`` elements."""

    axis: Axis
    block: int


@dataclass(frozen=True, slots=True)
class Port:
    """How a segment reads or writes one storage across its boundary.

    Attributes:
        layout: on chip, in the storage's axes.
        streamed: whether it comes from (goes to) HBM inside the segment's loops; otherwise it is
            kept whole in SBUF in that layout.
        via: how it is transposed on the way, if it is.
    """

    layout: Layout
    streamed: bool
    via: Via | None = None


IN_TURN = "vector, scalar"
"""Engines that run a place's instructions in turn, those that both can run."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How the iterations of a segment's innermost loop follow each other, and who computes.

    Attributes:
        cuts: places between steps, rising: what comes after one runs an iteration later than what
            comes before, which goes on with the next. Place 2k is before the operands of step k are
            laid out as it wants them, 2k + 1 after that.
        engines: per place, who runs those instructions that it can run, or ``IN_TURN``; None leaves
            them to the engines that they are meant for. Empty: None everywhere.
        inner_copies: copies that rotate of what is made and used up in one iteration.
        psum_copies: copies that rotate of what is on its way through PSUM.
        psum_banks: banks that a matmul's result fills before it is taken out at once.
        turns_by_dma: whether a DMA, not the PE array, transposes what is made in the segment and
            read there in another layout.
        load_copies: of each tile that is loaded in one.
        interleaved: whether the stages that run at the same time are emitted in turns, piece by
            piece, rather than one after the other.
        load_pieces: whether large operands of products are loaded in pieces, so that the first of
            them can be used before the last is there.
        stores_by: who triggers the stores: "dma" leaves it to the engine that usually does.
    """

    cuts: tuple[int, ...] = ()
    engines: tuple[str | None, ...] = ()
    inner_copies: int = 2
    psum_copies: int = 2
    psum_banks: int = 1
    turns_by_dma: bool = False
    load_copies: int = 2
    interleaved: bool = False
    load_pieces: bool = False
    stores_by: str = "dma"


@dataclass(eq=False, slots=True)
class Segment:
    """Steps under one loop nest.

    Attributes:
        steps: in execution order.
        impls: one per step.
        loops: outermost first; over axes that are parallel in every step that has them.
        stream: the loop over a contracted axis inside the last contraction, or None.
        reads, writes: the ports, per storage and layout name.
        stored: storages that the segment stores to HBM.
        outer_copies: how many copies rotate of tiles that are loaded outside the innermost loop.
        run: how iterations follow each other and who computes.
        hidden: what a mask hides of the scores that all its steps make and use here.
        sampled: if not 0, only so many blocks of the outermost loop are emitted, of masked rows the
            last: to compare ways to run the segment with each other.
    """

    name: str
    steps: tuple[Step, ...]
    impls: tuple[Impl, ...]
    loops: tuple[Loop, ...] = ()
    stream: Loop | None = None
    reads: dict[tuple[Storage, str], Port] = field(default_factory=dict)
    writes: dict[tuple[Storage, str], Port] = field(default_factory=dict)
    stored: frozenset[Storage] = frozenset()
    outer_copies: int = 2
    run: Arrangement = Arrangement()
    hidden: Hidden | None = None
    sampled: int = 0


@dataclass(frozen=True, slots=True)
class Conversion:
    """Make a kept copy of a storage in ``target``, from HBM (source None) or a kept layout."""

    storage: Storage
    source: Layout | None
    target: Layout
    via: Via | None = None

    @property
    def name(self) -> str:
        source = self.source.name if self.source else HBM
        return f"{self.storage.name}: {source} to {self.target.name}"


@dataclass(eq=False, slots=True)
class Schedule:
    """Segments and conversions in execution order; what is kept and what is stored.

    Attributes:
        kept: per storage, the names of the layouts in which it is kept whole in SBUF.
        stored: intermediate storages that have an HBM buffer.
    """

    program: Program
    items: list[Segment | Conversion]
    kept: dict[Storage, tuple[str, ...]] = field(default_factory=dict)
    stored: frozenset[Storage] = frozenset()

    def arguments(self) -> list[Argument]:
        """What the kernel takes: each input as it is or, if it is a weight and so read, packed."""
        ways: dict[Storage, dict[Packed | None, None]] = {s: {} for s in self.program.inputs}
        for item in self.items:
            for storage, via in _loads(item):
                if storage in ways:
                    ways[storage].setdefault(via if isinstance(via, Packed) else None)
        taken = {s.name for s in self.program.storages}
        made = []
        for storage, found in ways.items():
            for packed in found or (None,):
                name = f"{storage.name}_packed" if packed else storage.name
                if packed and name in taken:
                    name = next(n for k in count(2) if (n := f"{name}{k}") not in taken)
                taken.add(name)
                made.append(Argument(name, storage, packed))
        return made


@dataclass(frozen=True, slots=True)
class Argument:
    """What a kernel takes: an input, as it is or packed."""

    name: str
    storage: Storage
    packed: Packed | None

    @property
    def packing(self) -> Packing | None:
        return packing_of(self.storage, self.packed, self.name) if self.packed else None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.packing.shape if self.packing else self.storage.shape


def _loads(item: Segment | Conversion) -> Iterator[tuple[Storage, Via | None]]:
    """What an item reads from HBM, and how that comes."""
    if isinstance(item, Segment):
        yield from ((storage, p.via) for (storage, _), p in item.reads.items() if p.streamed)
    elif item.source is None:
        yield item.storage, item.via


def moves_in_hbm(step: Step, impl: Impl) -> bool:
    """Whether a step is but DMAs within HBM."""
    return step.kind == "hbm_copy" or impl.method == "hbm"


def read_layout(step: Step, impl: Impl, position: int) -> Layout:
    """The layout in which a step wants the storage of operand ``position``, in storage axes."""
    view = step.reads[position]
    found = view.coord_of(impl.partition) if impl.partition else None
    if found:
        return Layout.on(found[0])
    return Layout(None, _copies(step, impl, position))


def _copies(step: Step, impl: Impl, position: int) -> int:
    if step.kind == "matmul":
        return 1
    return impl.rows if impl.partition is None else PARTITIONS


def write_layout(step: Step, impl: Impl) -> Layout:
    """The layout in which a step makes its result, in storage axes."""
    axis = impl.out if step.kind == "matmul" else impl.partition
    if step.kind == "reduce" and impl.method in ("ones", "lanes"):
        return ALL if impl.method == "ones" else ROW
    found = step.write.coord_of(axis) if axis else None
    if found:
        return Layout.on(found[0])
    if step.kind == "matmul":
        return ROW
    return Layout(None, impl.rows)


def in_view_axes(view: View, layout: Layout) -> Layout:
    """A storage layout in the axes of a view of it; one row where the view fixes its axis."""
    for own, coord in zip(view.storage.axes, view.coords, strict=True):
        if own == layout.partition:
            return Layout.on(coord.axis) if coord.axis else ROW
    return layout


PSUM_BANK_ELEMENTS = 512  # f32, per partition


def stays_in_psum(segment: Segment, position: int) -> bool:
    """Whether what a matmul makes in an iteration is one PSUM tile and stays there to be read.

    Its readers have to be in the segment, on engines that reach PSUM, with the same axis on
    partitions.
    """
    step, impl = segment.steps[position], segment.impls[position]
    if step.kind != "matmul" or impl.out is None or not segment.loops or segment.stream:
        return False
    made = step.write.storage
    if any(storage is made for storage, _ in segment.writes) or not step.write.is_whole:
        return False
    sizes = {loop.axis: loop.block for loop in segment.loops}
    free = 1
    for axis in step.write.axes:
        size = sizes.get(axis, axis.extent)
        if axis != impl.out:
            free *= size
        elif size > partition_tile(axis.extent):
            return False
    stationary = set(step.reads[impl.stationary].axes)
    rows = [a for a in step.write.axes if a in stationary and a != impl.out]
    if free > PSUM_BANK_ELEMENTS or any(sizes.get(a, a.extent) > 1 for a in rows):
        return False
    after = segment.steps[position + 1] if position + 1 < len(segment.steps) else None
    if segment.hidden is not None and after is segment.hidden.mask:
        return False  # what takes it out knows where the mask changes nothing
    readers = [
        (reader, its, view)
        for reader, its in zip(segment.steps, segment.impls, strict=True)
        for view in reader.reads
        if view.storage is made
    ]
    return bool(readers) and all(
        reader.kind in ("pointwise", "copy", "reduce", "moments")
        and its.method not in ("ones", "lanes")
        and its.partition == impl.out
        and view.coords == step.write.coords
        for reader, its, view in readers
    )


def drained_matmul(segment: Segment, position: int) -> int | None:
    """The matmul whose result the pointwise step at ``position`` takes straight from PSUM.

    It is the step right before, if nothing else reads its result, inside the segment or outside.
    """
    step = segment.steps[position]
    if position == 0 or step.kind != "pointwise" or stays_in_psum(segment, position - 1):
        return None
    maker = segment.steps[position - 1]
    made = maker.write.storage
    crosses = any(s is made for s, _ in segment.writes)
    if maker.kind != "matmul" or crosses or not maker.write.is_whole:
        return None
    reads = [v for v in step.reads if v.storage is made]
    same = len(reads) == 1 and reads[0].coords == maker.write.coords
    others = any(v.storage is made for s in segment.steps if s is not step for v in s.reads)
    fits = set(step.write.axes) == set(maker.write.axes)
    return position - 1 if same and fits and not others else None
