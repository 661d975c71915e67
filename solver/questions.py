"""Questions about pieces of a problem, put to an optimiser once each: equal ones share an answer,
and several processes may work on different ones without any effect on the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

from .canonical import Canonical, canonical
from .marginal import Worth
from .problem import HBM, Problem
from .report import Report, Status

Answer = TypeVar("Answer")


class Oracle(Protocol):
    """Answers questions within the given seconds.  It is sent to other processes, and must give the
    same answer to the same arguments."""

    def solve(self, problem: Problem, seconds: float) -> Report:
        """The best plan, and a bound."""

    def worth(self, window: tuple[Problem, int], seconds: float) -> Worth:
        """What having values in places is worth at a position of a problem."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The last answer to a question, in canonical names, and the time it was given."""

    report: Report
    limit_s: float

    @property
    def final(self) -> bool:
        return self.report.status in (Status.OPTIMAL, Status.INFEASIBLE)


class Questions:
    """Puts questions to `oracle`, in up to `processes` processes.

    `solves` counts the problems that were put, `spent_s` is the time that all took in
    machine-independent estimates, the same however many processes shared it.
    """

    def __init__(self, oracle: Oracle, processes: int = 1) -> None:
        self.solves = 0
        self.spent_s = 0.0
        self._oracle = oracle
        self._processes = processes
        self._known: dict[str, _Known] = {}
        self._worth: dict[tuple[str, int], Worth] = {}
        self._pool: ProcessPoolExecutor | None = None

    def solve(self, problems: Sequence[Problem], seconds: float) -> list[Report]:
        """A report for each problem, at most `seconds` spent on those that are new, in equal parts.

        One that is known, and is final or had as much time, is not asked again.
        """
        forms = [canonical(problem) for problem in problems]
        keys = [repr(form.problem) for form in forms]
        known = self._known
        asked = {key for key in keys if key not in known or not known[key].final}
        limit_s = seconds / max(1, len(asked))
        new = {
            key: form.problem
            for key, form in zip(keys, forms, strict=True)
            if key in asked and (key not in known or known[key].limit_s < limit_s)
        }
        answers = self._answers(self._oracle.solve, list(new.values()), limit_s)
        for key, report in zip(new, answers, strict=True):
            self.solves += 1
            self.spent_s += report.deterministic_s
            known[key] = _Known(report, limit_s)
        return [_named(form, known[key].report) for key, form in zip(keys, forms, strict=True)]

    def worth(
        self, windows: Sequence[tuple[Problem, int]], seconds: float
    ) -> list[dict[tuple[str, str], int]]:
        """The prices (`marginal.worth`) at a position of each problem, at most `seconds` spent on
        those that are new, in equal parts."""
        forms = [canonical(problem) for problem, _ in windows]
        keys = [
            (repr(form.problem), position)
            for form, (_, position) in zip(forms, windows, strict=True)
        ]
        new = {
            key: (form.problem, key[1])
            for key, form in zip(keys, forms, strict=True)
            if key not in self._worth
        }
        limit_s = seconds / max(1, len(new))
        answers = self._answers(self._oracle.worth, list(new.values()), limit_s)
        for key, answer in zip(new, answers, strict=True):
            self.spent_s += answer.deterministic_s
            self._worth[key] = answer
        return [
            {
                (form.values[value], HBM if place == HBM else form.layouts[value, place]): ns
                for (value, place), ns in self._worth[key].prices.items()
            }
            for key, form in zip(keys, forms, strict=True)
        ]

    def _answers(
        self, ask: Callable[[Any, float], Answer], asked: list[Any], limit_s: float
    ) -> list[Answer]:
        if self._processes > 1 and len(asked) > 1:
            try:
                if self._pool is None:
                    self._pool = ProcessPoolExecutor(self._processes, get_context("spawn"))
                return list(self._pool.map(ask, asked, [limit_s] * len(asked)))
            except (BrokenProcessPool, OSError):
                # No other processes here: this one gives the same answers.
                self._processes = 1
        return [ask(question, limit_s) for question in asked]

    def close(self) -> None:
        """End the other processes."""
        if self._pool is not None:
            self._pool.shutdown()


def _named(form: Canonical, report: Report) -> Report:
    plan = report.solution
    return replace(report, solution=None if plan is None else form.solution(plan))
