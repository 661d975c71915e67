"""The map of SBUF and PSUM: as data, text, SVG, and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from allocations import F32, LIMITS, in_turn_in_a_loop, kernels, pipeline, tightly, two_in_turn
from command_line import Run, fails
from hypothesis import given, settings

from nkigen_lite.core.ir import Graph
from nkigen_lite.nki_ir import Builder
from nkigen_lite.nki_ir.allocation import Allocation
from nkigen_lite.report.memory_map import MemoryMap, memory_map
from nkigen_lite.report.memory_svg import memory_svg
from nkigen_lite.report.memory_text import memory_text
from nkigen_lite.tensor_ir.passes.layout_solver.addresses import allocate

SVG = "{http://www.w3.org/2000/svg}"


def mapped(
    kernel: Graph, allocation: Callable[[Graph], Allocation] = lambda k: allocate(k, LIMITS)
) -> MemoryMap:
    return memory_map(kernel, allocation(kernel))


def boxes(svg: str) -> dict[str, list[ET.Element]]:
    """The rectangles of an SVG document by the first line of their tooltips."""
    found: dict[str, list[ET.Element]] = {}
    for box in ET.fromstring(svg).iter(f"{SVG}rect"):
        title = box.find(f"{SVG}title")
        if title is not None and title.text:
            found.setdefault(title.text.split(" of ")[0], []).append(box)
    return found


# --- data ----------------------------------------------------------------------------------------


def test_a_rotating_copy_is_kept_through_its_loop_and_a_single_one_is_not() -> None:
    for copies, kept in ((2, (0, 11)), (1, None)):
        found = mapped(pipeline(copies))
        (band,) = found.bands
        assert (band.name, band.trips, band.depth) == ("i", 6, 0)
        for strip in found.panels[0].strips:
            assert strip.kept == (band.span if kept else strip.live)


def test_loops_are_as_deep_as_the_loops_around_them() -> None:
    b = Builder("k")
    tile = b.alloc((4, 4), F32)
    b.fori_loop(
        "i",
        3,
        1,
        lambda b, i: b.fori_loop("j", 5, 2, lambda b, j: b.memset(tile, value=0.0)),
    )
    found = mapped(b.graph)
    assert [(band.name, band.trips, band.span, band.depth) for band in found.bands] == [
        ("i", 3, (1, 4), 0),
        ("j", 3, (2, 4), 1),
    ]


# --- text ----------------------------------------------------------------------------------------


def test_text_draws_a_letter_per_buffer_above_the_loops() -> None:
    text = memory_text(mapped(two_in_turn()), title="in_turn", width=60)
    assert text.splitlines()[:3] == [
        "in_turn",
        "SBUF by address: 128 B of 4.0 KiB per partition; live at",
        "most 96 B, 25.0% is free then",
    ]
    assert "no byte is used by two buffers" in text
    drawing = [line[10:] for line in text.splitlines() if " B " in line[:11] and "." in line[10:]]
    assert {letter for line in drawing for letter in line} == set("abcd.")


def test_text_says_what_sharing_costs() -> None:
    text = memory_text(mapped(in_turn_in_a_loop(), tightly), title="k", width=100)
    assert "2 hazards: a buffer waits for the last users of one that had its bytes" in text
    assert "loops " in text
    assert "|i x4" in text


@given(kernels())
@settings(max_examples=15)
def test_every_line_of_the_text_fits_the_width(kernel: Graph) -> None:
    found = mapped(kernel, tightly)
    for width in (40, 60, 120):
        text = memory_text(found, title="k", width=width, full=True, encoding="ascii")
        assert max(map(len, text.splitlines())) <= width
        text.encode("ascii")


# --- SVG -----------------------------------------------------------------------------------------


@given(kernels())
@settings(max_examples=15)
def test_buffers_are_drawn_where_they_lie_and_live_ones_do_not_overlap(kernel: Graph) -> None:
    found = mapped(kernel, tightly)
    drawn = boxes(memory_svg(found, title="k"))
    for panel in found.panels:
        for strip in panel.strips:
            mine = drawn[f"{strip.place.name} copy {strip.copy}"]
            assert len(mine) == 1 + (strip.kept != strip.live)
        frames = [
            [float(box.get(k, 0)) for k in ("x", "y", "width", "height")]
            for strip in panel.strips
            for box in drawn[f"{strip.place.name} copy {strip.copy}"][-1:]
        ]
        for k, (x, y, wide, high) in enumerate(frames):
            assert wide > 0
            for x2, y2, wide2, high2 in frames[:k]:
                apart_in_time = x + wide <= x2 + 0.02 or x2 + wide2 <= x + 0.02
                # What is thinner than a pixel is drawn as one.
                assert apart_in_time or y + high <= y2 + 1 or y2 + high2 <= y + 1


def test_values_of_one_name_have_one_colour() -> None:
    b = Builder("k")
    for name in ("x", "x", "y", "v10"):
        b.memset(b.alloc((4, 4), F32, name=name), value=0.0)
    drawn = boxes(memory_svg(mapped(b.graph), title="k"))
    colour = {title: group[0].get("class") for title, group in drawn.items()}
    assert colour["x copy 0"] == colour["x_1 copy 0"]
    assert len(set(colour.values())) == 3


def test_a_kernel_without_buffers_on_chip_draws_too() -> None:
    found = mapped(Builder("k").graph)
    assert "nothing lies on chip" in memory_svg(found, title="k")
    assert "0 B of 4.0 KiB" in memory_text(found, title="k")


# --- the command ---------------------------------------------------------------------------------


def _words(kernels: str, *more: str) -> tuple[str, ...]:
    return ("memory", f"{kernels}:softmax", "--arg", "x=512x256", *more)


def test_memory_prints_the_map_and_writes_the_drawing(
    run: Run, kernels: str, tmp_path: Path
) -> None:
    svg = tmp_path / "a.svg"
    code, out, err = run(*_words(kernels, "--svg", str(svg)))
    assert (code, err) == (0, "")
    assert out.startswith("softmax on trn2\nSBUF by address: ")
    assert out.endswith(f"wrote {svg}\n")
    assert "softmax on trn2" in svg.read_text(encoding="utf-8")


def test_json_is_the_allocation(run: Run, kernels: str) -> None:
    code, out, err = run(*_words(kernels, "--json"))
    assert (code, err) == (0, "")
    allocation = Allocation.from_json(out)
    assert allocation.kernel == "softmax"
    report = json.loads(run("compile", *_words(kernels, "--json")[1:])[1])
    assert report["addresses"]["sbuf"]["top"] == allocation.sbuf.top
    assert report["addresses"]["hazards"] == len(allocation.hazards)


@pytest.mark.parametrize("width", [40, 80])
def test_the_map_is_as_wide_as_the_terminal(
    run: Run, kernels: str, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(map(len, run(*_words(kernels, "--full"))[1].splitlines())) <= width


def test_a_drawing_that_cannot_be_written_is_named(run: Run, kernels: str) -> None:
    fails(run(*_words(kernels, "--svg", "/proc/no.svg")), "/proc/no.svg: cannot be written")


@pytest.mark.parametrize("order", ["program", "3"])
def test_run_can_check_memory(run: Run, kernels: str, order: str) -> None:
    words = ("run", f"{kernels}:both", "--arg", "x=40x30")
    plain = run(*words, "--check")
    assert plain[0] == 0
    assert run(*words, "--check", "--checked", order) == plain


def test_an_order_that_is_none_is_refused(run: Run, kernels: str) -> None:
    words = ("run", f"{kernels}:both", "--arg", "x=40x30", "--checked", "sideways")
    fails(run(*words), "'sideways' is not a whole number from 0 to 2**31 - 1", code=2)


def test_simulate_can_wait_for_addresses(run: Run, kernels: str) -> None:
    small = "memory.sbuf_usable_bytes_per_partition=2048"
    words = ("simulate", f"{kernels}:softmax", "--arg", "x=512x256", "--json", "--set", small)
    apart, waiting = (json.loads(run(*words, *more)[1]) for more in ((), ("--addresses",)))
    assert apart["simulated_us"] <= waiting["simulated_us"] == waiting["timeline"]["time_us"]
    report = json.loads(run("compile", *words[1:])[1])
    assert report["addresses"]["simulated_us"] == pytest.approx(waiting["simulated_us"], rel=1e-9)
    assert report["simulated_us"] == apart["simulated_us"]
