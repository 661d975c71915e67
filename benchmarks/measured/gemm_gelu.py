"""A product with bias and GELU: two launches through HBM, or one.

Structures: trainium-kernel-fusion kernels/baseline/mlp_gemm.py (gemm_kernel, gelu_kernel) and
kernels/fused/mlp.py (fused_mlp_pwl, fused_mlp_taylor). The bias is a row that is added to 128
rows: the Tensor engine spreads it over partitions, by a product with ones (aws-neuron-sdk
nki/guides/tutorials/fused_mamba.rst: "an extra TensorE instruction performing partition dimension
broadcast").
"""

from __future__ import annotations

from collections.abc import Callable

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir import Builder, ts

from .matmul import accumulate_streamed, accumulator
from .tiles import IN_FLIGHT, RESULTS, TILE_M, TILE_N, for_each, product

Finish = Callable[[Builder, Value], Value]


def gemm_bias(m: int, k: int, n: int, dtype: DType, finish: Finish | None = None) -> Graph:
    """``lhs_t.T @ rhs + bias``, then what ``finish`` makes of each tile."""
    b = Builder("gemm_bias")
    p = product(b, m, k, n, dtype)
    bias = b.add_input("bias", (1, n), dtype)
    ones = b.alloc((1, TILE_M), dtype)
    b.memset(ones, value=1.0)

    def tile(i: Value, j: Value) -> None:
        acc = accumulator(b)
        accumulate_streamed(b, p, acc, i, j)
        total = scratch(b, dtype)
        b.tensor_copy(total, acc)
        row = b.alloc((1, TILE_N), dtype, num_buffers=RESULTS)
        b.dma_copy(row, b.slice(bias, [ts(0, 1), ts(j, TILE_N)]))
        spread = accumulator(b)
        b.matmul(spread, ones, row)
        biased = scratch(b, dtype)
        b.tensor_tensor_arith(biased, total, spread, op="add")
        result = finish(b, biased) if finish else biased
        b.dma_copy(b.slice(p.out, [ts(i, TILE_M), ts(j, TILE_N)]), result)

    for_each(b, tile, m=p.rows, n=p.columns)
    b.set_outputs({"out": p.out})
    return b.graph


def scratch(b: Builder, dtype: DType) -> Value:
    """A tile in SBUF."""
    return b.alloc((TILE_M, TILE_N), dtype, num_buffers=RESULTS)


def gelu_tile(b: Builder, x: Value) -> Value:
    """GELU of a tile by the activation of that name."""
    result = scratch(b, x.type.dtype)
    b.activation(result, x, op="gelu")
    return result


def gelu_tile_taylor(b: Builder, x: Value) -> Value:
    """GELU of a tile by its tanh form, an instruction for every operation of the source.

    0.5 x (1 + tanh z), z = sqrt(2/pi) (x + 0.044715 x^3), tanh z = 2 sigmoid(2 z) - 1.
    """
    dtype = x.type.dtype

    def both(op: str, left: Value, right: Value) -> Value:
        return b.tensor_tensor_arith(scratch(b, dtype), left, right, op=op)

    def constant(op: str, left: Value, value: float) -> Value:
        return b.tensor_scalar_arith(scratch(b, dtype), left, op0=op, imm0=value)

    cubed = both("multiply", both("multiply", x, x), x)
    inner = both("add", x, constant("multiply", cubed, 0.044715))
    z = constant("multiply", inner, 0.7978845608028654)
    sigmoid = scratch(b, dtype)
    b.activation(sigmoid, z, op="sigmoid", scale=2.0)
    tanh = constant("subtract", constant("multiply", sigmoid, 2.0), 1.0)
    return both("multiply", constant("multiply", x, 0.5), constant("add", tanh, 1.0))


def gelu(m: int, n: int, dtype: DType) -> Graph:
    """GELU of every element, a tile at a time from HBM and back."""
    b = Builder("gelu")
    source = b.add_input("y", (m, n), dtype)
    out = b.add_input("out", (m, n), dtype)

    def tile(i: Value, j: Value) -> None:
        where = [ts(i, TILE_M), ts(j, TILE_N)]
        x = b.alloc((TILE_M, TILE_N), dtype, num_buffers=IN_FLIGHT)
        b.dma_copy(x, b.slice(source, where))
        b.dma_copy(b.slice(out, where), gelu_tile(b, x))

    for_each(b, tile, m=m // TILE_M, n=n // TILE_N)
    b.set_outputs({"out": out})
    return b.graph
