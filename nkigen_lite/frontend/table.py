"""The table of numpy functions that trace: one row each, filled by the modules beside this one.

A row's function takes the recorder and then what the user gave numpy, under numpy's parameter
names; a parameter that a row does not have is refused with the user's source line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nkigen_lite.errors import NkigenError, TraceError
from nkigen_lite.frontend.refusals import REFUSED

if TYPE_CHECKING:
    from nkigen_lite.frontend.recorder import Recorder

Apply = Callable[..., Any]

_OUT_OF_PLACE = {
    "out": "traced arrays never change; bind the result to a name",
    "where": "select with np.where instead",
}


@dataclass(frozen=True, slots=True)
class Row:
    """How one numpy function traces: its name for messages, and ``apply(recorder, *args)``."""

    name: str
    apply: Apply
    signature: inspect.Signature


FUNCTIONS: dict[Any, Row] = {}
# By name and not by object, so that another library's ufunc needs no import to have a row.
UFUNCS: dict[str, Row] = {}
# ufunc.reduce is the function that says the same.
REDUCTIONS: dict[np.ufunc, Any] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}


def traces(*functions: Any) -> Callable[[Apply], Apply]:
    """Decorates the row of one numpy function and its aliases."""

    def define(apply: Apply) -> Apply:
        for function in dict.fromkeys(functions):
            FUNCTIONS[function] = Row(name_of(function), apply, inspect.signature(apply))
        return apply

    return define


def define_ufunc(name: str, apply: Apply) -> None:
    """Adds the row of one ufunc."""
    UFUNCS[name] = Row(f"numpy.{name}", apply, inspect.signature(apply))


def name_of(function: Any) -> str:
    """``numpy.sum``, ``numpy.linalg.norm``, …"""
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module}.{getattr(function, '__name__', function)}"


def traced_functions() -> tuple[str, ...]:
    """The full names of all numpy functions that trace, sorted."""
    of_ufuncs = {r.name for name, r in UFUNCS.items() if hasattr(np, name)}
    return tuple(sorted({r.name for r in FUNCTIONS.values()} | of_ufuncs))


def invoke(recorder: Recorder, function: Any, *args: Any, **kwargs: Any) -> Any:
    """What the row of ``function`` makes of the arguments.

    Raises:
        TraceError: no row, an argument that the row does not take, or what the row refuses.
    """
    row = FUNCTIONS.get(function)
    name = row.name if row else name_of(function)
    with recorder.inside(name):
        if row is None:
            raise refused(recorder, name)
        return _apply(recorder, row, args, kwargs)


def invoke_ufunc(
    recorder: Recorder, ufunc: np.ufunc, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """The same for a ufunc call (method ``__call__``) or reduction (``reduce``)."""
    given = dict(kwargs)
    if method == "reduce" and ufunc in REDUCTIONS:
        given.setdefault("axis", 0)
        return invoke(recorder, REDUCTIONS[ufunc], *args, **given)
    row = UFUNCS.get(ufunc.__name__)
    name = row.name if row else f"numpy.{ufunc.__name__}"
    name = name if method == "__call__" else f"{name}.{method}"
    with recorder.inside(name):
        if row is None or method != "__call__":
            raise refused(recorder, name)
        dtype = given.pop("dtype", None)
        if dtype is not None:
            args = [recorder.cast(recorder.lift(a), recorder.element_type(dtype)) for a in args]
        return _apply(recorder, row, args, given)


def refused(recorder: Recorder, name: str) -> TraceError:
    """The error for a numpy function without a row."""
    hint = REFUSED.get(name)
    return recorder.error("has no tensor_ir meaning" + (f"; {hint}" if hint else ""))


def _apply(recorder: Recorder, row: Row, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    known = row.signature.parameters
    given = {
        k: v for k, v in kwargs.items() if v is not np._NoValue and (k in known or v is not None)
    }
    for name, instead in _OUT_OF_PLACE.items():
        if name in given and name not in known:
            raise recorder.error(f"the argument {name}= cannot be traced; {instead}")
    try:
        bound = row.signature.bind(recorder, *args, **given)
    except TypeError as error:
        raise recorder.error(f"this call cannot be traced: {error}") from None
    if bound.arguments.get("out") is not None:
        raise recorder.error(f"the argument out= cannot be traced; {_OUT_OF_PLACE['out']}")
    try:
        return row.apply(*bound.args, **bound.kwargs)
    except NkigenError:
        raise
    except (TypeError, ValueError) as error:  # what Python and numpy say of static arguments
        raise recorder.error(str(error)) from error
