"""Reading the textual form back: ``parse(graph.dump(), dialect)`` equals ``graph``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.core.location import Location
from nkigen_lite.core.registry import Dialect, OpDef
from nkigen_lite.errors import InvalidInput, InvalidOp

_SPACE = re.compile(r"\s*")
_TOKEN = re.compile(
    r"""
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<typed>[A-Za-z_]*<[^<>]*>)
    | (?P<number>[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\d+)|-inf\b)
    | (?P<name>[A-Za-z_][A-Za-z0-9_.$-]*)
    | (?P<mark>[%@(){}=,:])
    """,
    re.VERBOSE,
)
_WORDS: dict[str, Any] = {
    "true": True,
    "false": False,
    "none": None,
    "nan": float("nan"),
    "inf": float("inf"),
}
_WORDS |= {d.value: d for d in DType}

_SHOWN = 20  # characters of what is no token

Scope = dict[str, Value]


def parse(text: str, dialect: Dialect[Any]) -> Graph:
    """The graph that ``text`` describes, checked op by op against the dialect's rows.

    Attributes that the text leaves out take their defaults.

    Raises:
        InvalidInput: the text is not well formed; says line and what was expected.
        InvalidOp: an op breaks the rule of its row; says the line, too.
    """
    return _Parser(text, dialect).parse_all()


class _Parser:
    def __init__(self, text: str, dialect: Dialect[Any]) -> None:
        self.text = text
        self.dialect = dialect
        self.kind = ""
        self.token = ""
        self.start = 0  # of the token
        self.end = 0
        self.advance()

    # --- tokens ----------------------------------------------------------------------------------

    def advance(self) -> str:
        """Step to the next token; the one just left."""
        left = self.token
        space = _SPACE.match(self.text, self.end)
        assert space is not None
        self.start = space.end()
        match = _TOKEN.match(self.text, self.start)
        if match is not None:
            self.kind, self.token, self.end = match.lastgroup or "", match[0], match.end()
        elif self.start == len(self.text):
            self.kind, self.token = "end", ""
        else:
            self.token = self.text[self.start :].split(maxsplit=1)[0][:_SHOWN]
            raise self.unexpected("a name, number, string or type")
        return left

    def error(self, sentence: str, start: int | None = None) -> InvalidInput:
        """The exception for the line at ``start``, by default that of the present token."""
        return InvalidInput(f"parse: line {self.line(start)}: {sentence}")

    def unexpected(self, wanted: str) -> InvalidInput:
        found = repr(self.token) if self.token else "the end of the text"
        return self.error(f"found {found} but expected {wanted}")

    def line(self, start: int | None = None) -> int:
        return self.text.count("\n", 0, self.start if start is None else start) + 1

    def accept(self, token: str) -> bool:
        if self.token == token:
            self.advance()
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise self.unexpected(repr(token))

    def string(self) -> str:
        try:
            found: str = json.loads(self.token, strict=False)
        except ValueError:
            raise self.unexpected("a string as in JSON") from None
        self.advance()
        return found

    def name(self, what: str = "a name") -> str:
        if self.kind == "string":
            return self.string()
        if self.kind != "name":
            raise self.unexpected(what)
        return self.advance()

    def key(self, taken: dict[str, Any]) -> str:
        """``name =`` of an attribute or output."""
        start = self.start
        name = self.name()
        if name in taken:
            raise self.error(f"{name!r} is given twice", start)
        self.expect("=")
        return name

    def until(self, close: str) -> Iterator[None]:
        """One turn per item of a list with commas between items, up to and with ``close``."""
        while not self.accept(close):
            yield
            if not self.accept(","):
                if self.token != close:
                    raise self.unexpected(f"',' or {close!r}")
                self.advance()
                return

    # --- graphs ----------------------------------------------------------------------------------

    def parse_all(self) -> Graph:
        graph = self.graph({})
        if self.kind != "end":
            raise self.unexpected("the end of the text")
        return graph

    def graph(self, outer: Scope) -> Graph:
        self.expect("graph")
        self.expect("@")
        graph = Graph(self.name(), self.dialect)
        scope = dict(outer)
        self.expect("(")
        for _ in self.until(")"):
            name = self.new_name(scope)
            scope[name] = graph.add_input(name, self.type())
        self.expect("{")
        while not self.accept("return"):
            graph.append(self.op(scope))
        for _ in self.until("}"):
            key = self.key(graph.outputs)
            graph.outputs[key] = self.value(scope)
        prefix = graph.counter.prefix = self.dialect.prefix
        endings = [v.name.removeprefix(prefix) for v in graph.all_values()]
        graph.counter._next = max((int(e) for e in endings if e.isdecimal()), default=0)
        return graph

    def new_name(self, *scopes: dict[str, Any]) -> str:
        """``%name:`` of a value that begins here."""
        self.expect("%")
        start = self.start
        name = self.name()
        if any(name in scope for scope in scopes):
            raise self.error(f"%{name} is defined twice", start)
        self.expect(":")
        return name

    def type(self) -> Any:
        if self.kind != "typed":
            raise self.unexpected("a type")
        try:
            found = self.dialect.parse_type(self.token)
        except ValueError:
            raise self.unexpected("a type") from None
        self.advance()
        return found

    def value(self, scope: Scope) -> Value:
        self.expect("%")
        start = self.start
        name = self.name()
        if name not in scope:
            raise self.error(f"%{name} is used before it is defined", start)
        return scope[name]

    def op(self, scope: Scope) -> Op:
        start = self.start
        results = self.results(scope)
        opcode = self.name("an op or 'return'")
        self.expect("(")
        operands = [self.value(scope) for _ in self.until(")")]
        attrs = self.attrs(scope)
        try:
            full = self.complete(opcode, operands, attrs, list(results.values()))
        except InvalidOp as error:
            raise type(error)(f"{error}\n  in line {self.line(start)} of the text") from None
        op = Op(opcode, operands, results.values(), full, loc=self.location())
        for name, value in zip(results, op.results, strict=True):
            value.name = name
            scope[name] = value
        return op

    def results(self, scope: Scope) -> dict[str, Any]:
        """Types of the op's results, by name, up to and with ``=``; {} if the op has none."""
        results: dict[str, Any] = {}
        while self.token == "%":
            name = self.new_name(scope, results)
            results[name] = self.type()
            if not self.accept(","):
                self.expect("=")
                break
        return results

    def complete(
        self, opcode: str, operands: list[Value], attrs: dict[str, Any], declared: list[Any]
    ) -> dict[str, Any]:
        row: OpDef = self.dialect[opcode]
        types = [v.type for v in operands]
        full = row.complete(types, attrs)
        made = list(row.infer(types, full))
        if made != declared:
            raise InvalidOp(
                f"{opcode}: results are {[str(t) for t in declared]} but its row makes "
                f"{[str(t) for t in made]}"
            )
        return full

    def attrs(self, scope: Scope) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        if self.accept("{"):
            for _ in self.until("}"):
                key = self.key(attrs)
                attrs[key] = self.literal()
        if self.accept("with"):
            while not self.accept("end"):
                key = self.key(attrs)
                attrs[key] = self.graph(scope)
        return attrs

    def location(self) -> Location | None:
        if not self.accept("at"):
            return None
        file = self.name("a file's name")
        self.expect(":")
        if not self.token.isdecimal():
            raise self.unexpected("a line number")
        return Location(file, int(self.advance()))

    def literal(self) -> Any:
        if self.kind == "string":
            return self.string()
        if self.kind == "number":
            text = self.advance()
            return float(text) if re.search(r"[.eEn]", text) else int(text)
        if self.kind == "typed":
            return self.type()
        if self.accept("("):
            return tuple([self.literal() for _ in self.until(")")])
        if self.kind == "name" and self.token in _WORDS:
            return _WORDS[self.advance()]
        raise self.unexpected("a literal")
