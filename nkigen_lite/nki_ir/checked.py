"""Running a kernel in memories of bytes at planned addresses, in any order that engines may take.

SBUF and PSUM are one array of bytes each. Every byte knows which contents it was written for, so
a read of bytes that were never written, or were overwritten for another buffer, raises
:class:`MemoryFault`. HBM buffers are watched likewise.

The kernel is first *issued*: gone through in program order, loops unrolled, every buffer at its
address and every view resolved. What is issued is then executed at once, or as
``engine_order.random_order`` says: engines side by side, held back only by the dependencies that
the simulator sees. If one is missing, some order gives a fault or wrong numbers. What a register
decides is only known once all before it is done, so there the random orders of two stretches meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from cost_models.simulate import Fresh, Index, Step
from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidInput, MemoryFault
from nkigen_lite.nki_ir.allocation import Allocation, Place, places_of
from nkigen_lite.nki_ir.byte_memory import ByteMemory
from nkigen_lite.nki_ir.engine_order import Dependencies, Issued, random_order
from nkigen_lite.nki_ir.interpret import execution
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.rows.table import COLLECTIVE
from nkigen_lite.nki_ir.simulate import Translation
from nkigen_lite.nki_ir.types import REGISTER, MemorySpace
from nkigen_lite.nki_ir.watched import Contents, Instruction, bytes_of, located

Order = Literal["program"] | int
"""Program order, or the seed of a random one."""


def run_checked(
    kernel: Graph,
    inputs: Mapping[str, Array],
    allocation: Allocation,
    order: Order = "program",
) -> dict[str, Array]:
    """Run a kernel at the addresses of an allocation and return its outputs by name.

    Args:
        kernel: an nki_ir graph with outputs.
        inputs: arrays for its HBM buffers; they are copied. A buffer without one has to be written
            before it is read.
        allocation: of this kernel.
        order: "program", or a seed: one of the orders in which engines and DMA queues may execute
            the kernel if they wait for nothing but its dependencies and the allocation's hazards.

    Raises:
        MemoryFault: an op reads bytes that are not there, or a buffer after its dealloc, or an
            output is not written in full; names the op, its line, the buffer and the bytes.
        InvalidInput: an array does not fit, or the allocation is that of another kernel.
    """
    if order != "program" and (not isinstance(order, (int, np.integer)) or order < 0):
        raise InvalidInput(
            f"run_checked: order is {order!r} but must be 'program' or a seed, an int from 0"
        )
    run = _Run(kernel, allocation, inputs)
    # Poison takes part in nothing that counts, and tiles are small: one thread is enough.
    with np.errstate(all="ignore"), threadpool_limits(limits=1, user_api="blas"):
        if order == "program":
            for instruction in run.issue(kernel):
                if instruction is not None:
                    instruction.execute()
        else:
            for first, stream, issued in run.stretches():
                for number in random_order(issued, int(order) + first):
                    stream[number].execute()
    return run.outputs()


@dataclass(eq=False)
class _Run:
    """One run: its memories, and what every buffer, view and loop index stands for at the moment.

    ``every`` are all contents so far, by number less one; ``contents`` and ``arrays`` are those
    that a value stands for, ``earlier`` those of a buffer before its last rotations, the latest
    first, ``hbm`` the memories of buffers in HBM.
    """

    kernel: Graph
    allocation: Allocation
    inputs: Mapping[str, Array]
    every: list[Contents] = field(default_factory=list)
    contents: dict[Value, Contents] = field(default_factory=dict)
    earlier: dict[Value, list[Contents]] = field(default_factory=dict)
    arrays: dict[Value, Any] = field(default_factory=dict)
    hbm: dict[Value, ByteMemory] = field(default_factory=dict)
    executions: dict[Op, Callable[[Sequence[Any]], None]] = field(default_factory=dict)
    order: _Ordering = field(init=False)

    def __post_init__(self) -> None:
        self.places = places_of(self.kernel, self.allocation)
        self.memories = {
            name: ByteMemory(name, *_extent(list(self.places.values()), name))
            for name in ("sbuf", "psum")
        }
        self.order = _Ordering(Translation(self.kernel, self.allocation))
        for value in self.kernel.inputs:
            self._input(value)

    def _input(self, value: Value) -> None:
        made = self._in_hbm(value)
        if value.name not in self.inputs:
            return
        given, kind = self.inputs[value.name], value.type
        if given.shape != kind.shape or given.dtype != kind.dtype.np:
            raise InvalidInput(
                f"run_checked: {value.name} is {given.shape} {given.dtype} but must be "
                f"{kind.shape} {kind.dtype.np}"
            )
        made.array[...] = given
        made.memory.owners(made.array)[...] = made.number

    # --- issuing

    def issue(self, graph: Graph) -> Iterator[Instruction | None]:
        """The instructions of a graph or region in program order, loops unrolled.

        None asks that all before it be executed: what comes next depends on a register, or is not
        of an engine whose order is known.
        """
        allocated: list[Value] = []
        for op in graph.ops:
            row = NKI[op.opcode]
            if op.regions:
                yield from _REGIONS[op.opcode](self, op)
            elif op.opcode == "alloc":
                self._alloc(op)
                allocated.append(op.result)
            elif op.opcode in _BUFFERS:
                _BUFFERS[op.opcode](self, op)
            elif row.alias:
                self._view(op)
            elif row.engine in ("none", COLLECTIVE):
                yield None
                self._instruction(op).execute()
            else:
                yield self._instruction(op)
        for buffer in allocated:
            self._end(buffer)

    def stretches(self) -> Iterator[tuple[int, list[Instruction], list[Issued]]]:
        """Instructions that may run beside each other, and what each waits for of them; first the
        number of those before. They have to be executed before the next stretch is asked for."""
        first, stream, issued = 0, list[Instruction](), list[Issued]()
        for instruction in self.issue(self.kernel):
            if instruction is not None:
                stream.append(instruction)
                issued.append(self.order.issued(instruction.op).since(first))
            elif stream:
                yield first, stream, issued
                first, stream, issued = first + len(stream), [], []
        yield first, stream, issued

    # --- regions

    def _loop(self, op: Op) -> Iterator[Instruction | None]:
        body = op.attrs["body"]
        for index in range(0, op.attrs["extent"], op.attrs["step"]):
            self.arrays[body.inputs[0]] = index
            self.order.trip(body.inputs[0], index // op.attrs["step"])
            yield from self.issue(body)

    def _dynamic_loop(self, op: Op) -> Iterator[Instruction | None]:
        yield None
        body = op.attrs["body"]
        for index in range(0, self._held(op.inputs[0]), op.attrs["step"]):
            self.arrays[body.inputs[0]] = _register(index)
            yield from self.issue(body)

    def _while_loop(self, op: Op) -> Iterator[Instruction | None]:
        yield None
        trips, most = 0, op.attrs["most_trips"]
        while self._held(op.inputs[0]):
            trips += 1
            if trips > most:
                raise InvalidInput(f"while_loop: more than {most} trips but that is most_trips")
            yield from self.issue(op.attrs["body"])
            yield None

    def _if_else(self, op: Op) -> Iterator[Instruction | None]:
        if op.inputs[0].type == REGISTER:
            yield None
        held = self._held(op.inputs[0])
        if op.inputs[0].type == REGISTER and held not in (0, 1):
            raise InvalidInput(f"if_else: %{op.inputs[0].name} holds {held} but must hold 0 or 1")
        yield from self.issue(op.attrs["then" if held else "otherwise"])

    def _held(self, value: Value) -> int:
        """What a register or a loop's index holds."""
        return int(np.asarray(self.arrays[value]).item())

    def _new_register(self, op: Op) -> None:
        self.arrays[op.result] = _register(op.attrs.get("value") or 0)

    # --- buffers

    def _rotate(self, op: Op) -> None:
        buffer = op.inputs[0]
        self.earlier[buffer].insert(0, self.contents[buffer])
        self._take_copy(op, buffer)

    def _dealloc(self, op: Op) -> None:
        self._end(op.inputs[0])

    def _alloc(self, op: Op) -> None:
        value = op.result
        self.earlier[value] = []
        if value.type.memory is MemorySpace.HBM:
            self._in_hbm(value)
        else:
            self._take_copy(op, value)

    def _take_copy(self, op: Op, value: Value) -> None:
        copy, place = self.order.copy(op, value), self.places[value]
        memory = self.memories[place.memory]
        self._begin(value, memory, memory.tile(value.type, place.offsets[copy]), copy)

    def _end(self, value: Value) -> None:
        for mine in (self.contents[value], *self.earlier[value]):
            mine.alive = False

    def _in_hbm(self, value: Value) -> Contents:
        if value not in self.hbm:
            self.hbm[value] = ByteMemory("hbm", 1, value.type.size_bytes)
        memory = self.hbm[value]
        return self._begin(value, memory, memory.row(value.type), 0)

    def _begin(self, value: Value, memory: ByteMemory, array: Array, copy: int) -> Contents:
        place = self.places.get(value)
        name = place.name if place else value.name
        made = Contents(len(self.every) + 1, name, memory, array, copy)
        self.every.append(made)
        self.contents[value], self.arrays[value] = made, array
        return made

    def _view(self, op: Op) -> None:
        evaluate = NKI[op.opcode].evaluate
        assert evaluate is not None
        base = op.inputs[0]
        if op.opcode == "previous":
            mine = self.earlier[base][op.attrs["by"] - 1]
            self.contents[op.result], self.arrays[op.result] = mine, mine.array
            return
        self.contents[op.result] = self.contents[base]
        self.arrays[op.result] = evaluate(*[self.arrays[v] for v in op.inputs], **op.attrs)

    def _instruction(self, op: Op) -> Instruction:
        contents = [self.contents.get(v) for v in op.inputs]
        for mine in contents:
            if mine is not None and not mine.alive:
                raise MemoryFault(located(op, f"{mine} is used after its dealloc"))
        run = self.executions.get(op)
        if run is None:
            run = self.executions[op] = execution(op)
        return Instruction(op, [self.arrays[v] for v in op.inputs], contents, self.every, run)

    def outputs(self) -> dict[str, Array]:
        """Copies of what the kernel returns.

        Raises:
            MemoryFault: one is not written in full.
        """
        found = {}
        for name, value in self.kernel.outputs.items():
            mine = self.contents[value]
            stray = mine.memory.stray(mine.array, mine.number)
            if stray is not None:
                raise MemoryFault(
                    f"output {name}: {bytes_of(stray)} of {mine} were never written but must be"
                )
            found[name] = mine.array.copy()
        return found


