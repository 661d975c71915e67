"""The axis program: transposes, reshapes, broadcasts and slices compute nothing in it."""

from __future__ import annotations

import pytest

from nkigen_lite.tensor_ir import Builder
from nkigen_lite.tensor_ir.passes.axes import Program, analyse
from nkigen_lite.tensor_ir.passes.axes.tiles import partition_tile


def program(b: Builder, **outputs: object) -> Program:
    b.set_outputs(outputs)  # type: ignore[arg-type]
    return analyse(b.graph)


def kinds(p: Program) -> list[str]:
    return [s.kind for s in p.steps]


def test_renamings_leave_no_step_of_their_own() -> None:
    b = Builder()
    x = b.add_input("x", (4, 6, 10))
    y = b.reshape(b.transpose(x, (1, 0, 2)), (6, 40))
    p = program(b, out=b.exp(b.broadcast_to(b.expand_dims(y, 0), (3, 6, 40))))
    assert kinds(p) == ["pointwise"]
    assert [len(s.axes) for s in p.inputs] == [3]


def test_a_reshape_cuts_a_dimension_into_the_factors_that_both_sides_share() -> None:
    b = Builder()
    x, w = b.add_input("x", (5, 24)), b.add_input("w", (24, 48))
    heads = b.reshape(b.matmul(x, w), (5, 6, 8))
    p = program(b, out=b.reduce(heads, 2, "max"))
    assert kinds(p) == ["matmul", "reduce"]
    assert [a.extent for a in p.inputs[1].axes] == [24, 6, 8]


def test_a_reshape_without_shared_factors_becomes_a_copy_in_hbm() -> None:
    b = Builder()
    x = b.add_input("x", (6, 4))
    p = program(b, out=b.exp(b.reshape(b.neg(x), (8, 3))))
    assert kinds(p) == ["pointwise", "hbm_copy", "pointwise"]


def test_a_product_with_its_own_transpose_has_two_axes_of_one_extent() -> None:
    b = Builder()
    x = b.add_input("x", (7, 5))
    p = program(b, out=b.matmul(x, b.transpose(x, (1, 0))))
    (step,) = p.steps
    assert len(set(step.write.axes)) == 2
    assert step.reads[0].storage is step.reads[1].storage


def test_adding_a_transpose_to_itself_reads_one_storage_under_two_namings() -> None:
    b = Builder()
    x = b.add_input("x", (7, 7))
    p = program(b, out=b.add(x, b.transpose(x, (1, 0))))
    (step,) = p.steps
    assert step.reads[0].coords != step.reads[1].coords


def test_a_slice_is_a_window_on_its_source() -> None:
    b = Builder()
    x = b.add_input("x", (4, 20))
    p = program(b, out=b.exp(b.slice(x, (0, 3), (4, 13), (1, 2))))
    (step,) = p.steps
    coord = step.reads[0].coords[1]
    assert (coord.start, coord.step, coord.axis.extent if coord.axis else None) == (3, 2, 5)


def test_a_split_projection_reads_windows_of_heads() -> None:
    b = Builder()
    x, w = b.add_input("x", (9, 16)), b.add_input("w", (16, 96))
    q, k = b.split(b.matmul(x, w), (64, 32), 1)
    q, k = b.reshape(q, (9, 8, 8)), b.reshape(k, (9, 4, 8))
    p = program(b, q=b.exp(q), k=b.exp(k))
    assert kinds(p) == ["matmul", "pointwise", "pointwise"]
    starts = [s.reads[0].coords[1].start for s in p.steps[1:]]
    assert starts == [0, 8]


def test_an_unaligned_slice_that_is_reshaped_is_copied_in_hbm() -> None:
    b = Builder()
    x = b.add_input("x", (30,))
    p = program(b, out=b.exp(b.reshape(b.slice(x, (5,), (23,)), (6, 3))))
    assert "hbm_copy" in kinds(p)


def test_producers_write_straight_into_a_concat() -> None:
    b = Builder()
    x, y = b.add_input("x", (4, 3)), b.add_input("y", (4, 5))
    p = program(b, out=b.concat([b.exp(x), b.neg(y)], 1))
    assert kinds(p) == ["pointwise", "pointwise"]
    assert {s.write.storage.name for s in p.steps} == {"out"}


def test_a_part_that_others_read_is_copied_into_a_concat() -> None:
    b = Builder()
    x = b.add_input("x", (4, 3))
    e = b.exp(x)
    p = program(b, out=b.concat([e, e], 1), e=e)
    assert sorted(kinds(p)) == ["copy", "copy", "pointwise"]


def test_axes_that_travel_together_merge() -> None:
    b = Builder()
    x, w = b.add_input("x", (2, 3, 8)), b.add_input("w", (8, 5))
    p = program(b, out=b.matmul(x, w))
    assert [a.extent for a in p.inputs[0].axes] == [6, 8]


def test_a_plain_elementwise_program_becomes_rows_over_partitions() -> None:
    b = Builder()
    x = b.add_input("x", (64, 3, 1000))
    p = program(b, out=b.exp(x))
    rows, cols = (a.extent for a in p.inputs[0].axes)
    assert rows * cols == 192000
    assert partition_tile(rows) >= 64


def test_outputs_are_laid_out_by_their_own_dimensions() -> None:
    b = Builder()
    x = b.add_input("x", (4, 6))
    p = program(b, out=b.transpose(b.exp(x), (1, 0)))
    assert p.outputs[0].shape == (6, 4)
    assert [a.extent for a in p.outputs[0].axes] == [6, 4]


def test_an_input_returned_as_it_is_is_copied_to_the_output() -> None:
    b = Builder()
    x = b.add_input("x", (4, 6))
    p = program(b, y=x, z=x)
    assert kinds(p) == ["copy", "copy"]
    assert [s.name for s in p.outputs] == ["y", "z"]


def test_a_broadcast_that_is_summed_is_made_real_first() -> None:
    b = Builder()
    x = b.add_input("x", (5,))
    wide = b.broadcast_to(b.expand_dims(x, 1), (5, 6))
    p = program(b, out=b.reduce(wide, 1))
    assert kinds(p) == ["copy", "reduce"]


def test_the_networkx_view_has_an_edge_per_value_read() -> None:
    b = Builder()
    x = b.add_input("x", (4, 6))
    e = b.exp(x)
    p = program(b, out=b.mul(e, b.reduce(e, 1, keepdims=True)))
    view = p.to_networkx()
    assert view.number_of_nodes() == 3
    assert view.number_of_edges() == 3


@pytest.mark.parametrize(
    ("extent", "tile"),
    [(1, 1), (127, 127), (128, 128), (129, 128), (1000, 125), (1024, 128), (1009, 128), (130, 65)],
)
def test_partition_tiles_avoid_remainders(extent: int, tile: int) -> None:
    assert partition_tile(extent) == tile
