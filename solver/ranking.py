"""The best plans in order: each is found with those before it excluded.

Plans count as different where they pick other candidates, or keep or store other values.  Plans
with superfluous parts are left out: copies that nobody reads, values stored that nobody reads from
HBM, and reads that stream although a copy is kept.  Dropping such a part makes no plan worse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from .check import check
from .constraints import Constraint, validate_constraints
from .formulation import Formulation
from .improve import Search
from .index import Copy
from .linear import UNBOUNDED, Expression, Row
from .objectives import Objective, validate_objective
from .problem import HBM, Problem
from .report import Report, Solution
from .search import start_engine

Signature = tuple[tuple[str, ...], tuple[str, ...], tuple[Copy, ...]]
"""What tells plans apart: what is picked, stored and kept."""


def signature(solution: Solution) -> Signature:
    """What tells a plan from others."""
    return solution.picked, solution.stored, solution.kept


def ranked(
    problem: Problem,
    count: int = 10,
    *,
    time_limit: float = 10.0,
    seed: int = 0,
    constraints: Sequence[Constraint] = (),
    objective: Objective = "time",
) -> list[Report]:
    """The `count` best plans, best first; fewer where there are no more, or time ends.

    Each report's bound is what no plan but those before it goes below.  All are optimal in this
    sense, except for the first where time ends before it is; then it is the only one.  Plans of
    equal cost are sorted by the further criteria, which do not decide which of them are found.

    Raises `ProblemError` as `solve` does, and `ValueError` for a count below 1.
    """
    if count < 1:
        raise ValueError(f"ranked: count is {count}, must be at least 1")
    engine = start_engine("ranked", time_limit, seed)
    problem.validate()
    validate_constraints(problem, constraints)
    validate_objective(objective)
    search = Search(problem, tuple(constraints), engine, objective)
    search.run()
    found = [search.report(seed)]
    if found[0].solution is None:
        return []
    if search.form is None or not search.optimal:
        return found
    rows = list(useful(search.form))
    while len(found) < count:
        last = found[-1].solution
        assert last is not None
        rows.append(different(search.form, last))
        if not search.next_best(rows):
            break
        rows = []
        report = search.report(seed)
        assert report.solution is not None
        assert not check(problem, report.solution, constraints=constraints)
        found.append(report)
    return sorted(found, key=_order)


def _order(report: Report) -> tuple[int, ...]:
    assert report.cost is not None
    assert report.terms is not None
    terms = report.terms
    further = terms.objective_ns, terms.hbm_bytes, terms.instructions, terms.peak_sbuf_bytes
    return report.cost, *further


def different(form: Formulation, solution: Solution) -> Row:
    """A row that every plan satisfies but those with the signature of `solution`."""
    terms: Expression = [(-1, form.pick[name]) for name in solution.picked]
    same = len(solution.picked)
    stored, kept = set(solution.stored), set(solution.kept)
    for value in form.problem.values:
        homes = [(form.stored(value.name), value.name in stored)]
        for layout in value.resident_bytes:
            copy = (value.name, layout)
            homes.append((form.copies(copy), copy in kept))
        for expression, there in homes:
            # Where all a value's moves are forced, its terms are picks, and sum to 1.
            terms += [(-1 if there else 1, variable) for _, variable in expression]
            same += there and bool(expression)
    return Row(terms, 1 - same, UNBOUNDED)


def useful(form: Formulation) -> Iterator[Row]:
    """Rows that exclude superfluous parts of plans."""
    readers: dict[Copy, Expression] = defaultdict(list)
    streams: dict[str, Expression] = defaultdict(list)
    for candidate in form.problem.candidates:
        pick = form.pick[candidate.name]
        for port in candidate.reads:
            copy = (port.value, port.layout)
            move = form.move.get((candidate.name, "read", *copy))
            moves = [] if move is None else [(1, move)]
            streams[port.value] += moves
            readers[copy] += [(1, pick), *((-1, move) for _, move in moves)]
            kept = form.copies(copy)
            if moves and kept:
                yield Row([*moves, *kept], -UNBOUNDED, 1)
    for value in form.problem.values:
        loaded = [
            (1, move)
            for (v, source, _), move in form.convert.items()
            if (v, source) == (value.name, HBM)
        ]
        if not value.output and value.producer is not None:
            stored = form.stored(value.name)
            used = [(-1, variable) for _, variable in streams[value.name] + loaded]
            yield Row(stored + used, -UNBOUNDED, 0)
        for layout in value.resident_bytes:
            copy = (value.name, layout)
            kept = form.copies(copy)
            if kept:
                used = [(-amount, variable) for amount, variable in readers[copy]]
                yield Row(kept + used, -UNBOUNDED, 0)
