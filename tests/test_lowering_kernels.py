"""Whole kernels: residency, code size, capacity, and the transformer layer end to end."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emit_agreement import assert_agrees
from lowering import BF16, arrays, assert_lowers, compiled

import nkigen_lite
from cost_models import load_target
from nkigen_lite.errors import NoPlan, NotSupported
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.verify import problems

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from mlp_swiglu import mlp_swiglu
from qwen3_layer import Sizes, make_weights, qwen3_layer

SMALL = Sizes(hidden=192, heads=6, kv_heads=2, head_dim=32, ffn=320)


def product(a: Any, b: Any) -> Any:
    return a @ b


@pytest.mark.parametrize("seq", [1, 37])
def test_small_decoder_layers_agree_with_numpy(seq: int) -> None:
    weights = make_weights(1, np.float32, 1, seq, sizes=SMALL)
    layer = nkigen_lite.compile(qwen3_layer, *weights.values(), time_limit=5.0)
    wanted = qwen3_layer(**weights)
    assert np.abs(layer(*weights.values()) - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_the_full_layer_agrees_and_stays_on_chip() -> None:  # in f32: test_demo.py
    weights = make_weights(0, BF16)
    layer = nkigen_lite.compile(qwen3_layer, *weights.values())
    wanted = qwen3_layer(**weights).astype(np.float32)
    found = layer(*weights.values()).astype(np.float32)
    assert np.abs(found - wanted).max() <= 2e-2 * np.abs(wanted).max()
    assert layer.report.hbm_bytes <= 1.25 * layer.report.compulsory_bytes
    assert layer.report.status == "optimal"
    assert {v.location for v in layer.plan.values if v.kind == "temp"} <= {"sbuf", "tile", "psum"}
    buffers = [op for op in layer.nki.walk() if op.opcode == "alloc"]
    assert all(op.attrs["memory"] != "hbm" for op in buffers)


def test_the_emitted_layer_computes_what_the_tiles_do() -> None:
    weights = make_weights(0, np.float32, 1, 37, sizes=SMALL)
    layer = nkigen_lite.compile(qwen3_layer, *weights.values(), time_limit=5.0)
    feed = layer.traced.feed(*weights.values())
    text = assert_agrees(layer.nki, {k: np.asarray(v) for k, v in feed.items()})
    assert len(text.splitlines()) < 2000


def test_code_size_does_not_grow_with_the_extents() -> None:
    sizes = [
        compiled(product, f"{n}x{n}:bf16", f"{n}x{n}:bf16").report.ir_ops for n in (512, 2048, 8192)
    ]
    assert max(sizes) <= 100  # once, and as often again as stages of loops overlap


def test_a_value_that_one_step_makes_and_the_next_reads_never_touches_hbm() -> None:
    kernel = assert_lowers(lambda x: np.exp(np.tanh(x).sum(axis=0)), *arrays([(300, 200)]))
    report = kernel.report
    assert report.hbm_bytes == report.compulsory_bytes


def test_an_epilogue_reads_the_product_from_psum() -> None:
    x, w, b = arrays([(256, 128), (128, 512), (512,)])
    kernel = assert_lowers(lambda x, w, b: np.maximum(x @ w + b, 0), x, w, b)
    assert "psum" in {v.location for v in kernel.plan.values}


@pytest.mark.parametrize(
    ("fn", "specs"),
    [
        (product, ("8192x8192:f32", "8192x8192:f32")),
        (product, ("2048x1048576:f32", "1048576x1:f32")),
        (product, ("1009x2003:bf16", "2003x4001:bf16")),
        (lambda x: np.exp(x - x.max(-1, keepdims=True)), ("4096x393216:f32",)),
        (lambda x: x.sum(), ("1000003:f32",)),
        (lambda x, y: x + y, ("1000003:f32", "1000003:f32")),
        (lambda x: x.transpose(2, 0, 1), ("512x512x512:f32",)),
    ],
    ids=["square", "matvec", "primes", "wide_rows", "prime_sum", "prime_add", "transpose"],
)
def test_large_problems_compile_to_legal_kernels(fn: Any, specs: tuple[str, ...]) -> None:
    for target in ("trn1", "trn2", "trn3"):
        kernel = compiled(fn, *specs, target=target)
        assert problems(kernel.nki, Limits.of(load_target(target))) == []
        assert kernel.report.ir_ops < 300


def test_medium_products_with_blocks_and_remainders_agree() -> None:
    a, b = arrays([(700, 1300), (1300, 1100)])
    assert_lowers(product, a, b)


def test_a_contraction_too_deep_for_sbuf_is_streamed() -> None:
    target = load_target("trn2", {"memory.sbuf_usable_bytes_per_partition": 4096})
    a, b = arrays([(130, 3000), (3000, 520)])
    kernel = compiled(product, a, b, target=target)
    assert kernel.report.peak_sbuf_bytes <= 4096
    np.testing.assert_allclose(kernel(a, b), a @ b, rtol=1e-4, atol=1e-3)


def test_a_reduction_longer_than_sbuf_is_streamed() -> None:
    target = load_target("trn2", {"memory.sbuf_usable_bytes_per_partition": 2048})
    (x,) = arrays([(130, 3001)])
    for fn in (lambda x: x.sum(axis=1), lambda x: x.max(axis=1), lambda x: x.sum(axis=0)):
        kernel = compiled(fn, x, target=target)
        np.testing.assert_allclose(kernel(x), fn(x), rtol=1e-4, atol=1e-3)


def test_what_fits_no_tiling_says_so() -> None:
    target = load_target("trn2", {"memory.sbuf_usable_bytes_per_partition": 64})
    with pytest.raises(NoPlan, match=r"no tiling of .* fits 64 bytes of sbuf per partition"):
        compiled(product, "4096x4096:f32", "4096x4096:f32", target=target)


def test_less_sbuf_never_makes_a_faster_plan() -> None:
    times = [
        compiled(
            mlp_swiglu,
            *("256x256:f32", "256x512:f32", "256x512:f32", "512x256:f32"),
            target=load_target("trn2", {"memory.sbuf_usable_bytes_per_partition": size}),
        ).report.objective_ns
        for size in (212992, 16384, 8192)
    ]
    # Smaller tiles are offered only where larger ones do not fit, and now and then one of them is
    # a little faster.
    assert all(more <= 1.02 * less for more, less in pairwise(times))


def test_the_same_input_gives_the_same_kernel() -> None:
    specs = "100x256:f32", "256x512:f32", "256x512:f32", "512x256:f32"
    first, second = (compiled(mlp_swiglu, *specs, time_limit=5.0) for _ in range(2))
    assert first.nki.dump() == second.nki.dump()
    assert first.plan.to_json() == second.plan.to_json()
    assert first.emit() == second.emit()


@pytest.mark.parametrize(("extent", "most"), [(2048, 1.5), (4096, 1.25), (8192, 1.15)])
def test_large_products_are_simulated_near_what_the_array_can_do(extent: int, most: float) -> None:
    spec = f"{extent}x{extent}:bf16"
    report = compiled(product, spec, spec).report
    assert report.bound_resource == "tensor"
    assert report.simulated_us <= most * report.bound_us


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_softmax_reads_and_writes_each_element_once(dtype: str) -> None:
    def softmax(x: Any) -> Any:
        wide = x.astype(np.float32)
        e = np.exp(wide - wide.max(-1, keepdims=True))
        return (e / e.sum(-1, keepdims=True)).astype(x.dtype)

    report = compiled(softmax, f"4096x4096:{dtype}").report
    assert report.hbm_bytes == report.compulsory_bytes
    assert report.simulated_us <= (1.5 if dtype == "f32" else 3.0) * report.bound_us


@pytest.mark.parametrize(
    "field", ["memory.partitions", "tensor.pe_rows", "tensor.pe_cols", "tensor.stationary_free_max"]
)
def test_a_target_smaller_than_a_tile_is_refused_by_name(field: str) -> None:
    target = load_target("trn2", {field: 100})
    with pytest.raises(NotSupported, match=f"trn2: {field} is 100 but lowering makes tiles of 128"):
        compiled(product, "64x64", "64x64", target=target)
