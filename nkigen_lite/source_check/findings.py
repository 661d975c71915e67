"""What the checker reports: sentences with lines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One rule that the source breaks: the line (from 1) and a sentence."""

    line: int
    sentence: str

    def text(self, file: str) -> str:
        """``file:line: sentence``."""
        return f"{file}:{self.line}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a check.

    Attributes:
        kernels: names of the kernels that were found.
        problems: in order of line; empty if the file is legal as far as was decided.
        undecided: what could not be decided, as sentences.
        calls: executed ``nki.isa`` calls that were checked, loops multiplied out.
    """

    kernels: tuple[str, ...]
    problems: tuple[Problem, ...]
    undecided: tuple[str, ...] = ()
    calls: int = 0

    @property
    def ok(self) -> bool:
        return not self.problems


class Illegal(Exception):
    """A rule is broken by the statement that is being looked at."""


def require(condition: bool, sentence: str) -> None:
    """Raise :class:`Illegal` with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise Illegal(sentence)
