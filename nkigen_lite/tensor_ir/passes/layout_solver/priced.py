"""Choices with their prices, and which of them are not worth keeping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import solver
from nkigen_lite.tensor_ir.passes.layout_solver.candidates import Choice
from nkigen_lite.tensor_ir.passes.layout_solver.ports import PortInfo, signature
from nkigen_lite.tensor_ir.passes.schedule import Arrangement


@dataclass(eq=False, slots=True)
class Priced:
    """A choice with its ports and its solver candidate, and how its iterations are run.

    ``streamed_ns`` is what it takes alone with all ports streamed, ``kept_ns`` with all kept.
    """

    choice: Choice
    ports: list[PortInfo]
    candidate: solver.Candidate
    run: Arrangement
    streamed_ns: float
    kept_ns: float

    @property
    def reads(self) -> list[PortInfo]:
        return [p for p in self.ports if p.side == "read"]

    @property
    def writes(self) -> list[PortInfo]:
        return [p for p in self.ports if p.side == "write"]

    @property
    def anywhere_ns(self) -> float:
        """What it takes with all ports streamed and its neighbours moving what crosses them, too:
        no plan has to take longer for what it does."""
        return self.streamed_ns + sum(
            max(info.cost.busy.values(), default=0) + info.cost.overhead_ns for info in self.ports
        )


def beaten(
    busy: Mapping[str, int], sbuf_bytes: int, ports: Sequence[PortInfo], rivals: Sequence[Priced]
) -> bool:
    """Whether a rival with the same ports is faster than a choice can be, with all of them streamed
    and with all kept, in no more SBUF; ``busy`` and ``sbuf_bytes`` are the choice's own."""
    total = dict(busy)
    for info in ports:
        for resource, ns in info.cost.busy.items():
            total[resource] = total.get(resource, 0) + ns
    streamed_ns, kept_ns = max(total.values(), default=0), max(busy.values(), default=0)
    alike = signature(ports)
    return any(
        rival.streamed_ns <= streamed_ns
        and rival.kept_ns <= kept_ns
        and rival.candidate.sbuf_bytes <= sbuf_bytes
        and all(
            r.cost.sbuf_bytes <= p.cost.sbuf_bytes for r, p in zip(rival.ports, ports, strict=True)
        )
        for rival in rivals
        if signature(rival.ports) == alike
    )
