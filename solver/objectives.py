"""What plans are compared by: time, HBM traffic, SBUF peak, or a weighted sum of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from .problem import ProblemError
from .report import Terms

KIB = 1024
MAX_WEIGHT = 10**6
"""Weighted sums over a program then stay within the 64-bit range of the solver."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A weighted sum: so much per ns, per KiB of HBM traffic, per instruction, and per KiB and
    partition of the SBUF peak.  For instance energy, in any unit of which these are integers."""

    ns: int = 0
    hbm_kib: int = 0
    instructions: int = 0
    sbuf_kib: int = 0

    def __str__(self) -> str:
        parts = [f"{weight} {name}" for name, weight in asdict(self).items() if weight]
        return "weighted: " + (" + ".join(parts) or "nothing")


Objective = Literal["time", "hbm", "sbuf"] | Weights
"""What comes first; `ORDER` says what decides between plans that are equal in it."""

Rank = tuple[int, ...]
"""Order of plans, less is better: the objective's cost first, then the rest of `ORDER`."""

ORDER: Mapping[str, tuple[str, ...]] = {
    "time": ("ns", "hbm_bytes", "instructions", "sbuf_bytes"),
    "hbm": ("hbm_bytes", "ns", "instructions", "sbuf_bytes"),
    "sbuf": ("sbuf_bytes", "ns", "hbm_bytes", "instructions"),
}
"""By objective, the quantities that plans are compared by in turn; a weighted sum is followed by
those of "time"."""


def validate_objective(objective: Objective) -> None:
    """Raise `ProblemError` for an objective that there is not, or a weight out of range."""
    if isinstance(objective, Weights):
        if not any(asdict(objective).values()):
            raise ProblemError("objective: every weight is 0, must be above 0 for one")
        for name, weight in asdict(objective).items():
            if not 0 <= weight <= MAX_WEIGHT:
                raise ProblemError(
                    f"objective: weight {name} is {weight}, must be in 0..{MAX_WEIGHT}"
                )
    elif objective not in ORDER:
        raise ProblemError(f"objective: is {objective!r}, must be one of {', '.join(ORDER)}")


def criteria(objective: Objective) -> tuple[Mapping[str, int], ...]:
    """What to minimise in turn, each as weights per unit of a quantity.

    A weighted sum counts in 1 / 1024 of its unit, so that its weights per byte are integers.
    """
    if not isinstance(objective, Weights):
        return tuple({quantity: 1} for quantity in ORDER[objective])
    weighted = {
        "ns": KIB * objective.ns,
        "hbm_bytes": objective.hbm_kib,
        "instructions": KIB * objective.instructions,
        "sbuf_bytes": objective.sbuf_kib,
    }
    return ({name: weight for name, weight in weighted.items() if weight}, *criteria("time"))


def quantities(terms: Terms) -> dict[str, int]:
    """The quantities that objectives are made of."""
    return {
        "ns": terms.objective_ns,
        "hbm_bytes": terms.hbm_bytes,
        "instructions": terms.instructions,
        "sbuf_bytes": terms.peak_sbuf_bytes,
    }


def cost_terms(terms: Terms, objective: Objective = "time") -> dict[str, int]:
    """The parts that add up to the objective's cost, by quantity."""
    found = quantities(terms)
    return {name: weight * found[name] for name, weight in criteria(objective)[0].items()}


def rank(terms: Terms, objective: Objective = "time") -> Rank:
    """What plans are compared by."""
    found = quantities(terms)
    return tuple(
        sum(weight * found[name] for name, weight in weights.items())
        for weights in criteria(objective)
    )
