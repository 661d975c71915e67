"""Writing a lowered kernel as NKI source.

One nki_ir engine op becomes one ``nki.isa`` call, a loop one ``for`` over ``range``; views are
written inside the operands. The file can be imported without the vendor package (to read, lint or
inspect it); running it needs NKI 0.4 to 0.6, whose parser takes straight-line calls and ``range``
loops, which is all that a kernel body has here. What a register decides is a function that
``nl.fori_loop`` or ``nl.while_loop`` runs, which came with NKI 0.6.
"""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Callable, Iterator, Sequence

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidOp, NotSupported
from nkigen_lite.nki_ir.access import Access, Accesses, is_reshapable
from nkigen_lite.nki_ir.emit.calls import nki_shape, nl_dtype
from nkigen_lite.nki_ir.emit.text import LINE_LENGTH, Expr, call, shape_text, wrapped
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.types import INDEX, MemorySpace

_RESERVED = frozenset({"nki", "ncc", "nisa", "nl", "range", "float", "INF", "NAN"})
_BUFFERS = {"hbm": "nl.hbm", "sbuf": "nl.sbuf", "psum": "nl.psum"}
_CONSTANTS = {"INF": 'INF = float("inf")', "NAN": 'NAN = float("nan")'}
_IMPORTS = """\
try:
    import nki
    import nki.isa as nisa
    import nki.language as nl
except ModuleNotFoundError:  # without the vendor package this file can be read, but not run
    nki = nisa = nl = None
"""
_COLLECTIVES = "    import nki.collectives as ncc\n"


def emit_nki(graph: Graph, *, header: Sequence[str] = (), comments: bool = True) -> str:
    """The kernel as the text of a Python module that defines a function of the graph's name.

    The function takes the graph's HBM inputs in their order, without the buffers that are outputs
    (``<output>_out``): it makes those itself and returns the outputs in their order, one tensor or
    a tuple. Bool tensors are uint8 in NKI. The same graph gives the same text.

    Args:
        graph: a kernel.
        header: lines to put on top as comments.
        comments: whether to name the source line where ops of another one begin.

    Raises:
        InvalidOp: the graph is not sound, or has no outputs.
        NotSupported: NKI has no form for an element type, an op or an output.
    """
    graph.check()
    if not graph.outputs:
        raise InvalidOp(f"emit_nki: kernel @{graph.name} has no outputs but must return some")
    return _Module(graph, comments).text(header)


class _Names:
    """Python names of values: valid, and unlike any other name visible at the same place."""

    def __init__(self, taken: set[str]) -> None:
        self.of: dict[int, str] = {}
        self.scopes: list[set[str]] = [taken]

    def define(self, value: Value) -> str:
        name = self.fresh(value.name)
        self.of[id(value)] = name
        return name

    def fresh(self, wanted: str) -> str:
        base = name = identifier(wanted)
        count = 1
        while any(name in scope for scope in self.scopes):
            name, count = f"{base}_{count}", count + 1
        self.scopes[-1].add(name)
        return name


def identifier(name: str) -> str:
    """``name`` with what Python identifiers cannot hold replaced."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not text or text[0].isdigit():
        text = f"t{text}"
    return f"{text}_" if keyword.iskeyword(text) or text in _RESERVED else text


class _Spelling:
    """The names and view expressions of one kernel's values."""

    def __init__(self, names: _Names) -> None:
        self.names = names
        self.accesses = Accesses()

    def value(self, value: Value) -> Expr:
        name = self.names.of.get(id(value))
        if name is not None:
            return Expr(name)
        op = value.producer
        template = NKI[op.opcode].nki if op is not None else None
        assert op is not None, f"%{value.name} has no name"
        assert template is not None, f"row {op.opcode!r} does not say how NKI writes it"
        return template(op, self)

    def access(self, value: Value) -> Access:
        return self.accesses.of(value)

    def can_reshape(self, value: Value) -> bool:
        return is_reshapable(self.access(value))


