"""Kernel statements as closures: allocations, instructions, loops, branches, returns."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from nkigen_lite.source_check.binding import Signature, signature
from nkigen_lite.source_check.expressions import Env, Evaluate, compiled
from nkigen_lite.source_check.facts import Member, Region
from nkigen_lite.source_check.findings import Illegal, require
from nkigen_lite.source_check.functions import Functions, assigned, called, range_of
from nkigen_lite.source_check.machine import Machine
from nkigen_lite.source_check.run_time import (
    NEW_REGISTERS,
    REGISTER_CALLS,
    REPEATS,
    Function,
    new_register,
    next_register,
    repeats,
    side_call,
)

Run = Callable[[Env], None]

SAMPLES = 2  # first iterations that a sampled loop runs, beside its last

_NDARRAY = {"shape", "dtype", "buffer", "name", "address"}


class Body:
    """Turns statements into functions that execute them on a machine."""

    def __init__(
        self, machine: Machine, inside: str = "", functions: Functions | None = None
    ) -> None:
        self.machine = machine
        self.inside = inside  # the function in the kernel whose body this is
        self.functions = functions or Functions({}, {})  # beside the kernel
        self.returns = 0

    def block(self, statements: Sequence[ast.stmt]) -> Run:
        """All the statements, one after the other."""
        runs = [run for s in statements if (run := self._statement(s)) is not None]

        def run_all(env: Env) -> None:
            for run in runs:
                run(env)

        return run_all

    def _statement(self, node: ast.stmt) -> Run | None:
        make = _STATEMENTS.get(type(node))
        made: Run | None = self.machine.attempt(node.lineno, lambda: self._made(make, node))
        return made

    def _made(self, make: Any, node: ast.stmt) -> Run | None:
        require(
            make is not None,
            f"{type(node).__name__} is not part of the Python that kernels may use",
        )
        made: Run | None = make(self, node)
        return made

    def nothing(self, node: ast.stmt) -> None:
        return None

    def assign(self, node: Any) -> Run:
        """``name = nl.ndarray(...)``, or a name for a number or a view."""
        require(
            len(node.targets) == 1 and isinstance(node.targets[0], ast.Name),
            f"{ast.unparse(node.targets[0])} is assigned to but kernels assign names only",
        )
        name, line = node.targets[0].id, node.lineno
        path = called(node.value)
        if path == "nl.ndarray":
            made = self._allocation(name, line, node.value)
        elif path in NEW_REGISTERS:
            made = new_register(node.value)
        else:
            made = compiled(node.value)
        machine = self.machine

        def run(env: Env) -> None:
            env.pop(name, None)
            value = machine.attempt(line, lambda: made(env))
            if value is not None:
                env[name] = value

        return run

    def _allocation(self, name: str, line: int, call: ast.Call) -> Evaluate:
        given: dict[str, Evaluate] = {}
        for keyword, node in [("shape", a) for a in call.args] + [
            (str(k.arg), k.value) for k in call.keywords
        ]:
            require(
                keyword in _NDARRAY and keyword not in given,
                f"nl.ndarray: keyword {keyword!r} is not one of {', '.join(sorted(_NDARRAY))}",
            )
            given[keyword] = compiled(node)
        for needed in ("shape", "dtype"):
            require(needed in given, f"nl.ndarray: argument {needed!r} is missing")
        machine = self.machine
        start = {"buffer": Region("sbuf"), "address": None}

        def evaluate(env: Env) -> Any:
            args = start | {k: part(env) for k, part in given.items()}
            return machine.allocate(name, line, args)

        return evaluate

    def expression(self, node: Any) -> Run | None:
        """A call of ``nki.isa`` or of what runs functions, or a docstring."""
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        path = called(node.value) or ast.unparse(node.value)
        if path in self.functions:
            return self.functions.call(path, node, self.machine, self._beside)
        if path in REPEATS:
            return repeats(self.machine, path, node)
        if path in REGISTER_CALLS or path.startswith("ncc."):
            return side_call(self.machine, path, node)
        require(
            path.startswith("nisa.") and path.count(".") == 1,
            f"{path} stands alone but must be a call of nki.isa",
        )
        bound = signature(path.removeprefix("nisa."))
        bound.bind(node.value)
        given = [(str(k.arg), compiled(k.value)) for k in node.value.keywords]
        machine, site, line = self.machine, id(node), node.lineno

        def run(env: Env) -> None:
            def act() -> None:
                args = dict(bound.defaults)
                try:
                    args |= {name: part(env) for name, part in given}
                    _check_kinds(bound, args)
                except Illegal:
                    machine.assume_written(bound.name, _evaluated(given, env))
                    raise
                machine.execute(bound.name, site, {name: args[name] for name in bound.parameters})

            machine.attempt(line, act)

        return run

    def _beside(self, function: ast.FunctionDef) -> Run:
        """The body of a function beside the kernel."""
        return Body(self.machine, function.name, self.functions).block(function.body)

    def loop(self, node: Any) -> Run:
        """``for name in range(...)``."""
        counts = range_of(node)
        body, name, machine = self.block(node.body), node.target.id, self.machine

        def run(env: Env) -> None:
            values = machine.attempt(node.lineno, lambda: counts(env)) or range(0)
            for value in values if not machine.sampled else sampled(values):
                env[name] = value
                body(env)

        return run

    def branch(self, node: Any) -> Run:
        """``if`` on numbers, which are known while the kernel is traced."""
        test = compiled(node.test)
        then, otherwise = self.block(node.body), self.block(node.orelse)
        machine, line = self.machine, node.lineno

        def run(env: Env) -> None:
            holds = machine.attempt(line, lambda: bool(test(env)))
            if holds is not None:
                (then if holds else otherwise)(env)

        return run

    def function(self, node: Any) -> Run:
        """``def``: a function of at most one name, which ``nl.fori_loop`` and the like run."""
        args = node.args
        plain = not (args.kwonlyargs or args.defaults or args.vararg or args.kwarg)
        require(
            plain and len(args.args) == 1 and not node.decorator_list,
            f"function {node.name} must take one plain name",
        )
        run = Body(self.machine, node.name, self.functions).block(node.body)
        made = Function(node.name, args.args[0].arg, assigned(node.body), run)

        def define(env: Env) -> None:
            env[node.name] = made

        return define

    def give_back(self, node: Any) -> Run:
        """``return tensor`` or ``return a, b``; in a function the register of the next run."""
        require(node.value is not None, "return gives nothing but must give the results")
        parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        makers = [compiled(part) for part in parts]
        machine, line = self.machine, node.lineno
        self.returns += 1
        if self.inside:
            return lambda env: machine.attempt(line, lambda: next_register(makers, env))

        def run(env: Env) -> None:
            for make in makers:
                machine.attempt(line, lambda make=make: machine.give_back(make(env)))  # type: ignore[misc]

        return run


def sampled(counts: range) -> Sequence[int]:
    """The first values and the last."""
    return [*counts[:SAMPLES], *counts[max(SAMPLES, len(counts) - 1) :]]


def _evaluated(parts: Sequence[tuple[str, Evaluate]], env: Env) -> dict[str, Any]:
    """The arguments that are legal on their own."""
    found: dict[str, Any] = {}
    for name, part in parts:
        with suppress(Illegal):
            found[name] = part(env)
    return found


def _check_kinds(bound: Signature, args: dict[str, Any]) -> None:
    """Enums are given as members of the right enum."""
    for name, kind in bound.kinds.items():
        value = args[name]
        if not (isinstance(value, Member) and value.kind == kind):
            raise Illegal(
                f"nisa.{bound.name}: {name} is {value!r} but must be a member of nisa.{kind}"
            )


_STATEMENTS: dict[type[ast.stmt], Callable[[Body, Any], Run | None]] = {
    ast.Assign: Body.assign,
    ast.Expr: Body.expression,
    ast.For: Body.loop,
    ast.If: Body.branch,
    ast.FunctionDef: Body.function,
    ast.Return: Body.give_back,
    ast.Pass: Body.nothing,
}
