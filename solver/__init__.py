"""A constraint solver for fusion, layouts and residency: plain records in, a report out.

    report = solve(Problem.from_json(text), time_limit=10)

It knows nothing of programs or hardware: `problem` says what it is asked, `report` what it answers,
and `check` judges an answer without it.
"""

from .check import check
from .evaluate import evaluate
from .problem import (
    Candidate,
    Conversion,
    DimChoice,
    Pin,
    Port,
    Problem,
    ProblemError,
    Role,
    Transfer,
    Value,
)
from .report import Report, ReportError, Solution, Source, Status, Step, Terms
from .search import SolverMissing, solve

__all__ = [
    "Candidate",
    "Conversion",
    "DimChoice",
    "Pin",
    "Port",
    "Problem",
    "ProblemError",
    "Report",
    "ReportError",
    "Role",
    "Solution",
    "SolverMissing",
    "Source",
    "Status",
    "Step",
    "Terms",
    "Transfer",
    "Value",
    "check",
    "evaluate",
    "solve",
]
