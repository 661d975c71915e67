"""What crosses a choice's boundary, and how the solver hears of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import solver
from nkigen_lite.tensor_ir.passes.axes import Storage
from nkigen_lite.tensor_ir.passes.direct_lower.segment_buffers import PortKey
from nkigen_lite.tensor_ir.passes.layout_solver.pricing import DMA, Cost
from nkigen_lite.tensor_ir.passes.schedule import Layout, Via, free_elements

FREE = solver.Transfer(busy={}, overhead_ns=0, hbm_bytes=0, sbuf_bytes=0, instructions=0, dmas=0)


@dataclass(eq=False, slots=True)
class PortInfo:
    """One boundary of a choice in the schedule's terms.

    Attributes:
        keepable: whether the value can be kept whole in SBUF in that layout.
        via: how it is transposed when it is loaded and stored, if it is.
        cost: of moving it over the boundary.
    """

    storage: Storage
    layout: Layout
    side: str
    keepable: bool
    via: Via | None = None
    cost: solver.Transfer = FREE

    @property
    def name(self) -> str:
        """The layout's name in the problem; one that cannot be kept has a name of its own."""
        return self.layout.name if self.keepable else self.layout.name + "~"

    @property
    def key(self) -> PortKey:
        return self.storage, self.layout.name, "read" if self.side == "read" else "write"


def solver_ports(
    ports: Sequence[PortInfo],
) -> tuple[tuple[solver.Port, ...], tuple[solver.Port, ...]]:
    """The ports as the solver's records: reads and writes."""
    made = [(i.side, solver.Port(i.storage.name, i.name, i.cost)) for i in ports]
    reads, writes = (tuple(p for at, p in made if at == side) for side in ("read", "write"))
    return reads, writes


def resident_bytes(storage: Storage, layout: Layout) -> int:
    """Bytes per partition of a storage kept whole."""
    return max(1, free_elements(storage.axes, layout, {})) * storage.dtype.itemsize


def transfer_of(cost: Cost, overhead_ns: int, *, early_ns: int = 0) -> solver.Transfer:
    """A cost as the solver's record."""
    busy = cost.busy_ns
    return solver.Transfer(
        busy=busy,
        overhead_ns=overhead_ns,
        hbm_bytes=cost.hbm_bytes,
        sbuf_bytes=cost.sbuf_bytes,
        instructions=cost.instructions,
        dmas=cost.dmas,
        early_ns=min(early_ns, busy.get(DMA, 0)),
    )
