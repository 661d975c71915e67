"""Compile the benchmark kernels and print what was predicted and how long it took.

    python benchmarks/run.py [--target trn2] [--time-limit 10] [--json] [NAME ...]

Names select kernels by prefix. Times of kernels are predicted by the cost model, not measured;
compile seconds are wall time of this machine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
import nkigen_lite
from benchmarks.command import parser_of, run
from benchmarks.kernels import Kernel, kernels

COLUMNS = (
    *("kernel", "predicted µs", "simulated µs", "bound µs", "ratio", "greedy µs", "gap"),
    *("HBM/min", "instructions", "DMAs", "ir ops", "SBUF KiB", "compile s"),
)


def measure(kernel: Kernel, target: str, time_limit: float) -> dict[str, Any]:
    """Compile one kernel; its report and the wall seconds taken."""
    start = perf_counter()
    made = nkigen_lite.compile(
        kernel.function, *kernel.specs, target=target, time_limit=time_limit, name="kernel"
    )
    seconds = perf_counter() - start
    return {"name": kernel.name, "compile_s": seconds, **made.report.to_dict()}


def row(figures: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    greedy = figures["greedy_us"]
    return (
        figures["name"],
        f"{figures['predicted_us']:,.1f}",
        f"{figures['simulated_us']:,.1f}",
        f"{figures['bound_us']:,.1f}",
        f"{figures['simulated_us'] / figures['bound_us']:.2f}",
        "-" if greedy is None else f"{greedy:,.1f}",
        f"{figures['gap']:.1%}",
        f"{figures['hbm_bytes'] / figures['compulsory_bytes']:.2f}",
        f"{figures['instructions']:,}",
        f"{figures['dmas']:,}",
        f"{figures['ir_ops']:,}",
        f"{figures['peak_sbuf_bytes'] / 1024:.0f}",
        f"{figures['compile_s']:.1f}",
    )


def table(found: Sequence[dict[str, Any]]) -> Table:
    """The kernels, one line each."""
    made = Table(title=f"predicted on {found[0]['target']}, not measured")
    for number, name in enumerate(COLUMNS):
        made.add_column(name, justify="right" if number else "left", no_wrap=number == 0)
    for figures in found:
        made.add_row(*row(figures))
    return made


def main() -> int:
    """Run the benchmark; 0, or 1 if a name selects nothing."""
    parser = parser_of(__doc__, "kernel", 10.0)
    parser.add_argument("--target", default="trn2")
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
