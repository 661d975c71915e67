"""The stages of a compilation, as ``compile`` names them to its ``watch``."""

from __future__ import annotations

# Stage -> what is done to reach it.
STAGES = {
    "trace": "tracing",
    "canonicalize": "canonicalizing",
    "digits": "choosing where to round",
    "decompose": "decomposing",
    "clean": "cleaning up",
    "axes": "finding the atomic axes",
    "plan": "pricing and solving the layout",
    "nki": "lowering",
}
ALL = "all"


def doing_after(stage: str) -> str:
    """What is done once ``stage`` has been reached."""
    names = list(STAGES)
    following = names[names.index(stage) + 1 :]
    return STAGES[following[0]] if following else "writing the report"
