"""Prices that are asked for again and again, worked out once per target."""

from __future__ import annotations

from functools import lru_cache

from .dma import DmaPrice, Transfer, dma_price
from .instructions import Instruction, Price
from .pricing import instruction_price
from .target import Target

KEPT = 1 << 14
"""Kinds of instructions, and of transfers, whose prices are kept."""


class KnownPrices:
    """The prices of one target: :func:`~cost_models.instruction_price` of a warm core, and
    :func:`~cost_models.dma_price`."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.instruction = lru_cache(KEPT)(self._instruction)
        self.transfer = lru_cache(KEPT)(self._transfer)

    def _instruction(self, work: Instruction) -> Price:
        return instruction_price(self.target, work)

    def _transfer(self, work: Transfer) -> DmaPrice:
        return dma_price(self.target, work)


@lru_cache(maxsize=8)
def prices_of(target: Target) -> KnownPrices:
    """The prices of a target, shared by all who ask."""
    return KnownPrices(target)