class _Module:
    def __init__(self, graph: Graph, comments: bool) -> None:
        self.graph = graph
        self.comments = comments
        self.function = identifier(graph.name)
        self.names = _Names({self.function})
        self.spelling = _Spelling(self.names)
        made = {f"{output}_out": value for output, value in graph.outputs.items()}
        self.made = [v for v in graph.inputs if made.get(v.name) is v]
        self.parameters = [v for v in graph.inputs if v not in self.made]
        self.returned = {id(v) for v in graph.outputs.values()}
        self.lines: list[str] = []
        self.level = 1
        self.place = ""

    def text(self, header: Sequence[str]) -> str:
        for value in self.graph.inputs:
            self.names.define(value)
        for value in self.made:
            self.buffer(value, "nl.shared_hbm")
        self.block(self.graph)
        results = [Expr(self.output(name, v)) for name, v in self.graph.outputs.items()]
        body = "\n".join([*self.lines, *_return(results)])
        constants = [line for name, line in _CONSTANTS.items() if re.search(rf"\b{name}\b", body)]
        parts = [
            "".join(f"# {line}".rstrip() + "\n" for item in header for line in item.splitlines()),
            self.docstring(),
            "\n",
            _IMPORTS.replace("    import nki.isa", f"{_COLLECTIVES}    import nki.isa")
            if re.search(r"\bncc\.", body)
            else _IMPORTS,
            "".join(f"\n{line}" for line in constants) + ("\n" if constants else ""),
            "\n\n",
            *[f"{line}\n" for line in self.signature()],
            f"{body}\n",
            f"\n\nif nki:\n    {self.function} = nki.jit({self.function})\n",
        ]
        return "".join(parts)

    def docstring(self) -> str:
        inputs = [_declared(self.names.of[id(v)], v) for v in self.parameters]
        outputs = [_declared(identifier(name), v) for name, v in self.graph.outputs.items()]
        lines = [f'"""NKI kernel {self.function}.', "", "Inputs, in HBM:", *inputs]
        lines += ["", "Outputs, in HBM:", *outputs, '"""']
        return "\n".join(lines) + "\n"

    def signature(self) -> list[str]:
        parameters = [Expr(self.names.of[id(v)]) for v in self.parameters]
        return wrapped(call(self.function, parameters), 0, "def ", ":")

    def output(self, name: str, value: Value) -> str:
        """The name of an output's buffer, which must be a whole tensor in HBM."""
        known = self.names.of.get(id(value))
        if known is None or value.type.memory is not MemorySpace.HBM:
            raise NotSupported(
                f"emit_nki: output {name!r} is %{value.name}, {value.type}, but must be a whole "
                "buffer in hbm"
            )
        return known

    def block(self, graph: Graph) -> None:
        for op in graph.ops:
            _STATEMENTS.get(op.opcode, _Module.engine_op)(self, op)

    def engine_op(self, op: Op) -> None:
        row = NKI[op.opcode]
        assert row.nki is not None, f"row {op.opcode!r} does not say how NKI writes it"
        if row.alias:
            return
        self.locate(op)
        self.lines += wrapped(row.nki(op, self.spelling), self.level)

    def alloc(self, op: Op) -> None:
        value = op.result
        self.locate(op)
        self.names.define(value)
        returned = id(value) in self.returned
        self.buffer(value, "nl.shared_hbm" if returned else _BUFFERS[op.attrs["memory"]])

    def buffer(self, value: Value, memory: str) -> None:
        items = [
            Expr(shape_text(nki_shape(value.type))),
            Expr(f"nl.{nl_dtype(value)}").named("dtype"),
            Expr(memory).named("buffer"),
        ]
        name = self.names.of[id(value)]
        self.lines += wrapped(call("nl.ndarray", items), self.level, f"{name} = ")

    def loop(self, op: Op) -> None:
        body: Graph = op.attrs["body"]
        extent, step = op.attrs["extent"], op.attrs["step"]
        self.names.scopes.append(set())
        index = self.names.define(body.inputs[0]) if body.inputs[0].has_uses else "_"
        bounds = f"{extent}" if step == 1 else f"0, {extent}, {step}"
        self.suite(f"for {index} in range({bounds}):", body)
        self.names.scopes.pop()

    def register(self, op: Op) -> None:
        self.locate(op)
        name, given = self.names.define(op.result), op.attrs["value"]
        items = [] if given is None else [Expr(str(given)).named("x")]
        self.lines += wrapped(call("nisa.register_alloc", items), self.level, f"{name} = ")

    def rank_id(self, op: Op) -> None:
        self.locate(op)
        self.lines.append("    " * self.level + f"{self.names.define(op.result)} = ncc.rank_id()")

    def dynamic_loop(self, op: Op) -> None:
        function = self.function_of(op.attrs["body"], op.attrs["body"].inputs)
        bound = str(self.spelling.value(op.inputs[0]))
        step = [] if op.attrs["step"] == 1 else [Expr(str(op.attrs["step"])).named("step")]
        self.call("nl.fori_loop", Expr("0"), Expr(bound), Expr(function), *step)

    def while_loop(self, op: Op) -> None:
        condition = str(self.spelling.value(op.inputs[0]))
        function = self.function_of(op.attrs["body"], (), condition)
        self.lines.append("    " * (self.level + 1) + f"return {condition}")
        self.call("nl.while_loop", Expr(condition), Expr(function))

    def if_else(self, op: Op) -> None:
        """An index is a number while the kernel is traced; a register of 0 or 1 is a loop's bound.

        NKI has no branch, so the register for the other region is worked out in SBUF.
        """
        condition, then, otherwise = op.inputs[0], op.attrs["then"], op.attrs["otherwise"]
        held = str(self.spelling.value(condition))
        if condition.type == INDEX:
            self.suite(f"if {held} > 0:", then)
            if otherwise.ops:
                self.suite("else:", otherwise)
            return
        runs = [(then, held)]
        if otherwise.ops:
            runs.append((otherwise, self.negated(held)))
        for region, register in runs:
            function = self.function_of(region, ())
            self.call("nl.fori_loop", Expr("0"), Expr(register), Expr(function))

    def negated(self, register: str) -> str:
        """The name of a new register that holds 1 - ``register``."""
        tile, made = self.names.fresh(f"{register}_word"), self.names.fresh(f"not_{register}")
        self.lines += [
            "    " * self.level + line
            for line in (
                f"{tile} = nl.ndarray((1, 1), dtype=nl.int32, buffer=nl.sbuf)",
                f"nisa.register_store(dst={tile}, src={register})",
                f"nisa.tensor_scalar(dst={tile}, data={tile}, op0=nl.subtract, operand0=1.0, "
                "reverse0=True, engine=nisa.engine.vector)",
                f"{made} = nisa.register_alloc()",
                f"nisa.register_load(dst={made}, src={tile})",
            )
        ]
        return made

    def function_of(self, region: Graph, inputs: Sequence[Value], parameter: str = "") -> str:
        """Define a function of a region; its name.

        It takes the region's inputs, a parameter that is named already, or the unused index of
        the loop that runs it.
        """
        function = self.names.fresh(region.name)
        self.names.scopes.append(set())
        given = parameter or ", ".join(self.names.define(v) for v in inputs) or "_"
        self.names.scopes.append(set())
        self.suite(f"def {function}({given}):", region)
        self.names.scopes[-2:] = []
        return function

    def suite(self, head: str, region: Graph) -> None:
        """``head`` and the region's statements, indented."""
        self.lines.append("    " * self.level + head)
        self.names.scopes.append(set())
        self.level += 1
        before = len(self.lines)
        self.block(region)
        if not any(not line.lstrip().startswith("#") for line in self.lines[before:]):
            self.lines.append("    " * self.level + "pass")
        self.level -= 1
        self.names.scopes.pop()

    def call(self, function: str, *items: Expr) -> None:
        self.lines += wrapped(call(function, items), self.level)

    def nothing(self, op: Op) -> None:
        """A dealloc: a buffer's life ends with its last use."""

    def locate(self, op: Op) -> None:
        """Say where the following statements come from, when that changes."""
        place = f"{os.path.basename(op.loc.file)}:{op.loc.line}" if op.loc else ""
        if self.comments and place and place != self.place:
            self.lines.append("    " * self.level + f"# {place}")
        self.place = place or self.place


_STATEMENTS: dict[str, Callable[[_Module, Op], None]] = {
    "alloc": _Module.alloc,
    "dealloc": _Module.nothing,
    "fori_loop": _Module.loop,
    "register_alloc": _Module.register,
    "rank_id": _Module.rank_id,
    "dynamic_loop": _Module.dynamic_loop,
    "while_loop": _Module.while_loop,
    "if_else": _Module.if_else,
}


def _declared(name: str, value: Value) -> str:
    stored = " (bool)" if value.type.dtype.value == "bool" else ""
    return f"    {name}: {shape_text(value.type.shape)} {nl_dtype(value)}{stored}"


def _return(results: Sequence[Expr]) -> Iterator[str]:
    line = f"    return {', '.join(map(str, results))}"
    if len(line) <= LINE_LENGTH or len(results) == 1:
        yield line
    else:
        yield from wrapped(call("", results), 1, "return ")
