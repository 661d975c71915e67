"""Choices with their prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import solver
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import Choice
from nkigen_lite.tensor_ir.passes.layout_solver.memory import Figures, layout_at
from nkigen_lite.tensor_ir.passes.layout_solver.ports import PortInfo, solver_ports
from nkigen_lite.tensor_ir.passes.layout_solver.roles import roles_of
from nkigen_lite.tensor_ir.passes.schedule import Arrangement


@dataclass(eq=False, slots=True)
class Priced:
    """A choice with its ports and its solver candidate, and how its iterations are run.

    ``streamed_ns`` is what it takes alone with all ports streamed, ``store_ns`` what it waits for
    its stores at the end of a plan.
    """

    choice: Choice
    ports: Sequence[PortInfo]
    candidate: solver.Candidate
    run: Arrangement
    streamed_ns: float
    store_ns: int

    @classmethod
    def of(cls, choice: Choice, name: str, ports: Sequence[PortInfo], figures: Figures) -> Priced:
        """A choice with the figures of its structure; its ports are told theirs."""
        for info, via, cost in zip(ports, figures.vias, figures.costs, strict=True):
            info.via = layout_at(via, info.storage) if via else None
            info.cost = cost
        reads, writes = solver_ports(ports)
        candidate = solver.Candidate(
            name=name,
            ops=tuple(u.name for u in choice.units),
            reads=reads,
            writes=writes,
            busy=figures.busy,
            overhead_ns=0,
            sbuf_bytes=figures.sbuf_bytes,
            psum_banks=figures.psum_banks,
            instructions=figures.instructions,
            dims=tuple(roles_of(choice)),
            fill_ns=figures.fill_ns,
            drain_ns=figures.drain_ns,
            wait_ns=figures.wait_ns,
        )
        times = figures.streamed_ns, figures.store_ns
        return cls(choice, ports, candidate, figures.run, *times)

    @property
    def reads(self) -> list[PortInfo]:
        return [p for p in self.ports if p.side == "read"]

    @property
    def writes(self) -> list[PortInfo]:
        return [p for p in self.ports if p.side == "write"]
