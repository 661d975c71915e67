"""How views are written: one folded subscript, plain integers, methods of the tensor."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from emit_agreement import assert_agrees

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir import Builder, MemorySpace, ds, ts
from nkigen_lite.nki_ir.types import affine

View = Callable[[Builder, Value, Value], Value]


def shape_of(view: View, shape: tuple[int, ...], memory: MemorySpace) -> tuple[int, ...]:
    """The shape of a view, found by building it once."""
    b, shapes = Builder("probe"), []
    base = b.alloc(shape, DType.F32, memory)
    b.fori_loop("i", 2, 1, lambda b, i: shapes.append(view(b, base, i).type.shape))
    return shapes[0]


def text_of(view: View, shape: tuple[int, ...], memory: MemorySpace) -> str:
    """The kernel that copies a view of ``x`` in each of two iterations of a loop over ``i``."""
    b = Builder("views")
    given = b.add_input("x" if memory is MemorySpace.HBM else "given", shape)
    outputs: dict[str, Value] = {}

    def body(b: Builder, i: Value) -> None:
        base = given
        if memory is MemorySpace.SBUF:
            base = b.alloc(shape, DType.F32, name="x")
            b.dma_copy(base, given)
        read = view(b, base, i)
        if memory is MemorySpace.SBUF:
            copy = b.alloc((*read.type.shape, 1), DType.F32, name="copy")
            copied = b.reshape(copy, read.type.shape)
            b.tensor_copy(copied, read)
            read = copied
        b.dma_copy(outputs["y"], read)

    outputs["y"] = b.add_input("y_out", shape_of(view, shape, memory))
    b.fori_loop("i", 2, 1, body)
    b.set_outputs(outputs)
    return assert_agrees(b.graph)


HBM_VIEWS: dict[str, View] = {
    "x[0:4, 3]": lambda b, x, i: b.slice(x, [ds(0, 4), ds(3, None)]),
    "x[nl.ds(i * 4, 4), 0:10]": lambda b, x, i: b.slice(x, [ts(i, 4), ds(0, 10)]),
    "x[nl.ds(i, 4), i + 1]": lambda b, x, i: b.slice(x, [ds(i, 4), ds(affine(i) + 1, None)]),
    "x[nl.ds(3 - i * 2, 2), 0:10:3]": lambda b, x, i: b.slice(
        x, [ds(affine(i) * -2 + 3, 2), ds(0, 4, 3)]
    ),
    "x[i + 2 : i + 6 : 3, 0:10]": lambda b, x, i: b.slice(x, [ds(affine(i) + 2, 2, 3), ds(0, 10)]),
    "x[0:8, nl.ds(i * 2 + 3, 4)]": lambda b, x, i: b.slice(
        b.slice(x, [ds(0, 8), ds(1, 8)]), [ds(0, 8), ds(affine(i) * 2 + 2, 4)]
    ),
    "x[0:8, 1:10:4]": lambda b, x, i: b.slice(
        b.slice(x, [ds(0, 8), ds(1, 5, 2)]), [ds(0, 8), ds(0, 3, 2)]
    ),
    "x[3, 2:6]": lambda b, x, i: b.slice(b.slice(x, [ds(3, None), ds(1, 8)]), [ds(1, 4)]),
    "x.reshape((80,))[nl.ds(i * 5, 5)]": lambda b, x, i: b.slice(
        b.reshape(b.reshape(x, (4, 20)), (80,)), [ts(i, 5)]
    ),
    "x.permute((1, 0))": lambda b, x, i: b.permute(x, (1, 0)),
    "x": lambda b, x, i: b.permute(b.permute(x, (1, 0)), (1, 0)),
    "x.reshape((2, 4, 10)).permute((2, 0, 1))": lambda b, x, i: b.permute(
        b.permute(b.reshape(x, (2, 4, 10)), (1, 2, 0)), (1, 2, 0)
    ),
    "x[0:8, i].expand_dim(0).broadcast(0, 5)": lambda b, x, i: b.broadcast(
        b.slice(x, [ds(0, 8), ds(i, None)]), (5, 8), dims=(1,)
    ),
}
TILE_VIEWS: dict[str, View] = {
    "x[0:8, 3]": lambda b, x, i: b.slice(x, [ds(0, 8), ds(3, None)]),
    "x[0:8, 0:5].reshape((8, 5, 1)).broadcast(2, 3)": lambda b, x, i: b.broadcast(
        b.reshape(b.slice(x, [ds(0, 8), ds(0, 5)]), (8, 5, 1)), (8, 5, 3)
    ),
    "x[0:8, i].broadcast(1, 6)": lambda b, x, i: b.broadcast(
        b.slice(x, [ds(0, 8), ds(i, None)]), (8, 6), dims=(0,)
    ),
    "x[0:8, 2].expand_dim(2).broadcast(1, 2).broadcast(2, 3)": lambda b, x, i: b.broadcast(
        b.slice(x, [ds(0, 8), ds(2, None)]), (8, 2, 3), dims=(0,)
    ),
    "x.expand_dim(1).broadcast(1, 3)": lambda b, x, i: b.broadcast(x, (8, 3, 10), dims=(0, 2)),
}


@pytest.mark.parametrize("text", HBM_VIEWS)
def test_view_of_hbm_is_written_as(text: str) -> None:
    view = HBM_VIEWS[text]
    assert f"src={text})" in text_of(view, (8, 10), MemorySpace.HBM)


@pytest.mark.parametrize("text", TILE_VIEWS)
def test_view_of_a_tile_is_written_as(text: str) -> None:
    view = TILE_VIEWS[text]
    assert f"src={text}, " in text_of(view, (8, 10), MemorySpace.SBUF).replace("\n", " ")


def test_window_of_a_rank_one_tile_keeps_the_dimension_that_nki_adds() -> None:
    def view(b: Builder, x: Value, i: Value) -> Value:
        return b.slice(b.reshape(x, (8,)), [ds(0, 4)])

    assert "src=x[0:4, 0:1], " in text_of(view, (8, 1), MemorySpace.SBUF)
