"""Solve the problems of benchmarks/problems, deep stacks of their layers, and made-up ones.

    python benchmarks/solving.py [--time-limit 60] [--processes 2] [--json] [NAME ...]

Names select problems by prefix. Every plan is checked. `s` is wall time, which other work on the
machine changes; `est s` is the solver's own machine-independent clock, which the time limit is in.
`/greedy` is the plan's predicted time as a part of that of the plan op by op through HBM.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.command import parser_of, run, table_of
from benchmarks.stacks import load
from solver import Problem, check, solve
from solver.repeat import repeat
from solver.synthetic import layered_problem

COLUMNS = (
    *("problem", "ops", "candidates", "variables", "pieces", "rounds", "solves", "status", "gap"),
    *("µs", "/greedy", "s", "est s"),
)
LAYER = (46, 52)
"""Where a layer of `layers2-bf16-128` begins that can be repeated, and its number of ops: from one
gate projection to the next."""


@dataclass(frozen=True, slots=True)
class Run:
    """How one problem was solved; `greedy_share` is `None` where op by op is not possible."""

    problem: str
    ops: int
    candidates: int
    variables: int
    pieces: int
    rounds: int
    solves: int
    status: str
    gap: float
    objective_ns: int
    greedy_share: float | None
    seconds: float
    estimated_seconds: float


def problems() -> Iterator[tuple[str, Callable[[], Problem]]]:
    """Every problem by name, made when it is called for."""
    stored = {problem.name: problem for problem in load()}
    for name, problem in stored.items():
        yield name, partial(replace, problem)
    for layers in (4, 12, 28):
        stack = partial(repeat, stored["layers2-bf16-128"], *LAYER, layers - 1)
        yield f"stack{layers}-bf16-128", stack
    for ops, per_op in ((60, 20), (60, 60), (400, 20)):
        made_up = partial(layered_problem, ops, seed=3, candidates_per_op=per_op)
        yield f"made-up-{ops}x{per_op}", made_up


def measure(name: str, problem: Problem, time_limit: float, processes: int) -> Run:
    """Solve one problem, and check its plan."""
    report = solve(problem, time_limit=time_limit, processes=processes)
    assert report.solution is not None, name
    assert report.objective_ns is not None, name
    assert check(problem, report.solution, claimed_ns=report.objective_ns) == [], name
    greedy = report.greedy
    return Run(
        problem=name,
        ops=len(problem.ops),
        candidates=len(problem.candidates),
        variables=report.variables,
        pieces=report.method.pieces,
        rounds=report.method.rounds,
        solves=report.method.solves,
        status=report.status.value,
        gap=report.gap,
        objective_ns=report.objective_ns,
        greedy_share=greedy and report.objective_ns / greedy.objective_ns,
        seconds=report.wall_s,
        estimated_seconds=report.deterministic_s,
    )


def table(runs: Sequence[Run]) -> Table:
    """The runs, one line each."""
    made = table_of("variables: of the largest model; s: wall time of this machine", COLUMNS)
    for each in runs:
        made.add_row(
            each.problem,
            *(f"{n:,}" for n in (each.ops, each.candidates, each.variables)),
            *map(str, (each.pieces, each.rounds, each.solves)),
            each.status,
            f"{each.gap:.3%}",
            f"{each.objective_ns / 1000:,.1f}",
            "-" if each.greedy_share is None else f"{each.greedy_share:.2f}",
            f"{each.seconds:.1f}",
            f"{each.estimated_seconds:.1f}",
        )
    return made


def main() -> int:
    """Run the benchmark; 0, or 2 if nothing is selected."""
    parser = parser_of(__doc__, "problem", 60.0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    return run(
        options,
        problems(),
        lambda named: named[0],
        lambda named, say: measure(named[0], named[1](), options.time_limit, options.processes),
        table,
    )


if __name__ == "__main__":
    sys.exit(main())
