"""Lifetimes, places, hazards and the verdict on an allocation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from allocations import (
    F32,
    LIMITS,
    PSUM,
    SBUF,
    in_turn_in_a_loop,
    kernels,
    moved,
    pipeline,
    place,
    tightly,
    two_in_turn,
)
from hypothesis import given, settings

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir import Builder, insert_deallocs, overlaps
from nkigen_lite.nki_ir.allocation import Allocation, Place, places_of
from nkigen_lite.nki_ir.hazards import hazards_of
from nkigen_lite.nki_ir.lifetimes import lifetimes
from nkigen_lite.tensor_ir.passes.layout_solver.addresses import APART, allocate


def lives(kernel: Graph) -> dict[str, tuple[int, int]]:
    return {life.value.name: life.live for life in lifetimes(kernel)}


# --- lifetimes -----------------------------------------------------------------------------------


def test_a_buffer_lives_from_its_alloc_to_its_dealloc() -> None:
    kernel = two_in_turn()
    ops = list(kernel.walk())
    for life in lifetimes(kernel):
        start, end = life.live
        assert ops[start].result is life.value
        assert ops[end].opcode == "dealloc"
        assert ops[end].inputs[0] is life.value


def test_a_buffer_used_in_a_loop_lives_through_all_of_it() -> None:
    b = Builder("k")
    tile = b.alloc((4, 4), F32, name="tile")
    b.fori_loop("i", 3, 1, lambda b, i: b.memset(tile, value=0.0))
    b.memset(b.alloc((4, 4), F32, name="other"), value=0.0)
    insert_deallocs(b.graph)
    assert [op.opcode for op in b.graph.walk()][:4] == ["alloc", "fori_loop", "memset", "dealloc"]
    assert lives(b.graph) == {"tile": (0, 3), "other": (4, 6)}


def test_a_buffer_without_a_dealloc_lives_to_the_end_of_its_level() -> None:
    b = Builder("k")
    b.fori_loop("i", 3, 1, lambda b, i: b.alloc((4, 4), F32, name="inner"))
    b.alloc((4, 4), F32, name="outer")
    assert lives(b.graph) == {"inner": (1, 2), "outer": (2, 3)}


def test_loops_around_a_buffer_are_told_from_the_outermost_in() -> None:
    b = Builder("k")
    b.fori_loop(
        "i", 3, 1, lambda b, i: b.fori_loop("j", 2, 1, lambda b, j: b.alloc((4, 4), F32, name="t"))
    )
    (life,) = lifetimes(b.graph)
    assert life.loops == ((0, 3), (1, 3))


# --- addresses -----------------------------------------------------------------------------------


def intervals(places: Iterator[Place]) -> list[tuple[str, int, int]]:
    """(memory, first byte, one past the last) of every copy; whole banks in PSUM."""
    return [
        (p.memory, offset, offset + (2048 if p.memory == "psum" else p.bytes))
        for p in places
        for offset in p.offsets
    ]


def sweep(kernel: Graph, places: dict[Value, Place]) -> None:
    """At every op, what is live lies apart: found by keeping the live set op by op."""
    live: dict[Value, Place] = {}

    def level(graph: Graph) -> None:
        mine = []
        for op in graph.ops:
            if op.opcode == "alloc" and op.result in places:
                live[op.result] = places[op.result]
                mine.append(op.result)
            elif op.opcode == "dealloc":
                live.pop(op.inputs[0], None)
            found = sorted(intervals(iter(live.values())))
            for (memory, _, end), (other, start, _) in pairwise(found):
                assert memory != other or end <= start
            for region in op.regions:
                level(region)
        for value in mine:
            live.pop(value, None)

    level(kernel)


@given(kernels())
@settings(max_examples=20)
def test_buffers_that_are_live_together_lie_apart_and_within_the_memories(kernel: Graph) -> None:
    for allocation in (allocate(kernel, LIMITS), tightly(kernel)):
        assert overlaps.problems(kernel, allocation, LIMITS) == []
        sweep(kernel, dict(places_of(kernel, allocation)))
        for p in allocation.places:
            step, room = (2048, 16384) if p.memory == "psum" else (4, LIMITS.sbuf_bytes)
            assert all(offset % step == 0 and offset + p.bytes <= room for offset in p.offsets)
        tops = [end for memory, _, end in intervals(iter(allocation.places)) if memory == "sbuf"]
        assert allocation.sbuf.top == max(tops, default=0)
        assert allocation.sbuf.live <= allocation.sbuf.top <= allocation.sbuf.capacity


@given(kernels())
@settings(max_examples=15)
def test_equal_kernels_get_equal_allocations_that_json_keeps(kernel: Graph) -> None:
    allocation = tightly(kernel)
    assert allocation == tightly(kernel)
    assert Allocation.from_json(allocation.to_json()) == allocation


def test_where_there_is_room_no_byte_is_used_twice() -> None:
    kernel = two_in_turn()
    allocation = allocate(kernel, LIMITS)
    assert allocation.sbuf.spread == APART
    assert allocation.hazards == ()
    assert allocation.sbuf.top == sum(p.bytes for p in allocation.places)


def test_with_less_room_bytes_are_kept_for_shorter() -> None:
    kernel = in_turn_in_a_loop()
    sizes = {p.name: p.bytes for p in allocate(kernel, LIMITS).places}
    assert sizes == {"total": 32, "first": 32, "second": 32}
    found = [allocate(kernel, replace(LIMITS, sbuf_bytes=room)).sbuf for room in (96, 64)]
    assert [usage.spread for usage in found] == [
        APART,
        "at least through the innermost loop if copies rotate",
    ]
    assert [usage.top for usage in found] == [96, 64]


def test_rotating_copies_keep_their_bytes_through_the_loop_before_single_ones_do() -> None:
    b = Builder("k")

    def body(b: Builder, i: Value) -> None:
        for name, copies in (("rotating", 2), ("one", 1), ("other", 1)):
            tile = b.alloc((4, 8), F32, SBUF, copies, name=name)
            b.memset(tile, value=0.0)
            b.dealloc(tile)

    b.fori_loop("i", 4, 1, body)
    allocation = allocate(b.graph, replace(LIMITS, sbuf_bytes=96))
    assert place(allocation, "one").offsets == place(allocation, "other").offsets
    assert not {*place(allocation, "rotating").offsets} & {*place(allocation, "one").offsets}


def test_buffers_of_loops_that_run_most_often_keep_their_bytes_first() -> None:
    b = Builder("k")

    def body(b: Builder, i: Value) -> None:
        for name in ("one", "other"):
            tile = b.alloc((4, 8), F32, name=f"{name}_{trips}")
            b.memset(tile, value=0.0)
            b.dealloc(tile)

    for trips in (2, 9):
        b.fori_loop("i", trips, 1, body)
    b.memset(b.alloc((4, 8), F32, name="last"), value=0.0)
    found = allocate(b.graph, replace(LIMITS, sbuf_bytes=96))
    often = {place(found, name).offsets for name in ("one_9", "other_9")}
    assert len(often) == 2
    assert place(found, "last").offsets not in often


def test_every_buffer_in_psum_has_banks_of_its_own() -> None:
    b = Builder("k")
    for name, size in (("small", 4), ("bank", 512), ("two", 600)):
        b.memset(b.alloc((4, size), F32, PSUM, name=name), value=0.0, engine="vector")
    allocation = allocate(b.graph, LIMITS)
    offsets = sorted(p.offsets[0] // 2048 for p in allocation.places)
    assert len({*offsets, place(allocation, "two").offsets[0] // 2048 + 1}) == 4
    assert allocation.psum.live == 4 * 2048


def test_sizes_are_rounded_up_to_the_alignment() -> None:
    b = Builder("k")
    for name in ("one", "two"):
        b.memset(b.alloc((4, 3), DType.U8, name=name), value=0)
    assert [p.offsets for p in allocate(b.graph, LIMITS).places] == [(0,), (4,)]


def test_what_cannot_fit_has_the_lowest_addresses_found_and_says_by_how_much() -> None:
    kernel = pipeline(copies=2)
    allocation = allocate(kernel, replace(LIMITS, sbuf_bytes=100))
    assert not allocation.fits
    assert (allocation.sbuf.top, allocation.sbuf.overflow) == (128, 28)
    assert overlaps.problems(kernel, allocation, LIMITS) == []


def test_lifetimes_that_leave_no_byte_free_are_packed() -> None:
    b = Builder("k")
    rows = [(0, 3, 2), (0, 2, 3), (2, 6, 3), (3, 5, 2), (5, 8, 2), (6, 8, 3), (0, 8, 1)]
    tiles: dict[int, Value] = {}
    for event in range(8):
        for k, (start, end, size) in enumerate(rows):
            if start == event:
                tiles[k] = b.alloc((4, size), F32, name=f"t{k}")
                b.memset(tiles[k], value=0.0)
            if end == event + 1:
                b.dealloc(tiles[k])
    allocation = tightly(b.graph)
    assert allocation.fits
    assert allocation.sbuf.top == allocation.sbuf.live


# --- hazards -------------------------------------------------------------------------------------


def shared(kernel: Graph, allocation: Allocation) -> set[tuple[str, str]]:
    """Names of buffers of which the second may follow the first on some bytes, by unrolling the
    kernel and looking at every byte of every partition."""
    places = places_of(kernel, allocation)
    owner: dict[tuple[str, int, int], str] = {}
    turns: dict[str, int] = {}
    found: set[tuple[str, str]] = set()

    def level(graph: Graph) -> None:
        for op in graph.ops:
            if op.opcode == "alloc" and op.result in places:
                p = places[op.result]
                turn = turns[p.name] = (turns.get(p.name, 0) + 1) % len(p.offsets)
                for byte in range(p.offsets[turn], p.offsets[turn] + p.bytes):
                    for row in range(p.partitions):
                        before = owner.get((p.memory, row, byte), p.name)
                        if before != p.name:
                            found.add((before, p.name))
                        owner[p.memory, row, byte] = p.name
            elif op.opcode == "fori_loop":
                for _ in range(0, op.attrs["extent"], op.attrs["step"]):
                    level(op.attrs["body"])

    level(kernel)
    return found


@given(kernels())
@settings(max_examples=20)
def test_every_handing_over_of_bytes_is_a_hazard(kernel: Graph) -> None:
    allocation = tightly(kernel)
    assert shared(kernel, allocation) <= {(h.old, h.new) for h in allocation.hazards}


def test_a_buffer_of_fewer_partitions_leaves_the_rest_to_those_before() -> None:
    b = Builder("k")
    for name, rows in (("tall", 8), ("short", 4), ("last", 8)):
        tile = b.alloc((rows, 8), F32, name=name)
        b.memset(tile, value=0.0)
        b.dealloc(tile)
    allocation = tightly(b.graph)
    assert [str(h) for h in allocation.hazards] == [
        "%tall copy 0 -> %short copy 0",
        "%tall copy 0 -> %last copy 0",
        "%short copy 0 -> %last copy 0",
    ]


def test_a_loop_of_one_trip_hands_nothing_to_its_next() -> None:
    for trips, hazards in ((1, 1), (2, 2)):
        kernel = in_turn_in_a_loop(trips)
        assert len(tightly(kernel).hazards) == hazards


# --- the verdict ---------------------------------------------------------------------------------


def test_an_overlap_of_live_buffers_is_named() -> None:
    kernel = two_in_turn()
    wrong = moved(allocate(kernel, LIMITS), "second_copy", 304)
    wrong = moved(wrong, "first_copy", 320)
    (sentence,) = [s for s in overlaps.problems(kernel, wrong, LIMITS) if "second_copy" in s][:1]
    assert sentence == (
        "allocation: %first_copy copy 0 at byte 320 and %second_copy copy 0 at byte 304 of sbuf "
        "overlap but are live together"
    )
    with pytest.raises(InvalidInput, match="overlap but are live together"):
        overlaps.check(kernel, wrong, LIMITS)


@pytest.mark.parametrize(
    ("offsets", "sentence"),
    [
        ((2, 64), "copy 0 in sbuf is at byte 2 but must be at a multiple of 4"),
        ((-4, 64), "copy 0 in sbuf is at byte -4 but must be at a multiple of 4"),
        ((64, 4080), "copy 1 in sbuf ends at byte 4112 but there are 4096 per partition"),
        ((64, 80), "%tile copy 0 at byte 64 and %tile copy 1 at byte 80 of sbuf overlap"),
    ],
)
def test_a_place_that_is_wrong_by_itself_is_named(offsets: tuple[int, ...], sentence: str) -> None:
    kernel = pipeline(copies=2)
    wrong = moved(moved(allocate(kernel, LIMITS), "copy", 1024, 2048), "tile", *offsets)
    (found,) = overlaps.problems(kernel, wrong, LIMITS)
    assert sentence in found


def test_two_buffers_in_one_bank_are_named() -> None:
    b = Builder("k")
    for name in ("one", "two"):
        b.memset(b.alloc((4, 4), F32, PSUM, name=name), value=0.0, engine="vector")
    allocation = moved(allocate(b.graph, LIMITS), "two", 64)
    found = overlaps.problems(b.graph, allocation, LIMITS)
    assert any(
        "%two copy 0 in psum is at byte 64 but must be at a multiple of 2048" in s for s in found
    )
    assert any("of psum overlap but are live together" in s for s in found)


def test_hazards_follow_from_the_kernel_and_its_places_alone() -> None:
    kernel = in_turn_in_a_loop()
    allocation = tightly(kernel)
    assert hazards_of(kernel, places_of(kernel, allocation)) == allocation.hazards


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.pop("sbuf"), "Allocation is"),
        (lambda d: d["sbuf"].pop("top"), "Usage is"),
        (lambda d: d["places"][0].update(extra=1), "Place is"),
        (lambda d: d.update(hazards=[3]), "Hazard is '3' but must be an object of old"),
    ],
)
def test_json_that_is_no_allocation_is_refused(change: object, sentence: str) -> None:
    data = json.loads(allocate(two_in_turn(), LIMITS).to_json())
    change(data)  # type: ignore[operator]
    with pytest.raises(InvalidInput, match=sentence):
        Allocation.from_json(json.dumps(data))


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidInput, match="allocation: the text is no JSON"):
        Allocation.from_json("{")
