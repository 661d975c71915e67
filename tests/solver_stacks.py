"""Stacks of equal small layers as solver problems, and small problems that can be cut."""

from __future__ import annotations

import random
from dataclasses import replace

from solver import Candidate, Conversion, Port, Problem, Transfer, Value
from solver.synthetic import small_problem

LOAD = Transfer({"dma": 100}, 20, 4096, 8, 2, 1)
TURN = Transfer({"tensor": 30}, 5, 0, 4, 2, 0)
SIZES = {"rows": 32, "cols": 32}
LAYER = 3


def stack(layers: int, *, last_load_ns: int = 100) -> Problem:
    """Layers of three ops: `a` reads the stream, `b` a weight and what a made, `c` what b made, and
    the stream, which it continues.

    Layouts disagree within a layer and between layers: a reads columns and c writes rows.  Loads in
    the last layer may take another time.
    """
    values = [Value("h0", None, ("a0", "c0"), False, SIZES)]
    candidates: list[Candidate] = []
    conversions = [Conversion("h0", "hbm", "cols", LOAD), Conversion("h0", "hbm", "rows", LOAD)]
    for n in range(layers):
        last = n == layers - 1
        load = replace(LOAD, busy={"dma": last_load_ns}) if last else LOAD
        values += [
            Value(f"w{n}", None, (f"b{n}",), False, SIZES),
            Value(f"p{n}", f"a{n}", (f"b{n}",), False, SIZES),
            Value(f"q{n}", f"b{n}", (f"c{n}",), False, SIZES),
            Value(f"h{n + 1}", f"c{n}", () if last else (f"a{n + 1}", f"c{n + 1}"), last, SIZES),
        ]
        a = _op(f"a{n}", {f"h{n}": "cols"}, {f"p{n}": "rows"}, load)
        b = _op(f"b{n}", {f"p{n}": "rows", f"w{n}": "rows"}, {f"q{n}": "cols"}, load)
        ab = _op(f"ab{n}", {f"h{n}": "cols", f"w{n}": "rows"}, {f"q{n}": "cols"}, load)
        ab = replace(ab, ops=(f"a{n}", f"b{n}"), busy={"vector": 80})
        c = _op(f"c{n}", {f"q{n}": "rows", f"h{n}": "rows"}, {f"h{n + 1}": "rows"}, load)
        candidates += [a, b, ab, c]
        conversions.append(Conversion(f"q{n}", "cols", "rows", TURN))
        if not last:
            conversions.append(Conversion(f"h{n + 1}", "rows", "cols", TURN))
    return Problem(
        name=f"stack{layers}",
        ops=tuple(f"{kind}{n}" for n in range(layers) for kind in "abc"),
        values=tuple(values),
        candidates=tuple(candidates),
        conversions=tuple(conversions),
        sbuf_limit_bytes=256,
        psum_limit_banks=8,
    )


def _op(name: str, reads: dict[str, str], writes: dict[str, str], load: Transfer) -> Candidate:
    return Candidate(
        name=name,
        ops=(name,),
        reads=tuple(Port(value, layout, load) for value, layout in reads.items()),
        writes=tuple(Port(value, layout, load) for value, layout in writes.items()),
        busy={"vector": 50},
        overhead_ns=10,
        sbuf_bytes=16,
        psum_banks=1,
        instructions=1,
        dims=(),
    )


def cut_problem(seed: int, max_ops: int = 5) -> tuple[Problem, list[int]]:
    """A small odd problem without the candidates that reach across some places, and these as cuts
    with the ends."""
    problem = small_problem(seed, max_ops=max_ops)
    rng = random.Random(seed)
    count = len(problem.ops)
    cuts = sorted(rng.sample(range(1, count), rng.randint(1, count - 1)))
    at = {op: index for index, op in enumerate(problem.ops)}
    candidates = tuple(
        c
        for c in problem.candidates
        if not any(at[c.ops[0]] < cut <= at[c.ops[-1]] for cut in cuts)
    )
    return replace(problem, candidates=candidates), [0, *cuts, count]
