"""What a `Problem` must satisfy before anyone solves it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .problem import HBM, Candidate, Conversion, Port, Problem, ProblemError, Transfer, Value

MAX_QUANTITY = 2**40
"""Largest time, byte count or instruction count of one record: sums over a program then stay far
from the 64-bit range of the solver."""


def validate_problem(problem: Problem) -> None:
    """Raise `ProblemError` for the first rule that `problem` breaks."""
    if not problem.ops:
        raise ProblemError(f"problem {problem.name!r}: has no ops")
    _unique("op", problem.ops)
    _unique("value", (value.name for value in problem.values))
    _unique("candidate", (candidate.name for candidate in problem.candidates))
    _unique("conversion", (_conversion_name(item) for item in problem.conversions))
    _amounts(
        f"problem {problem.name!r}",
        {
            "sbuf_limit_bytes": problem.sbuf_limit_bytes,
            "psum_limit_banks": problem.psum_limit_banks,
            "passing_ns": problem.passing_ns,
        },
    )
    position = {op: index for index, op in enumerate(problem.ops)}
    for value in problem.values:
        _check_value(value, position)
    values = {value.name: value for value in problem.values}
    for candidate in problem.candidates:
        _check_candidate(candidate, problem, position)
    _check_ports(problem.candidates, values)
    _check_early_work(problem, values)
    for conversion in problem.conversions:
        _check_conversion(conversion, values)
    covered = {op for candidate in problem.candidates for op in candidate.ops}
    for op in problem.ops:
        if op not in covered:
            raise ProblemError(f"op {op!r}: no candidate runs it")


def _conversion_name(conversion: Conversion) -> str:
    return f"{conversion.value}: {conversion.source} -> {conversion.target}"


def _unique(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ProblemError(f"{kind} {name!r}: is there twice, names must be unique")
        seen.add(name)


def _amounts(who: str, amounts: Mapping[str, int]) -> None:
    for what, amount in amounts.items():
        if not 0 <= amount <= MAX_QUANTITY:
            raise ProblemError(f"{who}: {what} is {amount}, must be in 0..{MAX_QUANTITY}")


def _check_transfer(who: str, cost: Transfer) -> None:
    _amounts(
        who,
        {
            "overhead_ns": cost.overhead_ns,
            "hbm_bytes": cost.hbm_bytes,
            "sbuf_bytes": cost.sbuf_bytes,
            "instructions": cost.instructions,
            "dmas": cost.dmas,
            "early_ns": cost.early_ns,
            "wait_ns": cost.wait_ns,
            "fill_ns": cost.fill_ns,
            "start_ns": cost.start_ns,
            "behind_ns": cost.behind_ns or 0,
            "tail_ns": cost.tail_ns,
        },
    )
    _amounts(who, {f"busy[{resource}]": ns for resource, ns in cost.busy.items()})


def _check_value(value: Value, position: Mapping[str, int]) -> None:
    who = f"value {value.name!r}"
    for op in value.consumers:
        if op not in position:
            raise ProblemError(f"{who}: consumer {op!r} is not an op of the problem")
    _unique(f"{who}: consumer", value.consumers)
    _amounts(who, {f"resident_bytes[{key}]": n for key, n in value.resident_bytes.items()})
    if HBM in value.resident_bytes:
        raise ProblemError(f"{who}: {HBM!r} is not a layout")
    if value.producer is None:
        return
    if value.producer not in position:
        raise ProblemError(f"{who}: producer {value.producer!r} is not an op of the problem")
    for op in value.consumers:
        if position[op] <= position[value.producer]:
            raise ProblemError(
                f"{who}: consumer {op!r} does not come after producer {value.producer!r}"
            )


def _check_candidate(candidate: Candidate, problem: Problem, position: Mapping[str, int]) -> None:
    who = f"candidate {candidate.name!r}"
    _amounts(
        who,
        {
            "overhead_ns": candidate.overhead_ns,
            "sbuf_bytes": candidate.sbuf_bytes,
            "psum_banks": candidate.psum_banks,
            "instructions": candidate.instructions,
            "fill_ns": candidate.fill_ns,
            "drain_ns": candidate.drain_ns,
            "wait_ns": candidate.wait_ns,
        },
    )
    _amounts(who, {f"busy[{resource}]": ns for resource, ns in candidate.busy.items()})
    first = position.get(candidate.ops[0]) if candidate.ops else None
    if first is None or problem.ops[first : first + len(candidate.ops)] != candidate.ops:
        raise ProblemError(f"{who}: ops {candidate.ops} are not a run of consecutive ops")
    for port in candidate.reads + candidate.writes:
        if port.hbm is not None:
            _check_transfer(f"{who}: port {port.value!r}", port.hbm)
        if port.layout == HBM:
            raise ProblemError(f"{who}: port {port.value!r}: {HBM!r} is not a layout")
    _unique(f"{who}: read port", (f"{p.value} in {p.layout}" for p in candidate.reads))
    _unique(f"{who}: write port", (p.value for p in candidate.writes))
    _unique(f"{who}: dim", (f"{d.value}, {d.axis}" for d in candidate.dims))
    for dim in candidate.dims:
        if dim.role not in ("I", "P", "F") or dim.tile < 1:
            raise ProblemError(
                f"{who}: dim {dim.axis!r} of {dim.value!r} is {dim.role} x {dim.tile}, must be "
                f"I, P or F and at least 1"
            )


def _check_ports(candidates: Sequence[Candidate], values: Mapping[str, Value]) -> None:
    """Each candidate's ports are exactly the values that cross its boundary."""
    by_op: dict[str, list[Value]] = {}
    for value in values.values():
        for op in (value.producer, *value.consumers):
            if op is not None:
                by_op.setdefault(op, []).append(value)
    for candidate in candidates:
        inside = set(candidate.ops)
        near = {v.name: v for op in candidate.ops for v in by_op.get(op, ())}
        reads = {v.name for v in near.values() if v.producer not in inside}
        writes = {v.name for v in near.values() if v.producer in inside and _escapes(v, inside)}
        who = f"candidate {candidate.name!r}"
        _same(who, "read", candidate.reads, reads, "consumed inside and produced outside")
        _same(who, "write", candidate.writes, writes, "produced inside and needed outside")
        for dim in candidate.dims:
            if dim.value not in near:
                raise ProblemError(f"{who}: dim of {dim.value!r}, which no op inside touches")


