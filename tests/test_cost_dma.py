"""DMA prices: spreading over queues, caps, order, and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_models import PriceError, Transfer, dma_price, load_target

TRN2 = load_target("trn2")


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


@pytest.mark.parametrize(("direction", "cap_gbps"), [("load", 310), ("store", 368), ("copy", 368)])
def test_long_transfers_run_at_the_cap(direction: str, cap_gbps: float) -> None:
    price = dma_price(TRN2, Transfer(direction, 128, 65536, rows=128))
    assert 128 * 65536 / price.transfer_ns == pytest.approx(cap_gbps)


def test_a_copy_deals_its_descriptors_whatever_the_rows() -> None:
    few, many = (dma_price(TRN2, Transfer("copy", 64, 512, rows=r)) for r in (1, 64))
    assert few == many


@pytest.mark.parametrize(("direction", "factor"), [("load", 0.9), ("copy", 0.5)])
def test_a_transposing_transfer_runs_at_its_fraction_of_the_rate(
    direction: str, factor: float
) -> None:
    plain = Transfer(direction, 128, 4096, rows=128)
    slow = dma_price(TRN2, replace(plain, transpose=True))
    assert slow.transfer_ns == pytest.approx(dma_price(TRN2, plain).transfer_ns / factor)


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
    ],
)
def test_a_malformed_transfer_is_refused(
    arguments: tuple[str, int, int, int], message: str
) -> None:
    with pytest.raises(PriceError, match=message):
        Transfer(*arguments)
