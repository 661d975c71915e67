"""Addresses in SBUF and PSUM for the buffers of a kernel: lifetimes, put to ``solver.pack``.

Bytes that pass from one buffer to the next make the second wait for the first, so buffers that
are not live together still get bytes of their own as far as there is room. `SPREADS` are the ways
tried, the roomiest first; the first that fits is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import solver
from nkigen_lite.core.ir import Graph
from nkigen_lite.nki_ir.allocation import (
    SBUF_ALIGNMENT,
    Allocation,
    Place,
    Usage,
    names_of,
)
from nkigen_lite.nki_ir.hazards import hazards_of
from nkigen_lite.nki_ir.lifetimes import Lifetime, Span, length, lifetimes
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.types import MemorySpace

Named = tuple[str, Lifetime]

QUICK_S = 0.05
"""Seconds, as the packer counts them, for each spread but the last: its passes without search."""

AFTERWARDS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.0)
"""Parts of the program for which bytes are left alone after the loops that used them."""


def _outermost(life: Lifetime) -> Span:
    return life.loops[0] if life.loops else life.live


def _innermost(life: Lifetime) -> Span:
    return life.loops[-1] if life.loops else life.live


def _rotating(life: Lifetime) -> Span:
    return _innermost(life) if life.copies > 1 else life.live


def _live(life: Lifetime) -> Span:
    return life.live


@dataclass(frozen=True, slots=True)
class Spread:
    """How long a buffer has its bytes to itself: for ``span``, and then for a part of the program
    ``afterwards``."""

    name: str
    span: Callable[[Lifetime], Span]
    afterwards: float = 0.0


SPREADS = (
    Spread("no byte is used twice", lambda life: (0, life.live[1])),
    *(
        Spread(f"through the outermost loop and {part:.0%} of the program", _outermost, part)
        for part in AFTERWARDS
    ),
    Spread("through the innermost loop", _innermost),
    Spread("through the innermost loop if several copies rotate", _rotating),
    Spread("while it is live", _live),
)


def allocate(
    kernel: Graph, limits: Limits, *, time_limit: float = 2.0, seed: int = 0
) -> Allocation:
    """Addresses for every buffer of a kernel in SBUF and PSUM.

    Heuristics look first; CP-SAT looks for a packing of the lifetimes as they are if those find
    none, for up to ``time_limit`` seconds. The allocation says with ``fits`` whether there is one,
    and has the lowest addresses found where there is not.
    """
    lives = lifetimes(kernel)
    named = list(zip(names_of(lives), lives, strict=True))
    sbuf = _Memory(MemorySpace.SBUF, limits.sbuf_bytes // SBUF_ALIGNMENT, SBUF_ALIGNMENT)
    psum = _Memory(MemorySpace.PSUM, limits.psum_banks, limits.psum_bank_bytes)
    total = length(kernel)
    in_sbuf, sbuf_places = sbuf.allocate(named, total, time_limit, seed)
    in_psum, psum_places = psum.allocate(named, total, time_limit, seed)
    found = {**sbuf_places, **psum_places}
    places = {life.value: found[name] for name, life in named}
    hazards = hazards_of(kernel, places)
    return Allocation(kernel.name, in_sbuf, in_psum, tuple(places.values()), hazards)


@dataclass(frozen=True, slots=True)
class _Memory:
    """One memory, in units of ``unit`` bytes of each partition: what addresses are multiples of,
    and buffers are rounded up to."""

    space: MemorySpace
    capacity: int
    unit: int

    def allocate(
        self, named: Sequence[Named], total: int, time_limit: float, seed: int
    ) -> tuple[Usage, dict[str, Place]]:
        """Places for those of the buffers that are in this memory, by name."""
        mine = [(name, life) for name, life in named if life.value.type.memory is self.space]
        spread, packing = self._pack(mine, total, time_limit, seed)
        places = {name: self._place(name, life, packing) for name, life in mine}
        return self._usage(mine, spread, packing), places

    def _pack(
        self, lives: Sequence[Named], total: int, time_limit: float, seed: int
    ) -> tuple[Spread, solver.Packing]:
        """The roomiest spread that fits, and its addresses; the tightest if none does."""
        for spread in SPREADS[:-1]:
            problem = self._problem(lives, spread, total)
            if _most_live(problem) <= self.capacity:
                packing = solver.pack(problem, min(QUICK_S, time_limit), seed)
                if packing.fits:
                    return spread, packing
        tightest = SPREADS[-1]
        return tightest, solver.pack(self._problem(lives, tightest, total), time_limit, seed)

    def _problem(self, lives: Sequence[Named], spread: Spread, total: int) -> solver.PackingProblem:
        after = round(spread.afterwards * total)
        buffers = []
        for name, life in lives:
            start, end = spread.span(life)
            for copy in range(life.copies):
                label = _label(name, copy)
                size = self._units(life)
                buffers.append(solver.Buffer(label, start, end + after, size))
        return solver.PackingProblem(tuple(buffers), self.capacity)

    def _units(self, life: Lifetime) -> int:
        size: int = life.value.type.partition_bytes
        return -(-size // self.unit)

    def _place(self, name: str, life: Lifetime, packing: solver.Packing) -> Place:
        """Where a buffer lies in a packing."""
        kind = life.value.type
        offsets = (packing.addresses[_label(name, copy)] for copy in range(life.copies))
        return Place(
            name,
            self.space.value,
            kind.partition_size,
            kind.partition_bytes,
            *life.live,
            tuple(self.unit * offset for offset in offsets),
        )

    def _usage(self, lives: Sequence[Named], spread: Spread, packing: solver.Packing) -> Usage:
        """How a packing uses the memory."""
        live = _most_live(self._problem(lives, SPREADS[-1], 0))
        return Usage(
            capacity=self.unit * self.capacity,
            top=self.unit * packing.height,
            live=self.unit * live,
            spread=spread.name,
            method=packing.method,
        )


def _label(name: str, copy: int) -> str:
    return f"{name} copy {copy}"


def _most_live(problem: solver.PackingProblem) -> int:
    """The most that is live at one event."""
    changes: dict[int, int] = {}
    for buffer in problem.buffers:
        changes[buffer.start] = changes.get(buffer.start, 0) + buffer.size
        changes[buffer.end] = changes.get(buffer.end, 0) - buffer.size
    most = now = 0
    for event in sorted(changes):
        now += changes[event]
        most = max(most, now)
    return most
