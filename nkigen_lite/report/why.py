"""Why a plan treats a value as it does: where it lives, and what other choices would cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import solver
from nkigen_lite.errors import InvalidInput
from nkigen_lite.report.saved import Saved
from solver.constraints import hint
from solver.difference import INSIDE, locations

MORE_SBUF = 32 * 1024  # bytes per partition
FASTER_DMA = (
    0.8  # of the busy time; what passes of a transfer besides stays, and so do waits for it
)
_ROLE_WORDS = {"I": "iterated over", "P": "on partitions", "F": "along the free dimension"}


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """What one other choice would change.

    Attributes:
        what: the choice, in words.
        status: of the plan with it: "optimal", "feasible", "infeasible" or "unknown".
        delta_us, delta_hbm_bytes: against the plan as it is; None without a plan.
        segments: how many segments it has that the plan has not.
        moved: other values that would live elsewhere.
        blocking: without a plan, limits and choices that cannot hold together.
    """

    what: str
    status: str
    delta_us: float | None
    delta_hbm_bytes: int | None
    segments: int
    moved: tuple[str, ...]
    blocking: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WhyValue:
    """A value's place in a plan, and what others would cost.

    Attributes:
        lives: in words.
        made_by: the segment that computes it; None for an input.
        read_by: the segments that read it from outside.
        dims: (axis, role, tile) as chosen.
        total_us: predicted time of the whole plan.
    """

    kernel: str
    value: str
    lives: str
    made_by: str | None
    read_by: tuple[str, ...]
    dims: tuple[tuple[str, str, int], ...]
    total_us: float
    counterfactuals: tuple[Counterfactual, ...]

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self), indent=1)


def why_plan(saved: Saved, *, time_limit: float = 5.0, seed: int = 0) -> solver.Explanation:
    """What holds up each segment of a plan, and why neighbours are not fused; ``time_limit``
    seconds for each question to the solver."""
    return solver.explain(
        saved.problem,
        saved.answer,
        constraints=saved.constraints,
        time_limit=time_limit,
        seed=seed,
    )


def why_value(saved: Saved, name: str, *, time_limit: float = 5.0, seed: int = 0) -> WhyValue:
    """Why the value of that name is where it is; ``time_limit`` seconds for each other choice.

    Raises:
        InvalidInput: the plan has no such value.
    """
    problem, answer = saved.problem, saved.answer
    assert answer.solution is not None
    values = {value.name: value for value in problem.values}
    if name not in values:
        raise InvalidInput(
            f"why: no value of {problem.name} is named {name!r}{hint(name, values.keys())}"
        )
    picked = [c for c in problem.candidates if c.name in answer.solution.picked]
    chosen = {d.axis: (d.axis, d.role, d.tile) for d in answer.dims if d.value == name}
    changes = [
        *_changes(saved, values[name]),
        ("32 KiB more SBUF per partition", solver.Room(sbuf_bytes=MORE_SBUF)),
        ("transfers a fifth shorter", solver.Rate("dma", FASTER_DMA)),
    ]
    explorer = solver.Explorer(
        problem, answer, constraints=saved.constraints, time_limit=time_limit, seed=seed
    )
    found = [
        _counterfactual(name, what, change, explorer.difference(change))
        for what, change in changes
        if not isinstance(change, solver.Rate) or _is_busy(saved, change.resource)
    ]
    return WhyValue(
        kernel=problem.name,
        value=name,
        lives=locations(problem, answer.solution)[name],
        made_by=next((c.name for c in picked if values[name].producer in c.ops), None),
        read_by=tuple(c.name for c in picked if any(p.value == name for p in c.reads)),
        dims=tuple(chosen.values()),
        total_us=saved.predicted_us,
        counterfactuals=tuple(found),
    )


def _is_busy(saved: Saved, resource: str) -> bool:
    assert saved.answer.terms is not None
    return resource in saved.answer.terms.busy


def _changes(saved: Saved, value: solver.Value) -> Iterator[tuple[str, solver.Change]]:
    """Other places, boundaries and roles for a value."""
    problem, answer = saved.problem, saved.answer
    assert answer.solution is not None
    lives = locations(problem, answer.solution)[value.name]
    ops = list(problem.ops)
    if lives != "hbm":
        what = (
            f"{value.name} in HBM only"
            if value.producer is None
            else f"spilling {value.name} to HBM"
        )
        yield what, solver.Pin(value.name, location="hbm")
    streamed = any(s.value == value.name and s.place == "hbm" for s in answer.solution.sources)
    if value.consumers and streamed:
        yield f"keeping {value.name} whole in SBUF", solver.Pin(value.name, location="sbuf")
    if value.producer is not None and value.consumers:
        reader = min(value.consumers, key=ops.index)
        if lives == INSIDE:
            after = ops[ops.index(value.producer) + 1]
            yield f"ending the segment with {value.producer}", solver.Cut(after)
        else:
            yield f"fusing {value.producer} with {reader}", solver.Fuse(value.producer, reader)
    yield from _other_roles(saved, value)


def _other_roles(saved: Saved, value: solver.Value) -> Iterator[tuple[str, solver.Change]]:
    """Roles that other candidates for the op that decides about them would give a value."""
    problem = saved.problem
    deciding = value.producer or min(value.consumers, key=problem.ops.index, default="")
    chosen = {(d.axis, d.role) for d in saved.answer.dims if d.value == value.name}
    dims = (dim for c in problem.candidates if deciding in c.ops for dim in c.dims)
    offered = {(dim.axis, dim.role) for dim in dims if dim.value == value.name}
    for axis, role in sorted(offered - chosen):
        yield f"{axis} {_ROLE_WORDS[role]}", solver.Pin(value.name, axis, role=role)


def _counterfactual(
    value: str, what: str, change: solver.Change, found: solver.Difference
) -> Counterfactual:
    return Counterfactual(
        what=what,
        status=found.status.value,
        delta_us=None if found.delta_ns is None else found.delta_ns / 1000,
        delta_hbm_bytes=found.delta_hbm_bytes,
        segments=len(found.added),
        moved=tuple(moved.value for moved in found.moved if moved.value != value),
        blocking=tuple(name for name in found.blocking if name != str(change)),
    )
