"""What a simulation found: where the time went, per engine and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..dma import peak_gbps
from ..roofline import peak_macs_per_ns
from .machine import Machine
from .tiles import BUFFER, DMA, ENGINES, UNITS


@dataclass(frozen=True, slots=True)
class Event:
    """One instruction on an engine, one DMA trigger, or one transfer (``unit`` "dma").

    ``kind`` is the engine of an instruction, "trigger", or the direction of a transfer.
    """

    unit: str
    kind: str
    start_ns: float
    end_ns: float
    label: str


@dataclass(frozen=True, slots=True)
class EngineTime:
    """How one engine spent the kernel.

    ``busy_ns`` + ``idle_ns`` is the whole time. ``waits_ns`` says what the idle time before each
    instruction was for: "data from X" (a tile that unit X had still to write) or "buffer from X"
    (a tile that X had still to read or write before it could be overwritten); the rest of the idle
    time comes after the engine's last instruction.
    """

    busy_ns: float
    idle_ns: float
    instructions: int
    waits_ns: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The predicted time of a kernel on one NeuronCore, and what it consists of.

    Attributes:
        time_ns: the device window: first instruction to last completion.
        fill_ns: before any engine computes; DMA alone is at work.
        drain_ns: after the last result of an engine.
        engines: per engine, busy and idle time and why it waited.
        dma_active_ns: time with a transfer in flight.
        transfer_ns: what the transfers would take one after the other, each alone.
        dma_efficiency: bytes moved, over what the queues move at their cap in ``dma_active_ns``.
        transfers: DMAs.
        bytes_by_tensor: bytes moved, by the tensor in device memory.
        macs: multiply-adds of the PE array.
        mfu: multiply-adds over what the array does in ``time_ns`` at one 16-bit row per cycle.
        mbu: bytes moved over what an HBM stack (shared by two cores) moves in ``time_ns``.
        table_loads: loads of activation tables.
        cold_ns: how long the PE array worked at its cold rate.
        instructions: executed, DMAs included.
        simulated: of these, how many were simulated one by one; the rest repeat settled loops.
        launch_ns: what a launch adds to latency as nki.benchmark counts it.
        events: the first instructions and transfers, if they were to be recorded.
    """

    time_ns: float
    fill_ns: float
    drain_ns: float
    engines: Mapping[str, EngineTime]
    dma_active_ns: float
    transfer_ns: float
    dma_efficiency: float
    transfers: int
    bytes_by_tensor: Mapping[str, int]
    macs: int
    mfu: float
    mbu: float
    table_loads: int
    cold_ns: float
    instructions: int
    simulated: int
    launch_ns: float
    events: tuple[Event, ...] = field(default=(), repr=False)

    @property
    def hbm_bytes(self) -> int:
        """Bytes moved from or to device memory."""
        return sum(self.bytes_by_tensor.values())

    @property
    def busy_ns(self) -> dict[str, float]:
        """Busy time per engine, and of the DMA queues (time with a transfer in flight)."""
        busy = {name: engine.busy_ns for name, engine in self.engines.items()}
        return {**busy, "dma": self.dma_active_ns}

    @property
    def dma_active(self) -> float:
        """The part of the time with a transfer in flight."""
        return self.dma_active_ns / self.time_ns if self.time_ns else 0.0

    @property
    def host_ns(self) -> float:
        """Latency as nki.benchmark counts it: the device window and one launch."""
        return self.time_ns + self.launch_ns


def timeline_of(machine: Machine) -> Timeline:
    """The totals of a machine as a :class:`Timeline`."""
    target, totals = machine.target, machine.totals
    time_ns = machine.end / 1000
    begun = [ps for ps in machine.began if ps is not None]
    active_ns = machine.queues.total_active_ps() / 1000
    moved = sum(totals.bytes_of.values())
    return Timeline(
        time_ns=time_ns,
        fill_ns=min(begun, default=0) / 1000,
        drain_ns=(machine.end - max(machine.ended)) / 1000 if begun else 0.0,
        engines={name: _engine(machine, unit) for unit, name in enumerate(ENGINES)},
        dma_active_ns=active_ns,
        dma_efficiency=_part(moved, active_ns * peak_gbps(target)),
        transfer_ns=totals.busy[DMA] / 1000,
        transfers=totals.count[DMA],
        bytes_by_tensor=dict(totals.bytes_of),
        macs=totals.macs,
        mfu=_part(totals.macs, time_ns * peak_macs_per_ns(target, "bf16")),
        mbu=_part(moved, time_ns * target.memory.hbm_stack_gbps),
        table_loads=totals.table_loads,
        cold_ns=totals.cold / 1000,
        instructions=sum(totals.count[:DMA]),
        simulated=totals.simulated,
        launch_ns=target.launch.host_overhead_ns,
        events=tuple(
            Event(UNITS[unit], kind, start / 1000, end / 1000, label)
            for unit, kind, start, end, label in machine.events
        ),
    )


def _engine(machine: Machine, unit: int) -> EngineTime:
    totals = machine.totals
    waits = {
        f"{'buffer' if k >= BUFFER else 'data'} from {UNITS[k % BUFFER]}": ps / 1000
        for k, ps in enumerate(totals.waits[unit])
        if ps
    }
    return EngineTime(
        busy_ns=totals.busy[unit] / 1000,
        idle_ns=(machine.end - totals.busy[unit]) / 1000,
        instructions=totals.count[unit],
        waits_ns=waits,
    )


def _part(amount: float, of: float) -> float:
    return amount / of if of else 0.0
