"""Rows of the functions that put arrays together, take them apart, or make new ones."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import DType
from nkigen_lite.frontend import moves
from nkigen_lite.frontend.array import TracedArray
from nkigen_lite.frontend.recorder import Recorder
from nkigen_lite.frontend.table import traces


def _members(r: Recorder, arrays: Any, dtype: Any = None) -> list[TracedArray]:
    """The arrays, or the rows of one array, in the type in which they meet."""
    members = list(arrays)
    if not members:
        raise r.error("at least one array is needed")
    if dtype is not None:
        return [r.lift(a, r.element_type(dtype)) for a in members]
    return r.common(*members)


@traces(np.concatenate, np.concat)
def _concatenate(
    r: Recorder, arrays: Any, /, axis: Any = 0, out: Any = None, *, dtype: Any = None
) -> TracedArray:
    parts = _members(r, arrays, dtype)
    if axis is None:
        return moves.join([moves.flatten(p) for p in parts], 0)
    return moves.join(parts, moves.axis_of(parts[0], axis))


@traces(np.stack)
def _stack(
    r: Recorder, arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None
) -> TracedArray:
    parts = _members(r, arrays, dtype)
    if len({p.shape for p in parts}) > 1:
        raise r.error(f"all arrays must have one shape, not {[p.shape for p in parts]}")
    where = moves.axis_of(parts[0], axis, parts[0].ndim + 1)
    return moves.join([moves.insert_dims(p, [where]) for p in parts], where)


@traces(np.vstack)
def _vstack(r: Recorder, tup: Any, *, dtype: Any = None) -> TracedArray:
    parts = [moves.insert_dims(p, range(2 - p.ndim)) for p in _members(r, tup, dtype)]
    return moves.join(parts, 0)


@traces(np.hstack)
def _hstack(r: Recorder, tup: Any, *, dtype: Any = None) -> TracedArray:
    parts = [moves.insert_dims(p, range(1 - p.ndim)) for p in _members(r, tup, dtype)]
    return moves.join(parts, 0 if parts[0].ndim == 1 else 1)


@traces(np.split)
def _split(r: Recorder, ary: Any, indices_or_sections: Any, axis: int = 0) -> list[TracedArray]:
    x = r.lift(ary)
    where = moves.axis_of(x, axis)
    if not np.ndim(indices_or_sections):
        count = operator.index(indices_or_sections)
        if count <= 0 or x.shape[where] % count:
            raise r.error(f"extent {x.shape[where]} is not divisible into {count} equal parts")
    return _parts(x, indices_or_sections, where)


@traces(np.array_split)
def _array_split(
    r: Recorder, ary: Any, indices_or_sections: Any, axis: int = 0
) -> list[TracedArray]:
    x = r.lift(ary)
    return _parts(x, indices_or_sections, moves.axis_of(x, axis))


def _parts(x: TracedArray, indices_or_sections: Any, where: int) -> list[TracedArray]:
    """``numpy.array_split`` along dimension ``where``."""
    r = x.recorder
    extent = x.shape[where]
    if np.ndim(indices_or_sections):
        cuts = [range(extent)[:i].stop for i in indices_or_sections]
    else:
        count = operator.index(indices_or_sections)
        if count <= 0:
            raise r.error(f"the number of parts is {count} but must be positive")
        longer = extent % count
        cuts = [i * (extent // count) + min(i, longer) for i in range(1, count)]
    bounds = list(zip([0, *cuts], [*cuts, extent], strict=True))
    for start, stop in bounds:
        if start >= stop:
            raise r.error(
                f"the part [{start}:{stop}] of axis {where} has no elements, which is not supported"
            )
    return [moves.window(x, where, start, stop) for start, stop in bounds]


@traces(np.roll)
def _roll(r: Recorder, a: Any, shift: Any, axis: Any = None) -> TracedArray:
    x = r.lift(a)
    if axis is None:
        return moves.reshape(_rolled(moves.flatten(x), np.sum(shift).item(), 0), x.shape)
    shifts, axes = np.broadcast_arrays(shift, axis)
    for by, along in zip(shifts.reshape(-1).tolist(), axes.reshape(-1).tolist(), strict=True):
        x = _rolled(x, by, moves.axis_of(x, along))
    return x


def _rolled(x: TracedArray, by: Any, axis: int) -> TracedArray:
    extent = x.shape[axis]
    cut = -operator.index(by) % extent
    if not cut:
        return x
    return moves.join([moves.window(x, axis, cut, extent), moves.window(x, axis, 0, cut)], axis)


@traces(np.pad)
def _pad(
    r: Recorder, array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0
) -> TracedArray:
    x = r.lift(array)
    if mode != "constant":
        raise r.error(
            f"mode {mode!r} cannot be traced, only 'constant'; concatenate slices instead"
        )
    try:
        widths = np.broadcast_to(pad_width, (x.ndim, 2)).tolist()
        fills = np.broadcast_to(constant_values, (x.ndim, 2)).tolist()
    except ValueError as error:
        raise r.error(str(error)) from None
    for axis, (width, fill) in enumerate(zip(widths, fills, strict=True)):
        if min(width) < 0:
            raise r.error(f"pad_width {pad_width} must not be negative")
        sides = [
            [r.constant(value, (*x.shape[:axis], n, *x.shape[axis + 1 :]), x.element)] if n else []
            for n, value in zip(width, fill, strict=True)
        ]
        x = moves.join([*sides[0], x, *sides[1]], axis)
    return x


# --- new arrays in the likeness of traced ones ---------------------------------------------------


def _filled(r: Recorder, like: Any, fill: Any, dtype: Any, shape: Any) -> TracedArray:
    x = r.lift(like)
    element = x.element if dtype is None else r.element_type(dtype)
    extents = x.shape if shape is None else _as_shape(shape)
    if isinstance(fill, TracedArray) or np.ndim(fill):
        return moves.broadcast(r.lift(fill, element), extents)
    return r.constant(fill, extents, element)


def _as_shape(shape: Any) -> Sequence[int]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)


@traces(np.zeros_like)
def _zeros_like(r: Recorder, a: Any, dtype: Any = None, *, shape: Any = None) -> TracedArray:
    return _filled(r, a, 0, dtype, shape)


@traces(np.empty_like)
def _empty_like(
    r: Recorder, prototype: Any, dtype: Any = None, *, shape: Any = None
) -> TracedArray:
    return _filled(r, prototype, 0, dtype, shape)


@traces(np.ones_like)
def _ones_like(r: Recorder, a: Any, dtype: Any = None, *, shape: Any = None) -> TracedArray:
    return _filled(r, a, 1, dtype, shape)


@traces(np.full_like)
def _full_like(
    r: Recorder, a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None
) -> TracedArray:
    number = float(fill_value) if isinstance(fill_value, str) else fill_value  # as numpy reads it
    return _filled(r, a, number, dtype, shape)


@traces(np.tril)
def _tril(r: Recorder, m: Any, k: int = 0) -> TracedArray:
    return _triangle(r, m, k, keep=True)


@traces(np.triu)
def _triu(r: Recorder, m: Any, k: int = 0) -> TracedArray:
    return _triangle(r, m, k - 1, keep=False)


def _triangle(r: Recorder, m: Any, k: int, *, keep: bool) -> TracedArray:
    """``m`` where the mask of ``np.tri`` is ``keep``, else zero."""
    x = r.lift(m)
    if x.ndim == 1:
        x = moves.broadcast(x, (x.size, x.size))
    if x.ndim == 0:
        raise r.error("the operand has rank 0 but needs rank 1 or more")
    rows, columns = x.shape[-2:]
    mask = np.tri(rows, columns, k=k, dtype=bool) == keep
    return r.op("where", r.lift(mask, DType.BOOL), x, r.constant(0, (), x.element))
