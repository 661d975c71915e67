"""A kernel as an instruction stream, and its predicted time line."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from cost_models import Bounds, Target
from cost_models.simulate import (
    Fresh,
    Held,
    Index,
    Item,
    Loop,
    Step,
    Timeline,
    Use,
    bounds_of,
    simulate,
)
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.nki_ir.access import Access, Accesses
from nkigen_lite.nki_ir.allocation import Allocation, Hazard, Place, places_of
from nkigen_lite.nki_ir.cells import Grid, Loops, grid, shared_cells
from nkigen_lite.nki_ir.rows import NKI, written_operands
from nkigen_lite.nki_ir.rows.table import regions_of
from nkigen_lite.nki_ir.types import INDEX, MemorySpace
from nkigen_lite.nki_ir.work import instruction, transfer, trigger


def simulate_kernel(
    graph: Graph,
    target: Target,
    allocation: Allocation | None = None,
    *,
    extrapolate: bool = True,
    record: int = 0,
    accesses: Accesses | None = None,
) -> Timeline:
    """The predicted time line of a kernel on one core.

    Args:
        graph: an nki_ir graph.
        target: the hardware profile.
        allocation: with it, a buffer also waits for those whose bytes it takes over; without, all
            buffers have bytes of their own.
        extrapolate: leave out trips of loops that have provably settled; same result, sooner.
        record: how many events to keep for drawing.
        accesses: those of the graph, if they are known.

    Raises:
        PriceError: the target cannot run an op.
    """
    program = program_of(graph, allocation, accesses)
    return simulate(target, program, extrapolate=extrapolate, record=record)


def bounds_of_kernel(graph: Graph, target: Target) -> Bounds:
    """Lower bounds of the simulated time of any schedule of a kernel's instructions.

    Raises:
        PriceError: the target cannot run an op.
    """
    return bounds_of(target, program_of(graph))


def program_of(
    graph: Graph, allocation: Allocation | None = None, accesses: Accesses | None = None
) -> list[Item]:
    """The graph as the simulator's instruction stream; loops stay rolled.

    Raises:
        InvalidInput: the allocation is that of another kernel.
    """
    return Translation(graph, allocation, accesses or Accesses()).items(graph)


@dataclass
class Translation:
    """One pass notes how buffers are used, the next writes the stream.

    ``grids`` are the cells of buffers, by their roots; ``loops`` are found by their indices.
    ``hazards`` are those onto a buffer, by its name, and ``roots`` the buffers by theirs. ``made``
    are the steps of ops that are in the stream already: it may be written several times.
    """

    graph: Graph
    allocation: Allocation | None = None
    accesses: Accesses = field(default_factory=Accesses)
    loops: dict[Value, Loops] = field(default_factory=dict)
    grids: dict[Value, Grid] = field(default_factory=dict)
    places: Mapping[Value, Place] = field(default_factory=dict)
    roots: dict[str, Value] = field(default_factory=dict)
    hazards: dict[str, list[Hazard]] = field(default_factory=dict)
    made: dict[Op, Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loops.update(_loops(self.graph))
        copies: dict[Value, int] = {}
        uses: dict[Value, list[Access]] = {}
        written: set[Value] = set()
        read: set[Value] = set()
        if self.allocation is not None:
            self.places = places_of(self.graph, self.allocation)
            self.roots = {place.name: value for value, place in self.places.items()}
            # A buffer that nothing uses hands on what it took over.
            uses.update((root, []) for root in self.places)
            for hazard in self.allocation.hazards:
                self.hazards.setdefault(hazard.new, []).append(hazard)
        for op in self.graph.walk():  # also what is not likely to run
            if op.opcode == "alloc":
                copies[op.result] = op.attrs["num_buffers"]
            for value, writes in operands(op):
                access = self.accesses.of(value)
                uses.setdefault(access.root, []).append(access)
                (written if writes else read).add(access.root)
        for root, mine in uses.items():
            # Nothing waits for a tensor in HBM that is only read, or only written.
            if root.type.memory is not MemorySpace.HBM or root in written & read:
                name = root.name
                self.grids[root] = grid(name, root, copies.get(root, 1), mine, self.loops)

    def items(self, graph: Graph, without: Collection[Op] = ()) -> list[Item]:
        """The ops of a graph or loop body, but for some."""
        made: list[Item] = []
        for op in graph.ops:
            if op in without:
                continue
            for region, trips in regions_of(op):
                loop = self.loops.get(region.inputs[0]) if region.inputs else None
                index = loop.index if loop else Index(region.name)
                body = self.items(region, without)
                if body:
                    made.append(Loop(index, trips, body))
            if op.opcode in ("alloc", "rotate"):
                fresh = self.fresh(op.result if op.opcode == "alloc" else op.inputs[0])
                if fresh is not None:
                    made.append(fresh)
            elif NKI[op.opcode].engines:
                step = self.made.get(op)
                if step is None:
                    step = self.made[op] = self.step(op)
                made.append(step)
        return made

    def fresh(self, buffer: Value) -> Fresh | None:
        """What an ``alloc`` or ``rotate`` does: take the next copy, and what lay in its bytes."""
        found = self.grids.get(buffer)
        if found is None:
            return None
        held = self._held(buffer, found)
        return Fresh(found.buffer, held) if held or found.buffer.copies > 1 else None

    def _held(self, root: Value, mine: Grid) -> tuple[tuple[Held, ...], ...]:
        place = self.places.get(root)
        hazards = self.hazards.get(place.name, []) if place else []
        if not place or not hazards:
            return ()
        held: list[list[Held]] = [[] for _ in place.offsets]
        for hazard in hazards:
            old = self.roots[hazard.old]
            offset = self.places[old].offsets[hazard.old_copy]
            apart = offset - place.offsets[hazard.new_copy]
            cells = shared_cells(mine, root.type, self.grids[old], old.type, apart)
            first = hazard.old_copy * self.grids[old].buffer.cells
            pairs = tuple((own, first + other) for own, other in cells)
            held[hazard.new_copy].append(Held(self.grids[old].buffer, pairs))
        return tuple(map(tuple, held))

    def step(self, op: Op) -> Step:
        """What an op of an engine does."""
        reads: list[Use] = []
        writes: list[Use] = []
        for value, is_written in operands(op):
            access = self.accesses.of(value)
            found = self.grids.get(access.root)
            if found is not None:
                (writes if is_written else reads).append(found.use(access, self.loops))
        if NKI[op.opcode].engine != "dma":
            work = instruction(op, self.accesses)
            return Step(work, work.engine, tuple(reads), tuple(writes))
        moved, tensor = transfer(op, self.accesses), _hbm_name(op, self.accesses)
        label = f"{moved.direction} {tensor}"
        return Step(moved, trigger(op), tuple(reads), tuple(writes), tensor, label)


def _hbm_name(op: Op, accesses: Accesses) -> str:
    dst, src = op.inputs[:2]
    side = src if src.type.memory is MemorySpace.HBM else dst
    return accesses.root(side).name


def operands(op: Op) -> Iterator[tuple[Value, bool]]:
    """The tiles that an op uses, each with whether it is written.

    A matmul that accumulates does not read its destination: the engine keeps its own order.
    """
    row = NKI[op.opcode]
    if not row.engines:
        return
    written = written_operands(op)
    tiles = [v for v in op.inputs if v.type.memory is not MemorySpace.REG]
    for at, value in enumerate(tiles):
        also_read = f"read {at}" in (row.effects or ()) and op.opcode != "matmul"
        if at not in written or also_read:
            yield value, False
    for at in written:
        yield tiles[at], True


def _loops(graph: Graph) -> Iterator[tuple[Value, Loops]]:
    """The loops whose indices move slices."""
    for op in graph.walk():
        for region, trips in regions_of(op):
            for index in region.inputs:
                if index.type == INDEX:
                    yield index, Loops(Index(index.name), op.attrs["step"], trips)
