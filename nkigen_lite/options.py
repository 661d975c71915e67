"""The options of ``compile``: what they may be, and what is wrong with those that may not."""

from __future__ import annotations

import math
import os
from inspect import BoundArguments
from typing import Any

from cost_models import Target, load_target
from nkigen_lite.errors import InvalidInput
from nkigen_lite.frontend import Traced, arguments
from nkigen_lite.tensor_ir.passes.layout_solver import Constraint


def weights_of(traced: Traced, bound: BoundArguments, weights: Any) -> set[str]:
    """The inputs that the given arrays, or parameters with arrays inside, are."""
    if not isinstance(weights, (list, tuple, set, frozenset)):
        raise InvalidInput(f"compile: prepack is {weights!r} but must be a list of parameters")
    found: set[str] = set()
    for weight in weights:
        if not isinstance(weight, str):
            raise InvalidInput(f"compile: prepack has {weight!r} but must have parameters' names")
        names = arguments.leaves_of(bound, weight) if weight in bound.arguments else [weight]
        mine = set(names) & set(traced.input_names)
        if not mine:
            known = ", ".join(traced.input_names)
            raise InvalidInput(f"compile: prepack has {weight!r} but the arrays are {known}")
        found |= mine
    return found


def check(time_limit: Any, seed: Any, constraints: Any, name: Any, watch: Any) -> None:
    """Raise InvalidInput for an option of ``compile`` that is not one."""
    number = isinstance(time_limit, (int, float)) and not isinstance(time_limit, bool)
    if not number or not 0 < time_limit < math.inf:
        raise InvalidInput(
            f"compile: time_limit is {time_limit!r} but must be a finite number of seconds above 0"
        )
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise InvalidInput(f"compile: seed is {seed!r} but must be an int from 0 below 2**31")
    some = constraints if isinstance(constraints, (list, tuple)) else [None]
    if not all(isinstance(item, Constraint) for item in some):
        raise InvalidInput(
            f"compile: constraints is {constraints!r} but must be a list of what constrain makes"
        )
    if name is not None and not isinstance(name, str):
        raise InvalidInput(f"compile: name is {name!r} but must be text or None")
    if not callable(watch):
        raise InvalidInput(f"compile: watch is {watch!r} but must be a function (stage, text)")


def target_of(target: Any) -> Target:
    """The target of that name or path, or the one that it is."""
    if isinstance(target, Target):
        return target
    if not isinstance(target, (str, os.PathLike)):
        raise InvalidInput(
            f"compile: target is {target!r} but must be a profile's name or path, or a Target"
        )
    return load_target(target)
