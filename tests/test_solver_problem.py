"""Problems: what is a well-formed one, and how they are written to JSON and read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import solver
from solver import (
    Candidate,
    Conversion,
    DimChoice,
    Pin,
    Port,
    Problem,
    ProblemError,
    Transfer,
    Value,
)
from solver.constraints import validate_constraints
from solver.synthetic import layered_problem, small_problem

MOVE = Transfer({"dma": 10}, 2, 64, 4, 1, 1)


def chain() -> Problem:
    """x -> f -> y -> g -> z, with one candidate for each op and one for both."""
    return Problem(
        name="chain",
        ops=("f", "g"),
        values=(
            Value("x", None, ("f",), False, {"A": 8}),
            Value("y", "f", ("g",), False, {"A": 8, "B": 8}),
            Value("z", "g", (), True, {}),
        ),
        candidates=(
            Candidate("f1", ("f",), (Port("x", "A", MOVE),), (Port("y", "A", MOVE),),
                      {"vector": 5}, 1, 4, 0, 1, (DimChoice("y", "i", "P", 128),)),
            Candidate("g1", ("g",), (Port("y", "B", MOVE),), (Port("z", "A", MOVE),),
                      {"vector": 5}, 1, 4, 0, 1, ()),
            Candidate("fg", ("f", "g"), (Port("x", "A", MOVE),), (Port("z", "A", MOVE),),
                      {"vector": 10}, 1, 6, 0, 2, (DimChoice("y", "i", "F", 64),)),
        ),
        conversions=(Conversion("y", "A", "B", MOVE), Conversion("x", "hbm", "A", MOVE)),
        sbuf_limit_bytes=64,
        psum_limit_banks=8,
    )  # fmt: skip


def with_candidate(**changes: object) -> Problem:
    problem = chain()
    first, *others = problem.candidates
    return replace(problem, candidates=(replace(first, **changes), *others))


def with_value(index: int, **changes: object) -> Problem:
    values = list(chain().values)
    values[index] = replace(values[index], **changes)
    return replace(chain(), values=tuple(values))


def with_conversion(*items: Conversion) -> Problem:
    return replace(chain(), conversions=items)


BROKEN: dict[str, tuple[Callable[[], Problem], str]] = {
    "no ops": (lambda: replace(chain(), ops=()), "has no ops"),
    "op twice": (lambda: replace(chain(), ops=("f", "f")), "op 'f': is there twice"),
    "value twice": (
        lambda: replace(chain(), values=chain().values * 2),
        "value 'x': is there twice",
    ),
    "candidate twice": (
        lambda: replace(chain(), candidates=chain().candidates * 2),
        "candidate 'f1': is there twice",
    ),
    "conversion twice": (
        lambda: replace(chain(), conversions=chain().conversions * 2),
        "conversion 'y: A -> B': is there twice",
    ),
    "negative limit": (lambda: replace(chain(), sbuf_limit_bytes=-1), "sbuf_limit_bytes is -1"),
    "uncovered op": (
        lambda: replace(chain(), candidates=chain().candidates[:1]),
        "op 'g': no candidate runs it",
    ),
    "unknown consumer": (lambda: with_value(0, consumers=("h",)), "value 'x': consumer 'h'"),
    "unknown producer": (lambda: with_value(2, producer="h"), "value 'z': producer 'h'"),
    "consumer before producer": (
        lambda: with_value(1, producer="g", consumers=("f",)),
        "value 'y': consumer 'f' does not come after producer 'g'",
    ),
    "hbm as a layout": (
        lambda: with_value(1, resident_bytes={"hbm": 1}),
        "value 'y': 'hbm' is not a layout",
    ),
    "negative size": (
        lambda: with_value(1, resident_bytes={"A": -1}),
        r"value 'y': resident_bytes\[A\] is -1",
    ),
    "gap in the ops": (lambda: with_candidate(ops=("f", "h")), "candidate 'f1': ops"),
    "no ops in a candidate": (lambda: with_candidate(ops=()), "not a run of consecutive ops"),
    "missing read port": (
        lambda: with_candidate(reads=()),
        "candidate 'f1': value 'x' is consumed inside .* no read port",
    ),
    "missing write port": (
        lambda: with_candidate(writes=()),
        "candidate 'f1': value 'y' is produced inside .* no write port",
    ),
    "stray read port": (
        lambda: with_candidate(reads=(*chain().candidates[0].reads, Port("z", "A", None))),
        "candidate 'f1': read port 'z' is not of a value",
    ),
    "read port twice": (
        lambda: with_candidate(reads=chain().candidates[0].reads * 2),
        "candidate 'f1': read port 'x in A': is there twice",
    ),
    "write port twice": (
        lambda: with_candidate(writes=chain().candidates[0].writes * 2),
        "candidate 'f1': write port 'y': is there twice",
    ),
    "port in hbm": (
        lambda: with_candidate(reads=(Port("x", "hbm", None),)),
        "candidate 'f1': port 'x': 'hbm' is not a layout",
    ),
    "negative busy": (
        lambda: with_candidate(busy={"vector": -1}),
        r"candidate 'f1': busy\[vector\] is -1",
    ),
    "negative transfer": (
        lambda: with_candidate(reads=(Port("x", "A", replace(MOVE, dmas=-1)),)),
        "candidate 'f1': port 'x': dmas is -1",
    ),
    "dim twice": (
        lambda: with_candidate(dims=chain().candidates[0].dims * 2),
        "candidate 'f1': dim 'y, i': is there twice",
    ),
    "tile of nothing": (
        lambda: with_candidate(dims=(DimChoice("y", "i", "P", 0),)),
        "candidate 'f1': dim 'i' of 'y' is P x 0",
    ),
    "dim of a far value": (
        lambda: with_candidate(dims=(DimChoice("z", "i", "P", 1),)),
        "candidate 'f1': dim of 'z', which no op inside touches",
    ),
    "conversion of nothing": (
        lambda: with_conversion(Conversion("w", "hbm", "A", MOVE)),
        "conversion 'w: hbm -> A': no value is named 'w'",
    ),
    "conversion to no size": (
        lambda: with_conversion(Conversion("y", "hbm", "C", MOVE)),
        "no resident_bytes in the target layout",
    ),
    "conversion from no size": (
        lambda: with_conversion(Conversion("y", "C", "A", MOVE)),
        "no resident_bytes in the source layout",
    ),
    "conversion to itself": (
        lambda: with_conversion(Conversion("y", "A", "A", MOVE)),
        "source and target are the same layout",
    ),
    "conversion of an input on chip": (
        lambda: with_conversion(Conversion("x", "B", "A", MOVE)),
        "a graph input can be converted from 'hbm' only",
    ),
    "conversion for nobody": (
        lambda: replace(
            with_value(2, resident_bytes={"A": 1}), conversions=(Conversion("z", "hbm", "A", MOVE),)
        ),
        "conversion 'z: hbm -> A': no op consumes the value",
    ),
}


def test_a_well_formed_problem_validates() -> None:
    chain().validate()


@pytest.mark.parametrize("fault", BROKEN)
def test_validate_names_the_offender_and_the_rule(fault: str) -> None:
    make, message = BROKEN[fault]
    with pytest.raises(ProblemError, match=message):
        make().validate()


@pytest.mark.parametrize(
    ("pin", "message"),
    [
        (Pin("w", location="hbm"), "no value is named 'w'"),
        (Pin("y"), "asks for no role, tile or location"),
        (Pin("y", role="P"), "needs an axis"),
        (Pin("y", axis="k", role="P"), "no axis of 'y' is named 'k'; there are 'i'"),
    ],
)
def test_a_pin_on_nothing_is_an_error(pin: Pin, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        validate_constraints(chain(), [pin])


@given(st.integers(0, 10**6))
def test_small_synthetic_problems_validate_and_survive_json(seed: int) -> None:
    problem = small_problem(seed)
    problem.validate()
    assert Problem.from_json(problem.to_json()) == problem


def test_a_layered_synthetic_problem_validates_and_survives_json() -> None:
    problem = layered_problem(40, seed=1)
    problem.validate()
    again = Problem.from_json(problem.to_json())
    assert again == problem
    assert again.to_json() == problem.to_json()


@pytest.mark.parametrize(
    ("path", "item", "message"),
    [
        (("ops",), "f", r"problem\.ops: is 'f', must be a list"),
        (("ops", 0), 3, r"problem\.ops\[0\]: is 3, must be of type str"),
        (("candidates", 1, "busy", "vector"), 1.5, r"candidates\[1\]\.busy\.vector: is 1.5"),
        (("candidates", 1, "busy"), [], r"candidates\[1\]\.busy: is a list, must be an object"),
        (("candidates", 0, "dims", 0, "role"), "Q", r"dims\[0\]\.role: is 'Q', must be one of I"),
        (("values", 0), "x", r"problem\.values\[0\]: is 'x', must be an object"),
        (("values", 0, "size"), 1, r"values\[0\]\.size: unknown field of Value"),
        (("values", 0, "output"), 1, r"values\[0\]\.output: is 1, must be of type bool"),
    ],
)
def test_json_of_another_shape_is_an_error_that_names_the_field(
    path: tuple[str | int, ...], item: object, message: str
) -> None:
    data = json.loads(chain().to_json())
    *parents, last = path
    holder = data
    for key in parents:
        holder = holder[key]
    holder[last] = item
    with pytest.raises(ProblemError, match=message):
        Problem.from_json(json.dumps(data))


def test_json_with_a_missing_field_is_an_error_that_names_it() -> None:
    data = json.loads(chain().to_json())
    del data["values"][0]["output"]
    with pytest.raises(ProblemError, match=r"problem\.values\[0\]\.output: missing"):
        Problem.from_json(json.dumps(data))


def test_text_that_is_not_json_is_an_error() -> None:
    with pytest.raises(ProblemError, match="Expecting value"):
        Problem.from_json("nothing")


def test_the_public_names_are_sorted_and_there() -> None:
    assert list(solver.__all__) == sorted(solver.__all__)
    assert all(hasattr(solver, name) for name in solver.__all__)
