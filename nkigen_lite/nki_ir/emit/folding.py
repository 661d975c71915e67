"""Functions for what a kernel does more than once.

Groups of ops that were emitted for the same purpose (a stage of a pipelined loop, the rows between
two steps of a mask, a block and the remainder) often differ only in tiles and numbers. Such
statements become one function beside the kernel, which takes the tiles first, then the numbers, and
the addresses of tiles if they have any.
NKI inlines calls when it specialises a kernel (aws-neuron-sdk, NKI language guide: "All function
calls are inlined at specialization time"), so the instructions stay the same and in their order.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from nkigen_lite.nki_ir.emit.linear import Linear, Progress, progress
from nkigen_lite.nki_ir.emit.names import identifier, numbered, readable
from nkigen_lite.nki_ir.emit.outline import Hole, NotFoldable, Outline, Place
from nkigen_lite.nki_ir.emit.statements import statement_lines
from nkigen_lite.nki_ir.emit.text import LINE_LENGTH, Expr, call, wrapped
from nkigen_lite.nki_ir.emit.units import Lines, Unit

_LEAST_LINES = 7  # of a body that is worth a function
_LEAST_SAVED = 8  # lines of the file
_COUNT = "block"  # a parameter that neither a loop's index nor its role gives a name
_TAIL = re.compile(r"(_\d+)?(_before\d*)?$")  # tells tiles of the kernel apart
_NAME = re.compile(r"[^\W\d]")
_IR_NAMES = re.compile(r"\bv\d+(?:_\w+)?\b")


@dataclass(eq=False)
class _Read:
    """A unit's statements and their outline."""

    unit: Unit
    lines: list[str]
    outline: Outline
    key: str

    @staticmethod
    def parsed(lines: Sequence[str]) -> list[ast.stmt]:
        return ast.parse(textwrap.dedent("\n".join(lines))).body


@dataclass(eq=False)
class Folding:
    """Turns units that repeat into functions.

    Args:
        taken: every name that the kernel uses or that the module defines.
        known: of them, those of the module that statements may use: constants, modules.
        shown: what people call the values of the IR.
    """

    taken: set[str]
    known: set[str]
    shown: Mapping[str, str]
    functions: list[list[str]] = field(default_factory=list)

    def fold(self, lines: Lines) -> list[str]:
        """The kernel's statements, with calls of ``functions``; innermost units come first, as
        calls are part of what is around them."""
        units = list(_units(lines))
        heights = {id(u): u.height for u in units}
        for height in sorted(set(heights.values())):
            alike: dict[str, list[_Read]] = {}
            for unit in units:
                if heights[id(unit)] != height:
                    continue
                read = self._read(unit)
                if read is not None:
                    alike.setdefault(read.key, []).append(read)
            for reads in alike.values():
                if len(reads) > 1 and len(reads[0].lines) >= _LEAST_LINES:
                    self._replace(reads)
        return flat(lines)

    def _read(self, unit: Unit) -> _Read | None:
        lines = flat(unit.lines)
        if not unit.foldable or not lines:
            return None
        outline = Outline(set(unit.indices), self.known)
        try:
            made = outline.statements(_Read.parsed(lines))
        except NotFoldable:
            return None
        return _Read(unit, lines, outline, "\n".join(map(ast.dump, made)))

    def _replace(self, reads: Sequence[_Read]) -> None:
        """Make a function of units with equal outlines, if that makes the file shorter."""
        first = reads[0]
        template = _Template(reads, self.known)
        base = identifier(readable(first.unit.group.name, self.shown))
        name = numbered(base, self.taken.__contains__)
        try:
            function = template.function(name, self._told(first.unit.group.about))
        except NotFoldable:
            return
        calls = [
            wrapped(call(name, template.arguments(place)), read.unit.level)
            for place, read in enumerate(reads)
        ]
        before = sum(len(read.lines) for read in reads)
        after = len(function) + 2 + sum(map(len, calls))
        if before - after < _LEAST_SAVED:
            return
        self.taken.add(name)
        self.known.add(name)
        self.functions.append(function)
        for read, lines in zip(reads, calls, strict=True):
            read.unit.lines = [*lines]

    def _told(self, about: str) -> str:
        return _IR_NAMES.sub(lambda m: readable(m[0], self.shown), about)


