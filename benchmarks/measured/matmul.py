"""The matrix products of the vendor's tutorials, each with its published loads and blocks.

Structures: aws-neuron-sdk nki/examples/matrix_multiplication/matrix_multiplication_nki_kernels.py
and nki/guides/tutorials/kernel-optimization.rst, where the four are v2 to v5. ``copies`` is the
engine that empties PSUM: on trn2 it is not the Vector engine, which is said to be idle in v2 to
v4.
"""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir import Builder, DimSlice, ts
from nkigen_lite.nki_ir.types import affine

from .tiles import (
    ACCUMULATORS,
    F32,
    IN_FLIGHT,
    PSUM,
    RESULTS,
    TILE_K,
    TILE_M,
    TILE_N,
    Index,
    Product,
    at,
    each_part,
    evict,
    for_each,
    multiply,
    part,
    product,
)


def accumulator(b: Builder) -> Value:
    """A tile in PSUM."""
    return b.alloc((TILE_M, TILE_N), F32, PSUM, num_buffers=ACCUMULATORS)


def spread(b: Builder, vector: Value, wide: Value) -> None:
    """``vector``, a tensor in HBM, in every partition of ``wide``: a product with ones."""
    dtype, columns = vector.type.dtype, vector.type.shape[0]
    ones = b.alloc((1, TILE_M), dtype)
    b.memset(ones, value=1.0)
    row = b.alloc((1, columns), dtype)
    b.dma_copy(row, b.reshape(vector, (1, columns)))

    def one(_: Value | int, window: DimSlice) -> None:
        acc = part(b, accumulator(b), DimSlice(0, window.size))
        b.matmul(acc, ones, part(b, row, window))
        b.tensor_copy(part(b, wide, window), acc)

    each_part(b, one, TILE_N, j=columns)
    b.dealloc(row)


def accumulate_streamed(b: Builder, p: Product, acc: Value, i: Value, j: Value) -> None:
    """Add up tile (i, j) of the result; both operands of every step are loaded just before it."""

    def step(k: Value) -> None:
        left = b.alloc((TILE_K, TILE_M), p.lhs_t.type.dtype, num_buffers=IN_FLIGHT)
        right = b.alloc((TILE_K, TILE_N), p.rhs.type.dtype, num_buffers=IN_FLIGHT)
        b.dma_copy(left, b.slice(p.lhs_t, [ts(k, TILE_K), ts(i, TILE_M)]))
        b.dma_copy(right, b.slice(p.rhs, [ts(k, TILE_K), ts(j, TILE_N)]))
        b.matmul(acc, left, right, k)

    for_each(b, step, k=p.steps)


def load_columns(b: Builder, tile: Value, matrix: Value, j: Index, *where: DimSlice) -> None:
    """Load tile column ``j`` of a matrix, a DMA for each tile of its contraction.

    ``tile`` is [128, …, k, columns]; ``where`` gives the dimensions before k.
    """

    def step(k: Value) -> None:
        source = b.slice(matrix, [ts(k, TILE_K), ts(j, tile.type.shape[-1])])
        b.dma_copy(part(b, tile, *where, at(k), None), source)

    for_each(b, step, k=tile.type.shape[-2])


def tiled(m: int, k: int, n: int, dtype: DType, copies: str = "vector") -> Graph:
    """A tile of the result at a time; both operands of every step are loaded just before it."""
    b = Builder("tiled")
    p = product(b, m, k, n, dtype)

    def tile(i: Value, j: Value) -> None:
        acc = accumulator(b)
        accumulate_streamed(b, p, acc, i, j)
        evict(b, p, acc, i, j, copies)

    for_each(b, tile, m=p.rows, n=p.columns)
    b.set_outputs({"out": p.out})
    return b.graph


def hoisted(m: int, k: int, n: int, dtype: DType, copies: str = "vector") -> Graph:
    """What a row of tiles needs of lhs_t is loaded once; what a tile needs of rhs, for each."""
    b = Builder("hoisted")
    p = product(b, m, k, n, dtype)

    def row(i: Value) -> None:
        left = b.alloc((TILE_K, p.steps, TILE_M), dtype, num_buffers=2)
        load_columns(b, left, p.lhs_t, i)

        def tile(j: Value) -> None:
            right = b.alloc((TILE_K, p.steps, TILE_N), dtype)
            load_columns(b, right, p.rhs, j)
            acc = accumulator(b)
            multiply(b, acc, left, right)
            evict(b, p, acc, i, j, copies)

        for_each(b, tile, n=p.columns)

    for_each(b, row, m=p.rows)
    b.set_outputs({"out": p.out})
    return b.graph


