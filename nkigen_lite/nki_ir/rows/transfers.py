"""DMA beyond plain copies: transposes, and rows chosen by indices that are known at run time only.

Rules: aws-neuron-sdk, nki.isa reference of dma_transpose and dma_copy (NKI 0.6).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType, from_np_dtype, round_to
from nkigen_lite.core.ir import Op
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidInput, InvalidOp
from nkigen_lite.nki_ir.emit import kb, kb_composed
from nkigen_lite.nki_ir.emit.calls import Argument, Spelling, Template, nisa, operand, text
from nkigen_lite.nki_ir.emit.text import Bracket, Expr
from nkigen_lite.nki_ir.emit.views import rows_at
from nkigen_lite.nki_ir.rows.pointers import f32
from nkigen_lite.nki_ir.rows.table import (
    DMA_SIDE,
    ONLY_HBM,
    ONLY_SBUF,
    REG,
    SBUF,
    TRN2,
    check_choice,
    compute,
)
from nkigen_lite.nki_ir.types import REGISTER, TileType

TRANSPOSES = {2: (1, 0), 3: (2, 1, 0), 4: (3, 1, 2, 0)}
"""The one permutation that a transposing DMA makes of each rank."""

_INDEX_DTYPES = (DType.I32, DType.U32)
_OOB = ("error", "skip")

# --- transposes ----------------------------------------------------------------------------------


def _transposed(name: str, kind: TileType, axes: tuple[int, ...]) -> tuple[int, ...]:
    if axes != TRANSPOSES.get(kind.rank):
        raise InvalidOp(
            f"{name}: axes are {axes} but must be {TRANSPOSES.get(kind.rank, 'of rank 2 to 4')} "
            f"for {kind}"
        )
    return tuple(kind.shape[a] for a in axes)


def _axes(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    given = attrs["axes"]
    return {**attrs, "axes": TRANSPOSES.get(types[1].rank, ()) if given is None else given}


def _check_transpose(types: Types, attrs: Attrs) -> None:
    dst, src = types
    if dst.dtype != src.dtype or dst.shape != _transposed("dma_transpose", src, attrs["axes"]):
        raise InvalidOp(f"dma_transpose: {src} does not transpose into {dst}")
    if src.dtype.itemsize not in (2, 4):
        raise InvalidOp(
            f"dma_transpose: elements of {src.dtype} have {src.dtype.itemsize} bytes but must have "
            "2 or 4"
        )


def _transposing(op: Op) -> dict[str, Any]:
    return {"transpose": True, "elem_bytes": op.inputs[0].type.dtype.itemsize}


compute(
    "dma_transpose",
    "Dimensions in reversed order, of rank 4 the first and the last swapped; from HBM or SBUF.",
    _check_transpose,
    lambda dst, src, axes, engine: src.transpose(axes),
    engines=("dma",),
    arity=(2, 2),
    memory=(ONLY_SBUF, DMA_SIDE),
    attrs=(Attr("axes", tuple, None),),
    prepare=_axes,
    charge=_transposing,
    nki=nisa("dma_transpose", dst=operand(0), src=operand(1), axes=text("axes")),
    kb=kb.kb(
        "dma_transpose",
        dst=kb.tile(0),
        src=kb.tile(1),
        permutation=lambda op, tracing: list(op.attrs["axes"]),
    ),
)

# A gathering transpose (aws-neuron-sdk nki.isa.dma_transpose, "indirect transpose constraints").
_ROWS_STEP = 16
_ROW_ELEMS_MAX = 128
_INDEX_ROWS_MAX = 128


def _check_gather_transpose(types: Types, attrs: Attrs) -> None:
    name = "dma_gather_transpose"
    dst, table, indices = types
    if table.rank not in (2, 4) or dst.rank != table.rank:
        raise InvalidOp(f"{name}: {table} into {dst}: both must be of rank 2 or both of rank 4")
    count = dst.shape[-1]
    gathered = table.with_shape((count, *table.shape[1:]))
    if dst.dtype != table.dtype or dst.shape != _transposed(name, gathered, TRANSPOSES[dst.rank]):
        raise InvalidOp(f"{name}: {count} rows of {table} do not transpose into {dst}")
    rows = indices.partition_size
    for wrong, rule in (
        (table.dtype.itemsize != 2, f"elements of {table.dtype} but must have 2 bytes"),
        (count % _ROWS_STEP != 0, f"{count} rows but must have a multiple of {_ROWS_STEP}"),
        (table.shape[-1] > _ROW_ELEMS_MAX, f"rows of {table.shape[-1]} but at most 128 elements"),
        (table.rank == 4 and 1 not in table.shape[1:3], f"{table}: a middle extent must be 1"),
        (indices.rank != 2 or indices.dtype is not DType.U32, f"{indices} but must be 2-d u32"),
        (rows % _ROWS_STEP != 0 or rows > _INDEX_ROWS_MAX, f"{rows} rows of indices but must have "
         "16, 32, … or 128"),
        (indices.free_size > 1 and rows != _INDEX_ROWS_MAX, f"{rows} rows of indices but columns "
         "of them must have 128"),
        (indices.num_elements < count, f"{indices.num_elements} indices for {count} rows"),
    ):  # fmt: skip
        if wrong:
            raise InvalidOp(f"{name}: it has {rule}")


def _gather_transpose(dst: Array, table: Array, indices: Array, engine: str) -> Array:
    chosen = indices.T.reshape(-1)[: dst.shape[-1]].astype(np.int64)
    _in_range("dma_gather_transpose", chosen, table.shape[0])
    return table[chosen].transpose(TRANSPOSES[table.ndim])


def _gathered_rows(op: Op, spelling: Spelling) -> Expr:
    dst, table, indices = op.inputs
    return rows_at(op, table, (dst.type.shape[-1], *table.type.shape[1:]), 0, indices, spelling)


compute(
    "dma_gather_transpose",
    "Rows of a table in HBM, chosen by indices (down their columns), as columns.",
    _check_gather_transpose,
    _gather_transpose,
    engines=("dma",),
    arity=(3, 3),
    memory=(ONLY_SBUF, ONLY_HBM, ONLY_SBUF),
    full=(0, 1),
    charge=lambda op: {**_transposing(op), "indirect": op.inputs[0].type.shape[-1]},
    version=TRN2,
    nki=nisa(
        "dma_transpose",
        dst=operand(0),
        src=_gathered_rows,
        axes=lambda op, spelling: Expr(repr(TRANSPOSES[op.inputs[0].type.rank])),
        dge_mode=lambda op, spelling: Expr("nisa.dge_mode.swdge"),
    ),
    kb=kb.kb("dma_gather_transpose", dst=kb.tile(0), src=kb.tile(1), gather_index=kb.tile(2)),
)

# --- rows chosen at run time ---------------------------------------------------------------------


def _is_block(where: TileType) -> bool:
    """Whether one offset says where a block of rows starts; otherwise there is one per row."""
    return where.num_elements == 1


def _check_rows(name: str, tile: TileType, table: TileType, where: TileType, attrs: Attrs) -> None:
    check_choice(name, "oob", attrs["oob"], _OOB)
    dim = attrs["dim"]
    if attrs["add"] and _is_block(where):
        raise InvalidOp(f"{name}: it adds at one offset but must have an index for each partition")
    if where.memory is REG and where != REGISTER:
        raise InvalidOp(f"{name}: {where} is a loop's index, with which a slice moves")
    if where.dtype not in _INDEX_DTYPES:
        raise InvalidOp(f"{name}: indices are {where.dtype} but must be i32 or u32")
    if not 0 <= dim < table.rank or (dim and not _is_block(where)):
        raise InvalidOp(f"{name}: dim is {dim} of {table} but must be one of its dimensions, and 0 "
                        "for an index per partition")  # fmt: skip
    if not _is_block(where) and where.shape != (tile.partition_size, 1):
        raise InvalidOp(
            f"{name}: indices are {where} but must be one, or one in each of "
            f"{tile.partition_size} partitions"
        )
    expected = list(table.shape)
    if tile.rank == table.rank:
        expected[dim] = tile.shape[dim]
    if tile.dtype != table.dtype or tile.shape != tuple(expected):
        raise InvalidOp(f"{name}: {tile} does not hold rows of {table}")


def _in_range(name: str, rows: Array, extent: int) -> None:
    for row in rows[(rows < 0) | (rows >= extent)][:1]:
        raise InvalidInput(f"{name}: index is {row} but must be 0 to {extent - 1}")


def _rows(name: str, where: Array, count: int, extent: int, oob: str) -> tuple[Array, Array]:
    """The table's rows, and which of them exist: with ``skip`` the others are left alone."""
    starts = where.reshape(-1).astype(np.int64)
    rows = starts[0] + np.arange(count) if starts.size == 1 else starts
    if oob == "error":
        _in_range(name, rows, extent)
    exists = (rows >= 0) & (rows < extent)
    # The engine skips an address, which is a whole block where one offset moves it.
    return rows, exists & exists.all() if starts.size == 1 else exists


