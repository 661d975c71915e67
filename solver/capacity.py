"""SBUF over the sequence of ops, as linear rows.

A copy of a value lives over positions `first..last`; it counts at every segment that touches them.
Copies of one value with the same life share an integer variable of their bytes, `bytes[v, life]`;
`room[t]` is what the segment at position t takes besides, and `peak` what any of them may reach.

* Row of position t: bytes of the copies alive at t, plus `room[t]`, are at most `peak`.
* Row of a run of ops I, if segments of more than one op exist for it: a copy that touches I counts
  even if it is not alive at the position t whose row it extends.  With E the most such copies can
  take and y = 1 where a segment of exactly I is picked: `row of t + their bytes <= peak + E (1 -
  y)`.
* A copy and the candidates at t that do not fit beside it: at most one of them.  The other rows
  imply it for whole numbers; the relaxation is tighter with it.
* The same rows with `buffers[t]`, the largest of those that conversions next to t take, in place
  of `room[t]`, where that can be larger.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from .index import Copy, Index
from .linear import Expression, LinearModel, Number, total
from .problem import Candidate, Conversion

Run = tuple[int, int]
"""First and last position of a run of ops."""


@dataclass(slots=True)
class Life:
    """The copies of one value that live over positions `first..last`.

    `terms` are (bytes, variable) of each; `sizes` the bytes per layout, and `variables` those that
    keep it there, at most one; `load` the terms that rows use for the bytes of all.
    """

    value: str
    first: int
    last: int
    terms: Expression = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    variables: dict[str, Expression] = field(default_factory=dict)
    load: Expression = field(default_factory=list)

    @property
    def most(self) -> int:
        return sum(self.sizes.values())


class Capacity:
    """Collects what takes SBUF and writes `rows`, indices into the model, among them `definitions`
    of its variables; `peak` is the variable that bounds the others.

    The relaxation can start without these rows: few of them matter to it, and they slow it.
    """

    def __init__(self, model: LinearModel, index: Index) -> None:
        limit = index.problem.sbuf_limit_bytes
        self._model = model
        self._index = index
        self.peak = model.variable(limit)
        self._tags = [
            (f"SBUF limit of {limit} bytes per partition at op {op!r}",) for op in index.problem.ops
        ]
        self._lives: dict[tuple[str, int, int], Life] = {}
        self._alive: list[list[Life]] = [[] for _ in index.problem.ops]
        self._picks: list[Expression] = [[] for _ in index.problem.ops]
        self._segments: list[Expression] = [[] for _ in index.problem.ops]
        self._most: list[int] = [0] * len(index.problem.ops)
        self._room: list[int] = []
        self._runs: dict[Run, Expression] = defaultdict(list)
        self._least: dict[Run, int] = {}
        self._conversions: dict[int, Expression] = defaultdict(list)
        self._buffers: dict[int, int] = {}
        self.definitions: list[int] = []
        self._limits: list[int] = []
        self.rows = range(0)

    def add_candidate(self, candidate: Candidate, pick: int, sbuf: int, moves: Expression) -> None:
        """A candidate that takes `sbuf` bytes if picked, and `moves` more.

        What does not fit even alone is excluded at once, which the other rows imply: so the
        relaxation knows it from the start.
        """
        run = self._index.span[candidate.name]
        tags = tuple(tag for own in self._tags[run[0] : run[1] + 1] for tag in own)
        limit = self._index.problem.sbuf_limit_bytes
        alone = [(sbuf, pick), *((sbuf + amount, move) for amount, move in moves)]
        for need, variable in alone:
            if need > limit:
                self._model.at_most([(1, variable)], 0, tags)
        self._runs[run].append((1, pick))
        self._least[run] = min(self._least.get(run, sbuf), sbuf)
        most = sbuf + sum(amount for amount, _ in moves)
        for position in range(run[0], run[1] + 1):
            self._picks[position].append((sbuf, pick))
            self._segments[position] += [(sbuf, pick), *moves]
            self._most[position] = max(self._most[position], most)

    def add_copy(self, copy: Copy, source: str | None, variable: int) -> None:
        """A copy that is kept where `variable` is 1, made by a conversion from `source` or (`None`)
        written by the producing segment."""
        self._add_life(copy, self._index.anchor(copy[0], source), variable, whole=True)

    def add_hold(self, copy: Copy, variable: int) -> None:
        """A written copy that is held at the producing segment only."""
        self._add_life(copy, self._index.anchor(*copy), variable, whole=False)

    def add_conversion(self, conversion: Conversion, variable: int) -> None:
        """The buffers of a conversion, next to the segment at which its copy begins to live."""
        at = self._index.anchor(conversion.value, conversion.source)
        self._conversions[at].append((conversion.cost.sbuf_bytes, variable))

    def _add_life(self, copy: Copy, first: int, variable: int, *, whole: bool) -> None:
        value, layout = copy
        last = self._index.last_at(value) if whole else first
        size = self._index.values[value].resident_bytes[layout]
        life = self._lives.setdefault((value, first, last), Life(value, first, last))
        life.terms.append((size, variable))
        life.sizes[layout] = size
        life.variables.setdefault(layout, []).append((1, variable))

    def add_rows(self) -> None:
        """Write all rows; call once, when everything has been added."""
        crowded = [row for life in self._lives.values() for row in self._crowded(life)]
        before = len(self._model.rows)
        for terms, tags in crowded:
            self._limits.append(len(self._model.rows))
            self._model.at_most(terms, 1, tags)
        first_definition = len(self._model.rows)
        for life in self._lives.values():
            life.load = life.terms
            if len(life.terms) > 1:
                life.load = [(1, self._sum(life.terms, life.most))]
            for position in range(life.first, life.last + 1):
                self._alive[position].append(life)
        self._room = [
            self._sum(terms, most) for terms, most in zip(self._segments, self._most, strict=True)
        ]
        self.definitions = list(range(first_definition, len(self._model.rows)))
        for position, room in enumerate(self._room):
            self._add_row(position, [(1, room)], (position, position))
        for position in self._conversions:
            self._add_buffer_rows(position)
        for run in self._runs:
            if run[0] < run[1]:
                best = max(range(run[0], run[1] + 1), key=self._load_at)
                self._add_row(best, [(1, self._room[best])], run)
        self.rows = range(before, len(self._model.rows))

    def _crowded(self, life: Life) -> list[tuple[Expression, tuple[str, ...]]]:
        """Rows that keep apart a copy and the candidates that leave it no room; a copy that leaves
        room for none is excluded at once."""
        limit = self._index.problem.sbuf_limit_bytes
        apart: list[tuple[Expression, tuple[str, ...]]] = []
        for layout, kept in life.variables.items():
            for position in range(life.first, life.last + 1):
                picks = self._picks[position]
                large = [(1, p) for sbuf, p in picks if sbuf + life.sizes[layout] > limit]
                if len(large) == len(picks):
                    self._model.at_most(kept, 0, self._tags[position])
                elif large:
                    apart.append((kept + large, self._tags[position]))
        return apart

    def _add_buffer_rows(self, position: int) -> None:
        """Rows for the conversions next to `position`, where segments do not need more anyway."""
        most = max(size for size, _ in self._conversions[position])
        larger = [
            run
            for run, least in self._least.items()
            if run[0] <= position <= run[1] and most > least
        ]
        if larger:
            buffers = self._buffers[position] = self._model.variable(most)
            for size, convert in self._conversions[position]:
                self.definitions.append(len(self._model.rows))
                self._model.at_most([(size, convert), (-1, buffers)], 0)
            for run in sorted({(position, position), *larger}):
                self._add_row(position, [(1, buffers)], run)

    def _sum(self, terms: Expression, most: int) -> int:
        """A variable at least as large as `terms`, which are at most `most`."""
        variable = self._model.variable(most)
        self._model.at_most([*terms, (-1, variable)], 0)
        return variable

    def _load_at(self, position: int) -> int:
        return sum(life.most for life in self._alive[position])

    def _add_row(self, position: int, used: Expression, run: Run) -> None:
        """What lives at `position` and `used` are within `peak`; for a longer run, with everything
        that touches the run where a segment of exactly this run is picked."""
        terms = [term for life in self._alive[position] for term in life.load]
        terms += [*used, (-1, self.peak)]
        if run[0] == run[1]:
            self._limits.append(len(self._model.rows))
            self._model.at_most(terms, 0, self._tags[position])
            return
        others = [life for life in self._crossing(run) if not life.first <= position <= life.last]
        slack = sum(life.most for life in others)
        if slack:
            terms += [term for life in others for term in life.load]
            terms += [(slack, pick) for _, pick in self._runs[run]]
            self._limits.append(len(self._model.rows))
            self._model.at_most(terms, slack, self._tags[position])

    def _crossing(self, run: Run) -> list[Life]:
        """The copies that count at a segment of exactly `run`: they touch it, and their value can
        leave it."""
        touching = {id(life): life for t in range(run[0], run[1] + 1) for life in self._alive[t]}
        return [life for life in touching.values() if not self._inside(life.value, run)]

    def _inside(self, value: str, run: Run) -> bool:
        produced = self._index.produced_at[value]
        begins = produced is not None and run[0] <= produced
        ends = self._index.last_at(value) <= run[1]
        return begins and ends and not self._index.values[value].output

    def assign(self, values: list[Number]) -> None:
        """Set the variables of this module; those of candidates and copies must be set."""
        for life in self._lives.values():
            if life.load is not life.terms:
                values[life.load[0][1]] = total(life.terms, values)
        for terms, room in zip(self._segments, self._room, strict=True):
            values[room] = total(terms, values)
        for position, buffers in self._buffers.items():
            taken = (size * values[convert] for size, convert in self._conversions[position])
            values[buffers] = max(taken)
        values[self.peak] *= 0
        values[self.peak] += max(self._over(row, values) for row in self._limits)

    def broken(self, values: list[float], peak: float | None = None) -> list[int]:
        """The rows that a fractional assignment breaks with `peak` bytes allowed (by default, all
        there are), apart from `definitions`, which define what they are made of.  Changes this
        module's variables in `values`."""
        self.assign(values)
        values[self.peak] = self._index.problem.sbuf_limit_bytes if peak is None else peak
        return [
            row
            for row in self._limits
            if self._over(row, values) > 1e-6 * max(abs(c) for c, _ in self._model.rows[row].terms)
        ]

    def _over(self, row: int, values: list[Number]) -> Number:
        return total(self._model.rows[row].terms, values) - self._model.rows[row].upper
