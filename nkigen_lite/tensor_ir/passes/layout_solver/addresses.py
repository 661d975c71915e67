"""Addresses in SBUF and PSUM for the buffers of a kernel: lifetimes, put to ``solver.pack``.

Bytes that pass from one buffer to the next make the second wait for the first, so buffers keep
their bytes for longer than they are live as far as there is room: see `STEPS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

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

QUICK_S = 0.1
"""Seconds, as the packer counts them, for each try but the last: its passes without search."""

BUDGETS = (1.0, 0.95, 0.85, 0.7, 0.5)
"""Parts of a memory that buffers may fill by keeping their bytes, one tried after the other: the
fuller, the harder to pack."""

AFTERWARDS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Parts of the program for which bytes may be left alone after the loops that used them."""

SOON_AFTER = (0.005, 0.01, 0.02, 0.04, 0.08)  # where loops are written out, that is an iteration
LATER = (0.11, 0.16, 0.23)  # and that is a few

APART = "no byte is used twice"


@dataclass(frozen=True, slots=True)
class Step:
    """How long a buffer keeps its bytes: for ``span``, and a part of the program ``afterwards``."""

    name: str
    span: Callable[[Lifetime], Span]
    afterwards: float = 0.0

    def of(self, life: Lifetime, total: int) -> Span:
        """The positions, in a program of ``total`` ops."""
        start, end = self.span(life)
        return start, max(end, min(total, end + round(self.afterwards * total)))


def _live(life: Lifetime) -> Span:
    return life.live


def _rotating(life: Lifetime) -> Span:
    return _innermost(life) if life.copies > 1 else life.live


def _around(levels: int) -> Callable[[Lifetime], Span]:
    """The loop that many levels out, the innermost being the first; the outermost if there are
    fewer."""

    def span(life: Lifetime) -> Span:
        return life.loops[max(-levels, -len(life.loops))] if life.loops else life.live

    return span


_innermost = _around(1)


def _outermost(life: Lifetime) -> Span:
    return life.loops[0] if life.loops else life.live


def _live_and_later(parts: Sequence[float]) -> Iterator[Step]:
    for part in parts:
        yield Step(f"while they are live and for {part:.1%} of the program", _live, part)


STEPS = (
    Step("while they are live", _live),
    *_live_and_later(SOON_AFTER),
    Step("through the innermost loop if copies rotate", _rotating),
    *_live_and_later(LATER),
    Step("through the innermost loop", _innermost),
    *(Step(f"through {levels} loops", _around(levels)) for levels in (2, 3, 4)),
    Step("through the outermost loop", _outermost),
    *(
        Step(f"through the outermost loop and {part:.0%} of the program", _outermost, part)
        for part in AFTERWARDS
    ),
)
"""How long buffers keep their bytes, each step longer than the one before. All buffers take a step
before any takes the next, those first that run most often."""


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
        usage = Usage(
            capacity=self.unit * self.capacity,
            top=self.unit * packing.height,
            live=self.unit * self._most_live(mine, total),
            spread=spread,
            method=packing.method,
        )
        return usage, {name: self._place(name, life, packing) for name, life in mine}

    def _pack(
        self, lives: Sequence[Named], total: int, time_limit: float, seed: int
    ) -> tuple[str, solver.Packing]:
        """Addresses with buffers as far apart as found possible, and in words how far that is."""
        if sum(self._units(life) for _, life in lives) <= self.capacity:
            always = [(0, total)] * len(lives)
            return APART, solver.pack(self._problem(lives, always), time_limit, seed)
        for part in BUDGETS:
            taken, spans = self._kept(lives, total, int(part * self.capacity))
            problem = self._problem(lives, spans)
            packing = solver.pack(problem, min(QUICK_S, time_limit), seed, search=False)
            if packing.fits:
                return f"at least {STEPS[taken].name}", packing
        spans = [life.live for _, life in lives]
        return STEPS[0].name, solver.pack(self._problem(lives, spans), time_limit, seed)

    def _kept(self, lives: Sequence[Named], total: int, budget: int) -> tuple[int, list[Span]]:
        """How long each buffer keeps its bytes, such that no more than ``budget`` units are kept
        anywhere but by live ones; and the number of the last step that all have taken."""
        in_use = self._in_use(lives, total)
        spans = [life.live for _, life in lives]
        climbing = sorted(range(len(lives)), key=lambda i: -_times(lives[i][1]))
        taken = 0
        for step in STEPS[1:]:
            left = []
            for i in climbing:
                size, (start, end) = self._units(lives[i][1]), spans[i]
                first, last = step.of(lives[i][1], total)
                first, last = min(first, start), max(last, end)
                more = np.r_[first:start, end:last]
                if not len(more) or in_use[more].max() + size <= budget:
                    in_use[more] += size
                    spans[i] = (first, last)
                    left.append(i)
            taken += len(left) == len(lives)
            climbing = left
        return taken, spans

    def _in_use(
        self, lives: Sequence[Named], total: int
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Units that are live at each op."""
        in_use = np.zeros(total + 1, dtype=np.int64)
        for _, life in lives:
            start, end = life.live
            in_use[start:end] += self._units(life)
        return in_use

    def _most_live(self, lives: Sequence[Named], total: int) -> int:
        return int(self._in_use(lives, total).max())

    def _problem(self, lives: Sequence[Named], spans: Sequence[Span]) -> solver.PackingProblem:
        buffers = [
            solver.Buffer(_label(name, copy), *span, self._units(life) // life.copies)
            for (name, life), span in zip(lives, spans, strict=True)
            for copy in range(life.copies)
        ]
        return solver.PackingProblem(tuple(buffers), self.capacity)

    def _units(self, life: Lifetime) -> int:
        """Of all copies."""
        size: int = life.value.type.partition_bytes
        return -(-size // self.unit) * life.copies

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


def _times(life: Lifetime) -> int:
    """How often a buffer is allocated."""
    return math.prod(life.trips)


def _label(name: str, copy: int) -> str:
    return f"{name} copy {copy}"
