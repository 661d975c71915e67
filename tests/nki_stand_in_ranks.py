"""``nki.collectives`` of the stand-in: one thread per rank, which meet at a barrier.

Written from the vendor's documentation (aws-neuron-sdk: nki.collectives reference of NKI 0.6),
independently of the code under test.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from nki_stand_in import DOCUMENTED, Kernel, bound, stand_in
from nki_stand_in_functions import ARITHMETIC
from nki_stand_in_tensors import HBM, Array, MemoryRegion, Register, Tensor, require

PATIENCE_S = 20


class ReplicaGroup:
    """Ranks in groups of one size."""

    def __init__(self, groups: list[list[int]]) -> None:
        require(len({len(group) for group in groups}) == 1, f"groups {groups}")
        self.groups = groups

    def of(self, rank: int) -> list[int]:
        return next(group for group in self.groups if rank in group)


class Ranks:
    """The functions; each rank's thread calls them."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=PATIENCE_S)
        self.sent: list[Array | None] = [None] * count
        self.here = threading.local()

    def exchanged(self, srcs: list[Tensor], dsts: list[Tensor], hbm_only: bool) -> list[Array]:
        """What every rank has sent, once all have."""
        require(len(srcs) == len(dsts) == 1, "one tensor of each rank")
        (src,), (dst,) = srcs, dsts
        require(src.dtype == dst.dtype, f"{src} to {dst}")
        places = {"hbm" if t.region in HBM else t.region.name for t in (src, dst)}
        require(len(places) == 1 and "psum" not in places, f"{src} to {dst}")
        require(not hbm_only or places == {"hbm"}, f"{src} to {dst}")
        self.sent[self.here.rank] = src.read().copy()
        self.barrier.wait()
        everyone = [part for part in self.sent if part is not None]
        self.barrier.wait()
        return everyone

    def all_reduce(
        self, srcs: Any, dsts: Any, replica_group: ReplicaGroup, op: Any, priority: Any
    ) -> None:
        require(op.name in ("add", "minimum", "maximum"), op.name)
        sent = self.exchanged(srcs, dsts, hbm_only=False)
        total = sent[replica_group.of(self.here.rank)[0]].astype(np.float32)
        for rank in replica_group.of(self.here.rank)[1:]:
            total = ARITHMETIC[op.name](total, sent[rank].astype(np.float32))
        dsts[0].write(total, "truncate")

    def all_gather(
        self, srcs: Any, dsts: Any, replica_group: ReplicaGroup, collective_dim: int, priority: Any
    ) -> None:
        most = 1 if srcs[0].region is MemoryRegion.sbuf else 0
        require(0 <= collective_dim <= most, f"gathers along {collective_dim}")
        sent = self.exchanged(srcs, dsts, hbm_only=False)
        mine = [sent[rank] for rank in replica_group.of(self.here.rank)]
        dsts[0].write(np.concatenate(mine, axis=collective_dim), "truncate")

    def reduce_scatter(
        self,
        srcs: Any,
        dsts: Any,
        replica_group: ReplicaGroup,
        collective_dim: int,
        op: Any,
        priority: Any,
    ) -> None:
        require(collective_dim == 0, f"scatters along {collective_dim}")
        sent = self.exchanged(srcs, dsts, hbm_only=False)
        group = replica_group.of(self.here.rank)
        size = dsts[0].shape[0]
        at = slice(group.index(self.here.rank) * size, (group.index(self.here.rank) + 1) * size)
        total = sent[group[0]][at].astype(np.float32)
        for rank in group[1:]:
            total = ARITHMETIC[op.name](total, sent[rank][at].astype(np.float32))
        dsts[0].write(total, "truncate")

    def all_to_all(
        self, srcs: Any, dsts: Any, replica_group: ReplicaGroup, collective_dim: int, priority: Any
    ) -> None:
        require(collective_dim == 0, f"exchanges along {collective_dim}")
        sent = self.exchanged(srcs, dsts, hbm_only=True)
        group = replica_group.of(self.here.rank)
        size = dsts[0].shape[0] // len(group)
        place = group.index(self.here.rank)
        mine = [sent[rank][place * size : (place + 1) * size] for rank in group]
        dsts[0].write(np.concatenate(mine), "truncate")

    def collective_permute(
        self, srcs: Any, dsts: Any, source_target_pairs: Any, priority: Any
    ) -> None:
        sent = self.exchanged(srcs, dsts, hbm_only=True)
        for source, target in source_target_pairs:
            if target == self.here.rank:
                dsts[0].write(sent[source], "truncate")

    def rank_id(self) -> Register:
        return Register(self.here.rank)

    def module(self) -> ModuleType:
        made = ModuleType("nki.collectives")
        vars(made)["ReplicaGroup"] = ReplicaGroup
        for name, parameters in DOCUMENTED["collectives"].items():
            setattr(made, name, bound(getattr(self, name), parameters, {}))
        return made


def run_emitted_ranks(source: str, inputs: Sequence[Sequence[Array]]) -> list[tuple[Array, ...]]:
    """Call the kernel of an emitted module once per rank; the outputs of each."""
    ranks = Ranks(len(inputs))
    results: list[tuple[Array, ...]] = [()] * len(inputs)
    errors: list[BaseException] = []
    namespace: dict[str, Any] = {"__name__": "emitted"}
    with stand_in("truncate", collectives=ranks.module()):
        exec(compile(source, "<emitted>", "exec"), namespace)
        (kernel,) = [v for v in namespace.values() if isinstance(v, Kernel)]

        def run_one(rank: int) -> None:
            ranks.here.rank = rank
            try:
                results[rank] = kernel(*inputs[rank])
            except BaseException as error:
                errors.append(error)
                ranks.barrier.abort()

        threads = [threading.Thread(target=run_one, args=(rank,)) for rank in range(len(inputs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return results
