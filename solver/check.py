"""The independent verdict on a plan: it re-derives legality and cost from the records, and shares
nothing with the model that found the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .constraints import Constraint, Cut, Fuse, Pin
from .evaluate import PlanView, chosen_dims, evaluate
from .objectives import Objective, rank
from .problem import HBM, Problem
from .report import Solution


def check(
    problem: Problem,
    solution: Solution,
    *,
    claimed_ns: int | None = None,
    claimed_cost: int | None = None,
    objective: Objective = "time",
    constraints: Sequence[Constraint] = (),
) -> list[str]:
    """What is wrong with `solution`, one sentence each; an empty list for a legal plan.

    Where given, `claimed_ns` must be the plan's time and `claimed_cost` its cost by `objective`;
    `constraints` must hold.
    """
    faults = list(_unknown_names(problem, solution)) or list(_cover(problem, solution))
    if faults:
        return faults
    view = PlanView(problem, solution)
    faults += _copies(view)
    faults += _homes(view)
    faults += _reads(view, solution)
    if faults:
        return faults
    faults += _capacity(problem, solution, view)
    faults += _constraints(problem, solution, view, constraints)
    terms = evaluate(problem, solution)
    ns, cost = terms.objective_ns, rank(terms, objective)[0]
    if claimed_ns is not None and claimed_ns != ns:
        faults.append(f"the objective is {ns} ns, not the claimed {claimed_ns} ns")
    if claimed_cost is not None and claimed_cost != cost:
        faults.append(f"the cost ({objective}) is {cost}, not the claimed {claimed_cost}")
    return faults


def _unknown_names(problem: Problem, solution: Solution) -> Iterator[str]:
    sizes = {value.name: value.resident_bytes for value in problem.values}
    keys = {(c.value, c.source, c.target) for c in problem.conversions}
    for name in sorted(set(solution.picked) - {c.name for c in problem.candidates}):
        yield f"picked {name!r}: no candidate has that name"
    for name in sorted(set(solution.stored) - sizes.keys()):
        yield f"stored {name!r}: no value has that name"
    for name, layout in solution.kept:
        if layout not in sizes.get(name, {}):
            yield f"kept {name!r}: no value of that name can be kept in layout {layout!r}"
    for key in sorted(set(solution.conversions) - keys):
        yield f"conversion {key}: the problem has no such conversion"
    read = [(source.candidate, source.value, source.layout) for source in solution.sources]
    entries = {"stored": solution.stored, "kept": solution.kept, "source": read}
    for what, items in (entries | {"conversion": solution.conversions}).items():
        if len(set(items)) != len(items):
            yield f"{what}: an entry is there twice"


def _cover(problem: Problem, solution: Solution) -> Iterator[str]:
    ops_of = {candidate.name: candidate.ops for candidate in problem.candidates}
    covered = tuple(op for name in solution.picked for op in ops_of[name])
    for op in problem.ops:
        if covered.count(op) != 1:
            yield f"op {op!r}: runs in {covered.count(op)} picked candidates, must run in one"
    if covered != problem.ops and sorted(covered) == sorted(problem.ops):
        yield "the picked candidates are not in the order of the ops"


def _copies(view: PlanView) -> Iterator[str]:
    """Every kept copy is made exactly once, out of something that exists."""
    targets: dict[tuple[str, str], int] = {}
    for conversion in view.conversions:
        key = (conversion.value, conversion.target)
        targets[key] = targets.get(key, 0) + 1
        who = f"conversion of {conversion.value!r} to {conversion.target!r}"
        if key not in view.kept:
            yield f"{who}: the copy is not kept"
        if targets[key] > 1:
            yield f"{who}: the copy is made twice"
        if conversion.source == HBM and not _in_hbm(view, conversion.value):
            yield f"{who}: the value is not in HBM"
        if conversion.source not in (HBM, view.written_layout(conversion.value)):
            yield f"{who}: the producing candidate does not write layout {conversion.source!r}"
    for value, layout in sorted(view.kept):
        if (value, layout) not in targets and view.written_layout(value) != layout:
            yield f"kept {value!r} in {layout!r}: no segment writes it, no conversion makes it"


def _homes(view: PlanView) -> Iterator[str]:
    """Stored values can be stored, and outputs are."""
    for name in sorted(view.stored):
        producing = view.producing(name)
        if producing is None:
            yield f"stored {name!r}: a graph input is in HBM already"
        elif not any(p.value == name and p.hbm is not None for p in producing.writes):
            yield f"stored {name!r}: candidate {producing.name!r} cannot store it"
    for value in view.values.values():
        if value.output and not _in_hbm(view, value.name):
            yield f"output {value.name!r}: is not stored in HBM"


def _reads(view: PlanView, solution: Solution) -> Iterator[str]:
    """Every read port has one source, and the value is there."""
    ports = {(c.name, p.value, p.layout): p for c in view.picked for p in c.reads}
    for key in sorted(ports.keys() - view.places.keys()):
        yield f"read {key}: has no source"
    for source in solution.sources:
        key = (source.candidate, source.value, source.layout)
        if key not in ports:
            yield f"source {key}: no picked candidate has that read port"
        elif source.place == HBM and not _in_hbm(view, source.value):
            yield f"read {key}: comes from HBM, where the value is not"
        elif source.place == HBM and ports[key].hbm is None:
            yield f"read {key}: comes from HBM, which the port cannot do"
        elif source.place != HBM and (source.value, source.layout) not in view.kept:
            yield f"read {key}: comes from SBUF, where no such copy is kept"


def _in_hbm(view: PlanView, value: str) -> bool:
    return view.values[value].producer is None or value in view.stored


def _capacity(problem: Problem, solution: Solution, view: PlanView) -> Iterator[str]:
    for candidate in view.picked:
        if candidate.psum_banks > problem.psum_limit_banks:
            yield (
                f"candidate {candidate.name!r}: takes {candidate.psum_banks} PSUM banks, the "
                f"limit is {problem.psum_limit_banks}"
            )
    for step in evaluate(problem, solution).steps:
        if step.sbuf_bytes > problem.sbuf_limit_bytes:
            yield (
                f"{step.kind} {step.name!r}: {step.sbuf_bytes} bytes of SBUF per partition are "
                f"live, the limit is {problem.sbuf_limit_bytes}"
            )


def _constraints(
    problem: Problem, solution: Solution, view: PlanView, constraints: Sequence[Constraint]
) -> Iterator[str]:
    dims = {(d.value, d.axis): d for d in chosen_dims(problem, solution.picked)}
    for constraint in constraints:
        if isinstance(constraint, Cut):
            holds = any(c.ops[0] == constraint.before for c in view.picked)
        elif isinstance(constraint, Fuse):
            segments = view.segment_of
            holds = segments[constraint.first] == segments[constraint.second]
        else:
            dim = dims.get((constraint.value, constraint.axis or ""))
            role, tile = (dim.role, dim.tile) if dim is not None else (None, None)
            dim_holds = constraint.role in (None, role) and constraint.tile in (None, tile)
            holds = dim_holds and _located(view, constraint)
        if not holds:
            yield f"{constraint}: does not hold"


def _located(view: PlanView, pin: Pin) -> bool:
    if pin.location is None:
        return True
    if pin.location == HBM:
        return _in_hbm(view, pin.value) and all(value != pin.value for value, _ in view.kept)
    value = view.values[pin.value]
    streamed = any(v == pin.value and place == HBM for (_, v, _), place in view.places.items())
    return not streamed and (value.output or value.name not in view.stored)
