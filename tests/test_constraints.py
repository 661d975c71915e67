"""Constraints as a user states them: keyword arguments, files, the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nkigen_lite
from nkigen_lite.errors import InvalidInput
from solver import Cut, Fuse, Pin, ProblemError, constraints_to_json


def scaled(x: Any, w: Any) -> Any:
    """Three ops in a row."""
    return np.tanh(np.exp(x @ w) + 1.0)


@pytest.mark.parametrize(
    ("made", "record"),
    [
        (nkigen_lite.constrain("x", location="sbuf"), Pin("x", location="sbuf")),
        (nkigen_lite.constrain("x", axis="a0", role="P"), Pin("x", "a0", role="P")),
        (nkigen_lite.constrain("x", axis="a0", tile=64), Pin("x", "a0", tile=64)),
        (nkigen_lite.constrain(cut_before="v5"), Cut("v5")),
        (nkigen_lite.constrain(fuse=("v3", "v5")), Fuse("v3", "v5")),
    ],
)
def test_constrain_makes_the_record_that_its_arguments_say(made: object, record: object) -> None:
    assert made == record


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "must have one of a value, cut_before and fuse"),
        ({"value": "x", "cut_before": "v5"}, "must have one of a value, cut_before and fuse"),
        ({"cut_before": "v5", "role": "P"}, "role is given but needs a value"),
        ({"value": "x", "location": "sram"}, "location is 'sram' but must be one of hbm, sbuf"),
        ({"value": "x", "axis": "a0", "role": "Q"}, "role is 'Q' but must be one of I, P, F"),
        ({"value": "x", "axis": "a0", "tile": 0}, "tile is 0 but must be an int of at least 1"),
        ({"value": "x", "axis": "a0"}, "axis 'a0' is given but no role or tile for it"),
        ({"fuse": ("v3",)}, r"fuse is .* but must be a pair of ops' names"),
        ({"fuse": ("v3", 5)}, r"fuse is .* but must be a pair of ops' names"),
        ({"cut_before": 3}, "cut_before is 3 but must be an op's name"),
    ],
)
def test_arguments_that_say_nothing_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        nkigen_lite.constrain(**arguments)


def test_a_cut_moves_the_boundary_between_segments() -> None:
    free = nkigen_lite.compile(scaled, "64x64", "64x64")
    fused = next(s for s in free.plan.segments if len(s.steps) > 1)
    (ops,) = [c.ops for c in free.problem.candidates if c.name == fused.name]
    cut = nkigen_lite.constrain(cut_before=ops[-1])
    made = nkigen_lite.compile(scaled, "64x64", "64x64", constraints=[cut])
    assert len(made.plan.segments) > len(free.plan.segments)
    x, w = np.ones((64, 64), np.float32), np.eye(64, dtype=np.float32)
    np.testing.assert_allclose(made(x, w), free(x, w), rtol=1e-5)


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    wrong = nkigen_lite.constrain("xx", location="sbuf")
    with pytest.raises(ProblemError, match="no value is named 'xx'; did you mean 'x'"):
        nkigen_lite.compile(scaled, "64x64", "64x64", constraints=[wrong])


def test_constraints_come_back_from_a_file(tmp_path: Path) -> None:
    constraints = (Pin("x", location="sbuf"), Cut("v1"))
    file = tmp_path / "c.json"
    file.write_text(constraints_to_json(constraints))
    assert nkigen_lite.load_constraints(file) == constraints


def test_a_wrong_file_is_named_with_its_entry(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text('[{"value": "x", "locaton": "sbuf"}]')
    with pytest.raises(InvalidInput, match=r"c\.json: constraints\[0\]\.locaton"):
        nkigen_lite.load_constraints(file)
    with pytest.raises(InvalidInput, match=r"none\.json: cannot be read"):
        nkigen_lite.load_constraints(tmp_path / "none.json")
