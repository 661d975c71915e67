"""Stages of iterations that overlap, emitted in turns.

Engines run in order: one that has all of a stage to do before it begins with the next keeps others
waiting that need results of the next. So the loops of each stage are emitted in pieces, and pieces
of all stages follow each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from nkigen_lite.core.ir import Op
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.rows.table import regions_of
from nkigen_lite.nki_ir.types import MemorySpace, TileType
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import PSUM_COPIES

PIECES = 4
"""Of each loop of a stage, at most."""


def interleaved(stages: Sequence[list[Op]]) -> list[Op]:
    """The ops of several stages, each stage's in its order, such that anywhere about the same part
    of each has been emitted."""
    placed: list[tuple[float, int, Op]] = []
    for number, ops in enumerate(stages):
        ops = _in_same_banks(ops)
        weights = [_weight(op) for op in ops]
        total, before = max(1, sum(weights)), 0
        for op, weight in zip(ops, weights, strict=True):
            placed.append((before / total, number, op))
            before += weight
    return [op for _, _, op in sorted(placed, key=lambda item: item[:2])]


def _weight(op: Op) -> int:
    """Elements per partition of an instruction's first operands, loops multiplied out."""
    inside = sum(often * sum(map(_weight, body.ops)) for body, often in regions_of(op))
    row = NKI[op.opcode]
    if not row.engines or row.engine == "dma":
        return inside
    return inside + max(int(v.type.free_size) for v in op.inputs[:2])


def _in_same_banks(ops: list[Op]) -> list[Op]:
    """Have the pieces of a loop take turns in the copies of one PSUM tile."""
    first: dict[tuple[TileType, str], Op] = {}
    found: list[Op] = []
    for op in ops:
        if op.opcode == "alloc" and op.result.type.memory is MemorySpace.PSUM:
            tile = first.setdefault((op.result.type, op.result.name), op)
            if tile is not op:
                tile.attrs["num_buffers"] = PSUM_COPIES
                op.result.replace_all_uses_with(tile.result)
                op = Op("rotate", [tile.result], [])
        found.append(op)
    return found
