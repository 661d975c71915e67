"""Does the solver find the optimum? Random small graphs against a search that misses no plan.

    python benchmarks/exhaustive.py [--graphs 520] [--seed 0] [--log FILE] [--json] [NAME ...]

Graphs of up to six ops are drawn by the generator of the tests, over all ops and ranks, of floats
and bools. Each becomes the solver's problem as in a compilation, for trn2, every third for a trn2
with little SBUF; and again with one byte less of SBUF than the optimum of the first takes. CP-SAT's
answer is compared with dynamic programming (`solver.frontier`) and, where there are no more plans
than `--plans`, with all of them one by one (`solver.brute`). Ops such as `power` are decomposed
into dozens; where that leaves more plans to tell apart than `--width`, the problem is solved with
fewer candidates for each run of ops. With `--log`, what is found of each graph goes to a file, and
what stands there already is not looked for again. Exit code 1 if an answer differs, 2 if nothing is
selected.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from time import perf_counter

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from graph_strategy import Case, graphs

import solver
from benchmarks.command import Say, parser_of, run, table_of
from cost_models import Target, load_target
from nkigen_lite.commands.terminal import progress
from nkigen_lite.core import DType, Graph
from nkigen_lite.core.ir import clone
from nkigen_lite.errors import NoPlan
from nkigen_lite.tensor_ir.passes.axes import analyse
from nkigen_lite.tensor_ir.passes.layout_solver.problem import Planner
from nkigen_lite.tensor_ir.passes.lower_to_nki import simplify
from solver.brute import brute, covers
from solver.frontier import TooWide, optimum
from solver.objectives import Rank, rank
from solver.plans import ways_to_keep

MOST_OPS = 6
SIZES = (256, 4096)
"""Elements of the largest value, by turns."""

LITTLE_SBUF = 1024
DTYPES = (*(DType.F32,) * 4, *(DType.BF16,) * 2, *(d for d in DType if d.is_float), DType.BOOL)
COLUMNS = (
    *("ops", "problems", "agree", "infeasible", "one by one", "cut", "candidates"),
    *("solver s", "exhaustive s"),
)
MANY = 10**9
KEPT = (3, 1)
"""To how many candidates for the same ops problems are cut that are too large."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A random graph and the target that it is compiled for."""

    name: str
    graph: Graph
    target: Target


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for one problem.

    ``solver`` and ``exhaustive`` are the ranks (`solver.objectives`) of the best plans, None where
    there is no legal one; ``plans`` is how many there are one by one, at most `MANY`;
    ``enumerated`` whether all were looked at. ``kept`` is to how many candidates for the same ops
    the problem was cut, 0 if it was not. ``skipped`` says why nothing was compared.
    """

    name: str
    graph_ops: int
    ops: int = 0
    candidates: int = 0
    plans: int = 0
    enumerated: bool = False
    kept: int = 0
    status: str = ""
    solver: Rank | None = None
    exhaustive: Rank | None = None
    solver_s: float = 0.0
    exhaustive_s: float = 0.0
    skipped: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the solver's plan is proven, and as good as any."""
        proven = "infeasible" if self.exhaustive is None else "optimal"
        return self.status == proven and self.solver == self.exhaustive


def draw(count: int, seed: int = 0) -> list[Graph]:
    """`count` different graphs of up to six ops, not counting constants."""
    found: dict[str, Graph] = {}
    while len(found) < count:
        for size in SIZES:
            for graph in _some(size, seed, min(100, 3 * count)):
                found.setdefault(graph.dump(), graph)
        seed += 1
    return list(found.values())[:count]


def _some(size: int, seed: int, examples: int) -> list[Graph]:
    found: list[Graph] = []

    @seeded(seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=graphs(max_ops=MOST_OPS, max_elements=size, dtypes=DTYPES))
    def collect(case: Case) -> None:
        if 1 <= ops_of(case.graph) <= MOST_OPS:
            found.append(case.graph)

    collect()
    return found


