"""``why`` and ``plan diff``: what a saved plan is like, and why."""

from __future__ import annotations

import argparse
from typing import Any

from nkigen_lite.commands import terminal
from nkigen_lite.errors import InvalidInput
from nkigen_lite.report.plan_difference import plan_difference, plan_difference_text
from nkigen_lite.report.saved import load_plan, load_saved
from nkigen_lite.report.why import why_plan, why_value
from nkigen_lite.report.why_text import explanation_text, why_text


def why_command(args: argparse.Namespace) -> int:
    """Explain one value of a plan, or all its segments and boundaries."""
    saved = load_saved(args.folder)
    with terminal.progress("asking the solver again") as progress:
        if args.value is not None:
            progress(f"looking for other choices for {args.value}")
            why = why_value(saved, args.value, time_limit=args.time_limit, seed=args.seed)
            text, data = why_text(why, **_how()), why.to_json()
        else:
            found = why_plan(saved, time_limit=args.time_limit, seed=args.seed)
            title = f"{saved.problem.name}: predicted {saved.predicted_us:.2f} us"
            text, data = explanation_text(found, title, **_how()), found.to_json()
    terminal.write(data + "\n" if args.json else text)
    return 0


def plan_diff_command(args: argparse.Namespace) -> int:
    """Say what differs between two saved plans."""
    found = plan_difference(load_plan(args.old), load_plan(args.new))
    terminal.write(found.to_json() + "\n" if args.json else plan_difference_text(found, **_how()))
    return 0


def value_names(folder: str) -> list[str]:
    """Names of the values of a saved plan, to complete words; none if it cannot be read."""
    try:
        return [value.name for value in load_saved(folder).problem.values]
    except InvalidInput:
        return []


def _how() -> dict[str, Any]:
    return {
        "width": terminal.width(),
        "colour": terminal.colour(),
        "encoding": terminal.encoding(),
    }
