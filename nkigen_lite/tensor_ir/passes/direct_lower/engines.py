"""What is settled once a segment is emitted: who runs an instruction, where several engines can,
and how many copies rotate in PSUM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nkigen_lite.core.ir import Op
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.types import MemorySpace
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import PSUM_COPIES


def may_run(op: Op, engine: str) -> bool:
    """Whether another engine than the present one can run an op of a compute engine as it is."""
    row = NKI[op.opcode]
    if engine not in row.engines or row.engine == "dma" or op.attrs["engine"] == engine:
        return False
    try:
        row.infer([v.type for v in op.inputs], {**op.attrs, "engine": engine})
    except InvalidOp:
        return False
    return True


def give_to(engine: str, ops: Iterable[Op]) -> None:
    """Have an engine run all of these ops, loop bodies included, that it can run; or engines in
    turn those that all of them can."""
    engines = engine.split(", ")
    given = 0
    for op in _walked(ops):
        if all(op.attrs.get("engine") == e or may_run(op, e) for e in engines):
            op.attrs["engine"] = engines[given % len(engines)]
            given += 1


def rotate_in_psum(copies: int, ops: Iterable[Op]) -> None:
    """Have as many copies of each PSUM tile that rotates."""
    for op in _walked(ops):
        is_psum = op.opcode == "alloc" and op.result.type.memory is MemorySpace.PSUM
        if is_psum and op.attrs["num_buffers"] == PSUM_COPIES:
            op.attrs["num_buffers"] = copies


def once_in_psum(texts: Iterable[Op]) -> None:
    """Of iterations that are written out: what one of them makes once has one copy, as the next has
    a tile of its own."""
    for op in texts:
        is_psum = op.opcode == "alloc" and op.result.type.memory is MemorySpace.PSUM
        if is_psum and all(use.opcode not in ("rotate", "previous") for use in op.result.uses):
            op.attrs["num_buffers"] = 1


def _walked(ops: Iterable[Op]) -> Iterator[Op]:
    for op in ops:
        yield op
        for region in op.regions:
            yield from region.walk()
