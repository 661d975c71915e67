"""What lowered tiles cost: every op of an nki_ir graph, priced by ``cost_models``.

The solver's prices come from lowering each candidate and walking the result with these functions,
so that a plan's busy times and its kernel's are the same sums. What filling and draining a
candidate's pipeline costs beyond them comes from simulating it on its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from cost_models import Target, dma_price, instruction_price
from nkigen_lite.core.ir import Graph, Op
from nkigen_lite.nki_ir.access import Accesses
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.simulate import regions_of, simulate_kernel
from nkigen_lite.nki_ir.types import MemorySpace
from nkigen_lite.nki_ir.work import instruction, transfer, trigger

DMA = "dma"


@dataclass(slots=True)
class Cost:
    """Totals of a stretch of a kernel; times in nanoseconds.

    Attributes:
        busy: engine (tensor, vector, scalar, gpsimd, sync) and ``dma`` (queues) to time taken;
            triggering a DMA takes the engine that does it.
        latency: per resource, how much longer its longest op takes to finish than to make room for
            the next: what the end of the stretch waits for.
        hbm_bytes: moved over the HBM side of DMAs.
        sbuf_bytes: most bytes per partition live at once; psum_banks likewise.
        simulated_ns: of the stretch alone.
    """

    busy: dict[str, float] = field(default_factory=dict)
    latency: dict[str, float] = field(default_factory=dict)
    hbm_bytes: int = 0
    instructions: int = 0
    dmas: int = 0
    sbuf_bytes: int = 0
    psum_banks: int = 0
    simulated_ns: float = 0.0

    def add(self, resource: str, interval: float, latency: float, count: int) -> None:
        self.busy[resource] = self.busy.get(resource, 0.0) + interval * count
        tail = max(latency - interval, 0.0)
        self.latency[resource] = max(self.latency.get(resource, 0.0), tail)

    @property
    def busy_ns(self) -> dict[str, int]:
        """Whole nanoseconds, rounded up."""
        return {name: math.ceil(ns) for name, ns in sorted(self.busy.items()) if ns}


def cost_of(graph: Graph, target: Target, *, simulate: bool = False) -> Cost:
    """The cost of a graph, loops multiplied out; with ``simulate`` also its time on its own."""
    cost = Cost()
    accesses = Accesses()
    for op, trips in counted(graph):
        row = NKI[op.opcode]
        if not row.engines:
            continue
        cost.instructions += trips
        if row.engine == "dma":
            _add_dma(cost, op, trips, target, accesses)
        else:
            price = instruction_price(target, instruction(op, accesses))
            cost.add(op.attrs["engine"], price.interval_ns, price.latency_ns, trips)
    peak = Peak(Limits.of(target))
    peak.walk(graph)
    cost.sbuf_bytes, cost.psum_banks = peak.most_sbuf, peak.most_banks
    if simulate:
        cost.simulated_ns = simulate_kernel(graph, target).time_ns
    return cost


def counted(graph: Graph, trips: int = 1) -> Iterator[tuple[Op, int]]:
    """Every op with how often it runs."""
    for op in graph.ops:
        for region, inner in regions_of(op):
            yield from counted(region, trips * inner)
        if not op.regions:
            yield op, trips


def _add_dma(cost: Cost, op: Op, trips: int, target: Target, accesses: Accesses) -> None:
    moved = transfer(op, accesses)
    price = dma_price(target, moved)
    hbm_sides = sum(v.type.memory is MemorySpace.HBM for v in op.inputs)
    cost.dmas += trips
    cost.hbm_bytes += moved.total_bytes * trips * hbm_sides
    cost.add(trigger(op), price.engine_ns, price.issue_ns, trips)
    latency = price.first_byte_ns + price.transfer_ns + price.completion_ns
    cost.add(DMA, price.transfer_ns, latency, trips)


@dataclass
class Peak:
    """Walks a graph and notes the most SBUF bytes and PSUM banks live at once."""

    limits: Limits
    sbuf: int = 0
    banks: int = 0
    most_sbuf: int = 0
    most_banks: int = 0

    def walk(self, graph: Graph) -> None:
        mine: dict[int, tuple[int, int]] = {}
        for op in graph.ops:
            if op.opcode == "alloc":
                kind, copies = op.result.type, op.attrs["num_buffers"]
                size = kind.partition_bytes
                sbuf = size * copies if kind.memory is MemorySpace.SBUF else 0
                psum = kind.memory is MemorySpace.PSUM
                banks = self.limits.banks_of(size) * copies if psum else 0
                mine[id(op.result)] = (sbuf, banks)
                self._change(sbuf, banks)
            elif op.opcode == "dealloc":
                sbuf, banks = mine.pop(id(op.inputs[0]), (0, 0))
                self._change(-sbuf, -banks)
            for region in op.regions:
                self.walk(region)
        for sbuf, banks in mine.values():
            self._change(-sbuf, -banks)

    def _change(self, sbuf: int, banks: int) -> None:
        self.sbuf += sbuf
        self.banks += banks
        self.most_sbuf = max(self.most_sbuf, self.sbuf)
        self.most_banks = max(self.most_banks, self.banks)
