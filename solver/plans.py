"""Plans from what is picked and kept: all else, reads, stores and conversions, follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .index import Copy
from .problem import HBM, Candidate, Problem
from .report import Solution, Source


def ways_to_keep(problem: Problem, picked: Sequence[Candidate]) -> dict[Copy, list[str | None]]:
    """Every copy that `picked` reads, sorted, with the ways to make one to keep: by the conversion
    from a source, or by who produces the value (`None`)."""
    needed = sorted({(port.value, port.layout) for c in picked for port in c.reads})
    written = {(port.value, port.layout) for c in picked for port in c.writes}
    sizes = {value.name: value.resident_bytes for value in problem.values}
    ways: dict[Copy, list[str | None]] = {}
    for value, layout in needed:
        sources = [c.source for c in problem.conversions if (c.value, c.target) == (value, layout)]
        ways[value, layout] = [s for s in sources if s == HBM or (value, s) in written]
        if (value, layout) in written and layout in sizes[value]:
            ways[value, layout].append(None)
    return ways


def complete(
    problem: Problem, picked: Sequence[Candidate], copies: Mapping[Copy, str | None]
) -> Solution:
    """The plan that keeps `copies`, each made in its way, and streams whatever else `picked` reads;
    not always a legal one."""
    sources = [
        Source(c.name, p.value, p.layout, "sbuf" if (p.value, p.layout) in copies else "hbm")
        for c in picked
        for p in c.reads
    ]
    in_hbm = {source.value for source in sources if source.place == HBM}
    in_hbm |= {value for (value, _), source in copies.items() if source == HBM}
    in_hbm |= {value.name for value in problem.values if value.output}
    made = [(value, source, layout) for (value, layout), source in copies.items() if source]
    return Solution(
        picked=tuple(candidate.name for candidate in picked),
        stored=tuple(sorted(v.name for v in problem.values if v.producer and v.name in in_hbm)),
        kept=tuple(sorted(copies)),
        conversions=tuple(sorted(made)),
        sources=tuple(sorted(sources, key=lambda s: (s.candidate, s.value, s.layout))),
    )
