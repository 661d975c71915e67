"""The integer linear model of a `Problem`, and the way from plans to its variables and back.

Variables, 0/1 unless said: `pick[c]` for each candidate c; `move[port of c]`, the value is streamed
or stored by picked c; `own[v, l]`, the copy of v that its producing candidate writes in layout l
is kept; `convert[v, s, l]`; `hold[v, l]`, the written copy is held at its producing segment for
conversions only; `role[v, a]` and `tile[v, a]`, integers.  The times of segments have their rows
and variables in `timing`, SBUF in `capacity`.

Costs that depend on a choice are marginals of it (`move <= pick`) instead of rows with large
constants, and readers are summed per op, of which exactly one picked candidate covers each.  The
linear relaxation is then tight, which is what makes large problems solvable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from .capacity import Capacity
from .index import (
    Copy,
    Direction,
    Index,
    assemble,
    ports_of,
)
from .linear import Expression, LinearModel, total
from .problem import HBM, Candidate, Conversion, Problem, Transfer
from .report import Solution
from .timing import Timing

ROLE_CODES: Mapping[str, int] = {"I": 1, "P": 2, "F": 3}
"""Values of the role variables; 0 where the producing candidate does not say."""

MoveKey = tuple[str, Direction, str, str]
"""A candidate's port: candidate, direction, value, layout."""


