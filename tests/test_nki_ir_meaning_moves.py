"""What selects, scans, searches and gathers compute, on small examples and against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tile_outcomes import outcome

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir import Builder, MemorySpace

Array = np.ndarray[Any, np.dtype[Any]]
F32, BF16, I32, U16, U32, I8, U8 = (
    DType.F32,
    DType.BF16,
    DType.I32,
    DType.U16,
    DType.U32,
    DType.I8,
    DType.U8,
)
LEAST = np.finfo(np.float32).min
X = np.array([[1.5, -2.0, 3.0, 0.0], [0.25, 8.0, -1.0, 2.0]], np.float32)
COLUMN = np.float32([[1.0], [2.0]])


# --- selects


@pytest.mark.parametrize(("row0", "column0"), [(0, 0), (2, 0), (0, 3)])
def test_affine_select_masks_what_lies_above_the_diagonal(row0: int, column0: int) -> None:
    x = np.arange(1, 25, dtype=np.float32).reshape(4, 6)
    made = outcome(
        lambda b, d, x: b.affine_select(
            d,
            x,
            pattern=((-1, 6),),
            channel_multiplier=1,
            offset=row0 - column0,
            cmp_op="greater_equal",
            on_false=-9.0,
        ),
        x,
        shape=(4, 6),
    )
    rows, columns = np.arange(4)[:, None] + row0, np.arange(6)[None, :] + column0
    np.testing.assert_array_equal(made, np.where(columns <= rows, x, -9))


def test_affine_select_keeps_the_bits_of_one_type() -> None:
    big = np.full((2, 4), 2**24 + 1, np.int32)
    made = outcome(
        lambda b, d, x: b.affine_select(
            d, x, pattern=((1, 4),), cmp_op="less", on_false=1e12, offset=-2
        ),
        big,
        into=I32,
        shape=(2, 4),
    )
    assert made.tolist() == [[2**24 + 1] * 2 + [2**31 - 1] * 2] * 2


def test_range_select_takes_what_lies_between_its_bounds() -> None:
    made = outcome(
        lambda b, d, x, low, high: b.range_select(
            d, x, low, high, op0="greater_equal", op1="less", range_start=1
        ),
        X,
        COLUMN,
        np.float32([[3.0], [9.0]]),
        shape=(2, 4),
    )
    # The indices are 1, 2, 3, 4.
    assert made.tolist() == [[1.5, -2.0, LEAST, LEAST], [LEAST, 8.0, -1.0, 2.0]]


def test_range_select_of_nothing_leaves_minus_infinity_in_narrow_types() -> None:
    zero = np.zeros((2, 1), np.float32)
    made = outcome(
        lambda b, d, x, z: b.range_select(d, x, z, z, op0="less", op1="less"),
        X,
        zero,
        into=BF16,
        shape=(2, 4),
    )
    assert np.isneginf(made.astype(np.float32)).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_select_takes_a_number_of_each_partition_elsewhere(reverse: bool) -> None:
    mask = np.array([[1, 0, 2, 0]] * 2, np.int8)
    made = outcome(
        lambda b, d, m, x, c: b.select(d, m, x, c, reverse=reverse),
        mask,
        X,
        COLUMN,
        shape=(2, 4),
    )
    np.testing.assert_array_equal(made, np.where((mask != 0) != reverse, X, COLUMN))


def test_select_reduce_also_gives_the_largest_of_each_partition() -> None:
    mask = np.array([[0, 1, 0, 1]] * 2, np.uint8)
    made = outcome(
        lambda b, d, m, x: b.select_reduce(b.alloc((2, 4), F32), d, m, x, on_false=-5.0),
        mask,
        X,
        shape=(2, 1),
    )
    assert made.tolist() == [[0.0], [8.0]]


# --- scans


def test_tensor_scalar_reduce_writes_results_and_their_reduction() -> None:
    made = outcome(
        lambda b, d, x: b.tensor_scalar_reduce(
            b.alloc((2, 4), F32), d, x, op0="multiply", imm0=2.0, reduce_op="add", negate=True
        ),
        X,
        shape=(2, 1),
    )
    assert made.tolist() == [[-5.0], [-18.5]]


def test_cumulative_sums_are_carried_in_f32_and_rounded_each() -> None:
    x = np.full((2, 4), 1.0, BF16.np)
    made = outcome(
        lambda b, d, x: b.tensor_scalar_cumulative(
            d, x, op0="multiply", imm0=1.0, op1="add", initial=256.0
        ),
        x,
        into=BF16,
        shape=(2, 4),
    )
    # 257 and 259 are no bf16, but the sum goes on from them.
    assert made.astype(np.float32).tolist() == [[256.0, 258.0, 260.0, 260.0]] * 2


@pytest.mark.parametrize(("op", "start"), [("maximum", -np.inf), ("minimum", np.inf)])
def test_cumulative_extremes_start_from_what_changes_nothing(op: str, start: float) -> None:
    made = outcome(
        lambda b, d, x: b.tensor_scalar_cumulative(d, x, op0="add", imm0=0.0, op1=op),
        X,
        shape=(2, 4),
    )
    fold = {"maximum": np.maximum, "minimum": np.minimum}[op]
    np.testing.assert_array_equal(made, fold(fold.accumulate(X, axis=1), start))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(0, 2**31))
def test_a_scan_is_a_linear_recurrence(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, c, first = (rng.standard_normal((3, n)).astype(np.float32) for n in (count, count, 1))
    made = outcome(
        lambda b, d, a, c, f: b.tensor_tensor_scan(d, a, c, f, op0="multiply", op1="add"),
        a,
        c,
        first,
        shape=(3, count),
    )
    state = first[:, 0]
    for i in range(count):
        state = a[:, i] * state + c[:, i]
        np.testing.assert_array_equal(made[:, i], state)


# --- searches


def test_find_index8_gives_equal_values_ascending_places() -> None:
    data = np.float32([[5, 7, 5, 1, 7, 2, 5, 0, 3]])
    values = np.float32([[5, 7, 5, 9, 5, 5, 0, 7]])
    made = outcome(lambda b, d, x, v: b.find_index8(d, x, v), data, values, into=U16, shape=(1, 8))
    assert made.tolist() == [[0, 1, 2, 65535, 6, 65535, 7, 4]]


def test_match_replace8_gives_equal_values_descending_places() -> None:
    data = np.float32([[5, 7, 5, 1, 7, 2, 5, 0, 3]])
    values = np.float32([[5, 7, 5, 9, 8, 8, 0, 7]])

    def write(b: Builder, indices: Value, x: Value, v: Value) -> None:
        b.match_replace8(b.alloc((1, 9), F32), x, v, indices, imm=-1.0)

    places = outcome(write, data, values, into=U32, shape=(1, 8))
    none = 2**32 - 1
    assert places.tolist() == [[2, 4, 0, none, none, none, 7, 1]]
    made = outcome(
        lambda b, d, x, v: b.match_replace8(d, x, v, imm=-1.0), data, values, shape=(1, 9)
    )
    assert made.tolist() == [[-1, -1, -1, 1, -1, 2, 5, -1, 3]]


@settings(deadline=None, max_examples=30)
@given(st.integers(16, 40), st.integers(0, 2**31), st.booleans())
def test_two_rounds_of_max8_and_replacing_find_the_16_largest(
    count: int, seed: int, ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 5 if ties else 10**6, (3, count)).astype(np.float32)

    def write(b: Builder, dst: Value, x: Value) -> None:
        first, rest = b.alloc((3, 8), F32), b.alloc((3, count), F32)
        b.max8(first, x)
        b.match_replace8(rest, x, first, imm=-1e30)
        b.max8(dst, rest)

    made = outcome(write, x, shape=(3, 8))
    np.testing.assert_array_equal(made, -np.sort(-x, axis=1)[:, 8:16])


# --- gathers


def test_gather_flattens_the_free_dimensions() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    at = np.array([[5, 0, 0], [1, 2, 3]], np.uint32)
    made = outcome(lambda b, d, x, i: b.gather(d, x, i), x, at, shape=(2, 3))
    assert made.tolist() == [[5, 0, 0], [7, 8, 9]]


def test_gather_beyond_the_elements_is_an_error() -> None:
    at = np.array([[4], [0]], np.uint32)
    with pytest.raises(InvalidInput, match="gather: index is 4 but must be 0 to 3"):
        outcome(lambda b, d, x, i: b.gather(d, x, i), X, at, shape=(2, 1))


def test_local_gather_shares_the_indices_of_sixteen_partitions() -> None:
    x = np.arange(32 * 8, dtype=np.float32).reshape(32, 8)
    at = np.zeros((32, 2), np.uint16)
    at[[0, 1, 2], 0] = [2, 4, 6]  # the first three indices of core 0
    at[16, 0] = 3  # the first of core 1
    made = outcome(
        lambda b, d, x, i: b.local_gather(d, x, i, elems_per_index=2, valid_indices=3),
        x,
        at,
        shape=(32, 6),
    )
    np.testing.assert_array_equal(made[:16], x[:16, 2:8])
    np.testing.assert_array_equal(made[16:], x[16:, [3, 4, 0, 1, 0, 1]])


def test_shuffle_moves_partitions_within_each_group_of_32() -> None:
    x = np.arange(64, dtype=np.float32)[:, None].repeat(2, axis=1)
    mask = (*range(1, 32), 255)

    def write(b: Builder, dst: Value, x: Value) -> None:
        b.memset(dst, value=-1.0)
        b.stream_shuffle(dst, x, mask=mask)

    made = outcome(write, x, shape=(64, 2))[:, 0]
    assert made.tolist() == [*range(1, 32), -1, *range(33, 64), -1]


def test_sequence_bounds_are_those_of_runs() -> None:
    ids = np.int32([[0, 3, 3, 1, 0, 0, 3]])
    made = outcome(lambda b, d, x: b.sequence_bounds(d, x), ids, into=I32, shape=(1, 2, 7))
    assert made.tolist() == [[[7, 1, 1, 3, 7, 7, 6], [-1, 3, 3, 4, -1, -1, 7]]]


def test_nonzero_places_are_those_of_every_sixteenth_partition() -> None:
    x = np.ones((17, 4), np.int32)
    x[0] = [0, 5, 0, -1]
    x[16] = 0

    def write(b: Builder, dst: Value, x: Value) -> None:
        b.memset(dst, value=7)
        b.nonzero_with_count(dst, x, index_offset=10)

    made = outcome(write, x, into=I32, shape=(17, 5))
    assert made[0].tolist() == [11, 13, -1, -1, 2]
    assert made[16].tolist() == [-1, -1, -1, -1, 0]
    assert set(made[1:16].ravel()) == {7}


# --- forms of other ops


def test_activation_takes_a_scale_of_each_partition_after_the_bias() -> None:
    scale = np.float32([[3.0], [-1.0]])
    made = outcome(
        lambda b, d, x, c, s: b.activation(d, x, c, s, op="square", scale=None),
        X,
        COLUMN,
        scale,
        shape=(2, 4),
    )
    np.testing.assert_array_equal(made, (X * scale + COLUMN) ** 2)
    made = outcome(
        lambda b, d, x, s: b.activation(d, x, s, op="square", scale=None, bias=0.5),
        X,
        scale,
        shape=(2, 4),
    )
    np.testing.assert_array_equal(made, (X * scale + np.float32(0.5)) ** 2)


def test_reduction_is_negated_when_asked() -> None:
    made = outcome(
        lambda b, d, x: b.tensor_reduce_arith(d, x, op="maximum", negate=True), X, shape=(2, 1)
    )
    assert made.tolist() == [[-3.0], [-8.0]]


def test_bit_operations_take_numbers_and_shift_zeros_in() -> None:
    x = np.array([[-1, 6, 127, -128]], np.int8)
    shifted = outcome(
        lambda b, d, x: b.tensor_scalar_bitvec(d, x, op0="right_shift", imm0=4),
        x,
        into=I8,
        shape=(1, 4),
    )
    assert shifted.tolist() == [[15, 0, 7, 8]]
    gone = outcome(
        lambda b, d, x: b.tensor_scalar_bitvec(d, x, op0="left_shift", imm0=8),
        x,
        into=I8,
        shape=(1, 4),
    )
    assert gone.tolist() == [[0] * 4]
    turned = outcome(
        lambda b, d, x: b.tensor_scalar_bitvec(d, x, op0="invert", op1="bitwise_and", imm1=0x0F),
        x.view(np.uint8),
        into=U8,
        shape=(1, 4),
    )
    assert turned.tolist() == [[0, 9, 0, 15]]


def test_double_rows_contract_twice_the_partitions() -> None:
    rng = np.random.default_rng(0)
    a, c = (rng.integers(-3, 4, (8, 2, n)).astype(DType.FP8_E5M2.np) for n in (4, 5))
    made = outcome(
        lambda b, d, a, c: b.matmul(d, a, c, perf_mode="double_row"),
        a,
        c,
        shape=(4, 5),
        memory=MemorySpace.PSUM,
    )
    wide = [x.astype(np.float32) for x in (a, c)]
    np.testing.assert_array_equal(made, np.einsum("pim,pin->mn", *wide))


def test_predicated_copy_takes_a_number_where_the_predicate_is_zero() -> None:
    mask = np.array([[1, 0, 2, 0]] * 2, np.uint8)

    def write(b: Builder, dst: Value, mask: Value, x: Value) -> None:
        b.tensor_copy(dst, x)
        b.copy_predicated(dst, mask, imm=9.0, reverse=True)

    np.testing.assert_array_equal(
        outcome(write, mask, X, shape=(2, 4)), np.where(mask == 0, np.float32(9), X)
    )
