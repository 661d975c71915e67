"""Grouping the steps of a program into the ops of the solver's problem."""

from __future__ import annotations

from dataclasses import dataclass

from nkigen_lite.tensor_ir.passes.axes import Program, Step, Storage


@dataclass(eq=False, slots=True)
class Unit:
    """Steps that are placed together: one step, or all writers of one storage.

    A storage has one producer in the solver's eyes; the writers of its windows (of a concat) run
    one after the other, at the place of the last of them.
    """

    name: str
    steps: tuple[Step, ...]

    @property
    def written(self) -> Storage:
        return self.steps[0].write.storage

    @property
    def read(self) -> list[Storage]:
        """Storages read that are not constants, each once."""
        seen = dict.fromkeys(v.storage for s in self.steps for v in s.reads)
        return [s for s in seen if s.kind != "constant"]


def units_of(program: Program) -> list[Unit]:
    """The units in execution order."""
    writers: dict[Storage, list[Step]] = {}
    for step in program.steps:
        writers.setdefault(step.write.storage, []).append(step)
    units = []
    for step in program.steps:
        steps = writers[step.write.storage]
        if step is steps[-1]:
            units.append(Unit(step.write.storage.name, tuple(steps)))
    return units
