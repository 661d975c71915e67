"""What lowered tiles cost: every op of an nki_ir graph, priced by ``cost_models``.

The solver's prices come from lowering each candidate and walking the result with these functions,
so that a plan's predicted time and its kernel's are the same sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from cost_models import Instruction, Target, Transfer, dma_price, instruction_price
from nkigen_lite.core.ir import Graph, Op
from nkigen_lite.nki_ir.access import Access, Accesses
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.types import ON_CHIP, MemorySpace

DMA, ISSUE = "dma", "sync"


@dataclass(slots=True)
class Cost:
    """Totals of a stretch of a kernel; times in nanoseconds.

    Attributes:
        busy: engine (tensor, vector, scalar, gpsimd), ``dma`` (queues) and ``sync`` (issuing DMAs)
            to time taken.
        latency: per resource, how much longer its longest op takes to finish than to make room for
            the next: what the end of the stretch waits for.
        hbm_bytes: moved over the HBM side of DMAs.
        sbuf_bytes: most bytes per partition live at once; psum_banks likewise.
    """

    busy: dict[str, float] = field(default_factory=dict)
    latency: dict[str, float] = field(default_factory=dict)
    hbm_bytes: int = 0
    instructions: int = 0
    dmas: int = 0
    sbuf_bytes: int = 0
    psum_banks: int = 0

    def add(self, resource: str, interval: float, latency: float, count: int) -> None:
        self.busy[resource] = self.busy.get(resource, 0.0) + interval * count
        tail = max(latency - interval, 0.0)
        self.latency[resource] = max(self.latency.get(resource, 0.0), tail)

    @property
    def busy_ns(self) -> dict[str, int]:
        """Whole nanoseconds, rounded up."""
        return {name: math.ceil(ns) for name, ns in sorted(self.busy.items()) if ns}


def cost_of(graph: Graph, target: Target) -> Cost:
    """The cost of a graph, loops multiplied out."""
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
    return cost


def counted(graph: Graph, trips: int = 1) -> Iterator[tuple[Op, int]]:
    """Every op with how often it runs."""
    for op in graph.ops:
        if op.opcode == "fori_loop":
            inner = -(-op.attrs["extent"] // op.attrs["step"])
            yield from counted(op.attrs["body"], trips * inner)
        else:
            yield op, trips


def instruction(op: Op, accesses: Accesses) -> Instruction:
    """The op as the cost model sees it."""
    full = [v for v in op.inputs if v.type.memory in ON_CHIP]
    pointer = False
    if op.opcode in ("tensor_scalar_arith", "activation"):
        pointer = len(full) > 2
        full = full[:2]
    elems = max(v.type.free_size for v in full)
    if op.opcode == "matmul":
        elems = full[2].type.free_size
    elif op.opcode == "nc_transpose":
        elems = full[1].type.partition_size
    return Instruction(
        op=op.opcode,
        engine=op.attrs["engine"],
        rows=max(v.type.partition_size for v in full),
        elems=elems,
        dtypes=tuple(v.type.dtype.value for v in full),
        memories=tuple(v.type.memory.value for v in full),
        pointer=pointer,
        contiguous=all(_is_contiguous(accesses.of(v)) for v in full),
    )


def _is_contiguous(access: Access) -> bool:
    dims = access.free_dims()
    return not dims or dims[-1][1] == 1


def _add_dma(cost: Cost, op: Op, trips: int, target: Target, accesses: Accesses) -> None:
    dst, src = op.inputs
    price = dma_price(target, transfer(op, accesses))
    cost.dmas += trips
    cost.hbm_bytes += dst.type.size_bytes * trips * (2 if dst.type.memory is src.type.memory else 1)
    cost.add(ISSUE, price.issue_ns, price.issue_ns, trips)
    latency = price.first_byte_ns + price.transfer_ns + price.completion_ns
    cost.add(DMA, price.transfer_ns, latency, trips)


def transfer(op: Op, accesses: Accesses) -> Transfer:
    """A dma_copy as the cost model sees it: contiguous runs over the partitions it touches."""
    dst, src = op.inputs
    sides = [accesses.of(dst), accesses.of(src)]
    on_chip = [s for s in sides if s.root.type.memory in ON_CHIP]
    rows = on_chip[0].dims[0][0] if on_chip else 1
    per_row = dst.type.num_elements // rows
    run = per_row
    for side in sides:
        dims = side.dims[1:] if on_chip else side.dims
        run = math.gcd(run, _run(dims))
    descriptors = rows * (per_row // run)
    kind = "copy" if not on_chip else "load" if dst.type.memory is MemorySpace.SBUF else "store"
    return Transfer(kind, descriptors, run * dst.type.dtype.itemsize, rows)


def _run(dims: tuple[tuple[int, int], ...]) -> int:
    """Elements side by side in the innermost part of an access."""
    run = 1
    for extent, stride in reversed(dims):
        if extent == 1:
            continue
        if stride != run:
            break
        run *= extent
    return run


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
            elif op.opcode == "fori_loop":
                self.walk(op.attrs["body"])
        for sbuf, banks in mine.values():
            self._change(-sbuf, -banks)

    def _change(self, sbuf: int, banks: int) -> None:
        self.sbuf += sbuf
        self.banks += banks
        self.most_sbuf = max(self.most_sbuf, self.sbuf)
        self.most_banks = max(self.most_banks, self.banks)
