"""Kernels print, parse back equal, and print the same again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.core.parser import parse
from nkigen_lite.core.structure import structurally_equal
from nkigen_lite.errors import InvalidInput, InvalidOp
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, run, ts
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.types import Slices, Window, affine

F32, BF16 = DType.F32, DType.BF16


def nested_loops() -> Graph:
    """Row and column blocks, a contraction loop, a peeled remainder."""
    b = Builder("nested")
    a, c = b.add_input("a.T", (64, 48), BF16), b.add_input("c", (64, 40), BF16)
    y = b.add_input("y_out", (48, 40))

    def innermost(b: Builder, acc: Value, i: Value, k: Value) -> None:
        left, right = b.alloc((16, 24), BF16, num_buffers=2), b.alloc((16, 40), BF16)
        b.dma_copy(left, b.slice(a, [ds(affine(k) * 16, 16), ts(i, 24)]))
        b.dma_copy(right, b.slice(c, [ts(k, 16), ds(0, 40)]))
        b.matmul(acc, left, right, k)
        b.dealloc(left)
        b.dealloc(right)

    def rows(b: Builder, i: Value) -> None:
        acc = b.alloc((24, 40), F32, MemorySpace.PSUM, name="acc")
        b.fori_loop("k", 4, 1, lambda b, k: innermost(b, acc, i, k))
        out = b.alloc((24, 40), F32, name="acc")
        b.activation(out, acc, op="tanh", scale=0.5)
        b.dma_copy(b.slice(y, [ts(i, 24), ds(0, 40)]), out)

    b.fori_loop("i", 2, 1, rows)
    b.set_outputs({"y": y})
    return b.graph


def every_attribute() -> Graph:
    """Floats that are hard to print, tuples of one, strides, views, negative offsets."""
    b = Builder("attributes")
    x = b.add_input("x", (9, 20))
    y = b.add_input("y_out", (3, 5))
    tile = b.alloc((3, 20), F32, name="a name with spaces")
    ramp = b.alloc((3, 20), DType.I32)
    b.iota(ramp, pattern=((1, 20),), offset=-3)

    def body(b: Builder, i: Value) -> None:
        b.dma_copy(tile, b.slice(x, [ds(affine(i) * -3 + 6, 3), ds(0, 20)]))
        part = b.slice(tile, [ds(0, 3), ds(affine(i) + 1, 5, 3)])
        wide = b.broadcast(b.reshape(part, (3, 5)), (3, 2, 5), dims=(0, 2))
        turned = b.permute(wide, (0, 2, 1))
        pair = b.alloc((3, 5, 2), F32)
        b.tensor_scalar_arith(pair, turned, op0="add", imm0=1e-30, op1="maximum", imm1=0.1)
        b.memset(b.slice(pair, [ds(0, 3), ds(0, 5), ds(1, None)]), value=float("-inf"))
        b.dma_copy(y, b.slice(pair, [ds(0, 3), ds(0, 5), ds(0, None)]))

    b.fori_loop("i", 3, 2, body)
    b.memset(tile, value=float("nan"))
    b.set_outputs({"y": y})
    return b.graph


BUILDERS = [nested_loops, every_attribute]


@pytest.mark.parametrize("build", BUILDERS)
def test_printing_is_a_fixed_point_of_parsing(build: Callable[[], Graph]) -> None:
    text = build().dump()
    assert parse(text, NKI).dump() == text


@pytest.mark.parametrize("build", BUILDERS)
def test_parsed_kernel_is_structurally_equal(build: Callable[[], Graph]) -> None:
    graph = build()
    parsed = parse(graph.dump(), NKI)
    assert parsed.verify() == []
    assert structurally_equal(graph, parsed)


@pytest.mark.parametrize("build", BUILDERS)
def test_parsed_kernel_computes_the_same(build: Callable[[], Graph]) -> None:
    graph = build()
    rng = np.random.default_rng(0)
    inputs = {
        v.name: rng.standard_normal(v.type.shape).astype(v.type.dtype.np) for v in graph.inputs
    }
    wanted = run(graph, {name: array.copy() for name, array in inputs.items()})
    made = run(parse(graph.dump(), NKI), inputs)
    np.testing.assert_array_equal(made["y"], wanted["y"])


def test_locations_survive_when_asked_for() -> None:
    graph = nested_loops()
    parsed = parse(graph.dump(locations=True), NKI)
    assert [op.loc for op in parsed.walk()] == [op.loc for op in graph.walk()]


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (Window(0, (), 4), "slice<0:4>"),
        (Window(3, (), None), "slice<3>"),
        (Window(0, ((1, 128),), 64), "slice<128*$1:64>"),
        (Window(-2, ((1, 1), (2, -8)), 5, 3), "slice<1*$1+-8*$2+-2:5:3>"),
    ],
)
def test_windows_print_and_parse(window: Window, text: str) -> None:
    assert str(Slices((window,))) == text
    assert Slices.parse(text) == Slices((window,))


def test_slice_of_a_scalar_tensor_has_no_windows() -> None:
    assert Slices.parse("slice<>") == Slices(())


def test_text_with_an_illegal_op_is_refused() -> None:
    text = nested_loops().dump().replace("num_buffers=2", "num_buffers=true or 2")
    with pytest.raises(InvalidInput, match="parse: line"):
        parse(text, NKI)


def test_text_with_a_wrong_result_type_is_refused() -> None:
    text = nested_loops().dump().replace("%acc: tile<24x40xf32@psum>", "%acc: tile<24x41xf32@psum>")
    with pytest.raises(InvalidOp, match="its row makes"):
        parse(text, NKI)
