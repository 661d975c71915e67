"""Building kernels: operands first, attributes by name or place, loops that record their body."""

from __future__ import annotations

import pytest

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir import Builder, MemorySpace, TileType, ds, ts
from nkigen_lite.nki_ir.rows import NKI, TileOpDef
from nkigen_lite.nki_ir.types import Affine, affine

F32 = DType.F32


def tile(b: Builder) -> Value:
    return b.alloc((4, 4), F32)


@pytest.mark.parametrize("row", [r for r in NKI if r.engines], ids=lambda row: row.name)
def test_first_engine_is_the_default(row: TileOpDef) -> None:
    (default,) = [a.default for a in row.attrs if a.name == "engine"]
    assert default == row.engines[0]


def test_engine_op_returns_its_destination() -> None:
    b = Builder("k")
    dst, src = tile(b), tile(b)
    assert b.tensor_copy(dst, src) is dst


def test_attributes_may_follow_operands_by_position() -> None:
    b = Builder("k")
    b.activation(tile(b), tile(b), "exp", 0.5)
    assert b.graph.ops[-1].attrs == {"op": "exp", "scale": 0.5, "bias": 0.0, "engine": "scalar"}


def test_slice_of_everything_is_the_tile_itself() -> None:
    b = Builder("k")
    all_of_it = tile(b)
    assert b.slice(all_of_it, [ds(0, 4), ds(0, 4)]) is all_of_it
    assert b.reshape(all_of_it, (4, 4)) is all_of_it
    assert b.permute(all_of_it, (0, 1)) is all_of_it
    assert b.broadcast(all_of_it, (4, 4)) is all_of_it


def test_loop_records_its_body_once_and_returns_the_op() -> None:
    b = Builder("k")
    calls = []
    op = b.fori_loop("i", 6, 2, lambda b, i: calls.append(b.alloc((4, 4), F32)))
    assert len(calls) == 1
    assert [inner.opcode for inner in op.attrs["body"].ops] == ["alloc"]
    assert b.graph.ops == [op]


def test_builder_goes_on_outside_after_a_loop_that_fails() -> None:
    b = Builder("k")
    outer = b.graph

    def body(b: Builder, i: Value) -> None:
        b.alloc((4,), F32)

    with pytest.raises(InvalidOp, match="has rank 1"):
        b.fori_loop("i", 2, 1, body)
    assert b.graph is outer


def test_names_are_fresh_across_loops() -> None:
    b = Builder("k")
    made = [tile(b)]
    b.fori_loop("i", 2, 1, lambda b, i: made.append(tile(b)))
    made.append(tile(b))
    assert len({value.name for value in made}) == 3


def test_repeated_index_is_one_operand_of_a_slice() -> None:
    b = Builder("k")
    x = b.add_input("x", (8, 8))

    def body(b: Builder, i: Value) -> None:
        b.slice(x, [ts(i, 2), ds(affine(i) * 2 + 1, 1)])

    body_graph = b.fori_loop("i", 3, 1, body).attrs["body"]
    assert body_graph.ops[0].inputs == [x, body_graph.inputs[0]]
    assert str(body_graph.ops[0].attrs["slices"]) == "slice<2*$1:2, 2*$1+1:1>"


def test_sum_of_affine_offsets_drops_what_cancels() -> None:
    i, j = (Value(n, None) for n in "ij")
    total = affine(i) * 4 + affine(j) + 3 + affine(i) * -4
    assert total == Affine(3, ((j, 1),))
    assert (affine(i) * 0).is_zero


def test_affine_quotient_is_exact() -> None:
    i = Value("i", None)
    assert (affine(i) * 64 + 128).divided_by(64) == Affine(2, ((i, 1),))


@pytest.mark.parametrize(
    ("shape", "memory", "text", "free", "bytes_each"),
    [
        ((128, 512), MemorySpace.SBUF, "tile<128x512xbf16@sbuf>", 512, 1024),
        ((1, 2, 3), MemorySpace.PSUM, "tile<1x2x3xbf16@psum>", 6, 12),
        ((), MemorySpace.HBM, "tile<bf16@hbm>", 1, 2),
    ],
)
def test_tile_type_knows_its_sizes_and_text(
    shape: tuple[int, ...], memory: MemorySpace, text: str, free: int, bytes_each: int
) -> None:
    kind = TileType(shape, DType.BF16, memory)
    assert str(kind) == text
    assert TileType.parse(text) == kind
    assert (kind.free_size, kind.partition_bytes) == (free, bytes_each)


@pytest.mark.parametrize("text", ["tile<2x2xf99@sbuf>", "tile<2x2xf32@dram>", "<2x2xf32>", "f32"])
def test_text_of_no_tile_type_is_none(text: str) -> None:
    assert TileType.parse(text) is None
