"""What the ops of nki_ir cost, told as ``cost_models`` understands it: one record per op.

The solver's prices and the simulator both read their instructions here.
"""

from __future__ import annotations

import math

from cost_models import Instruction, PriceError, Transfer
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.nki_ir.access import Access, Accesses
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.rows.table import COLLECTIVE
from nkigen_lite.nki_ir.types import ON_CHIP, MemorySpace


def instruction(op: Op, accesses: Accesses) -> Instruction:
    """The op of a compute engine as the cost model sees it.

    Raises:
        PriceError: the op is a collective.
    """
    row = NKI[op.opcode]
    if row.engine == COLLECTIVE:
        raise PriceError(f"{op.opcode}: time is asked for but collectives have no published price")
    full: list[Value] = []
    pointer = False
    for at, value in enumerate(op.inputs):
        if value.type.memory not in ON_CHIP:
            continue
        if row.full is None or at in row.full:
            full.append(value)
        elif at not in row.written:
            pointer = True
    sizes = dict(row.charge(op))
    if "elems" not in sizes:
        sizes["elems"] = max([v.type.free_size for v in full])
    if "rows" not in sizes:
        sizes["rows"] = max([v.type.partition_size for v in full])
    return Instruction(
        op=op.opcode,
        engine=op.attrs["engine"],
        dtypes=tuple(v.type.dtype.value for v in full),
        memories=tuple(v.type.memory.value for v in full),
        pointer=pointer,
        contiguous=all(_is_contiguous(accesses.of(v)) for v in full),
        **sizes,
    )


def _is_contiguous(access: Access) -> bool:
    dims = access.free_dims()
    return not dims or dims[-1][1] == 1


def transfer(op: Op, accesses: Accesses) -> Transfer:
    """A DMA as the cost model sees it: contiguous runs over the partitions it touches."""
    row = NKI[op.opcode]
    dst, src = (v for at, v in enumerate(op.inputs) if row.full is None or at in row.full)
    charge = row.charge(op)
    on_chip = [v.type for v in (dst, src) if v.type.memory in ON_CHIP]
    moved = on_chip[0] if on_chip else dst.type
    rows = moved.partition_size if on_chip else 1
    if charge.get("transpose"):
        run = _run(accesses.of(src).dims[-1:])
    else:
        run = moved.num_elements // rows
        for side in (accesses.of(dst), accesses.of(src)):
            run = math.gcd(run, _run(side.dims[1:] if on_chip else side.dims))
    return Transfer(
        _DIRECTIONS.get((dst.type.memory, src.type.memory), "copy"),
        moved.num_elements // run,
        run * max(dst.type.dtype.itemsize, src.type.dtype.itemsize),
        rows,
        software=op.attrs["engine"] == "gpsimd",
        **charge,
    )


_DIRECTIONS = {
    (MemorySpace.SBUF, MemorySpace.HBM): "load",
    (MemorySpace.HBM, MemorySpace.SBUF): "store",
}


def trigger(op: Op) -> str:
    """The engine that triggers a DMA.

    It is the one that the op names; else GpSimd where software makes the descriptors, and otherwise
    Scalar for stores and Sync for the rest.
    """
    engine: str = op.attrs["engine"]
    if engine != "dma":
        return engine
    charge = NKI[op.opcode].charge(op)
    if charge.get("indirect") or charge.get("cast"):
        return "gpsimd"
    dst, src = op.inputs[:2]
    is_store = dst.type.memory is MemorySpace.HBM and src.type.memory is not MemorySpace.HBM
    return "scalar" if is_store else "sync"


def _run(dims: tuple[tuple[int, int], ...]) -> int:
    """Elements side by side in the innermost part of an access."""
    run = 1
    for extent, stride in reversed(dims):
        if extent == 1:
            continue
        if stride != run:
            break
        run *= extent
    return run
