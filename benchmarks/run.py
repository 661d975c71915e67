"""Compile the benchmark kernels and print what was predicted and how long it took.

    python benchmarks/run.py [--target trn2] [--time-limit 10] [--json] [NAME ...]

Names select kernels by prefix. Times of kernels are predicted by the cost model, not measured;
compile seconds are wall time of this machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from time import perf_counter
from typing import Any

from kernels import Kernel, kernels
from rich.console import Console
from rich.table import Table

import nkigen_lite

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


def main() -> int:
    """Run the benchmark; 0, or 1 if a name selects nothing."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("names", nargs="*", metavar="NAME", help="kernels by prefix; default all")
    parser.add_argument("--target", default="trn2")
    parser.add_argument("--time-limit", type=float, default=10.0, help="solver seconds per kernel")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON")
    options = parser.parse_args()
    chosen = [
        k for k in kernels() if not options.names or any(map(k.name.startswith, options.names))
    ]
    if not chosen:
        print(f"no kernel starts with {', '.join(options.names)}", file=sys.stderr)
        return 1
    progress = Console(stderr=True)
    found = []
    for kernel in chosen:
        with progress.status(kernel.name):
            found.append(measure(kernel, options.target, options.time_limit))
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    table = Table(title=f"predicted on {options.target}, not measured")
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if number else "left", no_wrap=number == 0)
    for figures in found:
        table.add_row(*row(figures))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
