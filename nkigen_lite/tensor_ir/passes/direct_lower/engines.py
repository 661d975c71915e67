"""Who runs an instruction, where several engines can."""

from __future__ import annotations

from collections.abc import Iterable

from nkigen_lite.core.ir import Op
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.rows import NKI


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
    """Have an engine run all of these ops, loop bodies included, that it can run."""
    for op in ops:
        for each in (op, *(o for region in op.regions for o in region.walk())):
            if may_run(each, engine):
                each.attrs["engine"] = engine
