"""Decisions of the user, from keyword arguments and from files."""

from __future__ import annotations

import os
from pathlib import Path

import solver
from nkigen_lite.errors import InvalidInput
from solver.problem import Location, Role


def constrain(
    value: str | None = None,
    *,
    location: Location | None = None,
    axis: str | None = None,
    role: Role | None = None,
    tile: int | None = None,
    cut_before: str | None = None,
    fuse: tuple[str, str] | None = None,
) -> solver.Constraint:
    """A decision that the solver has to respect, for ``compile(..., constraints=[...])``.

    Values, ops and axes have the names of the plan; an op has the name of the value that it writes.
    What is in "sbuf" is not streamed from HBM: it is kept whole or, inside one segment, in tiles of
    SBUF or PSUM. One of three forms:

        constrain("x", location="sbuf")                        # not in HBM in between; or "hbm"
        constrain("v5", axis="a0", role="P", tile=128)         # a role, a tile, or both
        constrain(cut_before="v5")                             # a segment begins with this op
        constrain(fuse=("v3", "v5"))                           # both in one segment

    Raises:
        InvalidInput: the arguments are not of one of these forms.
    """
    pinned = {"location": location, "axis": axis, "role": role, "tile": tile}
    given = [name for name, item in pinned.items() if item is not None]
    forms = [value is not None, cut_before is not None, fuse is not None]
    if sum(forms) != 1:
        raise InvalidInput("constrain: must have one of a value, cut_before and fuse")
    if value is None and given:
        raise InvalidInput(f"constrain: {given[0]} is given but needs a value, which it is about")
    if cut_before is not None:
        if not isinstance(cut_before, str):
            raise InvalidInput(f"constrain: cut_before is {cut_before!r} but must be an op's name")
        return solver.Cut(cut_before)
    if fuse is not None:
        named = isinstance(fuse, (tuple, list)) and all(isinstance(op, str) for op in fuse)
        if not named or len(fuse) != 2:
            raise InvalidInput(f"constrain: fuse is {fuse!r} but must be a pair of ops' names")
        return solver.Fuse(*fuse)
    _one_of("location", location, ("hbm", "sbuf"))
    _one_of("role", role, ("I", "P", "F"))
    if tile is not None and (not isinstance(tile, int) or tile < 1):
        raise InvalidInput(f"constrain: tile is {tile!r} but must be an int of at least 1")
    if axis is not None and role is None and tile is None:
        raise InvalidInput(f"constrain: axis {axis!r} is given but no role or tile for it")
    return solver.Pin(value or "", axis, role, tile, location)


def _one_of(what: str, item: str | None, allowed: tuple[str, ...]) -> None:
    if item is not None and item not in allowed:
        raise InvalidInput(f"constrain: {what} is {item!r} but must be one of {', '.join(allowed)}")


def load_constraints(path: str | os.PathLike[str]) -> tuple[solver.Constraint, ...]:
    """The constraints of a JSON file, as ``solver.constraints_to_json`` writes it.

    Raises:
        InvalidInput: it cannot be read, or an entry is wrong; names the entry and the field.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidInput(f"constraints: {path!r} is not a path")
    try:
        return solver.constraints_from_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    except (solver.ProblemError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {error}") from None
