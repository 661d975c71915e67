"""Instruction prices: coverage, the documented modes, order, and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_models import (
    Instruction,
    PriceError,
    engines_for,
    instruction_price,
    load_target,
    targets,
)

TRN1, TRN2, TRN3 = (load_target(name) for name in ("trn1", "trn2", "trn3"))

OPS = [
    "matmul",
    "nc_transpose",
    "activation",
    "activation_reduce",
    "activation_accumulate",
    "tensor_copy",
    "tensor_tensor_arith",
    "tensor_tensor_bitvec",
    "tensor_scalar_arith",
    "tensor_scalar_bitvec",
    "tensor_scalar_reduce",
    "scalar_tensor_tensor_arith",
    "tensor_reduce_arith",
    "cross_lane_reduce_arith",
    "copy_predicated",
    "select",
    "select_reduce",
    "reciprocal",
    "memset",
    "rng",
    "dropout",
    "iota",
    "affine_select",
    "range_select",
    "bn_stats",
    "bn_aggr",
    "tensor_tensor_scan",
    "tensor_scalar_cumulative",
    "max8",
    "find_index8",
    "match_replace8",
    "local_gather",
    "gather",
    "sequence_bounds",
    "nonzero_with_count",
    "topk",
    "stream_shuffle",
]
EVERY = [(op, engine) for op in OPS for engine in engines_for(op)]
FLOATS = ("f32", "bf16", "f16", "fp8_e4m3")


def elementwise(op: str, engine: str, elems: int, *operands: str) -> Instruction:
    """Operands as "dtype memory", destination first."""
    pairs = [operand.split() for operand in operands]
    return Instruction(
        op, engine, 128, elems, tuple(d for d, _ in pairs), tuple(m for _, m in pairs)
    )


def vector_cycles(op: str, *operands: str, elems: int = 4096, strided: bool = False) -> float:
    """Streaming cycles per element on trn2's Vector engine: the slope of the interval."""
    short = replace(elementwise(op, "vector", elems, *operands), contiguous=not strided)
    long = replace(short, elems=2 * elems)
    extra_ns = (
        instruction_price(TRN2, long).interval_ns - instruction_price(TRN2, short).interval_ns
    )
    return extra_ns * TRN2.clock.vector_ghz / elems


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    op, engine = draw(st.sampled_from(EVERY))
    operands = draw(st.integers(1, 3))
    memory = st.just("sbuf") if engine == "gpsimd" else st.sampled_from(("sbuf", "psum"))
    return Instruction(
        op,
        engine,
        draw(st.integers(1, 128)),
        draw(st.integers(1, 20000)),
        tuple(draw(st.sampled_from(FLOATS)) for _ in range(operands)),
        tuple(draw(memory) for _ in range(operands)),
        pointer=draw(st.booleans()),
        contiguous=draw(st.booleans()),
        count=draw(st.integers(1, 4)),
        columns=draw(st.sampled_from((0, 0, 1, 40, 64, 128))),
    )


@pytest.mark.parametrize(("op", "engine"), EVERY)
@pytest.mark.parametrize("name", targets())
def test_every_operation_has_a_price_where_its_engine_runs_it(
    name: str, op: str, engine: str
) -> None:
    target = load_target(name)
    instr = elementwise(op, engine, 512, "bf16 sbuf", "bf16 sbuf", "bf16 sbuf")
    if engine not in engines_for(op, target):
        with pytest.raises(PriceError, match=f"engine is '{engine}' but {name} runs it on"):
            instruction_price(target, instr)
        return
    price = instruction_price(target, instr)
    assert 0 < price.interval_ns <= price.latency_ns


@settings(deadline=None, max_examples=150)
@given(instructions(), st.integers(1, 5000), st.sampled_from((TRN2, TRN3)))
def test_more_elements_never_cost_less(instr: Instruction, more: int, target: object) -> None:
    assert isinstance(target, type(TRN2))
    less = instruction_price(target, instr)
    larger = instruction_price(target, replace(instr, elems=instr.elems + more))
    assert larger.interval_ns >= less.interval_ns
    assert larger.latency_ns >= less.latency_ns


