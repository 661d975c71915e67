"""One NeuronCore at work: when each instruction starts and ends, and what it waits for.

Every engine executes its instructions in order, so the times of an instruction follow from those
before it in program order: one pass over the stream gives the exact event times, without a queue
of events. An instruction starts when its engine is free and every tile it uses is: what it reads
has been written, what it writes is no longer read or written by others, each plus the hand-off of
a semaphore. Times are whole picoseconds, so that equal states are equal exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..dma import Transfer
from ..instructions import Instruction, activation_table
from ..target import Target
from .prices import Prices, picoseconds
from .program import TRIGGERS, Step
from .queues import Endless, Queues
from .tiles import DMA, ENGINES, NEVER, PARTS, SCALAR, TENSOR, Tiles

Go = Callable[[], None]


@dataclass(slots=True)
class Totals:
    """What has been counted so far. Times in ps; per unit of :data:`UNITS`, or per engine.

    ``waits[engine][k]`` is idle time spent waiting for data of unit k (k < 6) or for unit k - 6 to
    be done with a buffer.
    """

    busy: list[int] = field(default_factory=lambda: [0] * PARTS)
    count: list[int] = field(default_factory=lambda: [0] * PARTS)
    waits: list[list[int]] = field(default_factory=lambda: [[0] * (2 * PARTS) for _ in ENGINES])
    bytes_of: dict[str, int] = field(default_factory=dict)
    macs: int = 0
    table_loads: int = 0
    cold: int = 0
    simulated: int = 0

    def copy(self) -> Totals:
        """These totals, apart."""
        return Totals(
            list(self.busy),
            list(self.count),
            [list(row) for row in self.waits],
            dict(self.bytes_of),
            self.macs,
            self.table_loads,
            self.cold,
            self.simulated,
        )

    def add_again(self, before: Totals, times: int) -> None:
        """Add what has been counted since ``before`` again, ``times`` times."""
        for unit in range(PARTS):
            self.busy[unit] += times * (self.busy[unit] - before.busy[unit])
            self.count[unit] += times * (self.count[unit] - before.count[unit])
        for row, old in zip(self.waits, before.waits, strict=True):
            for k, was in enumerate(old):
                row[k] += times * (row[k] - was)
        for name, total in self.bytes_of.items():
            self.bytes_of[name] = total + times * (total - before.bytes_of.get(name, 0))
        self.macs += times * (self.macs - before.macs)
        self.table_loads += times * (self.table_loads - before.table_loads)
        self.cold += times * (self.cold - before.cold)


def _semaphore_ps(target: Target, engine: int) -> int:
    sync = target.sync
    return picoseconds(sync.semaphore_tensor_ns if engine == TENSOR else sync.semaphore_ns)


class _Unused(list[int]):
    """Times that stay as they are."""

    def __setitem__(self, at: object, value: object) -> None:
        """Nothing."""


class Machine:
    """The state of the core: when engines are free, cells written and read, queues taken.

    ``record`` events at most are kept as (unit, start ps, end ps, label). With ``unlimited`` only
    the need for data holds an instruction up: engines, queues and buffers are never in use.
    """

    def __init__(self, target: Target, record: int = 0, *, unlimited: bool = False) -> None:
        self.target, self.unlimited = target, unlimited
        self.prices = Prices(target)
        self.free = (_Unused if unlimited else list)([0] * len(ENGINES))
        self.queues = Endless() if unlimited else Queues()
        self.totals = Totals()
        self.end = 0
        self.table: list[str | None] = [None]
        # PE array: when its last instruction started and ended, its heat, whether it is warm.
        self.array = [NEVER, NEVER, 0, 0]
        self.triggers = tuple(ENGINES.index(name) for name in TRIGGERS)
        self.record = record
        self.events: list[tuple[int, int, int, str]] = []

        handoff = [[_semaphore_ps(target, e)] * DMA + [0] for e in range(len(ENGINES))]
        self.tiles = Tiles(handoff, not unlimited)

    # --- what runs

    def step(self, step: Step) -> Go:
        """What executes an instruction."""
        work = step.work
        if isinstance(work, Transfer):
            return self._transfer(step, work)
        if step.engine == "tensor":
            return self._tensor(step, work)
        return self._compute(step, work, ENGINES.index(step.engine))

    def _compute(self, step: Step, work: Instruction, engine: int) -> Go:
        """An instruction of the Vector, Scalar or GpSimd engine."""
        interval, latency = self.prices.compute(work)
        ready, done = self.tiles.use(step.reads, step.writes, engine, engine)
        free, busy, count = self.free, self.totals.busy, self.totals.count
        waits = self.totals.waits[engine]
        function = work.function if engine == SCALAR and activation_table(work.function) else ""
        reload = 0 if self.unlimited else picoseconds(self.target.scalar.table_load_ns)
        label = step.label or work.op
        loaded, note = self.table, self._note

        def go() -> None:
            now = free[engine]
            if function:
                table = activation_table(function, loaded[0])
                if table != loaded[0]:
                    loaded[0] = table
                    self.totals.table_loads += 1
                    busy[engine] += reload
                    now += reload
            start, why = ready()
            if start > now:
                waits[why] += start - now
            else:
                start = now
            free[engine] = start + interval
            busy[engine] += interval
            count[engine] += 1
            done(start + latency)
            note(engine, start, start + interval, start + latency, label)

        return go

    def _tensor(self, step: Step, work: Instruction) -> Go:
        """A matmul or a transpose: weights load behind the one before; a cold array is slow."""
        price = self.prices.tensor(work)
        loads = (0, 0) if self.unlimited else price.weights
        ready, done = self.tiles.use(step.reads, step.writes, TENSOR, TENSOR)
        tiles = self.tiles
        stationary = tiles.cells(step.reads[0]) if step.reads else tuple
        written, writer, handoff = tiles.written, tiles.writer, tiles.handoff[TENSOR]
        free, array, totals = self.free, self.array, self.totals
        waits, busy, count = totals.waits[TENSOR], totals.busy, totals.count
        tensor, intervals, latencies = self.target.tensor, price.interval, price.latency
        # Heat rises to its most in the time of work that warms a cold array, and falls to nothing
        # in the time of rest that cools a warm one.
        loss, gain = map(picoseconds, (tensor.warm_after_ns, tensor.cold_after_idle_ns))
        most = loss * gain
        governed = most > 0 and tensor.cold_rate < 1 and not self.unlimited
        macs = work.rows * work.columns * work.elems * work.count if work.op == "matmul" else 0
        label = step.label or work.op
        note = self._note

        def go() -> None:
            last_start, last_end, heat, state = array
            load = loads[state]
            for c in stationary():
                last_start = max(last_start, written[c] + handoff[writer[c]])
            start, why = ready()
            start = max(start, last_start + load)
            now = free[TENSOR]
            if start > now:
                waits[why] += start - now
            else:
                start = now
            if governed:
                heat -= (start - last_end) * loss
                if heat <= 0:
                    heat = state = 0
            else:
                state = 1
            interval, latency = intervals[state], latencies[state]
            totals.cold += 0 if state else interval
            if governed:
                heat += interval * gain
                if heat >= most:
                    heat, state = most, 1
            array[:] = (start, start + interval, heat, state)
            free[TENSOR] = start + interval
            busy[TENSOR] += interval
            count[TENSOR] += 1
            totals.macs += macs
            done(start + latency)
            note(TENSOR, start, start + interval, start + latency, label)

        return go

    def _transfer(self, step: Step, work: Transfer) -> Go:
        """A DMA: its trigger takes the engine, then the queues move it."""
        engine = ENGINES.index(step.engine)
        price = self.prices.transfer(work)
        taken, lead, completion = price.taken, price.lead, price.completion
        demand = price.demand
        ready, done = self.tiles.use(step.reads, step.writes, engine, DMA)
        free, queues, totals = self.free, self.queues, self.totals
        waits, busy, count = totals.waits[engine], totals.busy, totals.count
        tensor, moved, triggers = step.tensor or "(unnamed)", work.total_bytes, self.triggers
        bytes_of, label, note = totals.bytes_of, step.label or work.direction, self._note

        def go() -> None:
            start, why = ready()
            now = free[engine]
            if start > now:
                waits[why] += start - now
            else:
                start = now
            free[engine] = start + taken
            busy[engine] += taken
            count[engine] += 1
            arrival = start + lead
            queues.forget(min(free[t] for t in triggers))
            end = queues.place(arrival, demand)
            busy[DMA] += demand.duration_ps
            count[DMA] += 1
            bytes_of[tensor] = bytes_of.get(tensor, 0) + moved
            done(end + completion)
            note(engine, start, start + taken, start + taken, "trigger " + label)
            note(DMA, arrival, end, end + completion, label)

        return go

    def _note(self, unit: int, start: int, end: int, done: int, label: str) -> None:
        """Keep the end of the kernel, and the event if there is room."""
        if done > self.end:
            self.end = done
        if self.record > len(self.events):
            self.events.append((unit, start, end, label))
