"""The data set of published kernel times is well formed, and says what it leaves out and why."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.measured import dataset
from benchmarks.measured.dataset import KernelRow
from benchmarks.measured.structures import STRUCTURES
from cost_models import load_target, targets

ROWS = dataset.rows()


def test_names_of_rows_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def defects(row: KernelRow) -> list[str]:
    """What is wrong with a row of the data set."""
    rules = {
        "time is not positive": row.time_us > 0,
        "kernel, shape or source is empty": bool(row.kernel and row.shape and row.source),
        "device is not a target": row.device in targets(),
        "window is unknown": row.measured in dataset.WINDOWS,
        "structure is unknown": not row.structure or row.structure in STRUCTURES,
        "simulated, but not said how": not row.simulated or bool(row.structure and row.sizes),
        "simulated, but with what is not": not row.simulated
        or row.measured not in ("host time", "unknown"),
        "left out without a reason, or in with one": (row.simulated and row.judged)
        != bool(row.reason),
        "calibrates without being judged": row.judged or not row.calibrates,
        "calibrates without a prediction": row.simulated or not row.calibrates,
    }
    return [rule for rule, holds in rules.items() if not holds]


def test_rows_are_well_formed() -> None:
    assert {row.name: defects(row) for row in ROWS if defects(row)} == {}


def test_shared_texts_are_shared() -> None:
    read = json.loads(dataset.KERNELS.read_text(encoding="utf-8"))
    named = [v for record in read["rows"] for v in record.values() if isinstance(v, str)]
    assert [key for key in read["texts"] if named.count(f"@{key}") < 2] == []


def test_points_of_a_record_are_rows() -> None:
    record = {"name": "k {m}x2", "shape": "{m}x2", "sizes": {"n": 2}, "points": [[1, 10], [3, 30]]}
    assert list(dataset._points(record)) == [
        {"name": "k 1x2", "shape": "1x2", "sizes": {"m": 1, "n": 2}, "time_us": 10},
        {"name": "k 3x2", "shape": "3x2", "sizes": {"m": 3, "n": 2}, "time_us": 30},
    ]


def test_points_without_a_structure_have_no_sizes() -> None:
    record = {"name": "k {m}", "shape": "{m}", "points": [[1, 10]]}
    assert list(dataset._points(record)) == [{"name": "k 1", "shape": "1", "time_us": 10}]


def test_layernorm_is_shown_at_both_shapes_that_it_may_have_had() -> None:
    rows = [row for row in ROWS if row.kernel.startswith("layernorm tutorial")]
    assert [(row.structure, row.shape, row.time_us) for row in rows] == [
        ("layernorm_by_sums", "300x1000", 2311),
        ("layernorm_by_sums", "4096x8192", 2311),
        ("layernorm_by_stats", "300x1000", 1969),
        ("layernorm_by_stats", "4096x8192", 1969),
    ]
    assert all(row.simulated and not row.judged and row.reason for row in rows)
    assert all(row.shape == "{rows}x{columns}".format(**row.sizes) for row in rows)


FITTED = [r for r in ROWS if r.calibrates and not r.calibrates.startswith("schedule: ")]


@pytest.mark.parametrize("row", FITTED, ids=lambda row: row.name)
def test_field_fitted_to_a_row_is_said_to_be_calibrated(row: KernelRow) -> None:
    target = load_target(row.device)
    for field in row.calibrates.split(", "):
        assert target.provenance(field).status == "calibrated"


def test_bf16_products_are_judged_where_no_load_can_be_moved_out_of_a_loop() -> None:
    rows = [r for r in ROWS if r.kernel.startswith("GEMM") and r.dtype == "bf16"]
    one_tile = [r for r in rows if (r.sizes["m"], r.sizes["n"]) == (128, 512)]
    assert [r for r in rows if r.judged] == one_tile
    assert (len(one_tile), len(rows)) == (7, 197)


def test_bf16_products_that_are_not_judged_move_more_bytes_than_there_is_bandwidth() -> None:
    # 16 DMA engines of 27.2 bytes/ns: aws-neuron-sdk nki/deep-dives/nki-dma-bandwidth-guide.rst.
    rows = [r for r in ROWS if r.kernel.startswith("GEMM") and r.dtype == "bf16" and not r.judged]
    rates = [_bytes_as_listed(row) / row.time_us / 1000 for row in rows]
    above = sum(rate > 16 * 27.2 for rate in rates)
    assert f"{above} of the {len(rows)} rows would so move" in rows[0].reason
    assert f"up to {max(rates):.0f} GB/s" in rows[0].reason


def _bytes_as_listed(row: KernelRow) -> int:
    """A load of either operand for every step, a row of bias and a store for every tile."""
    m, k, n = (row.sizes[name] for name in ("m", "k", "n"))
    tile = (k // 128) * 128 * (128 + 512) + 512 + 128 * 512
    between = 2 * m * n if row.structure == "gemm_gelu_unfused" else 0
    return 2 * ((m // 128) * (n // 512) * tile + between)


@pytest.mark.parametrize(
    ("series", "slope", "start"),
    [
        ("gemm gelu unfused f32 Mx512x2048", 24.49, 42.9),
        ("gemm gelu fused f32 Mx512x2048", 19.67, 17.0),
        ("gemm gelu unfused bf16 Mx512x2048", 6.85, 41.5),
        ("gemm gelu fused bf16 Mx512x2048", 4.33, 24.0),
    ],
)
def test_points_of_a_sweep_lie_on_its_line(series: str, slope: float, start: float) -> None:
    times = [row.time_us for row in ROWS if row.series == series]
    assert len(times) == 80
    found = np.polyfit(np.arange(1, 81), times, 1)
    np.testing.assert_allclose(found, [slope, start], atol=0.05)
