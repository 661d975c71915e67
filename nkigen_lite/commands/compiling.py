"""``compile`` and ``show``: from a function in a file to a report, files, or a stage's IR."""

from __future__ import annotations

import argparse
from pathlib import Path

from cost_models import Target
from nkigen_lite.api import Compiled, Watch, load_constraints, write_outputs
from nkigen_lite.api import compile as compile_function
from nkigen_lite.commands import terminal
from nkigen_lite.commands.arguments import Request, request, target_of
from nkigen_lite.commands.stages import ALL, STAGES, doing_after
from nkigen_lite.errors import InvalidInput
from nkigen_lite.report.tables import encodable
from nkigen_lite.report.text import report_text


def compiled(args: argparse.Namespace, wanted: Request, target: Target, watch: Watch) -> Compiled:
    """The kernel that the options of a command ask for."""
    return compile_function(
        wanted.function,
        *wanted.bound.args,
        **wanted.bound.kwargs,
        target=target,
        time_limit=args.time_limit,
        seed=args.seed,
        constraints=load_constraints(args.constraints) if args.constraints else (),
        prepack=args.prepack,
        watch=watch,
    )


def compile_command(args: argparse.Namespace) -> int:
    """Compile, write the files that ``-o`` asks for, and print the report."""
    if args.direct_alloc and not args.output:
        raise InvalidInput("--direct-alloc writes addresses into kernel.py, so give -o OUT")
    with terminal.stdout_is_clean(args.json), terminal.progress(STAGES["trace"]) as progress:
        wanted = request(args.function, args.arg, args.static)
        target = target_of(args.target, args.set)
        kernel = compiled(args, wanted, target, lambda stage, _: progress(doing_after(stage)))
    written: list[Path] = []
    if args.output:
        written = write_outputs(kernel, args.output, direct_alloc=args.direct_alloc)
    if args.json:
        terminal.write(kernel.report.to_json() + "\n")
    elif not args.quiet:
        terminal.write(_text(kernel, target, args.full))
        terminal.write("".join(f"wrote {path}\n" for path in written))
    return 0


def _text(kernel: Compiled, target: Target, full: bool) -> str:
    return report_text(
        kernel.report,
        kernel.plan,
        target,
        width=terminal.width(),
        full=full,
        hint="--full shows all",
        colour=terminal.colour(),
        encoding=terminal.encoding(),
    )


class _Reached(Exception):
    """Ends a compilation whose later stages nobody wants to see."""


def show_command(args: argparse.Namespace) -> int:
    """Print the IR that each stage leaves, or one stage's alone."""
    wanted = request(args.function, args.arg, args.static)
    target = target_of(args.target, args.set)
    texts: dict[str, str] = {}
    with terminal.progress(STAGES["trace"]) as progress:

        def watch(stage: str, text: str) -> None:
            texts[stage] = text
            if stage == args.stage:
                raise _Reached
            progress(doing_after(stage))

        try:
            compiled(args, wanted, target, watch)
        except _Reached:
            texts = {args.stage: texts[args.stage]}
    for stage, text in texts.items():
        heading = f"# {stage}\n" if args.stage == ALL else ""
        terminal.write(encodable(f"{heading}{text.rstrip()}\n", terminal.encoding()))
    return 0
