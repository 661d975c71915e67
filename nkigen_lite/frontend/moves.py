"""Moving elements without computing: what the rows of several families share.

Each function returns its operand itself where there is nothing to move.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nkigen_lite.frontend.array import TracedArray

# One slice each: more would make graphs that nobody can read or schedule.
MAX_PIECES = 64


def axis_of(x: TracedArray, axis: Any, rank: int | None = None) -> int:
    """``axis`` in [0, rank), by default the rank of ``x``.

    Raises:
        TraceError: it is no integer or out of range.
    """
    bound = x.ndim if rank is None else rank
    try:
        position = operator.index(axis)
    except TypeError:
        raise x.recorder.error(f"axis {axis!r} must be an integer") from None
    if not -bound <= position < bound:
        raise x.recorder.error(f"axis {position} is out of range for rank {bound}")
    return position % bound


def axes_of(x: TracedArray, axis: Any) -> tuple[int, ...]:
    """``axis`` as numpy's reductions take it: None (all), an int or a tuple; sorted.

    Raises:
        TraceError: out of range or repeated.
    """
    if axis is None:
        return tuple(range(x.ndim))
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = sorted(axis_of(x, a) for a in given)
    if len(set(axes)) != len(axes):
        raise x.recorder.error(f"axis {axis!r} names a dimension twice")
    return tuple(axes)


def reshape(x: TracedArray, shape: Sequence[int]) -> TracedArray:
    return x if tuple(shape) == x.shape else x.recorder.op("reshape", x, shape=tuple(shape))


def permute(x: TracedArray, perm: Sequence[int]) -> TracedArray:
    """Dimension ``i`` of the result is dimension ``perm[i]`` of ``x``."""
    order = tuple(perm)
    return x if order == tuple(range(x.ndim)) else x.recorder.op("transpose", x, perm=order)


def broadcast(x: TracedArray, shape: Sequence[int]) -> TracedArray:
    return x if tuple(shape) == x.shape else x.recorder.op("broadcast_to", x, shape=tuple(shape))


def window(x: TracedArray, axis: int, start: int, stop: int) -> TracedArray:
    """``x[start:stop]`` along one dimension; bounds lie inside."""
    return windows(x, {axis: range(start, stop)})


def windows(x: TracedArray, taken: dict[int, range]) -> TracedArray:
    """The elements whose indices are in ``taken``, per dimension; other dimensions stay whole."""
    bounds = [taken.get(i, range(n)) for i, n in enumerate(x.shape)]
    if all(b == range(n) for b, n in zip(bounds, x.shape, strict=True)):
        return x
    return x.recorder.op(
        "slice",
        x,
        starts=tuple(b.start for b in bounds),
        stops=tuple(b.stop for b in bounds),
        strides=tuple(b.step for b in bounds),
    )


def join(parts: Sequence[TracedArray], axis: int) -> TracedArray:
    """The parts, of one type, one after the other."""
    first = parts[0]
    return first if len(parts) == 1 else first.recorder.op("concat", *parts, axis=axis)


def take(x: TracedArray, indices: Sequence[int], axis: int) -> TracedArray:
    """The elements of those indices along one dimension, as slices of evenly rising runs.

    Raises:
        TraceError: an index is out of range, there is none, or they form too many runs.
    """
    extent = x.shape[axis]
    for index in indices:
        if not -extent <= index < extent:
            raise x.recorder.error(
                f"index {index} is out of range for extent {extent} of axis {axis}"
            )
    if not indices:
        raise x.recorder.error("no index is taken; arrays without elements are not supported")
    runs = _runs([index % extent for index in indices])
    if len(runs) > MAX_PIECES:
        raise x.recorder.error(
            f"the indices form {len(runs)} runs of neighbours, each of which becomes a slice, but "
            f"at most {MAX_PIECES} may be; multiply by a one-hot matrix instead: "
            "np.eye(n, dtype=x.dtype)[indices] @ x"
        )
    return join([windows(x, {axis: run}) for run in runs], axis)


def _runs(indices: Sequence[int]) -> list[range]:
    """``indices`` as ranges of rising step, greedily from the left."""
    runs: list[range] = []
    i = 0
    while i < len(indices):
        start, end = indices[i], i + 1
        step = indices[end] - start if end < len(indices) else 1
        # A pair alone is no run, unless its elements are neighbours.
        next_two = [start + step, start + 2 * step]
        rises = step == 1 or (step > 1 and list(indices[i + 1 : i + 3]) == next_two)
        while rises and end < len(indices) and indices[end] - indices[end - 1] == step:
            end += 1
        last = indices[end - 1]
        runs.append(range(start, last + 1, step if rises else 1))
        i = end
    return runs


def take_nested(x: TracedArray, indices: Any, axis: int) -> TracedArray:
    """``numpy.take`` of an integer array of any rank along one dimension."""
    array = np.asarray(indices)
    flat = take(x, [int(i) for i in array.reshape(-1)], axis)
    return reshape(flat, (*x.shape[:axis], *array.shape, *x.shape[axis + 1 :]))


def insert_dims(x: TracedArray, positions: Sequence[int]) -> TracedArray:
    """``x`` with dimensions of extent 1 at those positions of the result."""
    extents = iter(x.shape)
    rank = x.ndim + len(positions)
    return reshape(x, [1 if i in positions else next(extents) for i in range(rank)])


def flatten(x: TracedArray) -> TracedArray:
    return reshape(x, (math.prod(x.shape),))
