"""Functions for what a kernel does more than once: when, with which parameters, and that calls of
them compute the same."""

from __future__ import annotations

import ast
import re

import pytest
from emit_agreement import assert_agrees, assert_legal
from hypothesis import given, settings
from hypothesis import strategies as st
from test_emit_examples import assert_reads_well

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op
from nkigen_lite.nki_ir import Builder, ds
from nkigen_lite.nki_ir.emit.linear import Linear, Progress, progress
from nkigen_lite.nki_ir.emit.units import without_idle
from nkigen_lite.nki_ir.emit_nki import Form, emit_nki
from nkigen_lite.nki_ir.types import Affine, DimSlice
from nkigen_lite.source_check import check_source

F32 = DType.F32


def chain(b: Builder, tile: object, scratch: object, functions: tuple[str, ...]) -> None:
    """Activations of a tile, one after the other."""
    source = tile
    for name in functions:
        b.activation(scratch, source, op=name, scale=0.5)
        source = scratch


def pipelined(
    trips: int, width: int = 16, rest: int = 0, functions: tuple[str, ...] = ("tanh",) * 8
) -> Graph:
    """Blocks of 32 rows and ``rest`` more: one is loaded while that before is computed."""
    b = Builder("pipelined")
    rows = trips * 32 + rest
    x, y = b.add_input("x", (rows, width)), b.add_input("y_out", (rows, width))
    ring = b.alloc((64, width), F32, num_buffers=2, name="ring")

    def load(at: Affine, count: int = 32) -> None:
        with b.grouped("v1_stage", "Load v1."):
            target = b.slice(ring, [ds(0, count), ds(0, width)])
            b.dma_copy(target, b.slice(x, [ds(at, count), ds(0, width)]))

    def compute(at: Affine, lag: int, count: int = 32) -> None:
        with b.grouped("v2_stage", "Make v2."):
            held = b.slice(b.previous(ring, lag), [ds(0, count), ds(0, width)])
            buffer = b.alloc((64, width), F32, name="made")
            made = b.slice(buffer, [ds(0, count), ds(0, width)])
            chain(b, held, made, functions)
            b.dma_copy(b.slice(y, [ds(at, count), ds(0, width)]), made)

    load(Affine())

    def both(b: Builder, i: object) -> None:
        b.rotate(ring)
        load(Affine(32, ((i, 32),)))
        compute(Affine(0, ((i, 32),)), 1)

    if trips > 1:
        b.fori_loop("i", trips - 1, 1, both)
    compute(Affine((trips - 1) * 32), 0)
    if rest:
        load(Affine(trips * 32), rest)
        compute(Affine(trips * 32), 0, rest)
    b.set_outputs({"y": y})
    return b.graph


def functions_of(text: str) -> dict[str, ast.FunctionDef]:
    """Functions beside the kernel that it calls."""
    defined = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}
    kernel = next(n for n in defined.values() if n.decorator_list)
    called = {ast.unparse(n.func) for n in ast.walk(kernel) if isinstance(n, ast.Call)}
    return {name: node for name, node in defined.items() if name in called}


def test_stage_of_a_pipeline_is_one_function() -> None:
    form = Form(names={"v1": "rows", "v2": "squashed"}, parts=("all of it",))
    graph = pipelined(4, rest=8)
    text = emit_nki(graph, form)
    assert_reads_well(text)
    (name, function), *others = functions_of(text).items()
    assert (name, others) == ("squashed_stage", [])
    assert ast.get_docstring(function) == "Make squashed."
    assert [a.arg for a in function.args.args] == ["ring", "y", "size", "i"]
    kernel = text[text.index("@nki.jit") :]
    calls = re.findall(r"squashed_stage\((.*)\)", kernel)
    assert calls == [
        "ring_before, y, size=32, i=i",
        "ring, y, size=32, i=3",
        "ring, y, size=8, i=4",
    ]
    assert text.count("nisa.activation(") == 8
    assert emit_nki(pipelined(4, rest=8), form) == text


def test_calls_compute_what_the_interpreter_computes() -> None:
    assert functions_of(assert_agrees(pipelined(5, rest=24)))


