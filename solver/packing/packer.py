"""Packing: passes without search first, then CP-SAT on what they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..engine import GRACE_S, Meter
from .exact import fit
from .grid import Item, independent, make_grid, neighbours, sections, set_aside
from .heuristics import Draft, drafts, height, lowest_gap, place
from .problem import PackingProblem
from .report import Packing, Peak

FIRST_PROBE = 0.4
LATER_PROBE = 0.5
"""Part of the time left that `minimise_height` gives to its first probe, at the bound, where the
answer most often is, and to each later one."""

NOTHING = Draft({}, 0, "no buffers")


def pack(
    problem: PackingProblem,
    time_limit: float = 10.0,
    seed: int = 0,
    workers: int = 1,
    *,
    search: bool = True,
) -> Packing:
    """Addresses for the buffers of `problem` within its capacity, if `time_limit` seconds allow.

    The time is counted in estimates, of one core, so that the same problem, limit and seed give
    the same packing however fast the machine is and however many `workers` run side by side; only
    at several times the limit does real time end the search.  However short the limit, the answer
    has addresses, above the capacity if need be.  Without `search` they are the best of the passes
    that do without CP-SAT.

    Raises `ProblemError` for a malformed problem, `ValueError` for a limit or number of workers
    that is not above 0, and `SolverMissing` if it takes OR-Tools and that is not installed.
    """
    packer = _packer("pack", problem, time_limit, seed, workers)
    if search and packer.bound <= packer.capacity < packer.best.height:
        packer.search(packer.capacity, packer.meter.left_s)
    return packer.report()


def minimise_height(
    problem: PackingProblem, time_limit: float = 10.0, seed: int = 0, workers: int = 1
) -> Packing:
    """The lowest packing of the buffers of `problem` that `time_limit` seconds allow.

    The capacity of `problem` does not count: compare the height with it.  The bound is tried
    first, then heights between what is known to be too low and the best packing.  Time, arguments
    and errors are as in `pack`.
    """
    packer = _packer("minimise_height", problem, time_limit, seed, workers)
    # Below `low`, packings are proven not to exist or were not found in the time given to that.
    probe = low = packer.bound
    share = FIRST_PROBE
    while low < packer.best.height and packer.meter.left_s > 0:
        packer.search(probe, share * packer.meter.left_s)
        if packer.best.height > probe:
            low = probe + 1
        share = LATER_PROBE
        probe = (low + packer.best.height - 1) // 2
    return packer.report()


def _packer(
    who: str, problem: PackingProblem, time_limit: float, seed: int, workers: int
) -> Packer:
    if time_limit <= 0:
        raise ValueError(f"{who}: time_limit is {time_limit}, must be above 0")
    if workers < 1:
        raise ValueError(f"{who}: workers is {workers}, must be at least 1")
    problem.validate()
    # On a loaded machine, real time must not end the quick passes differently.
    return Packer(problem, Meter(time_limit, grace_s=GRACE_S), seed, workers)


class Packer:
    """The best packing found of one problem, and what is known of lower ones; in its units."""

    def __init__(self, problem: PackingProblem, meter: Meter, seed: int, workers: int) -> None:
        self._problem = problem
        self._grid = make_grid(problem)
        self._seed = seed
        self._workers = workers
        self._searches = 0
        self.meter = meter
        self.capacity = self._grid.capacity
        self.bound = self._grid.bound
        self._bound_method = "live bytes"
        self._near = neighbours(self._grid.items)
        self.best = NOTHING
        self._take(self._best_draft(self._grid.items, self.bound))

    def search(self, capacity: int, seconds: float) -> None:
        """Look for a packing within `capacity`, at least the bound, for up to `seconds`: lowers
        `best` if there is one, or raises `bound` if there is proven to be none."""
        kept, aside = set_aside(self._grid.items, capacity)
        addresses: dict[int, int] = {}
        methods: set[str] = set()
        limit = self.meter.spent_s + seconds
        for part in independent(kept):
            draft, impossible = self._pack_part(part, capacity, limit)
            if impossible:
                # No packing is within what was known to be too low, nor up to `capacity`.
                self.bound = capacity + 1
                self._bound_method = "CP-SAT"
                return
            addresses |= draft.addresses
            methods.add(draft.method)
        addresses = place(aside, self._near, lowest_gap, addresses)
        method = "; ".join(sorted(methods)) or "any order"
        self._take(Draft(addresses, height(self._grid.items, addresses), method))

    def report(self) -> Packing:
        """The answer to the caller, in bytes."""
        unit = self._grid.unit
        buffers = self._problem.buffers
        return Packing(
            addresses={b.name: unit * self.best.addresses[i] for i, b in enumerate(buffers)},
            height=unit * self.best.height,
            capacity=self._problem.capacity,
            bound=unit * self.bound,
            method=self.best.method,
            bound_method=self._bound_method,
            peak=self._peak(),
            searches=self._searches,
            search_s=self.meter.spent_s,
            wall_s=self.meter.wall_s,
            seed=self._seed,
        )

    def _peak(self) -> Peak | None:
        peak = self._grid.peak
        if peak is None:
            return None
        names = tuple(self._problem.buffers[item.index].name for item in peak.items)
        return Peak(peak.start, peak.end, self._grid.unit * peak.height, names)

    def _pack_part(self, part: Sequence[Item], capacity: int, limit: float) -> tuple[Draft, bool]:
        """The best packing of `part`, and whether none within `capacity` is proven; CP-SAT may
        spend until the meter is at `limit`."""
        bound = max((section.height for section in sections(part)), default=0)
        best = self._best_draft(part, bound)
        seconds = limit - self.meter.spent_s
        if best.height <= capacity or seconds <= 0:
            return best, False
        outcome = fit(
            part,
            capacity,
            seconds=seconds,
            seed=self._seed,
            workers=self._workers,
            meter=self.meter,
        )
        self.meter.spent_s += outcome.seconds
        self._searches += outcome.attempts
        if outcome.addresses is None:
            return best, outcome.proven
        return Draft(outcome.addresses, height(part, outcome.addresses), outcome.method), False

    def _best_draft(self, items: Sequence[Item], bound: int) -> Draft:
        """The lowest of the packings made without search; the first that is as low as `bound`."""
        best = NOTHING
        for draft in drafts(items, self.meter):
            if best.addresses and draft.height >= best.height:
                continue
            best = draft
            if best.height == bound:
                break
        return best

    def _take(self, draft: Draft) -> None:
        """Lower the items of `draft`, one by one from the lowest up; if that is the lowest packing
        so far, it is the best."""
        items = sorted(self._grid.items, key=lambda item: draft.addresses[item.index])
        lowered = place(items, self._near, lowest_gap)
        top = height(items, lowered)
        if not self.best.addresses or top < self.best.height:
            self.best = replace(draft, addresses=lowered, height=top)
