"""Indexing of traced arrays, by cases and by random keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkigen_lite.errors import TraceError
from nkigen_lite.frontend import trace


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1, np.prod(shape, dtype=int) + 1, dtype=np.float32).reshape(shape)


def assert_index(shape: tuple[int, ...], key: Any) -> None:
    x = numbered(shape)
    got = trace(lambda x: x[key], [x]).run(x)
    assert got.shape == x[key].shape
    np.testing.assert_array_equal(got, x[key])


@pytest.mark.parametrize(
    "key",
    [
        np.s_[0],
        np.s_[-1, 2],
        np.s_[1, 2, 3],
        np.s_[...],
        np.s_[:, 1],
        np.s_[..., 1:3],
        np.s_[None, :, None, ..., None],
        np.s_[:, ::2, 1::3],
        np.s_[1:, -3:-1],
        np.s_[..., ::-1],
        np.s_[::-1, :, 5:1:-2],
        np.s_[[1, 0]],
        np.s_[:, [0, 2, 3, 3]],
        np.s_[1, [0, 1, -1]],
        np.s_[:, 0, [3, 1, 5]],
        np.s_[:, [[0, 1], [2, 3]]],
        np.s_[..., np.array([0, 2, 4])],
        np.s_[np.int64(1), np.array(2)],
        np.s_[:100, 2:300],
    ],
    ids=repr,
)
def test_index_takes_what_numpy_takes(key: Any) -> None:
    assert_index((2, 4, 6), key)


@st.composite
def shapes_and_keys(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    """A shape and a key of integers, slices, newaxis and an ellipsis that leaves an element."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    named = draw(st.integers(0, len(shape)))
    key: list[Any] = []
    for extent in shape[:named]:
        if draw(st.booleans()):
            key.append(draw(st.integers(-extent, extent - 1)))
            continue
        item = draw(st.slices(extent).filter(lambda s, n=extent: range(*s.indices(n))))
        key.append(item)
    for _ in range(draw(st.integers(0, 2))):
        key.insert(draw(st.integers(0, len(key))), None)
    if draw(st.booleans()):
        key.append(Ellipsis)
    return shape, tuple(key)


@given(shapes_and_keys())
@settings(max_examples=120)
def test_any_basic_index_takes_what_numpy_takes(drawn: tuple[tuple[int, ...], Any]) -> None:
    assert_index(*drawn)


@given(st.data())
@settings(max_examples=80)
def test_any_index_array_takes_what_numpy_takes(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    extent = shape[axis]
    indices = data.draw(st.lists(st.integers(-extent, extent - 1), min_size=1, max_size=12))
    assert_index(shape, (*[slice(None)] * axis, indices))


@given(st.data())
@settings(max_examples=80)
def test_any_two_broadcastable_shapes_meet_as_in_numpy(data: st.DataObject) -> None:
    full = data.draw(st.lists(st.integers(1, 4), max_size=4))
    shapes = []
    for _ in range(2):
        kept = data.draw(st.integers(0, len(full)))
        shapes.append(tuple(n if data.draw(st.booleans()) else 1 for n in full[len(full) - kept :]))
    a, b = (numbered(shape) for shape in shapes)
    got = trace(lambda a, b: a * b + np.where(a > b, a, b), [a, b]).run(a, b)
    np.testing.assert_array_equal(got, a * b + np.where(a > b, a, b))


def test_rising_runs_of_indices_become_slices() -> None:
    traced = trace(lambda x: x[[0, 1, 2, 3, 8, 10, 12, 5]], ["16:f32"])
    assert [op.opcode for op in traced.graph.ops] == ["slice", "slice", "slice", "concat"]
    assert [op.attrs["strides"] for op in traced.graph.ops[:3]] == [(1,), (2,), (1,)]


def test_iteration_and_unpacking_go_over_the_first_axis() -> None:
    def rows(x: Any) -> Any:
        first, *_, last = x
        return first + last + len(x)

    x = numbered((3, 4))
    np.testing.assert_array_equal(trace(rows, [x]).run(x), rows(x))


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (np.s_[4], "index 4 is out of range for extent 4 of axis 0"),
        (np.s_[:, -7], "index -7 is out of range for extent 6 of axis 1"),
        (np.s_[0, 0, 0], "3 indices for an array of rank 2"),
        (np.s_[..., ...], "only one ellipsis"),
        (np.s_[2:2], "leaves no element in axis 0"),
        (np.s_[::0], "slice step cannot be zero"),
        (np.s_["a"], "index 'a' is str but must be an integer"),
        (np.s_[1.0], "index 1.0 is float but must be an integer"),
        (np.s_[True], "boolean mask has no static shape; use np.where"),
        (np.ones((4, 6), bool), "boolean mask has no static shape; use np.where"),
        (np.s_[[True, False, True, True]], "boolean mask has no static shape; use np.where"),
        (np.s_[[0.5]], "an index of dtype float64 must be of integers"),
        (np.s_[[0, 9]], "index 9 is out of range for extent 4 of axis 0"),
        (np.s_[[0], [1]], "only one index array may be given"),
        (np.s_[[]], "no index is taken"),
        (np.zeros(0, int), "no index is taken"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_refused_index_says_why(key: Any, sentence: str) -> None:
    with pytest.raises(TraceError, match=r"^x\[...\]: ") as caught:
        trace(lambda x: x[key], ["4x6:f32"])
    assert sentence in str(caught.value)
    assert "test_frontend_indexing.py" in str(caught.value)


def test_integer_and_index_array_around_a_slice_are_refused() -> None:
    with pytest.raises(TraceError, match="index in two steps"):
        trace(lambda x: x[0, :, [0, 1]], ["2x3x4:f32"])


def test_traced_index_points_to_the_one_hot_product() -> None:
    with pytest.raises(TraceError, match=r"one-hot matrix: \(idx\[..., None\] == np.arange\(n\)\)"):
        trace(lambda x, i: x[i], ["8x4:f32", "3:i32"])


def test_traced_mask_points_to_where() -> None:
    with pytest.raises(TraceError, match=r"use np\.where"):
        trace(lambda x: x[x > 0], ["8:f32"])


def test_the_suggested_one_hot_product_gathers() -> None:
    def gather(x: Any, idx: Any) -> Any:
        return (idx[..., None] == np.arange(8)).astype(x.dtype) @ x

    x, idx = numbered((8, 4)), np.array([7, 0, 3], np.int32)
    np.testing.assert_array_equal(trace(gather, [x, idx]).run(x, idx), x[idx])


def test_too_many_runs_of_indices_are_refused() -> None:
    scattered = [*range(0, 400, 2), *range(1, 400, 2)]
    np.random.default_rng(0).shuffle(scattered)
    with pytest.raises(TraceError, match="runs of neighbours, each of which becomes a slice"):
        trace(lambda x: np.take(x, scattered, axis=0), ["400x2:f32"])


def test_assignment_is_refused_with_what_to_use() -> None:
    def assign(x: Any) -> Any:
        x[0] = 1.0
        return x

    with pytest.raises(TraceError, match=r"never change; select with np.where, or join slices"):
        trace(assign, ["4:f32"])
