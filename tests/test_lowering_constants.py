"""Tiles that hold one number: set once, before what reads them; others stay where they are."""

from __future__ import annotations

import numpy as np

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Value
from nkigen_lite.nki_ir import Builder, run, ts
from nkigen_lite.tensor_ir.passes.direct_lower.constants import hoist_constants

SHAPE = (8, 4)


def number(b: Builder, value: float, shape: tuple[int, int] = SHAPE) -> Value:
    tile = b.alloc(shape, DType.F32, name="number", num_buffers=2)
    b.memset(tile, value)
    return tile


def kernel() -> Graph:
    """y = x + 2 + 3 + 2 + the column 5 by blocks of rows, where the 3 is overwritten by a sum."""
    b = Builder("sums")
    x, y = b.add_input("x", (24, 4)), b.add_input("y_out", (24, 4))

    def block(b: Builder, i: Value) -> None:
        tile = b.alloc(SHAPE, DType.F32, name="tile")
        b.dma_copy(tile, b.slice(x, [ts(i, 8), ts(0, 4)]))
        b.tensor_tensor_arith(tile, tile, number(b, 2.0), op="add")
        changed = number(b, 3.0)
        b.tensor_tensor_arith(changed, tile, changed, op="add")
        b.tensor_tensor_arith(changed, changed, number(b, 2.0), op="add")
        column = b.broadcast(number(b, 5.0, (8, 1)), SHAPE, (0, 1))
        b.tensor_tensor_arith(changed, changed, column, op="add")
        b.dma_copy(b.slice(y, [ts(i, 8), ts(0, 4)]), changed)

    b.fori_loop("i", 3, 1, block)
    b.set_outputs({"y": y})
    return b.graph


def test_numbers_that_a_loop_reads_are_set_once_before_it() -> None:
    graph = kernel()
    hoist_constants(graph, 0)
    graph.check()
    *before, loop = graph.ops
    assert [op.opcode for op in before] == ["alloc", "memset"] * 2
    assert [op.attrs["value"] for op in before if op.opcode == "memset"] == [2.0, 5.0]
    assert {op.attrs["num_buffers"] for op in before if op.opcode == "alloc"} == {1}
    inside = [op for region in loop.regions for op in region.walk()]
    assert [op.attrs["value"] for op in inside if op.opcode == "memset"] == [3.0]
    x = np.arange(96, dtype=np.float32).reshape(24, 4)
    found = run(graph, {"x": x, "y_out": np.zeros_like(x)})
    np.testing.assert_array_equal(found["y"], x + 12)


def test_a_number_that_is_set_once_anyway_stays() -> None:
    b = Builder("once")
    y = b.add_input("y_out", SHAPE)
    tile = b.alloc(SHAPE, DType.F32, name="tile")
    b.memset(tile, 0.0)
    b.tensor_scalar_arith(tile, tile, op0="add", imm0=1.0)
    b.dma_copy(y, number(b, 1.0))
    b.set_outputs({"y": y})
    before = str(b.graph)
    hoist_constants(b.graph, 0)
    assert str(b.graph) == before
