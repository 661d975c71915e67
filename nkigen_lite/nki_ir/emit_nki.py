"""Writing a lowered kernel as NKI source.

One nki_ir engine op becomes one ``nki.isa`` call, a loop one ``for`` over ``range``; views are
written inside the operands. What a kernel does more than once, equal up to tiles and numbers, is a
function beside it. The file can be imported without the vendor package (to read, lint or inspect
it); running it needs NKI 0.4 to 0.6, whose parser takes calls and ``range`` loops, which is all
that a kernel body has here. What a register decides is a function that ``nl.fori_loop`` or
``nl.while_loop`` runs, which came with NKI 0.6.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit.body import Body, shortened
from nkigen_lite.nki_ir.emit.calls import nl_dtype
from nkigen_lite.nki_ir.emit.folding import Folding, flat
from nkigen_lite.nki_ir.emit.host import HOST_USES, Host, Spec, host_text, import_lines, specs_text
from nkigen_lite.nki_ir.emit.literals import Literals
from nkigen_lite.nki_ir.emit.names import Names, identifier
from nkigen_lite.nki_ir.emit.text import LINE_LENGTH, Expr, call, shape_text, wrapped
from nkigen_lite.nki_ir.emit.units import Lines, without_idle

__all__ = ["Form", "emit_nki", "identifier"]

# What the file defines beside the kernel.
_MODULE_NAMES = frozenset(
    {
        *("nki", "ncc", "nisa", "nl", "np", "sys", "zlib", "base64", "ml_dtypes", "Path"),
        *("SimpleNamespace", "range", "float", "INF", "NAN"),
        *("agrees", "bound_constants", "constants", "finished", "main", "missing", "of_kind"),
        *("in_order", "prepared", "random_array", "reference", "IN_ORDER", "REORDERED"),
        *("ARGUMENTS", "BOUND", "INPUTS", "OUTPUTS", "PACKED", "RESULTS", "STORED", "TOLERANCES"),
    }
)
_KERNEL_USES = ("nki", "ncc", "nisa", "nl", "range", "INF", "NAN")  # of them, in kernels
_PLAN = "Plan: predicted time of each part, its loops (axis by block), what it computes."
_CONSTANTS = {"INF": 'INF = float("inf")', "NAN": 'NAN = float("nan")'}
_IMPORTS = """\
try:
    import nki
    import nki.isa as nisa
    import nki.language as nl
except ModuleNotFoundError as error:  # without the vendor package this file only can be read
    from types import SimpleNamespace

    nki, nisa, nl = SimpleNamespace(jit=lambda kernel: kernel, error=str(error)), None, None
