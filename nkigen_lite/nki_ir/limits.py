"""The hard limits of a target that legal kernels obey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Capacities of one NeuronCore.

    Attributes:
        partitions: of SBUF and PSUM.
        sbuf_bytes: usable per partition.
        psum_banks: in each partition.
        psum_bank_bytes: of one bank, per partition.
    """

    partitions: int
    sbuf_bytes: int
    psum_banks: int
    psum_bank_bytes: int

    @classmethod
    def of(cls, target: Any) -> Limits:
        """The limits in a ``cost_models`` target."""
        memory = target.memory
        return cls(
            partitions=memory.partitions,
            sbuf_bytes=memory.sbuf_usable_bytes_per_partition,
            psum_banks=memory.psum_banks,
            psum_bank_bytes=memory.psum_bank_bytes,
        )

    def banks_of(self, partition_bytes: int) -> int:
        """Banks that a PSUM tile with that many bytes per partition takes."""
        return -(-partition_bytes // self.psum_bank_bytes)
