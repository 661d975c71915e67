"""What a segment waits for: beyond its busiest engine, for what it loads, and for what it stores.

It is simulated on its own with nothing streamed that may be kept in SBUF, with each port streamed
alone, and with all. Of these times the solver gets sums, one summand per port, which fit them as
well as sums can.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from nkigen_lite.tensor_ir.passes.layout_solver.bench import Piece
from nkigen_lite.tensor_ir.passes.layout_solver.ports import PortInfo
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA, warmed_ns

_WORTH_DIVIDING = 0.01  # of a segment's time: how much waiting it takes to ask who waits
_DMA_BOUND = 1.001  # times its DMA: what a segment takes at most that waits for nothing else

Lower = Callable[[Collection[PortInfo]], Piece]
"""Lowers a segment with some of the ports that may be kept streamed, and those that may not."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Times in ns: what a segment waits with all kept that may be, and per port what it waits
    besides; how long it has nothing to do at the beginning of a plan, by itself and per port."""

    own_ns: float
    port_ns: tuple[float, ...]
    fill_ns: float
    port_fill_ns: tuple[float, ...]


def waits_of(piece: Piece, ports: Sequence[PortInfo], lower: Lower) -> Waits:
    """The waits of a segment; ``piece`` is the segment with all its ports streamed."""
    free = [info for info in ports if info.keepable]
    forced = [info for info in ports if not info.keepable]
    whole_ns = _waiting_ns(piece, ports)
    if not free or piece.line.time_ns - piece.busy_ns < _WORTH_DIVIDING * piece.line.time_ns:
        return Waits(whole_ns, (0.0,) * len(ports), _fill_ns(piece), (0.0,) * len(ports))
    kept = lower(())
    own_ns = _waiting_ns(kept, forced)
    fill_ns = _fill_ns(kept)
    alone = {id(info): piece if len(free) == 1 else lower((info,)) for info in free}
    waits, fills = [], []
    for info in ports:
        single = alone.get(id(info))
        begins = single is not None and info.side == "read" and info.storage.kind == "input"
        waits.append(
            max(0.0, _waiting_ns(single, [*forced, info]) - own_ns) if single is not None else 0.0
        )
        fills.append(_fill_ns(single) if single is not None and begins else 0.0)
    fitted = _fitted(waits, [info.keepable for info in ports], max(0.0, whole_ns - own_ns))
    return Waits(own_ns, tuple(fitted), fill_ns, tuple(fills))


def _waiting_ns(piece: Piece, streamed: Sequence[PortInfo]) -> float:
    """What a segment takes beyond its busiest engine, with some ports streamed; nothing, where DMA
    takes that long anyway.

    Neighbours hide the loads of inputs that it begins with and the stores of outputs that it ends
    with. They do not hide loads of what was stored in the plan, nor stores of what is loaded again:
    there the next segment waits for the last one.
    """
    line = piece.line
    taken_ns = warmed_ns(line, piece.target)
    if not any(i.side == "read" and i.storage.kind != "input" for i in streamed):
        taken_ns -= line.fill_ns
    if not any(i.side == "write" and i.storage.kind == "temp" for i in streamed):
        taken_ns -= line.drain_ns
    if taken_ns <= _DMA_BOUND * piece.busy.get(DMA, 0.0):
        return 0.0
    engines_ns = max((ns for name, ns in piece.busy.items() if name != DMA), default=0.0)
    return max(0.0, taken_ns - engines_ns)


def _fill_ns(piece: Piece) -> float:
    return min(piece.line.fill_ns, piece.unhidden_ns)


def _fitted(waits: Sequence[float], free: Sequence[bool], whole_ns: float) -> list[float]:
    """The waits of ports alone, closer to what all ports together add to the segment's own wait.

    What they lack is shared equally; of what their sum is too much, half is taken away, so that
    neither one port nor all of them are far off.
    """
    total = sum(waits)
    if total > whole_ns:
        scale = 0.5 + 0.5 * whole_ns / total
        return [ns * scale for ns in waits]
    share = (whole_ns - total) / sum(free)
    return [ns + share if keepable else 0.0 for ns, keepable in zip(waits, free, strict=True)]
