"""Plans made without a solver: op by op through HBM, and better ones built by shortest paths."""

from __future__ import annotations

from collections.abc import Sequence

from .constraints import Constraint, Cut, Pin
from .evaluate import evaluate
from .index import Copy, Index, assemble, decides, ports_of, transfer_ns
from .paths import Cost, least, shortest_path, through_hbm
from .problem import Candidate, Port, Problem, Transfer
from .report import Solution, Terms
from .residency import Residency

ROUNDS = 3
"""How often the path is found again under the copies that the last plan kept."""


def greedy(problem: Problem) -> Solution | None:
    """Each op alone by its cheapest single-op candidate, every value through HBM.

    `None` where some op has no single-op candidate that can stream, store and fit the limits.
    """
    index = Index(problem)
    path = shortest_path(index, lambda c: through_hbm(index, c) if len(c.ops) == 1 else None)
    return None if path is None else assemble(index, path[1], {})


def greedy_terms(problem: Problem) -> Terms | None:
    """What the plan of `greedy` costs."""
    plan = greedy(problem)
    return None if plan is None else evaluate(problem, plan)


def construct(problem: Problem, constraints: Sequence[Constraint] = ()) -> list[Solution]:
    """Plans under `constraints`, best effort: none need be legal, `check.check` tells.

    Shortest paths over the order pick the candidates, priced once with every crossing value in HBM
    and once with none; then copies are kept where they pay and fit.  The path is found again
    with those copies for free, a few times.
    """
    index = Index(problem)
    starts: tuple[Cost, ...] = (lambda c: through_hbm(index, c), lambda c: least(index, c))
    return [plan for start in starts for plan in _rounds(index, start, constraints)]


def repaired(
    problem: Problem, plan: Solution, constraints: Sequence[Constraint] = ()
) -> list[Solution]:
    """Plans under `constraints` that are close to `plan`, which need not keep them: found as in
    `construct`, but beginning with what `plan` picks, if that may be, or else with its copies."""
    index = Index(problem)
    copies: dict[Copy, str | None] = dict.fromkeys(plan.kept)
    copies |= {(value, target): source for value, source, target in plan.conversions}
    picked = [index.candidates[name] for name in plan.picked]
    return _rounds(index, _Given(index, copies, set(plan.stored)), constraints, picked)


def _rounds(
    index: Index,
    start: Cost,
    constraints: Sequence[Constraint],
    first: Sequence[Candidate] = (),
) -> list[Solution]:
    """The plan along the path `first`, or if that is none or not permitted, along the shortest by
    `start`, and the plans that follow by the copies it kept."""
    banned = {
        candidate.name
        for constraint in constraints
        for candidate in index.problem.candidates
        if not _permits(index, candidate, constraint)
    }

    def within(cost: Cost) -> Cost:
        return lambda candidate: None if candidate.name in banned else cost(candidate)

    plans: list[Solution] = []
    if first and all(candidate.name not in banned for candidate in first):
        path: tuple[int, list[Candidate]] | None = (0, list(first))
    else:
        path = shortest_path(index, within(start))
    seen: list[list[Candidate]] = []
    while path is not None and path[1] not in seen and len(seen) < ROUNDS:
        seen.append(path[1])
        residency = Residency(index, path[1], constraints)
        residency.improve()
        copies = residency.copies()
        plan = assemble(index, path[1], copies)
        plans.append(plan)
        path = shortest_path(index, within(_Given(index, copies, set(plan.stored))))
    return plans


def _permits(index: Index, candidate: Candidate, constraint: Constraint) -> bool:
    """Whether `candidate` can be in a plan under `constraint`, locations aside."""
    if isinstance(constraint, Cut):
        return constraint.before not in candidate.ops[1:]
    if not isinstance(constraint, Pin):
        return (constraint.first in candidate.ops) == (constraint.second in candidate.ops)
    position = index.deciding_at(constraint.value)
    first, last = index.span[candidate.name]
    asks = constraint.role or constraint.tile
    concerned = asks and position is not None and first <= position <= last
    return not concerned or decides(candidate, constraint)


class _Given:
    """Prices candidates (ns) as if the kept copies and stored values of a plan stood fast.

    A read of a kept copy is free and a read of a stored value streams; any other read pays for its
    cheapest conversion, or for streaming with no overlap.  A write that the plan keeps in the
    candidate's own layout is free, any other is stored.
    """

    def __init__(self, index: Index, copies: dict[Copy, str | None], stored: set[str]) -> None:
        self._index = index
        self._copies = copies
        self._stored = stored

    def __call__(self, candidate: Candidate) -> int | None:
        if least(self._index, candidate) is None:
            return None
        transfers: list[Transfer] = []
        penalty = 0
        for kind, port in ports_of(candidate):
            copy = (port.value, port.layout)
            kept = copy in self._copies
            if kind == "write":
                kept = kept and self._copies[copy] is None and port.value not in self._stored
            if kept:
                continue
            produced = self._index.produced_at[port.value] is not None
            if kind == "read" and produced and port.value not in self._stored:
                penalty += self._fetch(port)
            elif port.hbm is not None:
                transfers.append(port.hbm)
            else:
                return None
        return self._index.segment_ns(candidate, transfers) + penalty

    def _fetch(self, port: Port) -> int:
        """What reading a value costs that the plan has only in other layouts."""
        ways = [c.cost for c in self._index.into.get((port.value, port.layout), ())]
        ways += [] if port.hbm is None else [port.hbm]
        return min((transfer_ns(cost) for cost in ways), default=0)
