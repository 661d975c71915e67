"""What a segment waits for: beyond its busiest engine, for what it loads, and for what it stores.

It is simulated on its own with nothing streamed that may be kept in SBUF, with each port streamed
alone, and with all. Of these times the solver gets sums, one summand per port, which fit them as
well as sums can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nkigen_lite.tensor_ir.passes.direct_lower.segment_buffers import PortKey
from nkigen_lite.tensor_ir.passes.layout_solver.bench import Piece
from nkigen_lite.tensor_ir.passes.layout_solver.ports import PortInfo
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA, warmth_ns

_WORTH_DIVIDING = 0.01  # of a segment's time: how much waiting it takes to ask who waits
_DMA_BOUND = 1.001  # times its DMA: what a segment takes at most that waits for nothing else


@dataclass(frozen=True, slots=True)
class PortWaits:
    """What a port adds if it is streamed (ns): to the segment's wait, to what is waited for at the
    beginning of a plan, and loads at the start for which the segment waits unless they are done
    early; and what the segment takes at least after the last load."""

    wait_ns: float = 0.0
    fill_ns: float = 0.0
    start_ns: float = 0.0
    tail_ns: float = 0.0


@dataclass(frozen=True, slots=True)
class Waits:
    """The segment's own wait and what it adds to the beginning of a plan, with all kept that may
    be, and to the end of one (ns); what it waits at the end of a plan for its stores, unless its
    DMA time is longer anyway; and what its ports add."""

    own_ns: float
    fill_ns: float
    drain_ns: float
    store_ns: float
    ports: tuple[PortWaits, ...]


def waits_of(piece: Piece, ports: Sequence[PortInfo]) -> Waits:
    """The waits of a segment; ``piece`` is the segment with all its ports streamed."""
    free = [info for info in ports if info.keepable]
    forced = [info for info in ports if not info.keepable]
    if piece.line.time_ns - piece.busy_ns < _WORTH_DIVIDING * piece.line.time_ns:
        return Waits(0.0, *_ends_ns(piece), 0.0, (PortWaits(),) * len(ports))
    always = [info.key for info in forced]
    kept = piece.streaming(always) if free else piece
    alone = {i.key: piece if free == [i] else piece.streaming([*always, i.key]) for i in free}
    starts = _starts(kept, forced)
    for info in free:
        starts |= _starts(alone[info.key], [info])
    own_ns = _waiting_ns(kept, forced, starts)
    waits = [_waiting_ns(alone[i.key], [*forced, i], starts) - own_ns for i in free]
    whole_ns = _waiting_ns(piece, ports, starts) - own_ns
    fitted = dict(zip((i.key for i in free), _fitted(waits, whole_ns), strict=True))
    # What comes before the first transfer ends; those of the start are counted with the segment.
    lead_ns = kept.line.fill_ns - sum(starts.get(info.key, 0.0) for info in forced)

    def of_port(info: PortInfo) -> PortWaits:
        wait_ns, start_ns, later_ns = fitted.get(info.key, 0.0), starts.get(info.key, 0.0), 0.0
        if info.keepable and _is_early(info):
            later_ns = alone[info.key].line.fill_ns - kept.line.fill_ns - start_ns
            # What it waits for is loads, the first of which may be done early.
            early_ns = min(wait_ns, max(0.0, piece.port(info.key).early_ns - start_ns))
            wait_ns, start_ns = wait_ns - early_ns, start_ns + early_ns
        tail_ns = _tail_ns(alone[info.key], info) if info.side == "read" and info.keepable else 0.0
        return PortWaits(wait_ns, max(0.0, later_ns), start_ns, tail_ns)

    found = tuple(map(of_port, ports))
    begin_ns = lead_ns + max((w.fill_ns for w in found), default=0.0)
    engines_ns = piece.engines_ns + own_ns + sum(w.wait_ns + w.start_ns for w in found)
    moved_ns = piece.busy.get(DMA, 0.0) + max((w.tail_ns for w in found), default=0.0)
    rest_ns = piece.line.time_ns - begin_ns - max(engines_ns, moved_ns)
    rest_ns = max(0.0, rest_ns)
    cold_ns = min(warmth_ns(piece.line, piece.target), rest_ns)  # at first nothing has warmed it
    drain_ns = min(piece.line.drain_ns, rest_ns - cold_ns)
    stored = [alone[i.key] for i in free if i.storage.kind == "output" and i.side == "write"]
    if not any(i.side == "read" and i.storage.kind == "temp" for i in ports):
        stored = []  # it streams what it reads, and was simulated so
    store_ns = max((part.line.drain_ns for part in stored), default=0.0)
    return Waits(own_ns, lead_ns + cold_ns, drain_ns, max(0.0, store_ns - drain_ns), found)


def undivided(piece: Piece, ports: Sequence[PortInfo]) -> Waits:
    """The waits of a segment, shared out by DMA time; its own are those for what cannot be kept."""
    fill_ns, drain_ns = _ends_ns(piece)
    fill_ns += warmth_ns(piece.line, piece.target)
    waits_ns = _waiting_ns(piece, ports, {})
    moved_ns = [piece.port(info.key).busy.get(DMA, 0.0) for info in ports]
    per_ns = waits_ns / sum(moved_ns) if any(moved_ns) else 0.0
    waits = [
        per_ns * ns if info.keepable else 0.0 for info, ns in zip(ports, moved_ns, strict=True)
    ]
    own_ns = waits_ns - sum(waits)
    return Waits(own_ns, fill_ns, drain_ns, 0.0, tuple(map(PortWaits, waits)))


def _tail_ns(piece: Piece, info: PortInfo) -> float:
    """What a segment takes after the last load of the one port that it streams, if its loads take
    longer than its engines: no longer than these work on what that brings."""
    cost, moved_ns = piece.port(info.key), piece.busy.get(DMA, 0.0)
    if moved_ns < piece.engines_ns:
        return 0.0
    left_ns = piece.line.time_ns - cost.lead_ns - moved_ns
    return max(0.0, min(left_ns, piece.engines_ns / max(1, cost.dmas)))


def _is_early(info: PortInfo) -> bool:
    """Whether it is loaded and nothing that the plan computes is."""
    return info.side == "read" and info.storage.kind == "input"


def _starts(piece: Piece, ports: Sequence[PortInfo]) -> dict[PortKey, float]:
    """Per port that is loaded early, the DMA time before the first engine computes (ns): the first
    ports' first, as far as it goes."""
    starts: dict[PortKey, float] = {}
    early = [info for info in ports if _is_early(info)]
    left_ns = piece.line.fill_ns - max((piece.port(i.key).lead_ns for i in early), default=0.0)
    for info in early:
        starts[info.key] = max(0.0, min(left_ns, piece.port(info.key).early_ns))
        left_ns -= starts[info.key]
    return starts


