"""How hard packing problems are solved: published instances, and made-up ones with a known packing.

    python benchmarks/packing.py [--seeds N] [--workers 2] [--time-limit 60] [--json] [FOLDER]

FOLDER holds the "challenging" instances of MiniMalloc (google/minimalloc, benchmarks/challenging)
as A.1048576.csv to K.1048576.csv, with the columns id, lower, upper and size; the number in a name
is the capacity in bytes. The default is the folder shared/minimalloc beside the repository. Without
it only the made-up problems are packed. Every packing is checked; `s` is wall time, `core s` that
of the processor over all threads, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

from rich.console import Console
from rich.table import Table

from solver.packing import Buffer, PackingProblem, check, pack
from solver.packing.synthetic import cut_rectangle, loosened

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "minimalloc"


@dataclass(frozen=True, slots=True)
class Run:
    """One problem packed with one seed; `height` is a part of the capacity."""

    problem: str
    buffers: int
    seed: int
    status: str
    proven: bool
    height: float
    searches: int
    seconds: float
    core_seconds: float
    method: str


def published(folder: Path) -> Iterator[tuple[str, PackingProblem]]:
    """The instances in `folder`, by name."""
    for path in sorted(folder.glob("*.csv")):
        name, capacity = path.stem.split(".")
        with path.open(encoding="utf-8", newline="") as file:
            buffers = tuple(
                Buffer(row["id"], int(row["lower"]), int(row["upper"]), int(row["size"]))
                for row in csv.DictReader(file)
            )
        yield name, PackingProblem(buffers, int(capacity))


def made_up() -> Iterator[tuple[str, PackingProblem]]:
    """Cut rectangles, full at every event and with some room, by name."""
    for count in (50, 150, 250):
        problem, _ = cut_rectangle(count, count)
        yield f"full-{count}", problem
        yield f"room-{count}", loosened(problem, count)


def measure(name: str, problem: PackingProblem, seed: int, args: argparse.Namespace) -> Run:
    """Pack `problem`, check the packing and take the time."""
    before = process_time()
    packing = pack(problem, args.time_limit, seed, args.workers)
    core_seconds = process_time() - before
    check(problem, packing)
    return Run(
        problem=name,
        buffers=len(problem.buffers),
        seed=seed,
        status=packing.status.value,
        proven=packing.proven,
        height=packing.height / problem.capacity,
        searches=packing.searches,
        seconds=packing.wall_s,
        core_seconds=core_seconds,
        method=packing.method,
    )


def tabled(title: str, runs: list[Run]) -> Table:
    """The runs of one seed."""
    table = Table(title=title)
    for column in (
        "problem",
        "buffers",
        "status",
        "proven",
        "height",
        "searches",
        "s",
        "core s",
        "method",
    ):
        table.add_column(column, justify="left" if column in ("problem", "method") else "right")
    for run in runs:
        table.add_row(
            run.problem,
            str(run.buffers),
            run.status,
            "yes" if run.proven else "no",
            f"{run.height:.4f}",
            str(run.searches),
            f"{run.seconds:.2f}",
            f"{run.core_seconds:.2f}",
            ", ".join(dict.fromkeys(part.split(" by ")[0] for part in run.method.split("; "))),
        )
    fitting = sum(run.height <= 1 for run in runs)
    total = f"{sum(run.seconds for run in runs):.2f}"
    core = f"{sum(run.core_seconds for run in runs):.2f}"
    table.add_row("total", "", f"{fitting} of {len(runs)} fit", "", "", "", total, core, "")
    return table


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=1, help="how often, each with another seed")
    parser.add_argument("--workers", type=int, default=2, help="runs of CP-SAT side by side")
    parser.add_argument("--time-limit", type=float, default=60.0, help="core seconds per problem")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    sets = {"made up": list(made_up())}
    if instances := list(published(args.folder)):
        sets = {"MiniMalloc, challenging": instances, **sets}
    else:
        print(f"no instances (*.csv) in {args.folder}: made-up problems only", file=sys.stderr)
    every: list[Run] = []
    for title, problems in sets.items():
        for seed in range(args.seeds):
            runs = [measure(name, problem, seed, args) for name, problem in problems]
            every += runs
            if not args.json:
                Console().print(tabled(f"{title}, seed {seed}", runs))
    if args.json:
        json.dump([asdict(run) for run in every], sys.stdout, indent=1)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
