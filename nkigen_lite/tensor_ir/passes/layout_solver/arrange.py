"""How a segment's iterations are run: stages that overlap, and engines that share the work."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cost_models import Target
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import PSUM_COPIES
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import cuts_of
from nkigen_lite.tensor_ir.passes.direct_lower.sums import has_long_results
from nkigen_lite.tensor_ir.passes.layout_solver.bench import Bench, Piece
from nkigen_lite.tensor_ir.passes.layout_solver.engines import SHARING, shared
from nkigen_lite.tensor_ir.passes.layout_solver.ports import PortInfo
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA
from nkigen_lite.tensor_ir.passes.layout_solver.stages import (
    MOST_CUTS,
    best_cuts,
    blocks_of,
)
from nkigen_lite.tensor_ir.passes.schedule import (
    Arrangement,
    Loop,
    Port,
    Segment,
    read_layout,
    write_layout,
)

_HOPELESS = 1.3  # times what the best way takes: what the model may be wrong by
TENSOR, SCALAR, GPSIMD = "tensor", "scalar", "gpsimd"
_SAMPLED = 4  # blocks of an outermost loop from which on few of them are compared
_WORTH = 0.03  # of its time that a segment has to gain by being run otherwise
_MORE_COPIES = (4, 3)  # of what is on its way through PSUM: the most that there is room for
_MUCH = 0.15  # of its time that a segment waits if its stages may gain by being emitted in turns
_WORTH_COPY = 0.01  # and by one copy more of what it loads
_LOAD_COPIES = (3, 4)


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to run a segment, the model's estimate, and the segment lowered so if it is known.

    ``least_ns`` is a time that it takes at least: that of its busiest engine. DMA queues do not
    count, as transfers that take a few of them overlap.
    """

    piece: Piece | None
    run: Arrangement
    estimate_ns: float
    least_ns: float


