"""Seeded made-up packing problems: tight ones that certainly have a packing, and any others.

Their figures are invented; only whether they are solved, and how fast, means anything.
"""

from __future__ import annotations

import random

from .problem import Buffer, PackingProblem


def cut_rectangle(
    seed: int, buffers: int, *, height: int = 1024, events: int = 128, unit: int = 1024
) -> tuple[PackingProblem, dict[str, int]]:
    """A rectangle of `height` units by `events`, cut into `buffers` pieces: a problem that needs
    every byte at every event, and addresses that solve it.

    Pieces are cut one by one, the larger the likelier, so that many short ones lie between a few
    long ones.  Where that leaves pieces that cannot be cut further, there are fewer buffers.
    """
    rng = random.Random(seed)
    pieces = [(0, events, 0, height)]
    while len(pieces) < buffers:
        areas = [(end - start) * (top - low) - 1 for start, end, low, top in pieces]
        if not any(areas):
            break
        (index,) = rng.choices(range(len(pieces)), areas)
        pieces[index : index + 1] = _cut(rng, pieces[index])
    rng.shuffle(pieces)
    names = [f"b{index}" for index in range(len(pieces))]
    return (
        PackingProblem(
            tuple(
                Buffer(name, start, end, (top - low) * unit)
                for name, (start, end, low, top) in zip(names, pieces, strict=True)
            ),
            height * unit,
        ),
        {name: low * unit for name, (_, _, low, _) in zip(names, pieces, strict=True)},
    )


def _cut(rng: random.Random, piece: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    start, end, low, top = piece
    if end - start > 1 and (top - low == 1 or rng.random() < 0.5):
        at = rng.randrange(start + 1, end)
        return [(start, at, low, top), (at, end, low, top)]
    at = rng.randrange(low + 1, top)
    return [(start, end, low, at), (start, end, at, top)]


def loosened(problem: PackingProblem, seed: int, *, shortened: float = 0.3) -> PackingProblem:
    """`problem` with that part of its lifetimes of more than one event cut to a random part of
    them: whatever packed it before still does, and there is room at some events."""
    rng = random.Random(seed)
    changed = []
    for buffer in problem.buffers:
        start, end = buffer.start, buffer.end
        if end - start > 1 and rng.random() < shortened:
            start = rng.randrange(start, end)
            end = rng.randrange(start + 1, end + 1)
        changed.append(Buffer(buffer.name, start, end, buffer.size))
    return PackingProblem(tuple(changed), problem.capacity)


def random_problem(
    seed: int, buffers: int, *, events: int = 64, unit: int = 1024, slack: float = 0.0
) -> PackingProblem:
    """Buffers with random lifetimes, most of them short, and sizes, in units; the capacity is the
    most that is live at once, and `slack` of that on top.  It need not have a packing."""
    rng = random.Random(seed)
    made = []
    for index in range(buffers):
        start = rng.randrange(events)
        length = max(1, min(events - start, int(rng.expovariate(4 / events))))
        size = unit * max(1, int(rng.lognormvariate(3, 1)))
        made.append(Buffer(f"b{index}", start, start + length, size))
    live = [sum(b.size for b in made if b.start <= event < b.end) for event in range(events)]
    return PackingProblem(tuple(made), int(max(live, default=0) * (1 + slack)))


def small_problem(seed: int) -> PackingProblem:
    """At most 6 buffers with every odd feature: alignments, fixed addresses, a capacity that may
    be too low.  Two fixed buffers are never live together."""
    rng = random.Random(seed)
    made: list[Buffer] = []
    for index in range(rng.randint(1, 6)):
        start = rng.randrange(6)
        end = rng.randint(start + 1, 7)
        alignment = rng.choice([1, 1, 1, 2, 3, 4])
        fixed = alignment * rng.randrange(6) if rng.random() < 0.15 else None
        if any(b.fixed is not None and b.start < end and start < b.end for b in made):
            fixed = None
        made.append(Buffer(f"b{index}", start, end, rng.randint(1, 8), alignment, fixed))
    live = [sum(b.size for b in made if b.start <= event < b.end) for event in range(7)]
    return PackingProblem(tuple(made), max(live) + rng.choice([-1, 0, 0, 0, 1, 2]))
