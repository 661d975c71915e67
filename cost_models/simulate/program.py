"""What the simulator runs: a stream of instructions over tiles, with rolled loops, as plain data.

A buffer's storage is told apart in equal *cells*, as finely as the instructions use it: two
instructions depend on each other when they use a cell in common.

>>> x, y = Buffer("x", "sbuf"), Buffer("y", "sbuf")
>>> load = Step(Transfer("load", 128, 2048, rows=128), "sync", writes=(Use(x),), tensor="x")
>>> copy = Instruction("tensor_copy", "vector", 128, 512, ("f32", "f32"), ("sbuf", "sbuf"))
>>> kernel = [load, Step(copy, "vector", reads=(Use(x),), writes=(Use(y),))]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from ..dma import Transfer
from ..errors import PriceError
from ..instructions import Instruction

MEMORIES = ("sbuf", "psum", "hbm")
TRIGGERS = ("sync", "scalar", "gpsimd")
"""Engines whose instruction stream may hold DMA triggers: the first two have the hardware generate
descriptors, GpSimd generates them itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """The index of a loop: 0, 1, … below its trips. Identity tells indices apart."""

    name: str = "i"


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Storage in ``cells`` parts, in ``copies`` that rotate: each :class:`Fresh` takes the next.

    Identity tells buffers apart; ``name`` is for people.
    """

    name: str
    memory: str
    cells: int = 1
    copies: int = 1

    def __post_init__(self) -> None:
        if self.memory not in MEMORIES:
            raise PriceError(
                f"buffer {self.name}: memory is {self.memory!r} but must be one of"
                f" {', '.join(MEMORIES)}"
            )
        for what, count in (("cells", self.cells), ("copies", self.copies)):
            if count < 1:
                raise PriceError(f"buffer {self.name}: {what} is {count} but must be at least 1")


@dataclass(frozen=True, slots=True)
class Use:
    """The cells ``start + sum(factor * index) + offset`` of a buffer, for each of ``offsets``.

    They are cells of the copy that was in use ``back`` rotations ago.
    """

    buffer: Buffer
    offsets: tuple[int, ...] = (0,)
    start: int = 0
    terms: tuple[tuple[Index, int], ...] = ()
    back: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of one engine.

    Attributes:
        work: what it does, as the prices see it.
        engine: who executes it; for a transfer, who triggers it.
        reads: what must have been written before it starts; a matmul tells its stationary first.
            Accumulating matmuls do not read their destination: the engine keeps their order.
        writes: what must not be in use any more.
        tensor: for a transfer, the tensor in device memory; bytes are counted by it.
        label: what a drawing calls it; by default the name of the operation.

    Raises PriceError for an engine that is not the instruction's, or that triggers no DMA.
    """

    work: Instruction | Transfer
    engine: str
    reads: tuple[Use, ...] = ()
    writes: tuple[Use, ...] = ()
    tensor: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.work, Transfer):
            if self.engine not in TRIGGERS:
                raise PriceError(
                    f"dma: engine is {self.engine!r} but must be one of {', '.join(TRIGGERS)}"
                )
        elif self.engine != self.work.engine:
            raise PriceError(
                f"{self.work.op}: the step's engine is {self.engine!r} but the instruction's"
                f" is {self.work.engine!r}"
            )


