"""Kernel expressions as closures over the values of names; only the documented Python."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from nkigen_lite.source_check.facts import Dtype, Groups, Register, enums, language
from nkigen_lite.source_check.findings import Illegal, require
from nkigen_lite.source_check.tensors import Span, View

Env = dict[str, Any]
Evaluate = Callable[[Env], Any]

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_VIEWS = ("reshape", "permute", "broadcast", "expand_dim", "ap", "view")


def compiled(node: ast.expr) -> Evaluate:
    """The expression as a function of the environment.

    Raises:
        Illegal: it is not of the Python that kernels may be written in, or names what NKI has not.
    """
    make = _NODES.get(type(node))
    if make is None:
        raise Illegal(f"{type(node).__name__} is not part of the Python that kernels may use")
    return make(node)


def constant_of(node: ast.expr) -> Any:
    """The value of a module's constant: a literal, or ``float("inf")``; Illegal for any other."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
        return float(ast.literal_eval(node.args[0]))
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise Illegal("not a constant") from None


def _constant(node: Any) -> Evaluate:
    value = node.value
    return lambda env: value


def _name(node: Any) -> Evaluate:
    name = node.id

    def evaluate(env: Env) -> Any:
        if name not in env:
            raise Illegal(f"{name} is used but nothing has defined it")
        return env[name]

    return evaluate


def _attribute(node: Any) -> Evaluate:
    value = named(node)
    return lambda env: value


def named(node: ast.Attribute) -> Any:
    """What ``nl.<name>`` or ``nisa.<enum>.<member>`` is."""
    path = ast.unparse(node).split(".")
    if path[0] == "nl" and len(path) == 2:
        require(path[1] in language(), f"{'.'.join(path)} is not a name of nki.language")
        return language()[path[1]]
    if path[0] == "nisa" and len(path) == 3:
        require(path[1] in enums(), f"nisa.{path[1]} is not an enum of nki.isa")
        members = enums()[path[1]]
        require(
            path[2] in members,
            f"nisa.{path[1]}.{path[2]} is not a member; there are {', '.join(members)}",
        )
        return members[path[2]]
    raise Illegal(f"{'.'.join(path)} is not a name that kernels may use")


def _items(kind: Callable[[Any], Any]) -> Callable[[Any], Evaluate]:
    def make(node: Any) -> Evaluate:
        parts = [compiled(item) for item in node.elts]
        return lambda env: kind(part(env) for part in parts)

    return make


def _binary(node: Any) -> Evaluate:
    apply = _BINARY.get(type(node.op))
    require(apply is not None, f"operator {type(node.op).__name__} is not one that kernels may use")
    assert apply is not None
    left, right = compiled(node.left), compiled(node.right)

    def evaluate(env: Env) -> Any:
        a, b = left(env), right(env)
        _numbers(a, b)
        return apply(a, b)

    return evaluate


def _numbers(*values: Any) -> None:
    for value in values:
        if isinstance(value, View):
            raise Illegal(f"{value} is an operand of a Python operator but tensors have none")
        if not isinstance(value, bool | int | float):
            raise Illegal(f"{value!r} is not a number")


def _unary(node: Any) -> Evaluate:
    require(isinstance(node.op, ast.USub | ast.Not), "only - and not are unary operators here")
    operand = compiled(node.operand)
    apply = operator.neg if isinstance(node.op, ast.USub) else operator.not_

    def evaluate(env: Env) -> Any:
        value = operand(env)
        _numbers(value)
        return apply(value)

    return evaluate


def _compare(node: Any) -> Evaluate:
    apply = _COMPARISONS.get(type(node.ops[0]))
    legal = len(node.ops) == 1 and apply is not None
    require(legal, f"comparison {ast.unparse(node)} is not one that kernels may use")
    assert apply is not None
    left, right = compiled(node.left), compiled(node.comparators[0])

    def evaluate(env: Env) -> Any:
        a, b = left(env), right(env)
        _numbers(a, b)
        return apply(a, b)

    return evaluate


def _logic(node: Any) -> Evaluate:
    parts = [compiled(part) for part in node.values]
    combine = any if isinstance(node.op, ast.Or) else all
    return lambda env: combine([bool(part(env)) for part in parts])


def _subscript(node: Any) -> Evaluate:
    base = compiled(node.value)
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    keys = [_key(item) for item in items]

    def evaluate(env: Env) -> Any:
        view = base(env)
        given = tuple(key(env) for key in keys)
        if isinstance(view, tuple) and len(given) == 1 and type(given[0]) is int:
            require(0 <= given[0] < len(view), f"{view} has no number {given[0]}")
            return view[given[0]]
        if not isinstance(view, View):
            raise Illegal(f"{view!r} is subscripted but must be a tensor")
        return view.subscript(given)

    return evaluate


def _key(node: ast.expr) -> Evaluate:
    if not isinstance(node, ast.Slice):
        return compiled(node)
    parts = [compiled(p) if p else (lambda env: None) for p in (node.lower, node.upper, node.step)]
    return lambda env: slice(*(part(env) for part in parts))


