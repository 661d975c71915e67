"""Every family of ops on odd extents: the lowered tiles compute what numpy does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from lowering import BF16, arrays, assert_lowers, compiled

from nkigen_lite.errors import NotSupported

SHAPES = [(), (1,), (127,), (129,), (1009,), (3, 1), (5, 7), (129, 130), (3, 129, 5), (2, 3, 4, 5),
          (2, 1, 3, 2, 5)]  # fmt: skip
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "exp": lambda x: np.exp(x) + 1,
    "where": lambda x: np.where(x > 0, x, 0.5),
    "tanh": lambda x: np.tanh(x) * x - 3,
    "divide": lambda x: 1 / (1 + np.abs(x)),
}
MOVES: dict[str, Callable[..., Any]] = {
    "transpose": lambda x: x.T,
    "ravel": lambda x: x.reshape(-1),
    "concat_last": lambda x: np.concatenate([x, x * 2], axis=-1),
    "concat_first": lambda x: np.concatenate([x, x], axis=0),
    "strided": lambda x: x[..., ::2] * 2,
    "flip_pair": lambda x: np.stack([x, x + 1]),
    "gram": lambda x: x @ np.swapaxes(x, -1, -2),
    "softmax": lambda x: np.exp(x - x.max(-1, keepdims=True)) / 3,
}
PRODUCTS = [((1, 1), (1, 1)), ((1, 7), (7, 1)), ((5, 1), (1, 9)), ((129, 127), (127, 131)),
            ((1000, 3), (3, 129)), ((3, 1000), (1000, 1)), ((2, 5, 7), (7, 3)), ((7,), (7,)),
            ((7,), (7, 4)), ((4, 7), (7,)), ((2, 1, 5, 6), (3, 6, 4)), ((2, 3, 5, 6), (2, 3, 6, 4)),
            ((1, 1000), (1000, 700)), ((300, 350), (350, 600))]  # fmt: skip
CHAINS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "split_heads": (lambda x, w: (x @ w).reshape(4, 3, 5)[:, 1], [(4, 6), (6, 15)]),
    "odd_reshape": (lambda x: x.reshape(8, 3).T @ x[:4].reshape(8, 2), [(6, 4)]),
    "odd_reshape_transposed": (lambda x: x.reshape(5, 7).T, [(7, 5)]),
    "odd_reshape_of_transposed": (lambda x: x.T.reshape(7, 5) + 1, [(7, 5)]),
    "output_that_is_reshaped_oddly": (lambda x: ((x + 1).T, (x + 1).reshape(4, 6)), [(3, 8)]),
    "odd_reshape_in_a_concat": (
        lambda x, y: np.concatenate([x.reshape(9, 2), y.reshape(9, 1)], 1),
        [(6, 3), (3, 3)],
    ),
    "overlapping_windows": (
        lambda x: (np.concatenate([x[128:], x]).reshape(2, 193), (x - x.min())[105:154:2]),
        [(257,)],
    ),
    "cut_window": (lambda x: x[5:23].reshape(6, 3), [(30,)]),
    "qkv_slice": (lambda x: x[:, 5:2053].reshape(2, 16, 128), [(2, 2100)]),
    "roll": (lambda x: np.concatenate([x[:, 3:], x[:, :3]], 1), [(9, 130)]),
    "two_windows": (lambda x: x[100:300] * x[0:200], [(400, 7)]),
    "difference": (lambda x: x[1:] - x[:-1], [(257,)]),
    "one_row": (lambda x: x[1:2], [(2, 2)]),
    "one_column": (lambda x: x[:, 3] * 2, [(130, 9)]),
    "einsum": (lambda x, y: np.einsum("ij,kj->ik", x, y), [(200, 3), (5, 3)]),
    "all_reduce": (lambda x: np.sum(np.exp(x - x.max())), [(130, 9)]),
    "outputs": (lambda x: (x, x + 1, x), [(4, 5)]),
    "bias_relu": (lambda x, w, b: np.maximum(x @ w + b, 0) * 2, [(130, 70), (70, 90), (90,)]),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_elementwise(name: str, shape: tuple[int, ...]) -> None:
    assert_lowers(ELEMENTWISE[name], *arrays([shape]))


@pytest.mark.parametrize("kind", ["sum", "max", "min", "mean"])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_reductions_over_each_axis_and_over_all(kind: str, shape: tuple[int, ...]) -> None:
    for axis in (*range(len(shape)), None):
        assert_lowers(lambda x, axis=axis: getattr(x, kind)(axis=axis), *arrays([shape]))


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s) > 1 and s[-1] > 1], ids=str)
def test_moves(name: str, shape: tuple[int, ...]) -> None:
    assert_lowers(MOVES[name], *arrays([shape]))


@pytest.mark.parametrize("dtype", [np.float32, BF16], ids=["f32", "bf16"])
@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
def test_products(shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: Any) -> None:
    assert_lowers(lambda a, b: a @ b, *arrays(shapes, dtype))


@pytest.mark.parametrize("name", CHAINS)
def test_chains(name: str) -> None:
    fn, shapes = CHAINS[name]
    assert_lowers(fn, *arrays(shapes))


@pytest.mark.parametrize("dtype", [np.int32, np.int16, np.int8, np.uint8, np.uint32], ids=str)
def test_integers_are_exact(dtype: Any) -> None:
    x, y = arrays([(7, 9), (9,)], dtype)
    for fn in (lambda x, y: x + y * 3, lambda x, y: x * y, lambda x, y: np.maximum(x, y)):
        assert_lowers(fn, x, y, tolerance=1e-12)
    assert_lowers(lambda x: x.sum(axis=0), x, tolerance=1e-12)


def test_wide_integers_are_exact_beyond_what_f32_holds() -> None:
    x = np.array([[2**24 + 1, -(2**30) + 3], [7, 2**31 - 2]], np.int32)
    kernel = compiled(lambda x: x + 1, x)
    np.testing.assert_array_equal(kernel(x), x + 1)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn])
def test_narrow_floats(dtype: Any) -> None:
    assert_lowers(lambda x: x * 2 + 1, *arrays([(7, 9)], dtype))
    assert_lowers(lambda x: x.max(axis=0), *arrays([(130, 9)], dtype))


def test_integer_matmul_is_refused_with_the_reason_and_the_line() -> None:
    x = arrays([(4, 4)], np.int32)[0]
    with pytest.raises(NotSupported, match=r"matmul: dtype i32 .*\n  at .*test_lowering_ops.py"):
        compiled(lambda x: x @ x, x)
