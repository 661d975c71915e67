"""Data that moves: transposes by DMA, loads in the order of need, copies in HBM."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emit_agreement import assert_agrees

from cost_models import load_target
from tests.lowering import BF16, arrays, assert_lowers, compiled

F32 = np.float32


def product(a: Any, b: Any) -> Any:
    return a @ b


def opcodes(kernel: Any) -> list[str]:
    return [op.opcode for op in kernel.nki.walk()]


@pytest.mark.parametrize("shape", [(1000, 600, 2048), (1030, 1111, 2048)])
def test_a_dma_transposes_what_the_pe_array_has_no_time_for(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    kernel = assert_lowers(product, *arrays([(m, k), (k, n)], BF16))
    found = opcodes(kernel)
    assert "dma_transpose" in found
    assert "nc_transpose" not in found


def test_what_the_first_stage_needs_is_loaded_first() -> None:
    """The first block of b comes before all of a, which only the second stage reads."""
    kernel = compiled(product, "2048x2048:bf16", "2048x2048:bf16")
    loads = [op for op in kernel.nki.walk() if op.opcode in ("dma_copy", "dma_transpose")]
    assert [op.opcode for op in loads[:2]] == ["dma_copy", "dma_transpose"]
    assert kernel.report.simulated_us < 1.12 * kernel.report.bound_us


@pytest.mark.parametrize(
    ("fn", "shapes"),
    [
        (lambda c, n: np.concatenate([c, n], axis=2), [(2, 9, 5, 128), (2, 9, 1, 128)]),
        (lambda x: x[:, 3, 2:90], [(300, 4, 100)]),
        (lambda x, y: np.stack([x, y], axis=1), [(30, 100), (30, 100)]),
        (lambda x: x[::2], [(101, 200)]),
        (lambda x: x, [(300, 400)]),
        (lambda x, y: np.concatenate([x, y]), [(96, 640), (100, 640)]),
        (lambda x: x[64:160], [(320, 640)]),
        (lambda x: x.transpose(1, 0, 2), [(100, 6, 128)]),
        (lambda x: x.transpose(1, 0, 2, 3)[40:], [(2, 72, 30, 40)]),
    ],
)
def test_copies_with_long_runs_stay_in_hbm(fn: Any, shapes: list[tuple[int, ...]]) -> None:
    inputs = arrays(shapes)
    kernel = assert_lowers(fn, *inputs, tolerance=1e-9)
    assert set(opcodes(kernel)) <= {"dma_copy", "slice", "reshape", "permute"}
    assert kernel.report.bound_us <= kernel.report.simulated_us
    assert_agrees(kernel.nki)


def test_few_long_runs_are_divided_among_the_queues() -> None:
    """Copies of three runs of 4 MB, at places that one DMA can divide and at others."""

    def updated(cache: Any, new: Any) -> Any:
        return np.concatenate([cache[:, :4000], new, cache[:, 4001:]], axis=1)

    report = compiled(updated, "3x8192x256:f32", "3x1x256:f32").report
    assert report.simulated_us < 1.15 * report.bound_us


@pytest.mark.parametrize("fn", [lambda x: x.T, lambda x: x[:, :1]])
def test_other_copies_go_through_sbuf(fn: Any) -> None:
    kernel = assert_lowers(fn, *arrays([(300, 400)]), tolerance=1e-9)
    assert "alloc" in opcodes(kernel)


def test_a_loop_does_not_cut_a_reduction() -> None:
    assert_lowers(lambda w, v: np.sum(w @ v, axis=0), *arrays([(8, 130, 48), (8, 48, 96)]))


def test_halves_of_a_product_are_read_whole() -> None:
    def halves(x: Any, w: Any) -> Any:
        y = x @ w
        return y[:, :640] * y[:, 640:]

    assert_lowers(halves, *arrays([(150, 128), (128, 1280)]))


def test_the_largest_of_a_row_is_found_on_the_way_out_of_psum() -> None:
    def scores(q: Any, k: Any) -> Any:
        s = (q @ k.T) * np.float32(0.3)
        return np.exp(s - np.max(s, axis=-1, keepdims=True))

    for cols in (300, 1300):
        kernel = assert_lowers(scores, *arrays([(200, 64), (cols, 64)]))
        assert "tensor_scalar_reduce" in opcodes(kernel)


def test_rows_of_a_narrow_type_are_summed_on_two_engines() -> None:
    kernel = assert_lowers(lambda x: np.sum(x, axis=1), *arrays([(300, 2049)], BF16))
    assert {"activation_reduce", "tensor_reduce_arith"} <= set(opcodes(kernel))


@pytest.mark.parametrize(
    ("fn", "spec"),
    [
        (lambda x: np.sum(x, axis=0), "2048x4096:bf16"),
        (lambda x: np.sum(x, axis=0), "2048x4096:f32"),
        (lambda x: np.sum(x, axis=1), "16x512x1024:f32"),
        (lambda x: np.swapaxes(x, 1, 2), "16x512x1024:bf16"),
        (lambda x: x.transpose(1, 0, 2), "2048x16x128:bf16"),
        (lambda x: x[:, 1024:3072], "2048x4096:bf16"),
    ],
)
def test_long_runs_whatever_axis_is_summed_or_moved(fn: Any, spec: str) -> None:
    report = compiled(fn, spec).report
    assert report.simulated_us < 1.3 * report.bound_us


def test_many_pieces_of_one_output_take_no_longer_than_that_many_to_list() -> None:
    def pieces(x: Any) -> Any:
        return np.concatenate([x[7 * i : 7 * i + 1] for i in range(30)])

    assert_lowers(pieces, *arrays([(210, 77)]))
    assert_lowers(lambda x: x[250:3:-7], *arrays([(301, 77)]))


@pytest.mark.parametrize(
    ("fn", "shape", "dtype"),
    [
        (lambda x: np.max(x, axis=1), (4, 100003), BF16),
        (lambda x: x.sum(axis=2), (2, 3, 70001), BF16),
        (lambda x: x.max(axis=2), (2, 3, 70001), np.uint8),
        (lambda x: np.maximum(x[:, :-1], x[:, 1:]), (3, 70001), np.uint8),
    ],
)
def test_rows_longer_than_an_access_pattern_holds(
    fn: Any, shape: tuple[int, ...], dtype: Any
) -> None:
    """The verifier refuses a DMA or an instruction over 65,536 elements in a row."""
    assert_lowers(fn, *arrays([shape], dtype))


def test_joined_pieces_are_read_where_they_are_made_and_elsewhere() -> None:
    def fn(a: Any, b: Any, c: Any) -> Any:
        joined = np.concatenate([np.ones((7, 4, 4, 2, 5), F32), np.greater(b, a) * 1.0, c], axis=2)
        return np.exp(joined) * 2 + joined

    small = load_target("trn2", {"memory.sbuf_usable_bytes_per_partition": 1024})
    shapes: list[tuple[int, ...]] = [(7, 4, 1, 2, 5), (1, 1, 2, 1), (7, 4, 1, 2, 5)]
    given = arrays(shapes, F32)
    kernel = compiled(fn, *given, target=small)
    assert np.allclose(kernel(*given), fn(*given), atol=1e-5)
