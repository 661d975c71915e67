"""Predicted trn2 times against published per-instruction and DMA measurements.

Rows: TKF is trainium-kernel-fusion @d709ddf (profiling/artifacts/*/json_reports, trn2.3xlarge); SDK
is aws-neuron-sdk (figures of nki/img and nki/library/specs/images). Ranges stand as their middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cost_models import Instruction, Transfer, dma_price, instruction_price, load_target

TOLERANCE = 0.05
TRN2 = load_target("trn2")


def instr(op: str, engine: str, elems: int, operands: str, *, pointer: bool = False) -> Instruction:
    """``operands``: "dtype memory" per operand, destination first, separated by commas."""
    pairs = [operand.split() for operand in operands.split(",")]
    return Instruction(
        op,
        engine,
        128,
        elems,
        tuple(dtype for dtype, _ in pairs),
        tuple(memory for _, memory in pairs),
        pointer=pointer,
    )


@dataclass(frozen=True)
class Row:
    what: str
    instr: Instruction
    latency_ns: float | None
    interval_ns: float | None
    source: str


MM_BF16 = "f32 psum, bf16 sbuf, bf16 sbuf"
MM_F32 = "f32 psum, f32 sbuf, f32 sbuf"
SBUF = "f32 sbuf, f32 sbuf"
EVICT = "f32 sbuf, f32 psum"

ROWS = [
    Row("matmul bf16 512", instr("matmul", "tensor", 512, MM_BF16), 376, 215.5, "TKF"),
    Row("matmul bf16 128", instr("matmul", "tensor", 128, MM_BF16), 216, 55, "TKF"),
    # Two hardware passes: the second ends one interval after the first.
    Row("matmul f32 512", instr("matmul", "tensor", 512, MM_F32), 429 + 592, 858, "TKF"),
    Row("matmul f32 128", instr("matmul", "tensor", 128, MM_F32), 112 + 275, 223, "TKF"),
    Row(
        "transpose f32 128",
        instr("nc_transpose", "tensor", 128, "f32 psum, f32 sbuf"),
        272,
        109,
        "TKF",
    ),
    Row("copy 512 PSUM", instr("tensor_copy", "vector", 512, EVICT), 690, 603, "TKF"),
    Row("copy 128 PSUM", instr("tensor_copy", "vector", 128, EVICT), 291, None, "TKF"),
    Row(
        "cast 128 PSUM",
        instr("tensor_copy", "vector", 128, "bf16 sbuf, f32 psum"),
        291,
        None,
        "TKF",
    ),
    Row("reduce 512", instr("tensor_reduce_arith", "vector", 512, SBUF), 679.5, 598, "TKF"),
    Row("reduce 512 PSUM", instr("tensor_reduce_arith", "vector", 512, EVICT), 679.5, 598, "TKF"),
    Row("reduce 4", instr("tensor_reduce_arith", "vector", 4, SBUF), 157, None, "TKF"),
    Row("reduce 16", instr("tensor_reduce_arith", "vector", 16, SBUF), 169, None, "TKF"),
    Row(
        "tensor_scalar 512",
        instr("tensor_scalar_arith", "vector", 512, SBUF, pointer=True),
        481,
        395.5,
        "TKF",
    ),
    Row(
        "tensor_scalar 128 PSUM",
        instr("tensor_scalar_arith", "vector", 128, EVICT, pointer=True),
        350,
        None,
        "TKF",
    ),
    Row("reciprocal 4", instr("reciprocal", "vector", 4, SBUF), 178, None, "TKF"),
    Row("reciprocal 8", instr("reciprocal", "vector", 8, SBUF), 202, None, "TKF"),
    Row(
        "tensor_tensor 512",
        instr("tensor_tensor_arith", "vector", 512, "f32 sbuf, f32 psum, f32 sbuf"),
        695,
        None,
        "SDK nki/img/how-to/v5-zoom.png",
    ),
    Row(
        "copy 512",
        instr("tensor_copy", "vector", 512, SBUF),
        428,
        None,
        "SDK nki/img/how-to/v5-zoom.png",
    ),
    # RMSNorm scales each row by its own factor, so this is read as the pointer form.
    Row(
        "scalar_tensor_tensor 512",
        instr(
            "scalar_tensor_tensor_arith",
            "vector",
            512,
            "bf16 sbuf, bf16 sbuf, f32 psum",
            pointer=True,
        ),
        755,
        654,
        "SDK nki/library/specs/images",
    ),
    Row(
        "absmax 16384",
        instr("tensor_reduce_arith", "vector", 16384, "bf16 sbuf, bf16 sbuf"),
        17250,
        None,
        "SDK nki/library/specs/images",
    ),
    Row(
        "tensor_scalar to fp8 16384",
        instr("tensor_scalar_arith", "vector", 16384, "fp8_e4m3 sbuf, bf16 sbuf", pointer=True),
        8800,
        None,
        "SDK nki/library/specs/images",
    ),
    Row("scalar copy 512", instr("tensor_copy", "scalar", 512, EVICT), 586, 465, "TKF"),
    Row(
        "scalar cast 128",
        instr("tensor_copy", "scalar", 128, "bf16 sbuf, f32 psum"),
        265,
        156,
        "TKF",
    ),
    Row("exp 512", instr("activation", "scalar", 512, SBUF, pointer=True), 707, 612, "TKF"),
    Row("exp 512 PSUM", instr("activation", "scalar", 512, EVICT, pointer=True), 686, 570, "TKF"),
    Row(
        "exp 128",
        instr("activation", "scalar", 128, "bf16 sbuf, bf16 sbuf"),
        401,
        None,
        "SDK nki/img/overviews/nki-dma-intro-6.png",
    ),
    Row(
        "exp 4096",
        instr("activation", "scalar", 4096, "bf16 sbuf, bf16 sbuf"),
        3711,
        None,
        "SDK nki/img/overviews/nki-dma-intro-3.png",
    ),
    Row(
        "exp and sum 16384",
        instr("activation_reduce", "scalar", 16384, "bf16 sbuf, bf16 sbuf"),
        13970,
        None,
        "SDK nki/library/specs/images",
    ),
]

ONE_ELEMENT_ACTIVATION = Row(
    "activation 1",
    instr("activation", "scalar", 1, SBUF),
    331,
    None,
    "SDK nki/library/specs/images, 301 to 361",
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_trn2_prices_are_near_the_published_times(row: Row) -> None:
    price = instruction_price(TRN2, row.instr)
    assert row.latency_ns is not None
    assert price.latency_ns == pytest.approx(row.latency_ns, rel=TOLERANCE), row.source
    if row.interval_ns is not None:
        assert price.interval_ns == pytest.approx(row.interval_ns, rel=TOLERANCE), row.source


@pytest.mark.parametrize(
    ("elems", "operands", "cold_interval_ns"),
    [(512, MM_BF16, 426.5), (128, MM_BF16, 106.5), (512, MM_F32, 2 * 854), (128, MM_F32, 2 * 213)],
)
def test_cold_matmul_intervals_follow_from_the_cold_rate(
    elems: int, operands: str, cold_interval_ns: float
) -> None:
    price = instruction_price(TRN2, instr("matmul", "tensor", elems, operands))
    cold_ns = price.interval_ns / TRN2.tensor.cold_rate
    assert cold_ns == pytest.approx(cold_interval_ns, rel=TOLERANCE)


def test_the_one_element_activation_is_a_known_miss() -> None:
    row = ONE_ELEMENT_ACTIVATION
    assert row.latency_ns is not None
    latency_ns = instruction_price(TRN2, row.instr).latency_ns
    assert 0.8 * row.latency_ns < latency_ns < (1 - TOLERANCE) * row.latency_ns


def test_a_long_matmul_chain_runs_at_the_published_kernel_rate() -> None:
    # SDK nki/img/how-to/v5-*.png: 28.16 ms for 32,768 f32 matmuls of 512 rows.
    price = instruction_price(TRN2, instr("matmul", "tensor", 512, MM_F32))
    assert 32768 * price.interval_ns == pytest.approx(28.16e6, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("bytes_per_descriptor", "published_ns"), [(256, 17), (512, 27), (2048, 83), (4096, 158)]
)
def test_one_descriptor_takes_the_published_time(
    bytes_per_descriptor: int, published_ns: float
) -> None:
    price = dma_price(TRN2, Transfer("store", 1, bytes_per_descriptor, rows=1))
    assert price.transfer_ns == pytest.approx(published_ns, rel=TOLERANCE)


def test_four_descriptors_on_one_queue_take_the_published_time() -> None:
    # SDK nki/img/overviews/nki-dma-intro-3.png: 4 rows of 8 KiB on one engine, a store.
    one_queue = load_target("trn2", {"dma.queues": 1})
    price = dma_price(one_queue, Transfer("store", 4, 8192, rows=4))
    assert price.transfer_ns == pytest.approx(1225, rel=TOLERANCE)


def test_a_512_kib_store_alone_reaches_the_published_rate() -> None:
    # TKF: 364 to 379 GB/s, n=8.
    price = dma_price(TRN2, Transfer("store", 128, 4096, rows=128))
    assert 364 <= 128 * 4096 / price.transfer_ns <= 379


def test_a_casting_store_takes_the_published_descriptor_time() -> None:
    # TKF: 512 B of f32 read, 256 B of bf16 written, software descriptors: 41 ns.
    price = dma_price(TRN2, Transfer("store", 1, 512, rows=1, cast=True))
    assert price.transfer_ns == pytest.approx(41, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("direction", "published_ns"), [("load", (1326 + 1349) / 2), ("store", (1186 + 1281) / 2)]
)
def test_hardware_transfers_move_their_first_byte_when_published(
    direction: str, published_ns: float
) -> None:
    price = dma_price(TRN2, Transfer(direction, 128, 2048, rows=128))
    assert price.issue_ns + price.first_byte_ns == pytest.approx(published_ns, rel=TOLERANCE)


def test_a_software_store_moves_its_first_byte_when_published() -> None:
    # TKF: data ready to first byte, about 1830 ns.
    price = dma_price(TRN2, Transfer("store", 128, 2048, rows=128, software=True))
    assert price.issue_ns + price.first_byte_ns == pytest.approx(1830, rel=TOLERANCE)
