"""What a plan costs and holds, derived from the records alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .overlap import Load, done_early
from .problem import HBM, Candidate, Conversion, DimChoice, Problem, Transfer, Value
from .report import Solution, Step, Terms


class PlanView:
    """A problem and a solution of it, looked up by name.

    The solution's names must exist in the problem and its picked candidates must cover every op;
    `check.check` tests that before it builds one.
    """

    def __init__(self, problem: Problem, solution: Solution) -> None:
        by_name = {candidate.name: candidate for candidate in problem.candidates}
        by_key = {(c.value, c.source, c.target): c for c in problem.conversions}
        self.picked: list[Candidate] = [by_name[name] for name in solution.picked]
        self.conversions: list[Conversion] = [by_key[key] for key in solution.conversions]
        self.values: dict[str, Value] = {value.name: value for value in problem.values}
        self.stored: set[str] = set(solution.stored)
        self.kept: set[tuple[str, str]] = set(solution.kept)
        self.places = {(s.candidate, s.value, s.layout): s.place for s in solution.sources}
        self.segment_of: dict[str, int] = {
            op: index for index, candidate in enumerate(self.picked) for op in candidate.ops
        }
        order = {op: index for index, op in enumerate(problem.ops)}
        self._consumers: dict[str, list[str]] = {
            v.name: sorted(v.consumers, key=order.__getitem__) for v in problem.values
        }
        self._made_by = {(c.value, c.target): c.source for c in self.conversions}

    def producing(self, value: str) -> Candidate | None:
        """The picked candidate that produces `value`; `None` for a graph input."""
        producer = self.values[value].producer
        return None if producer is None else self.picked[self.segment_of[producer]]

    def written_layout(self, value: str) -> str | None:
        """The layout in which the producing candidate writes `value` across its boundary."""
        producing = self.producing(value)
        ports = () if producing is None else producing.writes
        return next((port.layout for port in ports if port.value == value), None)

    def anchor(self, value: str, source: str | None) -> int:
        """The segment at which a copy of `value` begins to live: that of the first consumer for a
        copy that is loaded from HBM, else that of the producer."""
        record = self.values[value]
        op = record.producer if source != HBM else None
        return self.segment_of[op if op is not None else self._consumers[value][0]]

    def last_segment(self, value: str) -> int:
        """The segment of the last consumer of `value` (without consumers: of its producer)."""
        ops = self._consumers[value] or [self.values[value].producer or ""]
        return self.segment_of[ops[-1]]

    def live_bytes(self) -> list[int]:
        """SBUF bytes per partition that copies of values take, for each segment.

        A kept copy counts from the segment where it begins to live to that of the value's last
        consumer.  The written layout of a value that is converted but not itself kept counts at
        the producing segment.
        """
        held = [0] * len(self.picked)
        for value, layout in self.kept:
            first = self.anchor(value, self._made_by.get((value, layout)))
            for index in range(first, self.last_segment(value) + 1):
                held[index] += self.values[value].resident_bytes[layout]
        for value, layout in {(c.value, c.source) for c in self.conversions if c.source != HBM}:
            own_copy = (value, layout) in self.kept and (value, layout) not in self._made_by
            if not own_copy:
                held[self.anchor(value, layout)] += self.values[value].resident_bytes[layout]
        return held

    def transfers(self, index: int) -> list[Transfer]:
        """What segment `index` streams from HBM and stores there."""
        candidate = self.picked[index]
        moved = [
            port.hbm
            for port in candidate.reads
            if self.places[candidate.name, port.value, port.layout] == HBM
        ]
        moved += [port.hbm for port in candidate.writes if port.value in self.stored]
        return [cost for cost in moved if cost is not None]

    def loads(self, index: int) -> list[Conversion]:
        """The loads that run before segment `index`, which reads the copies first."""
        loads = [c for c in self.conversions if c.source == HBM]
        return [c for c in loads if self._read_first(c.value, c.target) == index]

    def made_after(self, index: int) -> list[Conversion]:
        """The conversions of what segment `index` has written on chip."""
        made = [c for c in self.conversions if c.source != HBM]
        return [c for c in made if self.anchor(c.value, c.source) == index]

    def begins_with(self, load: Conversion) -> bool:
        """Whether the first segment reads the copy, and its first op the value."""
        source = (self.picked[0].name, load.value, load.target)
        first_op = self.picked[0].ops[0]
        return self.places.get(source, HBM) != HBM and self._consumers[load.value][0] == first_op

    def _read_first(self, value: str, layout: str) -> int:
        """The first segment that can read a copy; where none can, that which reads the value."""
        for index, candidate in enumerate(self.picked):
            if any((port.value, port.layout) == (value, layout) for port in candidate.reads):
                return index
        return self.anchor(value, HBM)


def evaluate(problem: Problem, solution: Solution) -> Terms:
    """The cost of `solution`, which must be legal (see `check.check`), with its named terms.

    A segment takes `overhead + max over resources of busy`, transfers included and without what
    the segment before has done, and so does a conversion; the objective is the sum of them all.
    What a segment waits counts as busy for all resources but that of prefetching.
    """
    view = PlanView(problem, solution)
    held = view.live_bytes()
    early = _done_early(problem, view)
    steps: list[Step] = []
    for index, candidate in enumerate(view.picked):
        done_ns = early[index]
        for conversion in view.loads(index):
            begins = view.anchor(conversion.value, HBM)
            step = _conversion_step(conversion, held[begins], done_ns)
            steps.append(step)
            done_ns -= step.early_ns
        begin_ns = _begin_ns(problem, view) if index == 0 else 0
        transfers = view.transfers(index)
        steps.append(_segment_step(problem, candidate, transfers, held[index], done_ns, begin_ns))
        steps += [_conversion_step(c, held[index]) for c in view.made_after(index)]
    return Terms(
        steps=tuple(steps),
        objective_ns=sum(step.ns for step in steps),
        overhead_ns=sum(step.overhead_ns for step in steps),
        busy=total_busy(step.busy for step in steps),
        hbm_bytes=sum(step.hbm_bytes for step in steps),
        instructions=sum(step.instructions for step in steps),
        dmas=sum(step.dmas for step in steps),
        peak_sbuf_bytes=max(step.sbuf_bytes for step in steps),
        peak_psum_banks=max(candidate.psum_banks for candidate in view.picked),
    )


def chosen_dims(problem: Problem, picked: Sequence[str]) -> tuple[DimChoice, ...]:
    """Roles and tiles under the candidates named in `picked`, sorted by value and axis: each
    value's as its producing candidate has them, a graph input's as its first reader has them."""
    order = {op: index for index, op in enumerate(problem.ops)}
    names = set(picked)
    owner = {op: c for c in problem.candidates if c.name in names for op in c.ops}
    dims: list[DimChoice] = []
    for value in problem.values:
        op = value.producer or min(value.consumers, key=order.__getitem__, default=None)
        if op is not None:
            dims += [dim for dim in owner[op].dims if dim.value == value.name]
    return tuple(sorted(dims, key=lambda dim: (dim.value, dim.axis)))


def total_busy(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum per resource (ns), sorted by resource."""
    total: dict[str, int] = {}
    for part in parts:
        for resource, ns in part.items():
            total[resource] = total.get(resource, 0) + ns
    return dict(sorted(total.items()))


