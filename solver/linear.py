"""Integer linear models as plain lists, and the bound that any set of row prices proves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

UNBOUNDED = 2**62
"""A row side of this size or more is absent."""

PRICE_UNIT = 2**24
"""Row prices are rounded to multiples of 1 / PRICE_UNIT, so that bounds are exact integers."""

Expression = list[tuple[int, int]]
"""A linear expression: (coefficient, variable) pairs."""


Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Row:
    """`lower <= sum of terms <= upper`.

    A row with tags belongs to those limits or constraints: the search for those that cannot hold
    together drops it when it asks for none of them.
    """

    terms: Expression
    lower: int
    upper: int
    tags: tuple[str, ...] = ()

    def always_holds(self, upper: Sequence[int]) -> bool:
        """Whether no values of the variables in `0..upper[i]` break the row."""
        least = most = 0
        for coefficient, variable in self.terms:
            if coefficient < 0:
                least += coefficient * upper[variable]
            else:
                most += coefficient * upper[variable]
        return self.lower <= least and most <= self.upper


@dataclass(slots=True)
class LinearModel:
    """Integer variables in `0..upper[i]` and rows over them."""

    upper: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def variable(self, upper: int = 1) -> int:
        """A new variable in 0..upper; its index."""
        self.upper.append(upper)
        return len(self.upper) - 1

    def at_most(self, terms: Expression, bound: int, tags: tuple[str, ...] = ()) -> None:
        """Add `terms <= bound`."""
        self.rows.append(Row(terms, -UNBOUNDED, bound, tags))

    def at_least(self, terms: Expression, bound: int, tags: tuple[str, ...] = ()) -> None:
        """Add `terms >= bound`."""
        self.rows.append(Row(terms, bound, UNBOUNDED, tags))

    def equal(self, terms: Expression, bound: int, tags: tuple[str, ...] = ()) -> None:
        """Add `terms == bound`."""
        self.rows.append(Row(terms, bound, bound, tags))

    def broken_rows(self, values: Sequence[int]) -> list[Row]:
        """The rows that the assignment `values` does not satisfy."""
        return [row for row in self.rows if not row.lower <= total(row.terms, values) <= row.upper]


def total(terms: Iterable[tuple[int, int]], values: Sequence[Number]) -> Number:
    """The value of a linear expression."""
    return sum(coefficient * values[variable] for coefficient, variable in terms)


@dataclass(frozen=True, slots=True)
class Priced:
    """What row prices prove about `minimize objective`: no solution costs less than `bound`, and
    none in which variable i is above 0 costs less than `at_use[i]`."""

    bound: int
    at_use: list[int]


def price(model: LinearModel, objective: Mapping[int, int], row_prices: Sequence[float]) -> Priced:
    """The Lagrangian bound of `row_prices` (one per row, from a linear relaxation; any numbers are
    safe, good ones give a good bound).

    Moving every row into the objective at its price leaves variables with independent reduced
    costs, whose minimum over their ranges is a lower bound.  Prices are rounded to fractions of
    `PRICE_UNIT` first and the rest is integer arithmetic, so the bound holds exactly.
    """
    reduced = [0] * len(model.upper)
    for variable, cost in objective.items():
        reduced[variable] = cost * PRICE_UNIT
    bound = 0
    for row, row_price in zip(model.rows, row_prices, strict=True):
        units = round(row_price * PRICE_UNIT)
        side = row.lower if units > 0 else row.upper
        if units == 0 or abs(side) >= UNBOUNDED:
            continue
        bound += units * side
        for coefficient, variable in row.terms:
            reduced[variable] -= units * coefficient
    bound += sum(cost * upper for cost, upper in zip(reduced, model.upper, strict=True) if cost < 0)
    at_use = [_ceil(bound + max(cost, 0)) for cost in reduced]
    return Priced(_ceil(bound), at_use)


def _ceil(units: int) -> int:
    return -(-units // PRICE_UNIT)
