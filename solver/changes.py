"""Changes to a problem: decisions, limits, and the speed of resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from .constraints import Constraint, hint
from .problem import Port, Problem, ProblemError, Transfer

FINEST = 10**6
"""Largest denominator of a rate's factor."""


@dataclass(frozen=True, slots=True)
class Room:
    """So much more of a memory (less, if negative): SBUF in bytes per partition, PSUM in banks."""

    sbuf_bytes: int = 0
    psum_banks: int = 0

    def __str__(self) -> str:
        return f"{self.sbuf_bytes:+} bytes of SBUF per partition, {self.psum_banks:+} PSUM banks"


@dataclass(frozen=True, slots=True)
class Rate:
    """The busy times of `resource` times `factor`: below 1, it is faster."""

    resource: str
    factor: float

    def __str__(self) -> str:
        return f"busy times of {self.resource!r} times {self.factor:g}"


Change = Constraint | Room | Rate


def takes_away(change: Change) -> bool:
    """Whether `change` leaves no plan that there was not before, and costs as they were."""
    if isinstance(change, Room):
        return change.sbuf_bytes <= 0 and change.psum_banks <= 0
    return not isinstance(change, Rate)


def changed_problem(problem: Problem, change: Change) -> Problem:
    """`problem` with the limits or costs of `change`.  Raises `ProblemError` if it cannot be."""
    if isinstance(change, Room):
        sbuf = problem.sbuf_limit_bytes + change.sbuf_bytes
        banks = problem.psum_limit_banks + change.psum_banks
        if sbuf < 0 or banks < 0:
            raise ProblemError(f"room: {change} leaves less than none")
        return replace(problem, sbuf_limit_bytes=sbuf, psum_limit_banks=banks)
    if isinstance(change, Rate):
        return _rescaled(problem, change)
    return problem


def _rescaled(problem: Problem, rate: Rate) -> Problem:
    ports = [port for c in problem.candidates for port in c.reads + c.writes]
    known = {resource for c in problem.candidates for resource in c.busy}
    known |= {resource for p in ports if p.hbm is not None for resource in p.hbm.busy}
    if rate.resource not in known:
        near = hint(rate.resource, sorted(known))
        raise ProblemError(f"rate: nothing is busy on resource {rate.resource!r}{near}")
    if not 0 < rate.factor <= 1000:
        raise ProblemError(f"rate: factor is {rate.factor}, must be above 0 and at most 1000")
    factor = Fraction(rate.factor).limit_denominator(FINEST)

    def scaled(ns: int) -> int:
        # Rounding all up keeps order: what is not longer before is not longer after.
        return -(-ns * factor.numerator // factor.denominator)

    def busy(times: Mapping[str, int]) -> dict[str, int]:
        return {r: scaled(ns) if r == rate.resource else ns for r, ns in times.items()}

    def transfer(cost: Transfer) -> Transfer:
        early = cost.early_ns
        start = cost.start_ns
        if rate.resource == problem.prefetch:
            early, start = scaled(early), scaled(start)
        return replace(cost, busy=busy(cost.busy), early_ns=early, start_ns=start)

    def load(cost: Transfer) -> Transfer:
        # What may be done early is part of the largest busy time, whichever that is.
        made = transfer(cost)
        before, after = (max(c.busy.values(), default=0) for c in (cost, made))
        early = after - (before - cost.early_ns) * after // before if before else 0
        return replace(made, early_ns=early, start_ns=min(made.start_ns, early))

    def port(item: Port) -> Port:
        return item if item.hbm is None else replace(item, hbm=transfer(item.hbm))

    candidates = [
        replace(
            candidate,
            busy=busy(candidate.busy),
            reads=tuple(map(port, candidate.reads)),
            writes=tuple(map(port, candidate.writes)),
        )
        for candidate in problem.candidates
    ]
    conversions = [replace(item, cost=load(item.cost)) for item in problem.conversions]
    return replace(problem, candidates=tuple(candidates), conversions=tuple(conversions))
