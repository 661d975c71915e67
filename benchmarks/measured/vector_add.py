"""The vector additions of a course exercise: DMAs of a few bytes, then of more and more.

Structures: Stanford CS149 assignment 4, part1/kernels.py (vector_add_tiled, vector_add_stream).
Which engine triggers the DMAs is not published. That it is one for all three of a step was inferred
from the published times of the kernels with many steps: with one row a step takes 1.46 us on trn2,
0.49 us for each of three triggers in one queue, or 0.73 us for each of two loads if stores had a
queue of their own, and traced triggers take 0.52 to 0.62 us. So those rows calibrate a schedule
and judge nothing. With one step or two, at 25,600 elements in one step and at 256,000, the queue
makes no difference. A store waits for its addition and holds up what follows in its queue, so the
loads of a few steps come before their stores, as the vendor's compiler orders independent steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir import Builder, DimSlice, ts
from nkigen_lite.nki_ir.types import Affine, affine

from .tiles import at, for_each, part

PARTITIONS = 128
LOAD_QUEUE = STORE_QUEUE = "sync"

MOST_TOGETHER = 10
"""Steps whose loads come before their stores: enough to hide a load's latency. How many the
vendor's compiler takes is not published."""


def together(steps: int) -> int:
    """How many steps are loaded before the first of them is stored."""
    return max(d for d in range(1, MOST_TOGETHER + 1) if steps % d == 0)


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of the loop: tiles of ``shape``, the part of a vector that is step i's, the sum."""

    shape: tuple[int, int]
    view: Callable[[Value, Affine], Value]
    add: Callable[[Value, Value, Value], Value]


def tiled(n: int, rows: int, dtype: DType) -> Graph:
    """``rows`` elements per step, one in each partition; added by tensor_scalar."""
    b = Builder("vector_add_tiled")

    def view(vector: Value, i: Affine) -> Value:
        return b.slice(vector, [at(i), DimSlice(0, rows), DimSlice(0, 1)])

    def add(total: Value, left: Value, right: Value) -> Value:
        return b.tensor_scalar_arith(total, left, right, op0="add")

    return _kernel(b, n, dtype, (n // rows, rows, 1), _Step((rows, 1), view, add))


def stream(n: int, free: int, dtype: DType) -> Graph:
    """``free`` columns per step of the vectors laid out as [128, n / 128]."""
    b = Builder("vector_add_stream")

    def view(vector: Value, i: Affine) -> Value:
        return b.slice(vector, [DimSlice(0, PARTITIONS), ts(i, free)])

    def add(total: Value, left: Value, right: Value) -> Value:
        return b.tensor_tensor_arith(total, left, right, op="add")

    return _kernel(b, n, dtype, (PARTITIONS, n // PARTITIONS), _Step((PARTITIONS, free), view, add))


def _kernel(b: Builder, n: int, dtype: DType, layout: tuple[int, ...], step: _Step) -> Graph:
    steps = n // (step.shape[0] * step.shape[1])
    group = together(steps)
    vectors = [b.add_input(name, (n,), dtype) for name in ("a", "b", "out")]
    left, right, out = (b.reshape(v, layout) for v in vectors)
    rows, free = step.shape

    def steps_together(i: Value) -> None:
        tiles = [b.alloc((rows, group, free), dtype, num_buffers=2) for _ in range(2)]

        def load(j: Value) -> None:
            for tile, vector in zip(tiles, (left, right), strict=True):
                source = step.view(vector, affine(i) * group + affine(j))
                b.dma_copy(part(b, tile, at(j), None), source, engine=LOAD_QUEUE)

        def add(j: Value) -> None:
            total = b.alloc(step.shape, dtype, num_buffers=group)
            step.add(total, *(part(b, tile, at(j), None) for tile in tiles))
            target = step.view(out, affine(i) * group + affine(j))
            b.dma_copy(target, total, engine=STORE_QUEUE)

        for_each(b, load, load=group)
        for_each(b, add, add=group)

    for_each(b, steps_together, step=steps // group)
    b.set_outputs({"out": vectors[2]})
    return b.graph
