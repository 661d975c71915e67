"""Seeded made-up problems: small odd ones to test against exhaustive search, and large ones of the
shape that a transformer layer gives.  Their figures are invented; only sizes and times of solving
mean anything."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .problem import HBM, Candidate, Conversion, DimChoice, Port, Problem, Role, Transfer, Value

RESOURCES = ("dma", "tensor", "vector", "scalar")


def small_problem(seed: int, *, max_ops: int = 5) -> Problem:
    """A problem of 2 to `max_ops` ops with every odd feature: values that cannot be streamed or
    kept, ports in several layouts, chance conversions, limits that bind.  It need not be feasible.
    """
    rng = random.Random(seed)
    ops = tuple(f"op{i}" for i in range(rng.randint(min(2, max_ops), max_ops)))
    values = _small_values(rng, ops)
    candidates: list[Candidate] = []
    for first in range(len(ops)):
        for last in range(first, min(len(ops), first + 3)):
            for _ in range(rng.randint(1, 3) if first == last else rng.randint(0, 2)):
                name = f"c{len(candidates)}"
                candidates.append(_small_candidate(rng, name, ops[first : last + 1], values))
    conversions = tuple(
        Conversion(value.name, source, target, _small_transfer(rng))
        for value in values
        for source in ("hbm", "A", "B")
        for target in value.resident_bytes
        if value.consumers and _convertible(value, source, target) and rng.random() < 0.5
    )
    return Problem(
        name=f"small-{seed}",
        ops=ops,
        values=values,
        candidates=tuple(candidates),
        conversions=conversions,
        sbuf_limit_bytes=rng.choice([25, 40, 60, 90]),
        psum_limit_banks=8,
    )


def _convertible(value: Value, source: str, target: str) -> bool:
    if source == "hbm":
        return True
    return value.producer is not None and source != target and source in value.resident_bytes


def _small_values(rng: random.Random, ops: Sequence[str]) -> tuple[Value, ...]:
    values = []
    for index in range(-rng.randint(1, 2), len(ops)):
        later = ops[max(index + 1, 0) :]
        consumers = rng.sample(later, min(len(later), rng.choice([1, 1, 2, 3])))
        layouts = rng.choice([("A",), ("A", "B"), ("A", "B"), ("A", "B"), ("B",), ()])
        values.append(
            Value(
                name=f"v{index}" if index >= 0 else f"in{-index}",
                producer=ops[index] if index >= 0 else None,
                consumers=tuple(sorted(consumers)),
                output=index == len(ops) - 1 or (index >= 0 and rng.random() < 0.1),
                resident_bytes={layout: rng.randint(1, 20) for layout in layouts},
            )
        )
    return tuple(values)


def _small_transfer(rng: random.Random) -> Transfer:
    return Transfer(
        busy={r: rng.randint(0, 30) for r in rng.sample(RESOURCES, rng.randint(1, 2))},
        overhead_ns=rng.randint(0, 5),
        hbm_bytes=rng.randint(0, 50),
        sbuf_bytes=rng.randint(0, 10),
        instructions=rng.randint(0, 3),
        dmas=rng.randint(0, 3),
    )


def _small_candidate(
    rng: random.Random, name: str, ops: tuple[str, ...], values: tuple[Value, ...]
) -> Candidate:
    def ports(value: Value, most: int) -> list[Port]:
        layouts = rng.sample(("A", "B"), rng.choice([1, 1, 1, most]))
        return [
            Port(value.name, layout, _small_transfer(rng) if rng.random() < 0.92 else None)
            for layout in layouts
        ]

    reads = [port for value in _consumed(values, ops) for port in ports(value, 2)]
    writes = [port for value in _escaping(values, ops) for port in ports(value, 1)]
    near = [v for v in values if v.producer in ops or any(op in ops for op in v.consumers)]
    return Candidate(
        name=name,
        ops=ops,
        reads=tuple(reads),
        writes=tuple(writes),
        busy={resource: rng.randint(0, 40) for resource in RESOURCES[:3]},
        overhead_ns=rng.randint(0, 10),
        sbuf_bytes=rng.randint(0, 15),
        psum_banks=rng.choice([0, 1, 4, 8, 8, 8, 8, 9]),
        instructions=rng.randint(1, 5),
        dims=tuple(
            DimChoice(value.name, axis, rng.choice(("I", "P", "F")), rng.choice((1, 2, 4)))
            for value in near
            for axis in ("i", "j")
            if rng.random() < 0.9
        ),
    )


def _consumed(values: Sequence[Value], ops: Sequence[str]) -> Iterator[Value]:
    for value in values:
        if value.producer not in ops and any(op in ops for op in value.consumers):
            yield value


def _escaping(values: Sequence[Value], ops: Sequence[str]) -> Iterator[Value]:
    for value in values:
        outside = value.output or any(op not in ops for op in value.consumers)
        if value.producer in ops and outside:
            yield value


def with_overlap(problem: Problem, seed: int) -> Problem:
    """The same problem with DMA as the prefetch resource: random parts of the loads of graph inputs
    can be done early, segments wait for random times, also for their transfers, and what runs first
    or last pays to fill or drain."""
    rng = random.Random(seed)
    inputs = {value.name for value in problem.values if value.producer is None}

    def early(value: str, cost: Transfer, most: int) -> Transfer:
        most *= rng.choice([0, 1, 1]) if value in inputs else 0
        early_ns = rng.choice([most, rng.randint(0, most)])
        return replace(cost, early_ns=early_ns, fill_ns=rng.randint(0, 9))

    def waits(port: Port, reads: bool) -> Port:
        if port.hbm is None:
            return port
        most = port.hbm.busy.get("dma", 0) if reads else 0
        cost = early(port.value, port.hbm, most)
        start = rng.choice([0, cost.early_ns, rng.randint(0, cost.early_ns)])
        cost = replace(cost, wait_ns=rng.choice([0, rng.randint(0, 30)]), start_ns=start)
        behind = rng.choice([None, None, rng.randint(0, 20)]) if reads else None
        tail = rng.choice([0, rng.randint(0, 20)]) if reads else 0
        return replace(port, hbm=replace(cost, behind_ns=behind, tail_ns=tail))

    candidates = [
        replace(
            candidate,
            reads=tuple(waits(port, True) for port in candidate.reads),
            writes=tuple(waits(port, False) for port in candidate.writes),
            fill_ns=rng.randint(0, 9),
            drain_ns=rng.randint(0, 9),
            wait_ns=rng.choice([0, rng.randint(0, 30)]),
        )
        for candidate in problem.candidates
    ]
    conversions = [
        replace(item, cost=early(item.value, item.cost, max(item.cost.busy.values(), default=0)))
        if item.source == HBM
        else item
        for item in problem.conversions
    ]
    return replace(
        problem,
        candidates=tuple(candidates),
        conversions=tuple(conversions),
        prefetch="dma",
        passing_ns=rng.choice([0, 9, 40]),
    )


@dataclass(frozen=True, slots=True)
class _Op:
    """One op of a layered problem: the values it reads, its kind and its result's shape."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    rows: int
    cols: int
    depth: int


