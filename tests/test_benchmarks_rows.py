"""The benchmark's kernels and the earlier system's figures: what they are, compute and say."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Any

import numpy as np
import pytest

from benchmarks import attempts, experts, groups, patterns, peer_rows, peers, run, small
from benchmarks.kernels import Kernel
from nkigen_lite import trace

PEERS = peer_rows.rows()
QUICK = ("log_softmax", "swiglu", "swiglu_halves", "scale_bias_gelu", "rotate")
QUICK += ("residual_product", "swiglu_product", "head_projection 3", "output_projection")
QUICK += ("transposed", "heads_first", "summed 0", "joined 0", "middle 0", "every_other")
QUICK += ("cache_update 150",)


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape)


def _softmax(scores: np.ndarray) -> np.ndarray:
    return np.exp(scores) / math.fsum(np.exp(scores))


# --- the kernels


def test_names_of_kernels_are_unique_in_their_groups() -> None:
    for group in groups.groups():
        names = [kernel.name for kernel in group.kernels]
        assert len(set(names)) == len(names) > 0, group.name


def test_every_function_that_is_timed_is_checked_at_a_small_size() -> None:
    timed = [kernel for group in groups.groups() for kernel in group.kernels]
    timed += [row.kernel() for row in PEERS]
    checked = {case.function.__name__ for case in small.CASES}
    assert {kernel.function.__name__ for kernel in timed} - checked == set()


@pytest.mark.parametrize("case", [c for c in small.CASES if c.name in QUICK], ids=lambda c: c.name)
def test_small_kernel_agrees_with_numpy(case: small.Case) -> None:
    assert all(agreement.ok for agreement in small.agreements(case, "f32"))


@pytest.mark.parametrize("case", small.CASES, ids=lambda case: case.name)
def test_results_have_the_type_of_the_first_argument(case: small.Case) -> None:
    given = small.arguments(case, small.DTYPES["bf16"])
    results = case.function(*given)
    results = results if isinstance(results, tuple) else (results,)
    assert {result.dtype for result in results} == {given[0].dtype}


@pytest.mark.parametrize("causal", [False, True])
def test_grouped_attention_is_attention_head_by_head(causal: bool) -> None:
    q, k, v = _normal(2, 6, 5, 4), _normal(2, 3, 5, 4, seed=1), _normal(2, 3, 5, 4, seed=2)
    function = patterns.causal_grouped_attention if causal else patterns.grouped_attention
    got = function(*(a.astype(np.float32) for a in (q, k, v)))
    for batch, head, row in np.ndindex(2, 6, 5):
        seen = slice(0, row + 1 if causal else 5)
        keys, values = k[batch, head // 2, seen], v[batch, head // 2, seen]
        expected = _softmax(keys @ q[batch, head, row] / 2) @ values
        np.testing.assert_allclose(got[batch, head, row], expected, atol=1e-5)


def test_decode_attention_is_the_grouped_one_of_a_single_position() -> None:
    q, k, v = _normal(2, 6, 4), _normal(2, 3, 9, 4, seed=1), _normal(2, 3, 9, 4, seed=2)
    every = patterns.grouped_attention(q[:, :, None], k, v)
    np.testing.assert_allclose(patterns.decode_attention(q, k, v), every[:, :, 0])


def test_experts_count_as_much_as_the_router_says() -> None:
    shares = experts._shares(np.log(np.array([[1.0, 4.0, 2.0, 3.0]])), 2)
    np.testing.assert_allclose(shares, [[0, 4 / 7, 0, 3 / 7]])


def test_only_chosen_experts_change_a_token() -> None:
    sizes = small.EXPERTS
    given = small.arguments(small.Case(experts.moe_layer, sizes.shapes(1), (1,)), np.float32)
    before, k_cache, _ = experts.moe_layer(*given)
    assert k_cache.shape == (sizes.positions, sizes.head_dim)
    changed = []
    for expert in range(sizes.experts):
        w_down = given[14].copy()
        w_down[expert] = 0
        after, *_ = experts.moe_layer(*given[:14], w_down, 1)
        changed.append(np.abs(after - before).max() > 1e-6)
    assert sum(changed) == 1


# --- selection and figures


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("decode", 3),
        ("attention/causal", 8),
        ("rows/softmax 4096x4096", 2),
        ("llama3-8b/8", 1),
        ("nothing", 0),
    ],
)
def test_a_name_selects_a_group_or_the_beginnings_of_names(name: str, kernels: int) -> None:
    assert len(groups.chosen([name])) == kernels


def test_no_name_selects_everything() -> None:
    assert len(groups.chosen([])) == sum(len(group.kernels) for group in groups.groups())


def test_an_attempt_says_why_a_kernel_does_not_compile() -> None:
    failed = attempts.attempt(Kernel("sorts", np.sort, ("4x4",)), "trn2", 1.0)
    assert failed["name"] == "sorts"
    assert failed["error"].startswith("TraceError: ")


def test_a_body_is_stopped_after_its_time() -> None:
    with (
        pytest.raises(attempts.TookTooLong, match=r"stopped after 0\.01 s"),
        attempts.at_most(0.01),
    ):
        time.sleep(5)


def _timeline(dma_us: float) -> dict[str, Any]:
    vector = {
        "busy_us": 60.0,
        "waits_us": {"end": 30.0, "data from scalar": 8.0, "data from dma": 2.0},
    }
    sync = {"busy_us": 1.0, "waits_us": {"buffer from vector": 70.0, "end": 29.0}}
    return {
        "time_us": 100.0,
        "dma_active_us": dma_us,
        "engines": {"vector": vector, "sync": sync},
    }


@pytest.mark.parametrize(
    ("dma_us", "said"),
    [
        (50.0, "VectorE 60%, data from scalar 8%"),
        (80.0, "DMA 80%, Sync buffer from vector 70%"),
    ],
)
def test_a_kernel_waits_on_what_holds_its_busiest_unit_up(dma_us: float, said: str) -> None:
    assert attempts.waits_on(_timeline(dma_us)) == said


def test_the_bench_prints_ratios_and_exits_with_1_for_a_miss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    function = patterns.transposed
    kernel = groups.kernel("flip", function, "f32", [(8, 8)])
    made = [(groups.Group(name, most, (kernel,)), kernel) for name, most in (("a", 1e9), ("b", 1))]
    monkeypatch.setattr(run, "chosen", lambda names: made)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert run.main() == 1
    printed = capsys.readouterr().out
    assert printed.count("MISS") == 1
    assert "1 of 2 meet their targets" in printed
    monkeypatch.setattr(sys, "argv", ["run.py", "--json"])
    run.main()
    assert [f["met"] for f in json.loads(capsys.readouterr().out)] == [True, False]


# --- the earlier system


def test_names_of_the_earlier_system_s_rows_are_unique() -> None:
    assert len({row.name for row in PEERS}) == len(PEERS)


@pytest.mark.parametrize("row", PEERS, ids=lambda row: row.name)
def test_a_row_has_times_and_a_pattern_of_its_sizes(row: peer_rows.PeerRow) -> None:
    assert 0 < row.least_us <= row.makespan_us
    assert row.dtype in small.DTYPES
    if row.pattern not in ("qwen3_layer", "moe_layer"):
        kernel = row.kernel()
        graph = trace(kernel.function, list(kernel.specs)).graph
        values = (*graph.inputs, *graph.outputs.values())
        moved = sum(math.prod(v.type.shape) * v.type.dtype.np.itemsize for v in values)
        assert moved == row.compulsory_bytes


def _compared(pattern: str, ours: float, bound: float = 1.0) -> dict[str, Any]:
    peer = peer_rows.PeerRow(pattern, (1,), "f32", False, 200.0, 100.0, 4)
    return peers.compared(peer, {"name": pattern, "simulated_us": ours, "bound_us": bound})


def test_speed_up_is_over_the_faster_state() -> None:
    found = _compared("ffn", 10.0, 5.0)
    assert (found["speed_up"], found["most_speed_up"]) == (10.0, 20.0)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([("ffn", 10.0)], []),
        ([("ffn", 101.0)] + [("rope", 10.0)] * 2, ["ffn is slower: 0.99"]),
        ([("ffn", 25.0)], ["the median speed-up is 4.00 but should be 5"]),
        ([("qwen3_layer", 5.0)], []),
        ([("qwen3_layer", 10.0)], ["qwen3_layer has 10.0 but should have 15"]),
        ([("qwen3_layer", 10.0, 8.0)], []),
    ],
)
def test_misses_name_the_target_and_the_row(found: list[tuple[Any, ...]], said: list[str]) -> None:
    assert peers.misses([_compared(*row) for row in found]) == said


def test_layers_that_no_kernel_can_make_so_fast_are_named() -> None:
    lines = peers.summary([_compared("qwen3_layer", 10.0, 8.0)])
    assert "no kernel can be 15 times as fast, not judged: qwen3_layer" in lines


def test_a_row_that_does_not_compile_is_a_miss() -> None:
    peer = peer_rows.PeerRow("ffn", (1,), "f32", False, 200.0, None, 4)
    ours = {"name": "ffn", "compile_s": 1.0, "cpu_s": 0.5, "error": "NoPlan: too large"}
    failed = peers.compared(peer, ours)
    assert peers.misses([failed]) == ["ffn does not compile: NoPlan: too large"]
    assert "FAILS" in peers.row(failed)
