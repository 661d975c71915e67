"""Lower bounds hold under every price, and name the scarcest resource."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cost_models
from cost_models import (
    Instruction,
    PriceError,
    Target,
    Transfer,
    Work,
    bounds,
    dma_price,
    engines_for,
    instruction_price,
    load_target,
)

ELEMENTWISE = [
    "activation",
    "activation_reduce",
    "tensor_copy",
    "tensor_tensor_arith",
    "tensor_scalar_arith",
    "scalar_tensor_tensor_arith",
    "tensor_reduce_arith",
    "copy_predicated",
    "select_reduce",
    "reciprocal",
    "memset",
    "rng",
    "tensor_scalar_reduce",
    "iota",
    "range_select",
    "bn_stats",
    "max8",
    "local_gather",
    "gather",
    "topk",
    "stream_shuffle",
]
TARGETS = [
    load_target("inf2"),
    load_target("trn1"),
    load_target("trn2"),
    load_target("trn3"),
    load_target("trn2", {"vector.reduce_16bit_elems_per_cycle": 9}),
    load_target("trn2", {"gpsimd.gather_cycles_per_elem": 0.1, "dma.load_cap_gbps": 900}),
]
SLACK = 1 - 1e-9

dtypes = st.sampled_from(("f32", "bf16", "fp8_e4m3", "u8"))


@st.composite
def elementwise(draw: st.DrawFn, target: Target) -> Instruction:
    op = draw(st.sampled_from([op for op in ELEMENTWISE if engines_for(op, target)]))
    engine = draw(st.sampled_from(engines_for(op, target)))
    memory = st.just("sbuf") if engine == "gpsimd" else st.sampled_from(("sbuf", "psum"))
    return Instruction(
        op,
        engine,
        draw(st.integers(1, 128)),
        draw(st.integers(1, 16384)),
        tuple(draw(dtypes) for _ in range(3)),
        tuple(draw(memory) for _ in range(3)),
        contiguous=draw(st.booleans()),
        count=draw(st.integers(1, 3)),
    )


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_elementwise_bounds_hold_for_any_instruction_list(data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(TARGETS))
    elems: Counter[str] = Counter()
    busy_ns: Counter[str] = Counter()
    for instr in data.draw(st.lists(elementwise(target), min_size=1, max_size=12)):
        elems[instr.engine] += instr.rows * instr.elems * instr.count
        busy_ns[instr.engine] += instruction_price(target, instr).interval_ns  # type: ignore[assignment]
    fixed = Work(
        vector_elems=elems["vector"], scalar_elems=elems["scalar"], gpsimd_elems=elems["gpsimd"]
    )
    bound = bounds(target, fixed)
    for engine in ("vector", "scalar", "gpsimd"):
        assert bound.by_resource[engine] * SLACK <= busy_ns[engine]
    assert bound.by_resource["elementwise"] * SLACK <= max(busy_ns.values())
    free = bounds(target, Work(any_elems=elems.total()))
    assert free.ns * SLACK <= max(busy_ns.values())


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(TARGETS),
    st.lists(
        st.tuples(
            st.sampled_from(("f32", "bf16", "f16", "tf32", "fp8_e5m2")),
            st.integers(1, 128),
            st.integers(1, 128),
            st.integers(1, 512),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_the_tensor_bound_holds_for_any_list_of_matmuls(
    target: Target, shapes: list[tuple[str, int, int, int]]
) -> None:
    macs: Counter[str] = Counter()
    busy_ns = 0.0
    for dtype, k, m, n in shapes:
        macs[dtype] += k * m * n
        instr = Instruction(
            "matmul", "tensor", k, n, ("f32", dtype, dtype), ("psum", "sbuf", "sbuf"), columns=m
        )
        busy_ns += instruction_price(target, instr).interval_ns
    assert bounds(target, Work(macs=macs)).by_resource["tensor"] * SLACK <= busy_ns


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(TARGETS),
    st.lists(
        st.tuples(
            st.sampled_from(("load", "store", "copy")),
            st.integers(1, 500),
            st.integers(1, 65536),
            st.integers(1, 128),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_the_hbm_bounds_hold_for_any_list_of_transfers(
    target: Target, shapes: list[tuple[str, int, int, int, bool, bool]]
) -> None:
    moved: Counter[str] = Counter()
    busy_ns = 0.0
    for direction, descriptors, size, rows, cast, transpose in shapes:
        transpose = transpose and direction != "store"
        transfer = Transfer(direction, descriptors, size, rows, transpose, cast)
        moved[direction] += transfer.total_bytes
        busy_ns += dma_price(target, transfer).transfer_ns
    bound = bounds(target, Work(hbm_bytes=moved.total(), hbm_load_bytes=moved["load"]))
    assert bound.ns * SLACK <= busy_ns


def test_a_full_matmul_stream_comes_close_to_the_tensor_bound() -> None:
    target = load_target("trn2")
    instr = Instruction(
        "matmul", "tensor", 128, 512, ("f32", "bf16", "bf16"), ("psum", "sbuf", "sbuf"), count=1000
    )
    bound = bounds(target, Work(macs={"bf16": 1000 * 128 * 128 * 512}))
    assert bound.ns == pytest.approx(instruction_price(target, instr).interval_ns, rel=0.02)


def test_the_bf16_peak_is_the_documented_one() -> None:
    # aws-neuron-sdk nki/guides/architecture/trainium2_arch.rst: 79 TFLOPS per core.
    bound = bounds(load_target("trn2"), Work(macs={"bf16": 10**12}))
    assert 2 * 10**12 / bound.ns / 1000 == pytest.approx(79, rel=0.01)


@pytest.mark.parametrize(
    ("work", "resource"),
    [
        (Work(hbm_bytes=10**6, vector_elems=1), "hbm"),
        (Work(hbm_bytes=10**6, hbm_load_bytes=10**6), "hbm_load"),
        (Work(macs={"f32": 10**9}, hbm_bytes=10), "tensor"),
        (Work(scalar_elems=10**6), "scalar"),
        (Work(any_elems=10**6, vector_elems=10), "elementwise"),
    ],
)
def test_the_scarcest_resource_is_named(work: Work, resource: str) -> None:
    bound = bounds(load_target("trn2"), work)
    assert bound.resource == resource
    assert bound.ns == max(bound.by_resource.values()) == bound.by_resource[resource]


def test_no_work_takes_no_time() -> None:
    assert bounds(load_target("trn2"), Work()).ns == 0


def test_amounts_below_zero_are_refused() -> None:
    with pytest.raises(PriceError, match=r"work: vector_elems is -1 but must be 0 or more"):
        Work(vector_elems=-1)
    with pytest.raises(PriceError, match=r"work: macs\[bf16\] is -2 but must be 0 or more"):
        Work(macs={"bf16": -2})


def test_more_bytes_read_than_moved_are_refused() -> None:
    with pytest.raises(PriceError, match="hbm_load_bytes is 5 but must be at most hbm_bytes, 4"):
        Work(hbm_bytes=4, hbm_load_bytes=5)


def test_a_dtype_without_a_tensor_rate_is_refused() -> None:
    with pytest.raises(PriceError, match="matmul: dtype is 'i32' but must be one of"):
        bounds(load_target("trn2"), Work(macs={"i32": 1}))


def test_public_names_are_sorted_and_exist() -> None:
    assert cost_models.__all__ == sorted(cost_models.__all__)
    assert all(hasattr(cost_models, name) for name in cost_models.__all__)
