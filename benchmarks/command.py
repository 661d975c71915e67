"""What the benchmarks of a list of things share: arguments, selection by name, progress, output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from nkigen_lite.commands.terminal import Progress, progress

WIDTH_IN_A_PIPE = 400
"""More than any table needs; none is wider than it needs to be."""

Item = TypeVar("Item")
Found = TypeVar("Found")
Say = Callable[[str], None]
"""Shows on the progress line what is being done."""


# --- arguments


def names_parser(
    doc: str | None, what: str, metavar: str = "NAME", *, selects: str = ""
) -> argparse.ArgumentParser:
    """A parser for names, of `what` by their beginnings, or of what is said to be selected."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    said = f"{selects or f'{what}s by prefix'}; default all"
    parser.add_argument("names", nargs="*", metavar=metavar, help=said)
    return parser


def parser_of(
    doc: str | None, what: str, seconds: float, metavar: str = "NAME", *, selects: str = ""
) -> argparse.ArgumentParser:
    """The same with a time limit in seconds, and JSON instead of a table."""
    parser = names_parser(doc, what, metavar, selects=selects)
    limit = f"solver seconds per {what}; default %(default)s"
    parser.add_argument("--time-limit", type=float, default=seconds, help=limit)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def add_target(parser: argparse.ArgumentParser) -> None:
    """Let the target be chosen."""
    parser.add_argument("--target", default="trn2", help="default %(default)s")


def add_stop_after(parser: argparse.ArgumentParser, seconds: float) -> None:
    """Let kernels be given up that take too long."""
    said = "wall seconds per kernel, 0: no limit; default %(default)g"
    parser.add_argument("--stop-after", type=float, default=seconds, help=said)


# --- selection and progress


def by_prefix(
    items: Iterable[Item], names: Sequence[str], name: Callable[[Item], str]
) -> list[Item]:
    """Those whose names start with one of `names`, or all if there are none."""
    return [item for item in items if not names or name(item).startswith(tuple(names))]


def nothing_selected(names: Sequence[str]) -> int:
    """Say so; the exit code for it."""
    print(f"nothing is called {' or '.join(names)}", file=sys.stderr)
    return 2


def measure_each(
    items: Sequence[Item], name: Callable[[Item], str], measure: Callable[[Item, Say], Found]
) -> list[Found]:
    """What is found of each, with a progress line on a terminal."""
    found = []
    with progress("") as line:
        for number, item in enumerate(items, 1):
            say = _sayer(line, f"{number} of {len(items)}: {name(item)}")
            say("")
            found.append(measure(item, say))
    return found


def _sayer(line: Progress, label: str) -> Say:
    return lambda text: line(f"{label}: {text}" if text else label)


# --- output


def console() -> Console:
    """As wide as the terminal, or as tables need where there is none."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_IN_A_PIPE)


def table_of(title: str, columns: Sequence[str], text: Collection[int] = (0,)) -> Table:
    """An empty table; columns with the indices `text` are left-justified and not wrapped."""
    made = Table(title=title)
    for number, name in enumerate(columns):
        left = number in text
        made.add_column(name, justify="left" if left else "right", no_wrap=left)
    return made


def print_json(data: Any) -> None:
    """Plain data and dataclasses, nested in any way."""
    print(json.dumps(data, indent=1, default=_plain))


def _plain(figures: Any) -> Any:
    if is_dataclass(figures) and not isinstance(figures, type):
        return asdict(figures)
    raise TypeError(f"{type(figures).__name__} is not data")


def print_table(table: Table, lines: Iterable[str] = ()) -> None:
    """A table, and what is said below it."""
    console().print(table)
    for line in lines:
        print(line)


def run(
    options: argparse.Namespace,
    items: Iterable[Item],
    name: Callable[[Item], str],
    measure: Callable[[Item, Say], Found],
    table: Callable[[Sequence[Found]], Table],
    missed: Callable[[Sequence[Found]], Sequence[str]] = lambda found: (),
    notes: Callable[[Sequence[Found]], Iterable[str]] = lambda found: (),
) -> int:
    """Measure the items that `options` selects by prefix, and print what was found, with notes; 0,
    1 if a target is missed, or 2 if nothing is selected."""
    selected = by_prefix(items, options.names, name)
    if not selected:
        return nothing_selected(options.names)
    found = measure_each(selected, name, measure)
    if options.json:
        print_json(found)
    else:
        print_table(table(found), notes(found))
    misses = missed(found)
    for line in misses:
        print(f"target missed: {line}", file=sys.stderr if options.json else sys.stdout)
    return int(bool(misses))