@settings(max_examples=6, deadline=None)
@given(
    trips=st.integers(1, 4),
    width=st.sampled_from([1, 16]),
    rest=st.sampled_from([0, 1, 31]),
    functions=st.lists(st.sampled_from(["tanh", "square", "copy"]), min_size=5, max_size=9),
)
def test_any_pipeline_agrees(trips: int, width: int, rest: int, functions: list[str]) -> None:
    assert_agrees(pipelined(trips, width, rest, tuple(functions)))


def test_what_is_short_or_different_stays_in_its_place() -> None:
    assert not functions_of(emit_nki(pipelined(4, functions=("tanh",))))
    b = Builder("different")
    x, y = b.add_input("x", (8, 4)), b.add_input("y_out", (16, 4))
    for at, name in enumerate(("tanh", "exp")):
        with b.grouped("v1_stage", "Make v1."):
            tile = b.alloc((8, 4), F32, name="tile")
            b.dma_copy(tile, x)
            chain(b, tile, tile, (name,) * 9)
            b.dma_copy(b.slice(y, [ds(at * 8, 8), ds(0, 4)]), tile)
    b.set_outputs({"y": y})
    assert not functions_of(assert_agrees(b.graph))


def test_a_unit_that_rotates_a_buffer_of_others_stays_in_its_place() -> None:
    b = Builder("turning")
    x, y = b.add_input("x", (8, 4)), b.add_input("y_out", (24, 4))
    ring = b.alloc((8, 4), F32, num_buffers=2, name="ring")
    b.dma_copy(ring, x)
    for at in range(3):
        with b.grouped("v1_stage", "Make v1."):
            b.rotate(ring)
            chain(b, b.previous(ring), ring, ("tanh",) * 9)
            b.dma_copy(b.slice(y, [ds(at * 8, 8), ds(0, 4)]), ring)
    b.set_outputs({"y": y})
    assert not functions_of(assert_agrees(b.graph))


def test_many_turns_that_are_written_out_are_tiles_that_take_turns() -> None:
    b = Builder("turning")
    x, y = b.add_input("x", (8, 4)), b.add_input("y_out", (48, 4))
    ring = b.alloc((8, 4), F32, num_buffers=2, name="ring")
    alloc = ring.producer
    assert alloc is not None
    b.dma_copy(ring, x)
    for at in range(6):
        b.rotate(ring)
        with b.grouped("v1_stage", "Make v1."):
            chain(b, b.previous(ring), ring, ("tanh",) * 9)
            b.dma_copy(b.slice(y, [ds(at * 8, 8), ds(0, 4)]), ring)
    b.set_outputs({"y": y})
    assert functions_of(assert_agrees(b.graph))
    text = emit_nki(b.graph, addresses={alloc: (64, 4096)})
    assert_legal(text)
    tiles = re.findall(r"    (ring\w*) = nl.ndarray\(.*address=\(0, (\d+)\)", text)
    assert tiles == [("ring", "64"), ("ring_1", "4096")]
    calls = re.findall(r"v1_stage\((ring\w*), (ring\w*), ", text[text.index("@nki.jit") :])
    assert calls == [("ring_1", "ring"), ("ring", "ring_1")] * 3  # the new one, the one before


def test_addresses_are_parameters() -> None:
    graph = pipelined(4)
    made = [op for op in graph.walk() if op.opcode == "alloc" and op.result.name == "made"]
    places: dict[Op, tuple[int, ...]] = {op: (512 + 64 * n,) for n, op in enumerate(made)}
    text = emit_nki(graph, addresses=places)
    assert_legal(text)
    assert "v2_stage(ring_before, y, i=i, made_at=(0, 512))" in text
    assert "v2_stage(ring, y, i=3, made_at=(0, 576))" in text


def test_parameters_have_names_that_python_can_hold() -> None:
    text = emit_nki(pipelined(4), Form(names={"ring": "in_1", "made": "_1"}))
    assert "def v2_stage(in_, y, i):" in text
    assert_legal(text)