@settings(deadline=None, max_examples=100)
@given(instructions())
def test_a_count_repeats_the_interval_and_ends_with_one_latency(instr: Instruction) -> None:
    one = instruction_price(TRN2, replace(instr, count=1))
    many = instruction_price(TRN2, instr)
    assert many.interval_ns == pytest.approx(instr.count * one.interval_ns)
    assert many.latency_ns == pytest.approx((instr.count - 1) * one.interval_ns + one.latency_ns)


@settings(deadline=None, max_examples=100)
@given(instructions())
def test_nothing_issues_faster_than_the_minimum_interval(instr: Instruction) -> None:
    ghz = getattr(TRN2.clock, f"{instr.engine}_ghz")
    few_columns = instr.engine == "tensor" and 0 < instr.columns < 64
    cycles = instr.columns if few_columns else 64
    price = instruction_price(TRN2, instr)
    assert price.interval_ns >= cycles / ghz * instr.count * (1 - 1e-12)


@settings(deadline=None, max_examples=100)
@given(instructions(), st.sampled_from((TRN1, TRN2, TRN3)))
def test_cold_prices_are_never_lower_and_concern_the_tensor_engine_alone(
    instr: Instruction, target: object
) -> None:
    assert isinstance(target, type(TRN2))
    if instr.engine not in engines_for(instr.op, target):
        return
    warm, cold = (instruction_price(target, instr, cold=c) for c in (False, True))
    assert cold.interval_ns >= warm.interval_ns
    assert cold.latency_ns >= warm.latency_ns * (1 - 1e-12)
    if instr.engine != "tensor" or target is TRN1:
        assert cold == warm


@pytest.mark.parametrize("engine", ["vector", "gpsimd"])
def test_zeros_of_16_bits_are_written_twice_as_fast(engine: str) -> None:
    def stream_ns(function: str, dtype: str) -> float:
        few, many = (
            replace(elementwise("memset", engine, n, f"{dtype} sbuf"), function=function)
            for n in (4096, 8192)
        )
        prices = [instruction_price(TRN2, instr).interval_ns for instr in (few, many)]
        return prices[1] - prices[0]

    assert stream_ns("zero", "bf16") == pytest.approx(stream_ns("", "bf16") / 2)
    assert stream_ns("zero", "f32") == pytest.approx(stream_ns("", "f32"))


def test_reducing_on_the_way_costs_64_cycles() -> None:
    operands = ("f32 sbuf", "f32 psum")
    for plain, reducing, engine, ghz in (
        ("activation", "activation_reduce", "scalar", TRN2.clock.scalar_ghz),
        ("tensor_scalar_arith", "tensor_scalar_reduce", "vector", TRN2.clock.vector_ghz),
    ):
        prices = [
            instruction_price(TRN2, elementwise(op, engine, 512, *operands)).interval_ns
            for op in (plain, reducing)
        ]
        assert prices[1] - prices[0] == pytest.approx(64 / ghz)


def test_gpsimd_instructions_pay_150_cycles_before_they_stream() -> None:
    price = instruction_price(TRN2, elementwise("iota", "gpsimd", 512, "i32 sbuf"))
    assert price.interval_ns == pytest.approx((150 + 512) / TRN2.clock.gpsimd_ghz)


@settings(deadline=None, max_examples=100)
@given(instructions())
def test_strided_operands_are_never_cheaper(instr: Instruction) -> None:
    dense = instruction_price(TRN2, replace(instr, contiguous=True))
    strided = instruction_price(TRN2, replace(instr, contiguous=False))
    assert strided.interval_ns >= dense.interval_ns


@pytest.mark.parametrize(
    ("operands", "strided", "cycles"),
    [
        (("bf16 sbuf", "f16 sbuf"), False, 0.25),
        (("bf16 sbuf", "bf16 sbuf"), True, 0.5),
        (("bf16 sbuf", "bf16 psum"), False, 0.5),
        (("bf16 psum", "bf16 sbuf"), False, 0.5),
        (("bf16 sbuf", "bf16 psum"), True, 1),
        (("bf16 psum", "bf16 psum"), False, 1),
        (("f32 sbuf", "f32 sbuf"), False, 0.5),
        (("f32 sbuf", "f32 sbuf"), True, 1),
        (("f32 sbuf", "f32 psum"), False, 1),
        (("fp8_e4m3 sbuf", "bf16 sbuf"), False, 0.5),
    ],
)
@pytest.mark.parametrize("op", ["tensor_copy", "tensor_scalar_arith"])
def test_vector_copies_stream_at_the_documented_mode(
    op: str, operands: tuple[str, ...], strided: bool, cycles: float
) -> None:
    assert vector_cycles(op, *operands, strided=strided) == pytest.approx(cycles)


