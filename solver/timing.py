"""The time of segments, as linear rows.

Variables per candidate: `extra` (ns), what its segment takes beyond a part that is always there,
and, where segments overlap, `early` (ns), what the segment before does of its loads, and `ahead`
(ns), what it does itself for the next.  Per boundary between ops, what is done ahead by the
candidates that end there is what is done early for those that begin, and of the loads that run
before these as steps of their own (`loads`).  Some of it passes from a boundary to the one before
it: inside a segment all of it, as nothing begins or ends there.  What a plan begins with has its
rows in `begin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import combinations
from operator import le

from .begin import Begin
from .index import Index, behind_ns, transfer_ns
from .linear import Expression, LinearModel
from .loads import Loads
from .overlap import Load, done_ahead, done_early
from .problem import Candidate, Conversion, Transfer
from .slack import slack_of

SUBSET_PORTS = 3
"""Up to this many free ports of a candidate, every subset of them gets a time row; beyond, single
ports and the whole set."""


Readers = Mapping[int, Sequence[Candidate]]
"""Candidates by where they begin."""

_WAITING = ""
"""In place of a resource where only waits keep a segment from ending."""


@dataclass(frozen=True, slots=True)
class Work:
    """A candidate's busy times in ns: `base` with the transfers that it cannot avoid, what it waits
    with these, and for their starts; `floor` what its segment always takes of them, `moves` the
    transfers it may avoid with their variables."""

    candidate: Candidate
    pick: int
    base: Mapping[str, int]
    waits: int
    starts: int
    floor: int
    moves: Sequence[tuple[int, Transfer]]

    def most(self, resource: str, prefetch: str | None) -> int:
        """The busy time of a resource with every transfer."""
        loads = self.loads(resource, prefetch)
        return self.fixed(resource, prefetch) + sum(load for load, _ in loads)

    def fixed(self, resource: str, prefetch: str | None) -> int:
        """The busy time of a resource, waits included, without transfers that may be avoided."""
        return self.base.get(resource, 0) + (self.waits if resource != prefetch else 0)

    def loads(self, resource: str, prefetch: str | None) -> Expression:
        """What each transfer that may be avoided adds to that, with its variable."""
        waits = resource != prefetch
        return [
            (cost.busy.get(resource, 0) + (cost.wait_ns if waits else 0), move)
            for move, cost in self.moves
        ]


class Timing:
    """Writes the rows, and the costs of its variables into `time` (ns per unit of a variable);
    `needs` maps its variables to the pick without which they are 0."""

    def __init__(
        self, model: LinearModel, index: Index, time: dict[int, int], needs: dict[int, int]
    ) -> None:
        self._model = model
        self._index = index
        self._prefetch = index.problem.prefetch
        self._time = time
        self._needs = needs
        self._floors: dict[str, int] = {}
        self._extra: dict[str, int] = {}
        self._early: dict[str, int] = {}
        self._ahead: dict[str, int] = {}
        self._picks: dict[str, int] = {}
        self._passing: dict[int, int] = {}
        self._blocking: list[list[list[int]]] = [[] for _ in index.starting]
        self._slack = slack_of(index)
        self._loads = Loads(model, index, self._slack, time)
        self._begin = Begin(model, index)

    def add_candidate(
        self,
        candidate: Candidate,
        pick: int,
        forced: Sequence[Transfer],
        moves: Sequence[tuple[int, Transfer]],
    ) -> None:
        """A candidate with the transfers that it cannot avoid, and those it may with their
        variables."""
        self._picks[candidate.name] = pick
        load = self._index.load_of(candidate, forced)
        floor = self._floors[candidate.name] = load.busy_ns(load.early_ns)
        self._spend(pick, self._index.overhead_ns(candidate, forced) + floor)
        for move, cost in moves:
            self._spend(move, cost.overhead_ns)
        self._begin.add_candidate(candidate, pick, forced, moves)
        base = _total([candidate.busy, *(c.busy for c in forced)])
        waits = candidate.wait_ns + sum(cost.wait_ns for cost in forced)
        if self._prefetch is None:
            moves = [(move, replace(cost, start_ns=0)) for move, cost in moves]
        work = Work(candidate, pick, base, waits, load.starts_ns, floor, moves)
        early = self._add_early(work, load.early_ns)
        ahead = self._add_ahead(work, forced)
        self._note_blocking(candidate, pick, forced, moves)
        busy = {*work.base, *(r for _, cost in moves for r in cost.busy)}
        resources = self._leading(work, busy if busy - {self._prefetch} else busy | {_WAITING})
        reach = {r: work.most(r, self._prefetch) for r in resources}
        starts = work.starts + sum(cost.start_ns for _, cost in moves)
        for resource in set(reach) - {self._prefetch}:
            reach[resource] += starts
        if self._prefetch is not None and load.tail_ns + sum(c.tail_ns for _, c in moves):
            tail = max([load.tail_ns, *(cost.tail_ns for _, cost in moves)])
            reach[self._prefetch] = work.most(self._prefetch, self._prefetch) + tail
        if ahead is not None and self._prefetch is not None:
            reach[self._prefetch] = reach.get(self._prefetch, 0) + self._model.upper[ahead]
        most = max(reach.values(), default=0)
        if most <= floor:
            return
        extra = self._extra[candidate.name] = self._variable(most - floor, pick)
        self._spend(extra, 1)
        for resource in sorted(reach):
            if resource == self._prefetch:
                self._add_overlap_rows(work, load.early_ns, extra, early, ahead)
                self._add_tail_rows(work, load, extra, early)
            else:
                self._add_rows(work, resource, extra, early)

    def _note_blocking(
        self,
        candidate: Candidate,
        pick: int,
        forced: Sequence[Transfer],
        moves: Sequence[tuple[int, Transfer]],
    ) -> None:
        """List the variables with which nothing passes a segment, so that of those in a list at
        most one is 1; for the first of its ops, as then nothing reaches the others either."""
        blocking = [move for move, cost in moves if cost.behind_ns is not None]
        if behind_ns(forced) is not None:
            blocking = [pick]
        lists = self._blocking[self._index.span[candidate.name][0]]
        for nth, variable in enumerate(blocking):
            if nth == len(lists):
                lists.append([])
            lists[nth].append(variable)

    def _leading(self, work: Work, resources: Set[str]) -> list[str]:
        """The resources without those that are never busier than another, whatever moves."""
        kept: list[str] = []
        others = sorted(resources - {self._prefetch})
        times = {
            r: [work.base.get(r, 0), *(cost.busy.get(r, 0) for _, cost in work.moves)]
            for r in others
        }
        for r in sorted(others, key=lambda r: (-sum(times[r]), r)):
            if not any(all(map(le, times[r], times[other])) for other in kept):
                kept.append(r)
        return kept + [r for r in resources if r == self._prefetch]

    def _add_early(self, work: Work, forced_ns: int) -> int | None:
        """The variable of what is done early, at most what is there to be done, and of use."""
        most = self._slack.useful.get(work.candidate.name, 0)
        if not most:
            return None
        early = self._early[work.candidate.name] = self._variable(most, work.pick)
        loads = [(-cost.early_ns, move) for move, cost in work.moves if cost.early_ns]
        self._model.at_most([(1, early), *loads, (-forced_ns, work.pick)], 0)
        if forced_ns + sum(cost.early_ns for _, cost in work.moves) > most:
            self._model.at_most([(1, early), (-most, work.pick)], 0)
        return early

    def _add_ahead(self, work: Work, forced: Sequence[Transfer]) -> int | None:
        """The variable of what is done ahead, at most what is possible, and of use, behind all that
        comes first."""
        most = self._slack.possible.get(work.candidate.name, 0)
        least = behind_ns(forced)
        most = most if least is None else min(most, least)
        if not most:
            return None
        ahead = self._ahead[work.candidate.name] = self._variable(most, work.pick)
        self._model.at_most([(1, ahead), (-most, work.pick)], 0)
        for move, cost in work.moves:
            if cost.behind_ns is not None and cost.behind_ns < most:
                self._model.at_most(
                    [(1, ahead), (most - cost.behind_ns, move), (-most, work.pick)], 0
                )
        return ahead

    def _add_rows(self, work: Work, resource: str, extra: int, early: int | None) -> None:
        """`extra` is at least what any set of moves adds to a resource beyond the floor; with what
        it waits for at the start, less what is done early.  What is waited for is done by the
        prefetch resource, which itself does not wait."""
        loads = work.loads(resource, self._prefetch)
        base = work.fixed(resource, self._prefetch)
        self._add_cuts(work, base, loads, [(-1, extra)])
        starts = [cost.start_ns for _, cost in work.moves]
        if resource != self._prefetch and (work.starts or any(starts)):
            done: Expression = [] if early is None else [(-1, early)]
            later = [(ns + start, move) for (ns, move), start in zip(loads, starts, strict=True)]
            self._add_cuts(work, base + work.starts, later, [*done, (-1, extra)])

    def _add_cuts(self, work: Work, base: int, loads: Expression, others: Expression) -> None:
        """Rows that need `others`, negative, to make up for what any set of moves adds.

        With a `base` load that is `slack` below the floor and a set S of moves with loads b,
        `f = sum of b over S - slack`, a move m missing from S relieves at most `min(b_m, f)`:
        `others >= f pick - sum over S of min(b_m, f) (pick - m)`.
        """
        slack = work.floor - base
        loads = [(load, move) for load, move in loads if load]
        # Without slack, the row of all moves implies those of fewer.
        for subset in _subsets(loads) if slack > 0 else [loads]:
            excess = sum(load for load, _ in subset) - slack
            if excess <= 0:
                continue
            cut = [(min(load, excess), move) for load, move in subset]
            fixed = excess - sum(relief for relief, _ in cut)
            self._model.at_most([*cut, (fixed, work.pick), *others], 0)

    def _add_overlap_rows(
        self, work: Work, forced_ns: int, extra: int, early: int | None, ahead: int | None
    ) -> None:
        """The rows of the prefetch resource, of which `early` is done before and to which `ahead`
        is added.

        Three families: what remains when all early work is done before; all work, less `early`;
        and, exactly, all work less `early` and with `ahead`.  The cuts of the first two hold
        without `ahead` only, since with it a move that is left out makes room for it.
        """
        assert self._prefetch is not None
        base = work.base.get(self._prefetch, 0)
        loads = [(cost.busy.get(self._prefetch, 0), move) for move, cost in work.moves]
        done: Expression = [] if early is None else [(-1, early)]
        if early is not None:
            left = [
                (load - cost.early_ns, move)
                for (load, move), (_, cost) in zip(loads, work.moves, strict=True)
            ]
            self._add_cuts(work, base - forced_ns, left, [(-1, extra)])
        self._add_cuts(work, base, loads, [*done, (-1, extra)])
        if ahead is not None:
            all_loads = [(load, move) for load, move in loads if load]
            fixed = [(base - work.floor, work.pick)]
            self._model.at_most([*all_loads, *fixed, (1, ahead), *done, (-1, extra)], 0)

    def _add_tail_rows(self, work: Work, load: Load, extra: int, early: int | None) -> None:
        """What a segment takes after the last of the prefetch resource's work, less `early`: for
        the tail that is always there, and with each that may be."""
        assert self._prefetch is not None
        base = work.base.get(self._prefetch, 0)
        loads = [(cost.busy.get(self._prefetch, 0), move) for move, cost in work.moves]
        others: Expression = [(-1, extra)] if early is None else [(-1, early), (-1, extra)]
        if load.tail_ns:
            self._add_cuts(work, base + load.tail_ns, loads, others)
        for last, cost in work.moves:
            if cost.tail_ns > load.tail_ns:
                later = [(ns + (cost.tail_ns if move == last else 0), move) for ns, move in loads]
                self._add_cuts(work, base, later, others)

    def add_conversion(self, conversion: Conversion, convert: int) -> None:
        """A conversion of what is on chip, with its variable."""
        self._spend(convert, transfer_ns(conversion.cost))

    def add_load(
        self, conversion: Conversion, convert: int, readers: Readers, waiting: Expression
    ) -> None:
        """A load of a copy, with its variable, the candidates that may read it, and the terms that
        sum to 1 where the first segment reads it."""
        self._spend(convert, transfer_ns(conversion.cost) - conversion.cost.early_ns)
        self._begin.add_load(conversion, waiting)
        picks = {start: [self._picks[c.name] for c in some] for start, some in readers.items()}
        self._loads.add(conversion, convert, picks)

    def add_boundaries(self) -> None:
        """Tie what is done ahead to what is done early; call once, after all candidates and
        loads."""
        self._begin.add_rows()
        if self._begin.variable is not None:
            self._spend(self._begin.variable, 1)
        ends: list[Expression] = [[] for _ in self._index.starting]
        starts: list[Expression] = [[] for _ in self._index.starting]
        for name, early in self._early.items():
            starts[self._index.span[name][0]].append((1, early))
        for start, early in self._loads.early():
            starts[start].append((1, early))
        for name, ahead in self._ahead.items():
            ends[self._index.span[name][1] + 1].append((-1, ahead))
        for position in range(2, len(ends)):
            most = self._slack.passing[position]
            if most:
                passing = self._passing[position] = self._model.variable(most)
                ends[position].append((-1, passing))
                starts[position - 1].append((1, passing))
                for blocking in self._blocking[position - 1]:
                    blocked = [(most, variable) for variable in blocking]
                    self._model.at_most([(1, passing), *blocked], most)
        for ending, starting in zip(ends, starts, strict=True):
            if ending or starting:
                self._model.equal(starting + ending, 0)

    def assign(
        self,
        values: list[int],
        segments: Sequence[tuple[Candidate, Sequence[Transfer]]],
        conversions: Sequence[Conversion],
    ) -> None:
        """Set the variables of this module for a plan's segments in order, with all their
        transfers, and its conversions; those of picks, moves and conversions must be set."""
        starts = [self._index.span[candidate.name][0] for candidate, _ in segments]
        work = self._loads.work(values, conversions, starts)
        loads: list[Load] = []
        for (candidate, transfers), loads_ns in zip(segments, work, strict=True):
            load = self._index.load_of(candidate, transfers)
            most = self._slack.useful.get(candidate.name, 0)
            early_ns = min(load.early_ns, most)
            loads.append(replace(load, early_ns=early_ns, loads_ns=loads_ns))
        passing_ns = self._index.problem.passing_ns
        done = done_early(loads, passing_ns) if self._prefetch else [0] * len(loads)
        ahead = done_ahead(loads, done)
        parts = [load.parts(ns) for load, ns in zip(loads, done, strict=True)]
        self._loads.assign(values, conversions, starts, [of_loads for of_loads, _ in parts])
        for nth, (candidate, _) in enumerate(segments):
            name, early_ns = candidate.name, parts[nth][1]
            if name in self._early:
                values[self._early[name]] = early_ns
            if name in self._ahead:
                values[self._ahead[name]] = ahead[nth][0]
            first, last = self._index.span[name]
            for boundary in range(first + 1, last + 2):
                if boundary in self._passing:
                    values[self._passing[boundary]] = ahead[nth][1]
            if name in self._extra:
                segment = replace(loads[nth], loads_ns=0)
                values[self._extra[name]] = segment.busy_ns(early_ns) - self._floors[name]
        self._begin.assign(values)

    def _variable(self, upper: int, pick: int) -> int:
        variable = self._model.variable(upper)
        self._needs[variable] = pick
        return variable

    def _spend(self, variable: int, ns: int) -> None:
        if ns:
            self._time[variable] = self._time.get(variable, 0) + ns


def _total(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for resource, ns in part.items():
            total[resource] = total.get(resource, 0) + ns
    return total


def _subsets(loads: Expression) -> list[Expression]:
    if len(loads) <= SUBSET_PORTS:
        sizes = range(1, len(loads) + 1)
        return [list(subset) for size in sizes for subset in combinations(loads, size)]
    return [[load] for load in loads] + [loads]