def _waiting_ns(
    piece: Piece, streamed: Sequence[PortInfo], starts: Mapping[PortKey, float]
) -> float:
    """What a segment takes beyond its busiest engine, with some ports streamed, and beyond loads at
    its start; nothing, where the other DMA takes that long anyway.

    Neighbours hide the latency of the loads that it begins with, and the stores of outputs that it
    ends with. They do not hide loads of what was stored in the plan, nor stores of what is loaded
    again: there the next segment waits for the last one.
    """
    line = piece.line
    start_ns = sum(starts.get(info.key, 0.0) for info in streamed)
    taken_ns = line.time_ns - warmth_ns(line, piece.target)
    waits = any(i.side == "read" and i.storage.kind != "input" for i in streamed)
    taken_ns -= min(start_ns, line.fill_ns) if waits else line.fill_ns
    if not any(i.side == "write" and i.storage.kind == "temp" for i in streamed):
        taken_ns -= line.drain_ns
    if taken_ns <= _DMA_BOUND * (piece.busy.get(DMA, 0.0) - start_ns):
        return 0.0
    return max(0.0, taken_ns - piece.engines_ns)


def _ends_ns(piece: Piece) -> tuple[float, float]:
    """What a segment adds to the beginning of a plan, before it has anything to do, and to the end
    of one."""
    fill_ns = min(piece.line.fill_ns, piece.unhidden_ns)
    return fill_ns, piece.unhidden_ns - fill_ns


def _fitted(waits: Sequence[float], whole_ns: float) -> list[float]:
    """What each port adds to a segment's wait by itself, closer to what all of them add together.

    What they lack is shared equally; of what their sum is too much, half is taken away, so that
    neither one port nor all of them are far off.
    """
    waits, whole_ns = [max(0.0, ns) for ns in waits], max(0.0, whole_ns)
    total = sum(waits)
    if total > whole_ns:
        return [ns * (0.5 + 0.5 * whole_ns / total) for ns in waits]
    return [ns + (whole_ns - total) / len(waits) for ns in waits]