def blocked(
    m: int,
    k: int,
    n: int,
    dtype: DType,
    m_tiles: int,
    n_tiles: int,
    copies: str = "vector",
    keep_rhs: bool = True,
) -> Graph:
    """As :func:`hoisted` with blocks of m_tiles x n_tiles in the place of tiles.

    ``keep_rhs`` says whether the block of rhs stays in SBUF for all m_tiles rows; where it does
    not fit, it is loaded again for each of them.
    """
    b = Builder("blocked")
    p = product(b, m, k, n, dtype)

    def row(i: Value) -> None:
        left = b.alloc((TILE_K, m_tiles, p.steps, TILE_M), dtype)

        def load(bm: Value) -> None:
            load_columns(b, left, p.lhs_t, affine(i) * m_tiles + affine(bm), at(bm))

        for_each(b, load, bm=m_tiles)
        for_each(b, lambda j: tiles(i, j, left), n=p.columns // n_tiles)

    def tiles(i: Value, j: Value, left: Value) -> None:
        def load(bn: Value, right: Value, place: Value | int) -> Value:
            load_columns(b, right, p.rhs, affine(j) * n_tiles + affine(bn), at(place))
            return right

        def room(count: int) -> Value:
            return b.alloc((TILE_K, count, p.steps, TILE_N), dtype)

        kept = room(n_tiles) if keep_rhs else None
        if kept is not None:
            for_each(b, lambda bn: load(bn, kept, bn), bn=n_tiles)

        def tile(bm: Value, bn: Value) -> None:
            right = kept if kept is not None else load(bn, room(1), 0)
            acc = accumulator(b)
            multiply(b, acc, left, right, at(bm), at(bn if keep_rhs else 0))
            down, across = affine(i) * m_tiles + affine(bm), affine(j) * n_tiles + affine(bn)
            evict(b, p, acc, down, across, copies)

        for_each(b, tile, bm=m_tiles, bn=n_tiles)

    for_each(b, row, m=p.rows // m_tiles)
    b.set_outputs({"out": p.out})
    return b.graph


def fully_blocked(
    m: int,
    k: int,
    n: int,
    dtype: DType,
    m_tiles: int,
    n_tiles: int,
    k_tiles: int,
    lhs_copies: int = 2,
    rhs_copies: int = 2,
    packed: bool = True,
) -> Graph:
    """Blocks in all three dimensions; partial sums of a column of blocks are kept in SBUF.

    Every DMA moves a tile's rows as wide as its block. ``packed`` results are copied side by side
    before they are stored; otherwise they lie so already. ``lhs_copies`` blocks of lhs_t and
    ``rhs_copies`` of rhs are in SBUF at a time.
    """
    b = Builder("fully_blocked")
    p = product(b, m, k, n, dtype)
    blocked_product(b, p, (m_tiles, n_tiles, k_tiles), (lhs_copies, rhs_copies), packed)
    b.set_outputs({"out": p.out})
    return b.graph


def blocked_product(
    b: Builder, p: Product, tiles: tuple[int, int, int], copies: tuple[int, int], packed: bool
) -> None:
    """The loops of :func:`fully_blocked`; ``tiles`` are those of a block along m, n and k.

    ``copies`` are the blocks of lhs_t and of rhs in SBUF at a time.
    """
    m_tiles, n_tiles, k_tiles = tiles
    lhs_copies, rhs_copies = copies
    width = n_tiles * TILE_N

    def column(j: Value) -> None:
        sums = b.alloc((TILE_M, p.rows, n_tiles, TILE_N), p.out.type.dtype)
        for_each(b, lambda i: b.memset(part(b, sums, at(i), None, None), value=0.0), m=p.rows)
        for_each(b, lambda kb: add_block(sums, j, kb), k=p.steps // k_tiles)
        for_each(b, lambda i: _store_row(b, p, sums, i, j, packed), m=p.rows)

    def load_block(tile: Value, matrix: Value, kb: Value, across: Value) -> None:
        def one(bk: Value) -> None:
            down = affine(kb) * k_tiles + affine(bk)
            source = b.slice(matrix, [ts(down, TILE_K), ts(across, tile.type.shape[-1])])
            b.dma_copy(part(b, tile, at(bk), None), source)

        for_each(b, one, bk=k_tiles)

    def add_block(sums: Value, j: Value, kb: Value) -> None:
        right = b.alloc((TILE_K, k_tiles, width), p.rhs.type.dtype, num_buffers=rhs_copies)
        load_block(right, p.rhs, kb, j)

        def row(i: Value) -> None:
            columns = m_tiles * TILE_M
            dtype = p.lhs_t.type.dtype
            left = b.alloc((TILE_K, k_tiles, columns), dtype, num_buffers=lhs_copies)
            load_block(left, p.lhs_t, kb, i)
            for_each(b, lambda bn, bm: tile(left, i, bn, bm), bn=n_tiles, bm=m_tiles)

        def tile(left: Value, i: Value, bn: Value, bm: Value) -> None:
            acc = accumulator(b)

            def step(bk: Value) -> None:
                stationary = part(b, left, at(bk), ts(bm, TILE_M))
                b.matmul(acc, stationary, part(b, right, at(bk), ts(bn, TILE_N)), bk)

            for_each(b, step, bk=k_tiles)
            total = part(b, sums, at(affine(i) * m_tiles + affine(bm)), at(bn), None)
            b.tensor_tensor_arith(total, total, acc, op="add")

        for_each(b, row, m=p.rows // m_tiles)

    for_each(b, column, n=p.columns // n_tiles)


def _store_row(b: Builder, p: Product, sums: Value, i: Value, j: Value, packed: bool) -> None:
    _, _, n_tiles, _ = sums.type.shape
    width = n_tiles * TILE_N
    row = part(b, sums, at(i), None, None)
    target = b.slice(p.out, [ts(i, TILE_M), ts(j, width)])
    if not packed:
        b.dma_copy(target, b.reshape(row, (TILE_M, width)))
        return
    result = b.alloc((TILE_M, width), p.out.type.dtype, num_buffers=RESULTS)
    for_each(
        b,
        lambda bn: b.tensor_copy(part(b, result, ts(bn, TILE_N)), part(b, row, at(bn), None)),
        bn=n_tiles,
    )
    b.dma_copy(target, result)
