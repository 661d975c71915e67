"""Functions beside the kernel that it calls, and how many statements run.

NKI inlines every call while it specialises a kernel (aws-neuron-sdk, NKI language guide,
"Compilation Model"), so a call is its body, executed on the arguments.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nkigen_lite.source_check.expressions import Env, Evaluate, compiled
from nkigen_lite.source_check.findings import Illegal, require
from nkigen_lite.source_check.machine import Machine
from nkigen_lite.source_check.run_time import RUNS

Run = Callable[[Env], None]


@dataclass(eq=False)
class Functions:
    """The functions of a file that a kernel may call.

    Attributes:
        nodes: by name.
        constants: numbers that the module gives names to, which functions see beside their
            arguments.
        bodies: what runs those that were called.
    """

    nodes: Mapping[str, ast.FunctionDef]
    constants: Mapping[str, Any]
    bodies: dict[str, Run] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)

    def __contains__(self, name: object) -> bool:
        return name in self.nodes

    def call(
        self, name: str, node: ast.Expr, machine: Machine, make: Callable[[ast.FunctionDef], Run]
    ) -> Run:
        """A call that stands alone.

        Raises:
            Illegal: the arguments do not fit, or the function calls itself or returns something.
        """
        assert isinstance(node.value, ast.Call)
        given = self._bound(name, node.value)
        function = self.nodes[name]
        require(name not in self.open, f"{name} calls itself but calls are inlined")
        require(
            not any(isinstance(n, ast.Return) for n in ast.walk(function)),
            f"{name} returns something but must leave its results in what it is given",
        )
        check_own_names(function, self.nodes)
        if name not in self.bodies:
            self.open.append(name)
            self.bodies[name] = make(function)
            self.open.pop()
        body = self.bodies[name]

        def run(env: Env) -> None:
            def arguments() -> Env:
                return {parameter: part(env) for parameter, part in given.items()}

            found = machine.attempt(node.lineno, arguments)
            if found is not None:
                body({**self.constants, **found})

        return run

    def executed(self, call: ast.Call, env: Env) -> int:
        """How many statements a call runs."""
        name = called(call) or ""
        if name in self.open:
            return 1
        inside = dict(self.constants)
        with suppress(Illegal):
            for parameter, part in self._bound(name, call).items():
                with suppress(Illegal):
                    inside[parameter] = part(env)
        self.open.append(name)
        total = executed_calls(self.nodes[name].body, self, inside)
        self.open.pop()
        return total

    def _bound(self, name: str, call: ast.Call) -> dict[str, Evaluate]:
        """The arguments of a call by the function's parameters."""
        args = self.nodes[name].args
        require(
            not (args.kwonlyargs or args.defaults or args.vararg or args.kwarg or args.posonlyargs),
            f"{name}: parameters must be plain names without defaults",
        )
        parameters = [a.arg for a in args.args]
        keywords = [str(k.arg) for k in call.keywords]
        names = [*parameters[: len(call.args)], *keywords]
        require(
            len(call.args) <= len(parameters) and sorted(names) == sorted(parameters),
            f"{name} takes {', '.join(parameters)} but is given {len(call.args)} arguments by place"
            f" and {', '.join(keywords) or 'none'} by name",
        )
        parts = [*call.args, *(k.value for k in call.keywords)]
        return {n: compiled(part) for n, part in zip(names, parts, strict=True)}


def called(node: ast.expr) -> str | None:
    """The name of what an expression calls, if it is a call."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else None


def range_of(node: ast.For) -> Callable[[Env], range]:
    """The values of a loop, which must be known while the kernel is read."""
    call = node.iter
    legal = isinstance(node.target, ast.Name) and not node.orelse and called(call) == "range"
    require(legal, f"for {ast.unparse(node.target)} in {ast.unparse(call)} is not over a range")
    assert isinstance(call, ast.Call)
    require(
        1 <= len(call.args) <= 3 and not call.keywords,
        f"{ast.unparse(call)} is not made of one to three ints",
    )
    parts, text = [compiled(a) for a in call.args], ast.unparse(call)

    def evaluate(env: Env) -> range:
        numbers = [part(env) for part in parts]
        require(all(type(n) is int for n in numbers), f"{text} is not made of numbers: {numbers}")
        found = range(*numbers)
        require(len(found) > 0, f"{text} is empty")
        return found

    return evaluate


def assigned(statements: Sequence[ast.stmt]) -> frozenset[str]:
    """Names that a function's body binds, which are its own from its first line on."""
    found: set[str] = set()
    for node in statements:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.add(node.targets[0].id)
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            found |= {node.target.id, *assigned(node.body)}
        elif isinstance(node, ast.If):
            found |= assigned([*node.body, *node.orelse])
    return frozenset(found)


def check_own_names(function: ast.FunctionDef, beside: Collection[str]) -> None:
    """Raise Illegal if a name that the function binds hides a module or function that it calls."""
    own = {a.arg for a in function.args.args} | assigned(function.body)
    calls = {called(n) or "" for n in ast.walk(function) if isinstance(n, ast.Call)}
    modules = {path.split(".")[0] for path in calls} & {"nl", "nisa", "ncc", "range"}
    for name in sorted(own & (modules | calls & set(beside))):
        raise Illegal(f"{function.name} calls {name} but has another thing of that name")


def executed_calls(statements: Sequence[ast.stmt], functions: Functions, env: Env) -> int:
    """How many statements run, loops multiplied out; loops that are illegal count once."""
    total = 0
    for node in statements:
        if isinstance(node, ast.If):
            both = [executed_calls(part, functions, env) for part in (node.body, node.orelse)]
            total += max(both)
        elif isinstance(node, ast.FunctionDef):
            total += RUNS * executed_calls(node.body, functions, env)
        elif isinstance(node, ast.For):
            values: range | tuple[int, ...] = (0,)
            with suppress(Illegal):
                values = range_of(node)(env)
            inside = {**env, ast.unparse(node.target): values[0]}
            total += len(values) * executed_calls(node.body, functions, inside)
        elif isinstance(node, ast.Expr) and called(node.value) in functions:
            assert isinstance(node.value, ast.Call)
            total += functions.executed(node.value, env)
        else:
            total += 1
    return total
