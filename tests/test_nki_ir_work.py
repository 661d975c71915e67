"""Ops of nki_ir as the cost model sees them: what each is charged for, field by field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tile_ops import CASES, IDS, Tile, Wanted, build

from cost_models import Instruction, Transfer, dma_price, instruction_price, load_target
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.nki_ir import Builder, DType, ds
from nkigen_lite.nki_ir.access import Accesses
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.work import instruction, transfer, trigger

F32, BF16 = DType.F32, DType.BF16
TRN2 = load_target("trn2")
ENGINES = ("tensor", "vector", "scalar", "gpsimd")


def built(make: Callable[[Builder], object]) -> tuple[Op, Accesses]:
    """The last op that ``make`` builds."""
    b = Builder("k")
    make(b)
    return b.graph.ops[-1], Accesses()


@pytest.mark.parametrize(("key", "tiles", "attrs", "wanted"), CASES, ids=IDS)
def test_an_instruction_says_what_the_op_does(
    key: tuple[str, str], tiles: list[Tile], attrs: dict[str, Any], wanted: Wanted
) -> None:
    op, accesses = built(lambda b: build(b, key, tiles, attrs))
    found = instruction(op, accesses)
    assert found == Instruction(*key, **wanted)
    assert instruction_price(TRN2, found).interval_ns > 0


@pytest.mark.parametrize(("key", "tiles", "attrs", "wanted"), CASES, ids=IDS)
def test_longer_tiles_never_cost_less(
    key: tuple[str, str], tiles: list[Tile], attrs: dict[str, Any], wanted: Wanted
) -> None:
    found = instruction(*built(lambda b: build(b, key, tiles, attrs)))
    times = [
        instruction_price(TRN2, replace(found, elems=factor * found.elems)).interval_ns
        for factor in (1, 2, 8, 64)
    ]
    assert times == sorted(times)
    assert times[-1] > times[0]


def test_every_engine_of_every_op_is_in_the_table() -> None:
    known = {(row.name, e) for row in NKI if row.engine in ENGINES for e in row.engines}
    assert {key for key, *_ in CASES} == known


@pytest.mark.parametrize(
    ("view", "contiguous"),
    [
        (lambda b, x: b.slice(x, [ds(0, 96), ds(0, 40)]), True),
        (lambda b, x: b.slice(x, [ds(0, 96), ds(0, 40, 2)]), False),
        (lambda b, x: b.broadcast(b.slice(x, [ds(0, 96), ds(3, 1)]), (96, 40)), False),
        (
            lambda b, x: b.slice(b.reshape(x, (96, 40, 2)), [ds(0, 96), ds(0, 40), ds(1, None)]),
            False,
        ),
        # Rows with gaps between them: the innermost dimension has none.
        (lambda b, x: b.slice(b.reshape(x, (96, 8, 10)), [ds(0, 96), ds(0, 8), ds(0, 5)]), True),
    ],
)
@pytest.mark.parametrize("side", ["read", "written"])
def test_an_instruction_is_contiguous_if_no_operand_has_gaps(
    view: Callable[[Builder, Value], Value], contiguous: bool, side: str
) -> None:
    def make(b: Builder) -> None:
        strided = view(b, b.alloc((96, 80), F32))
        plain = b.alloc(strided.type.shape, F32)
        b.tensor_copy(*((plain, strided) if side == "read" else (strided, plain)))

    op, accesses = built(make)
    assert instruction(op, accesses).contiguous is contiguous


# What is moved: (destination, source) in HBM or SBUF, and the transfer.
Sides = Callable[[Builder], tuple[Value, Value]]


def rows_of(
    shape: tuple[int, ...], *windows: Any, dtype: DType = F32
) -> Callable[[Builder], Value]:
    """A view of a tensor in HBM."""

    def make(b: Builder) -> Value:
        x = b.add_input(f"x{len(b.graph.inputs)}", shape, dtype)
        return b.slice(x, windows) if windows else x

    return make


def tile_of(
    shape: tuple[int, ...], *windows: Any, dtype: DType = F32
) -> Callable[[Builder], Value]:
    def make(b: Builder) -> Value:
        x = b.alloc(shape, dtype)
        return b.slice(x, windows) if windows else x

    return make


@pytest.mark.parametrize(
    ("dst", "src", "wanted"),
    [
        # One run per partition; whole rows that lie side by side are still one per partition.
        (tile_of((96, 40)), rows_of((96, 40)), Transfer("load", 96, 160, 96)),
        (rows_of((96, 40)), tile_of((96, 40)), Transfer("store", 96, 160, 96)),
        (
            tile_of((96, 40), dtype=BF16),
            rows_of((96, 80), ds(0, 96), ds(8, 40), dtype=BF16),
            Transfer("load", 96, 80, 96),
        ),
        # The shorter run of the two sides.
        (
            tile_of((96, 8, 10), ds(0, 96), ds(0, 8), ds(0, 5)),
            rows_of((96, 8, 5)),
            Transfer("load", 96 * 8, 20, 96),
        ),
        (
            tile_of((96, 40)),
            rows_of((96, 80), ds(0, 96), ds(0, 40, 2)),
            Transfer("load", 96 * 40, 4, 96),
        ),
        (
            tile_of((40, 96)),
            lambda b: b.permute(b.add_input("x", (96, 40), F32), (1, 0)),
            Transfer("load", 96 * 40, 4, 40),
        ),
        # A row that every partition gets.
        (
            tile_of((96, 40)),
            lambda b: b.broadcast(b.add_input("x", (1, 40), F32), (96, 40)),
            Transfer("load", 96, 160, 96),
        ),
        # Within HBM the longest runs of both sides, wherever rows end.
        (rows_of((96, 40)), rows_of((96, 40)), Transfer("copy", 1, 96 * 160, 1)),
        (
            rows_of((96, 40)),
            rows_of((96, 80), ds(0, 96), ds(0, 40)),
            Transfer("copy", 96, 160, 1),
        ),
    ],
)
def test_a_transfer_counts_the_contiguous_runs(
    dst: Callable[[Builder], Value], src: Callable[[Builder], Value], wanted: Transfer
) -> None:
    op, accesses = built(lambda b: b.dma_copy(dst(b), src(b)))
    found = transfer(op, accesses)
    assert found == wanted
    assert found.total_bytes == op.inputs[0].type.size_bytes
    assert dma_price(TRN2, found).transfer_ns > 0


LOAD, STORE = (tile_of((96, 40)), rows_of((96, 40))), (rows_of((96, 40)), tile_of((96, 40)))
COPY = (rows_of((96, 40)), rows_of((96, 40)))


@pytest.mark.parametrize(
    ("sides", "engine", "triggered_by", "software"),
    [
        (LOAD, "dma", "sync", False),
        (STORE, "dma", "scalar", False),
        (COPY, "dma", "sync", False),
        (LOAD, "sync", "sync", False),
        (STORE, "sync", "sync", False),
        (LOAD, "scalar", "scalar", False),
        (LOAD, "gpsimd", "gpsimd", True),
        (STORE, "gpsimd", "gpsimd", True),
    ],
)
def test_a_transfer_is_triggered_by_who_the_op_names_or_else_loads_by_sync_and_stores_by_scalar(
    sides: tuple[Callable[[Builder], Value], ...], engine: str, triggered_by: str, software: bool
) -> None:
    op, accesses = built(lambda b: b.dma_copy(*(side(b) for side in sides), engine=engine))
    assert trigger(op) == triggered_by
    assert transfer(op, accesses).software is software
