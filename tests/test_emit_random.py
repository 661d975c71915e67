"""Random kernels: emitted and run on the stand-in, they give what nki_ir's interpreter gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from emit_agreement import assert_agrees, sample
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from view_chains import view_chain

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir import Builder, MemorySpace, ds
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.verify import problems

LIMITS = Limits(partitions=128, sbuf_bytes=2**17, psum_banks=8, psum_bank_bytes=2048)
DTYPES = [DType.F32, DType.BF16, DType.F16, DType.I32, DType.U8]
# Ops whose value on any finite operand is finite and not amplified by much.
PAIRS = ("add", "subtract", "maximum", "minimum", "less", "equal", "logical_and")
FUNCTIONS = ("copy", "tanh", "sigmoid", "abs", "sign", "relu")


@st.composite
def kernels(draw: st.DrawFn) -> Graph:
    """Loads, a few ops on tiles of one shape in a loop over row blocks, and stores."""
    rows, free = draw(st.integers(1, 12)), draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    blocks, tail = draw(st.integers(1, 3)), draw(st.integers(0, 5))
    shape = (rows * blocks + tail, *free)
    dtypes = draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3))
    plan = draw(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)),
                         min_size=1, max_size=6))  # fmt: skip
    b = Builder("random")
    inputs = [b.add_input(f"x{i}", shape, d) for i, d in enumerate(dtypes)]
    out = b.add_input("y_out", shape, draw(st.sampled_from(DTYPES)))
    b.set_outputs({"y": out})

    def body(b: Builder, first: Any, count: int) -> None:
        window = [ds(first, count), *[ds(0, n) for n in free]]
        tiles = []
        for source in inputs:
            tiles.append(b.alloc((count, *free), source.type.dtype))
            b.dma_copy(tiles[-1], b.slice(source, window))
        for kind, left, right in plan:
            operands = (tiles[left % len(tiles)], tiles[right % len(tiles)])
            tiles.append(_apply(b, kind, *operands))
        last = b.alloc((count, *free), out.type.dtype, name="last")
        b.tensor_copy(last, tiles[-1])
        b.dma_copy(b.slice(out, window), last)

    b.fori_loop("i", rows * blocks, rows, lambda b, i: body(b, i, rows))
    if tail:
        body(b, rows * blocks, tail)
    return b.graph


def _apply(b: Builder, kind: int, left: Value, right: Value) -> Value:
    makers = (_pair, _scalar, _function, _choice, _spread, _row_sum)
    return makers[kind % len(makers)](b, kind // len(makers), left, right)


def _pair(b: Builder, kind: int, left: Value, right: Value) -> Value:
    dst = b.alloc(left.type.shape, DTYPES[kind % 3])
    return b.tensor_tensor_arith(dst, left, right, op=PAIRS[kind % len(PAIRS)])


def _scalar(b: Builder, kind: int, left: Value, right: Value) -> Value:
    dst = b.alloc(left.type.shape, DTYPES[kind % 3])
    op, engine = (("multiply", "scalar"), ("subtract", "vector"))[kind % 2]
    return b.tensor_scalar_arith(dst, left, op0=op, imm0=0.25 * kind, engine=engine)


def _function(b: Builder, kind: int, left: Value, right: Value) -> Value:
    dst = b.alloc(left.type.shape, DTYPES[kind % 3])
    return b.activation(dst, left, op=FUNCTIONS[kind % len(FUNCTIONS)], scale=0.5)


def _choice(b: Builder, kind: int, left: Value, right: Value) -> Value:
    mask, dst = b.alloc(left.type.shape, DType.BOOL), b.alloc(left.type.shape, left.type.dtype)
    b.tensor_scalar_arith(mask, right, op0="greater", imm0=0.1)
    other = b.alloc(left.type.shape, left.type.dtype)
    b.tensor_copy(dst, right)
    b.tensor_copy(other, left)
    return b.copy_predicated(dst, mask, other)


def _spread(b: Builder, kind: int, left: Value, right: Value) -> Value:
    rank = left.type.rank
    dim = 1 + kind % (rank - 1)
    window = [ds(0, n) for n in left.type.shape]
    window[dim] = ds(left.type.shape[dim] - 1, 1)
    dst = b.alloc(left.type.shape, DType.F32)
    repeated = b.broadcast(b.slice(right, window), left.type.shape)
    return b.tensor_tensor_arith(dst, left, repeated, op="add")


def _row_sum(b: Builder, kind: int, left: Value, right: Value) -> Value:
    shape = left.type.shape
    total, dst = b.alloc((shape[0], 1), DType.F32), b.alloc(shape, DType.F32)
    b.tensor_reduce_arith(total, left, op="maximum", num_r_dim=left.type.rank - 1)
    return b.tensor_scalar_arith(dst, right, total, op0="minimum")


@given(kernels(), st.integers(0, 2**16))
@settings(max_examples=60)
def test_random_kernel_agrees(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = {
        v.name: sample(rng, v.type.shape, v.type.dtype)
        for v in graph.inputs
        if v.name.startswith("x")
    }
    assert graph.verify() == []
    assert_agrees(graph, inputs)


@st.composite
def products(draw: st.DrawFn) -> Graph:
    """A matmul with a contraction loop and remainder, operands loaded through permuted views."""
    m, n, k = (draw(st.integers(1, size)) for size in (128, 64, 48))
    steps, tail = draw(st.integers(1, 3)), draw(st.integers(0, 20))
    depth = k * steps + tail
    b = Builder("product")
    turned = draw(st.booleans())
    left = b.add_input("a", (m, depth) if turned else (depth, m), DType.BF16)
    right, out = b.add_input("b", (depth, n), DType.BF16), b.add_input("y_out", (m, n))
    acc = b.alloc((m, n), DType.F32, MemorySpace.PSUM, name="acc")

    def step(b: Builder, first: Any, count: int, *adds: Value, accumulate: bool = False) -> None:
        a_tile, b_tile = b.alloc((count, m), DType.BF16), b.alloc((count, n), DType.BF16)
        view = b.permute(left, (1, 0)) if turned else left
        b.dma_copy(a_tile, b.slice(view, [ds(first, count), ds(0, m)]))
        b.dma_copy(b_tile, b.slice(right, [ds(first, count), ds(0, n)]))
        b.matmul(acc, a_tile, b_tile, *adds, accumulate=accumulate)

    b.fori_loop("k", k * steps, k, lambda b, i: step(b, i, k, i))
    if tail:
        step(b, k * steps, tail, accumulate=True)
    result = b.alloc((m, n), DType.F32)
    b.tensor_copy(result, acc)
    b.dma_copy(out, result)
    b.set_outputs({"y": out})
    return b.graph


@given(products())
@settings(max_examples=25)
def test_random_product_agrees(graph: Graph) -> None:
    assert_agrees(graph)


@st.composite
def view_kernels(draw: st.DrawFn) -> Graph:
    """One random view of a tensor in HBM, or of the tile that holds it, read into the output."""
    on_chip = draw(st.booleans())
    rank = draw(st.integers(2 if on_chip else 1, 4))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=rank, max_size=rank)))
    b = Builder("view")
    source = b.add_input("x", shape)
    if on_chip:
        tile = b.alloc(shape, DType.F32, name="tile")
        b.dma_copy(tile, source)
        read = view_chain(draw, b, tile)
        source = b.alloc((*read.type.shape, 1), DType.F32, name="copy")
        source = b.reshape(source, read.type.shape)
        b.tensor_copy(source, read)
    else:
        source = view_chain(draw, b, source)
    out = b.add_input("y_out", source.type.shape)
    b.dma_copy(out, source)
    b.set_outputs({"y": out})
    return b.graph


@given(view_kernels())
@settings(max_examples=150)
def test_random_view_is_read_alike(graph: Graph) -> None:
    assume(problems(graph, LIMITS) == [])
    assert_agrees(graph)


@st.composite
def written_views(draw: st.DrawFn) -> Graph:
    """A tile of which a random view is overwritten."""
    rank = draw(st.integers(2, 4))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=rank, max_size=rank)))
    b = Builder("view")
    source, out = b.add_input("x", shape), b.add_input("y_out", shape)
    tile = b.alloc(shape, DType.F32, name="tile")
    b.dma_copy(tile, source)
    b.memset(view_chain(draw, b, tile, writable=True), value=100.0)
    b.dma_copy(out, tile)
    b.set_outputs({"y": out})
    return b.graph


@given(written_views())
@settings(max_examples=75)
def test_random_view_is_written_alike(graph: Graph) -> None:
    assume(problems(graph, LIMITS) == [])
    assert_agrees(graph)