def test_function_has_no_name_that_the_kernel_uses() -> None:
    text = emit_nki(pipelined(4), Form(names={"v2_stage": "ring"}))
    assert list(functions_of(text)) == ["ring_1"]
    assert_legal(text)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7, 7, 7], 7),
        ([0, 1, 2], Progress(0, 1, (Linear(), Linear(1), Linear(2)))),
        ([256, 512, 1024], Progress(256, 256, (Linear(), Linear(1), Linear(3)))),
        ([6, 2], Progress(6, -4, (Linear(), Linear(1)))),
    ],
)
def test_a_number_follows_a_parameter(values: list[int], expected: object) -> None:
    found = progress([Linear(value) for value in values])
    assert found == expected
    if isinstance(found, Progress):
        made = [Linear(found.start) + count * found.step for count in found.counts]
        assert made == [Linear(value) for value in values]


def test_a_number_that_follows_a_loop_is_a_parameter_even_if_it_is_the_same() -> None:
    index = Linear.of("i")
    assert progress([index * 4, index * 4]) == Progress(0, 4, (index, index))


# --- the checker follows calls -------------------------------------------------------------------

HEAD = 'INPUTS = {"x": ((8, 4), "float32")}\n\n\n'
KERNEL = """

@nki.jit
def kernel(x):
    y = nl.ndarray((8, 4), dtype=nl.float32, buffer=nl.shared_hbm)
    tile = nl.ndarray((8, 4), dtype=nl.float32, buffer=nl.sbuf)
"""
FILL = """\
def fill(dst, src, count):
    for i in range(count):
        nisa.dma_copy(dst=dst, src=src)
"""


def problems(functions: str, *lines: str) -> list[str]:
    body = "".join(f"    {line}\n" for line in (*lines, "return y"))
    return [p.sentence for p in check_source(HEAD + functions + KERNEL + body).problems]


def test_calls_are_executed() -> None:
    filled = "fill(tile, src=x, count=2)", "nisa.dma_copy(dst=y, src=tile)"
    assert problems(FILL, *filled) == []
    assert "nothing has written" in problems(FILL, "fill(y, tile, 1)")[0]


@pytest.mark.parametrize(
    ("functions", "line", "expected"),
    [
        (FILL, "fill(tile, x)", "fill takes dst, src, count but is given 2 arguments by place"),
        (FILL, "fill(tile, x, 1, count=1)", "fill takes dst, src, count"),
        (FILL, "fill(tile, x, 0)", "range(count) is empty"),
        (FILL, "fill(tile, x, count=tile)", "range(count) is not made of numbers"),
        ("def f(t):\n    f(t)\n", "f(tile)", "f calls itself"),
        ("def f(t):\n    return t\n", "f(tile)", "f returns something"),
        ("def f(t=1):\n    pass\n", "f(tile)", "f: parameters must be plain names"),
        ("", "f(tile)", "f stands alone but must be a call of nki.isa"),
        ("def f(t):\n    nisa.dma_copy(dst=t, src=x)\n", "f(tile)", "x is used but nothing"),
    ],
)
def test_calls_that_nki_would_refuse(functions: str, line: str, expected: str) -> None:
    found = problems(functions, line, "nisa.dma_copy(dst=y, src=x)")
    assert any(expected in sentence for sentence in found), found


def test_numbers_are_named_after_what_they_say() -> None:
    """An index of a dimension is `at`, the beginning of a window `start`."""
    b = Builder("picked")
    x, y = b.add_input("x", (3, 32, 100)), b.add_input("y_out", (3, 32, 100))
    for at, start in ((0, 0), (2, 40), (1, 60)):
        with b.grouped("v1_part", "Make v1."):
            window = [DimSlice(at, None), ds(0, 32), ds(start, 20)]
            made = b.alloc((32, 20), F32, name="made")
            b.dma_copy(made, b.slice(x, window))
            chain(b, made, made, ("tanh",) * 8)
            b.dma_copy(b.slice(y, window), made)
    b.set_outputs({"y": y})
    (function,) = functions_of(emit_nki(b.graph, Form(names={"v1": "part"}))).values()
    assert [a.arg for a in function.args.args] == ["x", "y", "at", "start"]


def test_second_names_that_nothing_uses_are_left_out() -> None:
    lines = ["    old2 = old", "    old = a", "    a = f()", "    g(a, b)", "    b = c"]
    assert without_idle([*lines]) == lines[2:]
    assert without_idle([*lines, "    g(old2)"]) == [*lines, "    g(old2)"]
