"""Rows of the functions that rename, drop, add, repeat or look at dimensions."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from nkigen_lite.frontend import moves
from nkigen_lite.frontend.array import TracedArray
from nkigen_lite.frontend.recorder import Recorder
from nkigen_lite.frontend.table import traces


@traces(np.shape)
def _shape(r: Recorder, a: Any) -> tuple[int, ...]:
    return r.lift(a).shape


@traces(np.ndim)
def _ndim(r: Recorder, a: Any) -> int:
    return r.lift(a).ndim


@traces(np.size)
def _size(r: Recorder, a: Any, axis: Any = None) -> int:
    x = r.lift(a)
    return math.prod(x.shape[i] for i in moves.axes_of(x, axis))


@traces(np.iscomplexobj)
def _iscomplexobj(r: Recorder, x: Any) -> bool:
    return False


@traces(np.transpose, np.permute_dims)
def _transpose(r: Recorder, a: Any, axes: Any = None) -> TracedArray:
    x = r.lift(a)
    if axes is None:
        return moves.permute(x, range(x.ndim)[::-1])
    perm = [moves.axis_of(x, axis) for axis in axes]
    if sorted(perm) != list(range(x.ndim)):
        raise r.error(f"axes {tuple(axes)} must name each of the {x.ndim} dimensions once")
    return moves.permute(x, perm)


@traces(np.matrix_transpose)
def _matrix_transpose(r: Recorder, x: Any, /) -> TracedArray:
    return _swapped(r.lift(x), -1, -2)


@traces(np.swapaxes)
def _swapaxes(r: Recorder, a: Any, axis1: int, axis2: int) -> TracedArray:
    return _swapped(r.lift(a), axis1, axis2)


def _swapped(x: TracedArray, axis1: int, axis2: int) -> TracedArray:
    perm = list(range(x.ndim))
    first, second = moves.axis_of(x, axis1), moves.axis_of(x, axis2)
    perm[first], perm[second] = second, first
    return moves.permute(x, perm)


@traces(np.moveaxis)
def _moveaxis(r: Recorder, a: Any, source: Any, destination: Any) -> TracedArray:
    return _moved(r.lift(a), source, destination)


def _moved(x: TracedArray, source: Any, destination: Any) -> TracedArray:
    r = x.recorder
    sources, targets = (
        [moves.axis_of(x, i) for i in (given if isinstance(given, (tuple, list)) else (given,))]
        for given in (source, destination)
    )
    if len(sources) != len(targets) or len({*sources}) + len({*targets}) != 2 * len(sources):
        raise r.error(
            f"source {source!r} and destination {destination!r} must name equally many dimensions, "
            "each once"
        )
    perm = [i for i in range(x.ndim) if i not in sources]
    for target, moved in sorted(zip(targets, sources, strict=True)):
        perm.insert(target, moved)
    return moves.permute(x, perm)


@traces(np.rollaxis)
def _rollaxis(r: Recorder, a: Any, axis: int, start: int = 0) -> TracedArray:
    x = r.lift(a)
    moved = moves.axis_of(x, axis)
    before = start if start == x.ndim else moves.axis_of(x, start)
    return _moved(x, moved, before - 1 if moved < before else before)


@traces(np.reshape)
def _reshape(
    r: Recorder, a: Any, shape: Any = None, order: str = "C", *, copy: Any = None
) -> TracedArray:
    x = r.lift(a)
    _check_order(r, order)
    given = shape if isinstance(shape, (tuple, list)) else (shape,)
    try:
        extents = [operator.index(n) for n in given]
    except TypeError:
        raise r.error(f"shape {shape!r} must hold integers") from None
    known = math.prod(n for n in extents if n != -1)
    free = extents.count(-1)
    if free == 1 and known > 0 and x.size % known == 0:
        extents[extents.index(-1)] = x.size // known
    if min(extents, default=1) < 0 or math.prod(extents) != x.size:
        raise r.error(f"an array of shape {x.shape} cannot take the shape {tuple(given)}")
    return moves.reshape(x, extents)


def _check_order(r: Recorder, order: str) -> None:
    if order != "C":
        raise r.error(f"order {order!r} cannot be traced, only row-major 'C'; transpose first")


@traces(np.ravel)
def _ravel(r: Recorder, a: Any, order: str = "C") -> TracedArray:
    _check_order(r, order)
    return moves.flatten(r.lift(a))


@traces(np.squeeze)
def _squeeze(r: Recorder, a: Any, axis: Any = None) -> TracedArray:
    x = r.lift(a)
    axes = moves.axes_of(x, axis) if axis is not None else range(x.ndim)
    dropped = [i for i in axes if x.shape[i] == 1]
    if axis is not None and len(dropped) != len(axes):
        raise r.error(f"axis {axis} of shape {x.shape} has an extent other than 1")
    return moves.reshape(x, [n for i, n in enumerate(x.shape) if i not in dropped])


@traces(np.expand_dims)
def _expand_dims(r: Recorder, a: Any, axis: Any) -> TracedArray:
    x = r.lift(a)
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    rank = x.ndim + len(given)
    axes = {moves.axis_of(x, i, rank) for i in given}
    if len(axes) != len(given):
        raise r.error(f"axis {axis!r} names a dimension twice")
    return moves.insert_dims(x, sorted(axes))


@traces(np.atleast_1d)
def _atleast_1d(r: Recorder, *arys: Any) -> Any:
    return _at_least(r, arys, 1)


@traces(np.atleast_2d)
def _atleast_2d(r: Recorder, *arys: Any) -> Any:
    return _at_least(r, arys, 2)


def _at_least(r: Recorder, arrays: tuple[Any, ...], rank: int) -> Any:
    """numpy's rule: one array alone, several as a tuple."""
    lifted = [r.lift(a) for a in arrays]
    made = tuple(moves.insert_dims(x, range(max(rank - x.ndim, 0))) for x in lifted)
    return made[0] if len(made) == 1 else made


