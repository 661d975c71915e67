"""Set simulated times beside the earlier nkigen-lite's, on its own patterns and shapes.

    python benchmarks/peers.py [--target trn2] [--time-limit 10] [--stop-after 0] [--json]
                               [PATTERN ...]

The earlier system is nkigen-lite of aws-neuron/nkipy. Its times are modelled by its own constants,
not measured (peers.json); ours are simulated, not measured. They are compared with the faster of
its two states. "at most" is what a kernel at our roofline bound would reach: no kernel is further
ahead. Targets: never slower; 5 times as fast in the median; 15 times on transformer layers, where
any kernel can be. Exit code 0 if they are met, 1 if not, 2 if nothing is selected.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.attempts import attempt
from benchmarks.command import (
    add_stop_after,
    add_target,
    by_prefix,
    measure_each,
    nothing_selected,
    parser_of,
    print_json,
    print_table,
    table_of,
)
from benchmarks.peer_rows import LAYERS, PeerRow, rows

LEAST, LEAST_MEDIAN, LEAST_LAYER = 1.0, 5.0, 15.0
COLUMNS = (
    *("kernel", "simulated µs", "earlier µs", "at its best µs", "speed-up", "at most", ""),
    *("bound µs", "ratio", "all s", "cpu s", "busiest, and what it waits for"),
)


def measure(peer: PeerRow, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one row with their times, or the error."""
    figures = attempt(peer.kernel(), options.target, options.time_limit, options.stop_after)
    return compared(peer, figures)


def compared(peer: PeerRow, figures: dict[str, Any]) -> dict[str, Any]:
    """The figures of our kernel with the times of theirs and the speed-up."""
    failed = "error" in figures
    theirs = {
        "pattern": peer.pattern,
        "peer_us": peer.makespan_us,
        "peer_earlier_us": peer.earlier_us,
        "speed_up": None if failed else peer.least_us / figures["simulated_us"],
        "most_speed_up": None if failed else peer.least_us / figures["bound_us"],
    }
    return {**figures, **theirs}


def misses(found: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences, one for each target that is missed."""
    said = [f"{f['name']} does not compile: {f['error']}" for f in found if "error" in f]
    compiled = [f for f in found if "error" not in f]
    said += [f"{f['name']} is slower: {f['speed_up']:.2f}" for f in compiled if _slower(f)]
    if compiled and (middle := median(f["speed_up"] for f in compiled)) < LEAST_MEDIAN:
        said.append(f"the median speed-up is {middle:.2f} but should be {LEAST_MEDIAN:g}")
    for f in compiled:
        if f["pattern"] in LAYERS and f["speed_up"] < LEAST_LAYER <= f["most_speed_up"]:
            said.append(f"{f['name']} has {f['speed_up']:.1f} but should have {LEAST_LAYER:g}")
    return said


def _slower(figures: dict[str, Any]) -> bool:
    return bool(figures["speed_up"] < LEAST)


def row(figures: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    earlier = figures["peer_earlier_us"]
    theirs = (f"{figures['peer_us']:,.1f}", "-" if earlier is None else f"{earlier:,.1f}")
    seconds = (f"{figures['compile_s']:.1f}", f"{figures['cpu_s']:.1f}")
    if "error" in figures:
        first = figures["error"].splitlines()[0]
        return (figures["name"], "FAILS", *theirs, *("",) * 5, *seconds, first)
    return (
        figures["name"],
        f"{figures['simulated_us']:,.1f}",
        *theirs,
        f"{figures['speed_up']:.1f}",
        f"{figures['most_speed_up']:.1f}",
        "SLOWER" if _slower(figures) else "",
        f"{figures['bound_us']:,.1f}",
        f"{figures['simulated_us'] / figures['bound_us']:.2f}",
        *seconds,
        figures["waits_on"],
    )


def tabled(found: Sequence[dict[str, Any]], target: str) -> Table:
    """All rows."""
    title = f"simulated on {target} and modelled by the earlier system, not measured"
    table = table_of(title, COLUMNS, text=(0, len(COLUMNS) - 1))
    for figures in found:
        table.add_row(*row(figures))
    return table


def summary(found: Sequence[dict[str, Any]]) -> list[str]:
    """Of all rows and of the layers, and the targets that are missed."""
    lines = []
    for title, some in (
        ("all", list(found)),
        ("layers", [f for f in found if f["pattern"] in LAYERS]),
    ):
        ups = [f["speed_up"] for f in some if "error" not in f]
        if ups:
            spread = f"{min(ups):.1f} to {max(ups):.1f}, median {median(ups):.1f}"
            lines.append(f"{title}: {len(ups)} of {len(some)} compile; speed-up {spread}")
    unreachable = [
        f["name"]
        for f in found
        if f["pattern"] in LAYERS and "error" not in f and f["most_speed_up"] < LEAST_LAYER
    ]
    if unreachable:
        named = ", ".join(unreachable)
        lines.append(f"no kernel can be {LEAST_LAYER:g} times as fast, not judged: {named}")
    return [*lines, *(misses(found) or ["all targets are met"])]


def main() -> int:
    """Run the comparison; see the module's text for the exit code."""
    parser = parser_of(__doc__, "row", 10.0, "PATTERN")
    add_target(parser)
    add_stop_after(parser, 0.0)
    options = parser.parse_args()
    selected = by_prefix(rows(), options.names, lambda peer: peer.name)
    if not selected:
        return nothing_selected(options.names)
    found = measure_each(selected, lambda peer: peer.name, lambda peer, say: measure(peer, options))
    missed = misses(found)
    if options.json:
        print_json({"rows": found, "summary": summary(found), "misses": missed})
    else:
        print_table(tabled(found, options.target), summary(found))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
