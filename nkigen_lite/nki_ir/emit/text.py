"""Python expressions as text that breaks over lines as a formatter would break it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

LINE_LENGTH = 100
INDENT = 4


@dataclass(frozen=True, slots=True)
class Bracket:
    """What follows a name: ``(a, b)``, ``[i, j]`` or ``.method(a)``; ``opening`` ends in ( or [."""

    opening: str
    items: tuple[Expr, ...]
    closing: str

    def __str__(self) -> str:
        return f"{self.opening}{', '.join(map(str, self.items))}{self.closing}"


@dataclass(frozen=True, slots=True)
class Expr:
    """A name or literal, and the brackets after it; ``str()`` is its text on one line."""

    text: str
    brackets: tuple[Bracket, ...] = ()

    def __str__(self) -> str:
        return self.text + "".join(map(str, self.brackets))

    def named(self, keyword: str) -> Expr:
        """``keyword=self``, an argument of a call."""
        return replace(self, text=f"{keyword}={self.text}")

    def method(self, name: str, *arguments: str) -> Expr:
        """``self.name(arguments)``."""
        bracket = Bracket(f".{name}(", tuple(map(Expr, arguments)), ")")
        return Expr(self.text, (*self.brackets, bracket))

    def subscript(self, items: Sequence[str]) -> Expr:
        """``self[items]``."""
        return Expr(self.text, (*self.brackets, Bracket("[", tuple(map(Expr, items)), "]")))


def call(function: str, items: Sequence[Expr]) -> Expr:
    """``function(items)``."""
    return Expr(function, (Bracket("(", tuple(items), ")"),))


def wrapped(expression: Expr, level: int, before: str = "", after: str = "") -> list[str]:
    """The lines of ``before + expression + after`` at an indentation level.

    Lines longer than :data:`LINE_LENGTH` are split in the last bracket up to which they fit: its
    content on a line of its own if it fits there, else one item a line.
    """
    pad = " " * (INDENT * level)
    line = f"{pad}{before}{expression}{after}"
    if len(line) <= LINE_LENGTH or not any(b.items for b in expression.brackets):
        return [line]
    split = _split(expression, len(f"{pad}{before}"))
    bracket = expression.brackets[split]
    head = expression.text + "".join(map(str, expression.brackets[:split])) + bracket.opening
    tail = bracket.closing + "".join(map(str, expression.brackets[split + 1 :]))
    inner = " " * (INDENT * (level + 1)) + ", ".join(map(str, bracket.items))
    # Formatters give the items of a tuple a line each, those of a call only if they must.
    if len(inner) <= LINE_LENGTH and expression.text:
        body = [inner]
    else:
        alone = len(bracket.items) == 1 and bracket.closing == "]"
        comma = "" if alone else ","
        body = [part for item in bracket.items for part in wrapped(item, level + 1, after=comma)]
    return [f"{pad}{before}{head}", *body, f"{pad}{tail}{after}"]


def _split(expression: Expr, start: int) -> int:
    """The last bracket with content that opens inside the line, or else the widest one."""
    last, column = None, start + len(expression.text)
    for position, bracket in enumerate(expression.brackets):
        if bracket.items and column + len(bracket.opening) <= LINE_LENGTH:
            last = position
        column += len(str(bracket))
    if last is not None:
        return last
    widths = [len(str(b)) if b.items else 0 for b in expression.brackets]
    return widths.index(max(widths))


def shape_text(shape: Sequence[int]) -> str:
    """A tuple of integers as Python writes it."""
    return repr(tuple(int(n) for n in shape))


def number_text(value: float) -> str:
    """A number as a Python literal, or the constants ``INF`` and ``NAN`` that stand in for one."""
    if isinstance(value, bool | int):
        return repr(value)
    if math.isfinite(value):
        return repr(float(value))
    return "NAN" if math.isnan(value) else ("INF" if value > 0 else "-INF")
