"""How an axis is cut for the partition dimension: one rule for the whole compiler."""

from __future__ import annotations

PARTITIONS = 128  # of SBUF and PSUM, on every NeuronCore (aws-neuron-sdk trainium2_arch.rst)
_LEAST = 64  # a divisor below this leaves more than half of the partitions idle


def partition_tile(extent: int) -> int:
    """How many elements of an axis lie on partitions at a time.

    The whole axis if it fits; else its largest divisor from 64 up to the 128 partitions, so that
    there is no remainder; else 128 with a remainder.
    """
    if extent <= PARTITIONS:
        return extent
    divisors = (t for t in range(PARTITIONS, _LEAST - 1, -1) if extent % t == 0)
    return next(divisors, PARTITIONS)