class Formulation:
    """The model of `problem`.

    `model` holds the rows; `time`, `traffic` and `work` are objectives (ns, HBM bytes and
    instructions per unit of a variable); `room.peak` is the variable of the largest live SBUF
    bytes per partition; `needs` maps variables that are 0 without a pick to that pick; `supply`
    lists the rows by which a read at a position needs a value in a layout or HBM, as (value,
    layout, position, row).
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.index = Index(problem)
        self.model = LinearModel()
        self.time: dict[int, int] = {}
        self.traffic: dict[int, int] = {}
        self.work: dict[int, int] = {}
        self.pick: dict[str, int] = {}
        self.move: dict[MoveKey, int] = {}
        self.needs: dict[int, int] = {}
        self.own: dict[Copy, int] = {}
        self.convert: dict[tuple[str, str, str], int] = {}
        self.hold: dict[Copy, int] = {}
        self.role: dict[tuple[str, str], int] = {}
        self.tile: dict[tuple[str, str], int] = {}
        self._conversions = {(c.value, c.source, c.target): c for c in problem.conversions}
        self.supply: list[tuple[str, str, int, int]] = []
        self.covering: list[list[Candidate]] = [[] for _ in problem.ops]
        self.must_run = [f"op {op!r} must run" for op in problem.ops]
        self.timing = Timing(self.model, self.index, self.time, self.needs)
        self.room = Capacity(self.model, self.index)
        for candidate in problem.candidates:
            self._add_candidate(candidate)
        self._add_copies()
        self.timing.add_boundaries()
        self._add_cover()
        self._add_supply()
        self.room.add_rows()
        self._add_dims()

    # Candidates

    def _add_candidate(self, candidate: Candidate) -> None:
        pick = self.model.variable()
        self.pick[candidate.name] = pick
        first, last = self.index.span[candidate.name]
        for position in range(first, last + 1):
            self.covering[position].append(candidate)
        moved: list[Transfer] = []
        free: list[tuple[MoveKey, Transfer]] = []
        for kind, port in ports_of(candidate):
            key = (candidate.name, kind, port.value, port.layout)
            avoidable = self.index.avoidable(kind, port)
            if port.hbm is not None and avoidable:
                free.append((key, port.hbm))
            elif port.hbm is not None:
                self.move[key] = pick
                moved.append(port.hbm)
            elif not avoidable:
                self.model.upper[pick] = 0
        self._spend(self.traffic, pick, sum(cost.hbm_bytes for cost in moved))
        moved_work = sum(cost.instructions for cost in moved)
        self._spend(self.work, pick, candidate.instructions + moved_work)
        sbuf = candidate.sbuf_bytes + sum(cost.sbuf_bytes for cost in moved)
        moves = self._add_moves(pick, free)
        self.timing.add_candidate(candidate, pick, moved, moves)
        self.room.add_candidate(candidate, pick, sbuf, [(c.sbuf_bytes, m) for m, c in moves])
        if candidate.psum_banks > self.problem.psum_limit_banks:
            limit = f"PSUM limit of {self.problem.psum_limit_banks} banks at op "
            self.model.at_most([(1, pick)], 0, tuple(f"{limit}{op!r}" for op in candidate.ops))

    def _add_moves(
        self, pick: int, free: list[tuple[MoveKey, Transfer]]
    ) -> list[tuple[int, Transfer]]:
        """A variable for each port that may move data, with the transfer."""
        moves: list[tuple[int, Transfer]] = []
        for key, cost in free:
            move = self.move[key] = self.model.variable()
            self.needs[move] = pick
            self.model.at_most([(1, move), (-1, pick)], 0)
            self._spend(self.traffic, move, cost.hbm_bytes)
            self._spend(self.work, move, cost.instructions)
            moves.append((move, cost))
        return moves

    # Copies and supply

    def _add_copies(self) -> None:
        writers: dict[Copy, Expression] = defaultdict(list)
        for candidate in self.problem.candidates:
            for port in candidate.writes:
                writers[port.value, port.layout].append((1, self.pick[candidate.name]))
        for value in self.problem.values:
            for layout in sorted(value.resident_bytes):
                copy = (value.name, layout)
                if value.producer is not None and writers[copy]:
                    self.own[copy] = own = self.model.variable()
                    self.model.at_most([(1, own), *_negative(writers[copy])], 0)
                    self.room.add_copy(copy, None, own)
        for conversion in self.problem.conversions:
            made_from = (conversion.value, conversion.source)
            if conversion.source != HBM and not writers[made_from]:
                continue
            convert = self.model.variable()
            key = (conversion.value, conversion.source, conversion.target)
            self.convert[key] = convert
            self._add_time(conversion, convert)
            self._spend(self.traffic, convert, conversion.cost.hbm_bytes)
            self._spend(self.work, convert, conversion.cost.instructions)
            copy = (conversion.value, conversion.target)
            self.room.add_copy(copy, conversion.source, convert)
            self.room.add_conversion(conversion, convert)
            if conversion.source != HBM:
                self.model.at_most([(1, convert), *_negative(writers[made_from])], 0)
                self._add_hold(made_from, convert)
            elif self.index.values[conversion.value].producer is not None:
                stored = self.stored(conversion.value)
                first_read = self.index.consumed_at[conversion.value][0]
                self._add_need(conversion.value, HBM, first_read, [(1, convert)], stored)

    def _add_time(self, conversion: Conversion, convert: int) -> None:
        if conversion.source != HBM:
            self.timing.add_conversion(conversion, convert)
            return
        copy = (conversion.value, conversion.target)
        readers = self._readers(copy)
        waiting = self._waiting(copy, readers)
        self.timing.add_load(conversion, convert, readers, waiting)
        # The first segment would wait less for what it streams: where there is a copy it is read.
        streamed = [(1, variable) for sign, variable in waiting if sign < 0]
        if streamed:
            self.model.at_most([*streamed, (1, convert)], 1)

    def _readers(self, copy: Copy) -> dict[int, list[Candidate]]:
        """The candidates with a port that can read a copy, by where they begin."""
        consumed = self.index.consumed_at[copy[0]]
        covering = {c.name: c for at in consumed for c in self.covering[at]}
        readers: dict[int, list[Candidate]] = defaultdict(list)
        for name, candidate in covering.items():
            if any((port.value, port.layout) == copy for port in candidate.reads):
                readers[self.index.span[name][0]].append(candidate)
        return dict(sorted(readers.items()))

    def _waiting(self, copy: Copy, readers: Mapping[int, Sequence[Candidate]]) -> Expression:
        """The terms that sum to 1 where the first segment reads a copy, and not from HBM."""
        terms: Expression = []
        for candidate in readers.get(0, ()):
            move = self.move.get((candidate.name, "read", *copy))
            streamed = [] if move is None else [(-1, move)]
            terms += [(1, self.pick[candidate.name]), *streamed]
        return terms

    def _add_hold(self, copy: Copy, convert: int) -> None:
        """A conversion's source is held at the producing segment, kept or not."""
        if copy not in self.hold:
            self.hold[copy] = self.model.variable()
            self.room.add_hold(copy, self.hold[copy])
        own = [(1, self.own[copy])] if copy in self.own else []
        self.model.at_least([(1, self.hold[copy]), *own, (-1, convert)], 0)

    def stored(self, value: str) -> Expression:
        """The terms that sum to 1 where `value` is stored in HBM."""
        position = self.index.produced_at[value]
        if position is None:
            return []
        keys: list[MoveKey] = [
            (candidate.name, "write", port.value, port.layout)
            for candidate in self.covering[position]
            for port in candidate.writes
            if port.value == value
        ]
        return [(1, self.move[key]) for key in keys if key in self.move]

    def copies(self, copy: Copy) -> Expression:
        """The terms that sum to 1 where `copy` is kept."""
        own = [(1, self.own[copy])] if copy in self.own else []
        keys = [(c.value, c.source, c.target) for c in self.index.into.get(copy, ())]
        return own + [(1, self.convert[key]) for key in keys if key in self.convert]

    def _add_cover(self) -> None:
        for tag, covering in zip(self.must_run, self.covering, strict=True):
            terms = [(1, self.pick[candidate.name]) for candidate in covering]
            self.model.equal(terms, 1, (tag,))
            self.model.at_most(terms, 1)

    def _add_supply(self) -> None:
        """Reads from SBUF need the copy, reads from HBM need the value stored."""
        for value in self.problem.values:
            stored = self.stored(value.name)
            for layout in sorted(value.resident_bytes):
                terms = self.copies((value.name, layout))
                if len(terms) > 1:
                    self.model.at_most(terms, 1)
            for position in self.index.consumed_at[value.name]:
                self._add_supply_at(value.name, position, stored)

    def _add_supply_at(self, value: str, position: int, stored: Expression) -> None:
        kept: dict[str, Expression] = defaultdict(list)
        streamed: dict[int, Expression] = defaultdict(list)
        for candidate in self.covering[position]:
            ports = [port for port in candidate.reads if port.value == value]
            for nth, port in enumerate(ports):
                move = self.move.get((candidate.name, "read", value, port.layout))
                if move is not None:
                    streamed[nth].append((1, move))
                if move != self.pick[candidate.name]:
                    from_hbm = [] if move is None else [(-1, move)]
                    kept[port.layout] += [(1, self.pick[candidate.name]), *from_hbm]
        for layout, readers in sorted(kept.items()):
            self._add_need(value, layout, position, readers, self.copies((value, layout)))
        if self.index.produced_at[value] is not None:
            for _, readers in sorted(streamed.items()):
                self._add_need(value, HBM, position, readers, stored)

    def _add_need(
        self, value: str, place: str, position: int, readers: Expression, homes: Expression
    ) -> None:
        self.supply.append((value, place, position, len(self.model.rows)))
        self.model.at_most(readers + _negative(homes), 0)

    # Roles and tiles

    def _add_dims(self) -> None:
        """Channel role and tile variables to the candidates that decide them."""
        roles: dict[tuple[str, str], Expression] = defaultdict(list)
        tiles: dict[tuple[str, str], Expression] = defaultdict(list)
        for value in self.problem.values:
            for candidate in self.deciding(value.name):
                pick = self.pick[candidate.name]
                for dim in candidate.dims:
                    if dim.value == value.name:
                        roles[dim.value, dim.axis].append((ROLE_CODES[dim.role], pick))
                        tiles[dim.value, dim.axis].append((dim.tile, pick))
        for variables, choices in ((self.role, roles), (self.tile, tiles)):
            for key, terms in choices.items():
                variables[key] = self.model.variable(max(amount for amount, _ in terms))
                self.model.equal([*terms, (-1, variables[key])], 0)

    def deciding(self, value: str) -> list[Candidate]:
        """The candidates of which the picked one gives `value` its roles and tiles."""
        position = self.index.deciding_at(value)
        return [] if position is None else self.covering[position]

    # To plans and back

    def solution(self, values: Sequence[int]) -> Solution:
        """The plan that an assignment of all variables describes, without copies nobody reads."""
        copies: dict[Copy, str | None] = {
            copy: None for copy, own in self.own.items() if values[own]
        }
        for (value, source, target), convert in self.convert.items():
            if values[convert]:
                copies[value, target] = source
        picked = [c for c in self.problem.candidates if values[self.pick[c.name]]]
        return assemble(self.index, picked, copies)

    def assignment(self, solution: Solution) -> list[int]:
        """Values of all variables for a legal plan."""
        values = [0] * len(self.model.upper)
        made = {(value, target) for value, _, target in solution.conversions}
        for copy in set(solution.kept) - made:
            values[self.own[copy]] = 1
        for key in solution.conversions:
            values[self.convert[key]] = 1
            written = (key[0], key[1])
            if written in self.hold and not (written in self.own and values[self.own[written]]):
                values[self.hold[written]] = 1
        streamed = {(s.candidate, s.value, s.layout) for s in solution.sources if s.place == HBM}
        stored = set(solution.stored)
        segments = [
            (self.index.candidates[name], self._assign_segment(values, name, streamed, stored))
            for name in solution.picked
        ]
        conversions = [self._conversions[key] for key in solution.conversions]
        self.timing.assign(values, segments, conversions)
        self.room.assign(values)
        return values

    def _assign_segment(
        self,
        values: list[int],
        name: str,
        streamed: set[tuple[str, str, str]],
        stored: set[str],
    ) -> list[Transfer]:
        """Set what belongs to a picked candidate; its transfers."""
        candidate = self.index.candidates[name]
        values[self.pick[name]] = 1
        moved: list[Transfer] = []
        for port in candidate.reads:
            if (name, port.value, port.layout) in streamed and port.hbm is not None:
                values[self.move[name, "read", port.value, port.layout]] = 1
                moved.append(port.hbm)
        for port in candidate.writes:
            if port.value in stored and port.hbm is not None:
                values[self.move[name, "write", port.value, port.layout]] = 1
                moved.append(port.hbm)
        first, last = self.index.span[name]
        for dim in candidate.dims:
            deciding = self.index.deciding_at(dim.value)
            if deciding is not None and first <= deciding <= last:
                values[self.role[dim.value, dim.axis]] = ROLE_CODES[dim.role]
                values[self.tile[dim.value, dim.axis]] = dim.tile
        return moved

    def objective(self, weights: Mapping[str, int]) -> dict[int, int]:
        """The costs of variables for weights per unit of a quantity (`objectives.criteria`)."""
        parts = {
            "ns": self.time,
            "hbm_bytes": self.traffic,
            "instructions": self.work,
            "sbuf_bytes": {self.room.peak: 1},
        }
        costs: dict[int, int] = {}
        for quantity, weight in weights.items():
            for variable, amount in parts[quantity].items():
                self._spend(costs, variable, weight * amount)
        return costs

    def cost(self, objective: Mapping[int, int], values: Sequence[int]) -> int:
        """An objective's value under an assignment."""
        return total(((amount, variable) for variable, amount in objective.items()), values)

    @staticmethod
    def _spend(objective: dict[int, int], variable: int, amount: int) -> None:
        if amount:
            objective[variable] = objective.get(variable, 0) + amount


def _negative(terms: Expression) -> Expression:
    return [(-coefficient, variable) for coefficient, variable in terms]
