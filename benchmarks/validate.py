"""Set predicted times beside published measurements, of single instructions and of kernels.

    python benchmarks/validate.py [--only PREFIX] [--all] [--json] [--out FILE]

Kernels are simulated as their published sources have them. Rows that a constant of a profile, or
the schedule of a kernel, was read from or fitted to are summarised apart and count towards no
target; rows that say nothing about the model, for the reason given, are shown and not judged. Exit
code 0 if the targets are met, 1 if not, 2 if nothing is selected.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.measured import dataset, instructions
from benchmarks.measured.compare import (
    NS_PER_UNIT,
    Comparison,
    Summary,
    of_instruction,
    of_kernel,
    summarise,
)

MOST_MEDIAN = 0.10
MOST_ERROR = 0.25
LEAST_RANK = 0.97
MOST_SINGLE_ERROR = 0.05
"""Targets: the first three for kernels, the last for instruction rows of trn2 that are not listed
as misses: how far they are outside the published range. Rows used for calibration have none."""

CALIBRATION = "used for calibration"
OTHERS = "all other rows"
OTHERS_SINGLE = "all other rows, no series"

SINGLE_DEVICE = "trn2"
OUT = Path("out/validate.svg")
WIDTH_IN_A_PIPE = 150


def chosen(names: Iterable[str], prefixes: Sequence[str]) -> set[str]:
    """The names that start with one of the prefixes; all without any."""
    return {name for name in names if not prefixes or name.startswith(tuple(prefixes))}


def kernels(prefixes: Sequence[str]) -> list[Comparison]:
    """Every simulated row that is chosen, with a progress line on a terminal."""
    rows = [row for row in dataset.rows() if row.simulated]
    names = chosen((row.name for row in rows), prefixes)
    errors = Console(stderr=True)
    watched = track(
        [row for row in rows if row.name in names],
        "simulating kernels",
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    return [of_kernel(row) for row in watched]


def singles(prefixes: Sequence[str]) -> list[Comparison]:
    """Every instruction row that is chosen."""
    found = [of_instruction(row) for row in instructions.rows()]
    names = chosen((c.name for c in found), prefixes)
    return [c for c in found if c.name in names]


# --- verdict


def parts(found: Sequence[Comparison]) -> dict[str, Summary | None]:
    """Summaries of the rows that anything was read from or fitted to, of the others, of all.

    The many points of a series agree with each other; the others are summarised without them too.
    Rows that are not judged are left out.
    """
    judged = [c for c in found if c.judged]
    others = [c for c in judged if not c.calibrates]
    single = [c for c in others if not c.series]
    return {
        CALIBRATION: summarise([c for c in judged if c.calibrates]),
        OTHERS: summarise(others),
        OTHERS_SINGLE: summarise(single) if len(single) < len(others) else None,
        "all": summarise(judged),
    }


def kernel_failures(found: Sequence[Comparison]) -> list[str]:
    """Which targets are missed by the kernels that nothing was read from or fitted to."""
    missed = []
    for name, summary in parts(found).items():
        if summary is None or name not in (OTHERS, OTHERS_SINGLE):
            continue
        if summary.median > MOST_MEDIAN:
            missed.append(f"{name}: median error {summary.median:.1%}, target {MOST_MEDIAN:.0%}")
        if summary.worst > MOST_ERROR:
            missed.append(f"{name}: worst error {summary.worst:.1%}, target {MOST_ERROR:.0%}")
        rank = summary.rank_correlation
        if rank is not None and rank < LEAST_RANK:
            missed.append(f"{name}: rank correlation {rank:.3f}, target {LEAST_RANK}")
    return missed


def single_failures(found: Sequence[Comparison]) -> list[str]:
    """Instruction rows that nothing was read from and that are off by more than the target."""
    return [
        f"{c.name}: {c.outside:+.1%} outside the published range, target {MOST_SINGLE_ERROR:.0%}"
        for c in found
        if c.device == SINGLE_DEVICE
        and not (c.miss or c.calibrates)
        and abs(c.outside) > MOST_SINGLE_ERROR
    ]


# --- tables

SINGLES_TEXT = (
    "Instructions: error is from the published value, the middle of a range where no median is"
    " published; outside is from the nearer end of the range, 0 in it. Summaries are of the first,"
    " and count listed misses; the target is for the second, and for rows that are neither listed"
    " misses nor used for calibration. Rates have no part in the rank correlation, which is of"
    " times."
)


def console() -> Console:
    """Where tables go: plain text of a fixed width unless that is a terminal."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_IN_A_PIPE)


def _note(c: Comparison) -> str:
    if not c.judged:
        return c.reason.partition(":")[0]
    return "listed miss" if c.miss else f"calibrates {c.calibrates}" if c.calibrates else ""


def _amount(value: float) -> str:
    """Three digits of what is below 1, or one after the point."""
    return f"{value:.3f}" if value < 1 else f"{value:,.1f}".removesuffix(".0")


def _published(c: Comparison) -> str:
    """The value, or where a range is published, that."""
    if c.low == c.high:
        return _amount(c.published)
    return f"{_amount(c.low)} to {_amount(c.high)}"


