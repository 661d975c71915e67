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
from .prices import picoseconds, prices_of
from .program import TRIGGERS, Step
from .queues import NEVER, Queues
from .tiles import DMA, ENGINES, SCALAR, TENSOR, UNITS, Tiles

Go = Callable[[], None]


@dataclass(slots=True)
class Totals:
    """What has been counted so far. Times in ps; per unit of :data:`UNITS`, or per engine.

    ``waits[engine][k]`` is idle time spent waiting for data of unit k (k < 6) or for unit k - 6 to
    be done with a buffer.
    """

    busy: list[int] = field(default_factory=lambda: [0] * len(UNITS))
    count: list[int] = field(default_factory=lambda: [0] * len(UNITS))
    waits: list[list[int]] = field(
        default_factory=lambda: [[0] * (2 * len(UNITS)) for _ in ENGINES]
    )
    bytes_of: dict[str, int] = field(default_factory=dict)
    macs: int = 0
    table_loads: int = 0
    cold: int = 0
    simulated: int = 0

    def add_again(self, before: Totals, times: int) -> None:
        """Add what has been counted since ``before`` again, ``times`` times."""
        for unit in range(len(UNITS)):
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


@dataclass(slots=True)
class PeArray:
    """When the last instruction of the PE array started and ended (ps), and how warm it is.

    Heat rises by ``gain`` per ps of work, to ``most`` in the time that warms a cold array, and
    falls by ``loss`` per ps of rest, to nothing in the time that cools a warm one. An array whose
    ``most`` is 0 stays warm. ``warm`` is 0 or 1, the place in pairs of (cold, warm) prices.
    """

    loss: int
    gain: int
    most: int
    start: int = NEVER
    end: int = NEVER
    heat: int = 0
    warm: int = 0

    @classmethod
    def of(cls, target: Target) -> PeArray:
        """The array of a target: cold, if it ever is."""
        tensor = target.tensor
        loss, gain = map(picoseconds, (tensor.warm_after_ns, tensor.cold_after_idle_ns))
        most = loss * gain if tensor.cold_rate < 1 else 0
        return cls(loss, gain, most, warm=int(not most))

    def rest(self, until: int) -> int:
        """Rest until a time; whether the array is warm then."""
        if self.most:
            self.heat -= (until - self.end) * self.loss
            if self.heat <= 0:
                self.heat = self.warm = 0
        return self.warm

    def work(self, start: int, interval: int) -> None:
        """Work from a time on."""
        self.start, self.end = start, start + interval
        if self.most:
            self.heat += interval * self.gain
            if self.heat >= self.most:
                self.heat, self.warm = self.most, 1


class Machine:
    """The state of the core: when engines are free, cells written and read, queues taken.

    ``began`` and ``ended`` tell when an engine started its first instruction and was done with its
    last, DMA triggers apart.
    ``table`` is the activation table set that is loaded. ``record`` events at most are kept as
    (unit, kind, start ps, end ps, label).
    """

    def __init__(self, target: Target, record: int = 0) -> None:
        self.target = target
        self.prices = prices_of(target)
        self.free = [0] * len(ENGINES)
        self.began: list[int | None] = [None] * len(ENGINES)
        self.ended = [0] * len(ENGINES)
        self.queues = Queues()
        self.tiles = Tiles(self.prices.handoff)
        self.array = PeArray.of(target)
        self.table: str | None = None
        self.totals = Totals()
        self.end = 0
        self.triggers = tuple(ENGINES.index(name) for name in TRIGGERS)
        self.record = record
        self.events: list[tuple[int, str, int, int, str]] = []

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
        ready, done, _ = self.tiles.use(step.reads, step.writes, engine, engine)
        free, busy, count = self.free, self.totals.busy, self.totals.count
        waits = self.totals.waits[engine]
        function = work.function if engine == SCALAR and activation_table(work.function) else ""
        reload = picoseconds(self.target.scalar.table_load_ns)
        kind, label, note = ENGINES[engine], step.label or work.op, self._note
        began, ended = self.began, self.ended

        def go() -> None:
            now = free[engine]
            if function:
                table = activation_table(function, self.table)
                if table != self.table:
                    self.table = table
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
            if began[engine] is None:
                began[engine] = start
            ended[engine] = start + latency
            done(start + latency)
            if start + latency > self.end:
                self.end = start + latency
            if self.record:
                note(engine, kind, start, start + interval, label)

        return go

    def _tensor(self, step: Step, work: Instruction) -> Go:
        """A matmul or a transpose: weights load behind the one before; a cold array is slow."""
        price = self.prices.tensor(work)
        weights, intervals, latencies = price.weights, price.interval, price.latency
        ready, done, read = self.tiles.use(step.reads, step.writes, TENSOR, TENSOR)
        tiles = self.tiles
        written, writer, handoff = tiles.written, tiles.writer, tiles.handoff[TENSOR]
        free, array, totals = self.free, self.array, self.totals
        waits, busy, count = totals.waits[TENSOR], totals.busy, totals.count
        macs = work.rows * work.columns * work.elems * work.count if work.op == "matmul" else 0
        label, note = step.label or work.op, self._note
        began, ended = self.began, self.ended

        def go() -> None:
            start, why = ready()
            loading = array.start
            for c in read[0] if read else ():
                there = written[c] + handoff[writer[c]]
                if there > loading:
                    loading = there
            loading += weights[array.warm]
            if loading > start:
                start = loading
            now = free[TENSOR]
            if start > now:
                waits[why] += start - now
            else:
                start = now
            warm = array.rest(start)
            interval, latency = intervals[warm], latencies[warm]
            totals.cold += 0 if warm else interval
            array.work(start, interval)
            free[TENSOR] = start + interval
            busy[TENSOR] += interval
            count[TENSOR] += 1
            totals.macs += macs
            if began[TENSOR] is None:
                began[TENSOR] = start
            ended[TENSOR] = start + latency
            done(start + latency)
            if start + latency > self.end:
                self.end = start + latency
            if self.record:
                note(TENSOR, "tensor", start, start + interval, label)

        return go

    def _transfer(self, step: Step, work: Transfer) -> Go:
        """A DMA: its trigger takes the engine, then the queues move it."""
        engine = ENGINES.index(step.engine)
        price = self.prices.transfer(work)
        taken, lead, completion = price.taken, price.lead, price.completion
        demand = price.demand
        ready, done, _ = self.tiles.use(step.reads, step.writes, engine, DMA)
        free, queues, totals = self.free, self.queues, self.totals
        waits, busy, count = totals.waits[engine], totals.busy, totals.count
        tensor, moved, triggers = step.tensor or "(unnamed)", work.total_bytes, self.triggers
        kind, label = work.direction, step.label or work.direction
        bytes_of, note = totals.bytes_of, self._note

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
            if end + completion > self.end:
                self.end = end + completion
            if self.record:
                note(engine, "trigger", start, start + taken, "trigger " + label)
                note(DMA, kind, arrival, end, label)

        return go

    def _note(self, unit: int, kind: str, start: int, end: int, label: str) -> None:
        """Keep an event if there is room."""
        if self.record > len(self.events):
            self.events.append((unit, kind, start, end, label))
