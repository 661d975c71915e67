"""The body of a kernel function: allocations, instructions, loops, comments."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidInput, NotSupported
from nkigen_lite.nki_ir.access import Access, Accesses, is_reshapable
from nkigen_lite.nki_ir.emit.calls import nki_shape, nl_dtype
from nkigen_lite.nki_ir.emit.literals import Literals
from nkigen_lite.nki_ir.emit.names import Names
from nkigen_lite.nki_ir.emit.text import LINE_LENGTH, Expr, call, shape_text, wrapped
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.types import ON_CHIP, MemorySpace

_BUFFERS = {"hbm": "nl.hbm", "sbuf": "nl.sbuf", "psum": "nl.psum"}


class Spelling:
    """The names and view expressions of one kernel's values."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.accesses = Accesses()

    def value(self, value: Value) -> Expr:
        name = self.names.of.get(id(value))
        if name is not None:
            return Expr(name)
        op = value.producer
        if op is not None and op.opcode == "previous":
            return Expr(self.names.before[id(op.inputs[0])][op.attrs["by"] - 1])
        template = NKI[op.opcode].nki if op is not None else None
        assert op is not None, f"%{value.name} has no name"
        assert template is not None, f"row {op.opcode!r} does not say how NKI writes it"
        return template(op, self)

    def access(self, value: Value) -> Access:
        return self.accesses.of(value)

    def can_reshape(self, value: Value) -> bool:
        return is_reshapable(self.access(value))


