"""Compile the benchmark kernels; set their simulated times beside their bounds and targets.

    python benchmarks/run.py [--target trn2] [--time-limit 10] [--stop-after 0] [--list] [--json]
                             [NAME ...]

NAME selects a group ("attention"), kernels of it by the beginning of their names
("attention/causal") or kernels of any group ("matmul"). Times of kernels are simulated, not
measured; seconds are this machine's, and depend on what else it does. Exit code 0 if every kernel
compiles and meets its target, 1 if not, 2 if nothing is selected.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.attempts import STAGES, attempt
from benchmarks.groups import Group, chosen
from benchmarks.kernels import Kernel

COLUMNS = (
    *("kernel", "simulated µs", "bound µs", "ratio", "at most", "", "placed", "predicted µs"),
    *("greedy µs", "gap", "HBM/min", "instr.", "DMAs", "ir ops", "SBUF KiB"),
    *("trace", "price", "solve", "lower", "all s", "cpu s", "busiest, and what it waits for"),
)
WIDTH_IN_A_PIPE = 290


def measure(group: Group, kernel: Kernel, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one kernel, or its error; with its group, its target and whether it is met."""
    figures = attempt(kernel, options.target, options.time_limit, options.stop_after)
    ratio = None if "error" in figures else figures["simulated_us"] / figures["bound_us"]
    met = ratio is not None and (group.most is None or ratio <= group.most)
    return {"group": group.name, "most": group.most, "ratio": ratio, "met": met, **figures}


def row(figures: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    seconds = (f"{figures['compile_s']:.1f}", f"{figures['cpu_s']:.1f}")
    if "error" in figures:
        first = figures["error"].splitlines()[0]
        return (figures["name"], "FAILS", *("",) * (len(COLUMNS) - 5), *seconds, first)
    most, greedy, simulated = figures["most"], figures["greedy_us"], figures["simulated_us"]
    return (
        figures["name"],
        f"{simulated:,.1f}",
        f"{figures['bound_us']:,.1f}",
        f"{figures['ratio']:.2f}",
        "-" if most is None else f"{most:.2f}",
        "" if figures["met"] else "MISS",
        f"+{figures['addresses']['simulated_us'] / simulated - 1:.0%}",
        f"{figures['predicted_us']:,.1f}",
        "-" if greedy is None else f"{greedy:,.1f}",
        f"{figures['gap']:.1%}",
        f"{figures['hbm_bytes'] / figures['compulsory_bytes']:.2f}",
        f"{figures['instructions']:,}",
        f"{figures['dmas']:,}",
        f"{figures['ir_ops']:,}",
        f"{figures['peak_sbuf_bytes'] / 1024:.0f}",
        *(f"{figures[stage]:.1f}" for stage in STAGES),
        *seconds,
        figures["waits_on"],
    )


def tabled(found: list[dict[str, Any]], target: str) -> Table:
    """All rows, a section per group."""
    title = f"simulated on {target}, not measured; `placed` is what waiting for reused bytes adds"
    table = Table(title=title)
    for number, name in enumerate(COLUMNS):
        left = number in (0, len(COLUMNS) - 1)
        table.add_column(name, justify="left" if left else "right", no_wrap=left)
    group = None
    for figures in found:
        if figures["group"] != group:
            group = figures["group"]
            table.add_section()
            table.add_row(f"[bold]{group}[/bold]")
        table.add_row(*row(figures))
    return table


def summary(found: list[dict[str, Any]]) -> str:
    """How many rows meet their targets, and which do not compile."""
    judged = [f for f in found if f["most"] is not None]
    failed = [f["name"] for f in found if "error" in f]
    text = f"{sum(f['met'] for f in judged)} of {len(judged)} meet their targets"
    return text + (f"; {len(failed)} do not compile: {', '.join(failed)}" if failed else "")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="groups and kernels; default all")
    parser.add_argument("--target", default="trn2")
    parser.add_argument("--time-limit", type=float, default=10.0, help="solver seconds per kernel")
    parser.add_argument("--stop-after", type=float, default=0.0, help="seconds per kernel, 0: none")
    parser.add_argument("--list", action="store_true", help="print the names, and compile nothing")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON")
    options = parser.parse_args()
    selected = chosen(options.names)
    if not selected:
        print(f"no group or kernel is called {', '.join(options.names)}", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(f"{group.name}/{kernel.name}" for group, kernel in selected))
        return 0
    progress = Console(stderr=True)
    found = []
    for number, (group, kernel) in enumerate(selected, 1):
        with progress.status(f"{number} of {len(selected)}: {group.name}/{kernel.name}"):
            found.append(measure(group, kernel, options))
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        console = Console(width=None if sys.stdout.isatty() else WIDTH_IN_A_PIPE)
        console.print(tabled(found, options.target))
        console.print(summary(found))
    return 0 if all(f["met"] for f in found) else 1


if __name__ == "__main__":
    sys.exit(main())
