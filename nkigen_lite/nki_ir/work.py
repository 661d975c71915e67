"""What the ops of nki_ir cost, told as ``cost_models`` understands it: one record per op.

The solver's prices and the simulator both read their instructions here.
"""

from __future__ import annotations

import math

from cost_models import Instruction, Transfer
from nkigen_lite.core.ir import Op
from nkigen_lite.nki_ir.access import Access, Accesses
from nkigen_lite.nki_ir.types import ON_CHIP, MemorySpace

# Operands after these are one value per partition.
_TILES = {
    "tensor_scalar_arith": 2,
    "activation": 2,
    "activation_reduce": 2,
    "scalar_tensor_tensor_arith": 3,
}


def instruction(op: Op, accesses: Accesses) -> Instruction:
    """The op of a compute engine as the cost model sees it."""
    full = [v for v in op.inputs if v.type.memory in ON_CHIP]
    if op.opcode == "activation_reduce":
        del full[1]
    tiles = _TILES.get(op.opcode, len(full))
    pointer, full = len(full) > tiles, full[:tiles]
    rows = max(v.type.partition_size for v in full)
    elems, columns = max(v.type.free_size for v in full), 0
    if op.opcode == "matmul":
        rows = full[1].type.partition_size
        elems, columns = full[2].type.free_size, full[1].type.free_size
    elif op.opcode == "nc_transpose" and op.attrs["engine"] == "tensor":
        elems = full[1].type.partition_size
    return Instruction(
        op=op.opcode,
        engine=op.attrs["engine"],
        rows=rows,
        elems=elems,
        dtypes=tuple(v.type.dtype.value for v in full),
        memories=tuple(v.type.memory.value for v in full),
        pointer=pointer,
        contiguous=all(_is_contiguous(accesses.of(v)) for v in full),
        function=_function(op),
        columns=columns,
    )


def _function(op: Op) -> str:
    """The activation function; of a memset, "zero" if that is what it writes."""
    if op.opcode == "memset":
        return "zero" if op.attrs["value"] == 0 else ""
    return op.attrs["op"] if op.opcode in ("activation", "activation_reduce") else ""


def _is_contiguous(access: Access) -> bool:
    dims = access.free_dims()
    return not dims or dims[-1][1] == 1


def transfer(op: Op, accesses: Accesses) -> Transfer:
    """A dma_copy as the cost model sees it: contiguous runs over the partitions it touches."""
    dst, src = op.inputs
    sides = [accesses.of(dst), accesses.of(src)]
    on_chip = [s for s in sides if s.root.type.memory in ON_CHIP]
    rows = on_chip[0].dims[0][0] if on_chip else 1
    per_row = dst.type.num_elements // rows
    run = per_row
    for side in sides:
        dims = side.dims[1:] if on_chip else side.dims
        run = math.gcd(run, _run(dims))
    descriptors = rows * (per_row // run)
    kind = "copy" if not on_chip else "load" if dst.type.memory is MemorySpace.SBUF else "store"
    return Transfer(
        kind,
        descriptors,
        run * dst.type.dtype.itemsize,
        rows,
        software=op.attrs["engine"] == "gpsimd",
    )


def trigger(op: Op) -> str:
    """The engine that triggers a dma_copy: as it says, or Sync for loads and Scalar for stores."""
    engine: str = op.attrs["engine"]
    if engine != "dma":
        return engine
    dst, src = op.inputs
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
