"""VectorE's search for the eight largest values of each partition, and for where values stand.

Rules and meanings: aws-neuron-sdk, nki.isa reference of max8, nc_find_index8 and nc_match_replace8
(NKI 0.6). A value that stands several times is found as often as it is asked for, each time in
another place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb
from nkigen_lite.nki_ir.emit.calls import literal, nisa, operand
from nkigen_lite.nki_ir.rows.pointers import f32
from nkigen_lite.nki_ir.rows.table import check_partitions, check_same_shape, compute
from nkigen_lite.nki_ir.types import TileType

EIGHT = 8
SEARCHED_MIN, SEARCHED_MAX = 8, 16384
_INDEX_DTYPES = (DType.U16, DType.U32)


def _check_searched(name: str, kind: TileType) -> None:
    if not SEARCHED_MIN <= kind.free_size <= SEARCHED_MAX:
        raise InvalidOp(
            f"{name}: free size is {kind.free_size} but must be {SEARCHED_MIN} to {SEARCHED_MAX}"
        )


def _check_eight(name: str, what: str, kind: TileType) -> None:
    if kind.rank != 2 or kind.free_size != EIGHT:
        raise InvalidOp(f"{name}: {what} are {kind} but must be {EIGHT} in each partition")


def _check_indices(name: str, kind: TileType) -> None:
    _check_eight(name, "indices", kind)
    if kind.dtype not in _INDEX_DTYPES:
        raise InvalidOp(f"{name}: indices are {kind.dtype} but must be u16 or u32")


def _check_max(types: Types, attrs: Attrs) -> None:
    check_partitions("max8", types)
    _check_eight("max8", "results", types[0])
    _check_searched("max8", types[1])


def _rows(array: Array) -> Array:
    return f32(array).reshape(len(array), -1)


compute(
    "max8",
    "The eight largest values of each partition, in descending order.",
    _check_max,
    lambda dst, src, engine: -np.sort(-_rows(src), axis=1)[:, :EIGHT],
    engines=("vector",),
    arity=(2, 2),
    nki=nisa("max8", bools=lambda op: False, dst=operand(0), src=operand(1)),
    kb=kb.kb("max8", dst=kb.tile(0), src=kb.tile(1)),
)


def _places(data: Array, values: Array, order: Sequence[int], missing: int) -> Array:
    """Where the eight values of each partition stand, each occurrence found once."""
    found = np.full(values.shape, missing, np.int64)
    for row in range(len(data)):
        free = np.ones(data.shape[1], bool)
        for k in order:
            (places,) = np.nonzero(free & (data[row] == values[row, k]))
            if places.size:
                found[row, k] = places[0]
                free[places[0]] = False
    return found


def _all_ones(indices: Array) -> int:
    return int(np.iinfo(indices.dtype).max)


def _check_find(types: Types, attrs: Attrs) -> None:
    name = "find_index8"
    check_partitions(name, types)
    _check_indices(name, types[0])
    _check_searched(name, types[1])
    _check_eight(name, "values", types[2])


# nkipy notes that this one fails in its Kernel Builder from trn2 on, while the nki.isa reference
# names no target: match_replace8 with a fourth operand finds places as well.
compute(
    "find_index8",
    "Where each of eight values first stands in its partition; equal ones get ascending places, "
    "and a value that is not there all ones. Operands: indices, data, values.",
    _check_find,
    lambda dst, data, values, engine: _places(
        _rows(data), _rows(values), range(EIGHT), _all_ones(dst)
    ),
    engines=("vector",),
    arity=(3, 3),
    full=(1, 2),
    nki=nisa("nc_find_index8", dst=operand(0), data=operand(1), vals=operand(2)),
    kb=kb.kb("find_index8", dst=kb.tile(0), src=kb.tile(1), vals=kb.tile(2)),
)


def _check_replace(types: Types, attrs: Attrs) -> None:
    name = "match_replace8"
    dst, data, values, *indices = types
    check_partitions(name, types)
    check_same_shape(name, (dst, data))
    _check_searched(name, data)
    _check_eight(name, "values", values)
    for kind in indices:
        _check_indices(name, kind)


def _replace(
    dst: Array, data: Array, values: Array, *indices: Array, imm: float, engine: str
) -> Any:
    flat = _rows(data).copy()
    # The hardware goes from the last value to the first, so equal ones get descending places.
    places = _places(flat, _rows(values), range(EIGHT - 1, -1, -1), -1)
    rows, which = np.nonzero(places >= 0)
    flat[rows, places[rows, which]] = imm
    made = flat.reshape(dst.shape)
    if not indices:
        return made
    return made, np.where(places < 0, _all_ones(indices[0]), places)


compute(
    "match_replace8",
    "data with the first place of each of eight values overwritten by imm; equal values take as "
    "many places. A last operand takes the places, descending for equal values, all ones for what "
    "is not there. Operands: dst, data, values and, if given, indices.",
    _check_replace,
    _replace,
    engines=("vector",),
    arity=(3, 4),
    attrs=(Attr("imm", float),),
    effects=("write 0", "write 3"),
    full=(0, 1),
    nki=nisa(
        "nc_match_replace8",
        bools=lambda op: False,
        dst=operand(0),
        data=operand(1),
        vals=operand(2),
        imm=literal("imm"),
        dst_idx=operand(3),
    ),
    kb=kb.kb(
        "max_index_and_match_replace",
        dst=kb.tile(0),
        src=kb.tile(1),
        vals=kb.tile(2),
        immediate=kb.attribute("imm"),
        dst_idx=kb.tile(3),
    ),
)