def _check_early_work(problem: Problem, values: Mapping[str, Value]) -> None:
    """Only loads of values that no op produces have early work, and no more than they have work."""
    made = {value.name for value in values.values() if value.producer is not None}
    for candidate in problem.candidates:
        for kind, ports in (("read", candidate.reads), ("write", candidate.writes)):
            for port in ports:
                who = f"candidate {candidate.name!r}: {kind} port {port.value!r}"
                if port.hbm is not None:
                    loads = kind == "read" and port.value not in made
                    most = port.hbm.busy.get(problem.prefetch or "", 0)
                    what = f"its busy time of the prefetch resource ({problem.prefetch}), {most}"
                    _check_early_load(who, port.hbm, loads, most, what, reads=kind == "read")
    for item in problem.conversions:
        who = f"conversion {_conversion_name(item)!r}"
        loads = item.source == HBM and item.value not in made
        most = max(item.cost.busy.values(), default=0) if problem.prefetch else 0
        what = f"its largest busy time, {most}" if problem.prefetch else "0 without prefetching"
        _check_early_load(who, item.cost, loads, most, what)


def _check_early_load(
    who: str, cost: Transfer, loads: bool, most: int, what: str, *, reads: bool = False
) -> None:
    early = cost.early_ns
    if early and not loads:
        raise ProblemError(f"{who}: early_ns is {early}, must be 0 but for loads of graph inputs")
    if early > most:
        raise ProblemError(f"{who}: early_ns is {early}, must be at most {what}")
    if cost.start_ns > early:
        raise ProblemError(f"{who}: start_ns is {cost.start_ns}, must be at most early_ns, {early}")
    if cost.tail_ns and not reads:
        raise ProblemError(f"{who}: tail_ns is {cost.tail_ns}, which only reads of segments have")
    if cost.behind_ns is not None and not reads:
        raise ProblemError(
            f"{who}: behind_ns is {cost.behind_ns}, which only reads of segments have"
        )


def _escapes(value: Value, inside: set[str]) -> bool:
    return value.output or any(op not in inside for op in value.consumers)


def _same(who: str, kind: str, ports: tuple[Port, ...], wanted: set[str], rule: str) -> None:
    found = {port.value for port in ports}
    for name in sorted(wanted - found):
        raise ProblemError(f"{who}: value {name!r} is {rule} but has no {kind} port")
    for name in sorted(found - wanted):
        raise ProblemError(f"{who}: {kind} port {name!r} is not of a value {rule}")


def _check_conversion(conversion: Conversion, values: Mapping[str, Value]) -> None:
    who = f"conversion {_conversion_name(conversion)!r}"
    _check_transfer(who, conversion.cost)
    value = values.get(conversion.value)
    if value is None:
        raise ProblemError(f"{who}: no value is named {conversion.value!r}")
    if conversion.target not in value.resident_bytes:
        raise ProblemError(f"{who}: the value has no resident_bytes in the target layout")
    if not value.consumers:
        raise ProblemError(f"{who}: no op consumes the value")
    if conversion.source == HBM:
        return
    if value.producer is None:
        raise ProblemError(f"{who}: a graph input can be converted from {HBM!r} only")
    if conversion.source == conversion.target:
        raise ProblemError(f"{who}: source and target are the same layout")
    if conversion.source not in value.resident_bytes:
        raise ProblemError(f"{who}: the value has no resident_bytes in the source layout")
