"""The simulator against a slow one that keeps a queue of events and shares no code with it."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import given, settings
from stream_strategy import streams

from cost_models import Target, Transfer, dma_price, instruction_price, load_target
from cost_models.simulate import Buffer, Fresh, Index, Item, Loop, Step, Use, simulate

# Without the PE array's temperature, weight and table loads, and with room for every transfer at
# once, an instruction's times follow from in-order engines, tiles and semaphores alone.
PLAIN = load_target(
    "trn2",
    {
        "tensor.cold_rate": 1,
        "tensor.overhead_cycles": 0,
        "tensor.weight_load_cycles_per_column": 1e-6,
        "tensor.weight_load_f32_cycles_per_column": 1e-6,
        "scalar.table_load_ns": 0,
        "dma.queues": 10**6,
        "dma.load_cap_gbps": 1e9,
        "dma.store_cap_gbps": 1e9,
    },
)
Copies = dict[Buffer, int]
Where = tuple[Step | Fresh, dict[Index, int], Copies]
Cell = tuple[Buffer, int, int]


@dataclass
class Job:
    """One executed instruction and what must end before it starts: job -> hand-off in ns."""

    engine: str
    taken_ns: float
    latency_ns: float
    needs: dict[int, float] = field(default_factory=dict)
    dma: bool = False
    done: float = -1.0


def unrolled(items: list[Item]) -> Iterator[Where]:
    """Every step and rotation executed, with the values of indices and the copies of buffers."""
    values: dict[Index, int] = {}
    copies: Copies = defaultdict(int)

    def visit(items: list[Item]) -> Iterator[Where]:
        for item in items:
            if isinstance(item, Loop):
                for trip in range(item.trips):
                    values[item.index] = trip
                    yield from visit(list(item.body))
            elif isinstance(item, Fresh):
                copies[item.buffer] = (copies[item.buffer] + 1) % item.buffer.copies
                yield item, {}, dict(copies)
            else:
                yield item, dict(values), dict(copies)

    yield from visit(items)


def cells(use: Use, values: dict[Index, int], copies: Copies) -> set[Cell]:
    start = use.start + sum(factor * values[index] for index, factor in use.terms)
    return {(use.buffer, copies.get(use.buffer, 0), start + offset) for offset in use.offsets}


def new_job(target: Target, step: Step) -> Job:
    if isinstance(step.work, Transfer):
        price = dma_price(target, step.work)
        flight = price.issue_ns + price.first_byte_ns + price.transfer_ns + price.completion_ns
        return Job(step.engine, price.engine_ns, flight, dma=True)
    cost = instruction_price(target, step.work)
    return Job(step.engine, cost.interval_ns, cost.latency_ns)


def jobs(target: Target, items: list[Item]) -> list[Job]:
    """The executed instructions with their dependencies, found by comparing sets of cells."""
    made: list[Job] = []
    users: list[tuple[set[Cell], set[Cell]]] = []
    # Jobs that had the bytes of a cell before.
    before: dict[Cell, set[int]] = defaultdict(set)
    for step, values, copies in unrolled(items):
        if isinstance(step, Fresh):
            take_over(step, copies[step.buffer], users, before)
            continue
        job = new_job(target, step)
        reads = {c for use in step.reads for c in cells(use, values, copies)}
        writes = {c for use in step.writes for c in cells(use, values, copies)}
        handoff = target.sync.semaphore_ns
        if job.engine == "tensor":
            handoff = target.sync.semaphore_tensor_ns
        for k, (other, (their_reads, their_writes)) in enumerate(zip(made, users, strict=True)):
            in_order = job.engine == other.engine and not job.dma and not other.dma
            both_dma = job.dma and other.dma
            needed = bool(reads & their_writes)
            needed |= bool(writes & their_writes) and not in_order and not both_dma
            followed = any(k in before[c] for c in writes)
            needed |= (followed or bool(writes & their_reads)) and not in_order
            if needed:
                job.needs[k] = 0.0 if other.dma else handoff
        made.append(job)
        users.append((reads, writes))
    return made


def take_over(
    fresh: Fresh,
    copy: int,
    users: list[tuple[set[Cell], set[Cell]]],
    before: dict[Cell, set[int]],
) -> None:
    """Note who has used the cells that a fresh copy lies in."""
    for held in fresh.held[copy] if fresh.held else ():
        for own, old in held.cells:
            cell = (held.buffer, *divmod(old, held.buffer.cells))
            mine = before[fresh.buffer, copy, own]
            mine |= before[cell] | {k for k, (r, w) in enumerate(users) if cell in r | w}


def run(made: list[Job]) -> float:
    """Discrete events: an engine looks at its next instruction when something has changed."""
    queues: dict[str, list[int]] = defaultdict(list)
    for k, job in enumerate(made):
        queues[job.engine].append(k)
    at = dict.fromkeys(queues, 0)
    free = dict.fromkeys(queues, 0.0)
    woken_by: dict[int, list[str]] = defaultdict(list)
    events = [(0.0, engine) for engine in queues]
    heapq.heapify(events)
    while events:
        now, engine = heapq.heappop(events)
        if at[engine] == len(queues[engine]):
            continue
        me = queues[engine][at[engine]]
        job = made[me]
        unknown = [k for k in job.needs if made[k].done < 0]
        if unknown:
            woken_by[unknown[0]].append(engine)
            continue
        ready = max((made[k].done + extra for k, extra in job.needs.items()), default=0.0)
        ready = max(ready, free[engine])
        if ready > now:
            heapq.heappush(events, (ready, engine))
            continue
        job.done = now + job.latency_ns
        free[engine] = now + job.taken_ns
        at[engine] += 1
        for other in (engine, *woken_by.pop(me, ())):
            heapq.heappush(events, (now, other))
    assert all(job.done >= 0 for job in made), "some instruction never ran"
    return max((job.done for job in made), default=0.0)


@given(streams(depth=2, trips=(1, 2, 3, 5)))
@settings(deadline=None, max_examples=150)
def test_the_simulator_gives_the_times_that_a_queue_of_events_gives(stream: list[Item]) -> None:
    made = jobs(PLAIN, stream)
    predicted = simulate(PLAIN, stream).time_ns
    # The simulator's times are whole picoseconds, a few roundings per instruction in a chain.
    assert abs(predicted - run(made)) <= 0.004 * (len(made) + 1)


def test_the_queue_of_events_sees_an_instruction_wait_for_its_engine_and_its_data() -> None:
    made = [Job("vector", 10, 30), Job("vector", 10, 30), Job("scalar", 5, 7, needs={0: 2.0})]
    assert run(made) == 40.0
    assert made[2].done == 39.0
