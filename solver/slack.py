"""How much early work there can be between any two segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .index import Index, ports_of
from .problem import HBM


@dataclass(frozen=True, slots=True)
class Slack:
    """By candidate (ns): `useful` is the most early work of its own that gains it anything,
    `possible` the most that it can do for what comes next; by position, `before` is the most that
    segments which end there can do for those that begin there."""

    useful: Mapping[str, int]
    possible: Mapping[str, int]
    before: tuple[int, ...]


def slack_of(index: Index) -> Slack:
    """What early work is wanted, and fits beside the other work in some plan.

    Early work is of use until the prefetch resource is no busier than the others, whatever is done
    ahead, and nothing waits for it.  That depends on what comes later, so candidates are gone
    through from the back.
    """
    ends = len(index.starting) + 1
    useful: dict[str, int] = {}
    possible: dict[str, int] = {}
    wanted, before = [0] * ends, [0] * ends
    if index.problem.prefetch is None:
        return Slack(useful, possible, tuple(before))
    loads = _loads_at(index)
    for position in reversed(range(len(index.starting))):
        for candidate in index.starting[position]:
            ports = [(kind, port, port.hbm) for kind, port in ports_of(candidate)]
            forced = [h for kind, port, h in ports if h and not index.avoidable(kind, port)]
            least = index.load_of(candidate, forced)
            most = index.load_of(candidate, [h for *_, h in ports if h])
            room = max(0, most.others_ns - (least.own_ns - most.early_ns))
            end = index.span[candidate.name][1] + 1
            ahead = possible[candidate.name] = min(wanted[end], room)
            before[end] = max(before[end], ahead)
            excess = max(0, most.own_ns + ahead - least.others_ns)
            useful[candidate.name] = min(most.early_ns, max(excess, most.starts_ns))
            with_loads = useful[candidate.name] + sum(loads[position:end])
            wanted[position] = max(wanted[position], with_loads)
    return Slack(useful, possible, tuple(before))


def _loads_at(index: Index) -> list[int]:
    """By position, the early work of loads that run before the segment there (ns), if all do."""
    loads = [0] * len(index.starting)
    for conversion in index.problem.conversions:
        if conversion.source == HBM:
            loads[index.anchor(conversion.value, HBM)] += conversion.cost.early_ns
    return loads