def singles_table(found: Sequence[Comparison]) -> Table:
    """A line per instruction row: the published range, the prediction, and both errors."""
    table = Table(title="instructions and DMAs", title_justify="left")
    table.add_column("row")
    table.add_column("device")
    for name in ("published", "predicted"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in ("error", "outside"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note")
    for c in found:
        errors = (f"{c.error:+.1%}", f"{c.outside:+.1%}" if c.outside else "0")
        numbers = (_published(c), _amount(c.predicted), c.unit)
        table.add_row(c.name, c.device, *numbers, *errors, _note(c))
    return table


def kernels_table(title: str, found: Sequence[Comparison]) -> Table:
    """A line per kernel row: predicted beside published."""
    table = Table(title=title, title_justify="left")
    table.add_column("row")
    table.add_column("device")
    for name in ("published µs", "predicted µs", "error"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note")
    for c in found:
        times = (f"{c.published:,.1f}", f"{c.predicted:,.1f}")
        table.add_row(c.name, c.device, *times, f"{c.error:+.1%}", _note(c))
    return table


def series_table(found: Sequence[Comparison]) -> Table:
    """A line per series of points."""
    table = Table(title="series of kernels", title_justify="left")
    for name in ("series", "points", "published µs", "median error", "worst error", "note"):
        table.add_column(name, justify="left" if name in ("series", "note") else "right")
    for series in dict.fromkeys(c.series for c in found):
        points = [c for c in found if c.series == series]
        summary = summarise(points)
        assert summary is not None
        times = [c.published for c in points]
        table.add_row(
            series,
            str(len(points)),
            f"{min(times):,.0f} to {max(times):,.0f}",
            f"{summary.median:.1%}",
            f"{summary.worst:.1%}",
            _note(points[0]),
        )
    return table


def summary_table(data: Mapping[str, Sequence[Comparison]]) -> Table:
    """Median and worst absolute error and rank correlation of both data sets."""
    table = Table(title="predicted against published measurements", title_justify="left")
    for name in ("rows", "count", "median error", "worst error", "worst row", "rank correlation"):
        table.add_column(name, justify="left" if name in ("rows", "worst row") else "right")
    for kind, found in data.items():
        for part, summary in parts(found).items():
            if summary is None:
                continue
            rank = summary.rank_correlation
            table.add_row(
                f"{kind}: {part}",
                str(summary.rows),
                f"{summary.median:.1%}",
                f"{summary.worst:.1%}",
                summary.worst_name,
                "-" if rank is None else f"{rank:.4f}",
            )
    return table


def left_out_table() -> Table:
    """Why rows of the data set are not predicted."""
    reasons = Counter(row.reason for row in dataset.rows() if not row.simulated)
    table = Table(title="published kernel times that are not predicted", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("because")
    for reason, count in reasons.most_common():
        table.add_row(str(count), reason)
    return table


def show(single: Sequence[Comparison], found: Sequence[Comparison], every: bool) -> None:
    """Print the tables; the points of a series one by one only if asked for."""
    out = console()
    folded = [c for c in found if c.series and not every]
    listed = [c for c in found if every or not c.series]
    if single:
        out.print(singles_table(single))
    for title, judged in (("kernels", True), ("kernels: shown, not judged", False)):
        shown = [c for c in listed if c.judged == judged]
        if shown:
            out.print(kernels_table(title, shown))
    if folded:
        out.print(series_table(folded))
    unjudged = [c for c in found if not c.judged]
    for reason in dict.fromkeys(c.reason for c in unjudged):
        devices = dict.fromkeys(c.device for c in unjudged if c.reason == reason)
        count = sum(c.reason == reason for c in unjudged)
        rows = f"{count} row{'s' * (count > 1)} of {', '.join(devices)}"
        out.print(f"Not judged, {rows}: {reason}.", highlight=False)
    if single or len(unjudged) < len(found):
        out.print(summary_table({"instructions": single, "kernels": found}))
    if single:
        out.print(SINGLES_TEXT, highlight=False)


def document(
    single: Sequence[Comparison], found: Sequence[Comparison], missed: Sequence[str]
) -> dict[str, Any]:
    """Everything, for machines."""
    data = {"instructions": single, "kernels": found}
    return {
        **{kind: [asdict(c) for c in rows] for kind, rows in data.items()},
        "summary": {
            kind: {name: s and asdict(s) for name, s in parts(rows).items()}
            for kind, rows in data.items()
        },
        "missed": list(missed),
        "passed": not missed,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print; see the module's text for the exit codes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="PREFIX", help="rows by name"
    )
    parser.add_argument("--all", action="store_true", help="list every point of a series")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--out", type=Path, default=OUT, help="the plot; default %(default)s")
    options = parser.parse_args(arguments)
    single, found = singles(options.only), kernels(options.only)
    if not (single or found):
        print(f"no row starts with {' or '.join(options.only)}", file=sys.stderr)
        return 2
    missed = [*single_failures(single), *kernel_failures(found)]
    plotted = _plot(single, found, options.out)
    if options.json:
        print(json.dumps(document(single, found, missed), indent=1))
        return int(bool(missed))
    judged = [c for c in (*single, *found) if c.judged and not c.calibrates]
    show(single, found, options.all)
    if not options.only:
        console().print(left_out_table())
    print(f"Plot: {options.out}" if plotted else "No plot: no time is selected.")
    for line in missed:
        print(f"target missed: {line}")
    print("targets missed" if missed else "targets met" if judged else "no row is judged")
    return int(bool(missed))


def _plot(single: Sequence[Comparison], found: Sequence[Comparison], path: Path) -> bool:
    """Plot, and say whether there was any time to plot.

    Imported here: matplotlib takes longer to load than the comparison takes.
    """
    if not any(c.unit in NS_PER_UNIT for c in (*single, *found)):
        return False
    from benchmarks.measured.plot import save

    save(found, single, path, MOST_ERROR)
    return True


if __name__ == "__main__":
    sys.exit(main())
