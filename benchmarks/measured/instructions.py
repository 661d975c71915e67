"""Published times of single instructions and DMAs, and what the cost model predicts for them.

The data is in ``instructions.json`` beside this file: one record per published time, with its
source. Predictions come from ``cost_models`` alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
        what: "latency_ns" or "interval_ns".
        value: ns; the median, or the middle of the range where no median is published.
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
    what: str
    value: float
    low: float
    high: float
    source: str
    note: str
    calibrates: str
    listed_miss: bool
    priced: bool


def _row(record: Mapping[str, Any]) -> InstructionRow:
    known = {name: value for name, value in record.items() if name != "range"}
    low, high = record.get("range", [record["value"]] * 2)
    transfer = record.get("transfer")
    flags = {name: record.get(name, False) for name in ("pointer", "cold", "one_pass", "one_queue")}
    return InstructionRow(
        **{
            **known,
            **flags,
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
def _target(device: str, one_queue: bool) -> Target:
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


def _instruction(target: Target, row: InstructionRow, op: str = "") -> float:
    instr = Instruction(
        op or row.op, row.engine, 128, row.elems, row.dtypes, row.memories, pointer=row.pointer
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
    "dma_completion": lambda target, row: target.dma.completion_ns,
}
"""By op; all other ops are instructions of cost_models."""


def predicted_ns(row: InstructionRow) -> float:
    """What the cost model predicts for a row.

    Raises PriceError for a row that is not priced.
    """
    target = _target(row.device, row.one_queue)
    return _PREDICT.get(row.op, _instruction)(target, row)


def error(row: InstructionRow) -> float:
    """How far the prediction is off, relative to the published value; 0 inside its range."""
    found_ns = predicted_ns(row)
    return 0.0 if row.low <= found_ns <= row.high else found_ns / row.value - 1