class Body:
    """Writes a graph's ops as statements.

    Args:
        names: the kernel's inputs have theirs already.
        literals: names of long numbers; also told of every number that is written.
        returned: ids of the buffers that the kernel returns.
        parts: a line for each segment of the plan, for comments.
        comments: whether to name source lines where no segment says it.
        addresses: byte in each partition where a tile begins, by the ``alloc`` op.
    """

    def __init__(
        self,
        names: Names,
        literals: Literals,
        *,
        returned: set[int],
        parts: Sequence[str] = (),
        comments: bool = True,
        addresses: Mapping[Op, int] | None = None,
    ) -> None:
        self.names = names
        self.literals = literals
        self.spelling = Spelling(names)
        self.returned = returned
        self.parts = parts
        self.comments = comments
        self.addresses = addresses or {}
        self.rotations: dict[int, int] = {}  # of a buffer, so far in the text
        self.depths: dict[int, int] = {}  # of the loops around a buffer
        self.lines: list[str] = []
        self.level = 1
        self.place = ""
        self.loops: list[tuple[str, int]] = []  # the names and steps of the loops around

    def block(self, graph: Graph) -> None:
        """All ops of a graph."""
        for op in graph.ops:
            self.locate(op)
            _STATEMENTS.get(op.opcode, Body.engine_op)(self, op)

    def engine_op(self, op: Op) -> None:
        row = NKI[op.opcode]
        assert row.nki is not None, f"row {op.opcode!r} does not say how NKI writes it"
        if not row.alias:
            expression = row.nki(op, self.spelling)
            self.literals.note(expression)
            self.lines += wrapped(self.literals.named(expression), self.level)

    def alloc(self, op: Op) -> None:
        value = op.result
        self.names.define(value)
        self.names.define_before(value, _oldest(value))
        self.rotations[id(value)] = 0
        self.depths[id(value)] = len(self.loops)
        returned = id(value) in self.returned
        memory = "nl.shared_hbm" if returned else _BUFFERS[op.attrs["memory"]]
        self.buffer(value, memory, self.address(op))

    def buffer(self, value: Value, memory: str, address: Expr | None = None) -> None:
        """``name = nl.ndarray(...)``."""
        items = [
            Expr(shape_text(nki_shape(value.type))),
            Expr(f"nl.{nl_dtype(value)}").named("dtype"),
            Expr(memory).named("buffer"),
        ]
        if address is not None:
            items.append(address.named("address"))
        name = self.names.of[id(value)]
        self.lines += wrapped(call("nl.ndarray", items), self.level, f"{name} = ")

    def address(self, op: Op) -> Expr | None:
        """``(0, byte)``; copies of a rotating buffer lie side by side and take turns in a loop.

        Raises:
            InvalidInput: the address is not one that a tile on chip can have.
        """
        byte = self.addresses.get(op)
        if byte is None:
            return None
        kind = op.result.type
        if kind.memory not in ON_CHIP or byte < 0 or byte % kind.dtype.itemsize:
            raise InvalidInput(
                f"emit_nki: address of %{op.result.name}, {kind}, is {byte} but must be a byte on "
                f"chip, a multiple of {kind.dtype.itemsize}"
            )
        copies = op.attrs["num_buffers"]
        if copies == 1 or not self.loops or _is_rotated(op.result):
            return Expr(f"(0, {byte})")
        index, step = self.loops[-1]
        turn = f"{index} // {step} % {copies}" if step > 1 else f"{index} % {copies}"
        return Expr(f"(0, {byte} + {turn} * {kind.partition_bytes})")

    def rotate(self, op: Op) -> None:
        """A new tile under the buffer's name; those before it keep names as well."""
        buffer = op.inputs[0]
        alloc = buffer.producer
        assert alloc is not None
        turn = self.rotations[id(buffer)] = self.rotations[id(buffer)] + 1
        names = [self.names.of[id(buffer)], *self.names.before[id(buffer)]]
        for by in range(min(turn, len(names) - 1), 0, -1):
            self.lines.append("    " * self.level + f"{names[by]} = {names[by - 1]}")
        address = self.address(alloc)
        if address is not None:
            inside = len(self.loops) > self.depths[id(buffer)]
            turns = f"({self.loops[-1][0]} + {turn})" if inside else f"{turn}"
            size, copies = buffer.type.partition_bytes, alloc.attrs["num_buffers"]
            address = Expr(f"(0, {self.addresses[alloc]} + {turns} % {copies} * {size})")
        self.buffer(buffer, _BUFFERS[alloc.attrs["memory"]], address)

    def loop(self, op: Op) -> None:
        body: Graph = op.attrs["body"]
        extent, step = op.attrs["extent"], op.attrs["step"]
        self.names.scopes.append(set())
        used = body.inputs[0].has_uses or self._rotates(body)
        index = self.names.define(body.inputs[0]) if used else "_"
        bounds = f"{extent}" if step == 1 else f"0, {extent}, {step}"
        self.lines.append("    " * self.level + f"for {index} in range({bounds}):")
        self.level += 1
        self.loops.append((index, step))
        before = len(self.lines)
        self.block(body)
        if not any(not line.lstrip().startswith("#") for line in self.lines[before:]):
            self.lines.append("    " * self.level + "pass")
        self.loops.pop()
        self.level -= 1
        self.names.scopes.pop()

    def _rotates(self, body: Graph) -> bool:
        """Whether an address inside, not in an inner loop, follows the loop's index."""
        makers = (op.inputs[0].producer if op.opcode == "rotate" else op for op in body.ops)
        return any(op in self.addresses and op.attrs["num_buffers"] > 1 for op in makers if op)

    def nothing(self, op: Op) -> None:
        """A dealloc: a buffer's life ends with its last use."""

    def locate(self, op: Op) -> None:
        """Say which segment begins, or else where statements come from when that changes."""
        if op.part is not None and op.part < len(self.parts):
            if self.lines and op.part:
                self.lines.append("")
            self.comment(f"{op.part + 1}. {self.parts[op.part]}")
        if self.parts or op.opcode in _SILENT or NKI[op.opcode].alias:
            return
        place = f"{os.path.basename(op.loc.file)}:{op.loc.line}" if op.loc else ""
        if self.comments and place and place != self.place:
            self.comment(place)
        self.place = place or self.place

    def comment(self, text: str) -> None:
        """A comment line, shortened to the width of a line."""
        pad = "    " * self.level
        self.lines.append(f"{pad}# {shortened(text, LINE_LENGTH - len(pad) - 2)}")

    def output(self, name: str, value: Value) -> str:
        """The name of an output's buffer, which must be a whole tensor in HBM."""
        known = self.names.of.get(id(value))
        if known is None or value.type.memory is not MemorySpace.HBM:
            raise NotSupported(
                f"emit_nki: output {name!r} is %{value.name}, {value.type}, but must be a whole "
                "buffer in hbm"
            )
        return known


_SILENT = ("dealloc", "fori_loop")
_STATEMENTS: dict[str, Callable[[Body, Op], None]] = {
    "alloc": Body.alloc,
    "dealloc": Body.nothing,
    "rotate": Body.rotate,
    "fori_loop": Body.loop,
}


def _is_rotated(buffer: Value) -> bool:
    """Whether the program says when the buffer's next copy is taken."""
    return any(op.opcode == "rotate" for op in buffer.uses)


def _oldest(buffer: Value) -> int:
    """How many rotations ago the oldest copy was in use that is still read."""
    return max((op.attrs["by"] for op in buffer.uses if op.opcode == "previous"), default=0)


def shortened(text: str, width: int) -> str:
    """The text, cut to a width with dots at its end."""
    return text if len(text) <= width else f"{text[: width - 4].rstrip()} ..."
