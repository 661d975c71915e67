"""The kernels as published: what they compute, and that nothing is fitted to their times."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.measured import (
    compare,
    dataset,
    gemm_gelu,
    layernorm,
    matmul,
    mlp,
    vector_add,
)
from benchmarks.measured.dataset import KernelRow
from benchmarks.measured.structures import STRUCTURES
from cost_models import load_target
from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.ir import Graph
from nkigen_lite.core.numerics import gelu_exact
from nkigen_lite.nki_ir import run
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.nki_ir.verify import problems

F32, BF16 = DType.F32, DType.BF16
ROWS = dataset.rows()
SIMULATED = [row for row in ROWS if row.simulated]


def named(name: str) -> KernelRow:
    """The row of that name."""
    (row,) = [row for row in ROWS if row.name == name]
    return row


# --- the kernels compute


def _arrays(graph: Graph, scale: float = 1.0) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        v.name: (rng.standard_normal(v.type.shape) * scale).astype(v.type.dtype.np)
        for v in graph.inputs
    }


def _product(arrays: Mapping[str, Array]) -> Array:
    return arrays["lhs_t"].astype(np.float32).T @ arrays["rhs"].astype(np.float32)


SMALL = {"m": 256, "k": 256, "n": 1024}
BLOCKED = {"m": 512, "k": 256, "n": 2048, "m_tiles": 2, "n_tiles": 2}
FULLY = {"m": 512, "k": 512, "n": 2048, "m_tiles": 2, "n_tiles": 2, "k_tiles": 2}
PRODUCTS = [
    ("matmul_tiled", SMALL, F32),
    ("matmul_tiled", {**SMALL, "copies": "scalar"}, BF16),
    ("matmul_hoisted", SMALL, F32),
    ("matmul_blocked", BLOCKED, BF16),
    ("matmul_blocked", {**BLOCKED, "keep_rhs": False}, F32),
    ("matmul_fully_blocked", FULLY, F32),
    ("matmul_fully_blocked", {**FULLY, "packed": False, "lhs_copies": 1, "rhs_copies": 1}, F32),
]
GEMMS = ["gemm_gelu_unfused", "gemm_gelu_fused", "gemm_gelu_taylor"]
NORMS = ["layernorm_by_sums", "layernorm_by_stats"]
ADDITIONS = [
    ("vector_add_tiled", {"n": 640, "rows": 1}),
    ("vector_add_tiled", {"n": 2560, "rows": 128}),
    ("vector_add_stream", {"n": 2560, "free": 2}),
    ("vector_add_stream", {"n": 2560, "free": 20}),
]


@pytest.mark.parametrize(("structure", "sizes", "dtype"), PRODUCTS)
def test_product_equals_numpy(structure: str, sizes: dict[str, Any], dtype: DType) -> None:
    (graph,) = STRUCTURES[structure](dtype=dtype, **sizes)
    arrays = _arrays(graph)
    expected = _product(arrays)
    found = run(graph, arrays)["out"].astype(np.float32)
    precision = 1e-4 if dtype is F32 else 2e-2
    np.testing.assert_allclose(found, expected, atol=precision * np.abs(expected).max())


@pytest.mark.parametrize("structure", GEMMS)
def test_product_with_bias_and_gelu_equals_numpy(structure: str) -> None:
    launches = STRUCTURES[structure](dtype=F32, **SMALL)
    arrays = _arrays(launches[0])
    expected = gelu_exact(_product(arrays) + arrays["bias"])
    found = run(launches[0], arrays)["out"]
    for graph in launches[1:]:
        found = run(graph, {"y": found, "out": np.zeros_like(found)})["out"]
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("structure", "sizes"), ADDITIONS)
def test_vector_addition_equals_numpy(structure: str, sizes: dict[str, int]) -> None:
    (graph,) = STRUCTURES[structure](dtype=F32, **sizes)
    arrays = _arrays(graph)
    expected = arrays["a"] + arrays["b"]
    np.testing.assert_array_equal(run(graph, arrays)["out"], expected)


def test_three_layers_equal_numpy() -> None:
    (graph,) = STRUCTURES["mlp3"](dtype=F32, tokens=2048, features=[1024, 2048, 1024, 1024])
    arrays = _arrays(graph, scale=0.1)
    x = arrays["x"]
    for layer in range(3):
        x = x @ arrays[f"weights{layer}"] + arrays[f"bias{layer}"]
        x = np.maximum(x, 0) if layer < 2 else x
    x = x - x.max(1, keepdims=True)
    expected = x - np.log(np.exp(x).sum(1, keepdims=True))
    np.testing.assert_allclose(run(graph, arrays)["out"], expected, atol=1e-4)


@pytest.mark.parametrize("structure", NORMS)
@pytest.mark.parametrize(
    ("rows", "columns", "dtype"),
    [(300, 1000, F32), (256, 1024, F32), (44, 40, F32), (130, 513, F32), (200, 600, BF16)],
)
def test_layernorm_equals_numpy(structure: str, rows: int, columns: int, dtype: DType) -> None:
    (graph,) = STRUCTURES[structure](dtype=dtype, rows=rows, columns=columns)
    arrays = _arrays(graph)
    x, gamma, beta = (arrays[name].astype(np.float64) for name in ("x", "gamma", "beta"))
    scale = 1 / np.sqrt(x.var(1, keepdims=True) + layernorm.EPSILON)
    expected = (x - x.mean(1, keepdims=True)) * scale * gamma + beta
    found = run(graph, arrays)["out"].astype(np.float64)
    np.testing.assert_allclose(found, expected, atol=1e-4 if dtype is F32 else 0.1)


def test_every_structure_is_compared_with_numpy() -> None:
    compared = {name for name, *_ in (*PRODUCTS, *ADDITIONS)} | {*GEMMS, *NORMS, "mlp3"}
    assert compared == set(STRUCTURES)


def test_product_of_odd_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="n is 500 but must be a multiple of 512"):
        matmul.tiled(128, 128, 500, F32)


@pytest.mark.parametrize("row", [r for r in SIMULATED if not r.series], ids=lambda row: row.name)
def test_kernel_is_legal_on_its_device(row: KernelRow) -> None:
    limits = Limits.of(load_target(row.device))
    assert [p for graph in dataset.graphs(row) for p in problems(graph, limits)] == []


def test_loads_of_a_few_steps_come_before_their_stores() -> None:
    assert [vector_add.together(n) for n in (1, 2, 100, 25600)] == [1, 2, 10, 10]


# --- nothing is fitted to a kernel


BUILDERS: list[Callable[..., Graph]] = [
    matmul.tiled,
    matmul.hoisted,
    matmul.blocked,
    matmul.fully_blocked,
    gemm_gelu.gemm_bias,
    gemm_gelu.gelu,
    vector_add.tiled,
    vector_add.stream,
    mlp.mlp3,
    layernorm.by_sums,
    layernorm.by_stats,
]
EXTENTS = {"m", "k", "n", "rows", "columns", "free", "tokens", "features", "dtype"}
SCHEDULE = {
    *("m_tiles", "n_tiles", "k_tiles"),
    *("lhs_copies", "rhs_copies", "keep_rhs", "packed", "copies", "finish"),
}


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_builder_takes_extents_and_schedule_only(build: Callable[..., Graph]) -> None:
    assert set(inspect.signature(build).parameters) <= EXTENTS | SCHEDULE


def test_rows_whose_times_chose_the_queue_of_their_dmas_calibrate_it() -> None:
    target = load_target("trn2")
    rows = [row for row in ROWS if row.structure.startswith("vector_add")]

    def apart(row: KernelRow) -> bool:
        """Whether the prediction changes once stores have a queue of their own."""
        usual = compare.predict_us(row, target)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vector_add, "STORE_QUEUE", "scalar")
            return compare.predict_us(row, target) != pytest.approx(usual, rel=1e-6)

    assert {row.name: bool(row.calibrates) for row in rows} == {
        row.name: apart(row) for row in rows
    }


@pytest.mark.parametrize("row", SIMULATED[::20], ids=lambda row: row.name)
def test_prediction_does_not_depend_on_the_published_time(row: KernelRow) -> None:
    target = load_target(row.device)
    other = replace(row, time_us=1.0, name="other", note="")
    assert compare.predict_us(other, target) == compare.predict_us(row, target)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("matmul v3 hoisted loads f32 trn2", "clock.tensor_ghz", 1.2),
        ("matmul tiled bf16 trn1", "dma.load_cap_gbps", 50),
        ("vector add 25600 rows 1 trn2", "dma.issue_hardware_ns", 1100),
        ("gemm gelu fused f32 128x128x512 shapes trn2", "launch.host_overhead_ns", 30000),
    ],
)
def test_prediction_follows_the_profile(name: str, field: str, value: float) -> None:
    row = named(name)
    usual = compare.predict_us(row, load_target(row.device))
    assert compare.predict_us(row, load_target(row.device, {field: value})) > 1.3 * usual


def test_time_with_the_launch_has_one_overhead_for_every_launch() -> None:
    row = named("gemm gelu unfused f32 128x128x512 shapes trn2")
    target = load_target("trn2")
    window = compare.predict_us(replace(row, measured="device window"), target)
    whole = compare.predict_us(row, target)
    assert whole - window == pytest.approx(2 * target.launch.host_overhead_ns / 1000)


def test_profile_total_has_what_passes_before_the_window() -> None:
    row = named("vector add 256000 free 2000 trn2")
    target = load_target("trn2")
    window = compare.predict_us(replace(row, measured="device window"), target)
    total = compare.predict_us(row, target)
    assert total - window == pytest.approx(target.launch.preamble_ns / 1000)
