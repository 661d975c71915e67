"""The table of tile ops, row by row: text that reads back, and emitted code that means the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emit_agreement import assert_agrees, sample
from tile_ops import CASES, IDS, PSUM, Tile, Wanted

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.core.parser import parse
from nkigen_lite.core.structure import structurally_equal
from nkigen_lite.nki_ir import Builder
from nkigen_lite.nki_ir.rows import NKI, written_operands

Array = np.ndarray[Any, np.dtype[Any]]

# (op, operand): indices below this.
INDICES = {("gather", 2): 40, ("local_gather", 2): 37}
# (op, operand): values of few kinds, so that equal ones meet.
FEW = {("find_index8", 1), ("find_index8", 2), ("match_replace8", 1), ("match_replace8", 2),
       ("sequence_bounds", 1), ("nonzero_with_count", 1), ("max8", 1)}  # fmt: skip
SELECTS = ("select", "select_reduce", "range_select", "copy_predicated")
POSITIVE = {("tensor_scalar_arith", "gpsimd"), ("bn_aggr", "vector")}


def values(rng: np.random.Generator, key: tuple[str, str], at: int, tile: Tile) -> Array:
    shape, dtype = tile[0], tile[1]
    place = (key[0], at)
    if place in INDICES:
        return rng.integers(0, INDICES[place], shape).astype(dtype.np)
    if place in FEW:
        return rng.integers(0, 6, shape).astype(dtype.np)
    if key[0] in SELECTS:
        # Predicates of both kinds; bounds within the tile.
        if not dtype.is_float:
            return rng.integers(0, 2, shape).astype(dtype.np)
        if key[0] == "range_select" and at in (2, 3):
            return rng.integers(0, 48, shape).astype(dtype.np)
    made = sample(rng, shape, dtype)
    return np.abs(made) + 0.1 if key in POSITIVE else made


def built(key: tuple[str, str], tiles: list[Tile], attrs: dict[str, Any]) -> Builder:
    """Load every operand, run the op, store what it has written."""
    b = Builder("k")
    operands = []
    for at, (shape, dtype, *memory) in enumerate(tiles):
        tile = b.alloc(shape, dtype)
        b.dma_copy(tile, b.add_input(f"x{at}", shape, dtype))
        if memory == [PSUM] and key[0] != "matmul":
            tile = b.tensor_copy(b.alloc(shape, dtype, PSUM), tile)
        elif memory:
            tile = b.alloc(shape, dtype, *memory)
        operands.append(tile)
    if NKI[key[0]].continues:  # what there is to go on from
        b.activation_reduce(operands[0], operands[1], operands[2], op="square")
    getattr(b, key[0])(*operands, engine=key[1], **attrs)
    outputs = {}
    for at in written_operands(b.graph.ops[-1]):
        kind = operands[at].type
        out = outputs[f"y{at}"] = b.add_input(f"y{at}_out", kind.shape, kind.dtype)
        b.dma_copy(out, in_sbuf(b, operands[at]))
    b.set_outputs(outputs)
    return b


def in_sbuf(b: Builder, tile: Value) -> Value:
    if tile.type.memory is not PSUM:
        return tile
    return b.tensor_copy(b.alloc(tile.type.shape, tile.type.dtype), tile)


@pytest.mark.parametrize(("key", "tiles", "attrs", "_wanted"), CASES, ids=IDS)
def test_emitted_call_means_what_the_row_says(
    key: tuple[str, str], tiles: list[Tile], attrs: dict[str, Any], _wanted: Wanted
) -> None:
    rng = np.random.default_rng(len(tiles))
    inputs = {f"x{at}": values(rng, key, at, tile) for at, tile in enumerate(tiles)}
    assert_agrees(built(key, tiles, attrs).graph, inputs)


@pytest.mark.parametrize(("key", "tiles", "attrs", "_wanted"), CASES, ids=IDS)
def test_text_reads_back_equal(
    key: tuple[str, str], tiles: list[Tile], attrs: dict[str, Any], _wanted: Wanted
) -> None:
    graph = built(key, tiles, attrs).graph
    text = graph.dump()
    parsed = parse(text, NKI)
    assert parsed.dump() == text
    assert structurally_equal(graph, parsed)


def test_every_dtype_of_a_selection_is_rounded_to_its_destination() -> None:
    for dtype in (DType.BF16, DType.F16, DType.I8):
        tiles: list[Tile] = [((8, 40), dtype), ((8, 40), DType.F32)]
        pattern = {"pattern": ((1, 40),), "on_false": 3.7, "cmp_op": "less", "offset": -20}
        assert_agrees(built(("affine_select", "gpsimd"), tiles, pattern).graph)
