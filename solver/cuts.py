"""Where a problem can be cut, and what lives across a cut.

A cut is a position of the order that no candidate reaches across.  A value lives across it when it
is there before (produced, or, for a graph input, read) and read after it.  There it is available in
some places: HBM, and the layouts in which copies of it are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from .index import Index
from .problem import HBM, Candidate, Conversion, Problem, Value
from .slack import slack_of

State = Mapping[str, frozenset[str]]
"""The places in which each value is available at a cut."""

WEIGHT = 1200
"""Ports and candidates that a piece should have, about: few enough to be solved to the end within
seconds, and as many as a small transformer layer has."""

LIGHTEST = 0.5
HEAVIEST = 1.5
"""How much lighter and heavier than `WEIGHT` a piece may be, if there are cuts for it."""


class Crossings:
    """Look-ups into a problem by cut.  The ends, 0 and the number of ops, count as cuts."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.index = Index(problem)
        self.slack = slack_of(self.index)
        self._near: list[list[Value]] = [[] for _ in problem.ops]
        for value in problem.values:
            begins, ends = self._life(value.name)
            for position in range(begins, ends + 1):
                self._near[position].append(value)
        self.conversions: dict[str, list[Conversion]] = {v.name: [] for v in problem.values}
        self._readable: dict[str, list[tuple[int, str]]] = {v.name: [] for v in problem.values}
        for conversion in problem.conversions:
            self.conversions[conversion.value].append(conversion)
            if conversion.source == HBM:
                first = self.index.consumed_at[conversion.value][0]
                self._readable[conversion.value].append((first, HBM))
        for candidate in problem.candidates:
            first = self.index.span[candidate.name][0]
            for port in candidate.reads:
                if self.index.keepable((port.value, port.layout)):
                    self._readable[port.value].append((first, port.layout))
                if port.hbm is not None:
                    self._readable[port.value].append((first, HBM))

    def _life(self, value: str) -> tuple[int, int]:
        """From the position that makes it, or reads it first, to the one that reads it last."""
        produced = self.index.produced_at[value]
        if produced is None:
            produced = next(iter(self.index.consumed_at[value]), 0)
        return produced, self.index.last_at(value)

    def crosses(self, value: str, cut: int) -> bool:
        """Whether a value lives across a cut."""
        begins, ends = self._life(value)
        return begins < cut <= ends

    def near(self, first: int, end: int) -> list[Value]:
        """The values that live somewhere in `first .. end`."""
        found = {v.name: v for position in range(first, end) for v in self._near[position]}
        return list(found.values())

    def crossing(self, cut: int) -> list[Value]:
        """The values that live across a cut."""
        if not 0 < cut < len(self.problem.ops):
            return []
        return [value for value in self._near[cut] if self.crosses(value.name, cut)]

    def places(self, value: str, cut: int) -> list[str]:
        """Where a value can be available at a cut for some reader after it."""
        return sorted({place for first, place in self._readable[value] if first >= cut})


def choose_cuts(crossings: Crossings) -> list[int]:
    """Cuts, the ends included, that make pieces of about `WEIGHT` where little lives across.

    Of those that the weight allows, a cut with fewer values across is better, then one that comes
    closer to the weight.  Without any, the piece goes on to the next cut.
    """
    weights = [sum(map(weight, starting)) for starting in crossings.index.starting]
    before = [0, *accumulate(weights)]
    clean = _clean(crossings.index)
    across = {cut: len(crossings.crossing(cut)) for cut in clean}
    cuts = [0]
    while before[-1] - before[cuts[-1]] > HEAVIEST * WEIGHT:
        start = before[cuts[-1]]
        later = [cut for cut in clean if before[cut] - start >= LIGHTEST * WEIGHT]
        allowed = [cut for cut in later if before[cut] - start <= HEAVIEST * WEIGHT] or later[:1]
        if not allowed:
            break
        cuts.append(min(allowed, key=lambda c: (across[c], abs(before[c] - start - WEIGHT))))
    return [*cuts, len(weights)]


def weight(candidate: Candidate) -> int:
    """What a candidate adds to the size of a model, about: itself and its ports."""
    return 1 + len(candidate.reads) + len(candidate.writes)


def _clean(index: Index) -> list[int]:
    """The positions inside the order that no candidate reaches across."""
    crossed = [0] * (len(index.starting) + 1)
    for first, last in index.span.values():
        crossed[first + 1] += 1
        crossed[last + 1] -= 1
    reaching = list(accumulate(crossed))
    return [position for position in range(1, len(index.starting)) if not reaching[position]]
