"""Any plan of a kernel, lowered and simulated: what the solver predicts, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import solver
from benchmarks.kernels import Kernel
from cost_models import Target
from nkigen_lite.frontend import trace
from nkigen_lite.nki_ir import overlaps
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.simulate import simulate_kernel
from nkigen_lite.nki_ir.verify import check
from nkigen_lite.tensor_ir.passes.axes import analyse
from nkigen_lite.tensor_ir.passes.direct_lower import lower_schedule
from nkigen_lite.tensor_ir.passes.layout_solver import allocate
from nkigen_lite.tensor_ir.passes.layout_solver.plan import conversion_name
from nkigen_lite.tensor_ir.passes.layout_solver.planning import schedule_of
from nkigen_lite.tensor_ir.passes.layout_solver.problem import Planner
from nkigen_lite.tensor_ir.passes.lower_to_nki import simplify
from nkigen_lite.tensor_ir.passes.schedule import HBM, Conversion, Segment


@dataclass(frozen=True, slots=True)
class Asked:
    """A kernel's problem, and who made it and makes schedules of its solutions."""

    planner: Planner
    problem: solver.Problem


@dataclass(frozen=True, slots=True)
class Tried:
    """A plan with its time as the solver predicts it and as its lowered kernel is simulated, every
    buffer with bytes of its own."""

    predicted_us: float
    simulated_us: float
    solution: solver.Solution

    @property
    def error(self) -> float:
        """How far the prediction is off: +0.1 is 10 % above the simulated time."""
        return self.predicted_us / self.simulated_us - 1


@dataclass(frozen=True, slots=True)
class Part:
    """One step of a plan: its predicted time, and how much later the simulated kernel ends for it.

    ``bound_by`` is the resource with the most of what remains of ``busy_us`` after early work.
    """

    name: str
    kind: str
    predicted_us: float
    simulated_us: float
    overhead_us: float
    early_us: float
    bound_by: str
    busy_us: dict[str, float]


def ask(kernel: Kernel, target: Target) -> Asked:
    """The problem that compiling a kernel gives the solver."""
    traced = trace(kernel.function, list(kernel.specs))
    simplify(traced.graph)
    planner = Planner(analyse(traced.graph, traced.constants), target)
    return Asked(planner, planner.problem())


def attempt(asked: Asked, solution: solver.Solution) -> Tried | None:
    """Lower a plan, check its kernel as ``compile`` does, and simulate it; None if no addresses are
    found in SBUF, where ``compile`` would solve again with less of it."""
    target = asked.planner.target
    kernel, limits = lower_schedule(schedule_of(asked.planner, solution)), Limits.of(target)
    allocation = allocate(kernel, limits)
    if allocation.sbuf.overflow or allocation.psum.overflow:
        return None
    check(kernel, limits)
    overlaps.check(kernel, allocation, limits)
    predicted = solver.evaluate(asked.problem, solution).objective_ns
    simulated = simulate_kernel(kernel, target).time_ns
    return Tried(predicted / 1000, simulated / 1000, solution)


def parts(asked: Asked, solution: solver.Solution) -> Iterator[Part]:
    """The steps of a plan in the order they run.

    The simulated time of a step is how much longer the kernel takes with it than the kernel that
    ends before it.
    """
    target = asked.planner.target
    terms = solver.evaluate(asked.problem, solution).steps
    steps = {step.name: step for step in terms}
    schedule = schedule_of(asked.planner, solution)
    ended = 0.0
    for count, item in enumerate(schedule.items, 1):
        begun = replace(schedule, items=schedule.items[:count])
        ends = simulate_kernel(lower_schedule(begun), target).time_ns
        step = steps[_name(item)]
        left = dict(step.busy)
        if asked.problem.prefetch in left:
            left[asked.problem.prefetch] -= step.early_ns
        yield Part(
            name=step.name,
            kind=step.kind,
            predicted_us=step.ns / 1000,
            simulated_us=(ends - ended) / 1000,
            overhead_us=step.overhead_ns / 1000,
            early_us=step.early_ns / 1000,
            bound_by=max(left, key=left.__getitem__, default="-"),
            busy_us={resource: ns / 1000 for resource, ns in step.busy.items()},
        )
        ended = ends


def _name(item: Segment | Conversion) -> str:
    if isinstance(item, Segment):
        return item.name
    source = item.source.name if item.source else HBM
    return conversion_name(item.storage.name, source, item.target.name)
