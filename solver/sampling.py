"""Random legal plans: what a cost model is tried on beside those that it likes best."""

from __future__ import annotations

import random

from .check import check
from .index import Copy, Index
from .plans import complete, ways_to_keep
from .problem import Candidate, Problem
from .ranking import Signature, signature
from .report import Solution

ATTEMPTS = 40
"""How many plans are drawn for each that is wanted, before there are taken to be no more."""


def sample(problem: Problem, count: int, seed: int = 0) -> list[Solution]:
    """Up to `count` legal plans, no two with the same signature; the same for the same seed.

    Each draws its segments one after the other, any candidate as likely as another, and how likely
    it is to keep what it reads.
    """
    rng = random.Random(seed)
    found: dict[Signature, Solution] = {}
    for _ in range(ATTEMPTS * count):
        if len(found) == count:
            break
        plan = _draw(problem, rng)
        if plan is not None:
            found.setdefault(signature(plan), plan)
    return list(found.values())


def _draw(problem: Problem, rng: random.Random) -> Solution | None:
    """A random plan; `None` if it is not legal even with less kept."""
    picked = _cover(problem, rng)
    likely = rng.random()
    streamed = {(c.name, p.value, p.layout) for c in picked for p in c.reads if p.hbm is not None}
    copies: dict[Copy, str | None] = {}
    for copy, ways in ways_to_keep(problem, picked).items():
        must = any((c.name, *copy) not in streamed for c in picked if _reads(c, copy))
        if ways and (must or rng.random() < likely):
            copies[copy] = rng.choice(ways)
    spare = list(copies)
    rng.shuffle(spare)
    while True:
        plan = complete(problem, picked, copies)
        if not check(problem, plan):
            return plan
        if not spare:
            return None
        del copies[spare.pop()]


def _cover(problem: Problem, rng: random.Random) -> list[Candidate]:
    """Candidates that cover the ops, one after the other."""
    starting = Index(problem).starting
    picked: list[Candidate] = []
    position = 0
    while position < len(problem.ops):
        picked.append(rng.choice(starting[position]))
        position += len(picked[-1].ops)
    return picked


def _reads(candidate: Candidate, copy: Copy) -> bool:
    return any((port.value, port.layout) == copy for port in candidate.reads)
