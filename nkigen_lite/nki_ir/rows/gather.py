"""Moving elements within SBUF by indices, and partitions within groups of 32.

Rules and meanings: aws-neuron-sdk, nki.isa reference of nc_n_gather, local_gather,
nc_stream_shuffle, sequence_bounds and nonzero_with_count (NKI 0.6).
"""

from __future__ import annotations

import numpy as np

from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.ir import Op
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidInput, InvalidOp
from nkigen_lite.nki_ir.emit import kb
from nkigen_lite.nki_ir.emit.calls import flat_operand, literal, nisa, operand
from nkigen_lite.nki_ir.emit.text import Expr
from nkigen_lite.nki_ir.rows.table import (
    ONLY_SBUF,
    TRN2,
    check_partitions,
    compute,
)
from nkigen_lite.nki_ir.types import TileType

CORE_ROWS = 16
"""Partitions that one of GpSimd's cores is wired to."""

QUADRANT = 32
"""Partitions among which a shuffle moves data."""

UNMODIFIED = 255
"""In a shuffle's mask: the partition is left as it is."""

_LOCAL_INDICES_MAX = 4096  # per core
_ELEMS_PER_INDEX = (1, 2, 4, 8, 16, 32)


def _in_range(name: str, indices: Array, extent: int) -> None:
    for index in indices[indices >= extent][:1]:
        raise InvalidInput(f"{name}: index is {index} but must be 0 to {extent - 1}")


def _check_indices(name: str, kind: TileType, dtype: DType) -> None:
    if kind.dtype is not dtype:
        raise InvalidOp(f"{name}: indices are {kind.dtype} but must be {dtype}")


def _check_gathered(name: str, dst: TileType, src: TileType) -> None:
    if dst.dtype != src.dtype:
        raise InvalidOp(f"{name}: {src.dtype} to {dst.dtype}: the dtype is kept")


def _elements(op: Op) -> dict[str, int]:
    return {"elems": op.inputs[0].type.free_size}


# --- within a partition --------------------------------------------------------------------------


def _check_gather(types: Types, attrs: Attrs) -> None:
    dst, data, indices = types
    check_partitions("gather", types)
    _check_gathered("gather", dst, data)
    _check_indices("gather", indices, DType.U32)
    if dst.free_size != indices.free_size:
        raise InvalidOp(f"gather: {indices.free_size} indices for {dst.free_size} elements")


def _gather(dst: Array, data: Array, indices: Array, engine: str) -> Array:
    flat, at = data.reshape(len(data), -1), indices.reshape(len(data), -1).astype(np.int64)
    _in_range("gather", at, flat.shape[1])
    return np.take_along_axis(flat, at, axis=1).reshape(dst.shape)


compute(
    "gather",
    "Elements of each partition, chosen by u32 indices into its free elements. Operands: dst, "
    "data, indices.",
    _check_gather,
    _gather,
    engines=("gpsimd",),
    arity=(3, 3),
    memory=(ONLY_SBUF,),
    full=(0, 1),
    charge=_elements,
    nki=nisa(
        "nc_n_gather", bools=lambda op: True, dst=operand(0), data=operand(1), indices=operand(2)
    ),
    kb=kb.kb("gather", dst=kb.tile(0), src=kb.tile(1), indices=kb.tile(2)),
)

# --- within the 16 partitions of a core ----------------------------------------------------------


def _valid_indices(types: Types, given: int | None) -> int:
    """Indices that each core uses."""
    return CORE_ROWS * types[2].free_size if given is None else given