def layered_problem(
    ops: int,
    seed: int,
    *,
    candidates_per_op: int = 20,
    layouts: int = 3,
    sbuf_limit_bytes: int = 192 * 1024,
) -> Problem:
    """A problem of the size and shape that a stack of transformer layers gives: chains of matmuls
    and elementwise ops with skip links and weights, runs of up to five ops as candidates, and two
    to four layouts per value."""
    rng = random.Random(seed)
    program = _program(rng, ops)
    names = [f"L{index}" for index in range(layouts)]
    sizes = {f"v{i}": (op.rows, op.cols) for i, op in enumerate(program)}
    sizes |= {f"w{i}": (op.depth, op.cols) for i, op in enumerate(program) if op.kind == "matmul"}
    sizes["x"] = (program[0].rows, program[0].depth)
    values = _layered_values(program, sizes, names)
    candidates: list[Candidate] = []
    for first in range(ops):
        for length in range(1, min(5, ops - first) + 1):
            share = max(1, candidates_per_op // (2 if length == 1 else 8))
            run = program[first : first + length]
            for index in range(share):
                name = f"{first}+{length}.{index}"
                candidates.append(_layered_candidate(rng, name, run, values, sizes, names))
    conversions = tuple(
        Conversion(value.name, source, target, _conversion_cost(sizes[value.name], source))
        for value in values
        for source in ("hbm", *(names if value.producer else ()))
        for target in value.resident_bytes
        if value.consumers and source != target
    )
    return Problem(
        name=f"layered-{ops}-{seed}",
        ops=tuple(op.name for op in program),
        values=values,
        candidates=tuple(candidates),
        conversions=conversions,
        sbuf_limit_bytes=sbuf_limit_bytes,
        psum_limit_banks=8,
    )


def _program(rng: random.Random, ops: int) -> list[_Op]:
    rows = rng.choice([128, 512, 1024])
    cols = 1024
    program: list[_Op] = []
    for index in range(ops):
        depth = cols
        kind = rng.choice(["matmul", "map", "map", "pair", "norm"])
        if kind == "matmul":
            cols = rng.choice([512, 1024, 3072])
        inputs = [f"v{index - 1}" if index else "x"]
        alike = [i for i, op in enumerate(program[:-1]) if op.cols == cols and index - i < 14]
        if kind == "matmul":
            inputs.append(f"w{index}")
        elif kind == "pair" and alike:
            inputs.append(f"v{rng.choice(alike)}")
        program.append(_Op(f"op{index}", kind, tuple(inputs), rows, cols, depth))
    return program


def _layered_values(
    program: Sequence[_Op], sizes: Mapping[str, tuple[int, int]], layouts: Sequence[str]
) -> tuple[Value, ...]:
    consumers: dict[str, list[str]] = {name: [] for name in sizes}
    for op in program:
        for name in op.inputs:
            consumers[name].append(op.name)
    values = []
    for name, (rows, cols) in sizes.items():
        produced = name.startswith("v")
        values.append(
            Value(
                name=name,
                producer=program[int(name[1:])].name if produced else None,
                consumers=tuple(consumers[name]),
                output=produced and not consumers[name],
                resident_bytes={
                    layout: rows * cols * 2 // 128 * (2 if index == 2 else 1)
                    for index, layout in enumerate(layouts)
                },
            )
        )
    return tuple(values)


def _load(size: tuple[int, int], tile: int) -> Transfer:
    """HBM traffic at 180 bytes per ns in DMAs of `tile` columns."""
    size_bytes = size[0] * size[1] * 2
    dmas = max(1, size[0] * size[1] // (128 * tile))
    return Transfer({"dma": size_bytes // 180 + 60 * dmas}, 2000, size_bytes, 4 * tile, dmas, dmas)


def _conversion_cost(size: tuple[int, int], source: str) -> Transfer:
    if source == "hbm":
        return _load(size, 1024)
    blocks = max(1, size[0] * size[1] // (128 * 128))
    return Transfer({"tensor": 60 * blocks, "scalar": 150 * blocks}, 300, 0, 1024, 2 * blocks, 0)


def _layered_candidate(
    rng: random.Random,
    name: str,
    run: Sequence[_Op],
    values: tuple[Value, ...],
    sizes: Mapping[str, tuple[int, int]],
    layouts: Sequence[str],
) -> Candidate:
    """A run under one tile size: longer tiles cost fewer instructions and more SBUF."""
    tile = rng.choice([128, 256, 512, 1024])
    ops = tuple(op.name for op in run)
    held = rng.choice(layouts)
    turned = rng.choice(layouts)
    has_matmul = any(op.kind == "matmul" for op in run)
    reload = rng.choice([1, 1, 2]) if has_matmul else 1
    busy = dict.fromkeys(RESOURCES, 0)
    instructions = 0
    for op in run:
        for resource, ns in _work(op).items():
            count = max(1, op.rows * op.cols // (128 * tile))
            busy[resource] += int(ns * rng.uniform(1.0, 1.2)) + 60 * count
            instructions += count
    roles: tuple[Role, ...] = ("P", "F") if held == layouts[0] else ("F", "P")
    return Candidate(
        name=name,
        ops=ops,
        reads=tuple(
            Port(
                value.name, held, _load((sizes[value.name][0] * reload, sizes[value.name][1]), tile)
            )
            for value in _consumed(values, ops)
        ),
        writes=tuple(
            Port(value.name, turned if has_matmul else held, _load(sizes[value.name], tile))
            for value in _escaping(values, ops)
        ),
        busy=busy,
        overhead_ns=1500 + 200 * len(run),
        sbuf_bytes=2 * tile * (1 + len(run)),
        psum_banks=2 if has_matmul else 0,
        instructions=instructions,
        dims=tuple(
            DimChoice(value.name, axis, role, size)
            for value in values
            if value.producer in ops
            for axis, role, size in zip(("m", "n"), roles, (128, tile), strict=True)
        ),
    )


def _work(op: _Op) -> dict[str, int]:
    elements = op.rows * op.cols // 128
    work = {
        "matmul": {"tensor": elements * op.depth // 300, "scalar": elements},
        "map": {"scalar": elements},
        "pair": {"vector": elements},
        "norm": {"vector": 2 * elements, "scalar": elements},
    }
    return work[op.kind]
