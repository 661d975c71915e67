"""Scans, searches and moves by indices of the Kernel Builder's stand-in, one element at a time."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from nki_stand_in_functions import ARITHMETIC, BITVEC

Tile = Any


def _rows(tile: Tile) -> Any:
    return tile.read().reshape(tile.shape[0], -1)


def _in_place(data: Any, values: Any, order: Any, missing: int) -> Any:
    """Where each of a row's values stands, every occurrence given to one of them."""
    found = np.full(len(values), missing, np.int64)
    taken: set[int] = set()
    for k in order:
        places = [at for at in range(len(data)) if data[at] == values[k] and at not in taken]
        if places:
            found[k] = places[0]
            taken.add(places[0])
    return found


class Register:
    """A number that is known when the kernel runs."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __add__(self, number: int) -> Register:
        assert type(number) is int
        return Register(self.value + number)

    def __lt__(self, other: Register) -> bool:
        return self.value < other.value

    def __index__(self) -> int:
        return self.value


class ExplicitReplicaGroupAttr:
    """Groups of ranks."""

    def __init__(self, groups: list[list[int]]) -> None:
        self.groups = groups

    @classmethod
    def get(cls, groups: list[list[int]]) -> ExplicitReplicaGroupAttr:
        return cls(groups)


class CollectiveDimension(Enum):
    """Dimensions that collectives join or split."""

    DIM_0 = 0
    DIM_1 = 1


class MovesIsa:
    """Instructions with the keywords that nkipy's ``emit_to_kb`` gives them."""

    def tensor_scalar_bitvec(self, *, dst: Tile, src: Tile, operand0: int, op0: Any) -> None:
        dst.write(BITVEC[op0.value](src.read(), np.asarray(operand0, src.data.dtype)))

    def tensor_tensor_scan(self, *, dst: Tile, src0: Tile, src1: Tile, imm0: Any, op0: Any,
                           op1: Any) -> None:  # fmt: skip
        a, b = (_rows(t).astype(np.float32) for t in (src0, src1))
        number = not hasattr(imm0, "data")
        state = np.full(len(a), imm0, np.float32) if number else _rows(imm0)[:, 0]
        made = np.empty_like(a)
        for at in range(a.shape[1]):
            state = ARITHMETIC[op0.value](a[:, at], state).astype(np.float32)
            state = made[:, at] = ARITHMETIC[op1.value](state, b[:, at]).astype(np.float32)
        dst.write(made)

    def load_register(self, element: Tile) -> Register:
        assert element.dtype in ("int32", "uint32")
        assert element.memspace == "sbuf"
        return Register(int(element.read().reshape(-1)[0]))

    def all_reduce(self, *, dsts: list[Tile], srcs: list[Tile], replica_group: Any,
                   reduce_op: Any) -> None:  # fmt: skip
        assert reduce_op.name == "Add"
        self._alone(dsts, srcs, replica_group)

    def all_gather(self, *, dsts: list[Tile], srcs: list[Tile], replica_group: Any,
                   cc_dim: Any) -> None:  # fmt: skip
        assert isinstance(cc_dim, CollectiveDimension)
        self._alone(dsts, srcs, replica_group)

    all_to_all = all_gather

    def reduce_scatter(self, *, dsts: list[Tile], srcs: list[Tile], replica_group: Any,
                       cc_dim: Any, reduce_op: Any) -> None:  # fmt: skip
        assert reduce_op.name == "Add"
        assert isinstance(cc_dim, CollectiveDimension)
        self._alone(dsts, srcs, replica_group)

    def _alone(self, dsts: list[Tile], srcs: list[Tile], replica_group: Any) -> None:
        """Of one rank only: every collective is a copy."""
        assert isinstance(replica_group, ExplicitReplicaGroupAttr)
        assert replica_group.groups == [[0]]
        (dst,), (src,) = dsts, srcs
        dst.data[...] = src.data

    def max8(self, *, dst: Tile, src: Tile) -> None:
        dst.write(np.sort(_rows(src), axis=1)[:, ::-1][:, :8])

    def find_index8(self, *, dst: Tile, src: Tile, vals: Tile) -> None:
        none = np.iinfo(dst.data.dtype).max
        pairs = zip(_rows(src), _rows(vals), strict=True)
        dst.write(np.stack([_in_place(row, wanted, range(8), none) for row, wanted in pairs]))

    def max_index_and_match_replace(self, *, dst: Tile, src: Tile, vals: Tile, immediate: float,
                                    dst_idx: Tile | None = None) -> None:  # fmt: skip
        data, wanted = _rows(src).copy(), _rows(vals)
        places = np.stack(
            [_in_place(r, w, range(7, -1, -1), -1) for r, w in zip(data, wanted, strict=True)]
        )
        for row, found in zip(data, places, strict=True):
            row[found[found >= 0]] = immediate
        dst.write(data)
        if dst_idx is not None:
            none = np.iinfo(dst_idx.data.dtype).max
            dst_idx.write(np.where(places < 0, none, places))

    def stream_shuffle(self, *, dst: Tile, src: Tile, shuffle_mask: list[int]) -> None:
        made, given = dst.read().copy(), src.read().copy()
        for row in range(len(made)):
            group, place = divmod(row, 32)
            if shuffle_mask[place] != 255:
                made[row] = given[group * 32 + shuffle_mask[place]].reshape(made[row].shape)
        dst.write(made)

    def gather(self, *, dst: Tile, src: Tile, indices: Tile) -> None:
        dst.write(np.take_along_axis(_rows(src), _rows(indices).astype(np.int64), axis=1))

    def sequence_bounds(self, *, dst: Tile, src: Tile) -> None:
        ids = src.read().reshape(-1)
        made = np.empty((2, len(ids)))
        for at, own in enumerate(ids):
            start, end = at, at
            while start and ids[start - 1] == own:
                start -= 1
            while end < len(ids) and ids[end] == own:
                end += 1
            made[:, at] = (start, end) if own else (len(ids), -1)
        dst.write(made)

    def dma_transpose(self, *, dst: Tile, src: Tile, permutation: list[int]) -> None:
        assert dst.memspace == "sbuf"
        dst.data[...] = src.data.transpose(permutation)

    def dma_gather_transpose(self, *, dst: Tile, src: Tile, gather_index: Tile) -> None:
        count = dst.shape[-1]
        rows = gather_index.data.T.reshape(-1)[:count].astype(np.int64)
        axes = (1, 0) if len(dst.shape) == 2 else (3, 1, 2, 0)
        dst.data[...] = src.data[rows].transpose(axes)