def _overwritten(dst: Array, at: Array, dim: int, values: Array, add: bool) -> Array:
    """``dst`` with other values, or their sum in float32, at places along a dimension."""
    made = dst.copy()
    rows = np.moveaxis(made, dim, 0)
    rows[at] = round_to(f32(rows[at]) + f32(values), from_np_dtype(dst.dtype)) if add else values
    return made


def _gather(
    dst: Array, table: Array, where: Array, dim: int, oob: str, add: bool, engine: str
) -> Array:
    rows, exists = _rows("dma_gather", where, dst.shape[dim], table.shape[dim], oob)
    return _overwritten(dst, exists, dim, np.moveaxis(table, dim, 0)[rows[exists]], add)


def _scatter(
    table: Array, src: Array, where: Array, dim: int, oob: str, add: bool, engine: str
) -> Array:
    rows, exists = _rows("dma_scatter", where, src.shape[dim], table.shape[dim], oob)
    return _overwritten(table, rows[exists], dim, np.moveaxis(src, dim, 0)[exists], add)


def _indexed(tile: int) -> Any:
    """What the cost model asks of an op whose operand ``tile`` is on chip.

    Nothing is published of what adding costs: it is priced as the copy.
    """

    def charge(op: Op) -> dict[str, Any]:
        rows = 0 if _is_block(op.inputs[2].type) else op.inputs[tile].type.partition_size
        return {"indirect": rows}

    return charge