class _Template:
    """What units with equal outlines have in common, and its parameters."""

    def __init__(self, reads: Sequence[_Read], known: set[str]) -> None:
        self.reads = reads
        self.known = known
        self.used = set(known)
        self.tiles: dict[tuple[str, ...], str] = {}
        self.counts: dict[tuple[Linear, ...], str] = {}
        self.places: dict[tuple[str, ...], str] = {}
        self.sizes: dict[str, Progress] = {}
        holes = list(zip(*[read.outline.holes for read in reads], strict=True))
        self.uses: dict[tuple[Linear, ...], set[tuple[int, int]]] = {}
        self.roles: dict[tuple[Linear, ...], str] = {}
        for values, role in zip(holes, reads[0].outline.roles, strict=True):
            if isinstance(values[0], Linear):
                found = progress(cast("Sequence[Linear]", values))
                if isinstance(found, Progress):
                    self.uses.setdefault(found.counts, set()).add((found.start, found.step))
                    self.roles.setdefault(found.counts, role)
        self.locals = self._locals(reads[0].outline.bound)
        self.fill = [self._filled(values) for values in holes]

    def _locals(self, bound: Sequence[str]) -> list[str]:
        """Names of what the function binds: those of the first unit, without needless numbers."""
        names: dict[str, str] = {}
        for name in bound:
            if name not in names:
                names[name] = self._own(name)
        return [names[name] for name in bound]

    def _own(self, name: str) -> str:
        base = identifier(_TAIL.sub("", name, count=1) or name)
        chosen = numbered(base, self.used.__contains__)
        self.used.add(chosen)
        return chosen

    def _filled(self, values: Sequence[Hole]) -> Hole:
        """A parameter, or the number that is the same everywhere."""
        if isinstance(values[0], str):
            names = cast("tuple[str, ...]", values)
            if names not in self.tiles:
                self.tiles[names] = self._own(names[0])
            return self.tiles[names]
        if isinstance(values[0], Place):
            return self._place(cast("Sequence[Place]", values))
        return self._number(progress(cast("Sequence[Linear]", values)))

    def _number(self, found: Progress | int) -> Linear:
        if isinstance(found, int):
            return Linear(found)
        name = self.counts.get(found.counts)
        if name is None:
            uses = self.uses[found.counts]
            alone = len(uses) == 1 and _index_of(found) is None
            name = self._own(self.roles[found.counts] if alone else _index_of(found) or _COUNT)
            self.counts[found.counts] = name
            if alone:  # then the number itself is the parameter
                self.sizes[name] = found
        if name in self.sizes:
            return Linear.of(name)
        return Linear(found.start) + Linear.of(name) * found.step

    def _place(self, values: Sequence[Place]) -> Place:
        first = values[0]
        texts = tuple(place.text for place in values)
        if len(set(texts)) == 1 and not _NAME.search(first.text):
            return first
        if texts not in self.places:
            self.places[texts] = self._own(_TAIL.sub("", first.tile, count=1) + "_at")
        return Place(first.tile, self.places[texts])

    def function(self, name: str, about: str) -> list[str]:
        """The function's text.

        Raises:
            NotFoldable: a number is not one that a parameter may stand for.
        """
        first = self.reads[0]
        indices = set(first.unit.indices)
        outline = Outline(indices, self.known, self.fill, self.locals)
        filled = outline.statements(_Read.parsed(first.lines))
        parameters = (*self.tiles.values(), *self.counts.values(), *self.places.values())
        lines = wrapped(call(name, [Expr(p) for p in parameters]), 0, "def ", ":")
        lines += docstring(about)
        for node in filled:
            lines += statement_lines(node, 1)
        return lines

    def arguments(self, place: int) -> list[Expr]:
        """What the function is called with instead of the unit at a place."""
        tiles = [Expr(names[place]) for names in self.tiles]
        numbers = [
            Expr(str(self._given(name, counts[place]))).named(name)
            for counts, name in self.counts.items()
        ]
        places = [Expr(texts[place]).named(name) for texts, name in self.places.items()]
        return [*tiles, *numbers, *places]

    def _given(self, name: str, count: Linear) -> Linear:
        size = self.sizes.get(name)
        return Linear(size.start) + count * size.step if size is not None else count


def _index_of(found: Progress) -> str | None:
    """The index of a loop around one of the places that a number follows."""
    return next((value.terms[0][0] for value in found.counts if value.terms), None)


def docstring(text: str) -> list[str]:
    """A function's docstring of one sentence."""
    if len(text) <= LINE_LENGTH - 10:
        return [f'    """{text}"""']
    first, *rest = textwrap.wrap(text, LINE_LENGTH - 8, break_long_words=False)
    return [f'    """{first}', *(f"    {line}" for line in rest), '    """']


def _units(lines: Lines) -> Iterator[Unit]:
    for line in lines:
        if isinstance(line, Unit):
            yield line
            yield from _units(line.lines)


def flat(lines: Lines) -> list[str]:
    """The statements of units in their places."""
    found: list[str] = []
    for line in lines:
        found += flat(line.lines) if isinstance(line, Unit) else [line]
    return found
