"""The report of a compilation as plain data. All times in it are predicted, not measured.

"Predicted" is the time by which the solver chose, a sum over segments; "simulated" is what the
event simulator predicts for the lowered kernel.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import solver
from cost_models import Target, Transfer, Work, bounds
from cost_models.dma import peak_gbps, queue_work_ns
from nkigen_lite.core.ir import Graph
from nkigen_lite.nki_ir.allocation import Allocation, Usage
from nkigen_lite.nki_ir.simulate import simulate_kernel
from nkigen_lite.report.figures import micros
from nkigen_lite.report.timeline import TimelineReport, report_of
from nkigen_lite.tensor_ir.passes.axes import Program, Step, Storage, View
from nkigen_lite.tensor_ir.passes.axes.direct import copied_in_hbm
from nkigen_lite.tensor_ir.passes.layout_solver import cost_of
from nkigen_lite.tensor_ir.passes.lower_to_nki import Lowered
from nkigen_lite.tensor_ir.rows import TENSOR


@dataclass(frozen=True, slots=True)
class GreedyReport:
    """The baseline: every op on its own through HBM, the cheapest way for each."""

    predicted_us: float
    engines: dict[str, float]
    hbm_bytes: int
    instructions: int
    dmas: int
    peak_sbuf_bytes: int


@dataclass(frozen=True, slots=True)
class AddressReport:
    """How the addresses of buffers use the memories on chip.

    Attributes:
        sbuf, psum: bytes of each partition, and how long buffers keep theirs.
        sbuf_fragmentation: the part of the bytes below the top that are free even when most are in
            use (0..1), be it for lack of a better packing or because there was room.
        hazards: pairs of buffers of which the second has to wait for the first's bytes.
        simulated_us: of the kernel, where buffers do wait for that.
    """

    sbuf: Usage
    psum: Usage
    sbuf_fragmentation: float
    hazards: int
    simulated_us: float


@dataclass(frozen=True, slots=True)
class CompileReport:
    """What was chosen, what it costs, and how far that is from what is possible.

    Attributes:
        kernel, target: names.
        status: "optimal" or "feasible".
        sbuf_limit_bytes: per partition, within which the plan was chosen: less than there is where
            addresses need room.
        objective_ns: the plan's predicted time, as the solver minimised it.
        best_bound_ns: no plan that the solver knows of is faster; gap: the part of the objective
            above it (0..1).
        predicted_us: the objective in microseconds.
        simulated_us: of the lowered kernel on the simulator; simulated_ratio: over predicted_us.
        bound_us, bound_resource: roofline lower bound and what it is bound by.
        greedy_us: predicted time of the per-op plan through HBM; None if it does not fit.
        engines: predicted busy microseconds of the lowered kernel per engine and ``dma`` (the
            queues). ``sync`` triggers loads; ``scalar`` includes the stores it triggers.
        hbm_bytes: moved by the lowered kernel's DMAs; compulsory_bytes: each input and output once,
            without masks that hide scores, which need not be read.
        instructions, dmas: executed, DMAs included in instructions.
        ir_ops: ops in the text of the kernel, loops not multiplied out.
        peak_sbuf_bytes: per partition; peak_psum_banks.
        addresses: of the buffers on chip.
        trace_s, build_s, solve_s, lower_s: seconds tracing, pricing candidates, solving, lowering.
        seed, deterministic_s, variables, constraints, candidates: of the solver's run.
        greedy: the baseline's figures.
        timeline: of the simulation.
        unpacked_us: predicted time of the best plan without packed weights, if it has some.
    """

    kernel: str
    target: str
    status: str
    sbuf_limit_bytes: int
    objective_ns: int
    best_bound_ns: int
    gap: float
    predicted_us: float
    simulated_us: float
    simulated_ratio: float
    bound_us: float
    bound_resource: str
    greedy_us: float | None
    engines: dict[str, float]
    hbm_bytes: int
    compulsory_bytes: int
    instructions: int
    dmas: int
    ir_ops: int
    peak_sbuf_bytes: int
    peak_psum_banks: int
    addresses: AddressReport
    trace_s: float
    build_s: float
    solve_s: float
    lower_s: float
    seed: int
    deterministic_s: float
    variables: int
    constraints: int
    candidates: int
    greedy: GreedyReport | None
    timeline: TimelineReport
    unpacked_us: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def header(self) -> list[str]:
        """Lines for the top of emitted source."""
        return [
            f"For {self.target}. Predicted {micros(self.predicted_us)} us, simulated "
            f"{micros(self.simulated_us)} us; not measured. Lower bound {micros(self.bound_us)} us "
            f"({self.bound_resource}).",
            f"The plan is {self.status}, gap {self.gap:.1%}.",
            f"{self.instructions:,} instructions, {self.dmas:,} of them DMAs; {self.hbm_bytes:,} "
            f"HBM bytes (each input and output once: {self.compulsory_bytes:,}).",
        ]


def make_report(lowered: Lowered, target: Target, trace_s: float) -> CompileReport:
    """The report of a lowered program."""
    solved = lowered.solved
    answer = solved.report
    assert answer.objective_ns is not None
    cost = cost_of(solved.kernel, target)
    roof = bounds(target, work_of(lowered.program, target))
    greedy = _greedy(answer.greedy)
    simulated = report_of(simulate_kernel(solved.kernel, target))
    return CompileReport(
        kernel=lowered.program.name,
        target=target.name,
        status=answer.status.value,
        sbuf_limit_bytes=solved.problem.sbuf_limit_bytes,
        objective_ns=answer.objective_ns,
        best_bound_ns=answer.best_bound_ns,
        gap=answer.gap,
        predicted_us=answer.objective_ns / 1000,
        simulated_us=simulated.time_us,
        simulated_ratio=1000 * simulated.time_us / answer.objective_ns,
        bound_us=roof.ns / 1000,
        bound_resource=roof.resource,
        greedy_us=greedy.predicted_us if greedy else None,
        engines={name: round(ns / 1000, 3) for name, ns in sorted(cost.busy.items())},
        hbm_bytes=cost.hbm_bytes,
        compulsory_bytes=compulsory_bytes(lowered.program),
        instructions=cost.instructions,
        dmas=cost.dmas,
        ir_ops=sum(1 for _ in solved.kernel.walk()),
        peak_sbuf_bytes=cost.sbuf_bytes,
        peak_psum_banks=cost.psum_banks,
        addresses=_addresses(lowered.kernel, solved.allocation, target, simulated.time_us),
        trace_s=trace_s,
        build_s=solved.build_s,
        solve_s=solved.solve_s,
        lower_s=solved.lower_s,
        seed=answer.seed,
        deterministic_s=answer.deterministic_s,
        variables=answer.variables,
        constraints=answer.constraints,
        candidates=len(solved.problem.candidates),
        greedy=greedy,
        timeline=simulated,
        unpacked_us=None if lowered.unpacked_ns is None else lowered.unpacked_ns / 1000,
    )


def _addresses(
    kernel: Graph, allocation: Allocation, target: Target, apart_us: float
) -> AddressReport:
    """``apart_us`` is the simulated time if all buffers had bytes of their own."""
    hazards = len(allocation.hazards)
    return AddressReport(
        sbuf=allocation.sbuf,
        psum=allocation.psum,
        sbuf_fragmentation=allocation.sbuf.fragmentation,
        hazards=hazards,
        simulated_us=(
            simulate_kernel(kernel, target, allocation).time_ns / 1000 if hazards else apart_us
        ),
    )


def _greedy(terms: solver.Terms | None) -> GreedyReport | None:
    if terms is None:
        return None
    return GreedyReport(
        predicted_us=terms.objective_ns / 1000,
        engines={name: ns / 1000 for name, ns in sorted(terms.busy.items())},
        hbm_bytes=terms.hbm_bytes,
        instructions=terms.instructions,
        dmas=terms.dmas,
        peak_sbuf_bytes=terms.peak_sbuf_bytes,
    )


_BY_SCALAR = frozenset(
    {"exp", "log", "tanh", "gelu", "sigmoid", "silu", "sin", "cos", "arctan", "erf"}
)
"""Functions that ScalarE alone evaluates, by its tables: no other engine has an instruction that is
one of them, or that they could be made of."""


def work_of(program: Program, target: Target) -> Work:
    """The work that any kernel for the program has to do.

    Only what cannot be fused away counts: multiply-accumulates, functions that one engine computes
    (an instruction evaluates one of them per element), and each input and output once. What a mask
    hides need not be computed, nor need such a mask be read; and what DMAs can copy within HBM
    takes the queues once, not a load and a store, unless its runs are so short that this is slower.
    """
    macs: dict[str, int] = {}
    elems = {True: 0, False: 0}
    for step in program.steps:
        share = step.hidden.seen_share if step.hidden else 1.0
        for opcode in _opcodes(step):
            row = TENSOR[opcode]
            work = math.floor(share * row.work(a.extent for a in step.axes))
            if row.engine == "tensor":
                dtype = step.reads[0].storage.dtype.value
                macs[dtype] = macs.get(dtype, 0) + work
            elif row.engine == "scalar":
                elems[opcode in _BY_SCALAR] += work
    loads = sum(_least_bytes(s, program, loaded=True) for s in program.inputs)
    return Work(
        hbm_bytes=loads + sum(_bytes_out(s, program, target) for s in program.outputs),
        macs=macs,
        scalar_elems=elems[True],
        any_elems=elems[False],
        hbm_load_bytes=loads,
    )


def compulsory_bytes(program: Program) -> int:
    """The bytes of outputs and of what is read of inputs, each once."""
    return sum(_least_bytes(s, program) for s in (*program.inputs, *program.outputs))


def _least_bytes(storage: Storage, program: Program, *, loaded: bool = False) -> int:
    """What any kernel moves of an input or output: of an input, at least its largest window that
    some step reads (with ``loaded``, other than to copy it where DMAs could do so within HBM), but
    nothing of a mask that hides scores."""
    if storage in program.outputs:
        return storage.size_bytes
    steps = [s for s in program.steps if not (loaded and _copies_in_hbm(s, program))]
    views = [v for s in steps for v in s.reads if v.storage is storage and not _hides(s, v)]
    elements = (math.prod(axis.extent for axis in view.axes) for view in views)
    return max(elements, default=0) * storage.dtype.itemsize


def _copies_in_hbm(step: Step, program: Program) -> bool:
    return step.kind == "hbm_copy" or bool(copied_in_hbm(step.write.storage, program))


def _bytes_out(output: Storage, program: Program, target: Target) -> int:
    """The bytes of an output: of one that DMAs can copy within HBM, as many as the queues move in
    the time that its descriptors take, or of a load and a store if that is less."""
    runs = copied_in_hbm(output, program)
    moves = [Transfer("copy", run.count, run.bytes, 1) for run in runs]
    queues_ns = sum(queue_work_ns(target, move) for move in moves) / target.dma.queues
    as_bytes = math.floor(queues_ns * peak_gbps(target))
    return max(output.size_bytes, min(2 * output.size_bytes, as_bytes))


def _hides(step: Step, view: View) -> bool:
    """Whether a reading is that of a mask which hides scores."""
    hidden = step.hidden
    if hidden is None or hidden.mask is not step:
        return False
    return view.storage.axes == (hidden.rows, hidden.cols)


def _opcodes(step: Step) -> list[str]:
    """The ops that a step computes; none for copies and fills."""
    if step.op is None or step.kind not in ("pointwise", "matmul"):
        return []
    return [stage.opcode for stage in step.stages] or [step.op.opcode]