@traces(np.broadcast_to)
def _broadcast_to(r: Recorder, array: Any, shape: Any) -> TracedArray:
    given = shape if isinstance(shape, (tuple, list)) else (shape,)
    return moves.broadcast(r.lift(array), tuple(given))


@traces(np.broadcast_arrays)
def _broadcast_arrays(r: Recorder, *args: Any) -> tuple[TracedArray, ...]:
    lifted = [r.lift(a) for a in args]
    try:
        shape = np.broadcast_shapes(*(x.shape for x in lifted))
    except ValueError:
        shapes = " and ".join(str(x.shape) for x in lifted)
        raise r.error(f"shapes {shapes} are not broadcastable") from None
    return tuple(moves.broadcast(x, shape) for x in lifted)


@traces(np.repeat)
def _repeat(r: Recorder, a: Any, repeats: Any, axis: Any = None) -> TracedArray:
    x = r.lift(a)
    if axis is None:
        x, axis = moves.flatten(x), 0
    where = moves.axis_of(x, axis)
    extent = x.shape[where]
    if isinstance(repeats, TracedArray):
        raise r.error("repeats are traced but decide a shape, so they must be static")
    if np.ndim(repeats):
        return moves.take(x, np.repeat(np.arange(extent), repeats).tolist(), where)
    count = int(repeats)
    inner = moves.insert_dims(x, [where + 1])
    spread = moves.broadcast(inner, (*inner.shape[: where + 1], count, *inner.shape[where + 2 :]))
    return moves.reshape(spread, (*x.shape[:where], extent * count, *x.shape[where + 1 :]))


@traces(np.tile)
def _tile(r: Recorder, A: Any, reps: Any) -> TracedArray:
    x = r.lift(A)
    counts = tuple(int(n) for n in (reps if isinstance(reps, (tuple, list)) else (reps,)))
    rank = max(x.ndim, len(counts))
    shape = (1,) * (rank - x.ndim) + x.shape
    counts = (1,) * (rank - len(counts)) + counts
    # Each repeated dimension gets a new one before it, which is broadcast and merged again.
    split = [n for count, extent in zip(counts, shape, strict=True)
             for n in ((1, extent) if count != 1 else (extent,))]  # fmt: skip
    spread = [n for count, extent in zip(counts, shape, strict=True)
              for n in ((count, extent) if count != 1 else (extent,))]  # fmt: skip
    merged = [count * extent for count, extent in zip(counts, shape, strict=True)]
    return moves.reshape(moves.broadcast(moves.reshape(x, split), spread), merged)


@traces(np.take)
def _take(r: Recorder, a: Any, indices: Any, axis: Any = None, out: Any = None) -> TracedArray:
    x = r.lift(a)
    if isinstance(indices, TracedArray):
        raise r.error(
            "a traced index would be a gather, which has no tensor_ir meaning; multiply by a "
            "one-hot matrix: (idx[..., None] == np.arange(n)).astype(x.dtype) @ x"
        )
    array = np.asarray(indices)
    if array.dtype.kind not in "iu":
        raise r.error(f"indices of dtype {array.dtype} must be integers")
    if axis is None:
        x, axis = moves.flatten(x), 0
    return moves.take_nested(x, array, moves.axis_of(x, axis))


@traces(np.flip)
def _flip(r: Recorder, m: Any, axis: Any = None) -> TracedArray:
    x = r.lift(m)
    for where in moves.axes_of(x, axis):
        x = moves.take(x, range(x.shape[where])[::-1], where)
    return x