@dataclass
class Arranger:
    """Lowers segments for a target, in the best of the ways to run them."""

    target: Target
    bench: Bench = field(init=False)
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        self.bench = Bench(self.target)
        self.limits = Limits.of(self.target)

    def lower(
        self,
        segment: Segment,
        ports: Sequence[PortInfo],
        streamed: Collection[PortInfo] | None = None,
    ) -> Piece:
        """The segment with every port to and from HBM, or with all kept in SBUF that can be but
        for ``streamed``."""
        segment.reads, segment.writes = {}, {}
        stored = set()
        for info in ports:
            side = segment.reads if info.side == "read" else segment.writes
            moves = streamed is None or info in streamed or not info.keepable
            side[info.storage, info.layout.name] = Port(info.layout, moves, info.via)
            if moves and info.side == "write":
                stored.add(info.storage)
        segment.stored = frozenset(stored)
        return self.bench.segment(segment)

    def fits(self, piece: Piece, ports: Sequence[PortInfo]) -> bool:
        """Whether a segment with these ports streamed fits SBUF and PSUM."""
        narrow = not self._is_wide(piece, ports)
        return narrow and piece.own.psum_banks <= self.limits.psum_banks

    def _is_wide(self, piece: Piece, ports: Sequence[PortInfo]) -> bool:
        """Whether a segment with these ports streamed needs more than SBUF."""
        streamed = sum(piece.port(i.key).sbuf_bytes for i in ports)
        return piece.own.sbuf_bytes + streamed > self.limits.sbuf_bytes

    def arrange(
        self,
        segment: Segment,
        ports: Sequence[PortInfo],
        piece: Piece,
        enough_ns: float,
    ) -> Piece:
        """Cut the segment's steps into stages and share its work among the engines, where its
        simulated time is less for it; of many ways those are simulated that a model of engines in
        order finds best. ``piece`` is the segment as it is; the way it is run in the end is noted
        in the segment. Of a nest of loops, one block of the outermost is compared.

        Left as it is if the model finds none below ``enough_ns``.
        """
        if len(segment.loops) > 1 and _trips(segment.loops[0]) >= _SAMPLED:
            segment.sampled = 2 if len(segment.loops) == 2 or segment.hidden else 1
        sample = self.lower(segment, ports) if segment.sampled else piece
        ways = [way for base in self._bases(segment, ports, sample) for way in base]
        promising = min(way.estimate_ns for way in ways)
        scale = piece.busy_ns / sample.busy_ns if sample.busy_ns else 1.0
        if scale * promising > enough_ns:
            segment.sampled = 0
            return piece
        near = [way for way in ways[1:] if way.estimate_ns <= _HOPELESS * promising]
        plain = segment.run
        segment.run, found = self._best_of(segment, ports, sample, near)
        sampled, segment.sampled = segment.sampled, 0
        best = piece
        if segment.run != plain:
            arranged = self.lower(segment, ports) if sampled else found
            if arranged.line.time_ns < piece.line.time_ns and self.fits(arranged, ports):
                best = arranged
            else:
                segment.run = plain
        return self._in_pieces(segment, ports, self._with_copies(segment, ports, best))

    def _best_of(
        self, segment: Segment, ports: Sequence[PortInfo], plain: Piece, ways: Sequence[_Way]
    ) -> tuple[Arrangement, Piece]:
        """The fastest of several ways to run a segment and the present one, ``plain``; the segment
        lowered so."""
        best, found = segment.run, plain
        for way in ways:
            worth_ns = (1 - _WORTH) * found.line.time_ns
            if way.least_ns > worth_ns:
                continue
            tried = self._tried(segment, ports, way.run, way.piece)
            if tried is not None and _may_gain_by_turns(segment, tried):
                run = segment.run
                mixed = self._tried(segment, ports, replace(run, interleaved=True), None)
                if mixed is None or mixed.line.time_ns > (1 - _WORTH) * tried.line.time_ns:
                    segment.run = run
                else:
                    tried = mixed
            if tried is not None and _is_faster(tried, found, sampled=bool(segment.sampled)):
                best, found = segment.run, tried
        return best, found

    def _tried(
        self, segment: Segment, ports: Sequence[PortInfo], run: Arrangement, piece: Piece | None
    ) -> Piece | None:
        """The segment lowered in a way (``piece`` if that is known), with fewer copies of what it
        makes if it does not fit SBUF otherwise; None if it never fits. The way is noted in it."""
        segment.run = run
        tried = piece or self.lower(segment, ports)
        if self._is_wide(tried, ports):
            segment.run = replace(run, inner_copies=1)
            tried = self.lower(segment, ports)
        return tried if self.fits(tried, ports) else None

    def _with_copies(self, segment: Segment, ports: Sequence[PortInfo], piece: Piece) -> Piece:
        """The segment with more copies of what it loads, where iterations wait for loads."""
        best, found = segment.run, piece
        trips = math.prod(_trips(loop) for loop in segment.loops)
        for copies in _LOAD_COPIES:
            waits = found.line.time_ns - found.busy_ns > _WORTH * found.line.time_ns
            if not (waits and trips > copies):
                break
            tried = self._tried(segment, ports, replace(best, load_copies=copies), None)
            if tried is None or tried.line.time_ns > (1 - _WORTH_COPY) * found.line.time_ns:
                break
            best, found = segment.run, tried
        segment.run = best
        return found

    def _in_pieces(self, segment: Segment, ports: Sequence[PortInfo], piece: Piece) -> Piece:
        """The segment with large operands of products in pieces, where it waits for the first."""
        plain = segment.run
        if piece.line.fill_ns < _WORTH * piece.line.time_ns or not _multiplies(segment):
            return piece
        tried = self._tried(segment, ports, replace(plain, load_pieces=True), None)
        if tried is not None and tried.line.time_ns < (1 - _WORTH_COPY) * piece.line.time_ns:
            return tried
        segment.run = plain
        return piece

    def _bases(
        self, segment: Segment, ports: Sequence[PortInfo], piece: Piece
    ) -> Iterator[list[_Way]]:
        """The ways to run the segment, by who transposes what is made in it and how its work is
        shared."""
        plain = segment.run
        yield self._ways(segment, piece)
        yield self._balanced(segment, ports, piece)
        if _turns_inside(segment) and self._queues_are_idle(piece):
            segment.run = replace(plain, turns_by_dma=True)
            turned = self.lower(segment, ports)
            yield self._ways(segment, turned)
            yield self._balanced(segment, ports, turned)
            segment.run = plain

    def _queues_are_idle(self, piece: Piece) -> bool:
        """Whether DMA queues have time left to transpose what the PE array transposes."""
        return piece.busy.get(DMA, 0.0) + piece.turning_by_dma_ns < piece.busy_ns

    def plain(self, segment: Segment, ports: Sequence[PortInfo]) -> Piece | None:
        """The segment as it is, with as many copies of what is in PSUM as there is room for at
        once; None if it does not fit the hardware."""
        piece = self._with_psum_copies(segment, ports, self.lower(segment, ports))
        if piece.busiest != TENSOR and has_long_results(segment):
            plain = segment.run
            segment.run = replace(segment.run, psum_banks=2, psum_copies=PSUM_COPIES)
            wide = self.lower(segment, ports)
            fits = self._in_flight(wide, PSUM_COPIES) and self.fits(wide, ports)
            if fits and wide.busy_ns < piece.busy_ns:
                # Fewer instructions, where it is not the PE array that is busiest.
                piece = self._with_psum_copies(segment, ports, wide)
            else:
                segment.run = plain
        return piece if self.fits(piece, [i for i in ports if not i.keepable]) else None

    def _with_psum_copies(self, segment: Segment, ports: Sequence[PortInfo], piece: Piece) -> Piece:
        """A piece with more copies of what is in PSUM, or fewer if there is not room for two."""
        wanted = [copies for copies in _MORE_COPIES if self._in_flight(piece, copies)]
        if piece.own.psum_banks > self.limits.psum_banks:
            wanted = [1]
        if not piece.own.psum_banks or not wanted:
            return piece
        segment.run = replace(segment.run, psum_copies=wanted[0])
        piece.rotate_in_psum(wanted[0])
        return piece

    def _in_flight(self, piece: Piece, copies: int) -> bool:
        return piece.psum_in_flight(copies) <= self.limits.psum_banks

    def _balanced(self, segment: Segment, ports: Sequence[PortInfo], piece: Piece) -> list[_Way]:
        """Ways in which the engines share the work, where that relieves the busiest."""
        plain, places = segment.run, 2 * len(segment.steps)
        worth_ns = (1 - _WORTH) * _computing_ns(segment, piece)
        others_ns = max((ns for r, ns in piece.busy.items() if r not in SHARING), default=0.0)
        if others_ns >= worth_ns and not segment.hidden:
            return []  # no engine that shares work is the busiest
        triggers = sum(stores.get(SCALAR, 0.0) for _, stores in piece.busy_of_places(places))
        moved, relieved = triggers > _WORTH * piece.busy_ns, piece
        if moved:
            segment.run = replace(plain, stores_by=GPSIMD)
            relieved = self.lower(segment, ports)
        sharing = shared(relieved, places)
        relieves = moved or sharing.takes_turns or sharing.busy_ns < worth_ns
        if not ((moved or any(sharing.engines)) and relieves):
            segment.run = plain
            return []
        segment.run = replace(segment.run, engines=sharing.engines)
        balanced = self.lower(segment, ports)
        if plain.psum_banks > 1 and not self._in_flight(balanced, plain.psum_copies):
            segment.run = replace(segment.run, psum_banks=1, psum_copies=PSUM_COPIES)
            balanced = self.lower(segment, ports)
        relieves = _computing_ns(segment, balanced) < worth_ns
        ways = self._ways(segment, balanced) if relieves else []
        segment.run = plain
        return ways

    def _ways(self, segment: Segment, piece: Piece) -> list[_Way]:
        """The best cuts of a segment by the model, for engines as they are in ``piece``: none, then
        the best of each number."""
        steps, cuts = segment.steps, cuts_of(segment)
        loops = segment.loops[1:] if segment.sampled else segment.loops
        trips = math.prod(_trips(loop) for loop in loops) * max(1, segment.sampled)
        busy = [
            (_per_trip(own, trips), _per_trip(stores, trips))
            for own, stores in piece.busy_of_places(2 * len(steps))
        ]
        found = best_cuts(blocks_of(steps, busy), cuts if trips > 1 else [])
        if trips > 1 and 1 in cuts and all(1 not in way for way, _ in found):
            # The model does not tell what loads gain from a stage of their own.
            found.append(((1,), found[0][1]))
        rows = _after_rows(segment, cuts) if trips > 1 else ()
        if rows and all(rows != way for way, _ in found):
            found.append((rows, min(ns for _, ns in found)))
        return [
            _Way(
                None if way else piece,
                replace(segment.run, cuts=way),
                max(piece.busy_ns, interval * trips),
                _computing_ns(segment, piece) if segment.hidden else piece.engines_ns,
            )
            for way, interval in found
        ]


