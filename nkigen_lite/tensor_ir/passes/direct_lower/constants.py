"""Tiles that hold one number: set once for a segment, however often it reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.nki_ir.rows import NKI, written_operands
from nkigen_lite.nki_ir.types import MemorySpace


@dataclass(frozen=True, slots=True)
class _Constant:
    """A tile, the memset that fills it, the region where they are, and whether a loop runs it."""

    alloc: Op
    memset: Op
    region: Graph
    repeats: bool

    @property
    def key(self) -> tuple[Any, ...]:
        return self.alloc.result.type, self.memset.attrs["value"]


def hoist_constants(graph: Graph, start: int) -> None:
    """Set tiles that hold one number before the op at ``start``, behind which all readers are:
    those that loops would set again, and those that hold the same, which become one."""
    alike: dict[tuple[Any, ...], list[_Constant]] = {}
    for constant in _constants(graph, graph.ops[start:], repeats=False):
        alike.setdefault(constant.key, []).append(constant)
    for first, *others in alike.values():
        if not others and not first.repeats:
            continue
        for constant in (first, *others):
            constant.region.ops.remove(constant.alloc)
            constant.region.ops.remove(constant.memset)
        for other in others:
            other.memset.drop_uses()
            other.alloc.result.replace_all_uses_with(first.alloc.result)
        first.alloc.attrs["num_buffers"] = 1
        first.alloc.group = first.memset.group = None
        graph.ops[start:start] = [first.alloc, first.memset]
        start += 2


def _constants(region: Graph, ops: list[Op], *, repeats: bool) -> Iterator[_Constant]:
    for op in ops:
        for inside in op.regions:
            yield from _constants(inside, inside.ops, repeats=True)
        if op.opcode != "alloc" or op.attrs["memory"] != MemorySpace.SBUF.value:
            continue
        writers = list(_writers(op.result))
        if len(writers) != 1 or writers[0].opcode != "memset":
            continue
        (memset,) = writers
        if memset.inputs[0] is op.result and memset in ops:
            yield _Constant(op, memset, region, repeats)


def _writers(value: Value) -> Iterator[Op]:
    """The ops that write a tile or turn it, through views as well."""
    for op in dict.fromkeys(value.uses):
        if op.opcode == "rotate":
            yield op
        elif NKI[op.opcode].alias:
            yield from _writers(op.result)
        elif any(op.inputs[at] is value for at in written_operands(op)):
            yield op
