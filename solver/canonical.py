"""Problems without their names: equal ones are the same question, and one answer serves them all.

Ops, values and candidates are numbered in an order that their structure gives, and layouts, which
mean something within one value only, in the order in which candidates use them.  Two problems are
the same question when their canonical forms are equal record by record; problems that list equal
candidates in another order may be missed, but none are confused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .problem import HBM, Candidate, Conversion, Port, Problem, Value
from .report import Solution, Source


@dataclass(frozen=True, slots=True)
class Canonical:
    """A problem in canonical form, without roles and tiles, and what its names stand for: values
    and candidates by canonical name, layouts by (canonical value, canonical layout)."""

    problem: Problem
    values: Mapping[str, str]
    candidates: Mapping[str, str]
    layouts: Mapping[tuple[str, str], str]

    def solution(self, plan: Solution) -> Solution:
        """A plan of the canonical problem as one of the problem that it was made of."""
        sources = [
            Source(self.candidates[s.candidate], *self._copy(s.value, s.layout), s.place)
            for s in plan.sources
        ]
        return Solution(
            picked=tuple(self.candidates[name] for name in plan.picked),
            stored=tuple(sorted(self.values[name] for name in plan.stored)),
            kept=tuple(sorted(self._copy(*copy) for copy in plan.kept)),
            conversions=tuple(
                sorted(
                    (self.values[value], self._layout(value, source), self._layout(value, target))
                    for value, source, target in plan.conversions
                )
            ),
            sources=tuple(sorted(sources, key=lambda s: (s.candidate, s.value, s.layout))),
        )

    def _copy(self, value: str, layout: str) -> tuple[str, str]:
        return self.values[value], self._layout(value, layout)

    def _layout(self, value: str, layout: str) -> str:
        return self.layouts.get((value, layout), layout)


def canonical(problem: Problem) -> Canonical:
    """The canonical form of `problem`."""
    return _Renaming(problem).made()


class _Renaming:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.at = {op: index for index, op in enumerate(problem.ops)}
        in_order = sorted(problem.values, key=self._place)
        self.value = {value.name: f"v{index}" for index, value in enumerate(in_order)}
        self.ordered = in_order
        self.candidates = sorted(problem.candidates, key=lambda c: (self.at[c.ops[0]], len(c.ops)))
        self.layout: dict[tuple[str, str], str] = {}
        count = dict.fromkeys(self.value, 0)
        used = [(p.value, p.layout) for c in self.candidates for p in (*c.reads, *c.writes)]
        used += [(v.name, layout) for v in in_order for layout in sorted(v.resident_bytes)]
        for value, layout in used:
            if (value, layout) not in self.layout:
                self.layout[value, layout] = f"l{count[value]}"
                count[value] += 1

    def _place(self, value: Value) -> tuple[int, list[int]]:
        made = -1 if value.producer is None else self.at[value.producer]
        return made, sorted(self.at[op] for op in value.consumers)

    def made(self) -> Canonical:
        names = {f"c{index}": old.name for index, old in enumerate(self.candidates)}
        problem = replace(
            self.problem,
            name="",
            ops=tuple(f"o{index}" for index in range(len(self.problem.ops))),
            values=tuple(self._value(value) for value in self.ordered),
            candidates=tuple(
                self._candidate(f"c{index}", old) for index, old in enumerate(self.candidates)
            ),
            conversions=tuple(
                sorted(
                    (self._conversion(old) for old in self.problem.conversions),
                    key=lambda c: (int(c.value[1:]), c.source, c.target),
                )
            ),
        )
        return Canonical(
            problem,
            {new: old for old, new in self.value.items()},
            names,
            {(self.value[value], new): old for (value, old), new in self.layout.items()},
        )

    def _op(self, name: str) -> str:
        return f"o{self.at[name]}"

    def _value(self, old: Value) -> Value:
        return replace(
            old,
            name=self.value[old.name],
            producer=None if old.producer is None else self._op(old.producer),
            consumers=tuple(sorted(map(self._op, old.consumers), key=lambda op: int(op[1:]))),
            resident_bytes=dict(
                sorted((self.layout[old.name, key], n) for key, n in old.resident_bytes.items())
            ),
        )

    def _candidate(self, name: str, old: Candidate) -> Candidate:
        return replace(
            old,
            name=name,
            ops=tuple(map(self._op, old.ops)),
            reads=self._ports(old.reads),
            writes=self._ports(old.writes),
            dims=(),
        )

    def _ports(self, ports: tuple[Port, ...]) -> tuple[Port, ...]:
        renamed = [
            replace(p, value=self.value[p.value], layout=self.layout[p.value, p.layout])
            for p in ports
        ]
        return tuple(sorted(renamed, key=lambda p: (int(p.value[1:]), p.layout)))

    def _conversion(self, old: Conversion) -> Conversion:
        return replace(
            old,
            value=self.value[old.value],
            source=self._layout(old.value, old.source),
            target=self._layout(old.value, old.target),
        )

    def _layout(self, value: str, layout: str) -> str:
        return HBM if layout == HBM else self.layout[value, layout]
