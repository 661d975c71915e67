"""The price of a DMA transfer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from .errors import PriceError
from .target import Target


@dataclass(frozen=True, slots=True)
class Transfer:
    """One DMA instruction.

    ``direction`` is "load" (HBM to SBUF), "store" (SBUF to HBM) or "copy" (within one memory).
    ``descriptors`` is the number of contiguous runs; a run that crosses partitions counts once
    per partition, so there are at least ``rows``, the partitions touched.
    ``bytes_per_descriptor`` is the length of a run as given, in the wider of the two dtypes.
    ``cast`` converts dtypes on the way, which only software-generated descriptors can do.

    Raises PriceError for an unknown direction, sizes below 1, or a store that transposes: a
    transposing DMA writes SBUF.
    """

    direction: str
    descriptors: int
    bytes_per_descriptor: int
    rows: int
    transpose: bool = False
    cast: bool = False
    software: bool = False

    def __post_init__(self) -> None:
        if self.direction not in _CAP_GBPS:
            raise PriceError(
                f"dma: direction is {self.direction!r} but must be one of {', '.join(_CAP_GBPS)}"
            )
        for what, size in (
            ("descriptors", self.descriptors),
            ("bytes_per_descriptor", self.bytes_per_descriptor),
            ("rows", self.rows),
        ):
            if size < 1:
                raise PriceError(f"dma: {what} is {size} but must be at least 1")
        if self.transpose and self.direction == "store":
            raise PriceError("dma: a store is asked to transpose but a transposing DMA writes SBUF")

    @property
    def total_bytes(self) -> int:
        """Bytes moved."""
        return self.descriptors * self.bytes_per_descriptor


@dataclass(frozen=True, slots=True)
class DmaPrice:
    """Predicted times of a transfer, one after the other.

    ``issue_ns`` occupies the engine that triggers it (for software descriptors it passes on
    GpSimd); ``transfer_ns`` occupies the queues; ``first_byte_ns`` and ``completion_ns`` occupy
    nothing.
    """

    issue_ns: float
    first_byte_ns: float
    transfer_ns: float
    completion_ns: float

    @property
    def total_ns(self) -> float:
        """From the trigger to the start of an idle consumer."""
        return self.issue_ns + self.first_byte_ns + self.transfer_ns + self.completion_ns


_CAP_GBPS: Final[Mapping[str, Callable[[Target], float]]] = {
    "load": lambda t: t.dma.load_cap_gbps,
    "store": lambda t: t.dma.store_cap_gbps,
    "copy": lambda t: max(t.dma.load_cap_gbps, t.dma.store_cap_gbps),
}

_TRANSPOSE_FACTOR: Final[Mapping[str, Callable[[Target], float]]] = {
    "load": lambda t: t.dma.transpose_load_factor,
    "copy": lambda t: t.dma.transpose_copy_factor,
}

_FIRST_BYTE_NS: Final[Mapping[tuple[str, bool], Callable[[Target], float]]] = {
    ("load", False): lambda t: t.dma.first_byte_load_ns,
    ("load", True): lambda t: t.dma.first_byte_software_load_ns,
    ("store", False): lambda t: t.dma.first_byte_store_ns,
    ("store", True): lambda t: t.dma.first_byte_software_store_ns,
    ("copy", False): lambda t: t.dma.first_byte_load_ns,
    ("copy", True): lambda t: t.dma.first_byte_software_load_ns,
}
"""By direction and whether software generates the descriptors. No source times a copy within one
memory; it is taken to start like a load."""


def _busiest_queue(descriptors: int, rows: int, queues: int) -> int:
    """Descriptors of the fullest queue when rows are dealt to the queues in turn.

    128 rows are 8 per queue (aws-neuron-sdk nki/get-started/about/nki-dma-overview.rst).
    """
    per_row, extra_rows = divmod(descriptors, rows)
    return per_row * -(-rows // queues) + -(-extra_rows // queues)


def dma_price(target: Target, transfer: Transfer) -> DmaPrice:
    """Predicted times of ``transfer`` with the queues idle before it.

    transfer_ns = max over the queues of the sum of (descriptor_ns + bytes / rate), and not below
    total bytes / cap (fit of trainium-kernel-fusion traces, see the profile).
    """
    dma = target.dma
    software = transfer.software or transfer.cast
    descriptors = max(transfer.descriptors, transfer.rows)
    rows = descriptors if transfer.direction == "copy" else transfer.rows
    bytes_each = transfer.total_bytes / descriptors
    descriptor_ns = dma.descriptor_ns + bytes_each / dma.bytes_per_ns
    if transfer.cast:
        descriptor_ns *= dma.cast_factor
    queue_ns = _busiest_queue(descriptors, rows, dma.queues) * descriptor_ns
    transfer_ns = max(queue_ns, transfer.total_bytes / _CAP_GBPS[transfer.direction](target))
    if transfer.transpose:
        transfer_ns /= _TRANSPOSE_FACTOR[transfer.direction](target)
    return DmaPrice(
        issue_ns=dma.issue_software_ns if software else dma.issue_hardware_ns,
        first_byte_ns=_FIRST_BYTE_NS[transfer.direction, software](target),
        transfer_ns=transfer_ns,
        completion_ns=dma.completion_ns,
    )
