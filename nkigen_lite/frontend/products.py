"""Contractions of two operands, and the rows of the product functions."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import DType
from nkigen_lite.frontend import moves
from nkigen_lite.frontend.array import TracedArray
from nkigen_lite.frontend.recorder import Recorder
from nkigen_lite.frontend.reductions import reduce
from nkigen_lite.frontend.table import define_ufunc, traces

Labels = Sequence[Hashable]


def contract(
    a: TracedArray, a_labels: Labels, b: TracedArray, b_labels: Labels, out: Labels
) -> TracedArray:
    """The sum over all labels that ``out`` lacks of the products of ``a`` and ``b``.

    Each operand has different labels, one per dimension; a label has one extent; ``out`` names
    every label at most once and none that both operands lack. One matmul, or where nothing is
    contracted one multiplication, amid transposes and reshapes.
    """
    a, a_labels = sum_out(a, a_labels, {*b_labels, *out})
    b, b_labels = sum_out(b, b_labels, {*a_labels, *out})
    contracted = [i for i in a_labels if i in b_labels and i not in out]
    if not contracted:
        aligned = [_align(x, labels, out) for x, labels in ((a, a_labels), (b, b_labels))]
        return a.recorder.op("mul", *aligned)
    batch = [i for i in out if i in a_labels and i in b_labels]
    rows = [i for i in out if i in a_labels and i not in b_labels]
    columns = [i for i in out if i in b_labels and i not in a_labels]
    if rows and columns and list(out).index(columns[0]) < list(out).index(rows[0]):
        # b.T @ a.T comes out in the order that is wanted.
        a, a_labels, rows, b, b_labels, columns = b, b_labels, columns, a, a_labels, rows
    extents = {**_extents(a, a_labels), **_extents(b, b_labels)}
    product = a.recorder.op(
        "matmul",
        _matrices(a, a_labels, batch, rows, contracted),
        _matrices(b, b_labels, batch, contracted, columns),
    )
    made = [*batch, *rows, *columns]
    product = moves.reshape(product, [extents[i] for i in made])
    return moves.permute(product, [made.index(i) for i in out])


def sum_out(
    x: TracedArray, labels: Labels, kept: set[Hashable]
) -> tuple[TracedArray, list[Hashable]]:
    """``x`` summed over the labels that are not ``kept``, and the labels that are left."""
    axes = tuple(i for i, label in enumerate(labels) if label not in kept)
    if axes:
        x = reduce(x, "sum", axes)
    return x, [label for label in labels if label in kept]


def _extents(x: TracedArray, labels: Labels) -> Mapping[Hashable, int]:
    return dict(zip(labels, x.shape, strict=True))


def _matrices(
    x: TracedArray, labels: Labels, batch: Labels, rows: Labels, columns: Labels
) -> TracedArray:
    """``x`` as a stack of matrices, each group of labels merged into one dimension."""
    order = [*batch, *rows, *columns]
    ordered = moves.permute(x, [list(labels).index(i) for i in order])
    extents = _extents(x, labels)
    shape = [extents[i] for i in batch]
    shape += [math.prod(extents[i] for i in group) for group in (rows, columns)]
    return moves.reshape(ordered, shape)


def _align(x: TracedArray, labels: Labels, out: Labels) -> TracedArray:
    """``x`` in the dimension order of ``out``, with extent 1 where it lacks a label."""
    own = [i for i in out if i in labels]
    ordered = moves.permute(x, [list(labels).index(i) for i in own])
    return moves.insert_dims(ordered, [p for p, i in enumerate(out) if i not in labels])


def numbers(r: Recorder, *operands: Any) -> list[TracedArray]:
    """The operands in the type in which they meet; bools as i32."""
    return r.common(*operands, bools=DType.I32)


def _matmul(r: Recorder, x1: Any, x2: Any) -> TracedArray:
    return r.op("matmul", *numbers(r, x1, x2))


define_ufunc("matmul", _matmul)


@traces(np.dot)
def _dot(r: Recorder, a: Any, b: Any, out: Any = None) -> TracedArray:
    x, y = numbers(r, a, b)
    if not x.ndim or not y.ndim:
        return r.op("mul", x, y)
    if y.ndim <= 2:
        return r.op("matmul", x, y)
    return _paired(x, y, [-1], [-2])


@traces(np.vdot)
def _vdot(r: Recorder, a: Any, b: Any, /) -> TracedArray:
    x, y = numbers(r, a, b)
    return r.op("matmul", moves.flatten(x), moves.flatten(y))


@traces(np.inner)
def _inner(r: Recorder, a: Any, b: Any, /) -> TracedArray:
    x, y = numbers(r, a, b)
    return _paired(x, y, [-1], [-1]) if x.ndim and y.ndim else r.op("mul", x, y)


@traces(np.outer)
def _outer(r: Recorder, a: Any, b: Any, out: Any = None) -> TracedArray:
    x, y = (moves.flatten(i) for i in numbers(r, a, b))
    return r.op("mul", moves.insert_dims(x, [1]), moves.insert_dims(y, [0]))


@traces(np.tensordot)
def _tensordot(r: Recorder, a: Any, b: Any, axes: Any = 2) -> TracedArray:
    x, y = numbers(r, a, b)
    if isinstance(axes, (tuple, list)):
        of_a, of_b = ([i] if not isinstance(i, (tuple, list)) else list(i) for i in axes)
    else:
        of_a, of_b = list(range(-axes, 0)), list(range(axes))
    return _paired(x, y, of_a, of_b)


def _paired(x: TracedArray, y: TracedArray, of_x: list[int], of_y: list[int]) -> TracedArray:
    """``numpy.tensordot`` with axes ``of_x`` of ``x`` against ``of_y`` of ``y``."""
    of_a = [moves.axis_of(x, i) for i in of_x]
    of_b = [moves.axis_of(y, i) for i in of_y]
    if [x.shape[i] for i in of_a] != [y.shape[i] for i in of_b]:
        raise x.recorder.error(
            f"axes {of_x} of shape {x.shape} and {of_y} of {y.shape} do not pair equal extents"
        )
    a_labels: list[Hashable] = [("a", i) for i in range(x.ndim)]
    b_labels: list[Hashable] = [("b", i) for i in range(y.ndim)]
    for i, j in zip(of_a, of_b, strict=True):
        b_labels[j] = a_labels[i]
    shared = set(a_labels) & set(b_labels)
    out = [i for i in (*a_labels, *b_labels) if i not in shared]
    return contract(x, a_labels, y, b_labels, out)
