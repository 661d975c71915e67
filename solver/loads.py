"""Loads that run as steps of their own, and are done early in part, as linear rows.

A load is done early by the segment before the one that reads it first.  Variables per load: for
each position where that may begin, the ns that are done `early`, and those that are `left`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .index import Index
from .linear import LinearModel
from .problem import HBM, Candidate, Conversion
from .slack import Slack


@dataclass(frozen=True, slots=True)
class _Load:
    """`early` is by position."""

    conversion: Conversion
    early: Mapping[int, int]
    left: int


class Loads:
    """Writes the rows, and the costs of its variables into `time` (ns per unit of a variable)."""

    def __init__(
        self, model: LinearModel, index: Index, slack: Slack, time: dict[int, int]
    ) -> None:
        self._model = model
        self._index = index
        self._slack = slack
        self._time = time
        self._loads: list[_Load] = []

    def add(self, conversion: Conversion, convert: int, picks: Mapping[str, int]) -> None:
        """A conversion with its variable, and those of all candidates; only what may be done early
        of it is of concern here."""
        most = conversion.cost.early_ns
        early = self._early_of(conversion, picks) if most else {}
        if not early:
            self._spend(convert, most)
            return
        left = self._model.variable(most)
        self._spend(left, 1)
        done = [(1, variable) for variable in early.values()]
        self._model.at_most([*done, (-most, convert)], 0)
        self._model.at_least([*done, (1, left), (-most, convert)], 0)
        self._loads.append(_Load(conversion, early, left))

    def _early_of(self, conversion: Conversion, picks: Mapping[str, int]) -> dict[int, int]:
        """The variables of what is done early, by where the reading segment begins."""
        early: dict[int, int] = {}
        position = self._index.anchor(conversion.value, HBM)
        for start, candidates in _starting_over(self._index, position).items():
            most = min(conversion.cost.early_ns, self._slack.before[start])
            if most:
                early[start] = self._model.variable(most)
                reading = [(-most, picks[c.name]) for c in candidates]
                self._model.at_most([(1, early[start]), *reading], 0)
        return early

    def early(self) -> list[tuple[int, int]]:
        """All variables of what is done early, with the positions."""
        return [item for load in self._loads for item in load.early.items()]

    def work(self, conversions: Sequence[Conversion], starts: Sequence[int]) -> list[int]:
        """Of a plan's conversions, the early work before each of its segments, which begin at
        `starts` (ns)."""
        work = [0] * len(starts)
        for conversion in conversions:
            if conversion.source == HBM:
                work[self._segment(conversion, starts)] += conversion.cost.early_ns
        return work

    def assign(
        self,
        values: list[int],
        conversions: Sequence[Conversion],
        starts: Sequence[int],
        done: Sequence[int],
    ) -> None:
        """Set the variables for a plan's conversions: `done` is what is done early of those before
        each segment (ns)."""
        remaining = list(done)
        for load in self._loads:
            if load.conversion in conversions:
                segment = self._segment(load.conversion, starts)
                most = load.conversion.cost.early_ns
                early = min(most, remaining[segment])
                remaining[segment] -= early
                values[load.left] = most - early
                if early:
                    values[load.early[starts[segment]]] = early

    def _segment(self, conversion: Conversion, starts: Sequence[int]) -> int:
        position = self._index.anchor(conversion.value, conversion.source)
        return sum(start <= position for start in starts) - 1

    def _spend(self, variable: int, ns: int) -> None:
        if ns:
            self._time[variable] = self._time.get(variable, 0) + ns


def _starting_over(index: Index, position: int) -> dict[int, list[Candidate]]:
    """The candidates that cover a position, by where they start."""
    found: dict[int, list[Candidate]] = {}
    for start in range(position + 1):
        covering = [c for c in index.starting[start] if index.span[c.name][1] >= position]
        if covering:
            found[start] = covering
    return found
