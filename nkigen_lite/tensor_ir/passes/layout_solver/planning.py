"""From the solver's solution to a schedule that the lowering can carry out."""

from __future__ import annotations

import solver
from nkigen_lite.tensor_ir.passes.axes import Storage
from nkigen_lite.tensor_ir.passes.layout_solver.priced import Priced
from nkigen_lite.tensor_ir.passes.layout_solver.problem import Planner
from nkigen_lite.tensor_ir.passes.schedule import HBM, Conversion, Port, Schedule, Segment


def schedule_of(planner: Planner, solution: solver.Solution) -> Schedule:
    """The segments and conversions of a solution, in execution order."""
    picked = [planner.priced[name] for name in solution.picked]
    storages = {s.name: s for s in planner.program.storages}
    streamed = {(s.candidate, s.value, s.layout) for s in solution.sources if s.place == HBM}
    kept = set(solution.kept)
    converted = {(value, source) for value, source, _ in solution.conversions}
    items: list[Segment | Conversion] = []
    waiting = {c for c in solution.conversions if c[1] == HBM}
    for priced in picked:
        for key in sorted(c for c in waiting if _reads(priced, c)):
            items.append(planner.conversions[key])
            waiting.discard(key)
        segment = priced.choice.segment(priced.candidate.name)
        segment.run = priced.run
        for info in priced.reads:
            comes = (priced.candidate.name, info.storage.name, info.name) in streamed
            segment.reads[info.storage, info.layout.name] = Port(info.layout, comes, info.via)
        for info in priced.writes:
            key_of = (info.storage.name, info.layout.name)
            stays = info.keepable and (key_of in kept or key_of in converted)
            segment.writes[info.storage, info.layout.name] = Port(info.layout, not stays, info.via)
        made = {i.storage for i in priced.writes}
        segment.stored = frozenset(s for s in made if s.name in solution.stored)
        items.append(segment)
        made_names = {s.name for s in made}
        for key in solution.conversions:
            if key[0] in made_names and key[1] != HBM:
                items.append(planner.conversions[key])
    return Schedule(
        program=planner.program,
        items=items,
        kept=_kept(solution, storages, planner),
        stored=frozenset(storages[name] for name in solution.stored),
    )


def _reads(priced: Priced, conversion: tuple[str, str, str]) -> bool:
    value, _, target = conversion
    return any(i.storage.name == value and i.name == target for i in priced.reads)


def _kept(
    solution: solver.Solution, storages: dict[str, Storage], planner: Planner
) -> dict[Storage, tuple[str, ...]]:
    kept: dict[Storage, tuple[str, ...]] = {}
    for name, layout in solution.kept:
        kept[storages[name]] = (*kept.get(storages[name], ()), layout)
    return kept
