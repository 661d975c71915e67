"""The two layer norms of the vendor's tutorial: moments by plain reductions, then by bn_stats.

Structure: aws-neuron-sdk nki/examples/layernorm/layernorm_nki_kernel.py; which engine runs what:
general/nki/tutorials/layernorm.rst. Rows are normalised 128 at a time, the last of them fewer.
Scale and shift are loaded once and spread over partitions, which the Tensor engine does, as in
:mod:`.gemm_gelu`. How the vendor's compiler places the intermediate tiles is not published: here
each operation writes over its operand, so that 8192 columns of f32 leave room to load ahead.
"""

from __future__ import annotations

from collections.abc import Callable

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir import Builder, DimSlice, ts
from nkigen_lite.nki_ir.rows.statistics import STATS, STATS_FREE_MAX

from .matmul import spread
from .tiles import F32, RESULTS, each_part, part

PARTITIONS = 128
EPSILON = 1e-5

TILES = 3
"""Tiles of 128 rows that fit SBUF beside scale and shift, at 8192 columns of f32."""

Normalise = Callable[[Builder, Value], None]


def by_sums(rows: int, columns: int, dtype: DType) -> Graph:
    """Version 1: mean, mean of squares, shift and scale, each a pass over the tile.

    One of the :data:`TILES` holds squares.
    """
    return _kernel("layernorm_by_sums", (rows, columns), dtype, TILES - 1, _shift_and_scale)


def by_stats(rows: int, columns: int, dtype: DType) -> Graph:
    """Version 2: moments from bn_stats and bn_aggr, shift and scale in one instruction."""
    return _kernel("layernorm_by_stats", (rows, columns), dtype, TILES, _shift_and_scale_at_once)


def _kernel(
    name: str, shape: tuple[int, int], dtype: DType, held: int, normalise: Normalise
) -> Graph:
    rows, columns = shape
    b = Builder(name)
    source = b.add_input("x", shape, dtype)
    gamma, beta = (b.add_input(n, (columns,), dtype) for n in ("gamma", "beta"))
    out = b.add_input("out", shape, dtype)
    wide = [b.alloc((PARTITIONS, columns), dtype) for _ in range(2)]
    for vector, tile in zip((gamma, beta), wide, strict=True):
        spread(b, vector, tile)

    def some_rows(_: Value | int, window: DimSlice) -> None:
        everything = DimSlice(0, columns)
        x = b.alloc((window.size or 1, columns), dtype, num_buffers=held)
        b.dma_copy(x, b.slice(source, [window, everything]))
        normalise(b, x)
        for vector, op in zip(wide, ("multiply", "add"), strict=True):
            same_rows = b.slice(vector, [DimSlice(0, window.size), everything])
            b.tensor_tensor_arith(x, x, same_rows, op=op)
        b.dma_copy(b.slice(out, [window, everything]), x)

    each_part(b, some_rows, PARTITIONS, row=rows)
    b.set_outputs({"out": out})
    return b.graph


def _column(b: Builder, x: Value) -> Value:
    return b.alloc((x.type.shape[0], 1), F32, num_buffers=RESULTS)


def _mean(b: Builder, x: Value) -> Value:
    total = b.tensor_reduce_arith(_column(b, x), x, op="add")
    share = 1 / x.type.shape[1]
    return b.tensor_scalar_arith(_column(b, x), total, op0="multiply", imm0=share)


def _rsqrt(b: Builder, variance: Value) -> Value:
    """``1 / sqrt(variance + EPSILON)``, in two small instructions."""
    held_up = _column(b, variance)
    b.tensor_scalar_arith(held_up, variance, op0="add", imm0=EPSILON)
    return b.activation(_column(b, variance), held_up, op="rsqrt")


def _shift_and_scale(b: Builder, x: Value) -> None:
    mean = _mean(b, x)
    squares = b.alloc(x.type.shape, x.type.dtype)
    b.activation(squares, x, op="square")
    of_squares = _mean(b, squares)
    squared = b.tensor_tensor_arith(_column(b, x), mean, mean, op="multiply")
    variance = b.tensor_tensor_arith(_column(b, x), of_squares, squared, op="subtract")
    b.tensor_scalar_arith(x, x, mean, op0="subtract")
    b.tensor_scalar_arith(x, x, _rsqrt(b, variance), op0="multiply")


def _shift_and_scale_at_once(b: Builder, x: Value) -> None:
    rows, columns = x.type.shape
    groups = -(-columns // STATS_FREE_MAX)
    stats = b.alloc((rows, groups * STATS), F32, num_buffers=RESULTS)

    def group(j: Value | int, window: DimSlice) -> None:
        b.bn_stats(part(b, stats, ts(j, STATS)), part(b, x, window))

    each_part(b, group, STATS_FREE_MAX, group=columns)
    both = b.bn_aggr(b.alloc((rows, 2), F32, num_buffers=RESULTS), stats)
    mean, variance = (part(b, both, DimSlice(i, 1)) for i in range(2))
    b.tensor_scalar_arith(x, x, mean, _rsqrt(b, variance), op0="subtract", op1="multiply")
