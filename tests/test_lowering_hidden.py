"""Scores that a mask hides: which are found, that none is computed, that none is missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from nkigen_lite.frontend import trace
from nkigen_lite.nki_ir.types import Affine
from nkigen_lite.tensor_ir.passes.axes import Axis, Hidden, analyse
from nkigen_lite.tensor_ir.passes.axes.hidden import HIDING
from nkigen_lite.tensor_ir.passes.direct_lower.overlap import MOST_PARTS, Chain, row_parts
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import counted
from nkigen_lite.tensor_ir.passes.lower_to_nki import simplify
from tests.lowering import BF16, arrays, assert_lowers, compiled


def masked(
    mask: np.ndarray, *, scale: float = 0.125, returns_weights: bool = False
) -> Callable[..., Any]:
    """Attention with a mask that is added to the scaled scores."""

    def attend(q: Any, k: Any, v: Any) -> Any:
        scores = (q @ k.transpose(0, 2, 1)).astype(np.float32) * scale + mask
        e = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
        weights = (e / np.sum(e, axis=-1, keepdims=True)).astype(q.dtype)
        out = (weights @ v).astype(q.dtype)
        return (out, weights) if returns_weights else out

    return attend


def causal(rows: int, value: float = -1e9, cols: int | None = None) -> np.ndarray:
    return np.triu(np.full((rows, cols or rows), value, np.float32), k=1)


def hidden_of(fn: Callable[..., Any], *specs: str) -> Hidden | None:
    """What the axis program of a function notes."""
    traced = trace(fn, list(specs))
    simplify(traced.graph)
    steps = analyse(traced.graph, traced.constants).steps
    found = {s.hidden for s in steps if s.hidden}
    assert len(found) <= 1
    return next(iter(found), None)


SPECS = ("2x48x16:f32",) * 3


def test_what_a_causal_mask_hides_is_found_row_by_row() -> None:
    hidden = hidden_of(masked(causal(48)), *SPECS)
    assert hidden is not None
    assert hidden.seen_to == hidden.plain_to == tuple(range(1, 49))
    assert hidden.seen_share == pytest.approx(49 / 96)
    assert hidden.within(16, 32, 8) == (16, 32)
    assert hidden.within(17, 18, 8) == (16, 24)


def test_a_window_changes_scores_on_its_left_and_hides_on_its_right() -> None:
    mask = causal(48)
    mask[np.tril_indices(48, -9)] = -np.inf
    hidden = hidden_of(masked(mask), *SPECS)
    assert hidden is not None
    assert hidden.seen_to == tuple(range(1, 49))
    assert hidden.plain_to[:9] == tuple(range(1, 10))
    assert set(hidden.plain_to[9:]) == {0}


def test_a_selection_hides_like_a_mask() -> None:
    seen = np.tril(np.ones((48, 48), bool))

    def attend(q: Any, k: Any, v: Any) -> Any:
        scores = np.where(seen, (q @ k.transpose(0, 2, 1)) * 0.1, np.float32(-1e30))
        e = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
        return (e / np.sum(e, axis=-1, keepdims=True)) @ v

    hidden = hidden_of(attend, *SPECS)
    assert hidden is not None
    assert hidden.seen_to == tuple(range(1, 49))


def everything_hidden_in_a_row() -> np.ndarray:
    mask = causal(48)
    mask[7] = -1e9
    return mask


@pytest.mark.parametrize(
    "fn",
    [
        masked(causal(48, value=HIDING / 2)),  # too little to count as hidden
        masked(everything_hidden_in_a_row()),  # numpy then averages all of the row
        masked(causal(48), returns_weights=True),  # somebody sees the zeros
        lambda q, k, v: (q @ k.transpose(0, 2, 1) + causal(48)) @ v,  # no softmax
        lambda q, k, v: np.exp(q @ k.transpose(0, 2, 1) + causal(48)).max(axis=-1),
    ],
)
def test_nothing_is_hidden_where_it_would_be_missed(fn: Callable[..., Any]) -> None:
    assert hidden_of(fn, *SPECS) is None


def test_parts_of_rows_cover_all_of_them_in_whole_blocks() -> None:
    hidden = hidden_of(masked(causal(1000)), *("2x1000x16:f32",) * 3)
    assert hidden is not None
    for block in (16, 125, 128, 1000):
        parts = list(row_parts(hidden, block))
        assert len(parts) <= MOST_PARTS
        assert sum(part.rows.size for part in parts) == 1000
        for part in parts:
            start, stop = part.rows.start.const, part.rows.start.const + part.rows.size
            assert start % block == 0
            assert 0 <= part.plain_to <= min(hidden.plain_to[start:stop])
            assert max(hidden.seen_to[start:stop]) <= part.seen_to <= 1000


def test_a_chain_has_every_block_once_and_neighbours_are_alike() -> None:
    hidden = hidden_of(masked(causal(1000)), *("2x1000x16:f32",) * 3)
    assert hidden is not None
    assert Chain.of(hidden, 16) is None
    chain = Chain.of(hidden, 128)
    assert chain is not None
    assert sorted(part.rows.start.const for part in chain.parts) == list(range(0, 1000, 128))
    lengths = [part.seen_to for part in chain.parts]
    assert max(abs(a - b) for a, b in pairwise(lengths)) <= 2 * 128
    assert lengths[-1] == min(lengths)
    for number, part in enumerate(chain.parts):
        ranges = chain.at(Affine(number), {})
        assert chain.part(ranges) == (number, part)
        assert all(chain.largest[axis].size >= ranges[axis].size for axis in ranges)


def test_a_chain_goes_on_through_the_loop_around_it() -> None:
    hidden = hidden_of(masked(causal(512)), *("1x512x32:bf16",) * 3)
    assert hidden is not None
    alone = Chain.of(hidden, 128)
    assert alone is not None
    heads = Axis("heads", 3)
    joined = replace(alone, around=heads)
    found = [joined.at(Affine(number), {}) for number in range(joined.count)]
    assert [joined.text(ranges) for ranges in found] == list(range(3 * alone.count))
    assert [ranges[heads].start.const for ranges in found] == sorted([0, 1, 2] * alone.count)
    assert [joined.part(r)[0] for r in found] == list(range(alone.count)) * 3


@pytest.mark.parametrize(
    ("rows", "dim", "dtype", "value"),
    [(640, 64, BF16, -1e9), (509, 16, np.float32, -np.inf)],
)
def test_masked_attention_equals_numpy(rows: int, dim: int, dtype: Any, value: float) -> None:
    assert_lowers(masked(causal(rows, value)), *arrays([(1, rows, dim)] * 3, dtype, seed=rows))


def test_a_window_equals_numpy() -> None:
    mask = causal(640)
    mask[np.tril_indices(640, -200)] = -1e9
    assert_lowers(masked(mask), *arrays([(1, 640, 32)] * 3, seed=3))


def test_hidden_blocks_of_scores_are_not_computed() -> None:
    kernel = compiled(masked(causal(512)), *("4x512x32:bf16",) * 3)
    exponentials = sum(
        trips * op.inputs[0].type.num_elements
        for op, trips, _ in counted(kernel.nki, {}, None)
        if op.attrs.get("op") == "exp"
    )
    assert exponentials <= 0.75 * 4 * 512 * 512
    assert kernel.report.bound_us < 0.6 * 4 * 512 * 512 / 128 / 1.2e3 + 1


def test_blocks_of_masked_rows_do_not_wait_for_banks_of_each_other() -> None:
    kernel = compiled(masked(causal(512)), *("4x512x32:bf16",) * 3)
    apart = kernel.simulate().time_ns
    assert kernel.simulate(addresses=True).time_ns <= 1.02 * apart


def test_a_mask_of_finite_numbers_is_added_to_scores_in_psum() -> None:
    kernel = compiled(masked(causal(512)), *("4x512x32:bf16",) * 3)
    opcodes = {op.opcode for op in kernel.nki.walk()}
    assert "affine_select" in opcodes
    assert "scalar_tensor_tensor_arith" not in opcodes


def test_masked_attention_runs_at_its_addresses_in_any_order() -> None:
    q, k, v = arrays([(1, 640, 32)] * 3, seed=5)
    kernel = compiled(masked(causal(640)), q, k, v)
    inputs = {"q": q, "k": k, "v": v, **kernel.constants}
    (got,) = kernel.run_checked(inputs, order=1).values()
    np.testing.assert_allclose(got, masked(causal(640))(q, k, v), atol=2e-5)