@pytest.mark.parametrize(
    ("op", "operands", "strided", "cycles"),
    [
        ("tensor_tensor_arith", ("bf16 sbuf",) * 3, False, 0.5),
        ("tensor_tensor_arith", ("bf16 sbuf",) * 3, True, 1),
        ("tensor_tensor_arith", ("bf16 psum", "bf16 sbuf", "bf16 sbuf"), False, 2),
        ("tensor_tensor_arith", ("f32 sbuf",) * 3, False, 2),
        ("tensor_tensor_arith", ("f32 sbuf", "f32 psum", "f32 sbuf"), False, 1),
        ("tensor_tensor_arith", ("f32 sbuf", "f32 psum", "f32 psum"), False, 2),
        ("tensor_tensor_bitvec", ("i32 sbuf",) * 3, False, 2),
        ("scalar_tensor_tensor_arith", ("f32 sbuf",) * 3, False, 2),
        ("scalar_tensor_tensor_arith", ("f32 sbuf", "f32 psum", "f32 sbuf"), False, 1),
        ("copy_predicated", ("f32 sbuf", "u8 sbuf", "f32 sbuf"), False, 2),
        ("copy_predicated", ("f32 sbuf", "u8 sbuf", "f32 psum"), False, 1),
        ("tensor_reduce_arith", ("f32 sbuf", "f32 sbuf"), False, 1),
        ("tensor_tensor_scan", ("f32 sbuf",) * 3, False, 2),
        ("reciprocal", ("f32 sbuf", "f32 sbuf"), False, 8),
        ("bn_aggr", ("f32 sbuf", "f32 sbuf"), False, 13 / 3),
        ("max8", ("f32 sbuf", "f32 sbuf"), False, 1),
    ],
)
def test_vector_operations_stream_at_the_documented_rate(
    op: str, operands: tuple[str, ...], strided: bool, cycles: float
) -> None:
    assert vector_cycles(op, *operands, strided=strided) == pytest.approx(cycles, rel=1e-6)


def test_trn3_scalar_engine_doubles_narrow_types() -> None:
    wide, narrow = (
        elementwise("activation", "scalar", 4096, f"{d} sbuf", f"{d} sbuf") for d in ("f32", "bf16")
    )
    saved_ns = instruction_price(TRN3, wide).latency_ns - instruction_price(TRN3, narrow).latency_ns
    assert saved_ns == pytest.approx(2048 / TRN3.clock.scalar_ghz)
    assert instruction_price(TRN2, wide) == instruction_price(TRN2, narrow)


def test_trn1_has_no_fast_vector_modes() -> None:
    prices = {
        instruction_price(
            TRN1, elementwise("tensor_copy", "vector", 4096, f"{d} sbuf", f"{d} sbuf")
        )
        for d in ("f32", "bf16")
    }
    assert len(prices) == 1


def test_a_gather_pays_the_start_of_each_hardware_instruction() -> None:
    one, two = (
        instruction_price(TRN2, elementwise("gather", "gpsimd", n, "f32 sbuf", "f32 sbuf"))
        for n in (512, 1024)
    )
    assert two.interval_ns == pytest.approx(2 * one.interval_ns)


@pytest.mark.parametrize(
    ("op", "engines"),
    [
        ("matmul", ("tensor",)),
        ("nc_transpose", ("tensor", "vector")),
        ("tensor_copy", ("vector", "scalar", "gpsimd")),
        ("activation", ("scalar",)),
        ("cross_lane_reduce_arith", ("gpsimd",)),
    ],
)
def test_engines_for_lists_who_runs_it(op: str, engines: tuple[str, ...]) -> None:
    assert engines_for(op) == engines


@pytest.mark.parametrize("op", ["range_select", "topk"])
def test_instructions_that_came_with_trn2_have_no_price_on_trn1(op: str) -> None:
    assert engines_for(op, TRN1) == ()
    assert engines_for(op, TRN2) == engines_for(op) != ()
    (engine,) = engines_for(op)
    with pytest.raises(PriceError, match=f"{op}: .* but trn1 runs it on no engine"):
        instruction_price(TRN1, elementwise(op, engine, 512, "bf16 sbuf", "bf16 sbuf"))


