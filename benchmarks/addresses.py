"""What addresses cost the benchmark kernels: bytes, and time spent waiting for bytes used before.

    python benchmarks/addresses.py [--target trn2] [--time-limit 10] [--json] [NAME ...]

Names select kernels by prefix. Each is simulated with bytes of its own for every buffer, at the
addresses that the compiler gives, and at addresses within memories no larger than what is live
at once. Simulated, not measured; milliseconds are processor time of finding the addresses.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from time import process_time

from kernels import Kernel, kernels
from rich.console import Console
from rich.table import Table

import nkigen_lite
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.simulate import simulate_kernel
from nkigen_lite.tensor_ir.passes.layout_solver.addresses import allocate

COLUMNS = (
    *("kernel", "buffers", "live", "top", "hazards", "apart us", "placed"),
    *("hazards if tight", "tight", "ms"),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one kernel; bytes are of each partition of SBUF."""

    name: str
    buffers: int
    live_bytes: int
    top_bytes: int
    hazards: int
    apart_us: float
    placed_us: float
    tight_hazards: int
    tight_us: float
    allocate_ms: float


def measure(kernel: Kernel, target: str, time_limit: float) -> Figures:
    """Compile one kernel and simulate it at its addresses and at tight ones."""
    made = nkigen_lite.compile(
        kernel.function, *kernel.specs, target=target, time_limit=time_limit, name="kernel"
    )
    limits = Limits.of(made.target)
    start = process_time()
    placed = allocate(made.nki, limits)
    seconds = process_time() - start
    banks = max(1, placed.psum.live // limits.psum_bank_bytes)
    tight = allocate(made.nki, replace(limits, sbuf_bytes=placed.sbuf.live, psum_banks=banks))
    times = [simulate_kernel(made.nki, made.target, a).time_ns for a in (None, placed, tight)]
    return Figures(
        kernel.name,
        len(placed.places),
        placed.sbuf.live,
        placed.sbuf.top,
        len(placed.hazards),
        times[0] / 1000,
        times[1] / 1000,
        len(tight.hazards),
        times[2] / 1000,
        1000 * seconds,
    )


def row(figures: Figures) -> tuple[str, ...]:
    """One line of the table."""
    return (
        figures.name,
        f"{figures.buffers}",
        f"{figures.live_bytes:,}",
        f"{figures.top_bytes:,}",
        f"{figures.hazards}",
        f"{figures.apart_us:,.1f}",
        f"{figures.placed_us / figures.apart_us - 1:+.2%}",
        f"{figures.tight_hazards}",
        f"{figures.tight_us / figures.apart_us - 1:+.2%}",
        f"{figures.allocate_ms:.0f}",
    )


def main() -> int:
    """Run the benchmark; 0, or 1 if a name selects nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="kernels by prefix; default all")
    parser.add_argument("--target", default="trn2")
    parser.add_argument("--time-limit", type=float, default=10.0, help="solver seconds per kernel")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    chosen = [
        k for k in kernels() if not options.names or any(map(k.name.startswith, options.names))
    ]
    if not chosen:
        print(f"no kernel starts with {', '.join(options.names)}", file=sys.stderr)
        return 1
    progress, found = Console(stderr=True), []
    for kernel in chosen:
        with progress.status(kernel.name):
            found.append(measure(kernel, options.target, options.time_limit))
    if options.json:
        print(json.dumps([asdict(figures) for figures in found], indent=1))
        return 0
    table = Table(title=f"SBUF bytes per partition and simulated time on {options.target}")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "kernel" else "right")
    for figures in found:
        table.add_row(*row(figures))
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
