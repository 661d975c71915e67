"""``sweep``: one function compiled for many shapes, targets and numbers of a profile."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from inspect import BoundArguments
from itertools import product
from typing import Any

import solver
from cost_models import PriceError, ProfileError, Target, load_target
from nkigen_lite.api import compile as compile_function
from nkigen_lite.errors import InvalidInput, NkigenError
from nkigen_lite.frontend import Kernel, arguments
from nkigen_lite.report.sweep import Point, Sweep

TARGET = "target"
MOST_POINTS = 1000
_FAILURES = (NkigenError, ProfileError, PriceError)

Watch = Callable[[int, int, Mapping[str, Any]], None]


def sweep(
    fn: Callable[..., Any] | Kernel,
    *specs: Any,
    vary: Mapping[str, Sequence[Any]],
    target: str | os.PathLike[str] = "trn2",
    settings: Mapping[str, Any] | None = None,
    time_limit: float = 10.0,
    seed: int = 0,
    constraints: Sequence[solver.Constraint] = (),
    prepack: Sequence[str] = (),
    watch: Watch = lambda done, total, at: None,
    **named: Any,
) -> Sweep:
    """Compile a function at every combination of what is varied.

    A point at which it does not compile says why, and the others go on.

    Args:
        fn, specs, named: as for ``compile``. In a text, extents and element types may be names:
            ``"Mx1024:T"``.
        vary: values by name. A name is ``"target"`` (names or paths of profiles), a field of the
            profile (``"dma.queues"``), a parameter of the function, whose argument is then
            replaced, or a name in the texts of arguments (``"M"``).
        target: the profile, unless that is varied.
        settings: fields of the profile that are replaced at every point.
        time_limit, seed, constraints, prepack: as for ``compile``, for each point.
        watch: called before each compilation with how many are done, how many there are, and the
            values that come next.

    Returns:
        The points with reports and plans.

    Raises:
        InvalidInput: nothing is varied, a name means nothing here, a list of values is empty or has
            one twice, or there are more than a thousand combinations.
        ProfileError: a profile or field does not exist, or a value is not one for its field.
    """
    function = fn.function if isinstance(fn, Kernel) else fn
    label = arguments.name_of(fn)
    signature = arguments.signature_of(function)
    bound = arguments.bind(label, signature, specs, named, partial=True)
    varied = {name: _values(name, values) for name, values in _mapping(vary).items()}
    _refuse_unused(label, bound.arguments, tuple(signature.parameters), varied)
    grid = _grid(varied)
    hardware = [_target(at, target, settings or {}) for at in grid]
    options: dict[str, Any] = {"time_limit": time_limit, "seed": seed}
    options |= {"constraints": constraints, "prepack": prepack}
    points: list[Point] = []
    for at, profile in zip(grid, hardware, strict=True):
        watch(len(points), len(grid), at)
        chosen = {**bound.arguments, **{n: v for n, v in at.items() if n in signature.parameters}}
        given = BoundArguments(signature, _substituted(chosen, at))
        points.append(_point(fn, at, given, {**options, "target": profile}))
    return Sweep(label, varied, tuple(points))


def _point(
    fn: Callable[..., Any] | Kernel,
    at: Mapping[str, Any],
    given: BoundArguments,
    options: Mapping[str, Any],
) -> Point:
    """What compiling with these arguments and options gives."""
    try:
        made = compile_function(fn, *given.args, **given.kwargs, **options)
    except _FAILURES as error:
        return Point(at, error=str(error))
    return Point(at, made.report, made.plan)


def _mapping(vary: Any) -> Mapping[str, Any]:
    if not isinstance(vary, Mapping) or not vary:
        raise InvalidInput(
            f"sweep: vary is {vary!r} but must map names to lists of values, as in "
            '{"dma.queues": [8, 16]}'
        )
    return vary


def _values(name: str, values: Any) -> tuple[Any, ...]:
    """The values of a name, of which there must be some, each once."""
    if isinstance(values, str) or not isinstance(values, (Sequence, range)) or not values:
        raise InvalidInput(f"sweep: {name!r} has {values!r} but must have a list of values")
    found = tuple(values)
    for place, value in enumerate(found):
        if any(value is other or _same(value, other) for other in found[:place]):
            raise InvalidInput(f"sweep: {name!r} has the value {value!r} twice")
    return found


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and isinstance(one, (str, int, float)) and bool(one == other)


def _refuse_unused(
    label: str,
    given: Mapping[str, Any],
    parameters: tuple[str, ...],
    varied: Mapping[str, tuple[Any, ...]],
) -> None:
    """Refuse names that would change nothing."""
    used: set[str] = set()
    _walk({name: tree for name, tree in given.items() if name not in varied}, {}, used)
    for name in varied:
        if not (name == TARGET or "." in name or name in parameters or name in used):
            raise InvalidInput(
                f"sweep: {name!r} is not {TARGET!r}, a field of the profile such as 'dma.queues', "
                f"a parameter of {label} ({', '.join(parameters) or 'none'}), or a name in the "
                'arguments such as the M of "Mx1024:bf16"'
            )


def _grid(varied: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    grid = [dict(zip(varied, point, strict=True)) for point in product(*varied.values())]
    if len(grid) > MOST_POINTS:
        raise InvalidInput(
            f"sweep: {len(grid)} combinations but there may be at most {MOST_POINTS}"
        )
    return grid


def _target(
    at: Mapping[str, Any], target: str | os.PathLike[str], settings: Mapping[str, Any]
) -> Target:
    fields = {name: value for name, value in at.items() if "." in name}
    return load_target(at.get(TARGET, target), {**settings, **fields})


def _substituted(given: Mapping[str, Any], at: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with names in texts replaced by their values at a point."""
    made: dict[str, Any] = _walk(dict(given), at, set())
    return made


def _walk(tree: Any, at: Mapping[str, Any], used: set[str]) -> Any:
    """``tree`` with the names of ``at`` replaced; ``used`` collects all names that it has."""
    if isinstance(tree, str):
        return _replaced(tree, at, used)
    return arguments.map_tree(
        "", tree, lambda _, leaf: _replaced(leaf, at, used) if isinstance(leaf, str) else leaf
    )


def _replaced(text: str, at: Mapping[str, Any], used: set[str]) -> Any:
    """A text with its names replaced: a name alone becomes the value itself, one among extents or
    behind the colon its text."""
    used.add(text)
    if text in at:
        return at[text]
    shape, colon, dtype = text.partition(":")
    parts = shape.split("x")
    if not colon and len(parts) == 1:
        return text
    used.update(parts, (dtype,))
    extents = "x".join(str(at.get(part, part)) for part in parts)
    return f"{extents}{colon}{at.get(dtype, dtype)}"
