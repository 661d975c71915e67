"""Sharing a segment's work among the engines, so that the busiest has as little as possible."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cost_models import KnownPrices, engines_for, prices_of
from nkigen_lite.core.ir import Op
from nkigen_lite.nki_ir.access import Accesses
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.work import instruction
from nkigen_lite.tensor_ir.passes.direct_lower.engines import may_run
from nkigen_lite.tensor_ir.passes.layout_solver.bench import Piece
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import counted
from nkigen_lite.tensor_ir.passes.schedule import IN_TURN

SHARING = ("vector", "scalar", "gpsimd")
Busy = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run a place of a segment: by an engine where it can, or as it is (None)."""

    engine: str | None
    busy: Busy


@dataclass(frozen=True, slots=True)
class Sharing:
    """For each place among a segment's steps, the engine that takes over what it can run.

    ``busy_ns`` is the time that the busiest resource takes then at least: instructions are priced
    as they are, and an engine may need more of them. Where engines take turns it is an estimate.
    """

    engines: tuple[str | None, ...]
    busy_ns: float

    @property
    def takes_turns(self) -> bool:
        """Whether engines take turns anywhere."""
        return IN_TURN in self.engines


def shared(piece: Piece, places: int) -> Sharing:
    """The best way to share a segment's work.

    No other has a lower time of the busiest engine; of those it is the first in order, with nothing
    moved where that does not matter.
    """
    options = _options(piece, places)
    chosen = _best(piece, options)
    busy = _moved(piece.busy, options, chosen)
    engines = tuple(o.engine if o else None for o in chosen)
    return Sharing(engines, max(busy.values(), default=0.0))


def _moved(
    busy: Busy, options: list[list[Option]], chosen: Sequence[Option | None]
) -> dict[str, float]:
    """Busy times with the chosen options in place of the first ones."""
    total = dict(busy)
    for (present, *_), option in zip(options, chosen, strict=True):
        if option is not None:
            for sign, taken in ((-1.0, present), (1.0, option)):
                for engine, ns in taken.busy.items():
                    total[engine] = total.get(engine, 0.0) + sign * ns
    return total


def _best(piece: Piece, options_of: list[list[Option]]) -> list[Option | None]:
    """The best option per place; None where there is no choice."""
    total = piece.busy
    movable: list[tuple[int, list[Option]]] = []
    for place, options in enumerate(options_of):
        if len(options) > 1:
            movable.append((place, options))
            for engine, ns in options[0].busy.items():
                total[engine] = total.get(engine, 0.0) - ns
    movable.sort(key=lambda item: -max(item[1][0].busy.values()))
    found = _Search([options for _, options in movable], total).best()
    chosen: list[Option | None] = [None] * len(options_of)
    for (place, _), option in zip(movable, found, strict=True):
        chosen[place] = option
    return chosen


class _Search:
    """Depth-first search over one option per place, cut off where the busiest is no better."""

    def __init__(self, options: list[list[Option]], fixed: dict[str, float]) -> None:
        self.options = options
        self.total = fixed
        self.least = math.inf
        self.found: list[Option] = []
        self.path: list[Option] = []

    def best(self) -> list[Option]:
        """The options of the best assignment."""
        self._visit()
        return self.found

    def _visit(self) -> None:
        if max((self.total.get(e, 0.0) for e in SHARING), default=0.0) >= self.least:
            return
        if len(self.path) == len(self.options):
            self.least = max((self.total.get(e, 0.0) for e in SHARING), default=0.0)
            self.found = list(self.path)
            return
        for option in self.options[len(self.path)]:
            self._add(option, 1.0)
            self.path.append(option)
            self._visit()
            self.path.pop()
            self._add(option, -1.0)

    def _add(self, option: Option, sign: float) -> None:
        for engine, ns in option.busy.items():
            self.total[engine] = self.total.get(engine, 0.0) + sign * ns


def _options(piece: Piece, places: int) -> list[list[Option]]:
    """Per place what can be chosen, the way it is first."""
    accesses, known = piece.accesses, prices_of(piece.target)
    prices: list[dict[str | None, dict[str, float]]] = [{None: {}} for _ in range(places)]
    movable: list[set[str]] = [set() for _ in range(places)]
    ops = [
        (op, trips, place)
        for op, trips, place in counted(piece.graph, piece.steps, None)
        if place is not None and NKI[op.opcode].engines and NKI[op.opcode].engine != "dma"
    ]
    for op, _, place in ops:
        movable[place].update(e for e in SHARING if may_run(op, e))
    for op, _, place in ops:  # an engine takes over all that it can run, so the target must have it
        on_target = engines_for(op.opcode, piece.target)
        movable[place] -= {e for e in SHARING if may_run(op, e) and e not in on_target}
    for op, trips, place in ops:
        here = prices[place]
        for engine in (None, *sorted(movable[place])):
            runs = engine if engine and may_run(op, engine) else op.attrs["engine"]
            busy = here.setdefault(engine, {})
            busy[runs] = busy.get(runs, 0.0) + trips * _price(op, runs, known, accesses)
    return [
        [Option(engine, busy) for engine, busy in _in_turn(place, options).items()]
        for place, options in enumerate(prices)
    ]


def _in_turn(
    place: int, options: dict[str | None, dict[str, float]]
) -> dict[str | None, dict[str, float]]:
    """The options with the one that two engines take turns, where operands are laid out."""
    rivals = [options.get(engine) for engine in IN_TURN.split(", ")]
    kinds = [options[None] if busy is None else busy for busy in rivals]
    if place % 2 or not any(rivals):
        return options
    return options | {
        IN_TURN: {
            engine: sum(busy.get(engine, 0.0) for busy in kinds) / 2
            for engine in {e for busy in kinds for e in busy}
        }
    }


def _price(op: Op, engine: str, known: KnownPrices, accesses: Accesses) -> float:
    present = op.attrs["engine"]
    op.attrs["engine"] = engine
    try:
        return known.instruction(instruction(op, accesses)).interval_ns
    finally:
        op.attrs["engine"] = present
