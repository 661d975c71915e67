"""Three linear layers: published products, with what lies between them as passes over HBM.

Structure: aws-neuron-sdk nki/guides/use-neuron-profile.rst. Its kernel computes the products, with
operands and result in HBM. The vendor's compiler makes the rest (transposed activations, bias,
relu, log_softmax), and how is not published: here each part is one pass that loads, computes and
stores. Weights are taken to be transposed beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir import Builder, DimSlice, MemorySpace, ts

from .matmul import accumulator, blocked_product, spread
from .tiles import RESULTS, TILE_M, TILE_N, Product, at, for_each, part

BLOCK = (16, 2, 8)
"""Tiles of a block along m, n and k."""

COPIES = (1, 2)
"""Blocks of lhs_t and of rhs in SBUF at a time: two of both take more than there is."""

GROUP = TILE_N // TILE_M
"""Row tiles that are transposed together, so that stores are as wide as a PSUM bank."""


def mlp3(tokens: int, features: Sequence[int], dtype: DType) -> Graph:
    """``features`` are those of the input and of the layers, in order."""
    b = Builder("mlp3")
    source = b.add_input("x", (tokens, features[0]), dtype)
    out = b.add_input("out", (tokens, features[-1]), dtype)
    bias: Value | None = None
    for layer, (k, n) in enumerate(pairwise(features)):
        lhs_t = b.alloc((k, tokens), dtype, MemorySpace.HBM)
        transpose(b, source, lhs_t, bias)
        weights = b.add_input(f"weights{layer}", (k, n), dtype)
        bias = b.add_input(f"bias{layer}", (n,), dtype)
        source = b.alloc((tokens, n), dtype, MemorySpace.HBM)
        blocked_product(b, Product(lhs_t, weights, source), BLOCK, COPIES, packed=False)
    assert bias is not None
    log_softmax(b, source, bias, out)
    b.set_outputs({"out": out})
    return b.graph


def transpose(b: Builder, source: Value, target: Value, bias: Value | None) -> None:
    """``target = source.T``, or with a bias ``relu(source + bias).T``: PSUM is emptied by that."""
    tokens, features = source.type.shape
    dtype = source.type.dtype
    tiles = features // TILE_M
    columns = b.alloc((TILE_M, tiles), dtype)
    if bias is not None:
        b.dma_copy(columns, b.permute(b.reshape(bias, (tiles, TILE_M)), (1, 0)))

    def group(i: Value) -> None:
        rows = b.alloc((TILE_M, GROUP, features), dtype, num_buffers=2)
        view = b.reshape(source, (tokens // TILE_N, GROUP, TILE_M, features))
        everything = [DimSlice(0, TILE_M), DimSlice(0, features)]

        def load(q: Value) -> None:
            b.dma_copy(part(b, rows, at(q), None), b.slice(view, [at(i), at(q), *everything]))

        def tile(f: Value) -> None:
            bank = accumulator(b)

            def one(q: Value) -> None:
                square = part(b, rows, at(q), ts(f, TILE_M))
                b.nc_transpose(part(b, bank, ts(q, TILE_M)), square)

            for_each(b, one, q=GROUP)
            result = b.alloc((TILE_M, TILE_N), dtype, num_buffers=RESULTS)
            if bias is None:
                b.tensor_copy(result, bank)
            else:
                b.activation(result, bank, part(b, columns, ts(f, 1)), op="relu")
            b.dma_copy(b.slice(target, [ts(f, TILE_M), ts(i, TILE_N)]), result)

        for_each(b, load, q=GROUP)
        for_each(b, tile, f=tiles)

    for_each(b, group, i=tokens // TILE_N)


def log_softmax(b: Builder, source: Value, bias: Value, out: Value) -> None:
    """``log_softmax(source + bias)`` over the features; the bias is spread by the Tensor engine."""
    tokens, features = source.type.shape
    dtype = source.type.dtype
    wide = b.alloc((TILE_M, features), dtype)
    spread(b, bias, wide)

    def column() -> Value:
        return b.alloc((TILE_M, 1), dtype, num_buffers=RESULTS)

    def matrix() -> Value:
        return b.alloc((TILE_M, features), dtype, num_buffers=RESULTS)

    def row(i: Value) -> None:
        where = [ts(i, TILE_M), DimSlice(0, features)]
        x = matrix()
        b.dma_copy(x, b.slice(source, where))
        biased = b.tensor_tensor_arith(matrix(), x, wide, op="add")
        top = b.tensor_reduce_arith(column(), biased, op="maximum")
        down = b.tensor_scalar_arith(column(), top, op0="multiply", imm0=-1.0)
        powers = b.activation(matrix(), biased, down, op="exp")
        total = b.tensor_reduce_arith(column(), powers, op="add")
        log = b.activation(column(), total, op="log")
        result = b.tensor_scalar_arith(matrix(), biased, down, log, op0="add", op1="subtract")
        b.dma_copy(b.slice(out, where), result)

    for_each(b, row, i=tokens // TILE_M)
