"""Predicted times and rates beside published ones, and how close they are as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cost_models import Target
from nkigen_lite.nki_ir.simulate import simulate_kernel

from . import dataset, instructions
from .dataset import KernelRow
from .instructions import InstructionRow

NS_PER_UNIT: Final[Mapping[str, float]] = {"ns": 1, "us": 1000}
"""The units of times."""

LEAST_RANKED = 3
"""Fewer rows have no rank correlation worth the name."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A published figure and the predicted one, in ``unit``.

    ``published`` is the median, or the middle of the published range ``low`` to ``high`` where no
    median is published. ``error`` is relative to it, positive where too much is predicted;
    ``outside`` is relative to the nearer end of the range, and 0 inside it. ``calibrates`` names
    what was read from this row or fitted to it; ``miss`` says that the row is listed as one the
    model does not meet. A row that is not ``judged`` is only shown, for the ``reason`` given.
    """

    name: str
    device: str
    unit: str
    published: float
    predicted: float
    error: float
    outside: float
    low: float
    high: float
    calibrates: str = ""
    miss: bool = False
    series: str = ""
    judged: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """How close rows are: absolute relative errors, and Spearman's rank correlation of times."""

    rows: int
    median: float
    worst: float
    worst_name: str
    rank_correlation: float | None


def of_kernel(row: KernelRow) -> Comparison:
    """Simulate a row's kernels on its device."""
    predicted_us = predict_us(row, instructions.target_of(row.device))
    error = predicted_us / row.time_us - 1
    return Comparison(
        name=row.name,
        device=row.device,
        unit="us",
        published=row.time_us,
        predicted=predicted_us,
        error=error,
        outside=error,
        low=row.time_us,
        high=row.time_us,
        calibrates=row.calibrates,
        series=row.series,
        judged=row.judged,
        reason=row.reason,
    )


def predict_us(row: KernelRow, target: Target) -> float:
    """The predicted time of a simulated row: its kernels, and what was measured with each.

    Raises KeyError for what is not predicted, such as the time of a host.
    """
    launches = dataset.graphs(row)
    window_ns = sum(simulate_kernel(graph, target).time_ns for graph in launches)
    return (window_ns + len(launches) * _AROUND_NS[row.measured](target)) / 1000


_AROUND_NS: Final[Mapping[str, Callable[[Target], float]]] = {
    "device window": lambda target: 0,
    "with the launch": lambda target: target.launch.host_overhead_ns,
    "profile total": lambda target: target.launch.preamble_ns,
}
"""By what was measured: what passes around the device's window of each kernel."""


def of_instruction(row: InstructionRow) -> Comparison:
    """Price a row, in the unit that is published."""
    state = " cold" * row.cold + " one pass" * row.one_pass + " pointer" * row.pointer
    operands = " ".join(f"{d}@{m}" for d, m in zip(row.dtypes, row.memories, strict=False))
    what = row.what.removesuffix("_ns") if row.what.endswith("_ns") else ""
    size = f" {row.elems}" if row.elems else ""
    if row.transfer is not None:
        size = f" {row.transfer.direction} {row.transfer.descriptors}"
        size += f" x {row.transfer.bytes_per_descriptor} B"
        size += f", {row.count} times" * (row.count > 1) + " and stores" * row.mixed
    return Comparison(
        name=" ".join(f"{row.op}{size} {operands}{state} {what}".split()),
        device=row.device,
        unit=instructions.UNITS[row.what],
        published=row.value,
        predicted=instructions.predicted(row),
        error=instructions.error(row),
        outside=instructions.outside(row),
        low=row.low,
        high=row.high,
        calibrates=row.calibrates,
        miss=row.listed_miss,
    )


def summarise(found: Sequence[Comparison]) -> Summary | None:
    """How close the rows are, or None without any."""
    if not found:
        return None
    worst = max(found, key=lambda c: abs(c.error))
    times = [c for c in found if c.unit in NS_PER_UNIT]
    return Summary(
        rows=len(found),
        median=float(np.median([abs(c.error) for c in found])),
        worst=abs(worst.error),
        worst_name=worst.name,
        rank_correlation=spearman([c.published for c in times], [c.predicted for c in times]),
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
