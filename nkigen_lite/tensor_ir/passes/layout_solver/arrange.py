"""How a segment's iterations are run: stages that overlap, and engines that share the work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cost_models import Target
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import cuts_of
from nkigen_lite.tensor_ir.passes.layout_solver.bench import Bench, Piece
from nkigen_lite.tensor_ir.passes.layout_solver.engines import shared
from nkigen_lite.tensor_ir.passes.layout_solver.ports import PortInfo
from nkigen_lite.tensor_ir.passes.layout_solver.stages import best_cuts, blocks_of
from nkigen_lite.tensor_ir.passes.schedule import Arrangement, Port, Segment

_HOPELESS = 1.3  # times what a rival takes: what the model may be wrong by
_WORTH = 0.03  # of its time that a segment has to gain by being run otherwise
_WORTH_COPY = 0.01  # and by one copy more of what it loads
_LOAD_COPIES = (3, 4)


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to run a segment, the model's estimate, and the segment lowered so if it is known."""

    piece: Piece | None
    run: Arrangement
    estimate_ns: float


@dataclass
class Arranger:
    """Lowers segments for a target, in the best of the ways to run them."""

    target: Target
    bench: Bench = field(init=False)
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        self.bench = Bench(self.target)
        self.limits = Limits.of(self.target)

    def lower(self, segment: Segment, ports: Sequence[PortInfo], *, streamed: bool = True) -> Piece:
        """The segment with every port to and from HBM, or with all kept in SBUF that can be."""
        segment.reads, segment.writes = {}, {}
        for info in ports:
            side = segment.reads if info.side == "read" else segment.writes
            moves = streamed or not info.keepable
            side[info.storage, info.layout.name] = Port(info.layout, moves, info.via)
        written = frozenset(i.storage for i in ports if i.side == "write")
        segment.stored = written if streamed else frozenset()
        return self.bench.segment(segment)

    def fits(self, piece: Piece, ports: Sequence[PortInfo]) -> bool:
        """Whether a segment with these ports streamed fits SBUF and PSUM."""
        sbuf = piece.own.sbuf_bytes + sum(piece.port(i.key).sbuf_bytes for i in ports)
        limits = self.limits
        return piece.own.psum_banks <= limits.psum_banks and sbuf <= limits.sbuf_bytes

    def arrange(
        self, segment: Segment, ports: Sequence[PortInfo], piece: Piece, least_ns: float
    ) -> Piece | None:
        """Cut the segment's steps into stages and share its work among the engines, where its
        simulated time is less for it; of many ways those are simulated that a model of engines in
        order finds best. ``piece`` is the segment as it is; the way it is run in the end is noted
        in the segment.

        None if the model finds them all much slower than ``least_ns``.
        """
        ways = [*self._ways(segment, piece), *self._balanced(segment, ports, piece)]
        promising = min(way.estimate_ns for way in ways)
        if promising > _HOPELESS * least_ns:
            return None
        best, found = segment.run, piece
        for way in ways[1:]:
            if way.estimate_ns > _HOPELESS * promising:
                continue
            tried = self._tried(segment, ports, way.run, way.piece)
            if tried is not None and tried.line.time_ns < (1 - _WORTH) * found.line.time_ns:
                best, found = segment.run, tried
        segment.run = best
        return self._with_copies(segment, ports, found)

    def _tried(
        self, segment: Segment, ports: Sequence[PortInfo], run: Arrangement, piece: Piece | None
    ) -> Piece | None:
        """The segment lowered in a way (``piece`` if that is known), with fewer copies of what it
        makes if it does not fit otherwise; None if it never does. The way is noted in it."""
        for inner in (run.inner_copies, 1):
            segment.run = replace(run, inner_copies=inner)
            tried = piece if piece and inner == run.inner_copies else self.lower(segment, ports)
            if self.fits(tried, ports):
                return tried
        return None

    def _with_copies(self, segment: Segment, ports: Sequence[PortInfo], piece: Piece) -> Piece:
        """The segment with more copies of what it loads, where iterations wait for loads."""
        best, found = segment.run, piece
        for copies in _LOAD_COPIES:
            waits = found.line.time_ns - found.busy_ns > _WORTH * found.line.time_ns
            if not (waits and self._trips(segment) > copies):
                break
            tried = self._tried(segment, ports, replace(best, load_copies=copies), None)
            if tried is None or tried.line.time_ns > (1 - _WORTH_COPY) * found.line.time_ns:
                break
            best, found = segment.run, tried
        segment.run = best
        return found

    def _trips(self, segment: Segment) -> int:
        return math.prod(-(-loop.axis.extent // loop.block) for loop in segment.loops)

    def _balanced(self, segment: Segment, ports: Sequence[PortInfo], piece: Piece) -> list[_Way]:
        """Ways in which the engines share the work, where that relieves the busiest."""
        plain = segment.run
        engines = shared(piece, 2 * len(segment.steps))
        if not any(engines):
            return []
        segment.run = replace(plain, engines=engines)
        balanced = self.lower(segment, ports)
        relieves = balanced.busy_ns < (1 - _WORTH) * piece.busy_ns
        ways = self._ways(segment, balanced) if relieves else []
        segment.run = plain
        return ways

    def _ways(self, segment: Segment, piece: Piece) -> list[_Way]:
        """The best cuts of a segment by the model, for engines as they are in ``piece``: none, then
        the best of each number."""
        steps, cuts = segment.steps, cuts_of(segment)
        trips = self._trips(segment)
        busy = [
            (_per_trip(own, trips), _per_trip(stores, trips))
            for own, stores in piece.busy_of_places(2 * len(steps))
        ]
        return [
            _Way(
                None if way else piece,
                replace(segment.run, cuts=way),
                max(piece.busy_ns, interval * trips),
            )
            for way, interval in best_cuts(blocks_of(steps, busy), cuts if trips > 1 else [])
        ]


def _per_trip(busy: Mapping[str, float], trips: int) -> dict[str, float]:
    return {engine: ns / trips for engine, ns in busy.items()}
