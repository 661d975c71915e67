"""Parsed statements of kernels as lines of text, broken as the emitter breaks them."""

from __future__ import annotations

import ast

from nkigen_lite.nki_ir.emit.outline import is_of_module
from nkigen_lite.nki_ir.emit.text import INDENT, Bracket, Expr, wrapped


def statement_lines(node: ast.stmt, level: int) -> list[str]:
    """The lines of an assignment, a call or a loop at an indentation level."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return wrapped(as_expr(value), level, f"{name} = ")
        case ast.Expr(value=value):
            return wrapped(as_expr(value), level)
        case ast.For(target=target, iter=counts, body=body):
            head = f"for {ast.unparse(target)} in {as_expr(counts)}:"
            inner = [line for part in body for line in statement_lines(part, level + 1)]
            return [" " * (INDENT * level) + head, *inner]
        case ast.Pass():
            return [" " * (INDENT * level) + "pass"]
    raise AssertionError(f"{type(node).__name__} is not a statement of a unit")


def as_expr(node: ast.expr) -> Expr:
    """The expression with its brackets told apart."""
    match node:
        case ast.Call(func=function, args=args, keywords=keywords):
            items = [as_expr(a) for a in args]
            items += [_argument(k.value).named(str(k.arg)) for k in keywords]
            if isinstance(function, ast.Attribute) and not is_of_module(function):
                base = as_expr(function.value)
                bracket = Bracket(f".{function.attr}(", tuple(items), ")")
            else:
                base, bracket = Expr(ast.unparse(function)), Bracket("(", tuple(items), ")")
            return Expr(base.text, (*base.brackets, bracket))
        case ast.Subscript(value=value, slice=index):
            parts = index.elts if isinstance(index, ast.Tuple) else [index]
            return as_expr(value).subscript([_subscript(part) for part in parts])
    return Expr(ast.unparse(node))


def _argument(node: ast.expr) -> Expr:
    """Comparisons stand in brackets of their own, as ``accumulate=(k > 0)``."""
    if isinstance(node, ast.Compare | ast.BoolOp):
        return Expr(f"({ast.unparse(node)})")
    return as_expr(node)


def _subscript(node: ast.expr) -> str:
    if not isinstance(node, ast.Slice):
        return str(as_expr(node))
    ends = [part for part in (node.lower, node.upper, node.step) if part is not None]
    simple = all(isinstance(part, ast.Constant | ast.Name) for part in ends)
    return (":" if simple else " : ").join(ast.unparse(part) for part in ends)
