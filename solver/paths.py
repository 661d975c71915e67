"""Shortest paths over the order of the ops: a path is a sequence of candidates that covers it."""

from __future__ import annotations

from collections.abc import Callable

from .index import Index, ports_of
from .problem import Candidate, Problem, Transfer

Cost = Callable[[Candidate], int | None]
"""What a candidate costs in a path (ns); `None` where it must not be used."""


def shortest_path(index: Index, cost: Cost) -> tuple[int, list[Candidate]] | None:
    """The cheapest sequence of candidates that covers every op once, and its cost; `None` where
    there is none.  Of equal ones, the one whose candidates come first in the problem."""
    best: list[tuple[int, Candidate | None] | None] = [None] * (len(index.problem.ops) + 1)
    best[0] = (0, None)
    for position, starting in enumerate(index.starting):
        here = best[position]
        if here is None:
            continue
        for candidate in starting:
            ns = cost(candidate)
            end = position + len(candidate.ops)
            reached = best[end]
            if ns is not None and (reached is None or here[0] + ns < reached[0]):
                best[end] = (here[0] + ns, candidate)
    final = best[-1]
    if final is None:
        return None
    picked: list[Candidate] = []
    end = len(index.problem.ops)
    while (step := best[end]) is not None and step[1] is not None:
        picked.append(step[1])
        end = index.span[step[1].name][0]
    return final[0], picked[::-1]


def through_hbm(index: Index, candidate: Candidate) -> int | None:
    """A candidate's time with every port streamed or stored; `None` where it cannot be."""
    transfers = [port.hbm for _, port in ports_of(candidate) if port.hbm is not None]
    possible = len(transfers) == len(candidate.reads) + len(candidate.writes)
    if not possible or not fits(index, candidate, transfers):
        return None
    return index.segment_ns(candidate, transfers)


def least(index: Index, candidate: Candidate) -> int | None:
    """The least time a candidate takes in any plan; `None` where it can be in none."""
    transfers: list[Transfer] = []
    for kind, port in ports_of(candidate):
        if not index.avoidable(kind, port):
            if port.hbm is None:
                return None
            transfers.append(port.hbm)
    if not fits(index, candidate, transfers):
        return None
    return index.segment_ns(candidate, transfers, early=True)


def fits(index: Index, candidate: Candidate, transfers: list[Transfer]) -> bool:
    """Whether a candidate with these transfers is within the limits on its own."""
    sbuf = candidate.sbuf_bytes + sum(cost.sbuf_bytes for cost in transfers)
    return (
        sbuf <= index.problem.sbuf_limit_bytes
        and candidate.psum_banks <= index.problem.psum_limit_banks
    )


def lower_bound(problem: Problem) -> int:
    """A time (ns) that no plan beats: the shortest path in which every transfer that can be
    avoided is, and early work takes no time; 0 where there is none."""
    index = Index(problem)
    path = shortest_path(index, lambda candidate: least(index, candidate))
    return 0 if path is None else path[0]


def can_be_covered(problem: Problem) -> bool:
    """Whether candidates cover every op once, whatever they cost."""
    return shortest_path(Index(problem), lambda _: 0) is not None
