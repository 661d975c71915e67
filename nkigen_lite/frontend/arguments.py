"""Arguments and results as named leaves: signatures, nested containers, and the names of leaves.

A tree is a dict, list or tuple (named tuples too) of trees, or a leaf. The leaf ``w["gate"]`` of
parameter ``w`` is called ``w_gate``, the leaf ``layers[0]`` ``layers_0``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from nkigen_lite.errors import InvalidInput

_KINDS_BY_POSITION = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature.

    Raises:
        InvalidInput: ``function`` cannot be called, or does not tell its parameters.
    """
    if not callable(function):
        raise InvalidInput(f"trace: {function!r} is not a function")
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise InvalidInput(
            f"trace: {name_of(function)} does not tell its parameters; wrap it in a def"
        ) from None


def name_of(function: Callable[..., Any], default: str = "main") -> str:
    """The function's name if it is a plain identifier, else ``default``."""
    name = getattr(function, "__name__", "")
    return name if name.isidentifier() else default


def bind(
    who: str,
    signature: inspect.Signature,
    args: Sequence[Any],
    named: Mapping[str, Any],
    *,
    partial: bool = False,
) -> inspect.BoundArguments:
    """``args`` and ``named`` by parameter; any parameter may be named, positional-only ones too.

    Raises:
        InvalidInput: an argument without a parameter, a parameter with two arguments, or (unless
            ``partial``) one with none.
    """
    parameters = signature.parameters
    found: dict[str, Any] = {}
    by_position = [p for p in parameters.values() if p.kind in _KINDS_BY_POSITION]
    for parameter, value in zip(by_position, args, strict=False):
        found[parameter.name] = value
    extra = tuple(args[len(by_position) :])
    rest = _of_kind(signature, inspect.Parameter.VAR_POSITIONAL)
    if extra and rest is None:
        raise InvalidInput(
            f"{who}: got {len(args)} positional arguments but takes {len(by_position)} "
            f"({', '.join(p.name for p in by_position) or 'none'})"
        )
    if rest is not None:
        found[rest] = extra
    _bind_named(who, signature, named, found)
    missing = [p.name for p in parameters.values() if p.name not in found and _required(p)]
    if missing and not partial:
        raise InvalidInput(f"{who}: nothing is given for parameter {', '.join(map(repr, missing))}")
    ordered = {name: found[name] for name in parameters if name in found}
    return inspect.BoundArguments(signature, ordered)


def _bind_named(
    who: str, signature: inspect.Signature, named: Mapping[str, Any], found: dict[str, Any]
) -> None:
    rest = _of_kind(signature, inspect.Parameter.VAR_KEYWORD)
    collected: dict[str, Any] = {}
    for name, value in named.items():
        parameter = signature.parameters.get(name)
        if parameter is not None and name in found and parameter.kind in _KINDS_BY_POSITION:
            raise InvalidInput(f"{who}: parameter {name!r} is given twice")
        if parameter is not None and name != rest:
            found[name] = value
        elif rest is not None:
            collected[name] = value
        else:
            near = get_close_matches(str(name), signature.parameters, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            takes = ", ".join(signature.parameters) or "none"
            raise InvalidInput(f"{who}: {name!r} is not one of its parameters ({takes}){hint}")
    if rest is not None:
        found[rest] = collected


def _of_kind(signature: inspect.Signature, kind: Any) -> str | None:
    return next((p.name for p in signature.parameters.values() if p.kind is kind), None)


def _required(parameter: inspect.Parameter) -> bool:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in variadic


def map_arguments(
    bound: inspect.BoundArguments,
    visit: Callable[[str, Any], Any],
    is_leaf: Callable[[Any], bool] = lambda node: False,
) -> inspect.BoundArguments:
    """``bound`` with each leaf replaced by ``visit(name, leaf)``.

    The entries of a ``**`` parameter carry their own names alone.
    """
    rest = _of_kind(bound.signature, inspect.Parameter.VAR_KEYWORD)
    made: dict[str, Any] = {}
    for name, tree in bound.arguments.items():
        if name == rest:
            made[name] = {key: map_tree(key, leaf, visit, is_leaf) for key, leaf in tree.items()}
        else:
            made[name] = map_tree(name, tree, visit, is_leaf)
    return inspect.BoundArguments(bound.signature, made)


def leaves(bound: inspect.BoundArguments) -> dict[str, Any]:
    """Every leaf by name."""
    found: dict[str, Any] = {}
    map_arguments(bound, found.__setitem__)
    return found


def leaves_of(bound: inspect.BoundArguments, parameter: str) -> list[str]:
    """The names of the leaves in a parameter."""
    found: list[str] = []
    map_tree(parameter, bound.arguments[parameter], lambda name, _: found.append(name))
    return found


def map_tree(
    name: str,
    tree: Any,
    visit: Callable[[str, Any], Any],
    is_leaf: Callable[[Any], bool] = lambda node: False,
) -> Any:
    """``tree`` with each leaf replaced by ``visit(name, leaf)``; ``name`` is that of the root.

    Nodes for which ``is_leaf`` holds are leaves even if they are containers.
    """
    children = None if is_leaf(tree) else list(_children(tree))
    if children is None or not isinstance(tree, (dict, list, tuple)):
        return visit(name, tree)
    made = [map_tree(join(name, key), child, visit, is_leaf) for key, child in children]
    if isinstance(tree, dict):
        return dict(zip(tree, made, strict=True))
    if hasattr(tree, "_fields"):
        return type(tree)(*made)
    return type(tree)(made)


def _children(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict):
        yield from tree.items()
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        yield from zip(tree._fields, tree, strict=True)
    elif isinstance(tree, (list, tuple)):
        yield from enumerate(tree)


def join(name: str, key: Any) -> str:
    """The name of entry ``key`` of the container ``name``; "" names the root of a result."""
    plain = re.sub(r"\W", "_", str(key))
    return f"{name}_{plain}" if name else plain
