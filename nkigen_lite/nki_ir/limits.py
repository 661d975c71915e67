"""The hard limits of a target that legal kernels obey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nkigen_lite.errors import NotSupported

TILE_ROWS = 128
"""Partitions of a full tile; every generation has at least as many."""

# What describes an operand on chip to an engine or a DMA: the partitions and up to four free
# dimensions, a pair of a 16-bit stride with a sign and a 16-bit extent without one for each
# (aws-neuron-sdk, NkiTensor reference of ``ap``; trainium2_arch.rst).
MAX_FREE_DIMS = 4
MAX_EXTENT = 2**16 - 1
MAX_STRIDE = 2**15 - 1


def fits_pattern(extent: int, stride: int) -> bool:
    """Whether an access pattern can hold a dimension, its stride in elements."""
    return extent == 1 or (extent <= MAX_EXTENT and -MAX_STRIDE - 1 <= stride <= MAX_STRIDE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Capacities of one NeuronCore.

    Attributes:
        partitions: of SBUF and PSUM.
        sbuf_bytes: usable per partition.
        psum_banks: in each partition.
        psum_bank_bytes: of one bank, per partition.
        core_version: of the NeuronCore: which instructions there are (2: trn1, 3: trn2, 4: trn3).
    """

    partitions: int
    sbuf_bytes: int
    psum_banks: int
    psum_bank_bytes: int
    core_version: int = 3

    @classmethod
    def of(cls, target: Any) -> Limits:
        """The limits in a ``cost_models`` target.

        Raises:
            NotSupported: the target has fewer partitions, or a smaller PE array, than the tiles
                that lowering makes.
        """
        memory, tensor = target.memory, target.tensor
        for field, size in (
            ("memory.partitions", memory.partitions),
            ("tensor.pe_rows", tensor.pe_rows),
            ("tensor.pe_cols", tensor.pe_cols),
            ("tensor.stationary_free_max", tensor.stationary_free_max),
        ):
            if size < TILE_ROWS:
                raise NotSupported(
                    f"{target.name}: {field} is {size} but lowering makes tiles of {TILE_ROWS}"
                )
        return cls(
            partitions=memory.partitions,
            sbuf_bytes=memory.sbuf_usable_bytes_per_partition,
            psum_banks=memory.psum_banks,
            psum_bank_bytes=memory.psum_bank_bytes,
            core_version=target.chip.core_version,
        )

    def banks_of(self, partition_bytes: int) -> int:
        """Banks that a PSUM tile with that many bytes per partition takes."""
        return -(-partition_bytes // self.psum_bank_bytes)
