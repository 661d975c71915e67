"""What the search asks of an optimiser, and how the time it may take is counted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .formulation import Formulation
from .linear import LinearModel

SECONDS_PER_PORT = 40e-6
SECONDS_PER_TERM = 3e-6
SECONDS_PER_PIVOT_ROW = 1e-8
SECONDS_PER_TICK = 2.4
"""What building a model takes per port and per term, the simplex method per iteration and row, and
CP-SAT per unit of its deterministic time, in seconds: measured on one core of a 2 vCPU cloud
machine.  The time limit is spent in these estimates, so that a plan does not depend on the speed
or the load of the machine; real time is only a net below, at `WALL_FACTOR` times the limit."""

WALL_FACTOR = 4
"""Real seconds allowed per second of the time limit."""

GRACE_S = 10.0
"""Real seconds that the net allows a packing, a search in pieces, and each piece, besides."""


@dataclass(slots=True)
class Meter:
    """Time spent, in machine-independent estimates of seconds, with real time as a net below;
    `grace_s` are real seconds that the net allows besides."""

    limit_s: float
    spent_s: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    grace_s: float = 0.0

    @property
    def left_s(self) -> float:
        """What remains of the limit."""
        return max(0.0, self.limit_s - self.spent_s)

    @property
    def wall_s(self) -> float:
        """Real time since the start."""
        return time.perf_counter() - self.started

    @property
    def wall_left_s(self) -> float:
        """Real time that one more step may take."""
        return max(0.01, WALL_FACTOR * self.limit_s + self.grace_s - self.wall_s)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an optimiser says of a model: `values` of all variables if it found a solution, a
    `bound` that none beats, and whether it is done, with the optimum or with the proof that there
    is no solution."""

    values: list[int] | None
    bound: int
    proven: bool


class Engine(Protocol):
    """An optimiser of linear models.  It spends the time on its `meter`."""

    meter: Meter

    def relax(self, form: Formulation, objective: Mapping[int, int]) -> list[float]:
        """A price for every row of `form.model`, good ones for `objective` if time allows."""

    def minimise(
        self,
        model: LinearModel,
        objective: Mapping[int, int],
        inside: Sequence[int],
        hint: Sequence[int] | None,
        seconds: float,
    ) -> Outcome:
        """Minimise `objective`, every variable not `inside` being 0, within `seconds`.

        `hint` has a value for every variable, best a solution.
        """

    def conflict(
        self, model: LinearModel, assumed: Sequence[str], hard: Sequence[str]
    ) -> list[str] | None:
        """Those tags in `assumed` that, with those in `hard` and the rows without tags, leave no
        solution; not the fewest.  `None` if there is a solution, or the time does not suffice."""
