"""What ``compile -o`` leaves in a folder, read back: enough to ask the solver again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import solver
from nkigen_lite.errors import InvalidInput
from nkigen_lite.tensor_ir.passes.layout_solver import Plan

PLAN, PROBLEM, SOLVED, CONSTRAINTS = "plan.json", "problem.json", "solved.json", "constraints.json"
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Saved:
    """What the solver was asked, under which constraints, and what it answered."""

    problem: solver.Problem
    constraints: tuple[solver.Constraint, ...]
    answer: solver.Report

    @property
    def predicted_us(self) -> float:
        """Predicted time of the plan."""
        return (self.answer.objective_ns or 0) / 1000


def load_saved(path: str | os.PathLike[str]) -> Saved:
    """The question and the answer in a folder that ``compile -o`` wrote, or beside a file in it.

    Raises:
        InvalidInput: a file is missing or wrong.
    """
    folder = folder_of(path)
    decided: tuple[solver.Constraint, ...] = ()
    if (folder / CONSTRAINTS).exists():
        decided = _read(folder / CONSTRAINTS, solver.constraints_from_json)
    problem = _read(folder / PROBLEM, solver.Problem.from_json)
    answer = _read(folder / SOLVED, solver.Report.from_json)
    wrong: list[str] = []
    if answer.solution is None:
        wrong = ["it has no plan"]
    else:
        wrong = solver.check(
            problem, answer.solution, claimed_ns=answer.objective_ns, constraints=decided
        )
    if wrong:
        raise InvalidInput(f"{folder / SOLVED}: does not answer {PROBLEM}: {wrong[0]}")
    return Saved(problem, decided, answer)


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """The plan in a ``plan.json``, or in the one of a folder.

    Raises:
        InvalidInput: the file is missing or wrong.
    """
    file = Path(path)
    return _read(file / PLAN if file.is_dir() else file, Plan.from_json)


def folder_of(path: str | os.PathLike[str]) -> Path:
    """The folder that ``path`` is or lies in.

    Raises:
        InvalidInput: there is nothing at ``path``.
    """
    if not Path(path).exists():
        raise InvalidInput(f"{path}: there is no such file or folder; `compile -o` writes one")
    return Path(path) if Path(path).is_dir() else Path(path).parent


def _read(file: Path, parse: Callable[[str], R]) -> R:
    try:
        return parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(
            f"{file}: cannot be read: {error.strerror}; `compile -o` writes it"
        ) from None
    except (solver.ProblemError, solver.ReportError, InvalidInput, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: {error}") from None
