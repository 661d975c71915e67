"""What the benchmarks of a list of things share: selection by name, progress, and output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

from rich.console import Console
from rich.status import Status
from rich.table import Table

WIDTH_IN_A_PIPE = 160

Item = TypeVar("Item")
Found = TypeVar("Found")
Say = Callable[[str], None]
"""Shows on the progress line what is being done."""


def parser_of(doc: str | None, what: str, seconds: float) -> argparse.ArgumentParser:
    """A parser for names of `what`, a time limit in seconds, and JSON instead of a table."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{what}s by prefix; default all")
    limit = f"solver seconds per {what}; default %(default)s"
    parser.add_argument("--time-limit", type=float, default=seconds, help=limit)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def run(
    options: argparse.Namespace,
    items: Iterable[Item],
    name: Callable[[Item], str],
    measure: Callable[[Item, Say], Found],
    table: Callable[[Sequence[Found]], Table],
    missed: Callable[[Sequence[Found]], Sequence[str]] = lambda found: (),
    notes: Callable[[Sequence[Found]], Iterable[str]] = lambda found: (),
) -> int:
    """Measure the items that `options` selects, with a progress line on a terminal, and print what
    was found, with notes; 0, or 1 if a name selects nothing or a target is missed."""
    names = tuple(options.names)
    chosen = [item for item in items if not names or name(item).startswith(names)]
    if not chosen:
        print(f"nothing starts with {' or '.join(names)}", file=sys.stderr)
        return 1
    found = []
    with console(stderr=True).status("") as status:
        for item in chosen:
            label = name(item)
            status.update(label)
            found.append(measure(item, _sayer(status, label)))
    misses = missed(found)
    if options.json:
        print(json.dumps([_plain(figures) for figures in found], indent=1))
    else:
        console().print(table(found))
        for line in notes(found):
            print(line)
    for line in misses:
        print(f"target missed: {line}", file=sys.stderr if options.json else sys.stdout)
    return int(bool(misses))


def _sayer(status: Status, label: str) -> Say:
    return lambda text: status.update(f"{label}: {text}")


def console(*, stderr: bool = False) -> Console:
    """As wide as the terminal, or as tables need where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(width=None if stream.isatty() else WIDTH_IN_A_PIPE, stderr=stderr)


def _plain(figures: Any) -> Any:
    if isinstance(figures, list):
        return [_plain(each) for each in figures]
    return asdict(figures) if is_dataclass(figures) and not isinstance(figures, type) else figures