def _done_early(problem: Problem, view: PlanView) -> list[int]:
    """For each segment, the ns of its loads that those before it do."""
    if problem.prefetch is None:
        return [0] * len(view.picked)
    loads = []
    for index, candidate in enumerate(view.picked):
        moved = view.transfers(index)
        busy = total_busy([candidate.busy, *(cost.busy for cost in moved)])
        own = busy.pop(problem.prefetch, 0)
        others = max(busy.values(), default=0) + _waits_ns(candidate, moved)
        early = sum(cost.early_ns for cost in moved)
        before = sum(item.cost.early_ns for item in view.loads(index))
        behind = [cost.behind_ns for cost in moved if cost.behind_ns is not None]
        least = min(behind, default=None)
        loads.append(Load(own, others, early, before, _starts_ns(moved), _tail_ns(moved), least))
    return done_early(loads, problem.passing_ns)


def _waits_ns(candidate: Candidate, transfers: Iterable[Transfer]) -> int:
    return candidate.wait_ns + sum(cost.wait_ns for cost in transfers)


def _starts_ns(transfers: Iterable[Transfer]) -> int:
    """What a segment waits for of its transfers unless it is done early."""
    return sum(cost.start_ns for cost in transfers)


def _tail_ns(transfers: Iterable[Transfer]) -> int:
    """What a segment takes at least after all its transfers."""
    return max((cost.tail_ns for cost in transfers), default=0)


def _begin_ns(problem: Problem, view: PlanView) -> int:
    """What a plan waits at first: for its first segment, and the longest for what that streams or
    for loads that its first op reads."""
    costs = view.transfers(0)
    costs += [load.cost for load in view.loads(0) if view.begins_with(load)]
    return view.picked[0].fill_ns + max((cost.fill_ns for cost in costs), default=0)


def _segment_step(
    problem: Problem,
    candidate: Candidate,
    transfers: list[Transfer],
    held: int,
    early_ns: int,
    begin_ns: int,
) -> Step:
    overhead = candidate.overhead_ns + sum(cost.overhead_ns for cost in transfers) + begin_ns
    overhead += candidate.drain_ns if candidate.ops[-1] == problem.ops[-1] else 0
    busy = total_busy([candidate.busy, *(cost.busy for cost in transfers)])
    left = {**busy}
    if early_ns:
        left[problem.prefetch or ""] -= early_ns
    own = left.pop(problem.prefetch, 0) if problem.prefetch else 0
    others = max(left.values(), default=0)
    waits = _waits_ns(candidate, transfers)
    tail = 0
    if problem.prefetch:
        waits += max(0, _starts_ns(transfers) - early_ns)
        tail = _tail_ns(transfers)
    ns = overhead + max(own + tail, others + waits)
    return Step(
        name=candidate.name,
        kind="segment",
        ns=ns,
        overhead_ns=ns - max(own, others),
        busy=busy,
        hbm_bytes=sum(cost.hbm_bytes for cost in transfers),
        sbuf_bytes=held + candidate.sbuf_bytes + sum(cost.sbuf_bytes for cost in transfers),
        instructions=candidate.instructions + sum(cost.instructions for cost in transfers),
        dmas=sum(cost.dmas for cost in transfers),
        early_ns=early_ns,
    )


def _conversion_step(conversion: Conversion, held: int, done_ns: int = 0) -> Step:
    """A conversion, of which as much of `done_ns` is done early as can be."""
    cost = conversion.cost
    early = min(done_ns, cost.early_ns)
    return Step(
        name=f"{conversion.value}: {conversion.source} -> {conversion.target}",
        kind="conversion",
        ns=cost.overhead_ns + max(cost.busy.values(), default=0) - early,
        overhead_ns=cost.overhead_ns,
        busy=dict(cost.busy),
        hbm_bytes=cost.hbm_bytes,
        sbuf_bytes=held + cost.sbuf_bytes,
        instructions=cost.instructions,
        dmas=cost.dmas,
        early_ns=early,
    )
