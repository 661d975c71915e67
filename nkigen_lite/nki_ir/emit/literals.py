"""Long numbers that a kernel uses more than once, as named constants."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from itertools import count

from nkigen_lite.nki_ir.emit.text import Expr

_LONG = re.compile(r"(?P<before>(?:\w+=)?-?)(?P<number>\d+\.\d{5,}(?:e[-+]?\d+)?)")


class Literals:
    """Counts long numbers in expressions, then names those that come twice.

    A number is long if it has five digits or more after the point. ``C1``, ``C2``, … in order of
    first use, without those that name something else.
    """

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self.names: dict[str, str] = {}

    def note(self, expression: Expr) -> None:
        """Count the expression's numbers."""
        match = _LONG.fullmatch(expression.text)
        if match:
            self._seen[match["number"]] += 1
        for bracket in expression.brackets:
            for item in bracket.items:
                self.note(item)

    def settle(self, taken: Collection[str]) -> None:
        """Choose names, none of the taken ones, for what was counted more than once."""
        often = [number for number, times in self._seen.items() if times > 1]
        free = (name for i in count(1) if (name := f"C{i}") not in taken)
        self.names = dict(zip(often, free, strict=False))

    def named(self, expression: Expr) -> Expr:
        """The expression with names in place of the numbers that have one."""
        if not self.names:
            return expression
        match = _LONG.fullmatch(expression.text)
        text = expression.text
        if match and match["number"] in self.names:
            text = match["before"] + self.names[match["number"]]
        brackets = tuple(
            replace(b, items=tuple(self.named(item) for item in b.items))
            for b in expression.brackets
        )
        return Expr(text, brackets)

    def lines(self) -> list[str]:
        """The definitions."""
        return [f"{name} = {number}" for number, name in self.names.items()]
