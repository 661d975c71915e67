"""What each tile op computes, on small examples, rounded to its destination."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tile_outcomes import outcome

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, interpret, run, ts

Array = np.ndarray[Any, np.dtype[Any]]
F32, BF16, I32, U8, BOOL = DType.F32, DType.BF16, DType.I32, DType.U8, DType.BOOL
PSUM = MemorySpace.PSUM
X = np.array([[1.5, -2.0, 3.0], [0.25, 8.0, -1.0]], np.float32)


def test_memset_fills() -> None:
    assert outcome(lambda b, d: b.memset(d, value=1.1), into=BF16).tolist() == [[1.1015625] * 3] * 2


def test_iota_counts_partitions_and_steps() -> None:
    made = outcome(
        lambda b, d: b.iota(d, pattern=((10, 2), (-1, 3)), offset=7, channel_multiplier=100),
        into=I32,
        shape=(2, 2, 3),
    )
    assert made.tolist() == [[[7, 6, 5], [17, 16, 15]], [[107, 106, 105], [117, 116, 115]]]


def test_tensor_copy_rounds_to_the_destination() -> None:
    made = outcome(
        lambda b, d, x: b.tensor_copy(d, x), np.float32([[1.003, -300.0, 0.1]] * 2), into=BF16
    )
    assert made.astype(np.float32).tolist() == [[1.0, -300.0, 0.10009765625]] * 2


def test_copy_to_an_integer_truncates_and_saturates() -> None:
    values = np.float32([[2.75, -2.75, 300.0], [np.nan, np.inf, -np.inf]])
    made = outcome(lambda b, d, x: b.tensor_copy(d, x), values, into=DType.I8)
    assert made.tolist() == [[2, -2, 127], [0, 127, -128]]


def test_copy_between_integers_saturates_as_it_goes_through_float32() -> None:
    made = outcome(lambda b, d, x: b.tensor_copy(d, x), np.int32([[300, -5, 7]] * 2), into=U8)
    assert made.tolist() == [[255, 0, 7]] * 2


@pytest.mark.parametrize(("engine", "expected"), [("vector", 2**24 + 1), ("scalar", 2**24)])
def test_copy_of_one_type_is_exact_but_on_the_scalar_engine(engine: str, expected: int) -> None:
    big = np.full((2, 3), 2**24 + 1, np.int32)
    made = outcome(lambda b, d, x: b.tensor_copy(d, x, engine=engine), big, into=I32)
    assert set(made.ravel()) == {expected}


def test_copy_to_bool_asks_for_not_zero() -> None:
    made = outcome(lambda b, d, x: b.tensor_copy(d, x), np.float32([[0, 0.5, -3]] * 2), into=BOOL)
    assert made.tolist() == [[False, True, True]] * 2


def test_activation_scales_and_adds_the_bias_of_each_partition() -> None:
    bias = np.float32([[1.0], [-1.0]])
    made = outcome(lambda b, d, x, c: b.activation(d, x, c, op="square", scale=2.0), X, bias)
    np.testing.assert_array_equal(made, (2 * X + bias) ** 2)


def test_activation_computes_narrow_types_in_float32() -> None:
    x = np.full((2, 3), 1.0, BF16.np)
    made = outcome(lambda b, d, x: b.activation(d, x, op="exp"), x)
    np.testing.assert_array_equal(made, np.exp(np.ones((2, 3), np.float32)))


def test_reciprocal_of_integers_is_a_fraction() -> None:
    made = outcome(lambda b, d, x: b.reciprocal(d, x), np.int32([[1, 2, 4]] * 2))
    assert made.tolist() == [[1.0, 0.5, 0.25]] * 2


@pytest.mark.parametrize(
    ("op", "expected"),
    [("add", 9.0), ("subtract", -1.0), ("maximum", 5.0), ("less", 1.0), ("power", 1024.0)],
)
def test_arithmetic_between_tensors(op: str, expected: float) -> None:
    four, five = np.full((2, 3), 4, np.float32), np.full((2, 3), 5, np.float32)
    made = outcome(lambda b, d, x, y: b.tensor_tensor_arith(d, x, y, op=op), four, five)
    assert set(made.ravel()) == {expected}


@pytest.mark.parametrize(
    ("engine", "into", "expected"),
    [("vector", I32, 2**24), ("gpsimd", I32, 2**24 + 2), ("gpsimd", F32, 2**24)],
)
def test_only_gpsimd_adds_32_bit_integers_exactly(engine: str, into: DType, expected: int) -> None:
    big, one = np.full((2, 3), 2**24 + 1, np.int32), np.ones((2, 3), np.int32)
    made = outcome(
        lambda b, d, x, y: b.tensor_tensor_arith(d, x, y, op="add", engine=engine),
        big,
        one,
        into=into,
    )
    assert set(made.ravel()) == {expected}


def test_bitwise_operations_work_on_bits() -> None:
    a, c = np.full((2, 3), 0b1100, np.uint8), np.full((2, 3), 0b1010, np.uint8)
    for op, expected in (("bitwise_and", 8), ("bitwise_or", 14), ("bitwise_xor", 6)):
        made = outcome(
            lambda b, d, x, y, op=op: b.tensor_tensor_bitvec(d, x, y, op=op), a, c, into=U8
        )
        assert set(made.ravel()) == {expected}


def test_tensor_scalar_takes_immediates_in_order() -> None:
    made = outcome(
        lambda b, d, x: b.tensor_scalar_arith(d, x, op0="add", imm0=1.0, op1="multiply", imm1=3.0),
        X,
    )
    np.testing.assert_array_equal(made, (X + 1) * 3)


def test_tensor_scalar_takes_one_value_per_partition() -> None:
    s, t = np.float32([[2], [3]]), np.float32([[10], [20]])
    made = outcome(
        lambda b, d, x, s, t: b.tensor_scalar_arith(d, x, s, t, op0="multiply", op1="subtract"),
        *(X, s, t),
    )
    np.testing.assert_array_equal(made, X * s - t)


def test_tensor_scalar_swaps_operands_when_reversed() -> None:
    made = outcome(
        lambda b, d, x: b.tensor_scalar_arith(
            d, x, op0="subtract", imm0=1.0, reverse0=True, op1="subtract", imm1=2.0, reverse1=True
        ),
        X,
    )
    np.testing.assert_array_equal(made, 2 - (1 - X))


def test_comparison_with_an_immediate_gives_one_and_zero() -> None:
    made = outcome(lambda b, d, x: b.tensor_scalar_arith(d, x, op0="greater", imm0=1.0), X)
    np.testing.assert_array_equal(made, (X > 1).astype(np.float32))


@pytest.mark.parametrize(("count", "shape"), [(1, (2, 2)), (1, (2, 2, 1)), (2, (2, 1))])
@pytest.mark.parametrize("op", ["add", "maximum", "minimum"])
def test_reduction_takes_the_last_dimensions(op: str, count: int, shape: tuple[int, ...]) -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3) - 5
    made = outcome(
        lambda b, d, x: b.tensor_reduce_arith(d, x, op=op, num_r_dim=count), x, shape=shape
    )
    reduce = {"add": np.sum, "maximum": np.max, "minimum": np.min}[op]
    np.testing.assert_array_equal(made, reduce(x, axis=(1, 2)[-count:]).reshape(shape))


def test_reduction_of_narrow_floats_adds_in_float32() -> None:
    x = np.full((2, 1000), 1.0, BF16.np)
    made = outcome(lambda b, d, x: b.tensor_reduce_arith(d, x, op="add"), x, shape=(2, 1))
    assert made.tolist() == [[1000.0], [1000.0]]


def test_statistics_are_of_even_then_of_odd_elements() -> None:
    x = np.float32([[1, 10, 3, 10, 5], [0, 2, 0, 4, 0]])
    made = outcome(lambda b, d, x: b.bn_stats(d, x), x, shape=(2, 6))
    assert made.tolist() == [[3, 3, 8, 2, 10, 0], [3, 0, 0, 2, 3, 2]]


def test_statistics_of_narrow_floats_are_taken_in_float32() -> None:
    x = np.full((2, 512), 3.0, BF16.np)
    made = outcome(lambda b, d, x: b.bn_stats(d, x), x, shape=(2, 6))
    assert made.tolist() == [[256, 3, 0, 256, 3, 0]] * 2


def test_aggregate_weighs_sets_by_their_counts() -> None:
    triples = np.float32([[1, 4, 0, 3, 0, 6], [2, 5, 2, 2, 5, 6]])
    made = outcome(lambda b, d, x: b.bn_aggr(d, x), triples, shape=(2, 2))
    assert made.tolist() == [[1.0, 4.5], [5.0, 2.0]]


@pytest.mark.parametrize("sizes", [(1,), (1, 2), (7, 5), (512, 488)])
def test_aggregate_of_statistics_is_the_mean_and_the_variance(sizes: tuple[int, ...]) -> None:
    x = np.random.default_rng(3).standard_normal((2, sum(sizes))).astype(np.float32) + 10

    def write(b: Builder, dst: Value, x: Value) -> None:
        stats, start = b.alloc((2, len(sizes), 6), F32), 0
        for group, size in enumerate(sizes):
            part = b.slice(stats, [ds(0, 2), ds(group, None), ds(0, 6)])
            b.bn_stats(part, b.slice(x, [ds(0, 2), ds(start, size)]))
            start += size
        b.bn_aggr(dst, stats)

    made = outcome(write, x, shape=(2, 2))
    expected = np.stack([x.mean(1, np.float64), x.var(1, np.float64)], axis=1)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


def test_cross_lane_reduction_takes_the_partitions() -> None:
    made = outcome(lambda b, d, x: b.cross_lane_reduce_arith(d, x, op="add"), X, shape=(1, 3))
    np.testing.assert_array_equal(made, X.sum(axis=0, keepdims=True))


def test_predicated_copy_leaves_the_rest() -> None:
    keep = np.array([[1, 0, 2]] * 2, np.uint8)

    def write(b: Builder, dst: Value, predicate: Value, x: Value) -> None:
        b.memset(dst, value=9.0)
        b.copy_predicated(dst, predicate, x)

    np.testing.assert_array_equal(outcome(write, keep, X), np.where(keep, X, np.float32(9)))


def test_matmul_contracts_the_partitions() -> None:
    a, c = np.float32([[1, 2], [3, 4]]), np.float32([[1, 0, 1], [0, 1, 1]])
    made = outcome(lambda b, d, a, c: b.matmul(d, a, c), a, c, memory=PSUM)
    np.testing.assert_array_equal(made, a.T @ c)


@pytest.mark.parametrize(("adds", "times"), [(True, 2), (False, 1)])
def test_matmul_accumulates_when_asked(adds: bool, times: int) -> None:
    a, c = np.float32([[1, 2], [3, 4]]), np.float32([[1, 0, 1], [0, 1, 1]])

    def write(b: Builder, dst: Value, a: Value, c: Value) -> None:
        b.matmul(dst, a, c)
        b.matmul(dst, a, c, accumulate=adds)

    np.testing.assert_array_equal(outcome(write, a, c, memory=PSUM), times * (a.T @ c))


def test_matmul_with_indices_starts_over_when_all_are_zero() -> None:
    a, c = np.float32([[1, 2], [3, 4]]), np.float32([[1, 0, 1], [0, 1, 1]])

    def write(b: Builder, dst: Value, a: Value, c: Value) -> None:
        def inner(b: Builder, i: Value, j: Value) -> None:
            b.matmul(dst, a, c, i, j)

        b.fori_loop("i", 3, 1, lambda b, i: b.fori_loop("j", 2, 1, lambda b, j: inner(b, i, j)))

    np.testing.assert_array_equal(outcome(write, a, c, memory=PSUM), 6 * (a.T @ c))


@pytest.mark.parametrize(("engine", "memory"), [("tensor", PSUM), ("vector", MemorySpace.SBUF)])
def test_transpose_swaps_partitions_and_free_elements(engine: str, memory: MemorySpace) -> None:
    made = outcome(
        lambda b, d, x: b.nc_transpose(d, x, engine=engine), X, shape=(3, 2), memory=memory
    )
    np.testing.assert_array_equal(made, X.T)


def test_transpose_flattens_the_free_dimensions() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    made = outcome(lambda b, d, x: b.nc_transpose(d, x), x, shape=(12, 2), memory=PSUM)
    np.testing.assert_array_equal(made, x.reshape(2, 12).T)


def test_tf32_keeps_ten_bits_of_mantissa() -> None:
    value = np.full((2, 3), 1 + 2**-10 + 2**-12, np.float32)
    made = outcome(lambda b, d, x: b.tensor_copy(d, x), value, into=DType.TF32)
    assert set(made.ravel()) == {np.float32(1 + 2**-10)}


def test_loop_runs_its_index_in_steps_below_the_extent() -> None:
    b = Builder("k")
    x, y = b.add_input("x", (7, 2)), b.add_input("y_out", (7, 2))

    def body(b: Builder, i: Value) -> None:
        tile = b.alloc((1, 2), F32)
        b.dma_copy(tile, b.slice(x, [ds(i, 1), ds(0, 2)]))
        b.dma_copy(b.slice(y, [ds(i, 1), ds(0, 2)]), tile)

    b.fori_loop("i", 7, 3, body)
    b.set_outputs({"y": y})
    x_in = np.arange(14, dtype=np.float32).reshape(7, 2)
    made = run(b.graph, {"x": x_in, "y_out": np.zeros((7, 2), np.float32)})["y"]
    np.testing.assert_array_equal(made[[0, 3, 6]], x_in[[0, 3, 6]])
    assert not made[[1, 2, 4, 5]].any()


def test_buffers_in_a_loop_are_new_in_each_iteration() -> None:
    b = Builder("k")
    y = b.add_input("y_out", (2, 4))

    def body(b: Builder, i: Value) -> None:
        tile = b.alloc((1, 4), F32)
        b.memset(b.slice(tile, [ds(0, 1), ts(i, 2)]), value=1.0)
        b.dma_copy(b.slice(y, [ds(i, 1), ds(0, 4)]), tile)

    b.fori_loop("i", 2, 1, body)
    b.set_outputs({"y": y})
    made = run(b.graph, {"y_out": np.zeros((2, 4), np.float32)})["y"]
    np.testing.assert_array_equal(np.isnan(made), [[0, 0, 1, 1], [1, 1, 0, 0]])


def test_writing_through_views_reaches_the_buffer() -> None:
    b = Builder("k")
    tile = b.alloc((2, 12), F32)
    b.memset(tile, value=0.0)
    turned = b.permute(b.reshape(tile, (2, 3, 4)), (0, 2, 1))
    b.memset(b.slice(turned, [ds(1, 1), ds(2, None), ds(0, 3)]), value=5.0)
    made = interpret(b.graph, {})[id(tile)]
    expected = np.zeros((2, 3, 4), np.float32)
    expected[1, :, 2] = 5
    np.testing.assert_array_equal(made, expected.reshape(2, 12))


def test_indexing_every_dimension_still_gives_a_view() -> None:
    b = Builder("k")
    y = b.add_input("y_out", (2, 3))
    tile = b.alloc((1, 1), F32)
    b.memset(tile, value=4.0)
    b.dma_copy(b.reshape(b.slice(y, [ds(1, None), ds(2, None)]), (1, 1)), tile)
    b.set_outputs({"y": y})
    made = run(b.graph, {"y_out": np.zeros((2, 3), np.float32)})["y"]
    assert made.tolist() == [[0, 0, 0], [0, 0, 4]]


def test_missing_input_is_named() -> None:
    b = Builder("k")
    b.set_outputs({"y": b.add_input("y_out", (2, 2))})
    with pytest.raises(InvalidInput, match="Missing input: y_out"):
        run(b.graph, {})


def test_input_of_another_type_is_refused() -> None:
    b = Builder("k")
    b.set_outputs({"y": b.add_input("y_out", (2, 2))})
    with pytest.raises(InvalidInput, match=r"got \(2, 2\) float64 but the kernel declares"):
        run(b.graph, {"y_out": np.zeros((2, 2))})


def test_kernel_without_outputs_does_not_run() -> None:
    with pytest.raises(ValueError, match="has no outputs: @k; call set_outputs first"):
        run(Builder("k").graph, {})


@pytest.mark.parametrize("reverse0", [False, True])
@pytest.mark.parametrize("reverse1", [False, True])
def test_scalar_tensor_tensor_takes_the_scalar_first(reverse0: bool, reverse1: bool) -> None:
    s, y = np.float32([[2], [3]]), X[:, ::-1].copy()
    between = s - X if reverse0 else X - s
    wanted = y - between if reverse1 else between - y
    attrs = {"op0": "subtract", "op1": "subtract", "reverse0": reverse0, "reverse1": reverse1}
    made = outcome(lambda b, d, x, y, s: b.scalar_tensor_tensor_arith(d, x, y, s, **attrs), X, y, s)
    np.testing.assert_array_equal(made, wanted)
    made = outcome(
        lambda b, d, x, y: b.scalar_tensor_tensor_arith(d, x, y, **attrs, imm0=2.0), X, y
    )
    between = 2 - X if reverse0 else X - 2
    np.testing.assert_array_equal(made, y - between if reverse1 else between - y)


def test_activation_reduce_writes_results_and_their_row_sums() -> None:
    b = Builder("k")
    x = b.add_input("x", (2, 3, 5), F32)
    src, made = b.alloc((2, 3, 5), F32), b.alloc((2, 3, 5), F32)
    sums, bias = b.alloc((2, 1), F32), b.alloc((2, 1), F32)
    b.memset(bias, 0.5)
    b.dma_copy(src, x)
    b.activation_reduce(made, sums, src, bias, op="exp", scale=-2.0)
    outs = {}
    for name, tile in (("made", made), ("sums", sums)):
        outs[name] = b.add_input(f"{name}_out", tile.type.shape, F32)
        b.dma_copy(outs[name], tile)
    b.set_outputs(outs)
    given = np.linspace(-1, 1, 30, dtype=np.float32).reshape(2, 3, 5)
    buffers = {"made_out": np.zeros((2, 3, 5), "f"), "sums_out": np.zeros((2, 1), "f")}
    found = run(b.graph, {"x": given, **buffers})
    wanted = np.exp(given * -2 + 0.5)
    np.testing.assert_allclose(found["made"], wanted, rtol=1e-6)
    np.testing.assert_allclose(found["sums"][:, 0], wanted.sum((1, 2)), rtol=1e-6)
