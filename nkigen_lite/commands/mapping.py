"""``memory``: compile a function and show where its buffers lie in SBUF and PSUM."""

from __future__ import annotations

import argparse

from nkigen_lite.commands import terminal
from nkigen_lite.commands.arguments import request, target_of
from nkigen_lite.commands.compiling import compiled
from nkigen_lite.commands.simulating import write_text
from nkigen_lite.commands.stages import STAGES, doing_after
from nkigen_lite.report.memory_map import memory_map
from nkigen_lite.report.memory_svg import memory_svg
from nkigen_lite.report.memory_text import memory_text


def memory_command(args: argparse.Namespace) -> int:
    """Compile, write the drawing that is asked for, and print the map."""
    with terminal.stdout_is_clean(args.json), terminal.progress(STAGES["trace"]) as progress:
        wanted = request(args.function, args.arg, args.static)
        target = target_of(args.target, args.set)
        kernel = compiled(args, wanted, target, lambda stage, _: progress(doing_after(stage)))
    found = memory_map(kernel.nki, kernel.allocation)
    title = f"{kernel.report.kernel} on {target.name}"
    if args.svg:
        write_text(args.svg, memory_svg(found, title=title))
    if args.json:
        terminal.write(kernel.allocation.to_json())
        return 0
    terminal.write(
        memory_text(
            found,
            title=title,
            width=terminal.width(),
            full=args.full,
            encoding=terminal.encoding(),
        )
    )
    terminal.write(f"wrote {args.svg}\n" if args.svg else "")
    return 0
