"""Reading the textual form back: ``parse(graph.dump(), dialect)`` equals ``graph``."""

from __future__ import annotations

import json
import re
from typing import Any

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.core.location import Location
from nkigen_lite.core.registry import Dialect
from nkigen_lite.errors import InvalidInput, InvalidOp

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<typed>[A-Za-z_]*<[^<>]*>)
    | (?P<number>[-+]?(?:\d+\.\d*(?:[eE][-+]?\d+)?|\.\d+|\d+[eE][-+]?\d+|\d+|inf\b))
    | (?P<name>[A-Za-z_][A-Za-z0-9_.$-]*)
    | (?P<mark>[%@(){}=,:\[\]])
    )""",
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


def parse(text: str, dialect: Dialect[Any]) -> Graph:
    """The graph that ``text`` describes, checked op by op against the dialect's rows.

    Raises:
        InvalidInput: the text is not well formed; says line and what was expected.
        InvalidOp: an op breaks the rule of its row.
    """
    return _Parser(text, dialect).parse_all()


class _Parser:
    def __init__(self, text: str, dialect: Dialect[Any]) -> None:
        self.text = text
        self.dialect = dialect
        self.pos = 0
        self.kind = ""
        self.token = ""
        self.start = 0
        self.advance()

    def advance(self) -> str:
        """Step to the next token; the one just left."""
        left = self.token
        match = _TOKEN.match(self.text, self.pos)
        if match is None:
            rest = self.text[self.pos :].strip()
            if rest:
                self.start = (
                    self.pos + len(self.text[self.pos :]) - len(self.text[self.pos :].lstrip())
                )
                raise self.error(f"a token, not {rest[:12]!r}")
            self.kind, self.token = "end", ""
            return left
        self.kind = match.lastgroup or ""
        self.token = match.group(self.kind)
        self.start, self.pos = match.start(self.kind), match.end()
        return left

    def error(self, wanted: str) -> InvalidInput:
        line = self.text.count("\n", 0, self.start) + 1
        found = self.token or "the end of the text"
        return InvalidInput(f"parse: line {line}: found {found!r} but expected {wanted}")

    def expect(self, token: str) -> None:
        if self.token != token or self.kind == "string":
            raise self.error(repr(token))
        self.advance()

    def accept(self, token: str) -> bool:
        if self.token == token and self.kind != "string":
            self.advance()
            return True
        return False

    def name(self) -> str:
        if self.kind == "string":
            return str(json.loads(self.advance()))
        if self.kind != "name":
            raise self.error("a name")
        return self.advance()

    def parse_all(self) -> Graph:
        graph = self.graph({})
        if self.kind != "end":
            raise self.error("the end of the text")
        return graph

    def graph(self, outer: dict[str, Value]) -> Graph:
        self.expect("graph")
        self.expect("@")
        graph = Graph(self.name(), self.dialect)
        graph.counter.prefix = self.dialect.prefix
        scope = dict(outer)
        self.expect("(")
        while not self.accept(")"):
            name = self.value_name()
            scope[name] = graph.add_input(name, self.type())
            self.accept(",")
        self.expect("{")
        while not self.accept("return"):
            graph.append(self.op(scope))
        while not self.accept("}"):
            key = self.name()
            self.expect("=")
            graph.outputs[key] = self.value(scope)
            self.accept(",")
        used = {v.name for v in graph.all_values()}
        while graph.counter.prefix + str(graph.counter._next + 1) in used:
            graph.counter._next += 1
        return graph

    def value_name(self) -> str:
        self.expect("%")
        name = self.name()
        self.expect(":")
        return name

    def type(self) -> Any:
        if self.kind == "typed":
            return self.dialect.parse_type(self.advance())
        if self.kind == "name":
            return self.dialect.parse_type(self.advance())
        raise self.error("a type")

    def value(self, scope: dict[str, Value]) -> Value:
        self.expect("%")
        name = self.name()
        if name not in scope:
            raise InvalidInput(f"parse: %{name} is used before it is defined")
        return scope[name]

    def op(self, scope: dict[str, Value]) -> Op:
        results: list[tuple[str, Any]] = []
        while self.token == "%":
            name = self.value_name()
            results.append((name, self.type()))
            if not self.accept(","):
                self.expect("=")
                break
        opcode = self.name()
        self.expect("(")
        operands: list[Value] = []
        while not self.accept(")"):
            operands.append(self.value(scope))
            self.accept(",")
        attrs = self.attrs(scope)
        op = Op(opcode, operands, [t for _, t in results], attrs, loc=self.location())
        for (name, _), value in zip(results, op.results, strict=True):
            value.name = name
            scope[name] = value
        self.verify(op)
        return op

    def verify(self, op: Op) -> None:
        row = self.dialect[op.opcode]
        types = [v.type for v in op.inputs]
        made = row.infer(types, row.complete(types, op.attrs))
        if tuple(made) != tuple(r.type for r in op.results):
            raise InvalidOp(
                f"{op.opcode}: results are {[str(r.type) for r in op.results]} but its row makes "
                f"{[str(t) for t in made]}"
            )

    def attrs(self, scope: dict[str, Value]) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        if self.accept("{"):
            while not self.accept("}"):
                key = self.name()
                self.expect("=")
                attrs[key] = self.literal()
                self.accept(",")
        if self.accept("with"):
            while not self.accept("end"):
                key = self.name()
                self.expect("=")
                attrs[key] = self.graph(scope)
        return attrs

    def location(self) -> Location | None:
        if not self.accept("at"):
            return None
        file = self.name()
        self.expect(":")
        return Location(file, int(self.advance()))

    def literal(self) -> Any:
        if self.kind == "string":
            return json.loads(self.advance())
        if self.kind == "number":
            text = self.advance()
            return float(text) if re.search(r"[.eEn]", text) else int(text)
        if self.kind == "typed":
            return self.dialect.parse_type(self.advance())
        if self.accept("("):
            items = []
            while not self.accept(")"):
                items.append(self.literal())
                self.accept(",")
            return tuple(items)
        if self.kind == "name" and self.token in _WORDS:
            return _WORDS[self.advance()]
        raise self.error("a literal")
