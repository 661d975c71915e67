"""The time of segments, as linear rows.

Variables per candidate: `extra` (ns), what its segment takes beyond a part that is always there,
and, where segments overlap, `early` (ns), what the segment before does of its loads, and `ahead`
(ns), what it does itself for the next.  Per boundary between ops, what is done ahead by the
candidates that end there is what is done early for those that begin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from .index import Index, ports_of
from .linear import Expression, LinearModel
from .overlap import Load, done_early
from .problem import Candidate, Transfer

SUBSET_PORTS = 3
"""Up to this many free ports of a candidate, every subset of them gets a time row; beyond, single
ports and the whole set."""


@dataclass(frozen=True, slots=True)
class Work:
    """A candidate's busy times in ns: `base` with the transfers that it cannot avoid, `floor` what
    its segment always takes of them, `moves` the transfers it may avoid with their variables."""

    candidate: Candidate
    pick: int
    base: Mapping[str, int]
    floor: int
    moves: Sequence[tuple[int, Transfer]]

    def most(self, resource: str) -> int:
        """The busy time of a resource with every transfer."""
        return self.base.get(resource, 0) + sum(
            cost.busy.get(resource, 0) for _, cost in self.moves
        )


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
        self._useful, self._possible = _limits(index)

    def add_candidate(
        self,
        candidate: Candidate,
        pick: int,
        forced: Sequence[Transfer],
        moves: Sequence[tuple[int, Transfer]],
    ) -> None:
        """A candidate with the transfers that it cannot avoid, and those it may with their
        variables."""
        load = self._index.load_of(candidate, forced)
        floor = self._floors[candidate.name] = load.busy_ns(load.early_ns)
        overhead = self._index.overhead_ns(candidate) + sum(cost.overhead_ns for cost in forced)
        self._spend(pick, overhead + floor)
        for move, cost in moves:
            self._spend(move, cost.overhead_ns)
        work = Work(
            candidate, pick, _total([candidate.busy, *(c.busy for c in forced)]), floor, moves
        )
        early = self._add_early(work, load.early_ns)
        ahead = self._add_ahead(work)
        resources = sorted({*work.base, *(r for _, cost in moves for r in cost.busy)})
        reach = {r: work.most(r) for r in resources}
        if ahead is not None and self._prefetch is not None:
            reach[self._prefetch] = reach.get(self._prefetch, 0) + self._model.upper[ahead]
        most = max(reach.values(), default=0)
        if most <= floor:
            return
        extra = self._extra[candidate.name] = self._variable(most - floor, pick)
        self._spend(extra, 1)
        for resource in sorted(reach):
            if resource == self._prefetch and (early is not None or ahead is not None):
                self._add_overlap_rows(work, load.early_ns, extra, early, ahead)
            else:
                self._add_rows(work, resource, extra)

    def _add_early(self, work: Work, forced_ns: int) -> int | None:
        """The variable of what is done early, at most what is there to be done, and of use."""
        most = self._useful.get(work.candidate.name, 0)
        if not most:
            return None
        early = self._early[work.candidate.name] = self._variable(most, work.pick)
        loads = [(-cost.early_ns, move) for move, cost in work.moves if cost.early_ns]
        self._model.at_most([(1, early), *loads, (-forced_ns, work.pick)], 0)
        if forced_ns + sum(cost.early_ns for _, cost in work.moves) > most:
            self._model.at_most([(1, early), (-most, work.pick)], 0)
        return early

    def _add_ahead(self, work: Work) -> int | None:
        """The variable of what is done ahead, at most what is possible, and of use."""
        most = self._possible.get(work.candidate.name, 0)
        if not most:
            return None
        ahead = self._ahead[work.candidate.name] = self._variable(most, work.pick)
        self._model.at_most([(1, ahead), (-most, work.pick)], 0)
        return ahead

    def _add_rows(self, work: Work, resource: str, extra: int) -> None:
        """`extra` is at least what any set of moves adds to a resource beyond the floor."""
        loads = [(cost.busy.get(resource, 0), move) for move, cost in work.moves]
        self._add_cuts(work, work.base.get(resource, 0), loads, [(-1, extra)])

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

    def add_boundaries(self) -> None:
        """Tie what is done ahead to what is done early; call once, after all candidates."""
        ends: list[Expression] = [[] for _ in self._index.starting]
        starts: list[Expression] = [[] for _ in self._index.starting]
        for name, early in self._early.items():
            starts[self._index.span[name][0]].append((1, early))
        for name, ahead in self._ahead.items():
            ends[self._index.span[name][1] + 1].append((-1, ahead))
        for ending, starting in zip(ends, starts, strict=True):
            if ending or starting:
                self._model.equal(starting + ending, 0)

    def assign(
        self, values: list[int], segments: Sequence[tuple[Candidate, Sequence[Transfer]]]
    ) -> None:
        """Set the variables of this module for a plan's segments in order, with all their
        transfers."""
        loads: list[Load] = []
        for candidate, transfers in segments:
            load = self._index.load_of(candidate, transfers)
            most = self._useful.get(candidate.name, 0)
            loads.append(replace(load, early_ns=min(load.early_ns, most)))
        done = done_early(loads)
        for nth, (candidate, _) in enumerate(segments):
            name = candidate.name
            if name in self._early:
                values[self._early[name]] = done[nth]
            if name in self._ahead and nth + 1 < len(done):
                values[self._ahead[name]] = done[nth + 1]
            if name in self._extra:
                values[self._extra[name]] = loads[nth].busy_ns(done[nth]) - self._floors[name]

    def _variable(self, upper: int, pick: int) -> int:
        variable = self._model.variable(upper)
        self._needs[variable] = pick
        return variable

    def _spend(self, variable: int, ns: int) -> None:
        if ns:
            self._time[variable] = self._time.get(variable, 0) + ns


def _limits(index: Index) -> tuple[dict[str, int], dict[str, int]]:
    """For each candidate, the most early work that is of use to it, and the most that it can do for
    the next: what is wanted there, and fits beside the other work in some plan (ns).

    Early work is of use until the prefetch resource is no busier than the others, whatever is done
    ahead.  That depends on what comes later, so candidates are gone through from the back.
    """
    useful: dict[str, int] = {}
    possible: dict[str, int] = {}
    if index.problem.prefetch is None:
        return useful, possible
    wanted = [0] * (len(index.starting) + 1)
    for position in reversed(range(len(index.starting))):
        for candidate in index.starting[position]:
            ports = [(kind, port, port.hbm) for kind, port in ports_of(candidate)]
            forced = [h for kind, port, h in ports if h and not index.avoidable(kind, port)]
            least = index.load_of(candidate, forced)
            most = index.load_of(candidate, [h for *_, h in ports if h])
            room = max(0, most.others_ns - (least.own_ns - most.early_ns))
            ahead = min(wanted[index.span[candidate.name][1] + 1], room)
            excess = max(0, most.own_ns + ahead - least.others_ns)
            possible[candidate.name] = ahead
            useful[candidate.name] = min(most.early_ns, excess)
            wanted[position] = max(wanted[position], useful[candidate.name])
    return useful, possible


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
