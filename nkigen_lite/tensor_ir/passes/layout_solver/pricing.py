"""What lowered tiles cost: every op of an nki_ir graph, priced by ``cost_models``.

The solver's prices come from lowering each candidate and walking the result with these functions,
so that a plan's busy times and its kernel's are the same sums. What filling and draining a
candidate's pipeline costs beyond them comes from simulating it on its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cost_models import KnownPrices, Target, prices_of
from cost_models.dma import peak_gbps, queue_work_ns
from cost_models.simulate import Timeline
from nkigen_lite.core.ir import Graph, Op
from nkigen_lite.nki_ir.access import Accesses
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.rows.table import regions_of
from nkigen_lite.nki_ir.simulate import simulate_kernel
from nkigen_lite.nki_ir.types import MemorySpace
from nkigen_lite.nki_ir.work import instruction, transfer, trigger

DMA, SYNC = "dma", "sync"
_WARM = 0.7  # of segments that find the PE array cold when alone, how many find it warm in a plan

O = TypeVar("O")  # noqa: E741 - whoever ops are charged to


@dataclass(slots=True)
class Cost:
    """Totals of a stretch of a kernel; times in nanoseconds.

    Attributes:
        busy: engine (tensor, vector, scalar, gpsimd, sync) and ``dma`` (queues) to time taken;
            triggering a DMA takes the engine that does it.
        latency: per resource, how long its longest op takes to finish.
        lead_ns: the most that passes of a DMA besides moving its bytes, which others overlap with.
        early_ns: of the DMA time, the first loads into each copy of a buffer: they wait for nothing
            that the stretch computes.
        hbm_bytes: moved over the HBM side of DMAs.
        sbuf_bytes: most bytes per partition live at once; psum_banks likewise.
        simulated_ns: of the stretch alone, with a PE array as warm as it often is in a plan.
    """

    busy: dict[str, float] = field(default_factory=dict)
    latency: dict[str, float] = field(default_factory=dict)
    lead_ns: float = 0.0
    early_ns: float = 0.0
    hbm_bytes: int = 0
    instructions: int = 0
    dmas: int = 0
    sbuf_bytes: int = 0
    psum_banks: int = 0
    simulated_ns: float = 0.0

    def add(self, resource: str, interval: float, latency: float, count: int) -> None:
        self.busy[resource] = self.busy.get(resource, 0.0) + interval * count
        self.latency[resource] = max(self.latency.get(resource, 0.0), latency)

    @property
    def computing_ns(self) -> int:
        """The most that an engine computes: more than triggering, which Sync does."""
        return max((ns for name, ns in self.busy_ns.items() if name not in (DMA, SYNC)), default=0)

    @property
    def busy_ns(self) -> dict[str, int]:
        """Whole nanoseconds, rounded up."""
        return {name: math.ceil(ns) for name, ns in sorted(self.busy.items()) if ns}


def cost_of(graph: Graph, target: Target, *, simulate: bool = False) -> Cost:
    """The cost of a graph, loops multiplied out; with ``simulate`` also its time on its own."""
    cost = costs_by_owner(graph, target, {}, None)[None]
    if simulate:
        line = simulate_kernel(graph, target)
        cost.simulated_ns = line.time_ns - warmth_ns(line, target)
    return cost


def warmth_ns(line: Timeline, target: Target) -> float:
    """What a stretch takes longer alone, with a PE array that is cold at first, than it does in a
    plan (ns): there it is often warm from what came before, and stays so for about as long as it
    takes to warm up."""
    tensor = target.tensor
    return _WARM * (1 - tensor.cold_rate) * min(line.cold_ns, tensor.warm_after_ns)


def costs_by_owner(
    graph: Graph,
    target: Target,
    owners: Mapping[Op, O],
    rest: O,
    accesses: Accesses | None = None,
) -> dict[O, Cost]:
    """The cost of a graph, told apart by who its ops are charged to: ``owners``, or ``rest``.

    An owner's ``sbuf_bytes`` are what is live of the buffers that it allocates when the most is
    live of all: those of all owners add up to the graph's. ``accesses`` are those of the graph, if
    they are known.
    """
    costs: dict[O, Cost] = {rest: Cost()}
    accesses = accesses or Accesses()
    prices = prices_of(target)
    peak = _Peak(Limits.of(target), owners)
    filled: dict[Op, int] = {}
    for op, trips, owner in counted(graph, owners, rest):
        row = NKI[op.opcode]
        if not row.engines:
            continue
        cost = costs.setdefault(owner, Cost())
        cost.instructions += trips
        if row.engine == "dma":
            price_ns = _add_dma(cost, op, trips, prices, accesses)
            cost.early_ns += price_ns * _first_loads(op, trips, accesses, filled)
        else:
            price = prices.instruction(instruction(op, accesses))
            cost.add(op.attrs["engine"], price.interval_ns, price.latency_ns, trips)
    peak.walk(graph, rest)
    for owner, most in peak.most_sbuf.items():
        costs.setdefault(owner, Cost()).sbuf_bytes = most
    costs[rest].psum_banks = peak.most_banks
    return costs


def counted(
    graph: Graph, owners: Mapping[Op, O], owner: O, trips: int = 1
) -> Iterator[tuple[Op, int, O]]:
    """Every op with how often it runs and who it is charged to."""
    for op in graph.ops:
        here = owners.get(op, owner)
        for region, inner in regions_of(op):
            yield from counted(region, owners, here, trips * inner)
        if not op.regions:
            yield op, trips, here


def is_store(op: Op) -> bool:
    """Whether an op takes something from the chip to HBM."""
    if NKI[op.opcode].engine != DMA:
        return False
    dst, src = op.inputs[:2]
    return dst.type.memory is MemorySpace.HBM and src.type.memory is not MemorySpace.HBM


def _add_dma(cost: Cost, op: Op, trips: int, prices: KnownPrices, accesses: Accesses) -> float:
    """Charge a transfer; the time that it takes of the queues each time."""
    moved = transfer(op, accesses)
    price = prices.transfer(moved)
    hbm_sides = sum(v.type.memory is MemorySpace.HBM for v in op.inputs)
    cost.dmas += trips
    cost.hbm_bytes += moved.total_bytes * trips * hbm_sides
    cost.add(trigger(op), price.engine_ns, price.issue_ns, trips)
    lead_ns = price.first_byte_ns + price.completion_ns
    cost.lead_ns = max(cost.lead_ns, price.engine_ns + lead_ns)
    taken_ns = price.transfer_ns
    if hbm_sides == 2:  # others go on beside a copy of few descriptors
        even_ns = queue_work_ns(prices.target, moved) / prices.target.dma.queues
        taken_ns = max(even_ns, moved.total_bytes / peak_gbps(prices.target))
    cost.add(DMA, taken_ns, lead_ns + price.transfer_ns, trips)
    return price.transfer_ns


def _first_loads(op: Op, trips: int, accesses: Accesses, filled: dict[Op, int]) -> int:
    """How often a load fills what none has before: all copies of its buffer, less the elements that
    others have ``filled``."""
    loaded = op.inputs[0]
    buffer = accesses.root(loaded).producer
    if buffer is None or loaded.type.memory is not MemorySpace.SBUF:
        return 0
    elements: int = buffer.result.type.num_elements * buffer.attrs["num_buffers"]
    free = elements - filled.get(buffer, 0)
    first: int = min(trips, free // loaded.type.num_elements)
    filled[buffer] = filled.get(buffer, 0) + first * loaded.type.num_elements
    return first


def psum_banks(graph: Graph, limits: Limits) -> int:
    """The most PSUM banks that are live at once."""
    nobody: Mapping[Op, None] = {}
    peak = _Peak(limits, nobody)
    peak.walk(graph, None)
    return peak.most_banks


def psum_in_flight(graph: Graph, limits: Limits, copies: int, *, looped: bool = False) -> int:
    """The most PSUM banks that a loop can keep busy, were there ``copies`` of what rotates: what
    one iteration allocates is in use at the same time, as engines work on different parts of it.
    Beyond ``limits``, bytes that one part has used are given to another, which then waits."""
    found = [0]
    for op in graph.ops:
        if op.opcode == "alloc" and op.result.type.memory is MemorySpace.PSUM:
            banks = limits.banks_of(op.result.type.partition_bytes)
            found.append(banks * (copies if op.attrs["num_buffers"] > 1 else 1))
        found += [psum_in_flight(region, limits, copies, looped=True) for region in op.regions]
    return sum(found) if looped else max(found)


def psum_of_texts(
    graph: Graph, limits: Limits, copies: int, texts: Mapping[Op, int], places: Mapping[Op, int]
) -> int:
    """The same where iterations of a loop are written out: ``texts`` tells which ops are whose,
    ``places`` their places among the steps. What rotates at one place of an iteration follows each
    other; what does not is in use at the same time."""
    used: dict[int, dict[int | None, tuple[int, int]]] = {}
    for op, text, place in _placed(graph, texts, places, None, None):
        if op.opcode != "alloc" or op.result.type.memory is not MemorySpace.PSUM or text is None:
            continue
        banks = limits.banks_of(op.result.type.partition_bytes)
        rotating, single = used.setdefault(text, {}).get(place, (0, 0))
        if op.attrs["num_buffers"] > 1:
            used[text][place] = max(rotating, banks * copies), single
        else:
            used[text][place] = rotating, single + banks
    return max((sum(map(sum, each.values())) for each in used.values()), default=0)


def _placed(
    graph: Graph,
    texts: Mapping[Op, int],
    places: Mapping[Op, int],
    text: int | None,
    place: int | None,
) -> Iterator[tuple[Op, int | None, int | None]]:
    """Every op with the text and the place that it belongs to."""
    for op in graph.ops:
        here = texts.get(op, text), places.get(op, place)
        yield op, *here
        for region in op.regions:
            yield from _placed(region, texts, places, *here)


@dataclass
class _Peak(Generic[O]):
    """Walks a graph and notes the most SBUF bytes live at once, by the owners of the buffers, and
    the most PSUM banks."""

    limits: Limits
    owners: Mapping[Op, O]
    sbuf: dict[O, int] = field(default_factory=dict)
    banks: int = 0
    most_sbuf: dict[O, int] = field(default_factory=dict)
    most_banks: int = 0

    def walk(self, graph: Graph, owner: O) -> None:
        mine: dict[int, tuple[O, int, int]] = {}
        for op in graph.ops:
            here = self.owners.get(op, owner)
            if op.opcode == "alloc":
                mine[id(op.result)] = made = (here, *self.size(op))
                self.change(*made)
            elif op.opcode == "dealloc" and id(op.inputs[0]) in mine:
                gone, sbuf, banks = mine.pop(id(op.inputs[0]))
                self.change(gone, -sbuf, -banks)
            for region in op.regions:
                self.walk(region, here)
        for gone, sbuf, banks in mine.values():
            self.change(gone, -sbuf, -banks)

    def size(self, alloc: Op) -> tuple[int, int]:
        kind, copies = alloc.result.type, alloc.attrs["num_buffers"]
        size = kind.partition_bytes
        if kind.memory is MemorySpace.SBUF:
            return size * copies, 0
        psum = kind.memory is MemorySpace.PSUM
        return 0, self.limits.banks_of(size) * copies if psum else 0

    def change(self, owner: O, sbuf: int, banks: int) -> None:
        self.sbuf[owner] = self.sbuf.get(owner, 0) + sbuf
        self.banks += banks
        if sum(self.sbuf.values()) > sum(self.most_sbuf.values()):
            self.most_sbuf = dict(self.sbuf)
        self.most_banks = max(self.most_banks, self.banks)
