"""The pieces of a problem between its cuts, each a problem of its own.

A piece is the ops between two cuts, with made-up ops around them that take no time of their own:

* `enter:v`, for a produced value that lives across the first cut, makes it available there: either
  in the places of a given state, or in any for their prices.  Copies of graph inputs enter by
  conversions instead.
* `held`, once all have entered, reads the copies of a given state: they take room from there on.
* `leave:v`, for a value that lives across the last cut, requires it in at least one place, and pays
  the price of every place in which it is not.

With the same prices on both sides of each cut, a plan of the whole is a plan of every piece.  In
all pieces together it pays what it costs, and at every cut the prices (`toll`) and at most the time
that segments overlap there (`head_start`), once each.  So the sum of the pieces' bounds less all of
these is a bound of the whole, whatever the prices are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from .cuts import Crossings, State
from .index import Copy
from .problem import HBM, Candidate, Conversion, Port, Problem, Transfer, Value
from .report import Solution

Prices = Mapping[tuple[str, str], int]
"""What having a value in a place costs at a cut, by (value, place), in ns; else nothing."""

OFF = "off~"
"""The layout of made-up ports that only HBM serves."""

FREE = Transfer(busy={}, overhead_ns=0, hbm_bytes=0, sbuf_bytes=0, instructions=0, dmas=0)


def piece(
    crossings: Crossings,
    span: tuple[int, int],
    *,
    prices: tuple[Prices, Prices],
    state: State | None = None,
) -> Problem:
    """The ops of `span` (first, end) with `prices` at its two cuts; at the first one, `state` is
    what there is and prices do not matter, if it is given.  Else the start is open."""
    return _Piece(crossings, *span, *prices, state).made()


def toll(crossings: Crossings, cut: int, prices: Prices) -> int:
    """What a plan of the whole pays for the prices of a cut in the pieces beside it."""
    names = {value.name for value in crossings.crossing(cut)}
    return sum(price for (value, _), price in prices.items() if value in names)


def head_start(crossings: Crossings, cut: int) -> int:
    """The most ns of loads after a cut that the segment before it can do early.

    A piece with an open start has that much time for them, and pays for it.
    """
    return crossings.slack.before[cut] if 0 < cut < len(crossings.problem.ops) else 0


def state_after(crossings: Crossings, end: int, entry: State, plan: Solution) -> State:
    """What is available at the end of a piece that `plan` runs, `entry` being there before."""
    state: dict[str, frozenset[str]] = {}
    for value in crossings.crossing(end):
        there = {layout for name, layout in plan.kept if name == value.name}
        there |= entry.get(value.name, frozenset())
        if value.producer is not None and value.name in plan.stored:
            there.add(HBM)
        state[value.name] = frozenset(there)
    return state


def own_copies(crossings: Crossings, first: int, plan: Solution) -> dict[Copy, str | None]:
    """The copies that the plan of a piece makes itself, each with its source: the others enter."""
    index = crossings.index
    sources = {(value, target): source for value, source, target in plan.conversions}
    made: dict[Copy, str | None] = {}
    for copy in plan.kept:
        source = sources.get(copy)
        if index.anchor(copy[0], source) >= first:
            made[copy] = source
    return made


@dataclass(frozen=True, slots=True)
class _Piece:
    crossings: Crossings
    first: int
    end: int
    entry: Prices
    exit: Prices
    state: State | None

    def made(self) -> Problem:
        whole = self.crossings.problem
        near = self.crossings.near(self.first, self.end)
        starts = self.crossings.index.starting[self.first : self.end]
        entering = [v for v in near if self._enters(v)]
        before = [c for v in entering if v.producer is not None for c in self._enter(v)]
        before += [self._held(entering)] if self.first > 0 else []
        inner = [candidate for starting in starts for candidate in starting]
        after = [c for v in near if self._leaves(v) for c in self._leave(v)]
        after += [_made_up("end")] if self.end < len(whole.ops) else []
        readers: dict[str, dict[str, None]] = {v.name: {} for v in near}
        for candidate in (*before, *after):
            for port in candidate.reads:
                readers[port.value][candidate.ops[0]] = None
        ops = tuple(dict.fromkeys(op for c in (*before, *inner, *after) for op in c.ops))
        values = [self._value(v, set(ops), readers[v.name]) for v in near]
        values = [v for v in values if v.producer is not None or v.consumers]
        return replace(
            whole,
            name=f"{whole.name}[{self.first}:{self.end}]",
            ops=ops,
            values=tuple(values),
            candidates=(*before, *inner, *after),
            conversions=tuple(c for v in near if v.consumers for c in self._conversions(v)),
        )

    # Values

    def _enters(self, value: Value) -> bool:
        return self.first > 0 and self.crossings.crosses(value.name, self.first)

    def _leaves(self, value: Value) -> bool:
        """Whether it leaves; a graph input does where copies of it may."""
        return self._crosses_end(value) and (
            value.producer is not None or bool(self._conversions(value))
        )

    def _crosses_end(self, value: Value) -> bool:
        at_end = self.end == len(self.crossings.problem.ops)
        return not at_end and self.crossings.crosses(value.name, self.end)

    def _value(self, value: Value, ops: set[str], readers: Iterable[str]) -> Value:
        """The value with the ops that it has in the piece."""
        enters = value.producer is not None and self._enters(value)
        return replace(
            value,
            producer=f"enter:{value.name}" if enters else value.producer,
            consumers=(*(op for op in value.consumers if op in ops), *readers),
            output=value.output and not enters,
        )

    def _conversions(self, value: Value) -> list[Conversion]:
        """Its conversions whose copies begin to live in the piece, and made-up ones for copies
        that enter."""
        first_read = self.crossings.index.consumed_at[value.name][0]
        own = self.crossings.conversions[value.name]
        loads = [c for c in own if c.source == HBM and self.first <= first_read < self.end]
        if self._crosses_end(value):
            loads = [_hidden(load) for load in loads]
        if not self._enters(value):
            return loads + [c for c in own if c.source != HBM]
        layouts = self._entering_layouts(value.name)
        if value.producer is None:
            return [self._entry_copy(value.name, HBM, layout) for layout in layouts]
        sources = layouts if self.state is None else layouts[:1]
        pairs = [(source, target) for source in sources for target in layouts if source != target]
        return loads + [self._entry_copy(value.name, *pair) for pair in pairs]

    def _entering_layouts(self, value: str) -> list[str]:
        if self.state is not None:
            places: Iterable[str] = self.state.get(value, ())
        else:
            places = self.crossings.places(value, self.first)
        return sorted(set(places) - {HBM})

    def _entry_copy(self, value: str, source: str, target: str) -> Conversion:
        return Conversion(value, source, target, _paid(self._entry_price(value, target)))

    def _entry_price(self, value: str, place: str) -> int:
        return self.entry.get((value, place), 0) if self.state is None else 0

    # Made-up ops

    def _enter(self, value: Value) -> Iterator[Candidate]:
        """Ways to have a produced value at the first cut."""
        layouts = self._entering_layouts(value.name)
        stored: Transfer | None = _paid(self._entry_price(value.name, HBM))
        if self.state is None:
            layouts = [OFF, *layouts]
        else:
            layouts = layouts[:1] or [OFF]
            stored = stored if HBM in self.state.get(value.name, ()) else None
        for layout in layouts:
            yield _made_up(
                f"enter:{value.name}",
                writes=(Port(value.name, layout, stored),),
                ns=self._entry_price(value.name, layout),
            )

    def _held(self, entering: Iterable[Value]) -> Candidate:
        """The op that reads the copies of a given state."""
        if self.state is None:
            return replace(_made_up("held"), busy={"held": head_start(self.crossings, self.first)})
        copies = [(v.name, layout) for v in entering for layout in self._entering_layouts(v.name)]
        return _made_up("held", reads=tuple(Port(*copy, None) for copy in copies))

    def _leave(self, value: Value) -> Iterator[Candidate]:
        """Ways to have a value at the last cut, and what each leaves to be paid."""
        places = self.crossings.places(value.name, self.end)
        if value.producer is None:
            places = [place for place in places if place != HBM]
        priced = [place for place in places if self.exit.get((value.name, place), 0)]
        others = [place for place in places if place not in priced]
        if value.producer is None or not places:
            others = [HBM]
        for chosen in _subsets(priced):
            unpaid = sum(self.exit[value.name, place] for place in priced if place not in chosen)
            for ports in [chosen] if chosen else [[place] for place in others]:
                yield _made_up(
                    f"leave:{value.name}",
                    reads=tuple(_exit_port(value.name, place) for place in ports),
                    ns=unpaid,
                )


def _exit_port(value: str, place: str) -> Port:
    return Port(value, OFF, FREE) if place == HBM else Port(value, place, None)


def _subsets(places: Sequence[str]) -> Iterator[list[str]]:
    for size in range(len(places) + 1):
        yield from map(list, combinations(places, size))


def _hidden(load: Conversion) -> Conversion:
    """A load without what may be done early of it: the segments that do that, before the copy is
    read first, may be in a later piece."""
    busy = {resource: max(0, ns - load.cost.early_ns) for resource, ns in load.cost.busy.items()}
    return replace(load, cost=replace(load.cost, busy=busy, early_ns=0, start_ns=0, fill_ns=0))


def _paid(ns: int) -> Transfer:
    return replace(FREE, overhead_ns=ns)


def _made_up(
    op: str, *, reads: tuple[Port, ...] = (), writes: tuple[Port, ...] = (), ns: int = 0
) -> Candidate:
    """A candidate of a made-up op, which takes `ns` and nothing else; its ports name it."""
    ports = ",".join(port.layout for port in (*reads, *writes))
    return Candidate(
        name=f"{op}({ports})",
        ops=(op,),
        reads=reads,
        writes=writes,
        busy={},
        overhead_ns=ns,
        sbuf_bytes=0,
        psum_banks=0,
        instructions=0,
        dims=(),
    )
