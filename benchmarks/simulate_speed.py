"""How fast the simulator is: a million instructions, one by one, on one core.

    python benchmarks/simulate_speed.py [--instructions 1000000] [--json]

The stream is a tiled matmul: two loads and a matmul per step, a copy and a store per tile. It is
run as rolled loops with every trip simulated, as a flat generator of steps, as a flat generator
whose every step is a new object, and with settled loops left out. Wall and CPU seconds are
this machine's: they differ where others use it too. Memory is how much the process grew.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter, process_time

from rich.console import Console
from rich.table import Table

from cost_models import Instruction, Transfer, load_target
from cost_models.simulate import Buffer, Fresh, Index, Item, Loop, Step, Use, simulate

WIDTH_IN_A_PIPE = 120
K_STEPS = 64
PER_TILE = 3 * K_STEPS + 2
MATMUL = Instruction(
    "matmul", "tensor", 128, 512, ("f32", "bf16", "bf16"), ("psum", "sbuf", "sbuf"), columns=128
)
COPY = Instruction("tensor_copy", "vector", 128, 512, ("bf16", "f32"), ("sbuf", "psum"))


@dataclass(frozen=True, slots=True)
class Run:
    """One way to give the simulator the stream, and what it took."""

    name: str
    instructions: int
    simulated: int
    predicted_ms: float
    wall_seconds: float
    cpu_seconds: float
    grown_mib: float


def tiled(rows: int, columns: int, k_steps: int = K_STEPS) -> list[Item]:
    """The stream with rolled loops; a result of ``rows`` x ``columns`` tiles."""
    i, j, k = Index("row"), Index("column"), Index("k")
    a, b = Buffer("a", "sbuf", copies=4), Buffer("b", "sbuf", copies=4)
    sums, out = Buffer("sums", "psum", copies=2), Buffer("out", "sbuf", copies=2)
    step: list[Item] = [
        Fresh(a),
        Fresh(b),
        Step(Transfer("load", 128, 256, 128), "sync", writes=(Use(a),), tensor="a"),
        Step(Transfer("load", 128, 1024, 128), "sync", writes=(Use(b),), tensor="b"),
        Step(MATMUL, "tensor", (Use(a), Use(b)), (Use(sums),)),
    ]
    tile: list[Item] = [
        Fresh(sums),
        Loop(k, k_steps, step),
        Fresh(out),
        Step(COPY, "vector", (Use(sums),), (Use(out),)),
        Step(Transfer("store", 128, 1024, 128), "scalar", (Use(out),), tensor="c"),
    ]
    return [Loop(i, rows, [Loop(j, columns, tile)])]


def flat(items: Iterable[Item], renew: bool) -> Iterator[Item]:
    """The stream without loops; with ``renew`` every step is an object of its own."""
    for item in items:
        if isinstance(item, Loop):
            for _ in range(item.trips):
                yield from flat(item.body, renew)
        else:
            yield replace(item) if renew else item


def measure(name: str, program: Iterable[Item], extrapolate: bool) -> Run:
    """Simulate and take the time."""
    before, start, start_cpu = _peak_mib(), perf_counter(), process_time()
    made = simulate(load_target("trn2"), program, extrapolate=extrapolate)
    return Run(
        name,
        made.instructions,
        made.simulated,
        made.time_ns / 1e6,
        wall_seconds=perf_counter() - start,
        cpu_seconds=process_time() - start_cpu,
        grown_mib=_peak_mib() - before,
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--instructions", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    program = tiled(1, -(-args.instructions // PER_TILE))
    runs = [
        measure("rolled loops, every trip", program, False),
        measure("flat stream", flat(program, renew=False), False),
        measure("flat stream, all steps new", flat(program, renew=True), False),
        measure("rolled loops, settled trips left out", program, True),
    ]
    if args.json:
        json.dump([{f: getattr(run, f) for f in Run.__slots__} for run in runs], sys.stdout)
        return 0
    table = Table(
        "stream",
        "instructions",
        "simulated",
        "predicted ms",
        "wall s",
        "CPU s",
        "CPU µs each",
        "MiB grown",
    )
    for run in runs:
        table.add_row(
            run.name,
            f"{run.instructions:,}",
            f"{run.simulated:,}",
            f"{run.predicted_ms:,.3f}",
            f"{run.wall_seconds:.2f}",
            f"{run.cpu_seconds:.2f}",
            f"{run.cpu_seconds / run.simulated * 1e6:.1f}",
            f"{run.grown_mib:.1f}",
        )
    Console(width=None if sys.stdout.isatty() else WIDTH_IN_A_PIPE).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
