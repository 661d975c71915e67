"""Times that no schedule of a given stream of instructions can beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..dma import Transfer
from ..instructions import Instruction
from ..roofline import Bounds, Work, bounds
from ..target import Target
from .machine import Machine
from .program import Item, walk
from .run import Runner


def work_of(program: Sequence[Item]) -> Work:
    """What a stream does, loops multiplied out: bytes, multiply-adds, elements per engine.

    An instruction on the Vector, Scalar or GpSimd engine counts one element per partition and
    element of its longest operand.
    """
    moved, loaded, macs = 0, 0, dict[str, int]()
    elems = {"vector": 0, "scalar": 0, "gpsimd": 0}
    for item, trips in walk(program):
        work = getattr(item, "work", None)
        if isinstance(work, Transfer):
            moved += trips * work.total_bytes
            loaded += trips * work.total_bytes * (work.direction == "load")
        elif isinstance(work, Instruction):
            times = trips * work.count
            if work.op == "matmul":
                dtype = work.dtypes[1]
                done = times * work.rows * work.columns * work.elems
                macs[dtype] = macs.get(dtype, 0) + done
            elif work.engine in elems:
                elems[work.engine] += times * work.rows * work.elems
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

    Those of :func:`cost_models.bounds` for its work, and ``critical_path``: the longest chain of
    instructions that need each other's data, every engine and queue there as often as wanted, all
    buffers apart, the PE array warm, activation tables loaded.
    """
    found = bounds(target, work_of(program))
    by_resource = {**found.by_resource, "critical_path": critical_path_ns(target, program)}
    resource = max(by_resource, key=lambda name: by_resource[name])
    return replace(found, by_resource=by_resource, resource=resource, ns=by_resource[resource])


def critical_path_ns(target: Target, program: Sequence[Item]) -> float:
    """The time of ``program`` if only the need for data held it up."""
    machine = Machine(target, unlimited=True)
    Runner(machine, extrapolate=False).stream(program)
    return machine.end / 1000