def _call(node: Any) -> Evaluate:
    function = node.func
    require(
        isinstance(function, ast.Attribute),
        f"{ast.unparse(function)}(...) is called but kernels call only nisa, nl and tensors",
    )
    if isinstance(function.value, ast.Name) and function.value.id == "nl":
        return _span(node)
    if ast.unparse(function) == "ncc.ReplicaGroup":
        return _groups(node)
    require(
        function.attr in _VIEWS and not ast.unparse(function).startswith("nisa."),
        f"{ast.unparse(function)}(...) gives no value that kernels may use here",
    )
    base = compiled(function.value)
    args = [compiled(a) for a in node.args]
    named_args = [(k.arg, compiled(k.value)) for k in node.keywords]
    method = function.attr

    def evaluate(env: Env) -> Any:
        view = base(env)
        if not isinstance(view, View):
            raise Illegal(f"{view!r}.{method}(...) is called on what is no tensor")
        given = {str(name): part(env) for name, part in named_args}
        return _apply(method, view, [a(env) for a in args], given)

    return evaluate


def _apply(method: str, view: View, args: list[Any], given: dict[str, Any]) -> View:
    """A method of a tensor that gives another view of it."""
    if method == "ap":
        return _pattern(view, args, given)
    if method == "view":
        dtype = (args or list(given.values()))[0]
        same = isinstance(dtype, Dtype) and dtype.bytes == view.dtype.bytes
        require(same, f"{view}.view({dtype}): elements must keep their size")
        return view
    try:
        made: View = getattr(view, method)(*args, **given)
    except TypeError:
        raise Illegal(f"{view}.{method}: arguments {args} {given} do not fit it") from None
    return made


def _pattern(view: View, args: list[Any], given: dict[str, Any]) -> View:
    names = ("pattern", "offset", "scalar_offset", "vector_offset", "indirect_dim", "dtype")
    full = dict(zip(names, args, strict=False)) | given
    unknown = [n for n in full if n not in names]
    require(not unknown, f"{view}.ap: keyword {unknown} is not one of {', '.join(names)}")
    pattern = full.get("pattern")
    legal = isinstance(pattern, list) and all(isinstance(p, list) and len(p) == 2 for p in pattern)
    require(legal, f"{view}.ap: pattern is {pattern!r} but must be pairs [stride, count]")
    return view.pattern(pattern or [], full.get("offset") or 0, _index(view, full))


def _groups(node: Any) -> Evaluate:
    """``ncc.ReplicaGroup([[0, 1], [2, 3]])``."""
    require(len(node.args) == 1 and not node.keywords, "ncc.ReplicaGroup takes one list of groups")
    made = compiled(node.args[0])

    def evaluate(env: Env) -> Any:
        found = made(env)
        legal = isinstance(found, list) and found and all(isinstance(g, list) for g in found)
        ranks = [rank for group in found for rank in group] if legal else [None]
        require(
            all(type(r) is int and r >= 0 for r in ranks) and len({len(g) for g in found}) == 1
            and len(set(ranks)) == len(ranks),
            f"ncc.ReplicaGroup: {found!r} is not a list of groups of one size, each rank once",
        )  # fmt: skip
        return Groups(tuple(map(tuple, found)))

    return evaluate


def _index(view: View, given: dict[str, Any]) -> View | Register | None:
    """The tile that says where an indirect access goes; one offset may be in a register."""
    if isinstance(given.get("scalar_offset"), Register):
        require(given.get("vector_offset") is None, f"{view}.ap: two offsets are given")
        return Register()
    found = [given[n] for n in ("scalar_offset", "vector_offset") if given.get(n) is not None]
    require(len(found) <= 1, f"{view}.ap: scalar_offset and vector_offset are both given")
    require(
        all(isinstance(f, View) and f.region.name == "sbuf" for f in found),
        f"{view}.ap: the offset is {found} but must be a tile in sbuf",
    )
    require(
        all(str(f.dtype) in ("int32", "uint32") for f in found),
        f"{view}.ap: the offset is {', '.join(map(str, found))} but must be int32 or uint32",
    )
    return found[0] if found else None


def _span(node: Any) -> Evaluate:
    require(
        node.func.attr == "ds" and len(node.args) == 2 and not node.keywords,
        f"nl.{node.func.attr}(...) is called but kernels compute with nki.isa; of nl they may "
        "call ndarray and ds(start, size)",
    )
    start, size = (compiled(a) for a in node.args)

    def evaluate(env: Env) -> Any:
        found = Span(start(env), size(env))
        if not (type(found.start) is int and type(found.size) is int):
            raise Illegal(f"nl.ds({found.start!r}, {found.size!r}) must be of ints")
        return found

    return evaluate


_NODES: dict[type[ast.expr], Callable[[Any], Evaluate]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Tuple: _items(tuple),
    ast.List: _items(list),
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
    ast.BoolOp: _logic,
    ast.Subscript: _subscript,
    ast.Call: _call,
}
