"""``x[...]``: integers, slices, ellipsis, newaxis and one constant index array.

What basic indexing keeps is one ``slice``; dropped and new dimensions are one ``reshape``; index
arrays and falling slices are a ``concat`` of slices.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nkigen_lite.frontend import moves

if TYPE_CHECKING:
    from nkigen_lite.frontend.array import TracedArray


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one dimension of the source gives.

    Attributes:
        bounds: the indices to slice out.
        dropped: whether an integer took the dimension away.
        indices: an array that indexes what the slice left, or None.
    """

    bounds: range
    dropped: bool = False
    indices: Any = None


def getitem(x: TracedArray, key: Any) -> TracedArray:
    """``x[key]``.

    Raises:
        TraceError: a boolean mask, a traced index, an index out of range, several index arrays, or
            nothing left.
    """
    items = _expand(x, key if isinstance(key, tuple) else (key,))
    taken: list[_Taken] = []
    layout: list[int | None] = []  # per result dimension its source dimension, None: new
    for item in items:
        if item is None:
            layout.append(None)
            continue
        one = _take(x, len(taken), item)
        if not one.dropped:
            layout.append(len(taken))
        taken.append(one)
    _check_advanced(x, items)
    sliced = moves.windows(x, {i: t.bounds for i, t in enumerate(taken)})
    result = moves.reshape(sliced, [1 if d is None else sliced.shape[d] for d in layout])
    for position in reversed(range(len(layout))):
        source = layout[position]
        if source is not None and taken[source].indices is not None:
            result = moves.take_nested(result, taken[source].indices, position)
    return result


def _expand(x: TracedArray, key: tuple[Any, ...]) -> list[Any]:
    """``key`` with its ellipsis written out, one item per source dimension and newaxis."""
    for item in key:
        _refuse(x, item)
    dots = [i for i, item in enumerate(key) if item is Ellipsis]
    if len(dots) > 1:
        raise x.recorder.error("an index can have only one ellipsis")
    named = sum(1 for item in key if item is not None and item is not Ellipsis)
    if named > x.ndim:
        raise x.recorder.error(f"{named} indices for an array of rank {x.ndim}")
    rest = [slice(None)] * (x.ndim - named)
    at = dots[0] if dots else len(key)
    return [*key[:at], *rest, *key[at + 1 :]]


def _refuse(x: TracedArray, item: Any) -> None:
    array = item if hasattr(item, "dtype") else np.asarray(item) if isinstance(item, list) else None
    if isinstance(item, bool) or (array is not None and array.dtype == np.bool_):
        raise x.recorder.error(
            "a boolean mask has no static shape; use np.where(mask, x, 0), which keeps the shape"
        )
    if type(item) is type(x):
        raise x.recorder.error(
            "a traced index would be a gather, which has no tensor_ir meaning; multiply by a "
            "one-hot matrix: (idx[..., None] == np.arange(n)).astype(x.dtype) @ x"
        )
    if array is not None and array.size and array.dtype.kind not in "iu":
        raise x.recorder.error(f"an index of dtype {array.dtype} must be of integers")


def _take(x: TracedArray, dim: int, item: Any) -> _Taken:
    extent = x.shape[dim]
    if isinstance(item, slice):
        return _slice(x, dim, item)
    if isinstance(item, (list, np.ndarray)) and np.ndim(item):
        return _Taken(range(extent), indices=np.asarray(item))
    try:
        index = operator.index(item)
    except TypeError:
        raise x.recorder.error(
            f"index {item!r} is {type(item).__name__} but must be an integer, a slice, ..., None "
            "or a list of integers"
        ) from None
    if not -extent <= index < extent:
        raise x.recorder.error(f"index {index} is out of range for extent {extent} of axis {dim}")
    index %= extent
    return _Taken(range(index, index + 1), dropped=True)


def _slice(x: TracedArray, dim: int, item: slice) -> _Taken:
    try:
        bounds = range(*item.indices(x.shape[dim]))
    except (TypeError, ValueError) as error:
        raise x.recorder.error(f"{item}: {error}") from None
    if not bounds:
        raise x.recorder.error(
            f"{item} of extent {x.shape[dim]} leaves no element in axis {dim}; "
            "arrays without elements are not supported"
        )
    if bounds.step < 0:
        return _Taken(range(x.shape[dim]), indices=np.asarray(bounds))
    return _Taken(bounds)


def _check_advanced(x: TracedArray, items: list[Any]) -> None:
    """Refuse the mixtures that numpy answers by moving dimensions to the front."""
    arrays = [i for i, item in enumerate(items) if isinstance(item, (list, np.ndarray))]
    arrays = [i for i in arrays if np.ndim(items[i])]
    if len(arrays) > 1:
        raise x.recorder.error("only one index array may be given; index in two steps")
    if not arrays:
        return
    basic = [i for i, item in enumerate(items) if item is None or isinstance(item, slice)]
    advanced = [i for i in range(len(items)) if i not in basic]
    if advanced[-1] - advanced[0] + 1 != len(advanced):
        raise x.recorder.error(
            "an integer and an index array with a slice between them reorder dimensions; index in "
            "two steps"
        )