def _is_faster(piece: Piece, than: Piece, *, sampled: bool) -> bool:
    """Whether a way to run a segment is worth taking instead of another. In a sample, filling and
    draining weigh more than in the whole, so that the time of the busiest engine counts, too."""
    if piece.line.time_ns < (1 - _WORTH) * than.line.time_ns:
        return True
    relieves = piece.engines_ns < (1 - _WORTH) * than.engines_ns
    return sampled and relieves and piece.line.time_ns < than.line.time_ns


def _may_gain_by_turns(segment: Segment, piece: Piece) -> bool:
    """Whether a segment that overlaps iterations waits for much, and has stages long enough for
    other stages to come in between."""
    waits_ns = piece.line.time_ns - piece.busy_ns
    much = waits_ns > _MUCH * piece.line.time_ns
    return much and bool(segment.run.cuts) and not segment.hidden and has_long_results(segment)


def _after_rows(segment: Segment, cuts: Sequence[int]) -> tuple[int, ...]:
    """Cuts before whatever first reads a reduction of whole rows, and before the product of what is
    transposed in the segment: what these need is there last. The model does not tell how long
    engines then wait in turn."""
    steps = segment.steps
    last = max((n for n, step in enumerate(steps) if step.kind == "matmul"), default=0)
    if not last or not _turns_inside(segment):
        return ()
    rows = [step.write.storage for step in steps if step.kind == "reduce"]
    firsts = (
        next((n for n, step in enumerate(steps) if made in [v.storage for v in step.reads]), last)
        for made in rows
    )
    places = sorted({2 * n + 1 for n in (*firsts, last)} & set(cuts))
    return tuple(places[-MOST_CUTS:])


def _computing_ns(segment: Segment, piece: Piece) -> float:
    """The time of the busiest resource; of masked rows only of what computes, as loads are for each
    part as long as these do not overlap."""
    busy = piece.busy
    return max(busy.get(e, 0.0) for e in SHARING) if segment.hidden else piece.busy_ns


def _multiplies(segment: Segment) -> bool:
    steps = zip(segment.steps, segment.impls, strict=True)
    return any(step.kind == "matmul" and impl.partition for step, impl in steps)


def _per_trip(busy: Mapping[str, float], trips: int) -> dict[str, float]:
    return {engine: ns / trips for engine, ns in busy.items()}


def _trips(loop: Loop) -> int:
    return -(-loop.axis.extent // loop.block)


def _turns_inside(segment: Segment) -> bool:
    """Whether something that is made in a segment is read there in another layout."""
    made = {
        step.write.storage: write_layout(step, impl).name
        for step, impl in zip(segment.steps, segment.impls, strict=True)
    }
    return any(
        made.get(view.storage, wanted) != wanted
        for step, impl in zip(segment.steps, segment.impls, strict=True)
        for position, view in enumerate(step.reads)
        for wanted in (read_layout(step, impl, position).name,)
    )
