"""Which statements of a kernel belong together, so that what repeats can become a function."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nkigen_lite.core.ir import Graph, Group, Op, Value
from nkigen_lite.nki_ir.rows import NKI

Lines = list["str | Unit"]


@dataclass(eq=False)
class Unit:
    """The statements of one group of ops, in the place where they stand.

    Attributes:
        group: what they do.
        level: of indentation.
        indices: names of the indices of the loops around.
        outside: what they are part of, before which their results are allocated.
        lines: the statements, with units inside.
        foldable: whether a function may hold them.
    """

    group: Group
    level: int
    indices: tuple[str, ...]
    outside: Lines
    lines: Lines = field(default_factory=list)
    foldable: bool = True

    @property
    def height(self) -> int:
        """How many units are inside each other here, beside this one."""
        return max((u.height + 1 for u in self.lines if isinstance(u, Unit)), default=0)


_ALIAS = re.compile(r" *(\w+) = ([^\W\d]\w*)")


def without_idle(lines: Lines) -> Lines:
    """The same without second names of tiles that nothing uses, such as those of earlier copies."""
    every = list(_statements(lines))
    aliases = [match for line in every if (match := _ALIAS.fullmatch(line))]
    rest = "\n".join(line for line in every if not _ALIAS.fullmatch(line))
    used = set(re.findall(r"\w+", rest))
    while more := {m[2] for m in aliases if m[1] in used} - used:
        used |= more
    return _kept(lines, {m[1] for m in aliases} - used)


def _statements(lines: Lines) -> Iterator[str]:
    for line in lines:
        if isinstance(line, Unit):
            yield from _statements(line.lines)
        else:
            yield line


def _kept(lines: Lines, idle: set[str]) -> Lines:
    found: Lines = []
    for line in lines:
        if isinstance(line, Unit):
            line.lines = _kept(line.lines, idle)
        elif (match := _ALIAS.fullmatch(line)) and match[1] in idle:
            continue
        found.append(line)
    return found


def runs(ops: Sequence[Op], inside: Group | None) -> Iterator[tuple[Group | None, list[Op]]]:
    """The ops of a region by the groups that are directly in ``inside``; None for those that are
    in no other. Ends of lives are left out."""
    found: list[tuple[Group | None, list[Op]]] = []
    for op in ops:
        if op.opcode == "dealloc":
            continue
        group = _within(op.group, inside)
        if not found or found[-1][0] is not group:
            found.append((group, []))
        found[-1][1].append(op)
    yield from found


def _within(group: Group | None, inside: Group | None) -> Group | None:
    """Of a group and those around it, the one directly in ``inside``."""
    while group is not None and group is not inside and group.parent is not inside:
        group = group.parent
    return None if group is inside else group


class Homes:
    """In which units the ops of a graph are, and so how many units a buffer must be outside of."""

    def __init__(self, graph: Graph) -> None:
        self._of: dict[Op, tuple[int, ...]] = {}
        self._count = 0
        self._enter(graph.ops, None, ())

    def _enter(self, ops: Sequence[Op], inside: Group | None, path: tuple[int, ...]) -> None:
        for group, members in runs(ops, inside):
            if group is not None:
                self._count += 1
                self._enter(members, group, (*path, self._count))
                continue
            for op in members:
                self._of[op] = path
                for region in op.regions:
                    self._enter(region.ops, inside, path)

    def depth(self, buffer: Value) -> int:
        """How many units, from the outermost on, hold all that uses a buffer."""
        assert buffer.producer is not None
        common = self._of[buffer.producer]
        for op in _readers(buffer):
            path = self._of[op]
            shared = 0
            while shared < min(len(common), len(path)) and common[shared] == path[shared]:
                shared += 1
            common = common[:shared]
        return len(common)


def _readers(value: Value) -> Iterator[Op]:
    """The ops that use a value or a view of it."""
    for op in dict.fromkeys(value.uses):
        if op.opcode == "dealloc":
            continue
        if NKI[op.opcode].alias:
            yield from _readers(op.result)
        else:
            yield op
