"""Names for tiles that the program did not name: after what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nkigen_lite.core.ir import Op, Value
from nkigen_lite.nki_ir.access import Accesses
from nkigen_lite.nki_ir.rows import NKI, written_operands
from nkigen_lite.nki_ir.types import ON_CHIP

_NAMED_BY = ("op", "op0")  # attributes that say what an op computes
_PRODUCTS = {"matmul": "acc", "nc_transpose": "flip", "dma_transpose": "turned", "memset": "fill"}


def tile_name(tile: Value, names: Mapping[int, str], accesses: Accesses) -> str | None:
    """``x_tile`` if the tile is loaded from, or else stored to, a tensor of that name; else after
    the function that first writes it, as in ``exp_tile``; None if nothing does.

    Args:
        tile: a buffer on chip.
        names: of the buffers in HBM so far, by ``id``.
        accesses: of the kernel's values.
    """
    users = list(_users(tile))
    for side in (0, 1):
        for op, at in users:
            if op.opcode != "dma_copy" or at != side:
                continue
            other = accesses.root(op.inputs[1 - at])
            if other.type.memory not in ON_CHIP and id(other) in names:
                return f"{names[id(other)]}_tile"
    writers = (op for op, at in users if at in written_operands(op))
    return next(map(_after, writers), None)


def _users(value: Value) -> Iterator[tuple[Op, int]]:
    """The ops that a value is an operand of, through views as well, with its position."""
    for op in dict.fromkeys(value.uses):
        if NKI[op.opcode].alias:
            yield from _users(op.result)
        else:
            yield from ((op, at) for at, operand in enumerate(op.inputs) if operand is value)


def _after(op: Op) -> str:
    function = next((op.attrs[n] for n in _NAMED_BY if op.attrs.get(n)), op.opcode)
    return _PRODUCTS.get(op.opcode, f"{function}_tile")
