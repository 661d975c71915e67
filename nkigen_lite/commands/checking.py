"""``check``: whether kernel source files are legal NKI on a target."""

from __future__ import annotations

import argparse

from nkigen_lite.commands import terminal
from nkigen_lite.source_check import Verdict, check_file


def check_command(args: argparse.Namespace) -> int:
    """Check each file; 1 if any of them breaks a rule."""
    verdicts = [(file, check_file(file, target=args.target)) for file in args.files]
    for file, verdict in verdicts:
        terminal.write("".join(f"{problem.text(file)}\n" for problem in verdict.problems))
        terminal.write("".join(f"{file}: undecided: {what}\n" for what in verdict.undecided))
        terminal.write(f"{file}: {summary(verdict, args.target)}\n")
    return 0 if all(verdict.ok for _, verdict in verdicts) else 1


def summary(verdict: Verdict, target: str) -> str:
    """What was checked and how it went, in a line."""
    kernels = ", ".join(verdict.kernels) or "no kernel"
    found = len(verdict.problems)
    outcome = f"{found} problem{'s' if found != 1 else ''}" if found else "legal as far as checked"
    return f"{kernels} on {target}: {verdict.calls:,} instructions checked; {outcome}"
