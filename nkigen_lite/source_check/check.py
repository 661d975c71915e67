"""``check_source``: reading a file, finding its kernels, running each without data."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nkigen_lite.errors import InvalidInput
from nkigen_lite.source_check.capacity import capacity_problems, overlap_problems
from nkigen_lite.source_check.expressions import constant_of
from nkigen_lite.source_check.facts import dtypes, limits_of
from nkigen_lite.source_check.findings import Illegal, Problem, Verdict
from nkigen_lite.source_check.functions import Functions, check_own_names, executed_calls
from nkigen_lite.source_check.machine import Machine
from nkigen_lite.source_check.statements import Body

Inputs = Mapping[str, tuple[tuple[int, ...], str]]

FOLLOWED = 200_000
"""Statements that are executed one by one; longer programs are sampled."""


def check_source(
    text: str, *, target: str = "trn2", inputs: Inputs | None = None, followed: int = FOLLOWED
) -> Verdict:
    """Whether the kernels in a file's text are legal on a target.

    Kernels are the functions that ``nki.jit`` is applied to; they may call others of the file. The
    rules are those of NKI 0.4 to 0.6: the Python subset, signatures, enums, element types, tile
    limits, memory spaces, PSUM accumulation, and that nothing is read before it is written. Every
    loop is executed, without data; where that is more than ``followed`` statements, loops run for
    their first two and last values and elements are not followed one by one.

    Args:
        text: Python source.
        target: "trn1", "trn2" or "trn3".
        inputs: (shape, ``nl`` name of the element type) of every parameter; by default the
            file's own ``INPUTS``, a dictionary of the same form.

    Raises:
        InvalidInput: there is no such target.
    """
    limits = limits_of(target)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return Verdict((), (Problem(error.lineno or 1, f"syntax error: {error.msg}"),))
    constants = _constants(tree)
    known = inputs if inputs is not None else constants.get("INPUTS")
    found: list[Problem] = list(_import_problems(tree))
    names: list[str] = []
    undecided: list[str] = []
    calls = 0
    kernels = list(_kernels(tree))
    others = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n not in kernels]
    numbers = {k: v for k, v in constants.items() if isinstance(v, int | float)}
    for function in kernels:
        names.append(function.name)
        functions = Functions({node.name: node for node in others}, numbers)
        count = executed_calls(function.body, functions, numbers)
        machine = Machine(limits, sampled=count > followed)
        _run(function, machine, functions, known)
        found += machine.found.values()
        if not machine.found:
            found += capacity_problems(machine.buffers, limits)
            found += overlap_problems(machine.buffers)
        calls += machine.calls
        undecided += machine.undecided
        if machine.sampled:
            undecided.append(
                f"kernel {function.name}: loops ran for their first two and last values only; "
                "whether every element is written was not decided"
            )
    if not names:
        found.append(Problem(1, "no kernel: nothing in the file is given to nki.jit"))
    return Verdict(tuple(names), tuple(sorted(set(found))), tuple(undecided), calls)


def check_file(path: str | os.PathLike[str], *, target: str = "trn2") -> Verdict:
    """:func:`check_source` of a file.

    Raises:
        InvalidInput: the file cannot be read, or there is no such target.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise InvalidInput(f"check: {path} cannot be read: {reason}") from None
    return check_source(text, target=target)


def _kernels(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The functions that are decorated with ``nki.jit`` or handed to it."""
    handed = {
        node.args[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "nki.jit"
        and node.args
        and isinstance(node.args[0], ast.Name)
    }
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and (
            node.name in handed or any(ast.unparse(d) == "nki.jit" for d in node.decorator_list)
        ):
            yield node


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Names that the module gives to literals."""
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = constant_of(node.value)
            except Illegal:
                continue
    return found


def _import_problems(tree: ast.Module) -> Iterator[Problem]:
    """The old package's modules cannot be used together with this one's."""
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.split(".")[0] in ("neuronxcc", "neuronx_cc"):
                yield Problem(
                    getattr(node, "lineno", 1),
                    f"{name} is imported but kernels use the nki package",
                )


def _run(function: ast.FunctionDef, machine: Machine, functions: Functions, known: Any) -> None:
    """Execute a kernel on its inputs; the machine notes what is wrong."""
    env = dict(functions.constants)
    machine.attempt(function.lineno, lambda: check_own_names(function, functions.nodes))
    machine.attempt(function.lineno, lambda: _bind(function, machine, env, known))
    if machine.found:
        return
    body = Body(machine, functions=functions)
    run = body.block(function.body)
    if not body.returns:
        machine.attempt(function.lineno, lambda: _refuse(f"kernel {function.name} returns nothing"))
    run(env)


def _bind(function: ast.FunctionDef, machine: Machine, env: dict[str, Any], known: Any) -> None:
    args, who = function.args, f"kernel {function.name}"
    if args.kwonlyargs or args.defaults or args.vararg or args.kwarg or args.posonlyargs:
        _refuse(f"{who}: parameters must be plain names without defaults")
    if not isinstance(known, Mapping):
        _refuse(f"{who}: shapes of the inputs are not known: the file must define INPUTS")
    for parameter in args.args:
        given = known.get(parameter.arg)
        if not isinstance(given, tuple) or len(given) != 2 or given[1] not in dtypes():
            _refuse(f"{who}: INPUTS says {given!r} of {parameter.arg} but must say (shape, dtype)")
        shape, dtype = given
        env[parameter.arg] = machine.input(
            parameter.arg, tuple(shape), dtypes()[dtype], function.lineno
        )


def _refuse(sentence: str) -> None:
    raise Illegal(sentence)
