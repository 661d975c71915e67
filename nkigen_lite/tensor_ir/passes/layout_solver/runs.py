"""Runs of units that may share a segment: which are worth pricing, and in what order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.tensor_ir.passes.axes import Storage
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import MAX_CHAIN, chains
from nkigen_lite.tensor_ir.passes.layout_solver.units import Unit

Run = tuple[Unit, ...]
"""Neighbouring units, in order."""

_EPILOGUE = 3  # units in a fused run that begins with a matmul and keeps nothing large inside
_HELD_SHARE = 0.25  # of SBUF: a value beyond it leaves too little room to be held whole
_LONG_ROW = 1024  # elements of which one DMA moves some hundred rows at a good rate
_LARGE_SHARE = 0.1  # of SBUF: a value beyond it is worth never holding whole


@dataclass(eq=False)
class Runs:
    """The runs of a program's units.

    Args:
        consumers: the units that read a storage.
    """

    units: Sequence[Unit]
    consumers: Mapping[Storage, Sequence[Unit]]
    limits: Limits
    listed: list[Run] = field(init=False)

    def __post_init__(self) -> None:
        fused = sorted(filter(self.pays, chains(self.units)), key=len, reverse=True)
        self.listed = [*fused, *((unit,) for unit in self.units)]
        self.place = {run: at for at, run in enumerate(self.listed)}
        self._at = {unit: at for at, unit in enumerate(self.units)}
        self._from: dict[int, list[Run]] = {}
        for run in self.listed:
            self._from.setdefault(self._at[run[0]], []).append(run)

    def longer(self, run: Run) -> list[Run]:
        """The listed runs that contain another one."""
        first, last = self._at[run[0]], self._at[run[-1]]
        near = (r for at in range(last - MAX_CHAIN, first + 1) for r in self._from.get(at, ()))
        return [r for r in near if len(r) > len(run) and self._at[r[-1]] >= last]

    def waves(self) -> Iterator[list[Run]]:
        """All listed runs, each after those that contain it; those of a wave in their order."""
        wave_of: dict[Run, int] = {}
        for run in self.listed:  # longer ones first
            wave_of[run] = max((wave_of[r] + 1 for r in self.longer(run)), default=0)
        for nth in range(max(wave_of.values(), default=-1) + 1):
            yield [run for run in self.listed if wave_of[run] == nth]

    def pays(self, run: Run) -> bool:
        """Whether fusing a run can win: a matmul drains through what follows it, or some value
        inside is long enough for what is done with a part of it to overlap with what is done with
        others. Where a matmul is not the first, as there are many
        such runs, only if a value inside is too large to be kept whole beside others."""
        matmuls = [i for i, u in enumerate(run) if u.steps[0].kind == "matmul"]
        if matmuls == [0] and len(run) <= _EPILOGUE:
            return True
        if len(matmuls) > 1 and (matmuls[0] > 0 or len(run) - matmuls[-1] > _EPILOGUE):
            return False
        inside = [u.written for u in run[:-1]]
        overlaps = not any(matmuls) and any(map(self.is_long, inside))
        return overlaps or any(self.is_large(s) for s in inside)

    def is_long(self, storage: Storage) -> bool:
        """Whether a value has more rows than there are partitions, or as many elements as rows of
        good DMAs."""
        rows = math.prod(axis.extent for axis in storage.axes[:-1])
        return max(rows, storage.elements // _LONG_ROW) > self.limits.partitions

    def is_large(self, storage: Storage, share: float = _LARGE_SHARE) -> bool:
        """Whether a value takes so much of SBUF that it is worth never holding whole."""
        room = self.limits.sbuf_bytes * self.limits.partitions
        return storage.size_bytes > share * room

    def splits(self, run: Run, longer: Run) -> bool:
        """Whether a run, part of a longer one, moves a large value that stays inside that."""
        made = {u.written for u in run}
        own = [u.written for u in longer if not self.leaves(u.written, longer)]
        return any(
            self.is_large(s, _HELD_SHARE)
            and (self.leaves(s, run) if s in made else self.reads(s, run))
            for s in own
        )

    def leaves(self, storage: Storage, run: Run) -> bool:
        """Whether something outside a run needs what it makes."""
        outside = any(u not in run for u in self.consumers.get(storage, ()))
        return outside or storage.kind == "output"

    def reads(self, storage: Storage, run: Run) -> bool:
        """Whether a run reads a storage."""
        return any(u in run for u in self.consumers.get(storage, ()))