def _check_local(types: Types, attrs: Attrs) -> None:
    name = "local_gather"
    dst, src, indices = types
    check_partitions(name, types)
    _check_gathered(name, dst, src)
    _check_indices(name, indices, DType.U16)
    held, each = CORE_ROWS * indices.free_size, attrs["elems_per_index"]
    valid = _valid_indices(types, attrs["valid_indices"])
    for wrong, rule in (
        (src.partition_size % CORE_ROWS, f"{src.partition_size} partitions but must have a "
         f"multiple of {CORE_ROWS}"),
        (each not in _ELEMS_PER_INDEX, f"elems_per_index {each} but must have one of "
         f"{', '.join(map(str, _ELEMS_PER_INDEX))}"),
        (not 0 < valid <= min(held, _LOCAL_INDICES_MAX), f"{valid} valid indices for a core but "
         f"must have 1 to {min(held, _LOCAL_INDICES_MAX)}"),
        (valid * each != dst.free_size, f"{dst.free_size} elements for {valid} indices of {each}"),
    ):  # fmt: skip
        if wrong:
            raise InvalidOp(f"{name}: it has {rule}")


def _local_gather(
    dst: Array,
    src: Array,
    indices: Array,
    elems_per_index: int,
    valid_indices: int | None,
    engine: str,
) -> Array:
    flat, made = src.reshape(len(src), -1), np.empty((len(src), dst[0].size), dst.dtype)
    table = indices.reshape(len(src), -1)
    for first in range(0, len(src), CORE_ROWS):
        core = slice(first, first + CORE_ROWS)
        # The partitions of a column before those of the next.
        chosen = table[core].T.reshape(-1)[: made.shape[1] // elems_per_index].astype(np.int64)
        places = (chosen[:, None] + np.arange(elems_per_index)).reshape(-1)
        _in_range("local_gather", places, flat.shape[1])
        made[core] = flat[core][:, places]
    return made.reshape(dst.shape)


compute(
    "local_gather",
    "Runs of elems_per_index elements of each partition, beginning at the u16 indices that the 16 "
    "partitions of its GpSimd core hold, taken down their columns. Operands: dst, src, indices.",
    _check_local,
    _local_gather,
    engines=("gpsimd",),
    arity=(3, 3),
    memory=(ONLY_SBUF,),
    attrs=(
        Attr("elems_per_index", int, 1),
        Attr("valid_indices", int, None, "indices of each core; by default all"),
    ),
    full=(0, 1),
    charge=_elements,
    nki=nisa(
        "local_gather",
        bools=lambda op: True,
        dst=operand(0),
        src_buffer=operand(1),
        index=operand(2),
        num_elem_per_idx=literal("elems_per_index", omit=1),
        num_valid_indices=literal("valid_indices"),
    ),
    kb=kb.Unknown(kb.NO_CALL),
)

# --- whole partitions ----------------------------------------------------------------------------


def _check_shuffle(types: Types, attrs: Attrs) -> None:
    name = "stream_shuffle"
    dst, src = types
    _check_gathered(name, dst, src)
    if dst.free_shape != src.free_shape:
        raise InvalidOp(f"{name}: {src} to {dst}: free dimensions must be equal")
    groups = [-(-kind.partition_size // QUADRANT) for kind in types]
    if groups[0] != groups[1]:  # both must start where that many groups may
        raise InvalidOp(f"{name}: {src} to {dst}: both must lie in as many groups of 32 partitions")
    mask = attrs["mask"]
    legal = {*range(QUADRANT), UNMODIFIED}
    if len(mask) != QUADRANT or not legal.issuperset(mask):
        raise InvalidOp(f"{name}: mask is {mask} but must be 32 numbers of 0 to 31, or 255")
    for to, source in _moves(mask, dst.partition_size):
        if source >= src.partition_size:
            raise InvalidOp(
                f"{name}: partition {to} comes from {source} but {src} has {src.partition_size}"
            )


def _moves(mask: tuple[int, ...], partitions: int) -> list[tuple[int, int]]:
    """(destination, source) partitions."""
    return [
        (to, to - to % QUADRANT + mask[to % QUADRANT])
        for to in range(partitions)
        if mask[to % QUADRANT] != UNMODIFIED
    ]


def _shuffle(dst: Array, src: Array, mask: tuple[int, ...], engine: str) -> Array:
    made = dst.copy()
    for to, source in _moves(mask, len(dst)):
        made[to] = src[source]
    return made


compute(
    "stream_shuffle",
    "Within each group of 32 partitions, number i becomes what number mask[i] was; 255 leaves it.",
    _check_shuffle,
    _shuffle,
    engines=("vector",),
    arity=(2, 2),
    attrs=(Attr("mask", tuple),),
    effects=("write 0", "read 0"),
    nki=nisa(
        "nc_stream_shuffle",
        bools=lambda op: True,
        dst=operand(0),
        src=operand(1),
        shuffle_mask=lambda op, spelling: Expr(repr(list(op.attrs["mask"]))),
    ),
    kb=kb.kb(
        "stream_shuffle",
        dst=kb.tile(0),
        src=kb.tile(1),
        shuffle_mask=lambda op, tracing: list(op.attrs["mask"]),
    ),
)

# --- segments and positions ----------------------------------------------------------------------

_WORDS = (DType.F32, DType.I32)


def _check_bounds(types: Types, attrs: Attrs) -> None:
    name = "sequence_bounds"
    dst, ids = types
    if ids.shape[:1] != (1,) or ids.rank != 2 or dst.shape != (1, 2, ids.free_size):
        raise InvalidOp(f"{name}: {ids} to {dst}: shapes must be (1, n) and (1, 2, n)")
    if dst.dtype not in _WORDS or ids.dtype not in _WORDS:
        raise InvalidOp(f"{name}: {ids.dtype} to {dst.dtype}: dtypes must be f32 or i32")


def _bounds(dst: Array, ids: Array, engine: str) -> Array:
    row = ids.reshape(-1)
    changes = np.flatnonzero(row[1:] != row[:-1]) + 1
    edges = np.concatenate([[0], changes, [len(row)]])
    lengths = np.diff(edges)
    start, end = np.repeat(edges[:-1], lengths), np.repeat(edges[1:], lengths)
    padding = row == 0
    return np.stack([np.where(padding, len(row), start), np.where(padding, -1, end)])[None]


compute(
    "sequence_bounds",
    "Where the run of equal ids that each element stands in begins, and where it has ended; of id "
    "0, padding, the length and -1.",
    _check_bounds,
    _bounds,
    engines=("gpsimd",),
    arity=(2, 2),
    memory=(ONLY_SBUF,),
    charge=lambda op: {"elems": op.inputs[1].type.free_size},
    nki=nisa("sequence_bounds", dst=operand(0), segment_ids=operand(1)),
    kb=kb.kb("sequence_bounds", dst=kb.tile(0), src=kb.tile(1)),
)


def _check_nonzero(types: Types, attrs: Attrs) -> None:
    name = "nonzero_with_count"
    dst, src = types
    check_partitions(name, types)
    if dst.rank != 2 or dst.free_size != src.free_size + 1:
        raise InvalidOp(f"{name}: {dst} must have one element more per partition than {src}")
    if src.dtype not in _WORDS or dst.dtype is not DType.I32:
        raise InvalidOp(f"{name}: {src.dtype} to {dst.dtype}: f32 or i32 must become i32")


def _nonzero(dst: Array, src: Array, index_offset: int, padding: int, engine: str) -> Array:
    made = dst.copy()
    for row in range(0, len(src), CORE_ROWS):
        places = np.flatnonzero(src[row].reshape(-1))
        made[row] = padding
        made[row, : len(places)] = places + index_offset
        made[row, -1] = len(places)
    return made


compute(
    "nonzero_with_count",
    "Of partitions 0, 16, 32, … the places that are not zero plus index_offset, then padding, and "
    "last how many there are; other partitions of dst stay.",
    _check_nonzero,
    _nonzero,
    engines=("gpsimd",),
    arity=(2, 2),
    memory=(ONLY_SBUF,),
    attrs=(Attr("index_offset", int, 0), Attr("padding", int, -1)),
    effects=("write 0", "read 0"),
    version=TRN2,
    nki=nisa(
        "nonzero_with_count",
        dst=operand(0),
        src=flat_operand(1),
        index_offset=literal("index_offset", omit=0),
        padding_val=literal("padding", omit=-1),
    ),
    kb=kb.Unknown(kb.NO_CALL),
)
