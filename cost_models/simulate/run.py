"""Running a stream of instructions on the simulated core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..target import Target
from .machine import Go, Machine
from .program import Fresh, Item, Loop, Step, check, extent_of
from .steady import LEAST_STEPS, LEAST_TRIPS, Watch, regions_of
from .tiles import ENGINES
from .timeline import Timeline, timeline_of

KEPT_STEPS = 1 << 12
"""Prepared steps of a flat stream that are kept for their next occurrence."""


def simulate(
    target: Target, program: Iterable[Item], *, extrapolate: bool = True, record: int = 0
) -> Timeline:
    """Predicted time line of a stream of instructions on one NeuronCore.

    Args:
        target: the hardware profile.
        program: steps, buffer rotations and loops in program order. It may be a generator: steps
            are dropped as soon as they have run, so memory does not grow with the stream.
        extrapolate: leave out trips of a loop whose state has been proven to repeat. The result is
            the same, in far fewer steps.
        record: how many events to keep for drawing.

    Raises:
        PriceError: an instruction cannot run on this target.
    """
    machine = Machine(target, record)
    runner = Runner(machine, extrapolate)
    if isinstance(program, Sequence):
        check(program)
        triggers = sorted(ENGINES.index(e) for e in extent_of(program).triggers)
        machine.triggers = tuple(triggers)
    runner.stream(program)
    return timeline_of(machine)


class Runner:
    """Prepares what is to run once, and runs it."""

    def __init__(self, machine: Machine, extrapolate: bool) -> None:
        self.machine, self.extrapolate = machine, extrapolate
        self._kept: dict[Step, Go] = {}

    def stream(self, items: Iterable[Item]) -> None:
        """Run items one after the other."""
        kept, totals = self._kept, self.machine.totals
        for item in items:
            if not isinstance(item, Step):
                check([item])
                self.prepare(item)()
                continue
            go = kept.get(item)
            if go is None:
                if len(kept) >= KEPT_STEPS:
                    kept.clear()
                check([item])
                go = kept[item] = self.prepare(item)
            go()
            totals.simulated += 1

    def prepare(self, item: Item) -> Go:
        """What runs an item."""
        if isinstance(item, Step):
            return self.machine.step(item)
        if isinstance(item, Fresh):
            return self.machine.tiles.fresh(item)
        return self._loop(item)

    def _loop(self, loop: Loop) -> Go:
        machine, totals, trips = self.machine, self.machine.totals, loop.trips
        tiles = machine.tiles
        slot, values = tiles.slot(loop.index), tiles.values
        body = [self.prepare(item) for item in loop.body]
        direct = sum(isinstance(item, Step) for item in loop.body)
        steps = extent_of(loop.body).steps * trips
        regions = None
        if self.extrapolate and trips >= LEAST_TRIPS and steps >= LEAST_STEPS:
            regions = regions_of(loop)

        def plain() -> None:
            for trip in range(trips):
                values[slot] = trip
                for go in body:
                    go()
            totals.simulated += direct * trips

        if regions is None:
            return plain
        watched = regions

        def go_watched() -> None:
            watch = Watch(machine, loop, watched)
            trip = 0
            while trip < trips:
                values[slot] = trip
                for go in body:
                    go()
                totals.simulated += direct
                trip += 1 + watch.after(trip)
            watch.close()

        return go_watched
