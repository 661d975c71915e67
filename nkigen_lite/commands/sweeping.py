"""``sweep``: a function compiled for many shapes, targets and numbers of a profile."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from nkigen_lite.api import load_constraints
from nkigen_lite.commands import terminal
from nkigen_lite.commands.arguments import Pair, literal, named_arguments, number
from nkigen_lite.commands.simulating import write_text
from nkigen_lite.errors import InvalidInput
from nkigen_lite.frontend import load_function
from nkigen_lite.report.sweep_svg import sweep_svg
from nkigen_lite.report.sweep_text import at_text, sweep_text
from nkigen_lite.sweeping import sweep


def sweep_command(args: argparse.Namespace) -> int:
    """Compile at every point, write the files that are asked for, and print the table; 1 if a point
    does not compile."""
    with terminal.stdout_is_clean(args.json), terminal.progress("reading") as progress:
        function = load_function(args.function)

        def watch(done: int, total: int, at: Mapping[str, Any]) -> None:
            progress(f"compiling {done + 1} of {total}: {at_text(at)}")

        found = sweep(
            function,
            vary=_varied(args.vary),
            target=args.target,
            settings={field: number(value) for field, value in args.set},
            time_limit=args.time_limit,
            seed=args.seed,
            constraints=load_constraints(args.constraints) if args.constraints else (),
            prepack=args.prepack,
            watch=watch,
            **named_arguments(args.arg, args.static),
        )
    if args.svg:
        write_text(args.svg, sweep_svg(found))
    if args.csv:
        write_text(args.csv, found.to_csv())
    if args.json:
        terminal.write(found.to_json() + "\n")
    else:
        how = terminal.width(), terminal.colour(), terminal.encoding()
        terminal.write(sweep_text(found, width=how[0], colour=how[1], encoding=how[2]))
        terminal.write("".join(f"wrote {path}\n" for path in (args.svg, args.csv) if path))
    return 0 if all(point.error is None for point in found.points) else 1


def _varied(pairs: list[Pair]) -> dict[str, list[Any]]:
    """The values of ``NAME=V1,V2`` by name: numbers and other Python literals, or text."""
    found: dict[str, list[Any]] = {}
    for name, text in pairs:
        if name in found:
            raise InvalidInput(f"--vary {name}: given twice; write --vary {name}=V1,V2,V3")
        values = [value.strip() for value in text.split(",")]
        if not all(values):
            raise InvalidInput(f"--vary {name}: {text!r} has an empty value between its commas")
        found[name] = [literal(value) for value in values]
    return found
