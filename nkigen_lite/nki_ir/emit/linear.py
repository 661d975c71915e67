"""Sums of names and numbers, as kernels write indices and extents: ``i * 128 + 64``."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Linear:
    """``const`` plus names times whole numbers, in order of their names."""

    const: int = 0
    terms: tuple[tuple[str, int], ...] = ()

    @staticmethod
    def of(name: str) -> Linear:
        """A name alone."""
        return Linear(0, ((name, 1),))

    def __add__(self, other: Linear) -> Linear:
        found = dict(self.terms)
        for name, factor in other.terms:
            found[name] = found.get(name, 0) + factor
        terms = tuple(sorted((n, f) for n, f in found.items() if f))
        return Linear(self.const + other.const, terms)

    def __mul__(self, factor: int) -> Linear:
        terms = tuple((n, f * factor) for n, f in self.terms if factor)
        return Linear(self.const * factor, terms)

    def __sub__(self, other: Linear) -> Linear:
        return self + other * -1

    def over(self, divisor: int) -> Linear:
        """A part of it; the divisor divides every number."""
        return Linear(self.const // divisor, tuple((n, f // divisor) for n, f in self.terms))

    def __str__(self) -> str:
        """Positive terms in their order, then the constant, then what is subtracted."""
        positive = [n if f == 1 else f"{n} * {f}" for n, f in self.terms if f > 0]
        negative = [n if f == -1 else f"{n} * {-f}" for n, f in self.terms if f < 0]
        if self.const > 0 or not self.terms:
            positive.append(str(self.const))
        elif self.const < 0:
            negative.append(str(-self.const))
        text = " + ".join(positive)
        for part in negative:
            text = f"{text} - {part}" if text else f"-{part}"
        return text


def linear_of(node: ast.expr, is_index: Callable[[str], bool]) -> Linear | None:
    """The expression as a sum of whole numbers and indices; None if it is something else."""
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return Linear(value)
        case ast.Name(id=name) if is_index(name):
            return Linear.of(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = linear_of(operand, is_index)
            return inner and inner * -1
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as op, right=right):
            a, b = linear_of(left, is_index), linear_of(right, is_index)
            if a is None or b is None:
                return None
            if isinstance(op, ast.Mult):
                return None if a.terms and b.terms else (a * b.const if a.terms else b * a.const)
            return a + b if isinstance(op, ast.Add) else a - b
    return None


@dataclass(frozen=True, slots=True)
class Progress:
    """Values of one number in several places: ``start + step * counts[place]``.

    What has equal counts follows from the same parameter. The first count has no constant.
    """

    start: int
    step: int
    counts: tuple[Linear, ...]


def progress(values: Sequence[Linear]) -> Progress | int:
    """How a number differs between places; the number itself if it does not."""
    start = values[0].const
    rest = [value - Linear(start) for value in values]
    factors = [abs(n) for value in rest for n in (value.const, *(f for _, f in value.terms))]
    step = math.gcd(*factors)
    if step == 0:
        return start
    first = next(n for value in rest for n in (*(f for _, f in value.terms), value.const) if n)
    step = step if first > 0 else -step
    return Progress(start, step, tuple(value.over(step) for value in rest))
