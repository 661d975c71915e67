"""Published times of kernels, and the kernels.

kernels.json has a record per published time. Where the structure of a kernel is published too, it
is named with its sizes; the kernel can then be built and its time predicted. Others say why not.

Texts that records share are in its table ``texts``; "@key" in a record stands for one. A record
with ``points``, pairs of M and a time, is a row for each of them: M is its size ``m`` where it has
sizes, and stands for "{m}" in its name and shape. Fields that are left out have their defaults.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nkigen_lite.core.dtypes import parse_dtype
from nkigen_lite.core.ir import Graph

from .structures import STRUCTURES

KERNELS = Path(__file__).with_name("kernels.json")
WINDOWS = ("device window", "with the launch", "profile total", "host time", "unknown")
"""What a time covers. "with the launch" is latency as nki.benchmark counts it: the device's window
and the launch of each kernel. "profile total" is the window and what passes on the device before
it. "host time" holds all that a host waits for; no such time is predicted."""


@dataclass(frozen=True, slots=True)
class KernelRow:
    """A published time.

    Attributes:
        name: unique.
        kernel: what it is, as its source calls it.
        shape: as published.
        dtype: of the operands.
        device: a target's name.
        time_us: as published.
        measured: one of :data:`WINDOWS`.
        source: where it is published.
        simulated: whether the time is predicted; if not, ``reason`` says why.
        note: what else the source says, and how the structure departs from it.
        structure: key of :data:`STRUCTURES`, or empty.
        sizes: arguments of the structure.
        judged: whether the prediction counts; if not, it is only shown, and ``reason`` says why.
        reason: why not simulated or not judged, or empty; tables show what precedes its colon.
        calibrates: fields of the profile that were fitted to this row; or "schedule: " and what of
            the structure was inferred from this time; or empty.
        series: what it is one of many points of, or empty.
    """

    name: str
    kernel: str
    shape: str
    dtype: str
    device: str
    time_us: float
    measured: str
    source: str
    simulated: bool
    note: str = ""
    structure: str = ""
    sizes: Mapping[str, Any] = field(default_factory=dict)
    judged: bool = True
    reason: str = ""
    calibrates: str = ""
    series: str = ""


def rows() -> tuple[KernelRow, ...]:
    """Every row of the data set, in its order."""
    read = json.loads(KERNELS.read_text(encoding="utf-8"))
    texts: Mapping[str, str] = read["texts"]
    return tuple(
        KernelRow(**{name: _text(value, texts) for name, value in record.items()})
        for group in read["rows"]
        for record in _points(group)
    )


def _points(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The records that a record with points stands for; any other is its own."""
    if "points" not in record:
        yield record
        return
    common = {name: value for name, value in record.items() if name != "points"}
    for m, time_us in record["points"]:
        one = {name: common[name].replace("{m}", str(m)) for name in ("name", "shape")}
        sizes = {"sizes": {"m": m, **common["sizes"]}} if "sizes" in common else {}
        yield {**common, **one, **sizes, "time_us": time_us}


def _text(value: Any, texts: Mapping[str, str]) -> Any:
    """What a field's value stands for."""
    return texts[value[1:]] if isinstance(value, str) and value.startswith("@") else value


def graphs(row: KernelRow) -> tuple[Graph, ...]:
    """The kernels of a simulated row, one for every launch."""
    return STRUCTURES[row.structure](dtype=parse_dtype(row.dtype), **row.sizes)
