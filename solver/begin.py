"""What a plan waits for what it begins with, as linear rows.

Of what the first segment streams, and of the loads that its first op reads, the longest wait
counts.  What the segment streams anyway is a cost of picking it; `begin` (ns) is what there is
beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from .index import Index, begin_ns
from .linear import Expression, LinearModel
from .problem import Candidate, Conversion, Transfer


class Begin:
    """Writes the rows; `add_rows` comes after all candidates and loads."""

    def __init__(self, model: LinearModel, index: Index) -> None:
        self._model = model
        self._index = index
        self._anyway: Expression = []
        self._moves: list[Expression] = []
        self._loads: list[Expression] = []
        self.variable: int | None = None

    def add_candidate(
        self,
        candidate: Candidate,
        pick: int,
        forced: Sequence[Transfer],
        moves: Sequence[tuple[int, Transfer]],
    ) -> None:
        """A candidate with the transfers that it cannot avoid, and those it may with their
        variables."""
        if self._index.span[candidate.name][0] > 0:
            return
        anyway = begin_ns(forced)
        longer = [(cost.fill_ns - anyway, move) for move, cost in moves if cost.fill_ns > anyway]
        self._moves.append(sorted(longer, reverse=True))
        if anyway:
            self._anyway.append((anyway, pick))

    def add_load(self, conversion: Conversion, waiting: Expression) -> None:
        """A load that runs as a step of its own, with the terms that sum to 1 where the first
        segment reads the copy."""
        fill_ns = conversion.cost.fill_ns
        if fill_ns and waiting and self._index.consumed_at[conversion.value][0] == 0:
            self._loads.append([(fill_ns * sign, variable) for sign, variable in waiting])

    def add_rows(self) -> None:
        """Of the moves of a candidate, one of which is picked, the longest counts, then the next;
        and each load."""
        longest = [ns for ns, _ in chain(*self._loads, *self._moves)]
        if not longest:
            return
        self.variable = self._model.variable(max(longest))
        begin = (-1, self.variable)
        for nth in range(max(map(len, self._moves), default=0)):
            terms = [moves[nth] for moves in self._moves if nth < len(moves)]
            self._model.at_most([*terms, begin], 0)
        for load in self._loads:
            total: dict[int, int] = {}
            for ns, variable in [*load, *((-ns, pick) for ns, pick in self._anyway)]:
                total[variable] = total.get(variable, 0) + ns
            self._model.at_most([*((ns, variable) for variable, ns in total.items()), begin], 0)

    def assign(self, values: list[int]) -> None:
        """Set the variable; those of picks, moves and loads must be set."""
        if self.variable is not None:
            anyway = sum(ns * values[pick] for ns, pick in self._anyway)
            waits = [ns * values[move] for moves in self._moves for ns, move in moves]
            waits += [sum(ns * values[v] for ns, v in load) - anyway for load in self._loads]
            values[self.variable] = max(0, *waits)
