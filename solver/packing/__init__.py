"""Addresses for buffers with lifetimes in one memory, such as SBUF.

    packing = pack(PackingProblem(buffers, capacity))

`problem` says what is asked, `report` what is answered, and `check` judges an answer without the
packer.
"""

from .check import check
from .packer import minimise_height, pack
from .problem import Buffer, PackingProblem
from .report import Packing, PackingError, Peak

__all__ = [
    "Buffer",
    "Packing",
    "PackingError",
    "PackingProblem",
    "Peak",
    "check",
    "minimise_height",
    "pack",
]