@dataclass(frozen=True, slots=True)
class Held:
    """What a copy of a buffer takes over from another buffer, whose bytes it lies in.

    ``cells`` are pairs: a cell of the fresh copy, counted from its first, and the cell of
    ``buffer`` that lay there, counted through all copies of that.
    """

    buffer: Buffer
    cells: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Fresh:
    """From here on, uses of the buffer mean its next copy.

    ``held``, if any, says for each copy what had its bytes before: whoever writes into a cell of
    the copy then waits for all who still use those, too.
    """

    buffer: Buffer
    held: tuple[tuple[Held, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.held and len(self.held) != self.buffer.copies:
            raise PriceError(
                f"buffer {self.buffer.name}: held is for {len(self.held)} copies but must be for"
                f" {self.buffer.copies}"
            )

    def uses(self) -> Iterator[Use]:
        """What it looks at: the cells of other buffers, counted through their copies."""
        for held in (h for copy in self.held for h in copy):
            yield Use(held.buffer, tuple(old for _, old in held.cells))


@dataclass(frozen=True, slots=True)
class Loop:
    """The body, run ``trips`` times with ``index`` counting from 0."""

    index: Index
    trips: int
    body: Sequence[Item]

    def __post_init__(self) -> None:
        if not isinstance(self.trips, int) or self.trips < 1:
            raise PriceError(
                f"loop {self.index.name}: trips is {self.trips!r} but must be a whole number from 1"
            )
        if not isinstance(self.body, Sequence):
            raise PriceError(
                f"loop {self.index.name}: body is a {type(self.body).__name__} but must be a list"
                " or tuple: it runs many times"
            )


Item: TypeAlias = Step | Fresh | Loop


@dataclass(slots=True)
class Extent:
    """What a stretch of a program consists of.

    Attributes:
        steps: instructions executed, loops multiplied out.
        engines: engines that execute or trigger something.
        triggers: engines that trigger DMAs.
        uses: what its steps read and write, once per step, and what its fresh buffers took over.
        fresh: buffers that rotate.
    """

    steps: int = 0
    engines: set[str] = field(default_factory=set)
    triggers: set[str] = field(default_factory=set)
    uses: list[Use] = field(default_factory=list)
    fresh: set[Buffer] = field(default_factory=set)


def extent_of(items: Sequence[Item]) -> Extent:
    """What ``items`` consist of."""
    found = Extent()
    for item, trips in walk(items):
        if isinstance(item, Fresh):
            found.fresh.add(item.buffer)
            found.uses.extend(item.uses())
        else:
            found.steps += trips
            found.engines.add(item.engine)
            if isinstance(item.work, Transfer):
                found.triggers.add(item.engine)
            found.uses.extend((*item.reads, *item.writes))
    return found


def walk(items: Sequence[Item], trips: int = 1) -> Iterator[tuple[Step | Fresh, int]]:
    """Every step and fresh of ``items`` once, with how often it runs."""
    for item in items:
        if isinstance(item, Loop):
            yield from walk(item.body, trips * item.trips)
        else:
            yield item, trips


def check(items: Sequence[Item], last: Mapping[Index, int] = MappingProxyType({})) -> None:
    """Whether every use stays inside its buffer; ``last`` are the last values of outer indices.

    Raises PriceError, naming the buffer, for cells that it does not have, for an index that no loop
    around counts, and for what is no item of a stream.
    """
    for item in items:
        if isinstance(item, Loop):
            check(item.body, {**last, item.index: item.trips - 1})
        elif isinstance(item, Step):
            for use in (*item.reads, *item.writes):
                _check_use(use, last)
        elif isinstance(item, Fresh):
            _check_held(item)
        else:
            raise PriceError(f"a stream holds {item!r} but takes steps, loops and fresh buffers")


def _check_use(use: Use, last: Mapping[Index, int]) -> None:
    if not 0 <= use.back < use.buffer.copies:
        raise PriceError(
            f"buffer {use.buffer.name}: the copy {use.back} rotations ago is used but it has"
            f" {use.buffer.copies}"
        )
    low, high = use.start + min(use.offsets), use.start + max(use.offsets)
    for index, factor in use.terms:
        if index not in last:
            raise PriceError(
                f"buffer {use.buffer.name}: index {index.name} is used but no loop around counts it"
            )
        low += min(0, factor * last[index])
        high += max(0, factor * last[index])
    if low < 0 or high >= use.buffer.cells:
        raise PriceError(
            f"buffer {use.buffer.name}: cells {low} to {high} are used but it has"
            f" {use.buffer.cells}"
        )


def _check_held(item: Fresh) -> None:
    for held in (h for copy in item.held for h in copy):
        for own, old in held.cells:
            for buffer, cell, most in (
                (item.buffer, own, item.buffer.cells),
                (held.buffer, old, held.buffer.cells * held.buffer.copies),
            ):
                if not 0 <= cell < most:
                    raise PriceError(
                        f"buffer {buffer.name}: cell {cell} is taken over but it has {most}"
                    )
