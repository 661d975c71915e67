"""What having a value in a place is worth at a position, from the linear relaxation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .engine import SECONDS_PER_PORT, Engine
from .formulation import Formulation
from .problem import Problem


@dataclass(frozen=True, slots=True)
class Worth:
    """By (value, layout or HBM), the ns that readers at or after a position would pay to have the
    value there; what they would pay nothing for is left out.  `deterministic_s` is the time it
    took in machine-independent estimates."""

    prices: Mapping[tuple[str, str], int]
    deterministic_s: float


def worth(problem: Problem, position: int, engine: Engine) -> Worth:
    """The prices of the relaxation's rows by which those readers need the value."""
    form = Formulation(problem)
    ports = sum(len(c.ops) + len(c.reads) + len(c.writes) for c in problem.candidates)
    engine.meter.spent_s += ports * SECONDS_PER_PORT
    rows = engine.relax(form, form.time)
    paid: dict[tuple[str, str], float] = {}
    for value, place, read_at, row in form.supply:
        made_at = form.index.produced_at[value]
        if read_at >= position and (made_at is None or made_at < position):
            paid[value, place] = paid.get((value, place), 0.0) + max(0.0, -rows[row])
    prices = {key: round(ns) for key, ns in paid.items() if round(ns) > 0}
    return Worth(prices, engine.meter.spent_s)
