"""Which copies to keep in SBUF for a given sequence of segments: steps that each pay, and fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product

from .constraints import Constraint, Pin
from .index import Copy, Index, transfer_ns
from .overlap import Load, saved_ns
from .problem import HBM, Candidate, Port

PASSES = 3
"""How often all values are gone through; later passes use what earlier ones freed."""

MAX_OPTIONS = 32
"""Ways to keep one value that are tried, of those that its readers could use."""

UNSERVED = 2**40
"""Fault of a read or a store that cannot be done, far above any excess of bytes."""

Score = tuple[int, int, int, int]
"""Faults (bytes over the limit, and `UNSERVED`), ns, HBM bytes, instructions."""

_ABSENT = "absent"

Option = Mapping[str, str | None]
"""Layouts kept, each with the source of the conversion that makes it (`None`: written so)."""


@dataclass(slots=True)
class _Uses:
    """Where one value crosses segments: the port that writes it, and those that read it."""

    writer: tuple[int, Port] | None = None
    readers: list[tuple[int, Port]] = field(default_factory=list)


class Residency:
    """The copies kept for `picked`, segments in order; at first none."""

    def __init__(
        self,
        index: Index,
        picked: Sequence[Candidate],
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self._index = index
        self._picked = picked
        pins = [constraint for constraint in constraints if isinstance(constraint, Pin)]
        self._located = {pin.value: pin.location for pin in pins if pin.location is not None}
        self._segment_at = [i for i, candidate in enumerate(picked) for _ in candidate.ops]
        self._uses: dict[str, _Uses] = defaultdict(_Uses)
        for segment, candidate in enumerate(picked):
            for port in candidate.reads:
                self._uses[port.value].readers.append((segment, port))
            for port in candidate.writes:
                self._uses[port.value].writer = (segment, port)
        self._kept: dict[str, Option] = {value: {} for value in self._uses}
        self._held = [0] * len(picked)
        self._buffers: list[list[int]] = [[] for _ in picked]
        self._needs = [0] * len(picked)
        self._excess = [0] * len(picked)
        self._costs: list[Score] = [(0, 0, 0, 0)] * len(picked)
        self._total: Score = (0, 0, 0, 0)
        self._loads = [Load(0, 0, 0)] * len(picked)
        self._loads_ns = [0] * len(picked)
        for segment in range(len(picked)):
            self._refresh(segment)

    def copies(self) -> dict[Copy, str | None]:
        """The copies kept, in the form that `index.assemble` takes."""
        return {
            (value, layout): source
            for value, option in self._kept.items()
            for layout, source in option.items()
        }

    def improve(self) -> None:
        """Give each value in turn its best way to be kept, values that gain most per byte of SBUF
        first, until nothing changes."""
        values = sorted(self._uses, key=lambda value: (-self._promise(value), value))
        for _ in range(PASSES):
            changed = [self._improve_value(value) for value in values]
            if not any(changed):
                return

    def _promise(self, value: str) -> float:
        """HBM time that keeping the value could save, per byte and segment that it is live."""
        uses = self._uses[value]
        ports = [port for _, port in [*uses.readers, *([uses.writer] if uses.writer else [])]]
        saved = sum(transfer_ns(port.hbm) if port.hbm else UNSERVED for port in ports)
        sizes = self._index.values[value].resident_bytes.values()
        first = self._segment_at[self._index.anchor(value, None)]
        last = self._segment_at[self._index.last_at(value)]
        return saved / (1 + min(sizes, default=0) * (1 + last - first))

    def _improve_value(self, value: str) -> bool:
        before = chosen = self._kept[value]
        best = self._score(value)
        for option in self._options(value):
            self._set(value, option)
            score = self._score(value)
            if score < best:
                best, chosen = score, option
        self._set(value, chosen)
        return chosen != before

    # Options

    def _options(self, value: str) -> list[Option]:
        if self._located.get(value) == HBM:
            return [{}]
        layouts = sorted({port.layout for _, port in self._uses[value].readers})
        ways = [[_ABSENT, *self._sources(value, layout)] for layout in layouts]
        return [
            {
                layout: source
                for layout, source in zip(layouts, choice, strict=True)
                if source is not _ABSENT
            }
            for choice in islice(product(*ways), MAX_OPTIONS)
        ]

    def _sources(self, value: str, layout: str) -> list[str | None]:
        """Ways to have a copy in `layout`: as written (`None`), or converted from a source."""
        if layout not in self._index.values[value].resident_bytes:
            return []
        writer = self._uses[value].writer
        written = writer[1].layout if writer else None
        found = [c.source for c in self._index.into.get((value, layout), ())]
        usable: list[str | None] = [source for source in found if source in (HBM, written)]
        return ([None] if written == layout else []) + usable

    def _set(self, value: str, option: Option) -> None:
        self._hold(value, -1)
        self._kept[value] = option
        self._hold(value, 1)
        uses = self._uses[value]
        for segment, _ in uses.readers:
            self._refresh(segment)
        if uses.writer is not None:
            self._refresh(uses.writer[0])

    def _hold(self, value: str, sign: int) -> None:
        """Add (1) or take away (-1) what the copies of `value` hold and what making them costs."""
        option = self._kept[value]
        sizes = self._index.values[value].resident_bytes
        last = self._segment_at[self._index.last_at(value)]
        for layout, source in option.items():
            first = self._segment_at[self._index.anchor(value, source)]
            self._take(range(first, last + 1), sign * sizes[layout])
            if source is not None:
                self._convert(value, source, layout, sign)
        converted = {source for source in option.values() if source not in (None, HBM)}
        for layout in converted:
            if layout is not None and option.get(layout, _ABSENT) is not None:
                producing = self._segment_at[self._index.anchor(value, None)]
                self._take(range(producing, producing + 1), sign * sizes[layout])

    def _convert(self, value: str, source: str, layout: str, sign: int) -> None:
        (cost,) = (c.cost for c in self._index.into[value, layout] if c.source == source)
        anchor = self._segment_at[self._index.anchor(value, source)]
        if sign > 0:
            self._buffers[anchor].append(cost.sbuf_bytes)
        else:
            self._buffers[anchor].remove(cost.sbuf_bytes)
        self._take(range(anchor, anchor + 1), 0)
        if source == HBM:
            readers = self._uses[value].readers
            first = min(segment for segment, port in readers if port.layout == layout)
            self._loads_ns[first] += sign * cost.early_ns
            self._loads[first] = replace(self._loads[first], loads_ns=self._loads_ns[first])
        one = (0, transfer_ns(cost), cost.hbm_bytes, cost.instructions)
        self._add(one, sign)

    def _take(self, segments: range, size: int) -> None:
        for segment in segments:
            self._held[segment] += size
            self._measure(segment)

    # Scores

    def _score(self, value: str) -> Score:
        faults, ns, hbm_bytes, instructions = self._total
        problem = self._index.problem
        ns -= saved_ns(self._loads, problem.passing_ns) if problem.prefetch else 0
        faults += UNSERVED if self._misplaced(value) else 0
        return faults, ns, hbm_bytes, instructions

    def _misplaced(self, value: str) -> bool:
        if self._located.get(value) != "sbuf":
            return False
        option = self._kept[value]
        streamed = any(port.layout not in option for _, port in self._uses[value].readers)
        return streamed or (self._stored(value) and not self._index.values[value].output)

    def _stored(self, value: str) -> bool:
        option = self._kept[value]
        return (
            self._index.values[value].output
            or HBM in option.values()
            or any(port.layout not in option for _, port in self._uses[value].readers)
        )

    def _refresh(self, segment: int) -> None:
        """Recompute what a segment costs and needs."""
        candidate = self._picked[segment]
        ports = [p for p in candidate.reads if p.layout not in self._kept[p.value]]
        ports += [p for p in candidate.writes if self._stored(p.value)]
        moved = [port.hbm for port in ports if port.hbm is not None]
        self._needs[segment] = candidate.sbuf_bytes + sum(cost.sbuf_bytes for cost in moved)
        self._measure(segment)
        load = self._index.load_of(candidate, moved)
        self._loads[segment] = replace(load, loads_ns=self._loads_ns[segment])
        self._add(self._costs[segment], -1)
        self._costs[segment] = (
            UNSERVED * (len(ports) - len(moved)),
            self._index.segment_ns(candidate, moved),
            sum(cost.hbm_bytes for cost in moved),
            candidate.instructions + sum(cost.instructions for cost in moved),
        )
        self._add(self._costs[segment], 1)

    def _add(self, cost: Score, sign: int) -> None:
        faults, ns, hbm_bytes, instructions = self._total
        self._total = (
            faults + sign * cost[0],
            ns + sign * cost[1],
            hbm_bytes + sign * cost[2],
            instructions + sign * cost[3],
        )

    def _measure(self, segment: int) -> None:
        need = max(self._needs[segment], *self._buffers[segment], 0)
        limit = self._index.problem.sbuf_limit_bytes
        excess = max(0, self._held[segment] + need - limit)
        self._add((excess - self._excess[segment], 0, 0, 0), 1)
        self._excess[segment] = excess
