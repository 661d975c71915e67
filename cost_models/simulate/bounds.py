"""Times that no schedule of a given stream of instructions can beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..dma import Transfer
from ..roofline import Bounds, Work, bounds
from ..target import Target
from .prices import prices_of
from .program import Fresh, Item, Loop, Step, extent_of, walk
from .tiles import DMA, ENGINES, Tiles

CRITICAL_PATH = "critical_path"
"""The resource, beside those of :class:`cost_models.Bounds`, of what waits for data alone."""

MOST_STEPS = 300_000
"""Instructions of which the critical path is worth its time: about a second."""


def work_of(program: Sequence[Item]) -> Work:
    """What a stream does, loops multiplied out: bytes, multiply-adds, elements per engine.

    An instruction on the Vector, Scalar or GpSimd engine counts one element per partition and
    element of its longest operand.
    """
    moved, loaded, macs = 0, 0, dict[str, int]()
    elems = {"vector": 0, "scalar": 0, "gpsimd": 0}
    for item, trips in walk(program):
        if isinstance(item, Fresh):
            continue
        work = item.work
        if isinstance(work, Transfer):
            moved += trips * work.total_bytes
            loaded += trips * work.total_bytes * (work.direction == "load")
        elif work.op == "matmul":
            dtype, done = work.dtypes[1], work.rows * work.columns * work.elems
            macs[dtype] = macs.get(dtype, 0) + trips * work.count * done
        elif work.engine in elems:
            elems[work.engine] += trips * work.count * work.rows * work.elems
    return Work(
        hbm_bytes=moved,
        macs=macs,
        vector_elems=elems["vector"],
        scalar_elems=elems["scalar"],
        gpsimd_elems=elems["gpsimd"],
        hbm_load_bytes=loaded,
    )


def bounds_of(target: Target, program: Sequence[Item]) -> Bounds:
    """Lower bounds of the simulated time of ``program``, one per resource.

    Those of :func:`cost_models.bounds` for its work, and of no more than :data:`MOST_STEPS`
    instructions :data:`CRITICAL_PATH`, see :func:`critical_path_ns`.
    """
    found = bounds(target, work_of(program))
    by_resource = dict(found.by_resource)
    if extent_of(program).steps <= MOST_STEPS:
        by_resource[CRITICAL_PATH] = critical_path_ns(target, program)
    resource = max(by_resource, key=lambda name: by_resource[name])
    return replace(found, by_resource=by_resource, resource=resource, ns=by_resource[resource])


def critical_path_ns(target: Target, program: Sequence[Item]) -> float:
    """The longest chain of instructions of ``program`` that need each other's data.

    Every engine and queue is there as often as wanted, nothing waits for a buffer, the PE array is
    warm, weights and activation tables are loaded.
    """
    path = _Path(target)
    for item in program:
        path.prepare(item)()
    return path.end / 1000


class _Path:
    """Where each instruction ends if only the need for data holds it up; times in ps."""

    def __init__(self, target: Target) -> None:
        self.prices = prices_of(target)
        self.tiles = Tiles(self.prices.handoff, limited=False)
        self.end = 0

    def prepare(self, item: Item) -> Callable[[], None]:
        """What runs an item."""
        if isinstance(item, Fresh):
            return self.tiles.fresh(item)
        return self._loop(item) if isinstance(item, Loop) else self._step(item)

    def _loop(self, loop: Loop) -> Callable[[], None]:
        slot, values = self.tiles.slot(loop.index), self.tiles.values
        body = [self.prepare(item) for item in loop.body]

        def go() -> None:
            for trip in range(loop.trips):
                values[slot] = trip
                for run in body:
                    run()

        return go

    def _step(self, step: Step) -> Callable[[], None]:
        engine = ENGINES.index(step.engine)
        user = DMA if isinstance(step.work, Transfer) else engine
        ready, done, _ = self.tiles.use(step.reads, step.writes, engine, user)
        latency = self._latency(step)

        def go() -> None:
            end = max(0, ready()[0]) + latency
            done(end)
            self.end = max(self.end, end)

        return go

    def _latency(self, step: Step) -> int:
        if isinstance(step.work, Transfer):
            price = self.prices.transfer(step.work)
            return price.lead + price.demand.duration_ps + price.completion
        return self.prices.compute(step.work)[1]
