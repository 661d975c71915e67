"""A constraint solver for fusion, layouts and residency: plain records in, a report out.

    report = solve(Problem.from_json(text), time_limit=10)

It knows nothing of programs or hardware: `problem` says what it is asked, `report` what it answers,
and `check` judges an answer without it.  `packing` is a second question, with records and a check
of its own: addresses for buffers with lifetimes.
"""

from .check import check
from .evaluate import evaluate
from .packing import (
    Buffer,
    Packing,
    PackingError,
    PackingProblem,
    Peak,
    minimise_height,
    pack,
)
from .packing import check as check_packing
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
from .report import Method, Report, ReportError, Solution, Source, Status, Step, Terms
from .search import SolverMissing, solve

__all__ = [
    "Buffer",
    "Candidate",
    "Conversion",
    "DimChoice",
    "Method",
    "Packing",
    "PackingError",
    "PackingProblem",
    "Peak",
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
    "check_packing",
    "evaluate",
    "minimise_height",
    "pack",
    "solve",
]
