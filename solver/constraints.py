"""Decisions that the user has taken: where a value lives, its roles and tiles, what is fused.

    [
     {"value": "x", "location": "sbuf"},
     {"value": "v5", "axis": "a0", "role": "P", "tile": 128},
     {"before": "v7"},
     {"first": "v3", "second": "v5"}
    ]

is a file of constraints: the fields of an entry tell its kind.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from .codec import DecodeError, decode, encode
from .problem import Location, Problem, ProblemError, Role


@dataclass(frozen=True, slots=True)
class Pin:
    """Holds a value to a place, or an axis of it to a role or tile size.

    With `axis`: the role or the tile (or both) of that axis of `value`, as chosen by the candidate
    that produces it (a graph input: by its first reader).  With `location`: "hbm", the value is in
    HBM and no copy is kept in SBUF between segments; "sbuf", no segment streams it from HBM, and
    it is stored there only if it is a graph output; inside one candidate it may be in PSUM.
    """

    value: str
    axis: str | None = None
    role: Role | None = None
    tile: int | None = None
    location: Location | None = None

    def __str__(self) -> str:
        where = {"hbm": "lives in HBM only", "sbuf": "is kept in SBUF, not streamed from HBM"}
        parts = [] if self.role is None else [f"has axis {self.axis!r} in role {self.role}"]
        parts += [] if self.tile is None else [f"has axis {self.axis!r} in tiles of {self.tile}"]
        parts += [] if self.location is None else [where[self.location]]
        return f"value {self.value!r} " + " and ".join(parts or ["is pinned to nothing"])


@dataclass(frozen=True, slots=True)
class Cut:
    """A segment begins with the op `before`."""

    before: str

    def __str__(self) -> str:
        return f"a segment begins with op {self.before!r}"


@dataclass(frozen=True, slots=True)
class Fuse:
    """Two ops run in one segment, and so does every op between them."""

    first: str
    second: str

    def __str__(self) -> str:
        return f"ops {self.first!r} and {self.second!r} run in one segment"


Constraint = Pin | Cut | Fuse

_KINDS: tuple[type[Pin | Cut | Fuse], ...] = (Pin, Cut, Fuse)


def validate_constraints(problem: Problem, constraints: Iterable[Constraint]) -> None:
    """Raise `ProblemError` for a constraint that names nothing in `problem` or asks for nothing."""
    for constraint in constraints:
        if isinstance(constraint, Pin):
            _validate_pin(problem, constraint)
        elif isinstance(constraint, Cut):
            _known("op", constraint.before, problem.ops, constraint)
        else:
            _known("op", constraint.first, problem.ops, constraint)
            _known("op", constraint.second, problem.ops, constraint)
            if problem.ops.index(constraint.first) >= problem.ops.index(constraint.second):
                raise ProblemError(
                    f"{constraint}: {constraint.first!r} must come before {constraint.second!r}"
                )


def _validate_pin(problem: Problem, pin: Pin) -> None:
    _known("value", pin.value, [value.name for value in problem.values], pin)
    asks_dim = pin.role is not None or pin.tile is not None
    if not asks_dim and pin.location is None:
        raise ProblemError(f"{pin}: asks for no role, tile or location")
    if asks_dim and pin.axis is None:
        raise ProblemError(f"{pin}: a role or a tile needs an axis")
    if pin.axis is not None:
        dims = (d for candidate in problem.candidates for d in candidate.dims)
        axes = dict.fromkeys(dim.axis for dim in dims if dim.value == pin.value)
        _known(f"axis of {pin.value!r}", pin.axis, axes, pin)


def _known(what: str, name: str, names: Collection[str], constraint: Constraint) -> None:
    if name not in names:
        raise ProblemError(f"{constraint}: no {what} is named {name!r}{hint(name, names)}")


def hint(name: str, names: Collection[str]) -> str:
    """What to say after an unknown name: those that are close, or if they are few, all."""
    near = get_close_matches(name, names, n=3)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; there are {', '.join(map(repr, names))}" if 0 < len(names) <= 8 else ""


def constraints_to_json(constraints: Sequence[Constraint]) -> str:
    """The constraints as JSON text: a list with an object for each, without empty fields."""
    entries = [
        {name: item for name, item in encode(constraint).items() if item is not None}
        for constraint in constraints
    ]
    return json.dumps(entries, indent=1)


def constraints_from_json(text: str) -> tuple[Constraint, ...]:
    """The constraints that `constraints_to_json` or a user wrote.

    Raises `ProblemError` naming the entry and the field at fault.
    """
    try:
        data = json.loads(text)
        if not isinstance(data, list):
            raise ProblemError("constraints: must be a list with an object for each")
        return tuple(_entry(item, f"constraints[{nth}]") for nth, item in enumerate(data))
    except json.JSONDecodeError as wrong:
        raise ProblemError(f"constraints: is no JSON: {wrong}") from wrong
    except DecodeError as wrong:
        raise ProblemError(str(wrong)) from wrong


def _entry(data: Any, path: str) -> Constraint:
    """One constraint: of the kind that has all of its fields, or else most of them."""
    if not isinstance(data, dict):
        raise DecodeError(f"{path}: must be an object with the fields of a constraint")
    names = {kind: {field.name for field in fields(kind)} for kind in _KINDS}
    kind = max(_KINDS, key=lambda kind: len(names[kind].intersection(data)))
    for name in data:
        if name not in names[kind]:
            known = names[kind] if names[kind].intersection(data) else set().union(*names.values())
            raise DecodeError(f"{path}.{name}: is no field{hint(name, sorted(known))}")
    return decode(kind, data, path)