def ops_of(graph: Graph) -> int:
    """Ops of a graph, constants apart."""
    return sum(op.opcode != "constant" for op in graph.ops)


def targets() -> tuple[Target, ...]:
    """The targets that graphs are compiled for, by turns."""
    little = load_target("trn2", {"memory.sbuf_usable_bytes_per_partition": LITTLE_SBUF})
    return load_target("trn2"), load_target("trn2"), little


class Log:
    """What was found of graphs, a line of JSON for each, in a file if there is a path."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._known = {line["graph"]: line["found"] for line in map(json.loads, lines)}

    def known(self, name: str) -> list[Found] | None:
        """What was found of a graph, if it was looked at."""
        if name not in self._known:
            return None
        return [
            Found(**{k: tuple(v) if isinstance(v, list) else v for k, v in each.items()})
            for each in self._known[name]
        ]

    def add(self, name: str, found: Sequence[Found]) -> None:
        """Write down what was found of a graph."""
        if self._path is not None:
            line = {"graph": name, "found": [asdict(each) for each in found]}
            with self._path.open("a") as out:
                print(json.dumps(line), file=out)


def measured(log: Log, drawn: Drawn, options: argparse.Namespace, say: Say) -> list[Found]:
    """What `log` has of a graph, or what `measure` finds."""
    found = log.known(drawn.name)
    if found is None:
        found = measure(drawn, options, say)
        log.add(drawn.name, found)
    return found


def measure(drawn: Drawn, options: argparse.Namespace, say: Say) -> list[Found]:
    """Compare the solver with exhaustive search on the problem of a graph, and on that with less
    SBUF."""
    empty = Found(drawn.name, ops_of(drawn.graph))
    graph = clone(drawn.graph)
    simplify(graph)
    try:
        problem = Planner(analyse(graph), drawn.target).problem()
    except NoPlan:
        return [replace(empty, skipped="an op alone does not fit SBUF")]
    if not problem.ops:
        return [replace(empty, skipped="nothing is left to compute")]
    if len(problem.ops) > options.largest:
        return [replace(empty, skipped=f"more than {options.largest} ops once decomposed")]
    say(f"{len(problem.ops)} ops, {len(problem.candidates)} candidates")
    for kept in (0, *KEPT):
        less = fewer(problem, kept) if kept else problem
        try:
            return list(compare(replace(empty, kept=kept), less, options))
        except TooWide:
            continue
    return [replace(empty, skipped="too many plans to tell apart")]


def fewer(problem: solver.Problem, most: int) -> solver.Problem:
    """A problem with at most so many candidates for the same ops, the first ones."""
    seen: Counter[tuple[str, ...]] = Counter()
    candidates = []
    for candidate in problem.candidates:
        seen[candidate.ops] += 1
        if seen[candidate.ops] <= most:
            candidates.append(candidate)
    return replace(problem, candidates=tuple(candidates))


def compare(empty: Found, problem: solver.Problem, options: argparse.Namespace) -> Iterator[Found]:
    """Compare on a problem, and on the same with a byte less SBUF than its best plan takes, if that
    takes any.

    Raises `TooWide`.
    """
    found, best = _compared(empty, problem, options)
    yield found
    peak = solver.evaluate(problem, best).peak_sbuf_bytes if best else 0
    if peak:
        named = replace(empty, name=f"{empty.name}, less SBUF")
        yield _compared(named, replace(problem, sbuf_limit_bytes=peak - 1), options)[0]


def _compared(
    empty: Found, problem: solver.Problem, options: argparse.Namespace
) -> tuple[Found, solver.Solution | None]:
    """What was found on one problem, and the best plan by exhaustive search."""
    report = solver.solve(problem, time_limit=options.time_limit)
    start = perf_counter()
    best = optimum(problem, options.width, report.solution)
    plans = count_plans(problem, options.plans)
    if best is not None:
        wrong = solver.check(problem, best[1], claimed_ns=best[0][0])
        assert not wrong, f"{empty.name}: {wrong}"
    if plans <= options.plans:
        every = brute(problem)
        assert (every and every[0]) == (best and best[0]), f"{empty.name}: {every}, not {best}"
    seconds = perf_counter() - start
    found = replace(
        empty,
        ops=len(problem.ops),
        candidates=len(problem.candidates),
        plans=plans,
        enumerated=plans <= options.plans,
        status=report.status.value,
        solver=rank(report.terms) if report.terms else None,
        exhaustive=best and best[0],
        solver_s=report.wall_s,
        exhaustive_s=seconds,
    )
    return found, best and best[1]


def count_plans(problem: solver.Problem, most: int) -> int:
    """How many plans there are, legal or not, or a number above `most`."""
    count = 0
    for picked in covers(problem):
        count += prod(1 + len(ways) for ways in ways_to_keep(problem, picked).values())
        if count > most:
            return MANY
    return count


def failures(found: Sequence[Found]) -> list[str]:
    """Problems on which the solver and exhaustive search differ."""
    return [
        f"{each.name}: {each.status}, {each.solver}, exhaustive search {each.exhaustive}"
        for each in found
        if not each.skipped and not each.agrees
    ]


def table(found: Sequence[Found]) -> Table:
    """Problems by how many ops they have once the compiler has decomposed them."""
    compared = [each for each in found if not each.skipped]
    made = table_of("problems of random graphs: CP-SAT against exhaustive search", COLUMNS, text=())
    for low, high in (*((n, n) for n in range(1, 9)), (9, 16), (17, 32), (33, 10**6), (1, 10**6)):
        some = [each for each in compared if low <= each.ops <= high]
        if not some:
            continue
        label = "all" if (low, high) == (1, 10**6) else f"{low}" if low == high else f"{low}+"
        made.add_row(
            label,
            f"{len(some)}",
            f"{sum(each.agrees for each in some)}",
            f"{sum(each.exhaustive is None for each in some)}",
            f"{sum(each.enumerated for each in some)}",
            f"{sum(each.kept > 0 for each in some)}",
            f"{max(each.candidates for each in some)}",
            f"{sum(each.solver_s for each in some):.1f}",
            f"{sum(each.exhaustive_s for each in some):.1f}",
        )
    return made


def skips(found: Sequence[Found]) -> Iterator[str]:
    """How many problems were not compared, by reason."""
    for reason, count in Counter(each.skipped for each in found if each.skipped).items():
        yield f"not compared: {count}, {reason}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; see the module's text for the exit code."""
    parser = parser_of(__doc__, "graph", 30.0)
    parser.add_argument("--graphs", type=int, default=520, help="how many to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing")
    parser.add_argument("--plans", type=int, default=1000, help="most to look at one by one")
    parser.add_argument("--width", type=int, default=1000, help="most to tell apart at an op")
    parser.add_argument("--largest", type=int, default=MANY, help="most ops once decomposed")
    parser.add_argument("--log", type=Path, help="file of what is found, to go on from")
    options = parser.parse_args(arguments)
    kinds, log = targets(), Log(options.log)
    with progress("drawing graphs"):
        drawn = [
            Drawn(f"graph-{number}", graph, kinds[number % len(kinds)])
            for number, graph in enumerate(draw(options.graphs, options.seed))
        ]
    return run(
        options,
        drawn,
        lambda item: item.name,
        lambda item, say: measured(log, item, options, say),
        lambda found: table(_flat(found)),
        lambda found: failures(_flat(found)),
        lambda found: skips(_flat(found)),
    )


def _flat(found: Sequence[Sequence[Found]]) -> list[Found]:
    return [each for some in found for each in some]


if __name__ == "__main__":
    sys.exit(main())
