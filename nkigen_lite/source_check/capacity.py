"""Whether everything alive at once fits, and whether fixed addresses overlap."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from nkigen_lite.source_check.facts import Limits
from nkigen_lite.source_check.findings import Problem
from nkigen_lite.source_check.tensors import Buffer


def capacity_problems(buffers: Sequence[Buffer], limits: Limits) -> Iterator[Problem]:
    """What the tiles that live at once take beyond SBUF and PSUM.

    A tile lives from where it is made to its last use, so this is the least that the program
    needs in the order in which it is written.
    """
    for memory, most, unit in (
        ("sbuf", limits.sbuf_bytes, "bytes of each partition"),
        ("psum", limits.psum_banks, "banks"),
    ):
        peak, at = _peak([b for b in buffers if b.region.name == memory], memory, limits)
        if at is not None and peak > most:
            yield Problem(
                at.line,
                f"{memory}: {peak} {unit} are in use when {at.name} is made but {limits.name} has "
                f"{most}",
            )


def _peak(buffers: Sequence[Buffer], memory: str, limits: Limits) -> tuple[int, Buffer | None]:
    live: list[tuple[int, int, int]] = []  # last use, order, size
    now, peak = 0, 0
    at: Buffer | None = None
    for order, buffer in enumerate(buffers):
        while live and live[0][0] < buffer.born:
            now -= heapq.heappop(live)[2]
        size = buffer.partition_bytes
        if memory == "psum":
            size = -(-size // limits.psum_bank_bytes)
        heapq.heappush(live, (buffer.last, order, size))
        now += size
        if now > peak:
            peak, at = now, buffer
    return peak, at


def overlap_problems(buffers: Sequence[Buffer]) -> Iterator[Problem]:
    """Tiles whose fixed addresses share bytes while both are alive."""
    live: list[Buffer] = []
    said: set[tuple[int, int]] = set()
    for buffer in (b for b in buffers if b.address is not None):
        live = [b for b in live if b.last >= buffer.born]
        for other in live:
            if _share(buffer, other) and (buffer.line, other.line) not in said:
                said.add((buffer.line, other.line))
                yield Problem(
                    buffer.line,
                    f"nl.ndarray: {buffer.name} at {buffer.address} overlaps {other.name} at "
                    f"{other.address}, which is still in use",
                )
        live.append(buffer)


def _share(a: Buffer, b: Buffer) -> bool:
    if a.region != b.region:
        return False
    assert a.address is not None
    assert b.address is not None
    rows = a.address[0] < b.address[0] + b.shape[0] and b.address[0] < a.address[0] + a.shape[0]
    columns = (
        a.address[1] < b.address[1] + b.partition_bytes
        and b.address[1] < a.address[1] + a.partition_bytes
    )
    return rows and columns
