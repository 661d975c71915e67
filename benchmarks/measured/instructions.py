"""Published times of single instructions and DMAs, and what the cost model predicts for them.

The data is in ``instructions.json`` beside this file: one record per published time or rate, with
its source. Predictions come from ``cost_models`` alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from cost_models import (
    DmaPrice,
    Instruction,
    Price,
    Target,
    Transfer,
    dma_price,
    instruction_price,
    load_target,
    weight_load_price,
)
from cost_models.simulate import Buffer, Fresh, Index, Item, Loop, Step, Use, simulate

STREAMED = 200
"""Transfers of a stream, enough for its start not to count."""

LONGEST_BYTES = 32768
"""Bytes per partition that the other points of the size chart are fractions of."""

UNITS: Final[Mapping[str, str]] = {
    "latency_ns": "ns",
    "interval_ns": "ns",
    "gbps": "GB/s",
    "fraction": "ratio",
}
"""What is published, and its unit."""


@dataclass(frozen=True, slots=True)
class InstructionRow:
    """One published time.

    Attributes:
        device: the profile that it is compared with.
        engine: who runs it; "dma" for the queues, "any" for what holds for several engines.
        op: as in :class:`cost_models.Instruction`, or a key of the predictors below.
        published_as: its name in the source.
        elems: elements per partition, as in Instruction; 0 where it has none.
        dtypes, memories: operands, destination first, as in Instruction.
        pointer: as in Instruction.
        cold: while the power governor held the PE array back.
        one_pass: one of the hardware passes of an f32 operand.
        one_queue: all of the transfer on one DMA queue.
        transfer: of a DMA.
        count: how often that transfer is made, one right after the other.
        mixed: each load is followed by as large a store.
        what: key of :data:`UNITS`.
        value: the median, or the middle of the range where no median is published.
        low, high: the range published, or value twice.
        calibrates: the profile field that was read from this row, or "".
        listed_miss: known to miss by more than 5 % when the constants were read.
        priced: whether the cost model has a figure for it.
    """

    device: str
    engine: str
    op: str
    published_as: str
    elems: int
    dtypes: tuple[str, ...]
    memories: tuple[str, ...]
    pointer: bool
    cold: bool
    one_pass: bool
    one_queue: bool
    transfer: Transfer | None
    count: int
    mixed: bool
    what: str
    value: float
    low: float
    high: float
    source: str
    note: str
    calibrates: str
    listed_miss: bool
    priced: bool


_FLAGS: Final = ("pointer", "cold", "one_pass", "one_queue", "mixed")


def _row(record: Mapping[str, Any]) -> InstructionRow:
    known = {name: value for name, value in record.items() if name != "range"}
    low, high = record.get("range", [record["value"]] * 2)
    transfer = record.get("transfer")
    left_out = {**dict.fromkeys(_FLAGS, False), "count": 1}
    return InstructionRow(
        **{
            **left_out,
            **known,
            "dtypes": tuple(record["dtypes"]),
            "memories": tuple(record["memories"]),
            "transfer": Transfer(**transfer) if transfer else None,
            "low": low,
            "high": high,
        }
    )


@cache
def _all() -> tuple[InstructionRow, ...]:
    path = Path(__file__).with_name("instructions.json")
    return tuple(_row(record) for record in json.loads(path.read_text("utf-8"))["rows"])


def rows(*, unpriced: bool = False) -> list[InstructionRow]:
    """The published times that the cost model has a figure for, or with ``unpriced`` all."""
    return [row for row in _all() if row.priced or unpriced]


@cache
def target_of(device: str, one_queue: bool = False) -> Target:
    """The profile of a device; with ``one_queue`` it has a single DMA queue."""
    return load_target(device, {"dma.queues": 1} if one_queue else None)


def _of_price(row: InstructionRow, price: Price, passes: int) -> float:
    """The time that ``row`` is about: of the whole instruction, or of its last pass alone."""
    one_ns = price.interval_ns / passes
    return {
        ("interval_ns", False): price.interval_ns,
        ("interval_ns", True): one_ns,
        ("latency_ns", False): price.latency_ns,
        ("latency_ns", True): price.latency_ns - price.interval_ns + one_ns,
    }[row.what, row.one_pass]


def _passes(target: Target, row: InstructionRow) -> int:
    return target.tensor.passes_f32 if row.one_pass else 1


def _instruction(target: Target, row: InstructionRow) -> float:
    instr = Instruction(
        row.op, row.engine, 128, row.elems, row.dtypes, row.memories, pointer=row.pointer
    )
    return _of_price(row, instruction_price(target, instr, row.cold), _passes(target, row))


def _weight_load(target: Target, row: InstructionRow) -> float:
    price = weight_load_price(target, row.dtypes[0], row.elems, row.cold)
    return _of_price(row, price, _passes(target, row))


def _dependent_activation(target: Target, row: InstructionRow) -> float:
    instr = Instruction("activation", row.engine, 128, row.elems, row.dtypes, row.memories)
    return instruction_price(target, instr).latency_ns + target.sync.semaphore_ns


def _dma(target: Target, row: InstructionRow) -> DmaPrice:
    assert row.transfer is not None
    return dma_price(target, row.transfer)


def _dma_start(target: Target, row: InstructionRow) -> float:
    price = _dma(target, row)
    return price.issue_ns + price.first_byte_ns


def _dma_trigger(target: Target, row: InstructionRow) -> float:
    small = Transfer("store", 128, 512, rows=128, software=row.engine == "gpsimd")
    return dma_price(target, small).engine_ns


def _load(transfer: Transfer, into: Buffer) -> Step:
    return Step(transfer, "sync", writes=(Use(into),))


def _dma_burst(target: Target, row: InstructionRow) -> float:
    """GB/s from the first byte to the last of transfers that wait for nothing."""
    assert row.transfer is not None
    steps: list[Item] = []
    for i in range(row.count):
        tile = Buffer(f"tile{i}", "sbuf")
        if row.transfer.direction == "load":
            steps.append(_load(row.transfer, tile))
        if row.mixed or row.transfer.direction == "store":
            out = Buffer(f"out{i}", "sbuf")
            store = replace(row.transfer, direction="store")
            steps.append(Step(store, "scalar", reads=(Use(out),)))
    moved = [e for e in simulate(target, steps, record=3 * len(steps)).events if e.unit == "dma"]
    assert len(moved) == len(steps)
    took_ns = max(e.end_ns for e in moved) - min(e.start_ns for e in moved)
    return len(moved) * row.transfer.total_bytes / took_ns


def _dma_stream(target: Target, row: InstructionRow) -> float:
    """Bytes per time of a stream of loads, as a fraction of that of the longest ones."""
    assert row.transfer is not None

    def rate_gbps(transfer: Transfer) -> float:
        tile = Buffer("tile", "sbuf", copies=64)
        stream = Loop(Index("load"), STREAMED, [Fresh(tile), _load(transfer, tile)])
        return STREAMED * transfer.total_bytes / simulate(target, [stream]).time_ns

    longest = replace(row.transfer, bytes_per_descriptor=LONGEST_BYTES)
    return rate_gbps(row.transfer) / rate_gbps(longest)


def _dma_rate(target: Target, row: InstructionRow) -> float:
    assert row.transfer is not None
    return row.transfer.total_bytes / _dma(target, row).transfer_ns


def _drain(target: Target, row: InstructionRow) -> float:
    """What passes besides streaming until a result can be used."""
    return {
        "tensor": target.tensor.latency_ns,
        "vector": target.vector.copy_latency_ns,
        "gpsimd": target.gpsimd.latency_ns,
    }[row.engine]


def _semaphore(target: Target, row: InstructionRow) -> float:
    sync = target.sync
    return sync.semaphore_tensor_ns if row.engine == "tensor" else sync.semaphore_ns


_PREDICT: Final[Mapping[str, Callable[[Target, InstructionRow], float]]] = {
    "weight_load": _weight_load,
    "dependent_activation": _dependent_activation,
    "table_load": lambda target, row: target.scalar.table_load_ns,
    "semaphore": _semaphore,
    "dma_trigger": _dma_trigger,
    "dma_generation": lambda target, row: target.dma.issue_software_ns,
    "dma_start": _dma_start,
    "dma_first_byte": lambda target, row: _dma(target, row).first_byte_ns,
    "dma_transfer": lambda target, row: _dma(target, row).transfer_ns,
    "dma_total": lambda target, row: _dma(target, row).total_ns,
    "dma_rate": _dma_rate,
    "dma_burst": _dma_burst,
    "dma_stream": _dma_stream,
    "write_drain": _drain,
    "dma_completion": lambda target, row: target.dma.completion_ns,
}
"""By op; all other ops are instructions of cost_models."""


def predicted(row: InstructionRow) -> float:
    """What the cost model predicts for a row, in the unit of :data:`UNITS`.

    Raises PriceError for a row that is not priced.
    """
    target = target_of(row.device, row.one_queue)
    return _PREDICT.get(row.op, _instruction)(target, row)


def error(row: InstructionRow) -> float:
    """How far the prediction is off the published value, relative to that."""
    return predicted(row) / row.value - 1


def outside(row: InstructionRow) -> float:
    """How far the prediction is off the nearer end of the published range; 0 inside it."""
    found = predicted(row)
    return found / min(max(found, row.low), row.high) - 1
