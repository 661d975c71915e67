"""A kernel as an instruction stream, and its predicted time line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cost_models import Bounds, Target
from cost_models.simulate import (
    Fresh,
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
from nkigen_lite.nki_ir.cells import Grid, Loops, grid
from nkigen_lite.nki_ir.rows import NKI, written_operands
from nkigen_lite.nki_ir.types import INDEX, MemorySpace
from nkigen_lite.nki_ir.work import instruction, transfer, trigger


def simulate_kernel(
    graph: Graph, target: Target, *, extrapolate: bool = True, record: int = 0
) -> Timeline:
    """The predicted time line of a kernel on one core.

    Args:
        graph: an nki_ir graph.
        target: the hardware profile.
        extrapolate: leave out trips of loops that have provably settled; same result, sooner.
        record: how many events to keep for drawing.

    Raises:
        PriceError: the target cannot run an op.
    """
    return simulate(target, program_of(graph), extrapolate=extrapolate, record=record)


def bounds_of_kernel(graph: Graph, target: Target) -> Bounds:
    """Lower bounds of the simulated time of any schedule of a kernel's instructions.

    Raises:
        PriceError: the target cannot run an op.
    """
    return bounds_of(target, program_of(graph))


def program_of(graph: Graph) -> list[Item]:
    """The graph as the simulator's instruction stream; loops stay rolled."""
    return _Translation(graph).items(graph)


@dataclass
class _Translation:
    """One pass notes how buffers are used, the next writes the stream."""

    graph: Graph
    accesses: Accesses = field(default_factory=Accesses)
    loops: dict[Value, Loops] = field(default_factory=dict)
    grids: dict[Value, Grid] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loops.update(_loops(self.graph))
        copies: dict[Value, int] = {}
        uses: dict[Value, list[Access]] = {}
        written: set[Value] = set()
        read: set[Value] = set()
        for op in _ops(self.graph):
            if op.opcode == "alloc":
                copies[op.result] = op.attrs["num_buffers"]
            for value, writes in _operands(op):
                access = self.accesses.of(value)
                uses.setdefault(access.root, []).append(access)
                (written if writes else read).add(access.root)
        for root, mine in uses.items():
            # Nothing waits for a tensor in HBM that is only read, or only written.
            if root.type.memory is not MemorySpace.HBM or root in written & read:
                name = root.name
                self.grids[root] = grid(name, root, copies.get(root, 1), mine, self.loops)

    def items(self, graph: Graph) -> list[Item]:
        """The ops of a graph or loop body."""
        made: list[Item] = []
        for op in graph.ops:
            for region, trips in regions_of(op):
                loop = self.loops.get(region.inputs[0]) if region.inputs else None
                index = loop.index if loop else Index(region.name)
                made.append(Loop(index, trips, self.items(region)))
            if op.opcode == "alloc":
                found = self.grids.get(op.result)
                if found is not None and found.buffer.copies > 1:
                    made.append(Fresh(found.buffer))
            elif NKI[op.opcode].engines:
                made.append(self._step(op))
        return made

    def _step(self, op: Op) -> Step:
        reads: list[Use] = []
        writes: list[Use] = []
        for value, is_written in _operands(op):
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


def _operands(op: Op) -> Iterator[tuple[Value, bool]]:
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


def regions_of(op: Op) -> list[tuple[Graph, int]]:
    """The regions that an op runs, each with how often for all that is known."""
    return [(op.attrs[name], trips) for name, trips in NKI[op.opcode].trips(op).items()]


def _ops(graph: Graph) -> Iterator[Op]:
    """All ops that the simulator runs."""
    for op in graph.ops:
        yield op
        for region, _ in regions_of(op):
            yield from _ops(region)


def _loops(graph: Graph) -> Iterator[tuple[Value, Loops]]:
    """The loops whose indices move slices."""
    for op in _ops(graph):
        for region, trips in regions_of(op):
            for index in region.inputs:
                if index.type == INDEX:
                    yield index, Loops(Index(index.name), op.attrs["step"], trips)