def _rows_of_table(table: int, tile: int) -> Any:
    def make(op: Op, spelling: Spelling) -> Expr:
        shape = op.inputs[tile].type.shape
        return rows_at(op, op.inputs[table], shape, op.attrs["dim"], op.inputs[2], spelling)

    return make


def _dge_mode(op: Op, spelling: Spelling) -> Expr | None:
    return None if _is_block(op.inputs[2].type) else Expr("nisa.dge_mode.swdge")


def _copied_or_added(dst: Argument, src: Argument) -> Template:
    """A dma_copy, or the dma_compute that adds to the destination, which is then a source too."""

    def both(op: Op, spelling: Spelling) -> Expr:
        sides = [side(op, spelling) for side in (dst, src)]
        return Expr("", (Bracket("[", tuple(e for e in sides if e), "]"),))

    copy = nisa(
        "dma_copy", bools=lambda op: True, dst=dst, src=src, dge_mode=_dge_mode, oob_mode=_oob_mode
    )
    add = nisa(
        "dma_compute",
        bools=lambda op: False,
        dst=dst,
        srcs=both,
        reduce_op=lambda op, spelling: Expr("nl.add"),
        oob_mode=_oob_mode,
    )
    return lambda op, spelling: (add if op.attrs["add"] else copy)(op, spelling)


def _oob_mode(op: Op, spelling: Spelling) -> Expr | None:
    return Expr("nisa.oob_mode.skip") if op.attrs["oob"] == "skip" else None


_WHERE = frozenset({SBUF, REG})
_ATTRS = (
    Attr("dim", int, 0, "the dimension of the table that the rows are counted in"),
    Attr("oob", str, "error", "what rows that the table has not do: error or skip"),
    Attr("add", bool, False, "add to what is there, in float32; the rows must differ"),
)

compute(
    "dma_gather",
    "Rows of a table in HBM: one per partition, at indices of shape (P, 1), or a block of them "
    "from one offset on, a register or a tile of one element.",
    lambda types, attrs: _check_rows("dma_gather", types[0], types[1], types[2], attrs),
    _gather,
    engines=("dma",),
    arity=(3, 3),
    memory=(ONLY_SBUF, ONLY_HBM, _WHERE),
    attrs=_ATTRS,
    effects=("write 0", "read 0"),
    keeps=lambda op: op.attrs["add"] or op.attrs["oob"] == "skip",
    full=(0, 1),
    charge=_indexed(0),
    nki=_copied_or_added(operand(0), _rows_of_table(1, 0)),
    kb=kb_composed.rows(table=1, tile=0),
)

compute(
    "dma_scatter",
    "Overwrite rows of a table in HBM, chosen as dma_gather does; they must differ (here the last "
    "one stays).",
    lambda types, attrs: _check_rows("dma_scatter", types[1], types[0], types[2], attrs),
    _scatter,
    engines=("dma",),
    arity=(3, 3),
    memory=(ONLY_HBM, ONLY_SBUF, _WHERE),
    attrs=_ATTRS,
    effects=("write 0", "read 0"),
    full=(0, 1),
    charge=_indexed(1),
    nki=_copied_or_added(_rows_of_table(0, 1), operand(1)),
    kb=kb_composed.rows(table=0, tile=1),
)
