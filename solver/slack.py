"""How much early work there can be between any two segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .index import Index, ports_of
from .problem import HBM, Candidate


@dataclass(frozen=True, slots=True)
class Slack:
    """By candidate (ns): `useful` is the most early work of its own that gains it anything,
    `possible` the most that it can do for what comes later; by position, `before` is the most that
    segments which end there or before can do for those after, and `passing` the most that passes
    what ends there or reaches across."""

    useful: Mapping[str, int]
    possible: Mapping[str, int]
    before: Sequence[int]
    passing: Sequence[int]


def slack_of(index: Index) -> Slack:
    """What early work is wanted, and fits beside the other work in some plan.

    Early work is of use until the prefetch resource is no busier than the others, whatever is done
    ahead, and nothing waits for it.  That depends on what comes later, so candidates are gone
    through from the back.
    """
    useful: dict[str, int] = {}
    possible: dict[str, int] = {}
    rooms: dict[str, int] = {}
    wanted = [0] * (len(index.starting) + 1)
    if index.problem.prefetch is None:
        return Slack(useful, possible, wanted, wanted)
    passing = index.problem.passing_ns
    for position in reversed(range(len(index.starting))):
        for candidate in index.starting[position]:
            ports = [(kind, port, port.hbm) for kind, port in ports_of(candidate)]
            forced = [h for kind, port, h in ports if h and not index.avoidable(kind, port)]
            least = index.load_of(candidate, forced)
            most = index.load_of(candidate, [h for *_, h in ports if h])
            begun = max(most.early_ns, most.starts_ns)
            room = max(0, most.others_ns + begun - least.own_ns, most.tail_ns)
            rooms[candidate.name] = room
            end = index.span[candidate.name][1] + 1
            ahead = possible[candidate.name] = min(wanted[end], room)
            excess = max(0, most.own_ns + max(ahead, most.tail_ns) - least.others_ns)
            useful[candidate.name] = min(most.early_ns, max(excess, most.starts_ns))
            own = useful[candidate.name] + _loads_ns(index, candidate)
            wanted[position] = max(wanted[position], own + min(passing, wanted[end]))
    there = _there(index, rooms)
    before = [min(pair) for pair in zip(wanted, there, strict=True)]
    later = [*accumulate(reversed(wanted), max)][::-1]
    earlier = [0, *accumulate(there, max)]
    passes = [min(passing, *pair) for pair in zip(later, earlier, strict=False)]
    return Slack(useful, possible, before, passes)


def _there(index: Index, rooms: Mapping[str, int]) -> list[int]:
    """By position, the most time that there is in segments before, which have `rooms` (ns)."""
    there = [0] * (len(index.starting) + 1)
    for position, starting in enumerate(index.starting):
        passing = min(there[position], index.problem.passing_ns)
        for candidate in starting:
            end = index.span[candidate.name][1] + 1
            there[end] = max(there[end], rooms[candidate.name] + passing)
    return there


def _loads_ns(index: Index, candidate: Candidate) -> int:
    """The early work of loads that run before a segment (ns), if it reads all copies first."""
    copies = [(port.value, port.layout) for port in candidate.reads]
    loads = [c for copy in copies for c in index.into.get(copy, ()) if c.source == HBM]
    return sum(conversion.cost.early_ns for conversion in loads)
