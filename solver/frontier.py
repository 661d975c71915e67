"""The optimum by dynamic programming: an oracle for problems too large for exhaustive search.

It goes through the ops in order.  All that the rest of a plan can see of what came before is what
is kept in SBUF and stored in HBM for later, which of the loaded copies nothing has read yet, and
how much work the last segment had time to do ahead; so of plans of the first ops that agree in
that, only the best are continued.  It shares nothing with the linear model, and no plan is left out
but for these reasons:

- another has the same things kept and stored, is no dearer, and has as much time ahead;
- it is dearer than a known plan even if what is missing took no more than its candidates alone;
- it keeps a copy, or stores a value, that no candidate could read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product

from .check import check
from .evaluate import evaluate
from .index import Copy
from .objectives import Rank, rank
from .plans import complete
from .problem import HBM, Candidate, Conversion, Port, Problem, Transfer, Value
from .report import Solution

Live = frozenset[tuple[str, str]]
"""What later segments can read: copies, and values in HBM as copies in the layout `HBM`."""


Made = tuple[Copy, Conversion | None]
"""A copy that a segment makes: by a conversion, or by writing it."""


_STEPS = 2_000
"""Continuations to look at after an op, for each plan that may be told apart there: a segment that
makes a dozen copies has thousands, most of them dearer than a known plan."""


class TooWide(RuntimeError):
    """More plans have to be told apart, or looked at, than was allowed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of the first ops.

    `slack_ns` is what its last segment has time to do ahead; `made` are copies that begin to live
    there; `unread` are those from HBM that nothing has read, so that they are loaded later.
    """

    cost: Rank
    peak_bytes: int
    slack_ns: int
    picked: Candidate | None
    made: tuple[Made, ...]
    unread: frozenset[Copy]
    before: Plan | None

    def beats(self, other: Plan) -> bool:
        """Whether it is as good as `other`, whatever follows."""
        if self.slack_ns < other.slack_ns:
            return False
        return (self.cost, self.peak_bytes) <= (other.cost, other.peak_bytes)


def optimum(
    problem: Problem, most_plans: int = 100_000, known: Solution | None = None
) -> tuple[Rank, Solution] | None:
    """The best legal plan by time and its rank, or `None` where there is none.

    `known` is a plan of anybody's; if it is legal, nothing slower is looked into.  Raises `TooWide`
    if at some op more than `most_plans` plans have to be told apart, or `_STEPS` times as many
    continuations looked at.
    """
    limit_ns = None
    if known is not None and not check(problem, known):
        limit_ns = evaluate(problem, known).objective_ns
    search = _Search(problem)
    best = search.run(most_plans, limit_ns)
    if best is None:
        return None
    solution = search.solution(best)
    return rank(evaluate(problem, solution)), solution


@dataclass(frozen=True, slots=True)
class _Move:
    """What a segment may do with one value: copies made by conversions or by itself, stored."""

    made: tuple[Made, ...]
    stored: bool = False


class _Search:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        at = {op: position for position, op in enumerate(problem.ops)}
        self.at = at
        self.values: dict[str, Value] = {value.name: value for value in problem.values}
        self.first = {
            v.name: min(map(at.__getitem__, v.consumers), default=-1) for v in problem.values
        }
        self.last = {
            v.name: max(map(at.__getitem__, v.consumers), default=-1) for v in problem.values
        }
        self.wanted = {(p.value, p.layout) for c in problem.candidates for p in c.reads}
        self.into: dict[Copy, list[Conversion]] = {}
        for conversion in problem.conversions:
            if (conversion.value, conversion.target) in self.wanted:
                self.into.setdefault((conversion.value, conversion.source), []).append(conversion)
        self.loads = {(c.value, c.target): c for c in problem.conversions if c.source == HBM}
        self.begins: list[list[Value]] = [[] for _ in problem.ops]
        for value in problem.values:
            if self.first[value.name] >= 0:
                self.begins[self.first[value.name]].append(value)
        self.starting: list[list[Candidate]] = [[] for _ in problem.ops]
        for candidate in problem.candidates:
            if candidate.psum_banks <= problem.psum_limit_banks:
                self.starting[at[candidate.ops[0]]].append(candidate)
        self.least = self._least()

    def _least(self) -> list[float]:
        """For each position, what the ops from there on take at least (ns): candidates without
        transfers, but for the stores of outputs."""
        least = [float("inf")] * len(self.problem.ops) + [0.0]
        for position in reversed(range(len(self.problem.ops))):
            for c in self.starting[position]:
                stored = [p.hbm for p in c.writes if p.hbm and self.values[p.value].output]
                own_ns, *_ = self._time(c, stored, 0, 0)
                least[position] = min(least[position], own_ns + least[position + len(c.ops)])
        return least

    def run(self, most_plans: int, limit_ns: int | None) -> Plan | None:
        """The best plan of at most `limit_ns`."""
        end = len(self.problem.ops)
        fronts: list[dict[tuple[Live, Live], list[Plan]]] = [{} for _ in range(end + 1)]
        nothing: Live = frozenset()
        fronts[0][nothing, nothing] = [Plan((0, 0, 0), 0, 0, None, (), nothing, None)]
        for position in range(end):
            front, fronts[position] = fronts[position], {}
            count = looked = 0
            for (live, _), plans in front.items():
                for plan, candidate in product(plans, self.starting[position]):
                    after = position + len(candidate.ops)
                    for kept, longer in self.steps(live, plan, candidate):
                        looked += 1
                        if looked > _STEPS * most_plans:
                            raise TooWide(f"more than {looked - 1} steps after op {position}")
                        if limit_ns is None or longer.cost[0] + self.least[after] <= limit_ns:
                            seen = fronts[after].setdefault((kept, longer.unread), [])
                            count += _note(seen, longer)
                            if count > most_plans:
                                raise TooWide(f"more than {most_plans} plans after op {position}")
        found = [plan for plans in fronts[end].values() for plan in plans]
        return min(found, key=lambda plan: (plan.cost, plan.peak_bytes), default=None)

    def solution(self, plan: Plan) -> Solution:
        """A whole plan as the solver's record."""
        picked: list[Candidate] = []
        copies: dict[Copy, str | None] = {}
        step: Plan | None = plan
        while step is not None and step.picked is not None:
            picked.insert(0, step.picked)
            copies.update((copy, c.source if c else None) for copy, c in step.made)
            step = step.before
        return complete(self.problem, picked, copies)

    def steps(self, live: Live, plan: Plan, candidate: Candidate) -> Iterator[tuple[Live, Plan]]:
        """Every way to continue a plan with a candidate as the next segment."""
        end = self.at[candidate.ops[-1]]
        choices = [list(self._produced(port, end)) for port in candidate.writes]
        for op in candidate.ops:
            for value in self.begins[self.at[op]]:
                if value.producer not in candidate.ops:
                    choices.append(list(self._loaded(value, live)))
        for moves in product(*choices):
            step = self._step(live, plan, candidate, moves)
            if step is not None:
                yield step

    def _produced(self, port: Port, end: int) -> Iterator[_Move]:
        """What may be done with a value where it is produced."""
        value, copy = self.values[port.value], (port.value, port.layout)
        needed = self.last[port.value] > end
        kept: list[Made] = []
        if needed and port.layout in value.resident_bytes and copy in self.wanted:
            kept.append((copy, None))
        if needed:
            kept += [((port.value, c.target), c) for c in self.into.get(copy, [])]
        for some in _subsets(kept):
            if not value.output and (some or not needed):
                yield _Move(some)
        if port.hbm is None:
            return
        if needed and self.first[port.value] <= end:  # a copy then lives from this segment on
            there = self.into.get((port.value, HBM), [])
            kept += [((port.value, c.target), c) for c in there]
        for some in _subsets(kept):
            yield _Move(some, stored=True)

    def _loaded(self, value: Value, live: Live) -> Iterator[_Move]:
        """What may be loaded of a value where it is read first."""
        there = value.producer is None or (value.name, HBM) in live
        ways = self.into.get((value.name, HBM), []) if there else []
        copies = [((value.name, c.target), c) for c in ways]
        for some in _subsets([made for made in copies if made[0] not in live]):
            yield _Move(some)

    def _step(
        self, live: Live, plan: Plan, candidate: Candidate, moves: Iterable[_Move]
    ) -> tuple[Live, Plan] | None:
        """The plan continued by a segment and its conversions; `None` if that is not legal."""
        moves = list(moves)
        made = tuple(chain.from_iterable(move.made for move in moves))
        conversions = [conversion for _, conversion in made if conversion]
        now = live | {copy for copy, _ in made}
        transfers: list[Transfer] = []
        for port in candidate.reads:
            if (port.value, port.layout) not in now:
                there = self.values[port.value].producer is None or (port.value, HBM) in live
                if port.hbm is None or not there:
                    return None
                transfers.append(port.hbm)
        for port, move in zip(candidate.writes, moves, strict=False):
            if move.stored:
                assert port.hbm is not None
                transfers.append(port.hbm)
                now |= {(port.value, HBM)}
        held = self._held(now, conversions, {copy for copy, _ in made})
        peak = held + candidate.sbuf_bytes + sum(cost.sbuf_bytes for cost in transfers)
        peak = max([peak, *(held + c.cost.sbuf_bytes for c in conversions)])
        if peak > self.problem.sbuf_limit_bytes:
            return None
        unread = plan.unread | {copy for copy, c in made if c and c.source == HBM}
        read = unread & {(port.value, port.layout) for port in candidate.reads}
        loads = [self.loads[copy] for copy in read]
        loads_ns = min(plan.slack_ns, sum(c.cost.early_ns for c in loads))
        begin_ns = self._begins_ns(candidate, transfers, loads)
        early_ns = plan.slack_ns - loads_ns
        ns, own_ns, done_ns = self._time(candidate, transfers, early_ns, begin_ns)
        behind = [t.behind_ns for t in transfers if t.behind_ns is not None]
        slack_ns = min([own_ns, *behind])
        if not behind:
            slack_ns += min(early_ns - done_ns, self.problem.passing_ns)
        alone = [*loads, *(c for c in conversions if c.source != HBM)]
        cost = (
            plan.cost[0] + ns + sum(_alone_ns(c.cost) for c in alone) - loads_ns,
            plan.cost[1] + sum(t.hbm_bytes for t in [*transfers, *(c.cost for c in conversions)]),
            plan.cost[2]
            + candidate.instructions
            + sum(t.instructions for t in [*transfers, *(c.cost for c in conversions)]),
        )
        end = self.at[candidate.ops[-1]]
        after = frozenset(copy for copy in now if self.last[copy[0]] > end)
        peak = max(peak, plan.peak_bytes)
        later = frozenset(unread - read)
        return after, Plan(cost, peak, slack_ns, candidate, made, later, plan)

    def _held(self, now: Live, conversions: Iterable[Conversion], made: set[Copy]) -> int:
        """SBUF bytes per partition of copies during a step, sources of conversions included."""
        sources = {(c.value, c.source) for c in conversions if c.source != HBM}
        copies = {copy for copy in now if copy[1] != HBM} | (sources - made)
        return sum(self.values[value].resident_bytes[layout] for value, layout in copies)

    def _begins_ns(
        self,
        candidate: Candidate,
        transfers: Sequence[Transfer],
        loads: Sequence[Conversion],
    ) -> int:
        """What a plan waits that begins so (ns): for the segment, and for the slowest of its
        transfers and of the loads that the first op needs."""
        if self.at[candidate.ops[0]] > 0:
            return 0
        first = [c for c in loads if self.first[c.value] == 0]
        waits = [cost.fill_ns for cost in (*transfers, *(c.cost for c in first))]
        return candidate.fill_ns + max(waits, default=0)

    def _time(
        self, candidate: Candidate, transfers: list[Transfer], slack_ns: int, begin_ns: int
    ) -> tuple[int, int, int]:
        """What the segment takes, what it has time to do ahead, and what of its work is done early
        if there are `slack_ns` for it (ns)."""
        overhead = candidate.overhead_ns + sum(cost.overhead_ns for cost in transfers) + begin_ns
        overhead += candidate.drain_ns if candidate.ops[-1] == self.problem.ops[-1] else 0
        busy = dict(candidate.busy)
        for cost in transfers:
            for resource, ns in cost.busy.items():
                busy[resource] = busy.get(resource, 0) + ns
        waits = candidate.wait_ns + sum(cost.wait_ns for cost in transfers)
        if self.problem.prefetch is None:
            return overhead + waits + max(busy.values(), default=0), 0, 0
        own = busy.pop(self.problem.prefetch, 0)
        others = max(busy.values(), default=0) + waits
        early = sum(cost.early_ns for cost in transfers)
        done = min(early, own, slack_ns)
        others += max(0, sum(cost.start_ns for cost in transfers) - done)
        left = own - done
        taken = max(others, left + max((cost.tail_ns for cost in transfers), default=0))
        return overhead + taken, taken - left, done


def _note(plans: list[Plan], plan: Plan) -> int:
    """Add a plan to those that none of the others beats; by how many they are more then."""
    if any(other.beats(plan) for other in plans):
        return 0
    before = len(plans)
    plans[:] = [other for other in plans if not plan.beats(other)]
    plans.append(plan)
    return len(plans) - before


def _subsets(ways: Sequence[Made]) -> Iterator[tuple[Made, ...]]:
    """Every choice of copies, each made in one way."""
    for size in range(len(ways) + 1):
        for some in combinations(ways, size):
            if len({copy for copy, _ in some}) == size:
                yield some


def _alone_ns(cost: Transfer) -> int:
    return cost.overhead_ns + max(cost.busy.values(), default=0)
