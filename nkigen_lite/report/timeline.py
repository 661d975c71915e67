"""A simulated time line as plain data, and what its parts are called.

All times are predicted by simulation, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from cost_models.simulate import EngineTime, Timeline

UNIT_NAMES = {
    "tensor": "TensorE",
    "vector": "VectorE",
    "scalar": "ScalarE",
    "gpsimd": "GpSimd",
    "sync": "Sync",
    "dma": "DMA",
}
RESOURCE_NAMES = {
    **UNIT_NAMES,
    "dma": "DMA queues",
    "hbm": "HBM traffic",
    "hbm_load": "HBM loads",
    "elementwise": "VectorE, ScalarE and GpSimd together",
}
AFTER = "end"
"""The key, beside the waits of an engine, of its idle time after its last instruction."""


@dataclass(frozen=True, slots=True)
class EngineReport:
    """How an engine spends the simulated time: ``busy_us`` + ``idle_us`` is all of it.

    ``waits_us`` are the parts of the idle time, the largest first: ``data from X`` (a tile that
    unit X had still to write), ``buffer from X`` (a tile that X had still to read or write before
    it could be overwritten), ``end`` (after the engine's last instruction).
    """

    busy_us: float
    idle_us: float
    instructions: int
    waits_us: dict[str, float]


@dataclass(frozen=True, slots=True)
class TimelineReport:
    """A time line without its events.

    Attributes:
        time_us: the device window: first instruction to last completion.
        launch_us: what a launch adds to latency as nki.benchmark counts it; host_us: both.
        engines: by name; all that the core has.
        dma_active_us: time with a transfer in flight; dma_active: its share of ``time_us`` (0..1).
        dma_efficiency: bytes moved, over what the queues can move in ``dma_active_us`` (0..1).
        transfers: DMAs.
        hbm_bytes: moved from or to device memory; bytes_by_tensor: the largest first.
        mfu: multiply-adds over what the PE array does in ``time_us`` at its 16-bit rate (0..1).
        mbu: bytes moved over what HBM moves in ``time_us`` (0..1).
        table_loads: of activation tables; cold_us: the PE array at its cold rate.
        instructions: executed, DMAs included; simulated: of these, one by one. The others repeat
            trips of loops that have settled.
    """

    time_us: float
    launch_us: float
    host_us: float
    engines: dict[str, EngineReport]
    dma_active_us: float
    dma_active: float
    dma_efficiency: float
    transfers: int
    hbm_bytes: int
    bytes_by_tensor: dict[str, int]
    mfu: float
    mbu: float
    table_loads: int
    cold_us: float
    instructions: int
    simulated: int


def report_of(timeline: Timeline) -> TimelineReport:
    """The figures of a time line."""
    moved = sorted(timeline.bytes_by_tensor.items(), key=lambda item: -item[1])
    return TimelineReport(
        time_us=_us(timeline.time_ns),
        launch_us=_us(timeline.launch_ns),
        host_us=_us(timeline.host_ns),
        engines={name: _engine(engine) for name, engine in timeline.engines.items()},
        dma_active_us=_us(timeline.dma_active_ns),
        dma_active=timeline.dma_active,
        dma_efficiency=timeline.dma_efficiency,
        transfers=timeline.transfers,
        hbm_bytes=timeline.hbm_bytes,
        bytes_by_tensor=dict(moved),
        mfu=timeline.mfu,
        mbu=timeline.mbu,
        table_loads=timeline.table_loads,
        cold_us=_us(timeline.cold_ns),
        instructions=timeline.instructions,
        simulated=timeline.simulated,
    )


def _engine(engine: EngineTime) -> EngineReport:
    after = engine.idle_ns - sum(engine.waits_ns.values())
    parts = {**engine.waits_ns, AFTER: after} if engine.instructions else {}
    waits = sorted(((key, _us(ns)) for key, ns in parts.items()), key=lambda part: -part[1])
    return EngineReport(
        busy_us=_us(engine.busy_ns),
        idle_us=_us(engine.idle_ns),
        instructions=engine.instructions,
        waits_us={key: us for key, us in waits if us > 0},
    )


def reason(wait: str, engine: str) -> str:
    """A key of ``waits_us`` of an engine in plain words.

    >>> reason("data from dma", "vector"), reason("buffer from tensor", "vector")
    ('data that DMA brings', 'a buffer that TensorE still uses')
    """
    what, _, unit = wait.partition(" from ")
    if what == AFTER:
        return "nothing: its work is done"
    name = UNIT_NAMES.get(unit, unit)
    if what == "buffer":
        return f"a buffer that {name} still uses"
    if unit == "dma":
        return f"data that {name} brings"
    if unit != engine:
        return f"results of {name}"
    return "its own results, or weights" if unit == "tensor" else "its own results"


def _us(ns: float) -> float:
    """Microseconds to a picosecond, the simulator's unit."""
    return round(ns / 1000, 6)
