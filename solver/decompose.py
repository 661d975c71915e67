"""Large problems, solved piece by piece.

Cuts divide the order into pieces (`cuts`, `pieces`); pieces of equal structure are solved once
(`questions`).  At the cuts, places have prices: what readers after a cut would pay in the linear
relaxation of the two pieces beside it (`marginal`).  Each round then does two things:

* every piece is solved with both its ends open; the sum of the pieces' bounds less the tolls is a
  bound of the whole;
* a plan of the whole is put together from front to back: where what a piece's plan takes for
  granted is not what the plan so far makes available, the piece is solved again for just that.

If the two are not close, the next round leaves out every second cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .check import check
from .cuts import Crossings, State, choose_cuts, weight
from .engine import GRACE_S, SECONDS_PER_PORT, Meter
from .evaluate import chosen_dims, evaluate
from .greedy import greedy
from .index import Copy, assemble
from .objectives import Rank, cost_terms, rank
from .paths import can_be_covered, lower_bound
from .pieces import head_start, own_copies, piece, state_after, toll
from .problem import HBM, Candidate, Problem
from .questions import Questions
from .report import Method, Report, Solution, Status, Terms

LARGE = 10_000
"""Ports and candidates from which on a problem is solved in pieces: about four large transformer
layers or eight small ones.  Below that, one model is proven optimal in less time."""

CLOSE = 0.0005
"""A gap with which the search is content."""

PRICE_SHARE = 0.3
SOLVE_SHARE = 0.5
"""Parts of the time left that finding prices, and one batch of problems, may take."""

SHORT = 20
"""Time is short when it is less than this many times what building the model takes."""

MAX_PRICED = 4
"""Places of one value at one cut that may have a price, the dearest ones: plans of a piece choose
among all subsets."""

Places = dict[tuple[str, str], int]
"""An amount by (value, place) at a cut."""


def solve_large(
    problem: Problem,
    questions: Questions,
    meter: Meter,
    seed: int,
    start: Sequence[Solution] = (),
) -> Report | None:
    """A report for a problem that is large and has cuts; `None` for others, and where the pieces
    lead to no plan."""
    if sum(map(weight, problem.candidates)) < LARGE or not can_be_covered(problem):
        return None
    crossings = Crossings(problem)
    cuts = choose_cuts(crossings)
    if len(cuts) == 2:
        return None
    meter.grace_s = GRACE_S
    search = Decomposition(crossings, cuts, questions)
    baseline = greedy(problem)
    for plan in (*start, *(() if baseline is None else (baseline,))):
        search.offer(plan)
    search.run(meter)
    if search.best is None:
        return None
    (cost, *_), plan, terms = search.best
    return Report(
        status=Status.OPTIMAL if cost <= search.bound else Status.FEASIBLE,
        solution=plan,
        objective_ns=cost,
        terms=terms,
        best_bound_ns=search.bound,
        gap=search.gap,
        wall_s=meter.wall_s,
        deterministic_s=meter.spent_s,
        seed=seed,
        variables=search.variables,
        constraints=search.constraints,
        dims=chosen_dims(problem, plan.picked),
        blocking=(),
        greedy=None if baseline is None else evaluate(problem, baseline),
        cost=cost,
        cost_terms=cost_terms(terms),
        cost_bound=search.bound,
        method=Method(len(search.spans), search.rounds, questions.solves),
    )


@dataclass(slots=True)
class _Joined:
    """The beginning of a plan: pieces up to a cut, and what it makes available there."""

    state: State = field(default_factory=dict)
    picked: list[Candidate] = field(default_factory=list)
    copies: dict[Copy, str | None] = field(default_factory=dict)


class Decomposition:
    """The search for a plan of a problem in the pieces between `cuts`, the ends included.

    `best` is the best plan so far and `bound` a time that none beats; `rounds` counts what was
    done, and `infeasible` says that some piece has no plan at all, so that there is none.
    `variables` and `constraints` are those of the largest model.  `watch` is called after each
    round.
    """

    def __init__(self, crossings: Crossings, cuts: Sequence[int], questions: Questions) -> None:
        self.problem = crossings.problem
        self.crossings = crossings
        self.spans = list(pairwise(cuts))
        self.questions = questions
        self.bound = lower_bound(self.problem)
        self.best: tuple[Rank, Solution, Terms] | None = None
        self.rounds = 0
        self.infeasible = False
        self.variables = 0
        self.constraints = 0
        self.watch: Callable[[], None] = lambda: None
        self._share = SOLVE_SHARE
        self._prices: list[Places] = [{} for _ in cuts]
        self._ports = sum(1 + len(c.reads) + len(c.writes) for c in self.problem.candidates)

    @property
    def gap(self) -> float:
        """The part of the best plan's time above the bound; 1 without a plan."""
        if self.best is None:
            return 1.0
        return (self.best[0][0] - self.bound) / max(1, self.best[0][0])

    def offer(self, plan: Solution) -> None:
        """Take a plan of the whole if it is legal and better than the best so far."""
        if check(self.problem, plan):
            return
        terms = evaluate(self.problem, plan)
        if self.best is None or rank(terms) < self.best[0]:
            self.best = (rank(terms), plan, terms)

    def run(self, meter: Meter) -> None:
        """Rounds until the gap is small, one piece is left, or the time is up."""
        while self._begin(meter):
            if not self.rounds:
                self._join_by_hand(meter)
                self._find_prices(meter)
            self.rounds += 1
            reports = self._solve_open(meter)
            if self.infeasible or any(report.solution is None for report in reports):
                return
            self._join(reports, meter)
            self.watch()
            if self.gap <= CLOSE or len(self.spans) == 1:
                return
            self._coarsen()

    def _join_by_hand(self, meter: Meter) -> None:
        """If time is short, first join plans that pieces have without being searched."""
        if meter.left_s < SHORT * self._ports * SECONDS_PER_PORT:
            self._share = 0.0
            reports = self._solve_open(meter)
            if all(report.solution is not None for report in reports):
                self._join(reports, meter)
            self._share = SOLVE_SHARE

    def _begin(self, meter: Meter) -> bool:
        """Whether there is time for another look at all pieces, which is then counted."""
        meter.spent_s += self._ports * SECONDS_PER_PORT
        return meter.left_s > 0 and meter.wall_left_s > 0.01

    # Bounds

    def _solve_open(self, meter: Meter) -> list[Report]:
        """Solve every piece with open ends."""
        reports = self._ask([self._piece(nth) for nth in range(len(self.spans))], meter)
        self.infeasible = any(report.status is Status.INFEASIBLE for report in reports)
        tolls = sum(
            toll(self.crossings, end, prices) + head_start(self.crossings, end)
            for (_, end), prices in zip(self.spans, self._prices[1:], strict=True)
        )
        self.bound = max(self.bound, sum(report.best_bound_ns for report in reports) - tolls)
        return reports

    def _piece(
        self, nth: int, state: State | None = None, exit_prices: Places | None = None
    ) -> Problem:
        """Piece number `nth`, with an open start if no `state` is given, and prices of its own at
        its end if they are."""
        exits = self._prices[nth + 1] if exit_prices is None else exit_prices
        prices = (self._prices[nth], exits)
        return piece(self.crossings, self.spans[nth], prices=prices, state=state)

    def _ask(self, problems: Sequence[Problem], meter: Meter) -> list[Report]:
        before = self.questions.spent_s
        reports = self.questions.solve(problems, self._share * meter.left_s)
        meter.spent_s += self.questions.spent_s - before
        for report in reports:
            self.variables = max(self.variables, report.variables)
            self.constraints = max(self.constraints, report.constraints)
        return reports

    # Plans

    def _join(self, reports: Sequence[Report], meter: Meter) -> None:
        """Put a plan of the whole together, from front to back."""
        joined = [_Joined()]
        for nth, report in enumerate(reports):
            wanted = report.solution
            assert wanted is not None
            plan = self._continued(nth, joined[-1].state, wanted, meter)
            if plan is None:
                before = self._provider(nth, joined[-2].state, wanted, meter) if nth else None
                if before is None:
                    return
                joined[-1] = self._extended(joined[-2], nth - 1, before)
                plan = self._continued(nth, joined[-1].state, wanted, meter)
            if plan is None:
                return
            joined.append(self._extended(joined[-1], nth, plan))
        self.offer(assemble(self.crossings.index, joined[-1].picked, joined[-1].copies))

    def _continued(self, nth: int, state: State, wanted: Solution, meter: Meter) -> Solution | None:
        """A plan for a piece that starts from `state`: `wanted`, if it does."""
        if nth == 0 or self._matches(nth, state, wanted):
            return wanted
        (report,) = self._ask([self._piece(nth, state)], meter)
        return report.solution

    def _provider(self, nth: int, state: State, wanted: Solution, meter: Meter) -> Solution | None:
        """A plan for the piece before `nth`, starting from `state`, that makes available what
        `wanted` takes there: for lack of it there is no plan for `nth`."""
        dear = self.bound // len(self.spans)
        used = self._used(nth, wanted)
        prices = {(value, place): dear for value, places in used.items() for place in places}
        exits = _dearest(self._prices[nth] | prices)
        (report,) = self._ask([self._piece(nth - 1, state if nth > 1 else None, exits)], meter)
        return report.solution

    def _extended(self, start: _Joined, nth: int, plan: Solution) -> _Joined:
        """`start` continued by a plan of piece `nth`."""
        begin, end = self.spans[nth]
        known = self.crossings.index.candidates
        return _Joined(
            state_after(self.crossings, end, start.state, plan),
            start.picked + [known[name] for name in plan.picked if name in known],
            start.copies | own_copies(self.crossings, begin, plan),
        )

    def _matches(self, nth: int, state: State, plan: Solution) -> bool:
        """Whether a plan with an open start takes in just the copies there are, and from HBM only
        what is there."""
        used = self._used(nth, plan)
        for value in self.crossings.crossing(self.spans[nth][0]):
            there = state.get(value.name, frozenset())
            wanted = used.get(value.name, frozenset())
            if wanted - {HBM} != there - {HBM} or not wanted <= there:
                return False
        return True

    def _used(self, nth: int, plan: Solution) -> dict[str, frozenset[str]]:
        """The places in which a plan with an open start takes the values that enter."""
        first = self.spans[nth][0]
        own = own_copies(self.crossings, first, plan)
        used: dict[str, set[str]] = {}
        for value, layout in plan.kept:
            if (value, layout) not in own:
                used.setdefault(value, set()).add(layout)
        for value in plan.stored:
            produced = self.crossings.index.produced_at[value]
            if produced is not None and produced < first:
                used.setdefault(value, set()).add(HBM)
        return {value: frozenset(places) for value, places in used.items()}

    # Prices

    def _find_prices(self, meter: Meter) -> None:
        """Set the price of every place at a cut to what readers after the cut would pay, if the
        time allows to build the models for that."""
        if 2 * self._ports * SECONDS_PER_PORT > PRICE_SHARE * meter.left_s:
            return
        windows: list[tuple[Problem, int]] = []
        for nth in range(1, len(self.spans)):
            window = piece(
                self.crossings,
                (self.spans[nth - 1][0], self.spans[nth][1]),
                prices=({}, {}),
            )
            cut = self.spans[nth][0]
            windows.append((window, window.ops.index(self.problem.ops[cut])))
        before = self.questions.spent_s
        found = self.questions.worth(windows, PRICE_SHARE * meter.left_s)
        meter.spent_s += self.questions.spent_s - before
        self._prices = [{}, *map(_dearest, found), {}]

    def _coarsen(self) -> None:
        """Leave out every second cut."""
        cuts = [0, *(end for _, end in self.spans)]
        self.spans = list(pairwise([*cuts[:-1:2], cuts[-1]]))
        self._prices = [*self._prices[:-1:2], self._prices[-1]]


def _dearest(prices: Places) -> Places:
    """The prices above 0, of each value the `MAX_PRICED` highest."""
    ordered = sorted(prices.items(), key=lambda item: (-item[1], item[0]))
    count: dict[str, int] = {}
    kept: Places = {}
    for (value, place), ns in ordered:
        count[value] = count.get(value, 0) + 1
        if ns > 0 and count[value] <= MAX_PRICED:
            kept[value, place] = ns
    return kept
