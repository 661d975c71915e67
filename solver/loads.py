"""Loads that run as steps of their own, and are done early in part, as linear rows.

A load runs before the segment that reads the copy first, and is done early by those before that.
Variables per load: for each position where that segment may begin, the ns that are done `early`,
and those that are `left`; of a copy of a value that several ops consume, whether it is `read`
before each of them but the first two.  A segment with a port for the copy counts as reading it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from .index import Index
from .linear import LinearModel
from .problem import HBM, Conversion
from .slack import Slack

Reading = Mapping[int, Sequence[int]]
"""By position, the picks of candidates that begin there and can read a certain copy."""


@dataclass(frozen=True, slots=True)
class _Load:
    """`early` is by position; `read` has variables that are 1 where any of those beside them is."""

    conversion: Conversion
    early: Mapping[int, int]
    left: int
    read: Sequence[tuple[int, Sequence[int]]]


class Loads:
    """Writes the rows, and the costs of its variables into `time` (ns per unit of a variable)."""

    def __init__(
        self, model: LinearModel, index: Index, slack: Slack, time: dict[int, int]
    ) -> None:
        self._model = model
        self._index = index
        self._slack = slack
        self._time = time
        self._reading: dict[tuple[str, str], Reading] = {}
        self._loads: list[_Load] = []

    def add(self, conversion: Conversion, convert: int, reading: Reading) -> None:
        """A load with its variable, and who can read the copy; only what may be done early of it is
        of concern here."""
        self._reading[conversion.value, conversion.target] = reading
        most = conversion.cost.early_ns
        early = self._early_of(conversion, reading) if most else {}
        if not early:
            self._spend(convert, most)
            return
        left = self._model.variable(most)
        self._spend(left, 1)
        done = [(1, variable) for variable in early.values()]
        self._model.at_most([*done, (-most, convert)], 0)
        self._model.at_least([*done, (1, left), (-most, convert)], 0)
        read = list(self._add_read(conversion, reading, early))
        self._loads.append(_Load(conversion, early, left, read))

    def _early_of(self, conversion: Conversion, reading: Reading) -> dict[int, int]:
        """The variables of what is done early, by where a reading segment begins."""
        early: dict[int, int] = {}
        for start, picks in reading.items():
            most = min(conversion.cost.early_ns, self._slack.before[start])
            if most:
                early[start] = self._model.variable(most)
                readers = [(-most, pick) for pick in picks]
                self._model.at_most([(1, early[start]), *readers], 0)
        return early

    def _add_read(
        self, conversion: Conversion, reading: Reading, early: Mapping[int, int]
    ) -> Iterator[tuple[int, Sequence[int]]]:
        """Nothing is done early before a segment if another comes first.

        All that begin after one consumer and reach the next cover that: at most one of them is
        picked, so their picks can be added up.
        """
        consumed = self._index.consumed_at[conversion.value]
        before: list[int] = []
        for _, starts in groupby(
            sorted(reading), key=lambda start: next(at for at in consumed if at >= start)
        ):
            here: list[int] = []
            for start in starts:
                here += reading[start]
                if before and start in early:
                    most = self._model.upper[early[start]]
                    terms = [(most, variable) for variable in before]
                    self._model.at_most([(1, early[start]), *terms], most)
            if not before:
                before = here
                continue
            read = self._model.variable()
            for some in (before, here):
                self._model.at_most([*((1, variable) for variable in some), (-1, read)], 0)
            yield read, (*before, *here)
            before = [read]

    def early(self) -> list[tuple[int, int]]:
        """All variables of what is done early, with the positions."""
        return [item for load in self._loads for item in load.early.items()]

    def work(
        self, values: Sequence[int], conversions: Sequence[Conversion], starts: Sequence[int]
    ) -> list[int]:
        """Of a plan's conversions, the early work before each of its segments, which begin at
        `starts` (ns); picks and moves are in `values`."""
        work = [0] * len(starts)
        for conversion in conversions:
            if conversion.source == HBM:
                work[self._segment(values, conversion, starts)] += conversion.cost.early_ns
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
            for read, some in load.read:
                values[read] = max(values[variable] for variable in some)
            if load.conversion in conversions:
                segment = self._segment(values, load.conversion, starts)
                most = load.conversion.cost.early_ns
                early = min(most, remaining[segment])
                remaining[segment] -= early
                values[load.left] = most - early
                if early:
                    values[load.early[starts[segment]]] = early

    def _segment(self, values: Sequence[int], conversion: Conversion, starts: Sequence[int]) -> int:
        """The first segment that can read the copy; where none can, that which reads the value."""
        reading = self._reading[conversion.value, conversion.target]
        for segment, start in enumerate(starts):
            if any(values[pick] for pick in reading.get(start, ())):
                return segment
        position = self._index.anchor(conversion.value, HBM)
        return sum(start <= position for start in starts) - 1

    def _spend(self, variable: int, ns: int) -> None:
        if ns:
            self._time[variable] = self._time.get(variable, 0) + ns
