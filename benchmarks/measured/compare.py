"""Predicted times beside published ones, and how close they are as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from cost_models import Target, load_target
from nkigen_lite.nki_ir.simulate import simulate_kernel

from . import dataset, instructions
from .dataset import KernelRow
from .instructions import InstructionRow

LEAST_RANKED = 3
"""Fewer rows have no rank correlation worth the name."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A published time and the predicted one.

    ``error`` is relative, positive where too much is predicted, and 0 inside a published range.
    ``calibrates`` names the fields of a profile that were read from this row or fitted to it;
    ``miss`` says that the row was listed from the start as one the model does not meet. A row that
    is not ``judged`` is only shown, for the ``reason`` given.
    """

    name: str
    device: str
    group: str
    published_us: float
    predicted_us: float
    error: float
    calibrates: str = ""
    miss: bool = False
    series: str = ""
    judged: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """How close rows are: absolute relative errors, and Spearman's rank correlation."""

    rows: int
    median: float
    worst: float
    worst_name: str
    rank_correlation: float | None


def of_kernel(row: KernelRow) -> Comparison:
    """Simulate a row's kernels on its device."""
    predicted_us = predict_us(row, _target(row.device))
    return Comparison(
        name=row.name,
        device=row.device,
        group=row.structure,
        published_us=row.time_us,
        predicted_us=predicted_us,
        error=predicted_us / row.time_us - 1,
        calibrates=row.calibrates,
        series=row.series,
        judged=row.judged,
        reason=row.reason,
    )


def predict_us(row: KernelRow, target: Target) -> float:
    """The predicted time of a simulated row: its launches, and what a host sees of each."""
    launches = dataset.graphs(row)
    window_ns = sum(simulate_kernel(graph, target).time_ns for graph in launches)
    if row.measured == "host visible":
        window_ns += len(launches) * target.launch.host_overhead_ns
    return window_ns / 1000


def of_instruction(row: InstructionRow) -> Comparison:
    """Price a row; times are in microseconds here too."""
    state = " cold" * row.cold + " one pass" * row.one_pass + " pointer" * row.pointer
    operands = " ".join(f"{d}@{m}" for d, m in zip(row.dtypes, row.memories, strict=False))
    what = row.what.removesuffix("_ns")
    size = f" {row.elems}" if row.elems else ""
    if row.transfer is not None:
        size = f" {row.transfer.direction} {row.transfer.descriptors}"
        size += f" x {row.transfer.bytes_per_descriptor} B"
    return Comparison(
        name=f"{row.op}{size} {operands}{state} {what}".replace("  ", " "),
        device=row.device,
        group=row.engine,
        published_us=row.value / 1000,
        predicted_us=instructions.predicted_ns(row) / 1000,
        error=instructions.error(row),
        calibrates=row.calibrates,
        miss=row.listed_miss,
    )


@cache
def _target(device: str) -> Target:
    return load_target(device)


def summarise(found: Sequence[Comparison]) -> Summary | None:
    """How close the rows are, or None without any."""
    if not found:
        return None
    worst = max(found, key=lambda c: abs(c.error))
    return Summary(
        rows=len(found),
        median=float(np.median([abs(c.error) for c in found])),
        worst=abs(worst.error),
        worst_name=worst.name,
        rank_correlation=spearman([c.published_us for c in found], [c.predicted_us for c in found]),
    )


def spearman(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Rank correlation; equal values share their mean rank. None if it has no meaning."""
    if len(xs) < LEAST_RANKED or len(set(xs)) == 1 or len(set(ys)) == 1:
        return None
    return float(np.corrcoef(_ranks(xs), _ranks(ys))[0, 1])


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = np.sort(np.asarray(values))
    first = np.searchsorted(ordered, values, side="left")
    last = np.searchsorted(ordered, values, side="right") - 1
    return [float(rank) for rank in (first + last) / 2]
