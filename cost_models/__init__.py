"""Hardware profiles of Trainium NeuronCores and the predicted time of work on them.

Speaks numbers and plain records only. A profile is data (``profiles/*.json``); every number in it
has a unit, a source and a status, and every price follows from a profile.

>>> target = load_target("trn2")
>>> copy = Instruction("tensor_copy", "vector", 128, 512, ("f32", "f32"), ("sbuf", "sbuf"))
>>> round(instruction_price(target, copy).latency_ns)
425
>>> round(dma_price(target, Transfer("load", 128, 2048, rows=128)).total_ns)
2550
"""

from .dma import DmaPrice, Transfer, dma_price, dma_transposes
from .errors import PriceError, ProfileError
from .instructions import Instruction, Price, activation_table
from .known import KnownPrices, prices_of
from .pricing import engines_for, instruction_price, weight_load_price
from .roofline import Bounds, Work, bounds
from .schema import Quantity
from .target import Target, load_target, targets

__all__ = [
    "Bounds",
    "DmaPrice",
    "Instruction",
    "KnownPrices",
    "Price",
    "PriceError",
    "ProfileError",
    "Quantity",
    "Target",
    "Transfer",
    "Work",
    "activation_table",
    "bounds",
    "dma_price",
    "dma_transposes",
    "engines_for",
    "instruction_price",
    "load_target",
    "prices_of",
    "targets",
    "weight_load_price",
]
