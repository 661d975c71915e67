"""The outline of statements: what is left when names and numbers that may differ are taken out.

Statements with equal outlines differ in those **holes** only, which one walk meets in the same
order in all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass

from nkigen_lite.nki_ir.emit.linear import Linear, linear_of


@dataclass(frozen=True, slots=True)
class Place:
    """The address of a tile or its start: an expression over what is outside."""

    tile: str
    text: str


Hole = str | Linear | Place
"""A tensor from outside, by its name, a number, or an address."""

# Numbers that say which dimensions are meant, not how many elements.
_FIXED_METHODS = ("permute", "expand_dim", "squeeze_dim")
_FIXED_KEYWORDS = ("axis", "axes", "indirect_dim")
_MODULES = ("nl", "nisa", "ncc", "nki")


SIZE, START, AT = "size", "start", "at"  # of a window, or the one index of a dimension


class NotFoldable(Exception):
    """The statements change what is outside."""


class Outline(ast.NodeTransformer):
    """One walk over statements, which become a template.

    Args:
        indices: names from outside that are indices of loops.
        known: names of the module: constants, functions.
        fill: what to put into the holes, in order: a name, or a number of parameters. By default
            the same for all, so that equal outlines become equal.
        rename: names of what the statements bind, by the number of the binding.
    """

    def __init__(
        self,
        indices: AbstractSet[str],
        known: AbstractSet[str],
        fill: Sequence[Hole] | None = None,
        rename: Sequence[str] | None = None,
    ) -> None:
        self.indices = indices
        self.known = known
        self.fill: Iterator[Hole] | None = None if fill is None else iter(fill)
        self.rename = rename
        self.holes: list[Hole] = []
        self.roles: list[str] = []  # of the holes, what a number says: "size", "start" or "at"
        self.role = SIZE
        self.bound: list[str] = []  # names of the bindings, in order
        self.scopes: list[dict[str, int]] = [{}]
        self.counted: set[int] = set()  # the bindings that are indices of loops

    def statements(self, nodes: Sequence[ast.stmt]) -> list[ast.stmt]:
        """The statements as a template.

        Raises:
            NotFoldable: a name is read before the statements bind it.
        """
        return [self.visit(node) for node in nodes]

    # --- names ----------------------------------------------------------------------------------

    def binding(self, name: str) -> int | None:
        return next((s[name] for s in reversed(self.scopes) if name in s), None)

    def bind(self, name: str, *, anew: bool = False) -> str:
        number = None if anew else self.binding(name)
        if number is None:
            if name in self.holes:
                raise NotFoldable(name)
            number = len(self.bound)
            self.bound.append(name)
        self.scopes[-1][name] = number
        return self.local(number)

    def local(self, number: int) -> str:
        return f"local{number}" if self.rename is None else self.rename[number]

    def is_index(self, name: str) -> bool:
        number = self.binding(name)
        return name in self.indices if number is None else number in self.counted

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if self.is_index(node.id):
            return self.number(node)
        number = self.binding(node.id)
        if number is not None:
            return ast.Name(self.local(number))
        if node.id in self.known:
            return node
        self.leave(node.id)
        filled = "hole" if self.fill is None else next(self.fill)
        return ast.Name(str(filled))

    # --- numbers --------------------------------------------------------------------------------

    def leave(self, hole: Hole) -> None:
        """Note a hole."""
        self.holes.append(hole)
        self.roles.append(self.role)

    @contextmanager
    def saying(self, role: str) -> Iterator[None]:
        """Numbers say something else meanwhile."""
        before, self.role = self.role, role
        yield
        self.role = before

    def hole(self, value: Linear) -> Linear:
        """Leave a number out; what is in its place."""
        self.leave(value)
        if self.fill is None:
            return Linear()  # a place where any number fits
        filled = next(self.fill)
        assert isinstance(filled, Linear)
        return filled

    def linear(self, value: Linear) -> Linear:
        """Of a sum, indices inside stay, and their factors and the rest may differ."""
        inside = [(self.binding(n), f) for n, f in value.terms if self.binding(n) is not None]
        outside = Linear(value.const, tuple(t for t in value.terms if self.binding(t[0]) is None))
        found = Linear()
        for number, factor in sorted((n, f) for n, f in inside if n is not None):
            by = self.hole(Linear(factor))
            if by.terms:
                raise NotFoldable(f"{by} times an index")
            found += Linear.of(self.local(number)) * by.const
        return found + self.hole(outside)

    def number(self, node: ast.expr) -> ast.expr:
        value = linear_of(node, self.is_index)
        if value is None:
            return super().generic_visit(node)  # type: ignore[return-value]
        if self.fill is None:
            # Only the names count here: what a factor or the rest is, is a hole.
            names = sorted(n for n, _ in value.terms if self.binding(n) is not None)
            self.linear(value)
            numbers = sorted(str(self.binding(n)) for n in names)
            return ast.Name(f"number({', '.join(numbers)})")
        return expression(str(self.linear(value)))

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return self.number(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        return self.number(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        return self.number(node)

    # --- subscripts -----------------------------------------------------------------------------

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        base = self.visit(node.value)
        whole = node.slice
        items = whole.elts if isinstance(whole, ast.Tuple) else [whole]
        made = [self.item(item) for item in items]
        return ast.Subscript(base, ast.Tuple(made) if len(made) > 1 else made[0])

    def item(self, node: ast.expr) -> ast.expr:
        """``0:128`` and ``nl.ds(i * 128, 128)`` are the same: a start and a size."""
        match node:
            case ast.Slice(lower=ast.expr() as lower, upper=ast.expr() as upper, step=step):
                start, stop = self._whole(lower), self._whole(upper)
                if step is not None:
                    ends = [self.visit(part) for part in (lower, upper, step)]
                    return ast.Slice(*ends)
                return self.span(start, stop - start)
            case ast.Call(func=ast.Attribute(attr="ds"), args=[start, size]):
                return self.span(self._whole(start), self._whole(size))
        with self.saying(AT):
            return self.visit(node)  # type: ignore[no-any-return]

    def _whole(self, node: ast.expr) -> Linear:
        value = linear_of(node, self.is_index)
        if value is None:
            raise NotFoldable(ast.unparse(node))
        return value

    def span(self, start: Linear, size: Linear) -> ast.expr:
        inside = sorted(str(self.binding(n)) for n, _ in start.terms if self.binding(n) is not None)
        with self.saying(START):
            first = self.linear(start)
        count = self.linear(size)
        if self.fill is None:
            return ast.Name(f"span({', '.join(inside)})")
        if first == Linear() and str(count).isidentifier():
            return ast.Slice(ast.Constant(0), ast.Name(str(count)))
        if first.terms or count.terms:
            return expression(f"nl.ds({first}, {count})")
        return ast.Slice(ast.Constant(first.const), ast.Constant(first.const + count.const))

    # --- calls and statements -------------------------------------------------------------------

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if is_of_module(node):
            return node
        return ast.Attribute(self.visit(node.value), node.attr)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        fixed = isinstance(node.func, ast.Attribute) and node.func.attr in _FIXED_METHODS
        function = self.visit(node.func)
        args = node.args if fixed else [self.visit(a) for a in node.args]
        keywords = [
            k if k.arg in _FIXED_KEYWORDS else ast.keyword(k.arg, self.visit(k.value))
            for k in node.keywords
        ]
        return ast.Call(function, args, keywords)

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        (target,) = node.targets
        assert isinstance(target, ast.Name)
        value = node.value
        last = value.keywords[-1] if isinstance(value, ast.Call) and value.keywords else None
        if last is None or last.arg != "address":
            value = self.visit(value)
        else:
            assert isinstance(value, ast.Call)
            tile = self.visit(ast.Call(value.func, value.args, value.keywords[:-1]))
            tile.keywords.append(ast.keyword("address", self.address(target.id, last.value)))
            value = tile
        return ast.Assign([ast.Name(self.bind(target.id))], value)

    def address(self, tile: str, node: ast.expr) -> ast.expr:
        """Of an address, what does not follow a loop inside is left out."""
        names = (n.id for n in ast.walk(node) if isinstance(n, ast.Name))
        if all(self.binding(name) is None for name in names):
            return self.place(tile, node)
        assert isinstance(node, ast.Tuple)
        partition, byte = node.elts
        start: ast.expr = ast.Constant(0)
        match byte:
            case ast.BinOp(left=ast.Constant() as start, op=ast.Add(), right=byte):
                pass
        first, turn = self.place(tile, start), self.visit(byte)
        if isinstance(first, ast.Constant) and first.value == 0:
            return ast.Tuple([partition, turn])
        return ast.Tuple([partition, ast.BinOp(first, ast.Add(), turn)])

    def place(self, tile: str, node: ast.expr) -> ast.expr:
        """Leave an address out; what is in its place."""
        self.leave(Place(tile, ast.unparse(node)))
        if self.fill is None:
            return ast.Name("place")
        filled = next(self.fill)
        assert isinstance(filled, Place)
        return expression(filled.text)

    def visit_For(self, node: ast.For) -> ast.stmt:
        counts = node.iter
        assert isinstance(counts, ast.Call)
        assert isinstance(node.target, ast.Name)
        bounds = ast.Call(counts.func, [self.visit(a) for a in counts.args], [])
        self.scopes.append({})
        index = self.bind(node.target.id, anew=True)
        self.counted.add(self.scopes[-1][node.target.id])
        body = self.statements(node.body)
        self.scopes.pop()
        return ast.For(ast.Name(index), bounds, body, [])


def is_of_module(node: ast.expr) -> bool:
    """Whether it is a dotted name that begins with one of NKI's modules."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in _MODULES


def expression(text: str) -> ast.expr:
    """An expression, parsed."""
    return ast.parse(text, mode="eval").body
