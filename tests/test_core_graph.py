"""Editing graphs: insertion, erasure, dead code, order, copies."""

from __future__ import annotations

import numpy as np
import pytest
from free_graphs import T, free_graph, put, tensor_graph

from nkigen_lite.core import DType, Graph, Op, Value, structurally_equal
from nkigen_lite.core.ir import captured_values, clone
from nkigen_lite.nki_ir import Builder as TileBuilder
from nkigen_lite.nki_ir import DimSlice, MemorySpace, ds
from nkigen_lite.nki_ir import run as run_kernel

# --- inserting and erasing -----------------------------------------------------------------------


def test_insertion_goes_before_and_after_the_reference() -> None:
    g, x, _ = free_graph()
    middle, last = put(g, "middle", x), put(g, "last", x)
    g.insert_before(middle, Op("a", [x], [T]))
    g.insert_after(middle, Op("b", [x], [T]))
    g.insert_before(last, Op("c", [x], [T]))
    g.insert_after(last, Op("d", [x], [T]))
    assert [op.opcode for op in g.ops] == ["a", "middle", "b", "c", "last", "d"]


def test_insertion_finds_its_place_after_ops_have_gone() -> None:
    g, x, _ = free_graph()
    ops = [put(g, f"op{i}", x) for i in range(5)]
    g.insert_after(ops[4], Op("end", [x], [T]))
    for op in ops[1:]:
        g.erase_op(op)
    g.insert_before(ops[0], Op("start", [x], [T]))
    assert [op.opcode for op in g.ops] == ["start", "op0", "end"]


def test_insertion_next_to_a_foreign_op_is_refused() -> None:
    g, x, _ = free_graph()
    stranger = Op("stranger", [], [T])
    with pytest.raises(ValueError, match="graph @free: stranger is not one of its ops"):
        g.insert_before(stranger, Op("a", [x], [T]))


def test_erasing_frees_the_operands() -> None:
    g, x, y = free_graph()
    op = put(g, "f", x, x, y)
    g.erase_op(op)
    assert g.ops == []
    assert not x.has_uses
    assert not y.has_uses


def test_erasing_a_used_op_says_how_often_it_is_used() -> None:
    g, x, _ = free_graph()
    op = put(g, "f", x)
    put(g, "g", op.result, op.result)
    with pytest.raises(ValueError, match=r"%v1 still has 2 use\(s\)"):
        g.erase_op(op)


def test_erasing_the_producer_of_an_output_is_refused() -> None:
    g, x, _ = free_graph()
    op = put(g, "f", x)
    g.set_outputs({"o": op.result})
    with pytest.raises(ValueError, match=r"still has 1 use\(s\)"):
        g.erase_op(op)


def test_erasing_an_op_that_its_operand_does_not_know_is_refused() -> None:
    g, x, _ = free_graph()
    op = put(g, "f", x)
    x._uses.clear()
    with pytest.raises(ValueError, match="use-list inconsistency, %x does not know it"):
        g.erase_op(op)
    assert g.ops == [op]


def test_erasing_an_op_frees_what_its_region_captured() -> None:
    g, x, y = free_graph()
    body = Graph("body")
    inner = Op("f", [x, body.add_input("i", T)], [T])
    body.append(inner)
    deeper = Graph("deeper")
    deeper.append(Op("g", [y, y], [T]))
    body.append(Op("loop", [], [], {"body": deeper}))
    loop = put(g, "loop", x, results=0, body=body)
    assert x.uses == [inner, loop]
    g.erase_op(loop)
    assert not x.has_uses
    assert not y.has_uses


# --- dead code -----------------------------------------------------------------------------------


def test_dead_chains_go_in_one_call() -> None:
    b, x = tensor_graph()
    b.exp(b.log(b.neg(x)))
    kept = b.abs(x)
    b.set_outputs({"y": kept})
    assert b.graph.dce() == 3
    assert b.graph.ops == [kept.producer]
    assert x.uses == [kept.producer]


def test_nothing_dead_removes_nothing() -> None:
    b, x = tensor_graph()
    b.set_outputs({"y": b.exp(b.neg(x))})
    assert b.graph.dce() == 0
    assert len(b.graph.ops) == 2


def test_graph_without_a_dialect_keeps_everything() -> None:
    g, x, _ = free_graph()
    put(g, "f", x)
    assert g.dce() == 0
    assert len(g.ops) == 1


def test_op_without_a_row_is_kept_with_its_operands() -> None:
    b, x = tensor_graph()
    made = b.exp(x)
    put(b.graph, "send_somewhere", made)
    assert b.graph.dce() == 0
    assert [op.opcode for op in b.graph.ops] == ["exp", "send_somewhere"]


def loop_kernel() -> tuple[TileBuilder, Value, Value]:
    """y[i] = 2 * x[i] in a loop; the tile that the body reads is made outside."""
    b = TileBuilder("loop")
    x, y = b.add_input("x", (2, 8, 4)), b.add_input("y_out", (2, 8, 4))
    tile = b.alloc((8, 4), DType.F32, MemorySpace.SBUF)

    def body(b: TileBuilder, i: Value) -> None:
        b.dma_copy(tile, b.slice(x, [DimSlice(i, None), ds(0, 8), ds(0, 4)]))
        b.tensor_scalar_arith(tile, tile, op0="multiply", imm0=2.0)
        b.dma_copy(b.slice(y, [DimSlice(i, None), ds(0, 8), ds(0, 4)]), tile)

    b.fori_loop("i", 2, 1, body)
    b.set_outputs({"y": y})
    return b, tile, y


