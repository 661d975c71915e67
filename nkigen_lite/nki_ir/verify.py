"""Legality of a whole kernel on a target, beyond what each op's row says about itself.

Checked here: slices stay in bounds for every loop iteration; operands on chip need at most four
free dimensions, whose extents and strides an access pattern holds; compute operands start at a
legal partition; nothing is used after its dealloc; reshapes read
one contiguous run; nothing is written through a broadcast; a matmul's destination stays inside one
PSUM bank; all buffers live at once fit SBUF and PSUM; sums that go on from one instruction to
the next are those in the engine's registers. Sources of the rules: aws-neuron-sdk
trainium2_arch.rst and the nki.isa reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.core.verify import neighbourhood
from nkigen_lite.core.verify import problems as structural_problems
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.access import Access, Accesses, is_reshapable
from nkigen_lite.nki_ir.limits import (
    MAX_EXTENT,
    MAX_FREE_DIMS,
    MAX_STRIDE,
    Limits,
    fits_pattern,
)
from nkigen_lite.nki_ir.rows import NKI, written_operands
from nkigen_lite.nki_ir.rows.table import COLLECTIVE
from nkigen_lite.nki_ir.types import INDEX, ON_CHIP, Affine, MemorySpace

MAX_FREE_ELEMENTS = 65535


def problems(graph: Graph, limits: Limits) -> list[str]:
    """Everything wrong with the kernel on a target with these limits, as sentences."""
    found = structural_problems(graph)
    if not found:
        found = [sentence for sentence, _ in _Walk(limits).graph(graph)]
    return found


def check(graph: Graph, limits: Limits) -> None:
    """Raise :class:`InvalidOp` on the first problem, with its neighbourhood."""
    graph.check()
    for sentence, op in _Walk(limits).graph(graph):
        where = f"\n  at {op.loc}" if op.loc else ""
        raise InvalidOp(f"{sentence}{where}\n{neighbourhood(graph, op)}")


@dataclass
class _Walk:
    limits: Limits
    accesses: Accesses = field(default_factory=Accesses)
    last_index: dict[int, int] = field(default_factory=dict)
    live: dict[int, Value] = field(default_factory=dict)
    buffers: dict[int, int] = field(default_factory=dict)
    freed: set[int] = field(default_factory=set)
    undecided: list[Op] = field(default_factory=list)
    homes: dict[int, int] = field(default_factory=dict)
    sums: Access | None = None
    sbuf: int = 0
    banks: int = 0

    def graph(self, graph: Graph) -> Iterator[tuple[str, Op]]:
        allocated: list[Value] = []
        for op in graph.ops:
            for sentence in self.op(op, allocated):
                yield sentence, op
            for region in op.regions:
                for index in region.inputs:
                    if index.type == INDEX:
                        step = op.attrs["step"]
                        self.last_index[id(index)] = (op.attrs["extent"] - 1) // step * step
                self.sums = None
                yield from self.region(op, region)
                self.sums = None
        for buffer in allocated:
            self.release(buffer)

    def region(self, op: Op, region: Graph) -> Iterator[tuple[str, Op]]:
        """A region, which of all ops only fori_loop is known to run, and how often."""
        if op.opcode == "fori_loop":
            yield from self.graph(region)
            return
        self.undecided.append(op)
        yield from self.graph(region)
        self.undecided.pop()

    def op(self, op: Op, allocated: list[Value]) -> Iterator[str]:
        for operand in op.inputs:
            root = self.accesses.root(operand)
            if id(root) in self.freed:
                yield f"{op.opcode}: %{root.name} is used after its dealloc"
        if op.opcode == "alloc":
            allocated.append(op.result)
        yield from _CHECKS.get(op.opcode, _Walk.engine)(self, op)

    def free(self, op: Op) -> Iterator[str]:
        self.release(op.inputs[0])
        yield from ()

    def copies(self, op: Op) -> Iterator[str]:
        """A rotating buffer is a whole one, with a copy for all that is still read."""
        buffer = op.inputs[0]
        count = self.buffers.get(id(buffer))
        if count is None:
            yield f"{op.opcode}: %{buffer.name} is not a buffer that the kernel allocates"
        elif op.attrs.get("by", 1) >= count:
            yield (
                f"{op.opcode}: %{buffer.name} has {count} copies but must have more than "
                f"{op.attrs.get('by', 1)}"
            )
        elif op.opcode == "rotate" and self.homes[id(buffer)] < len(self.undecided):
            yield (
                f"rotate: %{buffer.name} rotates in {self.undecided[-1].opcode}, which may run any "
                "number of times, but must be allocated in there"
            )

    def contiguous(self, op: Op) -> Iterator[str]:
        if not is_reshapable(self.accesses.of(op.inputs[0])):
            yield f"reshape: %{op.inputs[0].name} is not one contiguous run"

    def engine(self, op: Op) -> Iterator[str]:
        """What holds for the operands of an op that an engine runs; nothing for other ops."""
        row = NKI[op.opcode]
        if not row.engines:
            return
        needed = row.version(op)
        if needed > self.limits.core_version:
            yield (
                f"{op.opcode}: this form is of NeuronCore-v{needed} on but the target is "
                f"NeuronCore-v{self.limits.core_version}"
            )
        for at in written_operands(op):
            written = self.accesses.of(op.inputs[at])
            if any(extent > 1 and stride == 0 for extent, stride in written.dims):
                yield f"{op.opcode}: the destination is a broadcast view of %{written.root.name}"
        yield from self.accumulator(op)
        if row.engine == COLLECTIVE:
            return
        for operand in op.inputs:
            if operand.type.memory in ON_CHIP:
                yield from self.pattern(op, self.accesses.of(operand))
                if row.engine != "dma":
                    yield from self.operand(op, self.accesses.of(operand))
        if op.opcode == "matmul":
            yield from self.bank(self.accesses.of(op.inputs[0]))

    def accumulator(self, op: Op) -> Iterator[str]:
        """What an engine's registers hold: the sums of the last op that left some there."""
        row = NKI[op.opcode]
        if row.sums is None:
            written = [self.accesses.root(op.inputs[at]) for at in written_operands(op)]
            if self.sums and self.sums.root in written:
                self.sums = None
            return
        mine = self.accesses.of(op.inputs[row.sums])
        if row.continues and self.sums != mine:
            yield (
                f"{op.opcode}: the sums in %{mine.root.name} go on but are not what the summing "
                "activation before it in the same region left"
            )
        self.sums = mine

    def allocate(self, op: Op) -> Iterator[str]:
        value, kind = op.result, op.result.type
        count = op.attrs["num_buffers"]
        self.live[id(value)] = value
        self.buffers[id(value)] = count
        self.homes[id(value)] = len(self.undecided)
        self.freed.discard(id(value))
        if kind.memory in ON_CHIP and kind.partition_size > self.limits.partitions:
            yield (
                f"alloc: {kind} has {kind.partition_size} partitions but there are "
                f"{self.limits.partitions}"
            )
        if kind.memory is MemorySpace.SBUF:
            self.sbuf += kind.partition_bytes * count
            if self.sbuf > self.limits.sbuf_bytes:
                yield (
                    f"alloc: {self.sbuf} bytes per partition are live in sbuf with {kind} but "
                    f"there are {self.limits.sbuf_bytes}"
                )
        elif kind.memory is MemorySpace.PSUM:
            self.banks += self.limits.banks_of(kind.partition_bytes) * count
            if self.banks > self.limits.psum_banks:
                yield (
                    f"alloc: {self.banks} psum banks are live with {kind} but there are "
                    f"{self.limits.psum_banks}"
                )

    def release(self, value: Value) -> None:
        if self.live.pop(id(value), None) is None:
            return
        kind, count = value.type, self.buffers[id(value)]
        self.freed.add(id(value))
        if kind.memory is MemorySpace.SBUF:
            self.sbuf -= kind.partition_bytes * count
        elif kind.memory is MemorySpace.PSUM:
            self.banks -= self.limits.banks_of(kind.partition_bytes) * count

    def bounds(self, op: Op) -> Iterator[str]:
        base = op.inputs[0].type
        for dim, window in enumerate(op.attrs["slices"].dims):
            terms = tuple((op.inputs[p], f) for p, f in window.terms)
            low, high = self.range_of(Affine(window.const, terms))
            last = high + ((window.size or 1) - 1) * window.stride
            if low < 0 or last >= base.shape[dim]:
                yield (
                    f"slice: dimension {dim} reaches elements {low} to {last} of {base}, "
                    f"which has {base.shape[dim]}"
                )

    def range_of(self, expression: Affine) -> tuple[int, int]:
        low = high = expression.const
        for value, factor in expression.terms:
            reach = factor * self.last_index[id(value)]
            low, high = low + min(reach, 0), high + max(reach, 0)
        return low, high

    def operand(self, op: Op, access: Access) -> Iterator[str]:
        name = access.root.name
        count = access.dims[0][0]
        allowed = legal_starts(count, self.limits.partitions)
        start = access.partition
        steps = [start.const, *(factor for _, factor in start.terms)]
        if any(step % allowed.step for step in steps) or self.range_of(start)[1] > allowed[-1]:
            first, last = self.range_of(start)
            where = f"{first}" if first == last else f"{first} to {last}"
            yield (
                f"{op.opcode}: {count} partitions of %{name} start at {where} "
                f"but must start at one of {list(allowed)}"
            )
        elements = math.prod(extent for extent, _ in access.dims[1:])
        if elements > MAX_FREE_ELEMENTS:
            yield (
                f"{op.opcode}: {elements} elements per partition of %{name} but at most "
                f"{MAX_FREE_ELEMENTS} in one instruction"
            )

    def pattern(self, op: Op, access: Access) -> Iterator[str]:
        """The free dimensions of what an engine or a DMA reads or writes on chip."""
        name = access.root.name
        count = len(access.free_dims())
        if count > MAX_FREE_DIMS:
            yield (
                f"{op.opcode}: the access of %{name} has {count} free dimensions but at most "
                f"{MAX_FREE_DIMS}"
            )
        for extent, stride in access.dims[1:]:
            if not fits_pattern(extent, stride):
                yield (
                    f"{op.opcode}: the access of %{name} has a dimension of {extent} elements "
                    f"{stride} apart but at most {MAX_EXTENT} elements, {MAX_STRIDE} apart"
                )

    def bank(self, access: Access) -> Iterator[str]:
        item = access.root.type.dtype.itemsize
        bank = self.limits.psum_bank_bytes
        first = access.offset.const * item
        last = first + sum((n - 1) * s for n, s in access.dims[1:]) * item
        # An index may only move the whole window from bank to bank, unless all lie in one.
        moves = any(factor * item % bank for _, factor in access.offset.terms)
        tall = access.root.type.partition_bytes > bank
        if tall and (first // bank != last // bank or moves):
            yield f"matmul: destination %{access.root.name} is not inside one psum bank"


_CHECKS: dict[str, Callable[[_Walk, Op], Iterator[str]]] = {
    "alloc": _Walk.allocate,
    "dealloc": _Walk.free,
    "rotate": _Walk.copies,
    "previous": _Walk.copies,
    "slice": _Walk.bounds,
    "reshape": _Walk.contiguous,
}


def legal_starts(count: int, partitions: int) -> range:
    """Where ``count`` partitions of a compute operand may start (nki.isa start partition rule)."""
    step = 32 if count <= 32 else 64 if count <= 64 else partitions
    return range(0, partitions, step)
