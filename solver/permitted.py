"""Constraints as fewer choices: the problem without what they forbid.

Every constraint forbids candidates, ports to HBM or copies, one by one; so what is left is a
problem like any other, and can be solved in pieces.  Where it has no plan, `restricting` has the
same constraints as rows of the model, which tell those that cannot hold together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .constraints import Constraint, Cut, Fuse, Pin
from .index import Index, decides
from .problem import HBM, Candidate, Port, Problem, Value


def permitted(problem: Problem, constraints: Sequence[Constraint]) -> Problem:
    """`problem` with only those choices that every one of `constraints` permits: its plans are the
    plans of `problem` that satisfy them.  Some op may be left without a candidate."""
    for constraint in constraints:
        if isinstance(constraint, Pin):
            problem = _pinned(problem, constraint)
        else:
            problem = _keeping(problem, _divides(problem, constraint))
    return problem


def _keeping(problem: Problem, keep: Callable[[Candidate], bool]) -> Problem:
    return replace(problem, candidates=tuple(filter(keep, problem.candidates)))


def _divides(problem: Problem, constraint: Cut | Fuse) -> Callable[[Candidate], bool]:
    """Whether a candidate begins and ends where segments may."""
    if isinstance(constraint, Cut):
        before = constraint.before
        return lambda c: before not in c.ops[1:]
    at = problem.ops.index
    together = set(problem.ops[at(constraint.first) : at(constraint.second) + 1])
    return lambda c: together.isdisjoint(c.ops) or together.issubset(c.ops)


def _pinned(problem: Problem, pin: Pin) -> Problem:
    if pin.role is not None or pin.tile is not None:
        position = Index(problem).deciding_at(pin.value)
        op = None if position is None else problem.ops[position]
        problem = _keeping(problem, lambda c: op not in c.ops or decides(c, pin))
    if pin.location == HBM:
        return _off_chip(problem, pin.value)
    return problem if pin.location is None else _on_chip(problem, pin.value)


def _off_chip(problem: Problem, name: str) -> Problem:
    """Without copies of the value, and with only the producers that store it."""

    def stores(candidate: Candidate) -> bool:
        return any(port.value == name and port.hbm is not None for port in candidate.writes)

    def without_copies(value: Value) -> Value:
        return replace(value, resident_bytes={}) if value.name == name else value

    producer = next(value.producer for value in problem.values if value.name == name)
    problem = _keeping(problem, lambda c: producer not in c.ops or stores(c))
    return replace(
        problem,
        values=tuple(map(without_copies, problem.values)),
        conversions=tuple(c for c in problem.conversions if c.value != name),
    )


def _on_chip(problem: Problem, name: str) -> Problem:
    """With no port that streams the value, or that stores it unless it is an output."""
    output = next(value.output for value in problem.values if value.name == name)

    def closed(port: Port) -> Port:
        return replace(port, hbm=None) if port.value == name else port

    def restricted(candidate: Candidate) -> Candidate:
        writes = candidate.writes if output else tuple(map(closed, candidate.writes))
        return replace(candidate, reads=tuple(map(closed, candidate.reads)), writes=writes)

    return replace(problem, candidates=tuple(map(restricted, problem.candidates)))
