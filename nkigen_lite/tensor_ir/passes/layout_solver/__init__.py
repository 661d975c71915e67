"""The layout solver: an axis program and a target in, a proven schedule out.

``candidates`` lists ways to run each op, ``bench`` and ``pricing`` lower and price them,
``problem`` puts them to ``solver`` as plain records, ``planning`` and ``plan`` turn the answer into
a schedule for the lowering and into data for people; ``addresses`` places what was lowered.
"""

from nkigen_lite.tensor_ir.passes.layout_solver.addresses import allocate
from nkigen_lite.tensor_ir.passes.layout_solver.plan import Plan, plan_of
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import Cost, cost_of
from nkigen_lite.tensor_ir.passes.layout_solver.solve import Solved, solve_layout
from solver import Constraint

__all__ = [
    "Constraint",
    "Cost",
    "Plan",
    "Solved",
    "allocate",
    "cost_of",
    "plan_of",
    "solve_layout",
]
