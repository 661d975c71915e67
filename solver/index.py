"""Look-ups into a `Problem` that building a model and building plans by hand both need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from .constraints import Pin
from .overlap import Load
from .problem import HBM, Candidate, Conversion, Port, Problem, Transfer, Value
from .report import Solution, Source

Copy = tuple[str, str]
"""A copy of a value in SBUF, as (value, layout)."""


Direction = Literal["read", "write"]


class Index:
    """Positions are indices into `Problem.ops`.

    `span` gives a candidate's first and last position, `produced_at` and `consumed_at` a value's
    (`None`, and sorted); `into` the conversions that make a copy; `starting` the candidates whose
    first op is at a position.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        at = {op: index for index, op in enumerate(problem.ops)}
        self.values: dict[str, Value] = {value.name: value for value in problem.values}
        self.candidates: dict[str, Candidate] = {c.name: c for c in problem.candidates}
        self.span: dict[str, tuple[int, int]] = {
            c.name: (at[c.ops[0]], at[c.ops[-1]]) for c in problem.candidates
        }
        self.produced_at: dict[str, int | None] = {
            v.name: None if v.producer is None else at[v.producer] for v in problem.values
        }
        self.consumed_at: dict[str, list[int]] = {
            v.name: sorted(at[op] for op in v.consumers) for v in problem.values
        }
        self.into: dict[Copy, list[Conversion]] = defaultdict(list)
        for conversion in problem.conversions:
            self.into[conversion.value, conversion.target].append(conversion)
        self.starting: list[list[Candidate]] = [[] for _ in problem.ops]
        for candidate in problem.candidates:
            self.starting[self.span[candidate.name][0]].append(candidate)
        self._written = {(w.value, w.layout) for c in problem.candidates for w in c.writes}

    def keepable(self, copy: Copy) -> bool:
        """Whether some plan might keep this copy in SBUF."""
        value, layout = copy
        has_size = layout in self.values[value].resident_bytes
        return has_size and (copy in self._written or bool(self.into.get(copy)))

    def avoidable(self, kind: Direction, port: Port) -> bool:
        """Whether some plan might pick the port's candidate and not move the value over it."""
        if kind == "write":
            return not self.values[port.value].output
        return self.keepable((port.value, port.layout))

    def deciding_at(self, value: str) -> int | None:
        """Position of the op whose picked candidate gives `value` its roles and tiles."""
        produced = self.produced_at[value]
        return next(iter(self.consumed_at[value]), None) if produced is None else produced

    def last_at(self, value: str) -> int:
        """Position of the last consumer of `value`; without consumers, of its producer."""
        consumers = self.consumed_at[value]
        return consumers[-1] if consumers else (self.produced_at[value] or 0)

    def overhead_ns(self, candidate: Candidate, transfers: Sequence[Transfer]) -> int:
        """The overhead of a segment with the given transfers inside it; with filling or draining
        where it has to run first or last, which its ops decide."""
        first, last = self.span[candidate.name]
        fill = candidate.fill_ns + begin_ns(transfers) if first == 0 else 0
        drain = candidate.drain_ns if last == len(self.problem.ops) - 1 else 0
        overhead = candidate.overhead_ns + sum(cost.overhead_ns for cost in transfers)
        return overhead + fill + drain

    def load_of(self, candidate: Candidate, transfers: Sequence[Transfer]) -> Load:
        """What keeps a segment busy with the given transfers inside it."""
        busy = dict(candidate.busy)
        early, starts, waits = 0, 0, candidate.wait_ns
        for cost in transfers:
            early += cost.early_ns
            starts += cost.start_ns
            waits += cost.wait_ns
            for resource, ns in cost.busy.items():
                busy[resource] = busy.get(resource, 0) + ns
        own = busy.pop(self.problem.prefetch, 0) if self.problem.prefetch else 0
        runs_first = self.span[candidate.name][0] == 0
        others = waits + max(busy.values(), default=0)
        starts = starts if self.problem.prefetch else 0
        early = 0 if runs_first else early
        tail = max((cost.tail_ns for cost in transfers), default=0) if self.problem.prefetch else 0
        return Load(own, others, early, 0, starts, tail, behind_ns(transfers))

    def segment_ns(
        self, candidate: Candidate, transfers: Sequence[Transfer], *, early: bool = False
    ) -> int:
        """What a segment takes with the given transfers inside it; with `early`, when as much of
        them as possible is done before."""
        load = self.load_of(candidate, transfers)
        busy_ns = load.busy_ns(load.early_ns if early else 0)
        return self.overhead_ns(candidate, transfers) + busy_ns

    def anchor(self, value: str, source: str | None) -> int:
        """Position at whose segment a copy begins to live: the first consumer's for a copy loaded
        from HBM, else the producer's."""
        produced = self.produced_at[value]
        return self.consumed_at[value][0] if source == HBM or produced is None else produced


def transfer_ns(cost: Transfer) -> int:
    """What a transfer takes on its own."""
    return cost.overhead_ns + max(cost.busy.values(), default=0)


def begin_ns(transfers: Iterable[Transfer]) -> int:
    """How long a plan waits that begins with some transfers: for the slowest."""
    return max((cost.fill_ns for cost in transfers), default=0)


def behind_ns(transfers: Iterable[Transfer]) -> int | None:
    """The most that a segment with some transfers does ahead; `None`: they do not limit it."""
    return min((cost.behind_ns for cost in transfers if cost.behind_ns is not None), default=None)


def ports_of(candidate: Candidate) -> list[tuple[Direction, Port]]:
    """The read ports, then the write ports, each with its direction."""
    reads: list[tuple[Direction, Port]] = [("read", port) for port in candidate.reads]
    writes: list[tuple[Direction, Port]] = [("write", port) for port in candidate.writes]
    return reads + writes


def assemble(
    index: Index, picked: Iterable[Candidate], copies: Mapping[Copy, str | None]
) -> Solution:
    """The plan that runs `picked` in order and may use `copies` (to the source of the conversion
    that makes each, `None` for a copy the producing segment writes).

    A read takes a copy where there is one and streams otherwise; copies that nobody reads are
    dropped, and values are stored only where something reads them from HBM or they are outputs.
    """
    sources: list[Source] = []
    streamed: set[str] = set()
    used: set[Copy] = set()
    segments = sorted(picked, key=lambda candidate: index.span[candidate.name])
    for candidate in segments:
        for port in candidate.reads:
            copy = (port.value, port.layout)
            if copy in copies:
                used.add(copy)
                sources.append(Source(candidate.name, *copy, "sbuf"))
            else:
                streamed.add(port.value)
                sources.append(Source(candidate.name, *copy, "hbm"))
    made = {(value, layout): copies[value, layout] for value, layout in used}
    streamed |= {value for (value, _), source in made.items() if source == HBM}
    written = {port.value for candidate in segments for port in candidate.writes}
    return Solution(
        picked=tuple(candidate.name for candidate in segments),
        stored=tuple(sorted(v for v in written if v in streamed or index.values[v].output)),
        kept=tuple(sorted(used)),
        conversions=tuple(
            sorted((v, source, layout) for (v, layout), source in made.items() if source)
        ),
        sources=tuple(sorted(sources, key=lambda s: (s.candidate, s.value, s.layout))),
    )


def decides(candidate: Candidate, pin: Pin) -> bool:
    """Whether picking `candidate` gives the pinned axis its pinned role and tile."""
    return any(
        dim.value == pin.value
        and dim.axis == pin.axis
        and pin.role in (None, dim.role)
        and pin.tile in (None, dim.tile)
        for dim in candidate.dims
    )