def test_topk_takes_four_cycles_per_element_and_one_per_result() -> None:
    # aws-neuron-sdk nki/api/nki/isa/__init__.py topk: 4 n + K.
    instr = replace(elementwise("topk", "gpsimd", 1000, "bf16 sbuf", "bf16 sbuf"), columns=64)
    cycles = TRN2.gpsimd.start_cycles + 4 * 1000 + 64
    assert instruction_price(TRN2, instr).interval_ns == pytest.approx(
        cycles / TRN2.clock.gpsimd_ghz
    )


@pytest.mark.parametrize("result", ["bf16", "f32"])
def test_trn1_reduces_bf16_at_two_elements_per_cycle_whatever_the_result(result: str) -> None:
    few, many = (
        elementwise("tensor_reduce_arith", "vector", n, f"{result} sbuf", "bf16 sbuf")
        for n in (4096, 8192)
    )
    prices = [instruction_price(TRN1, instr).interval_ns for instr in (few, many)]
    assert prices[1] - prices[0] == pytest.approx(4096 / 2 / TRN1.clock.vector_ghz)


def test_engines_for_a_target_drops_what_its_generation_lacks() -> None:
    assert engines_for("tensor_copy", TRN1) == ("vector", "gpsimd")
    assert engines_for("tensor_copy", TRN2) == ("vector", "scalar", "gpsimd")


@pytest.mark.parametrize(
    ("instr", "message"),
    [
        (
            elementwise("tensor_cpy", "vector", 8, "f32 sbuf"),
            r"op is 'tensor_cpy' but must be one of matmul, .*; did you mean 'tensor_copy'\?",
        ),
        (
            elementwise("tensor_reduce_arith", "gpsimd", 8, "f32 sbuf", "f32 sbuf"),
            r"tensor_reduce_arith: engine is 'gpsimd' but trn2 runs it on vector",
        ),
        (
            elementwise("tensor_copy", "dma", 8, "f32 sbuf", "f32 sbuf"),
            r"engine is 'dma' but trn2 runs it on vector or scalar or gpsimd",
        ),
        (
            elementwise("tensor_copy", "gpsimd", 8, "f32 sbuf", "f32 psum"),
            r"an operand is in PSUM but the gpsimd engine reaches SBUF only",
        ),
        (
            elementwise("matmul", "tensor", 8, "f32 psum", "i32 sbuf", "i32 sbuf"),
            r"matmul: dtype is 'i32' but must be one of bf16, f16, f32, fp8_e3m4",
        ),
        (
            Instruction("iota", "gpsimd", 129, 8, ("i32",), ("sbuf",)),
            r"iota: rows is 129 but trn2 has 128 partitions",
        ),
    ],
)
def test_what_cannot_run_is_refused_with_what_can(instr: Instruction, message: str) -> None:
    with pytest.raises(PriceError, match=message):
        instruction_price(TRN2, instr)


@pytest.mark.parametrize(
    ("rows", "elems", "count", "dtypes", "memories", "message"),
    [
        (0, 8, 1, ("f32",), ("sbuf",), "iota: rows is 0 but must be at least 1"),
        (1, 0, 1, ("f32",), ("sbuf",), "elems is 0 but must be at least 1"),
        (1, 8, 0, ("f32",), ("sbuf",), "count is 0 but must be at least 1"),
        (1, 8, 1, ("fp32",), ("sbuf",), r"dtype is 'fp32' .*did you mean 'f32'\?"),
        (1, 8, 1, ("f32",), ("hbm",), "memory is 'hbm' but must be one of sbuf, psum"),
        (1, 8, 1, ("f32", "f32"), ("sbuf",), "it has 2 dtypes and 1 memories but must"),
        (1, 8, 1, (), (), "it has 0 dtypes and 0 memories but must"),
    ],
)
def test_a_malformed_instruction_is_refused(
    rows: int,
    elems: int,
    count: int,
    dtypes: tuple[str, ...],
    memories: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(PriceError, match=message):
        Instruction("iota", "gpsimd", rows, elems, dtypes, memories, count=count)