"""
_COLLECTIVES = "    import nki.collectives as ncc\n"


@dataclass(frozen=True)
class Form:
    """What is known of a kernel beyond its graph, to make the file readable and runnable.

    Attributes:
        header: lines for the top.
        names: what people call values, by the beginnings of their names in the IR.
        parts: a line for each segment of the plan, in order.
        comments: whether to name source lines, where ``parts`` says nothing.
        host: what callers give and get; by default what the kernel itself takes and returns.
    """

    header: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[str] = ()
    comments: bool = True
    host: Host | None = None


def emit_nki(
    graph: Graph, form: Form | None = None, *, addresses: Mapping[Op, Sequence[int]] | None = None
) -> str:
    """The kernel as the text of a Python module that defines a function of the graph's name.

    The function takes the graph's HBM inputs in their order, without the buffers that are outputs
    (``<output>_out``): it makes those itself and returns the outputs in their order, one tensor or
    a tuple. Bool tensors are uint8 in NKI. Beside it the file has ``run_<name>``, which takes
    numpy or torch arrays, and can be run. The same arguments give the same text.

    Args:
        graph: a kernel.
        form: how to present it.
        addresses: bytes in each partition at which the copies (``num_buffers``) of a tile begin,
            by the ``alloc`` op that makes it. Tiles without an entry are placed by NKI.

    Raises:
        InvalidOp: the graph is not sound, or has no outputs.
        InvalidInput: an address is not one that the tile can have.
        NotSupported: NKI has no form for an element type, an op or an output.
    """
    graph.check()
    if not graph.outputs:
        raise InvalidOp(f"emit_nki: kernel @{graph.name} has no outputs but must return some")
    return _Module(graph, form or Form(), addresses or {}).text()


class _Module:
    def __init__(self, graph: Graph, form: Form, addresses: Mapping[Op, Sequence[int]]) -> None:
        self.graph = graph
        self.form = form
        self.addresses = addresses
        self.function = identifier(graph.name, {*_MODULE_NAMES, *dir(builtins)})
        made = {f"{output}_out": value for output, value in graph.outputs.items()}
        self.made = {v.name.removesuffix("_out"): v for v in graph.inputs if made.get(v.name) is v}
        buffers = {id(v) for v in self.made.values()}
        self.parameters = [v for v in graph.inputs if id(v) not in buffers]
        self.literals = Literals()

    def text(self) -> str:
        self.literals.settle(self.used(*self.body()))  # counted, so that now they have names
        names, written = self.body()
        lines, functions = self.folded(written, self.used(names, written))
        kernel = "\n".join(lines)
        body = "\n".join([kernel, *functions])
        constants = [line for name, line in _CONSTANTS.items() if re.search(rf"\b{name}\b", body)]
        constants += self.literals.lines()
        inputs = {names.of[id(v)]: _spec(v) for v in self.parameters}
        outputs = {identifier(name): _spec(v) for name, v in self.graph.outputs.items()}
        called = {v.name: names.of[id(v)] for v in self.parameters}
        host = self.form.host or _plain_host(inputs, outputs)
        taken = {self.function, *_MODULE_NAMES, *HOST_USES}
        for name in host.arguments:  # weights that the kernel takes packed are no parameters
            called.setdefault(name, identifier(name, {*taken, *called.values()}))
        host = host.renamed(called)
        blocks = [
            "\n".join([*self.docstring(inputs, outputs)]),
            "from __future__ import annotations",
            "\n".join(import_lines(host)),
            _imports(body),
            "\n".join(constants),
            "# What the kernel takes and returns, in HBM: shapes and element types.\n"
            + specs_text("INPUTS", inputs)
            + specs_text("OUTPUTS", outputs),
        ]
        head = "\n\n".join(block.strip("\n") for block in blocks if block)
        signature = "\n".join(self.signature(names))
        rest = host_text(self.function, host)
        return "\n\n\n".join([head, *functions, f"@nki.jit\n{signature}\n{kernel}", rest])

    def used(self, names: Names, lines: Lines) -> set[str]:
        """All names that a body and its parameters have."""
        return {self.function, *names.of.values(), *re.findall(r"\w+", "\n".join(flat(lines)))}

    def folded(self, lines: Lines, used: set[str]) -> tuple[list[str], list[str]]:
        """The kernel's body with calls for what repeats, and the functions that it calls."""
        taken = {*used, *_MODULE_NAMES, *HOST_USES, *self.literals.names.values()}
        known = {*_KERNEL_USES, *self.literals.names.values()}
        folding = Folding(taken, known, self.form.names)
        body = folding.fold(lines)
        return body, ["\n".join(function) for function in folding.functions]

    def body(self) -> tuple[Names, Lines]:
        """The names of values, and the lines of the kernel's body."""
        names = Names({self.function}, self.form.names)
        for value in self.parameters:
            names.define(value, identifier(value.name, {self.function, *_MODULE_NAMES, *HOST_USES}))
        body = Body(
            self.graph,
            names,
            self.literals,
            returned={id(v) for v in self.graph.outputs.values()},
            parts=self.form.parts,
            comments=self.form.comments,
            addresses=self.addresses,
        )
        for output, value in self.made.items():
            names.define(value, output)
            body.buffer(value, "nl.shared_hbm")
        body.block(self.graph)
        results = [Expr(body.output(name, v)) for name, v in self.graph.outputs.items()]
        return names, without_idle([*body.lines, *_return(results)])

    def docstring(self, inputs: Mapping[str, Spec], outputs: Mapping[str, Spec]) -> Iterator[str]:
        yield f'"""NKI kernel {self.function}.'
        header = [line for item in self.form.header for line in item.splitlines()]
        if header:
            yield from ("", *[_plain(line) for line in header])
        bools = {id(v) for v in self.parameters if v.type.dtype is DType.BOOL}
        yield from ("", "Inputs, in HBM:" if inputs else "Inputs: none.")
        packings = self.form.host.packings if self.form.host else {}
        for value, (name, spec) in zip(self.parameters, inputs.items(), strict=True):
            of, *_ = packings.get(value.name, ("",))
            order = f" ({of} in another order)" if of else ""
            yield _declared(name, spec, is_bool=id(value) in bools) + order
        yield from ("", "Outputs, in HBM:")
        for value, (name, spec) in zip(self.graph.outputs.values(), outputs.items(), strict=True):
            yield _declared(name, spec, is_bool=value.type.dtype is DType.BOOL)
        if self.form.parts:
            yield from ("", _PLAN)
            for number, line in enumerate(self.form.parts, 1):
                yield _plain(shortened(f"  {number:3}. {line}", LINE_LENGTH))
        yield '"""'

    def signature(self, names: Names) -> list[str]:
        parameters = [Expr(names.of[id(v)]) for v in self.parameters]
        return wrapped(call(self.function, parameters), 0, "def ", ":")


def _imports(body: str) -> str:
    """The vendor's modules that a kernel's body names."""
    if not re.search(r"\bncc\.", body):
        return _IMPORTS
    return _IMPORTS.replace("    import nki.isa", f"{_COLLECTIVES}    import nki.isa")


def _spec(value: Value) -> Spec:
    return value.type.shape, nl_dtype(value)


def _plain_host(inputs: Mapping[str, Spec], outputs: Mapping[str, Spec]) -> Host:
    """Callers give and get what the kernel takes and returns."""

    def stored(specs: Mapping[str, Spec]) -> dict[str, Spec]:
        # numpy stores tfloat32 as float32.
        return {n: (shape, dtype.replace("tfloat", "float")) for n, (shape, dtype) in specs.items()}

    return Host(stored(inputs), stored(outputs))


def _declared(name: str, spec: Spec, *, is_bool: bool) -> str:
    shape, dtype = spec
    return f"    {name}: {shape_text(shape)} {dtype}{' (bool)' if is_bool else ''}"


def _plain(text: str) -> str:
    """Text that may stand in a docstring."""
    return text.replace("\\", "/").replace('"""', "'''").rstrip()


def _return(results: Sequence[Expr]) -> Iterator[str]:
    line = f"    return {', '.join(map(str, results))}"
    if len(line) <= LINE_LENGTH or len(results) == 1:
        yield line
    else:
        yield from wrapped(call("", results), 1, "return ")
