"""Python names for a kernel's values: valid, readable, and told apart."""

from __future__ import annotations

import itertools
import keyword
import re
from collections.abc import Callable, Collection, Mapping

from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.types import ON_CHIP

# What a kernel's body uses by these names.
_RESERVED = frozenset({"nki", "ncc", "nisa", "nl", "range", "float", "INF", "NAN"})


def identifier(name: str, reserved: Collection[str] = _RESERVED) -> str:
    """``name`` with what Python identifiers cannot hold replaced, and not a reserved one."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not text or text[0].isdigit():
        text = f"t{text}"
    while keyword.iskeyword(text) or text in reserved:
        text += "_"
    return text


def numbered(base: str, is_taken: Callable[[str], bool]) -> str:
    """``base``, with a number behind it if it is taken."""
    names = (f"{base}_{number}" if number else base for number in itertools.count())
    return next(name for name in names if not is_taken(name))


class Names:
    """Names of values, unlike any other name visible at the same place.

    Args:
        taken: names that are in use already.
        shown: what people call a value, by the beginning of its name in the IR: with
            ``{"v7": "scores"}`` the tile ``v7_tile`` is ``scores_tile``.
    """

    def __init__(self, taken: set[str], shown: Mapping[str, str]) -> None:
        self.of: dict[int, str] = {}
        self.scopes: list[set[str]] = [taken]
        self.shown = shown
        self.in_hbm: set[str] = set()
        self.before: dict[int, list[str]] = {}

    def define(self, value: Value, wanted: str | None = None) -> str:
        """Give the value a name: ``wanted`` or its own, with a number if that is taken."""
        base = identifier(wanted or readable(value.name, self.shown))
        if value.type.memory in ON_CHIP and base in self.in_hbm:
            base += f"_{value.type.memory}"  # the copy on chip of a tensor in HBM
        name = self.fresh(base)
        if value.type.memory not in ON_CHIP:
            self.in_hbm.add(name)
        self.of[id(value)] = name
        return name

    def define_before(self, value: Value, count: int) -> None:
        """Names for the ``count`` copies of a rotating buffer that were in use before."""
        name = self.of[id(value)]
        wanted = [
            f"{name}_before" if by == 1 else f"{name}_before{by}" for by in range(1, count + 1)
        ]
        self.before[id(value)] = [self.fresh(base) for base in wanted]

    def fresh(self, base: str) -> str:
        """``base``, with a number behind it if that name is visible already."""
        name = numbered(base, lambda name: any(name in scope for scope in self.scopes))
        self.scopes[-1].add(name)
        return name


def readable(name: str, shown: Mapping[str, str]) -> str:
    """The name with the longest beginning that people have a name for replaced."""
    parts = name.split("_")
    for count in range(len(parts), 0, -1):
        beginning = "_".join(parts[:count])
        if beginning in shown:
            return shown[beginning] + name[len(beginning) :]
    return name
