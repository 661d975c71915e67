"""Solving a program's layout, and lowering what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import solver
from cost_models import Target
from nkigen_lite.core.collecting import collecting_rarely
from nkigen_lite.core.ir import Graph
from nkigen_lite.errors import InvalidStage, NoPlan, NotSupported
from nkigen_lite.nki_ir import overlaps
from nkigen_lite.nki_ir.allocation import Allocation
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.simulate import simulate_kernel
from nkigen_lite.nki_ir.verify import check
from nkigen_lite.tensor_ir.passes.axes import Program
from nkigen_lite.tensor_ir.passes.direct_lower import lower_schedule
from nkigen_lite.tensor_ir.passes.layout_solver.addresses import allocate
from nkigen_lite.tensor_ir.passes.layout_solver.forked import usable
from nkigen_lite.tensor_ir.passes.layout_solver.plan import Plan, plan_of
from nkigen_lite.tensor_ir.passes.layout_solver.planning import schedule_of
from nkigen_lite.tensor_ir.passes.layout_solver.problem import Planner
from nkigen_lite.tensor_ir.passes.schedule import Schedule

_ATTEMPTS = 4  # how often a plan whose kernel overflows SBUF is solved again with less of it
_SHARES = (0.65, 0.4)  # of SBUF, for plans whose buffers wait for bytes if they may have all of it
_WAITS = 1.05  # times as long as with bytes of their own: what makes such plans worth looking for


@dataclass(frozen=True, slots=True)
class Solved:
    """A program's plan and its kernel.

    Attributes:
        problem: what the solver was asked (it saves and replays without the compiler).
        report: what it answered.
        schedule, plan: the answer for the lowering and for people.
        kernel: the verified nki_ir graph.
        allocation: addresses of its buffers, checked too.
        build_s, solve_s, lower_s: seconds spent pricing candidates, solving, and lowering.
    """

    problem: solver.Problem
    report: solver.Report
    schedule: Schedule
    plan: Plan
    kernel: Graph
    allocation: Allocation
    build_s: float = 0.0
    solve_s: float = 0.0
    lower_s: float = 0.0

    @property
    def predicted_ns(self) -> int:
        assert self.report.objective_ns is not None
        return self.report.objective_ns


def solve_layout(
    program: Program,
    target: Target,
    *,
    time_limit: float = 10.0,
    seed: int = 0,
    constraints: Sequence[solver.Constraint] = (),
) -> Solved:
    """Choose roles, tiles, locations and implementations for a program, and lower it.

    The solver bounds SBUF by the bytes live in each segment; should the lowered kernel need more
    (scratch tiles beside residents, gaps between addresses), it is solved again with that much
    less.  So it is with much less where buffers would wait for bytes that others had before; of
    these plans the one counts that is simulated to be the fastest at its addresses.

    Raises:
        NoPlan: nothing legal fits the target, or the constraints contradict each other or a limit;
            says which.
            Or no addresses were found for the buffers of any kernel that was tried.
        NotSupported: it moves more bytes, or takes longer, than the solver counts.
        InvalidStage: the solver's answer does not pass the independent checker.
    """
    start = perf_counter()
    planner = Planner(program, target)
    with collecting_rarely():
        problem = _problem(planner)
    search = _Search(planner, target, time_limit, seed, tuple(constraints))
    search.build_s = perf_counter() - start
    best = search.fitting(problem)
    assert best is not None
    for share in _SHARES:
        limit = int(share * problem.sbuf_limit_bytes)
        if best.allocation.sbuf.live <= limit:
            continue
        if not search.waits(best):
            break
        tried = search.fitting(replace(problem, sbuf_limit_bytes=limit), must=False)
        if tried is not None:
            best = min(best, tried, key=search.placed_ns)
    return replace(best, build_s=search.build_s, solve_s=search.solve_s, lower_s=search.lower_s)


@dataclass
class _Search:
    """Solves a program's problem within one limit of SBUF or another, and lowers the answers."""

    planner: Planner
    target: Target
    time_limit: float
    seed: int
    constraints: tuple[solver.Constraint, ...]
    build_s: float = 0.0
    solve_s: float = 0.0
    lower_s: float = 0.0

    def fitting(self, problem: solver.Problem, *, must: bool = True) -> Solved | None:
        """The answer whose buffers have addresses, within the problem's limit of SBUF or less;
        None if there is none and there need not be."""
        program, target, limits = self.planner.program, self.target, Limits.of(self.target)
        for _ in range(_ATTEMPTS):
            report = solver.solve(
                problem, time_limit=self.time_limit, seed=self.seed, constraints=self.constraints
            )
            self.solve_s += report.wall_s
            if report.solution is None and not must:
                return None
            _require(program, target, problem, report, self.constraints)
            begun = perf_counter()
            assert report.solution is not None
            schedule = schedule_of(self.planner, report.solution)
            kernel = lower_schedule(schedule)
            allocation = allocate(kernel, limits, seed=self.seed)
            excess = allocation.sbuf.overflow
            self.lower_s += perf_counter() - begun
            if not excess:
                break
            problem = replace(problem, sbuf_limit_bytes=problem.sbuf_limit_bytes - excess)
        check(kernel, limits)
        _require_addresses(program, target, allocation)
        overlaps.check(kernel, allocation, limits)
        plan = plan_of(schedule, report, target.name, allocation)
        return Solved(problem, report, schedule, plan, kernel, allocation)

    def waits(self, made: Solved) -> bool:
        """Whether a kernel takes much longer because buffers wait for bytes."""
        if not made.allocation.hazards:
            return False
        alone_ns = simulate_kernel(made.kernel, self.target).time_ns
        return self.placed_ns(made) > _WAITS * alone_ns

    def placed_ns(self, made: Solved) -> float:
        """The simulated time of a kernel whose buffers wait for bytes that they take over."""
        return simulate_kernel(made.kernel, self.target, made.allocation).time_ns


def _problem(planner: Planner) -> solver.Problem:
    try:
        return planner.problem(usable())
    except solver.ProblemError as error:  # of quantities that are more than it counts
        raise NotSupported(
            f"layout_solver: @{planner.program.name} is too large to plan: {error}"
        ) from None


def _require(
    program: Program,
    target: Target,
    problem: solver.Problem,
    report: solver.Report,
    constraints: Sequence[solver.Constraint],
) -> None:
    if report.solution is None:
        why = "none was found in the time allowed"
        if report.blocking:
            why = "these cannot hold together: " + "; ".join(report.blocking)
        raise NoPlan(f"layout_solver: no plan for @{program.name} on {target.name}: {why}", report)
    wrong = solver.check(
        problem, report.solution, constraints=tuple(constraints), claimed_ns=report.objective_ns
    )
    if wrong:
        raise InvalidStage(f"layout_solver: the plan for @{program.name} is not legal: {wrong[0]}")


def _require_addresses(program: Program, target: Target, allocation: Allocation) -> None:
    for memory, usage in (("SBUF", allocation.sbuf), ("PSUM", allocation.psum)):
        if usage.overflow:
            raise NoPlan(
                f"layout_solver: the buffers of @{program.name} on {target.name} reach byte "
                f"{usage.top} of each partition in {memory} but there are {usage.capacity}"
            )
