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
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.attempts import STAGES, attempt
from benchmarks.command import (
    add_stop_after,
    add_target,
    measure_each,
    nothing_selected,
    parser_of,
    print_json,
    print_table,
    table_of,
)
from benchmarks.groups import Group, chosen
from benchmarks.kernels import Kernel

COLUMNS = (
    *("kernel", "simulated µs", "bound µs", "ratio", "at most", "", "placed", "predicted µs"),
    *("greedy µs", "gap", "HBM/min", "instr.", "DMAs", "ir ops", "SBUF KiB"),
    *("trace", "price", "solve", "lower", "all s", "cpu s", "busiest, and what it waits for"),
)


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


def tabled(found: Sequence[dict[str, Any]], target: str) -> Table:
    """All rows, a section per group."""
    title = f"simulated on {target}, not measured; `placed` is what waiting for reused bytes adds"
    table = table_of(title, COLUMNS, text=(0, len(COLUMNS) - 1))
    group = None
    for figures in found:
        if figures["group"] != group:
            group = figures["group"]
            table.add_section()
            table.add_row(f"[bold]{group}[/bold]")
        table.add_row(*row(figures))
    return table


def summary(found: Sequence[dict[str, Any]]) -> str:
    """How many rows meet their targets, and which do not compile."""
    judged = [f for f in found if f["most"] is not None]
    failed = [f["name"] for f in found if "error" in f]
    text = f"{sum(f['met'] for f in judged)} of {len(judged)} meet their targets"
    return text + (f"; {len(failed)} do not compile: {', '.join(failed)}" if failed else "")


def label(selected: tuple[Group, Kernel]) -> str:
    """As `--list` prints it."""
    group, kernel = selected
    return f"{group.name}/{kernel.name}"


def main() -> int:
    """Run the benchmark; see the module's text for the exit code."""
    parser = parser_of(__doc__, "kernel", 10.0, selects="groups and kernels")
    add_target(parser)
    add_stop_after(parser, 0.0)
    parser.add_argument("--list", action="store_true", help="print the names, and compile nothing")
    options = parser.parse_args()
    selected = chosen(options.names)
    if not selected:
        return nothing_selected(options.names)
    if options.list:
        print("\n".join(map(label, selected)))
        return 0
    found = measure_each(selected, label, lambda one, say: measure(*one, options))
    if options.json:
        print_json(found)
    else:
        print_table(tabled(found, options.target), [summary(found)])
    return 0 if all(f["met"] for f in found) else 1


if __name__ == "__main__":
    sys.exit(main())