def test_what_a_region_reads_is_not_dead() -> None:
    b, tile, _ = loop_kernel()
    assert all(user not in b.graph.ops for user in tile.uses)
    assert b.graph.dce() == 0
    assert tile.producer in b.graph.ops


def test_ops_with_effects_are_kept_without_readers() -> None:
    b, _, _ = loop_kernel()
    assert [b.graph.effects(op) for op in b.graph.ops if not op.results] == [("region",)]


# --- order ---------------------------------------------------------------------------------------


def test_sorting_puts_producers_first() -> None:
    b, x = tensor_graph()
    last = b.exp(b.neg(b.abs(x)))
    b.set_outputs({"y": last})
    b.graph.ops.reverse()
    assert b.graph.verify() != []
    b.graph.toposort()
    assert b.graph.verify() == []
    assert [op.opcode for op in b.graph.ops] == ["abs", "neg", "exp"]


def test_sorting_keeps_a_legal_order() -> None:
    b, x = tensor_graph()
    names = ["tanh", "abs", "neg", "exp", "sign"]
    for name in names:
        getattr(b, name)(x)
    b.graph.toposort()
    assert [op.opcode for op in b.graph.ops] == names


def test_sorting_moves_no_more_than_it_must() -> None:
    b, x = tensor_graph()
    tanh, late = b.tanh(x), b.abs(x)
    user = b.neg(late)
    sign = b.sign(x)
    b.graph.ops = [user.producer, tanh.producer, late.producer, sign.producer]
    b.graph.toposort()
    assert [op.opcode for op in b.graph.ops] == ["tanh", "abs", "neg", "sign"]


def test_sorting_a_cycle_is_refused() -> None:
    g, x, _ = free_graph()
    first = put(g, "f", x)
    second = put(g, "g", first.result)
    first.set_input(0, second.result)
    with pytest.raises(ValueError, match="graph @free: its ops form a cycle"):
        g.toposort()


def test_an_op_that_reads_itself_is_a_cycle() -> None:
    g, x, _ = free_graph()
    op = put(g, "f", x)
    op.set_input(0, op.result)
    with pytest.raises(ValueError, match="cycle"):
        g.toposort()


def test_sorting_sees_what_regions_capture() -> None:
    b, _, _ = loop_kernel()
    b.graph.ops.reverse()
    b.graph.toposort()
    assert b.graph.verify() == []
    assert [op.opcode for op in b.graph.ops] == ["alloc", "fori_loop"]


def test_captured_values_are_operands_and_what_regions_take() -> None:
    b, tile, y = loop_kernel()
    loop = b.graph.ops[-1]
    x = b.graph.inputs[0]
    assert set(captured_values(loop)) == {tile, x, y}
    index = loop.attrs["body"].inputs[0]
    assert index not in captured_values(loop)


def test_walking_visits_regions_in_program_order() -> None:
    b, _, _ = loop_kernel()
    walked = [op.opcode for op in b.graph.walk()]
    body = [op.opcode for op in b.graph.ops[-1].attrs["body"].ops]
    assert walked == ["alloc", "fori_loop", *body]


# --- copies --------------------------------------------------------------------------------------


def test_clone_is_equal_and_shares_no_value_or_op() -> None:
    b, x = tensor_graph()
    b.set_outputs({"y": b.add(b.exp(x), x), "x": x})
    copy = clone(b.graph)
    assert copy.dump(locations=True) == b.graph.dump(locations=True)
    assert structurally_equal(copy, b.graph)
    assert copy.verify() == []
    assert not {*map(id, copy.all_values())} & {*map(id, b.graph.all_values())}
    copy.ops[0].attrs["new"] = 1
    assert "new" not in b.graph.ops[0].attrs


def test_clone_goes_on_counting_names() -> None:
    b, x = tensor_graph()
    b.exp(x)
    copy = clone(b.graph)
    assert copy.counter.fresh() == b.graph.counter.fresh() == "v2"


def test_clone_copies_regions_with_what_they_capture() -> None:
    b, _, _ = loop_kernel()
    copy = clone(b.graph)
    assert copy.verify() == []
    assert copy.dump() == b.graph.dump()
    inside = {id(v) for op in copy.walk() for v in op.inputs}
    assert not inside & {id(v) for op in b.graph.walk() for v in op.inputs}
    x = np.arange(64, dtype=np.float32).reshape(2, 8, 4)
    made = run_kernel(copy, {"x": x, "y_out": np.zeros_like(x)})
    np.testing.assert_array_equal(made["y"], 2 * x)


def test_clone_of_a_region_finds_captured_values_in_the_mapping() -> None:
    _, x, y = free_graph()
    region = Graph("region")
    region.append(Op("f", [x], [T]))
    copy = clone(region, {id(x): y})
    assert copy.ops[0].inputs == [y]
