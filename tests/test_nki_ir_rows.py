"""Each tile op's row refuses operands that hardware refuses, with a sentence that says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from illegal_tile_moves import MOVES
from illegal_tile_ops import I32, ILLEGAL, Tiles

from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.rows import NKI

EVERY = ILLEGAL | MOVES


@pytest.mark.parametrize("name", EVERY)
def test_row_refuses(name: str) -> None:
    build, sentence = EVERY[name]
    with pytest.raises(InvalidOp, match=sentence):
        build(Tiles("k"))


def test_every_engine_row_has_a_refusal() -> None:
    called = {name for build, _ in EVERY.values() for name in build.__code__.co_names}
    assert len(EVERY) == len(ILLEGAL) + len(MOVES)
    # memset's only rule is tested below, and collectives with the ranks that run them.
    assert {row.name for row in NKI if row.engines and not row.exchange} - called == {"memset"}


def test_memset_takes_floats_for_float_types_and_integers_for_the_others() -> None:
    b = Tiles("k")
    b.memset(b.tile(4, 4), value=1)
    b.memset(b.tile(4, 4, dtype=I32), value=2.0)
    values = [op.attrs["value"] for op in b.graph.ops if op.opcode == "memset"]
    assert [(v, type(v)) for v in values] == [(1.0, float), (2, int)]


def test_memset_of_the_wrong_kind_is_refused_when_read_back() -> None:
    b = Tiles("k")
    b.memset(b.tile(4, 4), value=1.0)
    b.graph.ops[-1].attrs["value"] = 1
    with pytest.raises(InvalidOp, match="value 1 does not fit dtype f32"):
        NKI["memset"].infer([b.graph.ops[0].result.type], b.graph.ops[-1].attrs)


def test_errors_name_the_line_of_the_caller() -> None:
    b = Tiles("k")
    with pytest.raises(InvalidOp, match=r"test_nki_ir_rows\.py:\d+"):
        b.tensor_copy(b.tile(4, 4), b.tile(4, 5))


def test_the_document_names_every_op() -> None:
    text = (Path(__file__).parents[1] / "docs" / "nki_ir.md").read_text("utf-8")
    assert [row.name for row in NKI if f"`{row.name}`" not in text] == []
