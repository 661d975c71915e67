"""Rows of the functions that reduce over axes.

Sums and products of integers narrower than 32 bits and of bools are taken in i32 (u32 where the
operand is unsigned). Means, variances and norms of narrow floats are computed in f32 and rounded
once to the operand's type; of integers they are f32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import DType
from nkigen_lite.frontend import moves
from nkigen_lite.frontend.array import TracedArray
from nkigen_lite.frontend.recorder import Recorder, is_narrow
from nkigen_lite.frontend.table import traces

# A product over an axis is a chain of multiplications, one slice each.
MAX_PRODUCT_EXTENT = 32
# A running sum multiplies by a triangle of this many rows and columns at most: 16 MiB of f32.
MAX_CUMSUM_EXTENT = 2048


def reduce(x: TracedArray, kind: str, axis: Any, keepdims: bool = False) -> TracedArray:
    """Over ``axis`` as numpy takes it; over no dimension at all it is ``x``."""
    axes = moves.axes_of(x, axis)
    if not axes:
        return x
    return x.recorder.op("reduce", x, axis=axes, kind=kind, keepdims=bool(keepdims))


def _accumulator(r: Recorder, a: Any, dtype: Any) -> TracedArray:
    """``a`` in the type in which numpy would add it up."""
    x = r.lift(a)
    if dtype is not None:
        return r.cast(x, r.element_type(dtype))
    if x.element.is_float:
        return x
    return r.cast(x, DType.U32 if x.dtype.kind == "u" else DType.I32)


@traces(np.sum)
def _sum(
    r: Recorder, a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
    keepdims: bool = False,
) -> TracedArray:  # fmt: skip
    x = _accumulator(r, a, dtype)
    return reduce(r.number(x), "sum", axis, keepdims)


@traces(np.max, np.amax)
def _max(
    r: Recorder, a: Any, axis: Any = None, out: Any = None, keepdims: bool = False
) -> TracedArray:
    return _extreme(r, a, "max", axis, keepdims)


@traces(np.min, np.amin)
def _min(
    r: Recorder, a: Any, axis: Any = None, out: Any = None, keepdims: bool = False
) -> TracedArray:
    return _extreme(r, a, "min", axis, keepdims)


@traces(np.any)
def _any(
    r: Recorder, a: Any, axis: Any = None, out: Any = None, keepdims: bool = False
) -> TracedArray:
    return _extreme(r, r.boolean(a), "max", axis, keepdims)


@traces(np.all)
def _all(
    r: Recorder, a: Any, axis: Any = None, out: Any = None, keepdims: bool = False
) -> TracedArray:
    return _extreme(r, r.boolean(a), "min", axis, keepdims)


def _extreme(r: Recorder, a: Any, kind: str, axis: Any, keepdims: bool) -> TracedArray:
    x = r.lift(a)
    if x.element is DType.BOOL:
        # Reductions are of numbers; f32 is the type that every engine reduces.
        return r.boolean(reduce(r.cast(x, DType.F32), kind, axis, keepdims))
    return reduce(x, kind, axis, keepdims)


@traces(np.mean)
def _mean(
    r: Recorder, a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
    keepdims: bool = False,
) -> TracedArray:  # fmt: skip
    x, target = _statistic(r, a, dtype)
    return r.cast(reduce(x, "mean", axis, keepdims), target)


@traces(np.var)
def _var(
    r: Recorder, a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
    ddof: float = 0, keepdims: bool = False, *, correction: float = 0,
) -> TracedArray:  # fmt: skip
    x, target = _statistic(r, a, dtype)
    return r.cast(_variance(x, axis, ddof or correction, keepdims), target)


@traces(np.std)
def _std(
    r: Recorder, a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
    ddof: float = 0, keepdims: bool = False, *, correction: float = 0,
) -> TracedArray:  # fmt: skip
    x, target = _statistic(r, a, dtype)
    return r.cast(r.op("sqrt", _variance(x, axis, ddof or correction, keepdims)), target)


def _statistic(r: Recorder, a: Any, dtype: Any = None) -> tuple[TracedArray, DType]:
    """``a`` in f32 if it is narrower, and the type of the result."""
    x = r.floating(a) if dtype is None else r.lift(a, r.element_type(dtype))
    if not x.element.is_float:
        raise r.error(f"dtype {x.element} must be a float type")
    return (r.cast(x, DType.F32) if is_narrow(x.element) else x), x.element


def _variance(x: TracedArray, axis: Any, ddof: float, keepdims: bool) -> TracedArray:
    r = x.recorder
    squares = r.op("square", r.op("sub", x, reduce(x, "mean", axis, keepdims=True)))
    count = math.prod(x.shape[i] for i in moves.axes_of(x, axis))
    if count <= ddof:
        raise r.error(f"of {count} elements with ddof={ddof} is not defined")
    if not ddof:
        return reduce(squares, "mean", axis, keepdims)
    scale = r.constant(1.0 / (count - ddof), (), x.element)
    return r.op("mul", reduce(squares, "sum", axis, keepdims), scale)


@traces(np.linalg.norm)
def _norm(
    r: Recorder, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False
) -> TracedArray:
    wide, target = _statistic(r, x)
    vector = wide.ndim == 1 if axis is None else not isinstance(axis, (tuple, list))
    if not (ord is None or (ord == 2 and vector) or (ord == "fro" and not vector)):
        raise r.error(
            f"ord is {ord!r} but only the root of the sum of squares traces; give one axis or no "
            "ord"
        )
    total = reduce(r.op("square", wide), "sum", axis, keepdims)
    return r.cast(r.op("sqrt", total), target)


@traces(np.prod)
def _prod(
    r: Recorder, a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
    keepdims: bool = False,
) -> TracedArray:  # fmt: skip
    x = r.number(_accumulator(r, a, dtype))
    axes = moves.axes_of(x, axis)
    count = math.prod(x.shape[i] for i in axes)
    if count > MAX_PRODUCT_EXTENT:
        raise r.error(
            f"of {count} elements would be a chain of as many multiplications (at most "
            f"{MAX_PRODUCT_EXTENT}); use np.exp(np.sum(np.log(x))) where x is positive"
        )
    kept = [i for i in range(x.ndim) if i not in axes]
    flat = moves.permute(x, (*kept, *axes))
    flat = moves.reshape(flat, (*(x.shape[i] for i in kept), count))
    product = moves.window(flat, len(kept), 0, 1)
    for i in range(1, count):
        product = r.op("mul", product, moves.window(flat, len(kept), i, i + 1))
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
    return moves.reshape(product, shape)


@traces(np.cumsum)
def _cumsum(
    r: Recorder, a: Any, axis: Any = None, dtype: Any = None, out: Any = None
) -> TracedArray:
    """A product with the triangular matrix of ones."""
    x = r.lift(a) if dtype is None else r.lift(a, r.element_type(dtype))
    if not x.element.is_float:
        raise r.error(f"of {x.element} is not exact as a matrix product; cast to float32 first")
    if axis is None or x.ndim == 0:
        x, axis = moves.flatten(x), 0
    where = moves.axis_of(x, axis)
    extent = x.shape[where]
    if extent > MAX_CUMSUM_EXTENT:
        raise r.error(
            f"along an extent of {extent} is a product with a matrix of that size (at most "
            f"{MAX_CUMSUM_EXTENT}); sum blocks first and add their running totals"
        )
    triangle = np.tri(extent, dtype=np.float32)
    if where == x.ndim - 2:  # the axis that a matrix on the left contracts
        return r.op("matmul", r.lift(triangle, x.element), x)
    order = [*(i for i in range(x.ndim) if i != where), where]
    summed = r.op("matmul", moves.permute(x, order), r.lift(triangle.T, x.element))
    return moves.permute(summed, np.argsort(order).tolist())
