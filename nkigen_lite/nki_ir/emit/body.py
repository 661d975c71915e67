"""The body of a kernel function: allocations, instructions, loops, comments."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from nkigen_lite.core.ir import Graph, Group, Op, Value
from nkigen_lite.errors import NotSupported
from nkigen_lite.nki_ir.access import Access, Accesses, is_reshapable
from nkigen_lite.nki_ir.emit.calls import nki_shape, nl_dtype
from nkigen_lite.nki_ir.emit.hints import tile_name
from nkigen_lite.nki_ir.emit.literals import Literals
from nkigen_lite.nki_ir.emit.names import Names, identifier
from nkigen_lite.nki_ir.emit.text import LINE_LENGTH, Expr, call, shape_text, wrapped
from nkigen_lite.nki_ir.emit.turns import (
    Turns,
    WrittenOut,
    byte_of,
    check_starts,
    is_rotated,
    oldest,
    rotations,
    times,
)
from nkigen_lite.nki_ir.emit.units import Homes, Lines, Unit, runs
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.nki_ir.types import INDEX, ON_CHIP, MemorySpace

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
        graph: the kernel.
        names: the kernel's inputs have theirs already.
        literals: names of long numbers; also told of every number that is written.
        returned: ids of the buffers that the kernel returns.
        parts: a line for each segment of the plan, for comments.
        comments: whether to name source lines where no segment says it.
        addresses: byte in each partition where each copy of a tile begins, by the ``alloc`` op.
    """

    def __init__(
        self,
        graph: Graph,
        names: Names,
        literals: Literals,
        *,
        returned: set[int],
        parts: Sequence[str] = (),
        comments: bool = True,
        addresses: Mapping[Op, Sequence[int]] | None = None,
    ) -> None:
        self.names = names
        self.literals = literals
        self.spelling = Spelling(names)
        self.returned = returned
        self.parts = parts
        self.comments = comments
        self.addresses = addresses or {}
        self.rotations: dict[int, Turns] = {}  # of a buffer, so far
        self.turns = WrittenOut(names)
        self.blocks: list[Graph] = []  # that are being written, outermost first
        self.lines: Lines = []
        self.level = 1
        self.place = ""
        self.begun = -1  # the segment that was told last
        self.homes = Homes(graph)
        self.units: list[Unit] = []  # those that are being written, outermost first
        self.indices: list[str] = []
        # The indices of the loops around, in trips; none where run time decides.
        self.loops: list[str | None] = []

    def block(self, graph: Graph) -> None:
        """All ops of a graph."""
        self.blocks.append(graph)
        self.ops(graph.ops, self.units[-1].group if self.units else None)
        self.blocks.pop()

    def ops(self, ops: Sequence[Op], inside: Group | None) -> None:
        """Ops of one region that are in the group ``inside``."""
        for group, members in runs(ops, inside):
            if group is not None:
                self.locate(members[0])
                self.unit(group, members)
                continue
            for op in members:
                self.locate(op)
                _STATEMENTS.get(op.opcode, Body.engine_op)(self, op)

    def unit(self, group: Group, ops: Sequence[Op]) -> None:
        """The ops of a group, together."""
        unit = Unit(group, self.level, tuple(self.indices), self.lines)
        self.units.append(unit)
        self.lines = unit.lines
        self.ops(ops, group)
        self.lines = unit.outside
        self.units.pop()
        self.lines.append(unit)

    @contextmanager
    def before_units(self, depth: int) -> Iterator[None]:
        """What is written meanwhile stands before all units but the ``depth`` outermost ones."""
        if depth >= len(self.units):
            yield
            return
        here = self.lines, self.level
        self.lines, self.level = self.units[depth].outside, self.units[depth].level
        yield
        self.lines, self.level = here

    def stays(self, depth: int = 0) -> None:
        """No function can hold the units beyond ``depth``, for what is written now."""
        for unit in self.units[depth:]:
            unit.foldable = False

    def engine_op(self, op: Op) -> None:
        row = NKI[op.opcode]
        assert row.nki is not None, f"row {op.opcode!r} does not say how NKI writes it"
        if not row.alias:
            expression = row.nki(op, self.spelling)
            self.literals.note(expression)
            self.lines += wrapped(self.literals.named(expression), self.level)

    def alloc(self, op: Op) -> None:
        value = op.result
        hint = None
        if _UNNAMED.fullmatch(value.name) and value.type.memory in ON_CHIP:
            hint = tile_name(value, self.names.of, self.spelling.accesses)
        self.names.define(value, hint)
        self.names.define_before(value, oldest(value))
        self.rotations[id(value)] = 0, ()
        returned = id(value) in self.returned
        memory = "nl.shared_hbm" if returned else _BUFFERS[op.attrs["memory"]]
        with self.before_units(self.homes.depth(value)):
            if self.turns.are_written_out(op, self.blocks[-1]):
                self.copies(op, memory)
                return
            self.buffer(value, memory, self.address(op))
            for name in self.names.before[id(value)][:-1]:  # which the first rotations hand on
                self.lines.append("    " * self.level + f"{name} = {self.names.of[id(value)]}")

    def copies(self, op: Op, memory: str) -> None:
        """A tile for each copy of a buffer: turns that are written out only change its name."""
        starts = self.addresses.get(op)
        for number, name in enumerate(self.turns.begin(op)):
            self.names.of[id(op.result)] = name
            self.buffer(op.result, memory, Expr(f"(0, {starts[number]})") if starts else None)
        self.turns.take(op.result, 0)

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
        """``(0, byte)``; the copies of a rotating buffer take turns in a loop. ``check_starts``
        refuses addresses that the tile cannot have."""
        starts = self.addresses.get(op)
        if starts is None:
            return None
        check_starts(op, starts)
        if len(starts) == 1 or not self.loops or self.loops[-1] is None or is_rotated(op.result):
            return Expr(f"(0, {starts[0]})")
        return Expr(f"(0, {byte_of(starts, f'{self.loops[-1]} % {len(starts)}')})")

    def rotate(self, op: Op) -> None:
        """A new tile under the buffer's name; those before it keep names as well."""
        buffer = op.inputs[0]
        alloc = buffer.producer
        assert alloc is not None
        turns, terms = self.rotations[id(buffer)]
        self.rotations[id(buffer)] = turns + 1, terms
        if self.turns.take(buffer, turns + 1):
            return
        self.stays(self.homes.depth(buffer))
        names = [self.names.of[id(buffer)], *self.names.before[id(buffer)]]
        for by in range(len(names) - 1, 0, -1):
            self.lines.append("    " * self.level + f"{names[by]} = {names[by - 1]}")
        address = self.address(alloc)
        if address is not None:
            starts = self.addresses[alloc]
            taken = " + ".join([*(times(index, n) for index, n in terms), f"{turns + 1}"])
            if terms:
                address = Expr(f"(0, {byte_of(starts, f'({taken}) % {len(starts)}')})")
            else:
                address = Expr(f"(0, {starts[(turns + 1) % len(starts)]})")
        self.buffer(buffer, _BUFFERS[alloc.attrs["memory"]], address)

    # --- regions --------------------------------------------------------------------------------

    def loop(self, op: Op) -> None:
        body: Graph = op.attrs["body"]
        extent, step = op.attrs["extent"], op.attrs["step"]
        before = self.rotations
        turning = {b: n for b, n in rotations(body).items() if b in before}
        self.names.scopes.append(set())
        used = body.inputs[0].has_uses or self._follows(body)
        index = self.names.define(body.inputs[0]) if used else "_"
        self.indices.append(index)
        bounds = f"{extent}" if step == 1 else f"0, {extent}, {step}"
        trip = index if step == 1 else f"{index} // {step}"
        self.rotations = before | {
            b: (before[b][0], (*before[b][1], (trip, n))) for b, n in turning.items()
        }
        self.suite(f"for {index} in range({bounds}):", body, trip)
        trips = -(-extent // step)
        self.rotations |= {b: (before[b][0] + trips * n, before[b][1]) for b, n in turning.items()}
        self.names.scopes.pop()
        self.indices.pop()

    def _follows(self, body: Graph) -> bool:
        """Whether an address inside follows the loop's index."""
        made = [op for op in body.ops if op.opcode == "alloc"]
        made += [
            op.inputs[0].producer
            for op in body.walk()
            if op.opcode == "rotate" and op.inputs[0].producer
        ]
        return any(op in self.addresses and op.attrs["num_buffers"] > 1 for op in made)

    def dynamic_loop(self, op: Op) -> None:
        bound = str(self.spelling.value(op.inputs[0]))
        function = self.function_of(op.attrs["body"], op.attrs["body"].inputs)
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
        self.stays()
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
        self.stays()
        function = self.names.fresh(identifier(region.name))
        self.names.scopes.append(set())
        given = parameter or ", ".join(self.names.define(v) for v in inputs) or "_"
        self.suite(f"def {function}({given}):", region)
        self.names.scopes.pop()
        return function

    def suite(self, head: str, region: Graph, trip: str | None = None) -> None:
        """``head`` and the region's statements, indented; ``trip`` counts the runs of it."""
        self.lines.append("    " * self.level + head)
        self.names.scopes.append(set())
        self.level += 1
        self.loops.append(trip)
        before = len(self.lines)
        self.block(region)
        written = self.lines[before:]
        if not any(isinstance(s, Unit) or not s.lstrip().startswith("#") for s in written):
            self.lines.append("    " * self.level + "pass")
        self.loops.pop()
        self.level -= 1
        self.names.scopes.pop()

    # --- registers ------------------------------------------------------------------------------

    def register(self, op: Op) -> None:
        self.stays()
        name, given = self.names.define(op.result), op.attrs["value"]
        items = [] if given is None else [Expr(str(given)).named("x")]
        self.lines += wrapped(call("nisa.register_alloc", items), self.level, f"{name} = ")

    def rank_id(self, op: Op) -> None:
        self.stays()
        self.lines.append("    " * self.level + f"{self.names.define(op.result)} = ncc.rank_id()")

    # --- other lines ----------------------------------------------------------------------------

    def call(self, function: str, *items: Expr) -> None:
        self.lines += wrapped(call(function, items), self.level)

    def locate(self, op: Op) -> None:
        """Say which segment begins, or else where statements come from when that changes."""
        if op.part is not None and op.part < len(self.parts) and op.part != self.begun:
            self.begun = op.part
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


_UNNAMED = re.compile(rf"{NKI.prefix}\d+")  # what the builder calls values without a name
_SILENT = ("fori_loop", "dynamic_loop", "while_loop", "if_else")
_STATEMENTS: dict[str, Callable[[Body, Op], None]] = {
    "alloc": Body.alloc,
    "rotate": Body.rotate,
    "fori_loop": Body.loop,
    "dynamic_loop": Body.dynamic_loop,
    "while_loop": Body.while_loop,
    "if_else": Body.if_else,
    "register_alloc": Body.register,
    "rank_id": Body.rank_id,
}


def shortened(text: str, width: int) -> str:
    """The text, cut to a width with dots at its end."""
    return text if len(text) <= width else f"{text[: width - 4].rstrip()} ..."