_REGIONS: dict[str, Callable[[_Run, Op], Iterator[Instruction | None]]] = {
    "fori_loop": _Run._loop,
    "dynamic_loop": _Run._dynamic_loop,
    "while_loop": _Run._while_loop,
    "if_else": _Run._if_else,
}
_BUFFERS: dict[str, Callable[[_Run, Op], None]] = {
    "rotate": _Run._rotate,
    "dealloc": _Run._dealloc,
    "register_alloc": _Run._new_register,
    "rank_id": _Run._new_register,
}


def _register(value: int) -> Array:
    return np.full(REGISTER.shape, value, REGISTER.dtype.np)


@dataclass(eq=False)
class _Ordering:
    """Follows the issue in the simulator's terms: copies of buffers, cells, trips of loops."""

    translation: Translation
    dependencies: Dependencies = field(default_factory=Dependencies)
    trips: dict[Index, int] = field(default_factory=dict)
    steps: dict[Op, Step] = field(default_factory=dict)
    fresh: dict[Op, Fresh | None] = field(default_factory=dict)

    def trip(self, index: Value, number: int) -> None:
        """A loop begins a trip."""
        self.trips[self.translation.loops[index].index] = number

    def copy(self, op: Op, buffer: Value) -> int:
        """The copy that an ``alloc`` or ``rotate`` of a buffer takes."""
        if op not in self.fresh:
            self.fresh[op] = self.translation.fresh(buffer)
        item = self.fresh[op]
        return self.dependencies.fresh(item) if item else 0

    def issued(self, op: Op) -> Issued:
        """An instruction comes next."""
        step = self.steps.get(op)
        if step is None:
            step = self.steps[op] = self.translation.step(op)
        after = self.dependencies.add(step, self.trips)
        is_dma = NKI[op.opcode].engine == "dma"
        return Issued(step.engine, is_dma, frozenset(after))


def _extent(places: Sequence[Place], memory: str) -> tuple[int, int]:
    """Partitions and bytes of each that the buffers in a memory reach."""
    mine = [p for p in places if p.memory == memory]
    rows = max((p.partitions for p in mine), default=1)
    return rows, max((o + p.bytes for p in mine for o in p.offsets), default=1)
