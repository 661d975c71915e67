"""Constraints as rows of the model, each tagged with its constraint."""

from __future__ import annotations

from .constraints import Constraint, Cut, Pin
from .formulation import ROLE_CODES, Formulation
from .index import decides
from .problem import HBM


def add_constraint(form: Formulation, constraint: Constraint) -> None:
    """Add the rows of `constraint` to the model of `form`."""
    tags = (str(constraint),)
    if isinstance(constraint, Pin):
        _add_pin(form, constraint, tags)
        return
    at = form.problem.ops.index
    if isinstance(constraint, Cut):
        position = at(constraint.before)
        across = [(form.pick[c.name], form.index.span[c.name]) for c in form.covering[position]]
        form.model.at_most([(1, pick) for pick, span in across if span[0] < position], 0, tags)
    else:
        last = at(constraint.second)
        both = [
            c for c in form.covering[at(constraint.first)] if form.index.span[c.name][1] >= last
        ]
        form.model.at_least([(1, form.pick[c.name]) for c in both], 1, tags)


def _add_pin(form: Formulation, pin: Pin, tags: tuple[str, ...]) -> None:
    """A pinned role or tile fixes its variable, and excludes the candidates that would not give it:
    the relaxation sees only the latter."""
    key = (pin.value, pin.axis or "")
    if pin.role is not None and key in form.role:
        form.model.equal([(1, form.role[key])], ROLE_CODES[pin.role], tags)
    if pin.tile is not None and key in form.tile:
        form.model.equal([(1, form.tile[key])], pin.tile, tags)
    if pin.role is not None or pin.tile is not None:
        for candidate in form.deciding(pin.value):
            if not decides(candidate, pin):
                form.model.at_most([(1, form.pick[candidate.name])], 0, tags)
    if pin.location == HBM:
        _add_off_chip(form, pin.value, tags)
    elif pin.location is not None:
        _add_on_chip(form, pin.value, tags)


def _add_off_chip(form: Formulation, value: str, tags: tuple[str, ...]) -> None:
    """In HBM, and no copy kept."""
    record = form.index.values[value]
    copies = [term for layout in record.resident_bytes for term in form.copies((value, layout))]
    form.model.at_most(copies, 0, tags)
    if record.producer is not None:
        form.model.at_least(form.stored(value), 1, tags)


def _add_on_chip(form: Formulation, value: str, tags: tuple[str, ...]) -> None:
    """Never streamed, and stored only as an output."""
    reads = {
        move for (_, kind, name, _), move in form.move.items() if (kind, name) == ("read", value)
    }
    form.model.at_most([(1, move) for move in sorted(reads)], 0, tags)
    if not form.index.values[value].output:
        form.model.at_most(form.stored(value), 0, tags)
