"""What addresses cost the benchmark kernels: bytes, and time spent waiting for bytes used before.

    python benchmarks/addresses.py [--target trn2] [--time-limit 10] [--json] [NAME ...]

Names select kernels by prefix. Each is simulated with bytes of its own for every buffer, at the
addresses that the compiler gives, and at addresses within memories no larger than what is live
at once. Simulated, not measured; milliseconds are processor time of finding the addresses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
import nkigen_lite
from benchmarks.command import add_target, parser_of, run, table_of
from benchmarks.kernels import Kernel, kernels
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


def table(found: Sequence[Figures]) -> Table:
    """The kernels, one line each."""
    made = table_of("SBUF bytes per partition and simulated time", COLUMNS)
    for figures in found:
        made.add_row(*row(figures))
    return made


def main() -> int:
    """Run the benchmark; 0, or 2 if nothing is selected."""
    parser = parser_of(__doc__, "kernel", 10.0)
    add_target(parser)
    options = parser.parse_args()
    return run(
        options,
        kernels(),
        lambda kernel: kernel.name,
        lambda kernel, say: measure(kernel, options.target, options.time_limit),
        table,
    )


if __name__ == "__main__":
    sys.exit(main())
