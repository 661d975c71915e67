"""The joint choice of segments, layouts, tiles and residency, as a proven optimisation.

Plain records in, plain records out: a `Problem` (candidates with prices, values, conversions) and
a `Report` (status, plan, objective by named terms, proven bound, gap). `check` judges plans with
code that shares nothing with the search.
"""

from .check import check
from .evaluate import evaluate
from .greedy import greedy
from .problem import (
    HBM,
    Candidate,
    Conversion,
    DimChoice,
    Pin,
    Port,
    Problem,
    ProblemError,
    Transfer,
    Value,
)
from .report import Report, ReportError, Solution, Source, Status, Step, Terms
from .search import SolverMissing, solve

__all__ = [
    "HBM",
    "Candidate",
    "Conversion",
    "DimChoice",
    "Pin",
    "Port",
    "Problem",
    "ProblemError",
    "Report",
    "ReportError",
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
    "greedy",
    "solve",
]
