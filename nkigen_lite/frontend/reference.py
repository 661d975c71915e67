"""A traced function's own source, to stand in a file without the rest of the user's program."""

from __future__ import annotations

import ast
import dis
import inspect
import math
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from nkigen_lite.frontend import arguments
from nkigen_lite.frontend.tracing import is_spec

_MODULES = {np: "numpy", math: "math", ml_dtypes: "ml_dtypes"}
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME")  # of variables; co_names has attributes as well
_LITERALS = (int, float, str, bool, type(None))


class NotSelfContained(Exception):
    """The function needs what a file of its own cannot have; the message says what."""


def reference_lines(
    function: Callable[..., Any], bound: inspect.BoundArguments, output_tree: Any
) -> list[str]:
    """Lines of a function body over the graph's inputs that returns what ``function`` computes.

    Args:
        function: the traced function.
        bound: its specs by parameter.
        output_tree: what it returned, with output names in place of arrays.

    Raises:
        NotSelfContained: its source cannot be had, or uses more than numpy, plain constants and
            functions of the same kind.
    """
    lines: list[str] = []
    defined: set[str] = set()
    _embed(function, lines, defined)
    for name in bound.arguments:
        if name in defined:
            raise NotSelfContained(f"{name} is a parameter's name and that of what it uses")
    given = [
        f"{name}={_argument(name, tree)}" if _by_keyword(bound, name) else _argument(name, tree)
        for name, tree in bound.arguments.items()
    ]
    results = [text for _, text in _leaves(output_tree, "made")]
    name = getattr(function, "__name__", "")
    call = [f"made = {name}(", *[f"    {text}," for text in given], ")"]
    return [
        *lines,
        *(call if given else [f"made = {name}()"]),
        f"return ({', '.join(results)},)",
    ]


def _by_keyword(bound: inspect.BoundArguments, name: str) -> bool:
    kind = bound.signature.parameters[name].kind
    if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise NotSelfContained(f"parameter {name!r} takes any number of arguments")
    return kind is inspect.Parameter.KEYWORD_ONLY


def _embed(function: Any, lines: list[str], done: set[str]) -> None:
    """Append the definitions that a function needs, and then its own."""
    if not isinstance(function, FunctionType) or not function.__name__.isidentifier():
        raise NotSelfContained("it is not a plain function")
    if function.__name__ in done:
        return
    done.add(function.__name__)
    source = _source(function)
    tree = ast.parse(source).body[0]
    assert isinstance(tree, ast.FunctionDef)
    for name in sorted(_names_used(function, tree)):
        _define(name, function, lines, done)
    lines += source.splitlines()


def _source(function: FunctionType) -> str:
    """The function's source without its decorators and docstring."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError):
        raise NotSelfContained(f"the source of {function.__name__} cannot be had") from None
    if not isinstance(tree, ast.FunctionDef):
        raise NotSelfContained(f"{function.__name__} is not defined by def")
    lines = text.splitlines()
    if ast.get_docstring(tree) is not None and len(tree.body) > 1:
        doc = tree.body.pop(0)
        lines[doc.lineno - 1 : doc.end_lineno] = [""] * ((doc.end_lineno or 0) - doc.lineno + 1)
    if any(map(_has_lines, tree.body)):  # which indenting would change
        tree.decorator_list = []
        return ast.unparse(tree)
    kept = lines[tree.lineno - 1 : tree.end_lineno]
    return "\n".join(line for line in kept if line.strip())


def _has_lines(statement: ast.stmt) -> bool:
    """Whether a text in it goes over several lines."""
    return any(
        isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
        for node in ast.walk(statement)
        if isinstance(node, ast.expr) and node.end_lineno != node.lineno
    )


def _names_used(function: FunctionType, tree: ast.FunctionDef) -> set[str]:
    """Names from outside that the function's code and defaults use."""
    found = set(function.__code__.co_freevars)
    for code in _codes(function.__code__):
        loaded = {i.argval for i in dis.get_instructions(code) if i.opname in _LOADS}
        found |= {name for name in loaded if name in function.__globals__}
    for default in (*tree.args.defaults, *tree.args.kw_defaults):
        if default is not None:
            found |= {node.id for node in ast.walk(default) if isinstance(node, ast.Name)}
    return found - {function.__name__}


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _define(name: str, function: FunctionType, lines: list[str], done: set[str]) -> None:
    """Append what gives ``name`` the value that the function sees, unless it is there."""
    if name in done:
        return
    value = _value(name, function)
    if isinstance(value, ModuleType) and value in _MODULES:
        lines.append(f"import {_MODULES[value]} as {name}")
    elif isinstance(value, _LITERALS) and value == value and value not in (math.inf, -math.inf):
        lines.append(f"{name} = {value!r}")
    elif isinstance(value, FunctionType) and value.__name__ == name:
        _embed(value, lines, done)
        return
    else:
        raise NotSelfContained(f"{function.__name__} uses {name}, which is not part of it")
    done.add(name)


def _value(name: str, function: FunctionType) -> Any:
    if name in function.__code__.co_freevars:
        position = function.__code__.co_freevars.index(name)
        try:
            return (function.__closure__ or ())[position].cell_contents
        except ValueError:
            return None
    return function.__globals__.get(name)


def _argument(name: str, tree: Any) -> str:
    """The text of an argument: input names in the containers that the function takes."""
    if is_spec(tree):
        return name
    if isinstance(tree, dict):
        inner = [f"{k!r}: {_argument(arguments.join(name, k), v)}" for k, v in tree.items()]
        return f"{{{', '.join(inner)}}}"
    if type(tree) in (list, tuple):
        inner = [_argument(arguments.join(name, i), v) for i, v in enumerate(tree)]
        return f"[{', '.join(inner)}]" if type(tree) is list else f"({', '.join(inner)},)"
    if isinstance(tree, _LITERALS):
        return repr(tree)
    raise NotSelfContained(f"argument {name!r} is a {type(tree).__name__}")


def _leaves(tree: Any, text: str) -> Iterator[tuple[str, str]]:
    """Output names with the expressions that pick them out of a result."""
    if isinstance(tree, dict):
        for key, child in tree.items():
            yield from _leaves(child, f"{text}[{key!r}]")
    elif isinstance(tree, (list, tuple)):
        for position, child in enumerate(tree):
            yield from _leaves(child, f"{text}[{position}]")
    else:
        yield tree, text
