"""DMA prices: spreading over queues, caps, order, and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_models import PriceError, Transfer, dma_price, load_target
from cost_models.dma import queue_work_ns

TRN1, TRN2 = load_target("trn1"), load_target("trn2")


def descriptor_ns(size_bytes: int) -> float:
    return TRN2.dma.descriptor_ns + size_bytes / TRN2.dma.bytes_per_ns


@st.composite
def transfers(draw: st.DrawFn) -> Transfer:
    direction = draw(st.sampled_from(("load", "store", "copy")))
    return Transfer(
        direction,
        draw(st.integers(1, 2000)),
        draw(st.integers(1, 65536)),
        rows=draw(st.integers(1, 128)),
        transpose=direction != "store" and draw(st.booleans()),
        cast=draw(st.booleans()),
        software=draw(st.booleans()),
        indirect=draw(st.sampled_from((0, 0, 1, 128, 500))),
    )


def test_the_parts_add_up_to_the_total() -> None:
    price = dma_price(TRN2, Transfer("load", 128, 2048, rows=128))
    assert price.total_ns == pytest.approx(
        price.issue_ns + price.first_byte_ns + price.transfer_ns + price.completion_ns
    )


def test_128_rows_are_eight_descriptors_per_queue() -> None:
    price = dma_price(TRN2, Transfer("store", 128, 512, rows=128))
    assert price.transfer_ns == pytest.approx(8 * descriptor_ns(512))


@pytest.mark.parametrize(("rows", "fullest"), [(1, 1), (16, 1), (17, 2), (100, 7)])
def test_the_fullest_queue_decides(rows: int, fullest: int) -> None:
    price = dma_price(TRN2, Transfer("store", rows, 64, rows=rows))
    assert price.transfer_ns == pytest.approx(fullest * descriptor_ns(64))


def test_runs_of_one_row_stay_on_one_queue() -> None:
    price = dma_price(TRN2, Transfer("load", 100, 4, rows=1))
    assert price.transfer_ns == pytest.approx(100 * descriptor_ns(4))


def test_a_run_over_many_partitions_costs_one_descriptor_per_partition() -> None:
    whole = dma_price(TRN2, Transfer("store", 1, 128 * 512, rows=128))
    rowwise = dma_price(TRN2, Transfer("store", 128, 512, rows=128))
    assert whole == rowwise


def test_elementwise_strided_access_is_far_dearer_than_whole_rows() -> None:
    rows = dma_price(TRN2, Transfer("load", 128, 2048, rows=128))
    single = dma_price(TRN2, Transfer("load", 128 * 512, 4, rows=128))
    assert single.transfer_ns > 30 * rows.transfer_ns


@pytest.mark.parametrize(("direction", "cap_gbps"), [("load", 315), ("store", 368), ("copy", 368)])
def test_long_transfers_run_at_the_cap(direction: str, cap_gbps: float) -> None:
    price = dma_price(TRN2, Transfer(direction, 128, 65536, rows=128))
    assert 128 * 65536 / price.transfer_ns == pytest.approx(cap_gbps)


def test_a_copy_deals_its_descriptors_whatever_the_rows() -> None:
    few, many = (dma_price(TRN2, Transfer("copy", 64, 512, rows=r)) for r in (1, 64))
    assert few == many


@pytest.mark.parametrize(("direction", "factor"), [("load", 0.9), ("copy", 0.5)])
def test_short_transposed_runs_take_the_documented_fraction_of_the_rate(
    direction: str, factor: float
) -> None:
    plain = Transfer(direction, 128, 256, rows=128)
    slow = dma_price(TRN2, replace(plain, transpose=True))
    assert slow.transfer_ns == pytest.approx(dma_price(TRN2, plain).transfer_ns / factor)


@pytest.mark.parametrize(("direction", "gbps"), [("load", 315), ("copy", 215)])
def test_long_transposed_runs_keep_to_the_measured_rate_and_the_cap(
    direction: str, gbps: float
) -> None:
    price = dma_price(TRN2, Transfer(direction, 128, 65536, rows=128, transpose=True))
    assert 128 * 65536 / price.transfer_ns == pytest.approx(gbps, rel=0.05)


@settings(deadline=None, max_examples=100)
@given(transfers())
def test_transposing_never_costs_less(transfer: Transfer) -> None:
    if transfer.direction == "store":
        return
    plain, transposed = (
        dma_price(TRN2, replace(transfer, transpose=t)).transfer_ns for t in (False, True)
    )
    assert transposed >= plain * (1 - 1e-12)


def test_only_elements_of_2_or_4_bytes_are_transposed() -> None:
    for size in (0, 2, 4):
        Transfer("load", 128, 64, rows=128, transpose=True, elem_bytes=size)
    Transfer("load", 128, 64, rows=128, elem_bytes=1)
    with pytest.raises(PriceError, match="elem_bytes is 1 but a transposing DMA moves elements of"):
        Transfer("load", 128, 64, rows=128, transpose=True, elem_bytes=1)


def test_hardware_triggers_take_their_engine_for_the_whole_issue() -> None:
    price = dma_price(TRN2, Transfer("load", 128, 2048, rows=128))
    assert price.engine_ns == price.issue_ns == TRN2.dma.issue_hardware_ns


def test_software_generation_takes_gpsimd_less_than_the_first_transfer_waits() -> None:
    price = dma_price(TRN2, Transfer("store", 128, 512, rows=128, software=True))
    assert price.issue_ns == TRN2.dma.issue_software_ns
    assert price.engine_ns == TRN2.dma.issue_software_next_ns


def test_software_generation_grows_with_descriptors_beyond_one_per_partition() -> None:
    few, many = (
        dma_price(TRN2, Transfer("load", n, 512, rows=128, software=True)) for n in (128, 512)
    )
    more_ns = 384 * TRN2.dma.software_descriptor_ns
    assert many.engine_ns - few.engine_ns == pytest.approx(more_ns)
    assert many.issue_ns - few.issue_ns == pytest.approx(more_ns)


def test_an_indirect_transfer_is_generated_by_software_index_by_index() -> None:
    plain = Transfer("load", 128, 512, rows=128, software=True)
    gather = replace(plain, software=False, indirect=128)
    extra_ns = dma_price(TRN2, gather).engine_ns - dma_price(TRN2, plain).engine_ns
    assert extra_ns == pytest.approx(128 * TRN2.dma.software_index_ns)
    assert dma_price(TRN2, gather).transfer_ns == dma_price(TRN2, plain).transfer_ns


def test_every_index_is_a_descriptor_of_its_own() -> None:
    one_run = Transfer("load", 1, 128 * 512, rows=1, indirect=128)
    runs = Transfer("load", 128, 512, rows=1, indirect=128)
    assert dma_price(TRN2, one_run) == dma_price(TRN2, runs)


def test_without_a_hardware_generator_descriptors_are_prepared_ahead() -> None:
    static = Transfer("load", 128, 2048, rows=128)
    price = dma_price(TRN1, static)
    assert price.engine_ns == price.issue_ns == TRN1.dma.issue_prepared_ns
    assert dma_price(TRN1, replace(static, cast=True)).issue_ns == TRN1.dma.issue_prepared_ns
    software = dma_price(TRN1, replace(static, software=True))
    assert software.issue_ns == TRN1.dma.issue_software_ns


@settings(deadline=None, max_examples=100)
@given(transfers())
def test_the_queues_together_work_no_longer_than_the_fullest_on_each(transfer: Transfer) -> None:
    work_ns = queue_work_ns(TRN2, transfer)
    price = dma_price(TRN2, transfer)
    assert work_ns / TRN2.dma.queues <= price.transfer_ns * (1 + 1e-12)
    assert 0 <= price.engine_ns <= price.issue_ns


def test_a_cast_needs_software_descriptors_and_slower_ones() -> None:
    plain = Transfer("store", 128, 512, rows=128)
    software = dma_price(TRN2, replace(plain, software=True))
    cast = dma_price(TRN2, replace(plain, cast=True))
    assert (cast.issue_ns, cast.first_byte_ns) == (software.issue_ns, software.first_byte_ns)
    assert cast.transfer_ns == pytest.approx(1.5 * software.transfer_ns)


def test_software_descriptors_cost_more_before_the_first_byte() -> None:
    plain = Transfer("store", 128, 512, rows=128)
    hardware, software = (dma_price(TRN2, replace(plain, software=s)) for s in (False, True))
    assert software.issue_ns + software.first_byte_ns > hardware.issue_ns + hardware.first_byte_ns
    assert software.transfer_ns == hardware.transfer_ns


def test_fewer_queues_take_longer() -> None:
    transfer = Transfer("load", 128, 2048, rows=128)
    eight = load_target("trn2", {"dma.queues": 8})
    assert dma_price(eight, transfer).transfer_ns > dma_price(TRN2, transfer).transfer_ns


@settings(deadline=None, max_examples=150)
@given(transfers(), st.integers(1, 5000), st.sampled_from(("descriptors", "bytes_per_descriptor")))
def test_more_bytes_never_cost_less(transfer: Transfer, more: int, what: str) -> None:
    larger = replace(transfer, **{what: getattr(transfer, what) + more})
    less_ns = dma_price(TRN2, transfer).transfer_ns
    assert dma_price(TRN2, larger).transfer_ns >= less_ns * (1 - 1e-12)


@settings(deadline=None, max_examples=100)
@given(transfers())
def test_no_transfer_beats_the_cap(transfer: Transfer) -> None:
    cap_gbps = max(TRN2.dma.load_cap_gbps, TRN2.dma.store_cap_gbps)
    assert dma_price(TRN2, transfer).transfer_ns >= transfer.total_bytes / cap_gbps * (1 - 1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("read", 1, 4, 1), "direction is 'read' but must be one of load, store, copy"),
        (("load", 0, 4, 1), "descriptors is 0 but must be at least 1"),
        (("load", 1, 0, 1), "bytes_per_descriptor is 0 but must be at least 1"),
        (("load", 1, 4, 0), "rows is 0 but must be at least 1"),
        (
            ("store", 1, 4, 1, True),
            "a store is asked to transpose but a transposing DMA writes SBUF",
        ),
        (("load", 1, 4, 1, False, False, False, -1), "indirect is -1 but must be 0 or more"),
        (("load", 1, 4, 1, False, False, False, 0, -2), "elem_bytes is -2 but must be 0 or more"),
    ],
)
def test_a_malformed_transfer_is_refused(
    arguments: tuple[str, int, int, int], message: str
) -> None:
    with pytest.raises(PriceError, match=message):
        Transfer(*arguments)
