"""Norms and softmax: mean and variance in one step, long rows in place, maxima by halves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lowering import BF16, arrays, assert_lowers, compiled

from nkigen_lite.frontend import trace
from nkigen_lite.tensor_ir.passes.axes import Program, analyse
from nkigen_lite.tensor_ir.passes.direct_lower.moments import METHODS
from nkigen_lite.tensor_ir.passes.layout_solver.stages import Block, Pipeline
from nkigen_lite.tensor_ir.passes.lower_to_nki import simplify

F32 = np.float32
IMPLS = "nkigen_lite.tensor_ir.passes.layout_solver.impls.METHODS"


def steps_of(fn: Any, *specs: str) -> Program:
    graph = trace(fn, list(specs)).graph
    simplify(graph)
    return analyse(graph)


def kinds_of(fn: Any, *specs: str) -> list[str]:
    return [step.kind for step in steps_of(fn, *specs).steps]


def standardised(x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)


def both(x: Any) -> Any:
    return x.mean(-1) + x.var(-1)


def sample_variance(x: Any) -> Any:
    return x.var(-1, ddof=1)


# --- mean and variance in one step


def test_a_norm_reads_its_rows_once_for_mean_and_variance_and_once_for_the_result() -> None:
    made = steps_of(standardised, "256x512")
    (x,) = made.inputs
    assert [s.kind for s in made.readers(x)] == ["moments", "pointwise"]
    assert "reduce" not in [s.kind for s in made.steps]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(129, 127), (65, 4099), (2, 65, 3)])
def test_either_way_to_the_moments_agrees_with_numpy(
    monkeypatch: pytest.MonkeyPatch, method: str, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(IMPLS, (method,))
    (x,) = arrays([shape])
    text = str(assert_lowers(both, x).nki)
    assert ("activation_reduce" in text) == (
        method == "scalar" or shape[-1] * (method == "both") > 2000
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_large_mean_costs_a_small_variance_no_digits(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(IMPLS, (method,))
    (x,) = arrays([(64, 2500)])
    x = (1000.0 + 0.01 * x).astype(F32)  # the mean of the squares has no digit of the variance
    found = compiled(lambda x: x.var(-1), x)(x)
    assert np.allclose(found, x.astype(np.float64).var(-1), rtol=1e-3)


@pytest.mark.parametrize("dtype", [BF16, np.float16])
def test_narrow_rows_have_wide_moments(dtype: Any) -> None:
    (x,) = arrays([(130, 200)], dtype)
    kernel = assert_lowers(lambda x: standardised(x.astype(F32)).astype(x.dtype), x)
    assert "bn_stats" in str(kernel.nki) or "activation_reduce" in str(kernel.nki)


def test_a_sum_of_squares_that_is_wanted_as_such_is_made_of_the_variance() -> None:
    assert "moments" in kinds_of(sample_variance, "128x100")
    (x,) = arrays([(128, 100)])
    assert_lowers(sample_variance, x)


def test_moments_that_are_returned_are_copied_out() -> None:
    assert_lowers(lambda x: (x.mean(-1), x.var(-1), x.sum(-1)), *arrays([(128, 100)]))


@pytest.mark.parametrize(
    ("fn", "spec"),
    [
        (both, "32x512"),  # few rows
        (both, "128x20000"),  # long ones
        (lambda x: x.mean(0) + x.var(0), "512x128"),  # columns
        (lambda x: (x * x).mean(-1) - x.mean(-1) ** 2, "128x512"),  # another formula
    ],
)
def test_other_moments_stay_as_they_are_written(fn: Any, spec: str) -> None:
    assert "moments" not in kinds_of(fn, spec)


# --- results in place


@pytest.mark.parametrize("fn", [standardised, lambda x: np.tanh(np.exp(x) * 0.5) + 1.0])
def test_long_rows_computed_in_place_run_in_a_random_order_of_the_engines(fn: Any) -> None:
    (x,) = arrays([(300, 6200)])
    kernel = compiled(fn, x)
    ((name, wanted),) = kernel.run({"x": x}).items()
    assert np.allclose(wanted, fn(x), atol=1e-4)
    assert np.array_equal(kernel.run_checked({"x": x}, 0)[name], wanted)


def test_a_chain_over_rows_takes_one_tile() -> None:
    kernel = compiled(lambda x, w, b: standardised(x) * w + b, "512x2048", "2048:f32", "2048:f32")
    tiles = [
        t for t in str(kernel.nki).splitlines() if "= alloc()" in t and "128x2048xf32@sbuf" in t
    ]
    loaded = [t for t in tiles if t.split()[0].startswith(("%x_", "%w_", "%b_"))]
    assert len(tiles) - len(loaded) <= 3  # the chain's, in the loop, before and after it


def test_what_a_condition_chooses_from_is_not_overwritten() -> None:
    def fn(x: Any) -> Any:
        e = np.exp(x)
        return np.where(x > 0, e, x)

    assert_lowers(fn, *arrays([(300, 700)]))


def test_results_that_only_their_sums_are_wanted_of_go_to_a_narrow_tile() -> None:
    text = str(
        compiled(lambda x: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6), "512x4096").nki
    )
    scratch = [t for t in text.splitlines() if "scratch" in t and "= alloc()" in t]
    assert scratch
    assert all("bf16" in t for t in scratch)


# --- the largest element


@pytest.mark.parametrize("columns", [511, 1025])
@pytest.mark.parametrize("kind", ["max", "min"])
def test_the_largest_of_16_bit_rows_is_found_by_halves(columns: int, kind: str) -> None:
    (x,) = arrays([(130, columns)], BF16)
    kernel = compiled(lambda x: getattr(x, kind)(-1), x)
    assert np.array_equal(kernel(x), getattr(x, kind)(-1))
    halves = str(kernel.nki).count("tensor_tensor_arith") > 0
    assert halves == (columns >= 512)


# --- stores hold up the engine that triggers them


def test_the_stage_model_knows_that_a_store_holds_up_the_engine_that_triggers_it() -> None:
    first = Block({"scalar": 3000.0}, ())
    second = Block({"vector": 8000.0}, (0,), {"scalar": 500.0})
    free = Block({"vector": 8000.0}, (0,))
    pipeline = Pipeline([first, second])
    held, apart = pipeline.interval_ns(()), pipeline.interval_ns((1,))
    assert held > 11000.0
    assert apart < 9000.0
    assert Pipeline([first, free]).interval_ns(()) < 9000.0
