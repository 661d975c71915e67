"""Means and variances on VectorE: of short runs first, then of all runs together.

Both rows: aws-neuron-sdk, nki.isa reference, bn_stats and bn_aggr.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.registry import Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb_composed
from nkigen_lite.nki_ir.emit.calls import flat_operand, nisa, operand
from nkigen_lite.nki_ir.rows.table import check_partitions, compute

# nl.tile_size.bn_stats_fmax, on every generation: part of what the instruction is.
STATS_FREE_MAX = 512

TRIPLE = 3
"""Values that describe one set of elements: count, mean, variance * count."""

STATS = 2 * TRIPLE
"""What bn_stats writes: the triple of the even elements, then that of the odd ones."""


def _f32_rows(array: Array) -> Array:
    return array.reshape(array.shape[0], -1).astype(np.float32, copy=False)


def _check_result(name: str, types: Types, values: int) -> None:
    dst = types[0]
    check_partitions(name, types)
    if dst.rank != 2 or dst.free_size != values:
        raise InvalidOp(f"{name}: the result is {dst} but must hold {values} values per partition")


def _check_stats(types: Types, attrs: Attrs) -> None:
    _check_result("bn_stats", types, STATS)
    if types[1].free_size > STATS_FREE_MAX:
        raise InvalidOp(f"bn_stats: free size is {types[1].free_size} but at most {STATS_FREE_MAX}")


def _triple(x: Array) -> list[Any]:
    count = x.shape[1]
    # Nothing is documented of a lone element's odd half; a count of 0 gives it no weight.
    mean = x.sum(axis=1) / np.float32(max(count, 1))
    return [np.full_like(mean, count), mean, np.square(x - mean[:, None]).sum(axis=1)]


def _stats(dst: Array, src: Array, engine: str) -> Array:
    x = _f32_rows(src)
    return np.stack(_triple(x[:, ::2]) + _triple(x[:, 1::2]), axis=1)


compute(
    "bn_stats",
    "Count, mean and variance * count of the even elements of each partition, then of the odd.",
    _check_stats,
    _stats,
    engines=("vector",),
    arity=(2, 2),
    nki=nisa("bn_stats", bools=lambda op: False, dst=operand(0), data=flat_operand(1)),
    kb=kb_composed.bn_stats,
)


def _check_aggr(types: Types, attrs: Attrs) -> None:
    _check_result("bn_aggr", types, 2)
    if types[1].free_size % TRIPLE:
        raise InvalidOp(
            f"bn_aggr: free size is {types[1].free_size} but must be a multiple of {TRIPLE}"
        )


def _aggr(dst: Array, src: Array, engine: str) -> Array:
    """Pooled moments: squared distances within the sets, and of their means from the mean."""
    count, mean, squares = np.moveaxis(_f32_rows(src).reshape(len(src), -1, TRIPLE), 2, 0)
    total = count.sum(axis=1)
    pooled = (count * mean).sum(axis=1) / total
    apart = count * np.square(mean - pooled[:, None])
    return np.stack([pooled, (squares + apart).sum(axis=1) / total], axis=1)


compute(
    "bn_aggr",
    "Mean and population variance of each partition from triples that bn_stats wrote.",
    _check_aggr,
    _aggr,
    engines=("vector",),
    arity=(2, 2),
    nki=nisa("bn_aggr", bools=lambda op: False, dst=operand(0), data=flat_operand(1)),
    kb=kb_composed.bn_aggr,
)
