"""``check``: whether kernel source files are legal NKI on a target."""

from __future__ import annotations

import argparse
import runpy

from nkigen_lite import vendor
from nkigen_lite.commands import terminal
from nkigen_lite.errors import InvalidInput
from nkigen_lite.source_check import Verdict, check_file


def check_command(args: argparse.Namespace) -> int:
    """Check each file; 1 if any of them breaks a rule, or its results are not numpy's."""
    verdicts = [(file, check_file(file, target=args.target)) for file in args.files]
    for file, verdict in verdicts:
        terminal.write("".join(f"{problem.text(file)}\n" for problem in verdict.problems))
        terminal.write("".join(f"{file}: undecided: {what}\n" for what in verdict.undecided))
        terminal.write(f"{file}: {summary(verdict, args.target)}\n")
    legal = all(verdict.ok for _, verdict in verdicts)
    if not args.simulate or not legal:
        return 0 if legal else 1
    vendor.nki(simulator=True)
    return 0 if all([simulated(file) == 0 for file in args.files]) else 1


def simulated(file: str) -> int:
    """Run the file's own main program, which simulates its kernel; the exit code."""
    main = runpy.run_path(file).get("main")
    if main is None:
        raise InvalidInput(f"check: {file} has no function main but must be a file of compile's")
    code: int = main([])
    return code


def summary(verdict: Verdict, target: str) -> str:
    """What was checked and how it went, in a line."""
    kernels = ", ".join(verdict.kernels) or "no kernel"
    found = len(verdict.problems)
    outcome = f"{found} problem{'s' if found != 1 else ''}" if found else "legal as far as checked"
    return f"{kernels} on {target}: {verdict.calls:,} instructions checked; {outcome}"
