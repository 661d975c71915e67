"""Deep stacks of layers out of a shallow one: large problems in no time, to measure solvers on.

A layer is copied record by record; nothing is priced anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from .problem import Candidate, Conversion, Port, Problem, ProblemError, Value


def repeat(problem: Problem, start: int, period: int, times: int) -> Problem:
    """`problem` with its ops at positions `start .. start + period` (a layer) there `times` times.

    A value that enters the layer stands for the one that the op `period` later produces: each
    copy reads the results of the copy before in its place.  Graph inputs that only the layer reads
    (its weights) are copied with it, others are shared.

    Raises `ProblemError` where the ops at those positions are not such a layer, or a candidate
    reaches across an end of it.
    """
    return _Repeat(problem, start, period, times).made()


class _Repeat:
    def __init__(self, problem: Problem, start: int, period: int, times: int) -> None:
        self.problem = problem
        self.times = times
        self.layer = problem.ops[start : start + period]
        at = {op: index for index, op in enumerate(problem.ops)}
        self.side = {op: (at[op] >= start) + (at[op] >= start + period) for op in problem.ops}
        results = {at[v.producer]: v for v in problem.values if v.producer is not None}
        self.own = {v.name for v in problem.values if self._within(v)}
        self.next: dict[str, Value] = {}
        for value in problem.values:
            sides = {self.side[op] for op in value.consumers}
            if value.producer is not None and self.side[value.producer] == 0 and sides - {0}:
                follower = results.get(at[value.producer] + period)
                if 2 in sides or follower is None or follower.name not in self.own:
                    raise ProblemError(f"repeat: value {value.name!r} has no counterpart")
                self.next[value.name] = follower

    def _within(self, value: Value) -> bool:
        """Whether the value is the layer's own: made in it, or an input of it alone."""
        users = value.consumers if value.producer is None else (value.producer,)
        return {self.side[op] for op in users} == {1}

    def made(self) -> Problem:
        before, after = (
            tuple(op for op in self.problem.ops if self.side[op] == side) for side in (0, 2)
        )
        copies = tuple(f"{op}@{copy}" for copy in range(self.times) for op in self.layer)
        made = replace(
            self.problem,
            name=f"{self.problem.name} x{self.times}",
            ops=before + copies + after,
            values=tuple(v for value in self.problem.values for v in self._values(value)),
            candidates=tuple(c for old in self.problem.candidates for c in self._candidates(old)),
            conversions=tuple(
                c for old in self.problem.conversions for c in self._conversions(old)
            ),
        )
        made.validate()
        return made

    def _values(self, value: Value) -> Iterator[Value]:
        """The copies of a value, each with the ops that read it now."""
        sources = [old for old, follower in self.next.items() if follower is value]
        entered = [op for old in sources for op in self._readers(old, 1)]
        if value.name not in self.own:
            inside = range(1 if value.name in self.next else self.times)
            ops = [f"{op}@{copy}" for copy in inside for op in self._readers(value.name, 1)]
            others = [op for op in value.consumers if self.side[op] != 1]
            yield replace(value, consumers=(*others, *ops))
            return
        for copy in range(self.times):
            ops = [f"{op}@{copy}" for op in self._readers(value.name, 1)]
            last = copy == self.times - 1
            later = self._readers(value.name, 2) if last else [f"{op}@{copy + 1}" for op in entered]
            producer = value.producer and f"{value.producer}@{copy}"
            yield replace(
                value, name=f"{value.name}@{copy}", producer=producer, consumers=(*ops, *later)
            )

    def _readers(self, name: str, side: int) -> list[str]:
        value = next(value for value in self.problem.values if value.name == name)
        return [op for op in value.consumers if self.side[op] == side]

    def _candidates(self, old: Candidate) -> Iterator[Candidate]:
        sides = {self.side[op] for op in old.ops}
        if len(sides) > 1:
            raise ProblemError(f"repeat: candidate {old.name!r} reaches across the layer's end")
        if sides == {1}:
            for copy in range(self.times):
                ops = tuple(f"{op}@{copy}" for op in old.ops)
                yield replace(self._renamed(old, copy), name=f"{old.name}@{copy}", ops=ops)
        else:
            yield self._renamed(old, self.times if sides == {2} else -1)

    def _renamed(self, old: Candidate, copy: int) -> Candidate:
        return replace(
            old,
            reads=self._ports(old.reads, copy),
            writes=self._ports(old.writes, copy),
            dims=tuple(replace(dim, value=self._name(dim.value, copy)) for dim in old.dims),
        )

    def _ports(self, ports: Iterable[Port], copy: int) -> tuple[Port, ...]:
        return tuple(replace(port, value=self._name(port.value, copy)) for port in ports)

    def _name(self, value: str, copy: int) -> str:
        """What the value is called in a copy of the layer, before it (-1) or after it (`times`)."""
        if value in self.own:
            return f"{value}@{min(copy, self.times - 1)}"
        if value in self.next and 0 < copy < self.times:
            return f"{self.next[value].name}@{copy - 1}"
        return value

    def _conversions(self, old: Conversion) -> Iterator[Conversion]:
        if old.value not in self.own:
            yield old
            return
        for copy in range(self.times):
            yield replace(old, value=f"{old.value}@{copy}")
