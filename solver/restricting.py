"""Constraints as rows of the model, each tagged with its constraint."""

from __future__ import annotations

from .constraints import Constraint, Cut, Pin
from .formulation import ROLE_CODES, Formulation
from .index import decides
from .linear import LinearModel, Row
from .problem import HBM


def rows_of(form: Formulation, constraint: Constraint) -> list[Row]:
    """The rows that hold the plans of `form` to `constraint`."""
    tags = (str(constraint),)
    model = LinearModel(form.model.upper)
    if isinstance(constraint, Pin):
        _add_pin(form, model, constraint, tags)
        return model.rows
    at = form.problem.ops.index
    if isinstance(constraint, Cut):
        position = at(constraint.before)
        across = [(form.pick[c.name], form.index.span[c.name]) for c in form.covering[position]]
        model.at_most([(1, pick) for pick, span in across if span[0] < position], 0, tags)
    else:
        last = at(constraint.second)
        both = [
            c for c in form.covering[at(constraint.first)] if form.index.span[c.name][1] >= last
        ]
        model.at_least([(1, form.pick[c.name]) for c in both], 1, tags)
    return model.rows


def _add_pin(form: Formulation, model: LinearModel, pin: Pin, tags: tuple[str, ...]) -> None:
    """A pinned role or tile fixes its variable, and excludes the candidates that would not give it:
    the relaxation sees only the latter."""
    key = (pin.value, pin.axis or "")
    if pin.role is not None and key in form.role:
        model.equal([(1, form.role[key])], ROLE_CODES[pin.role], tags)
    if pin.tile is not None and key in form.tile:
        model.equal([(1, form.tile[key])], pin.tile, tags)
    if pin.role is not None or pin.tile is not None:
        for candidate in form.deciding(pin.value):
            if not decides(candidate, pin):
                model.at_most([(1, form.pick[candidate.name])], 0, tags)
    if pin.location == HBM:
        _add_off_chip(form, model, pin.value, tags)
    elif pin.location is not None:
        _add_on_chip(form, model, pin.value, tags)


def _add_off_chip(form: Formulation, model: LinearModel, value: str, tags: tuple[str, ...]) -> None:
    """In HBM, and no copy kept."""
    record = form.index.values[value]
    copies = [term for layout in record.resident_bytes for term in form.copies((value, layout))]
    model.at_most(copies, 0, tags)
    if record.producer is not None:
        model.at_least(form.stored(value), 1, tags)


def _add_on_chip(form: Formulation, model: LinearModel, value: str, tags: tuple[str, ...]) -> None:
    """Never streamed, and stored only as an output."""
    reads = {
        move for (_, kind, name, _), move in form.move.items() if (kind, name) == ("read", value)
    }
    model.at_most([(1, move) for move in sorted(reads)], 0, tags)
    if not form.index.values[value].output:
        model.at_most(form.stored(value), 0, tags)
