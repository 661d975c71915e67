"""Prices in whole picoseconds, asked for once per kind of instruction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from ..dma import Transfer, dma_price, peak_gbps, queue_work_ns
from ..instructions import Instruction
from ..pricing import instruction_price, weight_load_price
from ..target import Target
from .queues import FULL, Demand
from .tiles import ENGINES, UNITS

KEPT = 1 << 14
"""Kinds of instructions whose prices are kept."""


def picoseconds(ns: float) -> int:
    """Nanoseconds as whole picoseconds."""
    return round(ns * 1000)


def _semaphore(target: Target, engine: str) -> int:
    sync = target.sync
    return picoseconds(sync.semaphore_tensor_ns if engine == "tensor" else sync.semaphore_ns)


@dataclass(frozen=True, slots=True)
class TensorPrice:
    """Of one instruction of the Tensor engine; pairs are (cold, warm), times in ps.

    ``weights`` is how long its stationary operand takes to load.
    """

    interval: tuple[int, int]
    latency: tuple[int, int]
    weights: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TransferPrice:
    """Of one DMA: how long its trigger takes the engine, what passes from the trigger's start to
    the first byte, what the queues do, and what passes until a consumer can start; times in ps.
    """

    taken: int
    lead: int
    demand: Demand
    completion: int


class Prices:
    """The prices of one target.

    ``handoff[engine][unit]`` (ps) passes from the end of a unit's work until the engine may use
    its result; of a DMA it is part of the completion.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.handoff = [[_semaphore(target, e) * (u != "dma") for u in UNITS] for e in ENGINES]
        self.compute = lru_cache(KEPT)(self._compute)
        self.tensor = lru_cache(KEPT)(self._tensor)
        self.transfer = lru_cache(KEPT)(self._transfer)

    def _compute(self, work: Instruction, cold: bool = False) -> tuple[int, int]:
        """(interval, latency) of an instruction."""
        price = instruction_price(self.target, work, cold=cold)
        return picoseconds(price.interval_ns), picoseconds(price.latency_ns)

    def _tensor(self, work: Instruction) -> TensorPrice:
        cold, warm = self._compute(work, True), self._compute(work, False)
        return TensorPrice(
            interval=(cold[0], warm[0]),
            latency=(cold[1], warm[1]),
            weights=(self._weights(work, True), self._weights(work, False)),
        )

    def _weights(self, work: Instruction, cold: bool) -> int:
        if work.op != "matmul":
            return 0
        columns = work.columns or self.target.tensor.stationary_free_max
        price = weight_load_price(self.target, work.dtypes[1], columns, cold)
        return picoseconds(price.interval_ns)

    def _transfer(self, work: Transfer) -> TransferPrice:
        price = dma_price(self.target, work)
        return TransferPrice(
            taken=picoseconds(price.engine_ns),
            lead=picoseconds(price.issue_ns) + picoseconds(price.first_byte_ns),
            demand=self._demand(work, price.transfer_ns),
            completion=picoseconds(price.completion_ns),
        )

    def _demand(self, work: Transfer, transfer_ns: float) -> Demand:
        """What a transfer asks of the queues."""
        dma = self.target.dma
        duration = max(picoseconds(transfer_ns), 1)
        is_store = work.direction == "store"
        all_ns = work.total_bytes / (dma.store_cap_gbps if is_store else peak_gbps(self.target))
        load_ns = work.total_bytes / dma.load_cap_gbps
        used = max(queue_work_ns(self.target, work) / dma.queues, all_ns)
        share = min(FULL, max(1, math.ceil(used * 1000 / duration * FULL)))
        loads = min(FULL, math.ceil(load_ns * 1000 / duration * FULL))
        return Demand(duration, share, loads if work.direction == "load" else 0)


@lru_cache(maxsize=8)
def prices_of(target: Target) -> Prices:
    """The prices of a target, shared by all who ask."""
    return Prices(target)
