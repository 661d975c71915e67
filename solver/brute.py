"""The optimum by exhaustive search: an oracle for small problems.

It walks every sequence of candidates and every way to keep every value, and shares nothing with
the linear model.  Three kinds of plan are left out because dropping the superfluous part of one
never makes it worse: copies that no picked candidate reads, values stored that nothing reads from
HBM, and reads that stream although a copy is kept.  Sequences that cost more than the best plan
before any transfer is counted are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from .check import check
from .constraints import Constraint
from .evaluate import evaluate
from .objectives import Objective, Rank, rank
from .plans import complete, ways_to_keep
from .problem import Candidate, Problem
from .report import Solution


def brute(
    problem: Problem, constraints: Sequence[Constraint] = (), objective: Objective = "time"
) -> tuple[Rank, Solution] | None:
    """The best legal plan and its rank, or `None` where there is none.

    Exponential in ops, candidates and values: for problems of about five ops.
    """
    best: tuple[Rank, Solution] | None = None
    for picked in covers(problem):
        least = sum(c.overhead_ns + max(c.busy.values(), default=0) for c in picked)
        if best is not None and objective == "time" and least > best[0][0]:
            continue
        for solution in _plans(problem, picked):
            # Ranking first: it is cheaper than the check, which alone decides what is legal.
            found = rank(evaluate(problem, solution), objective)
            if (best is None or found < best[0]) and not check(
                problem, solution, constraints=constraints
            ):
                best = (found, solution)
    return best


def covers(problem: Problem, position: int = 0) -> Iterator[list[Candidate]]:
    """Every sequence of candidates that covers the ops from `position` on."""
    if position == len(problem.ops):
        yield []
    for candidate in problem.candidates:
        if candidate.ops[0] in problem.ops[position : position + 1]:
            for rest in covers(problem, position + len(candidate.ops)):
                yield [candidate, *rest]


def _plans(problem: Problem, picked: list[Candidate]) -> Iterator[Solution]:
    """Every plan that runs `picked`."""
    ways = ways_to_keep(problem, picked)
    for choice in product(*(["absent", *usable] for usable in ways.values())):
        copies = {
            copy: source for copy, source in zip(ways, choice, strict=True) if source != "absent"
        }
        yield complete(problem, picked, copies)


def brute_ranked(
    problem: Problem, constraints: Sequence[Constraint] = (), objective: Objective = "time"
) -> list[tuple[Rank, Solution]]:
    """All legal plans that pick, store or keep something else, best first; of those that only
    convert otherwise, the best."""
    best: dict[object, tuple[Rank, Solution]] = {}
    for picked in covers(problem):
        for solution in _plans(problem, picked):
            if not check(problem, solution, constraints=constraints):
                found = rank(evaluate(problem, solution), objective)
                key = solution.picked, solution.stored, solution.kept
                if key not in best or found < best[key][0]:
                    best[key] = (found, solution)
    return sorted(best.values(), key=lambda plan: plan[0])
