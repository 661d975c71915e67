"""Registers in the Kernel Builder.

Its registers are values, which nothing writes again. So a register here is a tile of one int32 in
SBUF, written by copies, and what it holds is loaded where an address or a condition needs it.
"""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op
from nkigen_lite.nki_ir.emit.kb import Tracing, temporaries
from nkigen_lite.nki_ir.types import INDEX, MemorySpace


def move(op: Op, tracing: Tracing) -> None:
    """The register becomes a number, a loop's index, or another register."""
    register, number = tracing.register(op.inputs[0]), op.attrs["value"]
    if number is None and op.inputs[1].type == INDEX:
        number = tracing.index(op.inputs[1])
    if number is None:
        tracing.isa.tensor_copy(dst=register, src=tracing.register(op.inputs[1]))
    else:
        tracing.isa.memset(dst=register, value=number)


def load(op: Op, tracing: Tracing) -> None:
    """The register becomes an element of HBM or SBUF."""
    register, element = tracing.register(op.inputs[0]), tracing.column(op.inputs[1])
    kind = op.inputs[1].type
    if kind.memory is not MemorySpace.HBM:
        tracing.isa.tensor_copy(dst=register, src=element)
    elif kind.dtype is DType.I32:
        tracing.isa.dma_copy(dst=register, src=element)
    else:
        with temporaries(tracing) as new:
            between = new((1, 1), kind.dtype)
            tracing.isa.dma_copy(dst=between, src=element)
            tracing.isa.tensor_copy(dst=register, src=between)


def store(op: Op, tracing: Tracing) -> None:
    """An element of HBM or SBUF becomes what the register holds."""
    element, register = tracing.column(op.inputs[0]), tracing.register(op.inputs[1])
    kind = op.inputs[0].type
    if kind.memory is not MemorySpace.HBM:
        tracing.isa.tensor_copy(dst=element, src=register)
    elif kind.dtype is DType.I32:
        tracing.isa.dma_copy(dst=element, src=register)
    else:
        with temporaries(tracing) as new:
            between = new((1, 1), kind.dtype)
            tracing.isa.tensor_copy(dst=between, src=register)
            tracing.isa.dma_copy(dst=element, src=between)
