"""Emitted kernels run on the stand-in and give what nki_ir's interpreter gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from emit_agreement import assert_agrees

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.core.numerics import REDUCTIONS
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, ts

PSUM, HBM = MemorySpace.PSUM, MemorySpace.HBM
F32, BF16, I32, BOOL = DType.F32, DType.BF16, DType.I32, DType.BOOL


class Kernel(Builder):
    """A builder whose outputs are HBM buffers named after the convention."""

    def __init__(self, name: str = "kernel") -> None:
        super().__init__(name)
        self.outputs: dict[str, Value] = {}

    def output(self, name: str, shape: Sequence[int], dtype: DType = F32) -> Value:
        self.outputs[name] = self.add_input(f"{name}_out", shape, dtype)
        self.set_outputs(self.outputs)
        return self.outputs[name]

    def load(self, source: Value, name: str | None = None) -> Value:
        """A new tile with all of an HBM view in it."""
        tile = self.alloc(source.type.shape, source.type.dtype, name=name)
        return self.dma_copy(tile, source)

    def store(self, name: str, tile: Value) -> Graph:
        """A new output with all of a tile in it."""
        self.dma_copy(self.output(name, tile.type.shape, tile.type.dtype), tile)
        return self.graph


def elementwise_with_remainders() -> Graph:
    k = Kernel("elementwise")
    rows, columns = 300, 700
    a, b = (k.add_input(n, (rows, columns), BF16) for n in "ab")
    y = k.output("y", (rows, columns))

    def tile(b_: Builder, row: Any, rows: int, column: Any, columns: int) -> None:
        where = [ds(row, rows), ds(column, columns)]
        ta, tb = (b_.alloc((rows, columns), BF16, name=n) for n in ("a_t", "b_t"))
        total = b_.alloc((rows, columns), F32, name="total")
        b_.dma_copy(ta, b_.slice(a, where))
        b_.dma_copy(tb, b_.slice(b, where))
        b_.tensor_tensor_arith(total, ta, tb, op="multiply")
        b_.activation(total, total, op="exp", scale=0.5)
        b_.dma_copy(b_.slice(y, where), total)

    def row_tile(b_: Builder, row: Any, size: int) -> None:
        b_.fori_loop("j", 512, 512, lambda b2, j: tile(b2, row, size, j, 512))
        tile(b_, row, size, 512, columns - 512)

    k.fori_loop("i", 256, 128, lambda b_, i: row_tile(b_, i, 128))
    row_tile(k, 256, rows - 256)
    return k.graph


def matmul_with_k_loop() -> Graph:
    k = Kernel("matmul")
    a_t, b = k.add_input("aT", (320, 192), BF16), k.add_input("b", (320, 640), BF16)
    y = k.output("y", (192, 640))

    def step(b_: Builder, acc: Value, rows: Any, left: Any, right: Any, adds: Any) -> None:
        size = rows.size
        left_t = b_.alloc((size, left.size), BF16, name="left")
        right_t = b_.alloc((size, right.size), BF16, name="right")
        b_.dma_copy(left_t, b_.slice(a_t, [rows, left]))
        b_.dma_copy(right_t, b_.slice(b, [rows, right]))
        if isinstance(adds, bool):
            b_.matmul(acc, left_t, right_t, accumulate=adds)
        else:
            b_.matmul(acc, left_t, right_t, adds)

    def tile(b_: Builder, left: Any, right: Any) -> None:
        acc = b_.alloc((left.size, right.size), F32, PSUM, name="acc")
        b_.fori_loop("k", 256, 128, lambda b2, kk: step(b2, acc, ds(kk, 128), left, right, kk))
        step(b_, acc, ds(256, 64), left, right, True)
        out = b_.alloc((left.size, right.size), F32, name="out")
        b_.tensor_copy(out, acc, engine="scalar")
        b_.dma_copy(b_.slice(y, [left, right]), out)

    def row_tile(b_: Builder, m: Value) -> None:
        tile(b_, ts(m, 64), ds(0, 512))
        tile(b_, ts(m, 64), ds(512, 128))

    k.fori_loop("m", 3, 1, row_tile)
    return k.graph


def matmul_over_two_indices() -> Graph:
    k = Kernel()
    a, b = k.add_input("a", (2, 2, 64, 32)), k.add_input("b", (2, 2, 64, 16))
    acc = k.alloc((32, 16), F32, PSUM, name="acc")

    def inner(b_: Builder, i: Value, j: Value) -> None:
        left = b_.alloc((64, 32), F32)
        right = b_.alloc((64, 16), F32)
        for tile, source in ((left, a), (right, b)):
            window = [ds(i, None), ds(j, None), ds(0, 64), ds(0, source.type.shape[-1])]
            b_.dma_copy(tile, b_.slice(source, window))
        b_.matmul(acc, left, right, i, j)

    k.fori_loop("i", 2, 1, lambda b_, i: b_.fori_loop("j", 2, 1, lambda b2, j: inner(b2, i, j)))
    out = k.alloc((32, 16), F32)
    k.tensor_copy(out, acc)
    return k.store("y", out)


def matmul_of_flattened_operands() -> Graph:
    k = Kernel()
    left, right = k.load(k.add_input("a", (64, 4, 8))), k.load(k.add_input("b", (64, 2, 3, 5)))
    acc = k.alloc((32, 2, 15), F32, PSUM)
    k.matmul(acc, left, right)
    out = k.alloc((32, 2, 15), F32)
    k.tensor_copy(out, acc)
    strided = k.slice(right, [ds(0, 64), ds(0, 2), ds(0, 3), ds(0, 2)])
    k.matmul(k.slice(acc, [ds(0, 32), ds(0, 2), ds(0, 6)]), left, strided)
    k.tensor_copy(out, acc)
    return k.store("y", out)


def transposes() -> Graph:
    k = Kernel()
    x = k.load(k.add_input("x", (96, 2, 40), BF16))
    turned = k.alloc((80, 96), BF16, PSUM)
    k.nc_transpose(turned, x)
    out = k.alloc((80, 96), BF16)
    k.tensor_copy(out, turned)
    small = k.alloc((32, 20), BF16)
    k.nc_transpose(small, k.slice(k.reshape(x, (96, 80)), [ds(32, 20), ds(7, 32)]), engine="vector")
    k.store("small", small)
    return k.store("y", out)


def softmax() -> Graph:
    k = Kernel("softmax")
    x = k.load(k.add_input("x", (100, 300)))
    peak, total, scale = (k.alloc((100, 1), F32, name=n) for n in ("peak", "total", "scale"))
    y = k.alloc((100, 300), F32, name="y")
    k.tensor_reduce_arith(peak, x, op="maximum")
    k.tensor_scalar_arith(peak, peak, op0="multiply", imm0=-1.0, engine="scalar")
    k.activation(y, x, peak, op="exp")
    k.tensor_reduce_arith(total, y, op="add")
    k.reciprocal(scale, total)
    k.tensor_scalar_arith(y, y, scale, op0="multiply")
    return k.store("probs", y)


def reductions() -> Graph:
    k = Kernel()
    x = k.load(k.add_input("x", (64, 3, 4, 5)))
    for op in REDUCTIONS:
        for count, shapes in (
            (2, [(64, 3)]),
            (1, [(64, 3, 4), (64, 3, 4, 1)]),
            (3, [(64, 1), (64, 1, 1, 1)]),
        ):
            for shape in shapes:
                dst = k.alloc(shape, F32)
                k.tensor_reduce_arith(dst, x, op=op, num_r_dim=count)
                k.store(f"{op}{count}_{len(shape)}", dst)
    odd = k.alloc((64, 12), F32)
    k.tensor_reduce_arith(odd, x, op="add", num_r_dim=1)
    return k.store("other_shape", odd)


def where() -> Graph:
    k = Kernel()
    c, a, b = (k.load(k.add_input(n, (128, 50))) for n in "cab")
    mask = k.alloc((128, 50), BOOL, name="mask")
    k.tensor_scalar_arith(mask, c, op0="greater", imm0=0.25)
    y = k.alloc((128, 50), F32)
    k.tensor_copy(y, b, engine="gpsimd")
    k.copy_predicated(y, mask, a)
    k.store("mask", mask)
    return k.store("y", y)


def truth_values() -> Graph:
    k = Kernel()
    x, y = k.load(k.add_input("x", (16, 33))), k.load(k.add_input("y", (16, 33)))
    mask = k.load(k.add_input("mask", (16, 33), BOOL))
    ones, both, either, chosen = (k.alloc((16, 33), BOOL) for _ in range(4))
    k.tensor_copy(ones, x)
    k.tensor_tensor_arith(both, ones, mask, op="multiply")
    k.tensor_tensor_bitvec(either, both, mask, op="bitwise_or")
    k.tensor_tensor_arith(chosen, x, y, op="less_equal")
    k.copy_predicated(either, chosen, mask)
    fresh = k.alloc((16, 33), BOOL)
    k.memset(fresh, value=7)
    k.tensor_tensor_arith(fresh, fresh, chosen, op="logical_xor")
    k.store("fresh", fresh)
    return k.store("either", either)


def bias_activation() -> Graph:
    k = Kernel()
    x = k.load(k.add_input("x", (128, 2, 40), BF16))
    bias = k.alloc((128, 1, 1), F32)
    k.dma_copy(bias, k.reshape(k.add_input("bias", (128,)), (128, 1, 1)))
    y = k.alloc((128, 2, 40), DType.F16)
    k.activation(y, x, bias, op="gelu", scale=0.75)
    return k.store("y", y)


def constants_and_ramps() -> Graph:
    k = Kernel()
    ramp = k.alloc((20, 3, 4), I32)
    k.iota(ramp, pattern=((10, 3), (-1, 4)), offset=5, channel_multiplier=100)
    k.store("ramp", ramp)
    plain = k.alloc((20, 12), F32)
    k.iota(plain, pattern=((1, 12),))
    k.store("plain", plain)
    values = {"seven": (7, I32), "half": (0.5, BF16), "low": (float("-inf"), F32)}
    for name, (value, dtype) in values.items():
        tile = k.alloc((20, 12), dtype)
        k.memset(tile, value=value, engine="gpsimd")
        k.store(name, tile)
    psum = k.alloc((20, 12), F32, PSUM)
    k.memset(psum, value=float("nan"))
    out = k.alloc((20, 12), F32)
    k.tensor_copy(out, psum)
    return k.store("undefined", out)


def broadcast_load() -> Graph:
    k = Kernel()
    row, block = k.add_input("row", (60,)), k.add_input("block", (1, 5, 60))
    wide = k.load(k.broadcast(row, (128, 60), dims=(1,)))
    k.store("wide", wide)
    spread = k.load(k.broadcast(block, (128, 5, 60)))
    repeated = k.broadcast(k.slice(wide, [ds(0, 128), ds(3, 1)]), (128, 60))
    y = k.alloc((128, 60), F32)
    k.tensor_tensor_arith(y, k.slice(spread, [ds(0, 128), ds(2, None), ds(0, 60)]), repeated, "add")
    k.store("y", y)
    third = k.alloc((128, 5, 60), F32)
    k.tensor_tensor_arith(third, spread, k.broadcast(y, (128, 5, 60), dims=(0, 2)), "subtract")
    return k.store("third", third)


def every_rank() -> Graph:
    k = Kernel()
    scalar, vector = k.add_input("scalar", ()), k.add_input("vector", (24,))
    cube = k.add_input("cube", (2, 3, 4, 10))
    one = k.load(k.reshape(scalar, (1, 1)))
    flat = k.load(k.reshape(vector, (24, 1)))
    turned = k.permute(k.reshape(cube, (6, 4, 10)), (1, 0, 2))
    tile = k.load(k.slice(turned, [ds(0, 4), ds(1, 4), ds(2, 5)]))
    spread = k.load(k.broadcast(k.reshape(scalar, (1, 1)), (4, 1)))
    y = k.alloc((4, 4, 5), F32)
    k.tensor_scalar_arith(y, tile, spread, op0="subtract", reverse0=True)
    k.dma_copy(k.reshape(k.output("scalar_again", ()), (1, 1)), one)
    k.dma_copy(k.reshape(k.output("vector_again", (24,)), (24, 1)), flat)
    k.dma_copy(one, k.reshape(k.slice(k.add_input("grid", (2, 3)), [ds(1, None)] * 2), (1, 1)))
    last = k.output("last", (1, 4, 5, 4))
    k.dma_copy(k.permute(k.reshape(last, (4, 5, 4)), (2, 0, 1)), y)
    return k.graph


def tiles_of_rank_one() -> Graph:
    k = Kernel()
    x = k.load(k.add_input("x", (64, 3)))
    column = k.slice(x, [ds(0, 64), ds(1, None)])
    vector = k.add_input("vector", (64,))
    second = k.slice(x, [ds(0, 64), ds(2, None)])
    k.dma_copy(second, vector)
    y = k.alloc((64, 3), F32)
    k.tensor_tensor_arith(y, x, k.broadcast(column, (64, 3), dims=(0,)), op="maximum")
    k.activation(k.slice(y, [ds(0, 64), ds(0, None)]), second, column, op="tanh")
    half = k.slice(column, [ds(32, 32)])
    k.tensor_reduce_arith(half, k.slice(y, [ds(32, 32), ds(0, 3)]), op="add")
    k.dma_copy(k.output("column", (64,)), column)
    return k.store("y", y)


def strided_windows() -> Graph:
    k = Kernel()
    x = k.add_input("x", (64, 100))
    y = k.output("y", (4, 8, 10))

    def body(b: Builder, i: Value) -> None:
        start = ts(i, 1).offset * -4 + 12
        part = b.slice(x, [ds(start, 8, 2), ds(start * 2 + 1, 20, 3)])
        tile = b.alloc((8, 20), F32, name="tile")
        b.dma_copy(tile, part)
        again = b.slice(tile, [ds(0, 8), ds(0, 10, 2)])
        b.tensor_scalar_arith(again, again, op0="add", imm0=1.0)
        b.dma_copy(b.slice(y, [ds(i, None), ds(0, 8), ds(0, 10)]), again)

    k.fori_loop("i", 4, 1, body)
    return k.graph


def two_scalars() -> Graph:
    k = Kernel()
    x = k.load(k.add_input("x", (32, 2, 7)))
    s, t = (k.load(k.add_input(n, (32, 1))) for n in "st")
    first, second, third = (k.alloc((32, 2, 7), F32) for _ in range(3))
    k.tensor_scalar_arith(first, x, s, t, op0="subtract", reverse0=True, op1="maximum")
    k.tensor_scalar_arith(second, x, t, op0="multiply", imm0=3.0, op1="subtract", reverse1=True)
    k.tensor_scalar_arith(third, x, s, op0="multiply", op1="add", imm1=-1.5, engine="scalar")
    for name, tile in (("first", first), ("second", second), ("third", third)):
        k.store(name, tile)
    return k.graph


def scalar_and_two_tiles() -> Graph:
    k = Kernel()
    x, y = (k.load(k.add_input(n, (32, 2, 7))) for n in "xy")
    s = k.load(k.add_input("s", (32, 1)))
    first, second = (k.alloc((32, 2, 7), F32) for _ in range(2))
    k.scalar_tensor_tensor_arith(first, x, y, s, op0="multiply", op1="add", reverse1=True)
    k.scalar_tensor_tensor_arith(
        second, x, y, op0="subtract", op1="maximum", imm0=0.5, reverse0=True
    )
    for name, tile in (("first", first), ("second", second)):
        k.store(name, tile)
    return k.graph


def activation_with_sums() -> Graph:
    k = Kernel()
    x = k.load(k.add_input("x", (32, 2, 7)))
    bias = k.load(k.add_input("s", (32, 1)))
    made, again = (k.alloc((32, 2, 7), F32) for _ in range(2))
    sums, more = (k.alloc((32, 1), F32) for _ in range(2))
    k.activation_reduce(made, sums, x, op="square")
    k.activation_reduce(again, more, x, bias, op="exp", scale=0.5)
    for name, tile in (("made", made), ("sums", sums), ("again", again), ("more", more)):
        k.store(name, tile)
    return k.graph


def gpsimd_work() -> Graph:
    k = Kernel()
    a, b = (k.load(k.add_input(n, (40, 12), I32)) for n in "ab")
    big, total = k.alloc((40, 12), I32), k.alloc((1, 12), F32)
    k.tensor_tensor_arith(big, a, b, op="multiply", engine="gpsimd")
    k.tensor_tensor_arith(big, big, b, op="add", engine="gpsimd")
    k.cross_lane_reduce_arith(total, a, op="maximum")
    raised = k.alloc((40, 12), F32)
    k.tensor_tensor_arith(raised, a, b, op="power")
    k.store("big", big)
    k.store("total", total)
    return k.store("raised", raised)


def scratch_in_hbm() -> Graph:
    k = Kernel()
    x = k.add_input("x", (128, 8))
    kept = k.alloc((8, 128), F32, HBM, name="kept")
    scratch = k.alloc((128, 8), F32, HBM, name="scratch")
    k.dma_copy(scratch, x)
    k.dma_copy(k.permute(kept, (1, 0)), scratch)
    k.set_outputs({"kept": kept, "x": x})
    return k.graph


KERNELS: list[Callable[[], Graph]] = [
    elementwise_with_remainders,
    matmul_with_k_loop,
    matmul_over_two_indices,
    matmul_of_flattened_operands,
    transposes,
    softmax,
    reductions,
    where,
    truth_values,
    bias_activation,
    constants_and_ramps,
    broadcast_load,
    every_rank,
    tiles_of_rank_one,
    strided_windows,
    two_scalars,
    scalar_and_two_tiles,
    activation_with_sums,
    gpsimd_work,
    scratch_in_hbm,
]


@pytest.mark.parametrize("build", KERNELS, ids=lambda build: build.__name__)
def test_emitted_kernel_computes_what_the_interpreter_computes(
    build: Callable[[], Graph],
) -> None:
    assert_agrees(build())
