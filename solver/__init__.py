"""A constraint solver for fusion, layouts and residency: plain records in, a report out.

    report = solve(Problem.from_json(text), time_limit=10)

It knows nothing of programs or hardware: `problem` says what it is asked, `report` what it answers,
and `check` judges an answer without it.  `packing` is a second question, with records and a check
of its own: addresses for buffers with lifetimes.
"""

from .changes import Change, Rate, Room
from .check import check
from .constraints import (
    Constraint,
    Cut,
    Fuse,
    Pin,
    constraints_from_json,
    constraints_to_json,
)
from .difference import Difference, Moved, diff
from .evaluate import evaluate
from .explain import BoundaryReason, Explanation, SegmentReason, explain
from .objectives import Objective, Weights
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
    Port,
    Problem,
    ProblemError,
    Role,
    Transfer,
    Value,
)
from .ranking import ranked
from .report import Method, Report, ReportError, Solution, Source, Status, Step, Terms
from .search import SolverMissing, solve
from .whatif import Explorer, whatif

__all__ = [
    "BoundaryReason",
    "Buffer",
    "Candidate",
    "Change",
    "Constraint",
    "Conversion",
    "Cut",
    "Difference",
    "DimChoice",
    "Explanation",
    "Explorer",
    "Fuse",
    "Method",
    "Moved",
    "Objective",
    "Packing",
    "PackingError",
    "PackingProblem",
    "Peak",
    "Pin",
    "Port",
    "Problem",
    "ProblemError",
    "Rate",
    "Report",
    "ReportError",
    "Role",
    "Room",
    "SegmentReason",
    "Solution",
    "SolverMissing",
    "Source",
    "Status",
    "Step",
    "Terms",
    "Transfer",
    "Value",
    "Weights",
    "check",
    "check_packing",
    "constraints_from_json",
    "constraints_to_json",
    "diff",
    "evaluate",
    "explain",
    "minimise_height",
    "pack",
    "ranked",
    "solve",
    "whatif",
]
