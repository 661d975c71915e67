"""What this package raises when its input is wrong; both are also ``ValueError``.

ProfileError: a hardware profile, or an override of one, is not usable.
PriceError: an instruction, transfer or amount of work cannot be priced.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ProfileError(ValueError):
    """A profile names the field at fault, what it is, and the rule it breaks."""


class PriceError(ValueError):
    """A request for a price names the part at fault, what it is, and the rule it breaks."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest known name, or nothing when none is near."""
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
