"""Refining dimensions into atomic axes on which every op of a graph agrees.

Every op has label nodes (the axes of its iteration space) and every value has one node per
dimension. A value's dimension joins the label that reads it unless that would make two axes of one
op the same (as in ``x @ x.T``); then the op reads the dimension under another name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.core.registry import Regroup, Space, Window
from nkigen_lite.tensor_ir.passes.axes.program import Axis
from nkigen_lite.tensor_ir.rows import TENSOR

Node = tuple[Any, Any]  # (Value, dim) or (Op, label); pieces are (root node, position)


class Classes:
    """Union-find whose classes may be declared to stay apart."""

    def __init__(self) -> None:
        self._parent: dict[Node, Node] = {}
        self._apart: dict[Node, set[Node]] = {}

    def find(self, node: Node) -> Node:
        parent = self._parent.setdefault(node, node)
        while parent != node:
            grand = self._parent[parent]
            self._parent[node] = grand
            node, parent = parent, grand
        return node

    def keep_apart(self, nodes: Sequence[Node]) -> None:
        """No two of ``nodes`` may ever join."""
        roots = list(dict.fromkeys(self.find(n) for n in nodes))
        for root in roots:
            self._apart.setdefault(root, set()).update(r for r in roots if r != root)

    def join(self, a: Node, b: Node) -> bool:
        """Make two classes one, unless they have to stay apart; whether they are one now."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return True
        if b in self._apart.get(a, ()):
            return False
        self._parent[b] = a
        for other in self._apart.pop(b, set()):
            others = self._apart[other]
            others.discard(b)
            others.add(a)
            self._apart.setdefault(a, set()).add(other)
        return True


@dataclass(frozen=True, slots=True)
class Link:
    """``inner`` (None if its extent is 1) is elements ``start + step * i`` of ``outer``."""

    op: Op
    outer: Node
    inner: Node | None
    size: int
    start: int = 0
    step: int = 1


@dataclass(frozen=True, slots=True)
class Group:
    """A run of dimensions of a reshape's operand and the run of its result with its elements."""

    op: Op
    source: tuple[Node, ...]
    result: tuple[Node, ...]


@dataclass
class Refinement:
    """The atomic axes of every dimension and label.

    Attributes:
        rough: ops (by id) that no refinement can express as views: odd reshapes, windows that a
            needed cut does not respect. Their results are made by copies in HBM.
        bound: per op and operand, the (dimension node, label node) pairs.
        links: windows of slice and concat.
        groups: the runs of reshapes.
    """

    graph: Graph
    rough: set[int]
    classes: Classes = field(default_factory=Classes)
    bound: dict[tuple[int, int], list[tuple[Node, Node]]] = field(default_factory=dict)
    links: dict[int, list[Link]] = field(default_factory=dict)
    groups: dict[int, list[Group]] = field(default_factory=dict)
    cuts: dict[Node, set[int]] = field(default_factory=dict)
    extents: dict[Node, int] = field(default_factory=dict)
    atoms: dict[Node, tuple[Axis, ...]] = field(default_factory=dict)

    def axes_of(self, node: Node) -> tuple[Axis, ...]:
        """The atomic axes of a node, outermost first; none for extent 1."""
        return self.atoms.get(self.classes.find(node), ())

    def value_axes(self, value: Value) -> tuple[tuple[Axis, ...], ...]:
        """The atomic axes of each dimension of a value."""
        return tuple(self.axes_of((value, d)) for d in range(len(value.type.shape)))

    def extent(self, node: Node) -> int:
        return self.extents[self.classes.find(node)]


def space_of(op: Op) -> Space:
    """The iteration space that the op's row declares."""
    row = TENSOR[op.opcode]
    assert row.space is not None, f"{op.opcode} has no iteration space"
    return row.space([v.type for v in op.inputs], [r.type for r in op.results], op.attrs)


def refine(graph: Graph) -> Refinement:
    """Refine ``graph``; ops that cannot be reconciled are set aside as rough, one by one."""
    rough: set[int] = set()
    while True:
        attempt = Refinement(graph, rough)
        for value in graph.inputs:
            _declare(attempt, value)
        for op in graph.ops:
            _collect(attempt, op)
        culprit = _propagate(attempt)
        if culprit is None:
            _name_atoms(attempt)
            return attempt
        rough.add(id(culprit))


def _declare(r: Refinement, value: Value) -> list[Node]:
    """Nodes of a value's dimensions of extent 2 or more, kept apart."""
    nodes: list[Node] = []
    for dim, extent in enumerate(value.type.shape):
        if extent > 1:
            node = (value, dim)
            r.extents.setdefault(r.classes.find(node), extent)
            nodes.append(node)
    r.classes.keep_apart(nodes)
    return nodes


def _collect(r: Refinement, op: Op) -> None:
    if id(op) in r.rough:
        for result in op.results:
            _declare(r, result)
        return
    space = space_of(op)
    _bind(r, op, space)
    sides = {"in": op.inputs, "out": op.results}
    for link in space.links:
        if isinstance(link, Regroup):
            r.groups[id(op)] = list(_regroup(op))
        else:
            r.links.setdefault(id(op), []).append(_link(op, link, sides))


def _bind(r: Refinement, op: Op, space: Space) -> None:
    """Make the op's labels, its results' dimensions and, where possible, its operands' one."""
    labels: dict[str, Node] = {name: (op, name) for name in space.extents}
    for name, node in labels.items():
        r.extents[r.classes.find(node)] = space.extents[name]
    for result, found in zip(op.results, space.results, strict=False):
        for node, label in _named(result, found, labels):
            r.classes.join(label, node)
    for result in op.results:
        _declare(r, result)
    r.classes.keep_apart(list(labels.values()))
    for position, (value, found) in enumerate(zip(op.inputs, space.operands, strict=False)):
        pairs = _named(value, found, labels)
        for node, label in pairs:
            r.classes.join(node, label)
        r.bound[id(op), position] = pairs


def _named(
    value: Value, names: Sequence[str | None], labels: dict[str, Node]
) -> list[tuple[Node, Node]]:
    """(dimension node, label node) of every dimension that has a label."""
    return [((value, d), labels[n]) for d, n in enumerate(names) if n is not None]


def _link(op: Op, window: Window, sides: dict[str, list[Value]]) -> Link:
    outer = (sides[window.outer[0]][window.outer[1]], window.outer[2])
    value, dim = sides[window.inner[0]][window.inner[1]], window.inner[2]
    size = value.type.shape[dim]
    return Link(op, outer, (value, dim) if size > 1 else None, size, window.start, window.step)


def _regroup(op: Op) -> Iterable[Group]:
    source, result = op.inputs[0], op.result
    ins = [(source, i) for i, n in enumerate(source.type.shape) if n > 1]
    outs = [(result, i) for i, n in enumerate(result.type.shape) if n > 1]
    while ins or outs:
        left, right = [ins.pop(0)], [outs.pop(0)]
        while (a := _product(left)) != (b := _product(right)):
            (left if a < b else right).append((ins if a < b else outs).pop(0))
        yield Group(op, tuple(left), tuple(right))


def _product(nodes: Iterable[Node]) -> int:
    return math.prod(value.type.shape[dim] for value, dim in nodes)


# --- cuts ----------------------------------------------------------------------------------------


def _propagate(r: Refinement) -> Op | None:
    """Spread cuts until nothing changes; the op at fault if they cannot be reconciled."""
    renames = [
        Link(op, node, label, r.extent(label))
        for op in r.graph.ops
        for position in range(len(op.inputs))
        for node, label in r.bound.get((id(op), position), ())
        if r.classes.find(node) != r.classes.find(label)
    ]
    links = [*renames, *(link for found in r.links.values() for link in found)]
    changed = True
    while changed:
        changed = False
        for group in (g for found in r.groups.values() for g in found):
            outcome = _spread_group(r, group)
            if outcome is None:
                return group.op
            changed |= outcome
        for link in links:
            outcome = _spread_link(r, link)
            if outcome is None:
                return _blame(r, link)
            changed |= outcome
    return None


def _blame(r: Refinement, link: Link) -> Op:
    """The op to set aside: a window's own, or for a plain renaming the reshape that cuts it."""
    if id(link.op) in r.links:
        return link.op
    return next(g.op for found in r.groups.values() for g in found)


def _cuts(r: Refinement, node: Node) -> set[int]:
    return r.cuts.setdefault(r.classes.find(node), set())


def _add_cut(r: Refinement, node: Node, cut: int) -> bool | None:
    """Cut a node so that its inner part has ``cut`` elements; None if that cannot be."""
    extent = r.extent(node)
    if cut in (1, extent):
        return False
    known = _cuts(r, node)
    if cut in known:
        return False
    chain = sorted({*known, cut, extent})
    if any(big % small for small, big in pairwise(chain)):
        return None
    known.add(cut)
    return True


def _spread_group(r: Refinement, group: Group) -> bool | None:
    boundaries: set[int] = set()
    for side in (group.source, group.result):
        inner = 1
        for node in reversed(side):
            boundaries |= {inner * c for c in _cuts(r, node)}
            inner *= r.extent(node)
            boundaries.add(inner)
    changed = False
    for side in (group.source, group.result):
        inner = 1
        for node in reversed(side):
            outer = inner * r.extent(node)
            for boundary in boundaries:
                if inner < boundary < outer:
                    outcome = None if boundary % inner else _add_cut(r, node, boundary // inner)
                    if outcome is None:
                        return None
                    changed |= outcome
            inner = outer
    return changed


def _spread_link(r: Refinement, link: Link) -> bool | None:
    if link.inner is None:
        return False  # one element: its coordinate has digits under any cut
    changed = False
    for cut in _cuts(r, link.outer) | _cuts(r, link.inner):
        if link.step != 1 or link.start % cut or link.size % cut:
            return None
        for node in (link.outer, link.inner):
            outcome = _add_cut(r, node, cut)
            if outcome is None:
                return None
            changed |= outcome
    return changed


# --- atoms ---------------------------------------------------------------------------------------


def _name_atoms(r: Refinement) -> None:
    """Give every class its axes, shared where reshapes and windows say they are the same."""
    pieces = Classes()
    sizes = {root: _piece_extents(r, root) for root in r.extents if r.classes.find(root) == root}

    def pieces_of(node: Node) -> list[Node]:
        root = r.classes.find(node)
        return [(root, i) for i in range(len(sizes[root]))]

    for nodes in _together(r):
        pieces.keep_apart([p for n in nodes for p in pieces_of(n)])
    for group in (g for found in r.groups.values() for g in found):
        flat = [
            [p for n in reversed(side) for p in pieces_of(n)]
            for side in (group.source, group.result)
        ]
        for a, b in zip(*flat, strict=True):
            pieces.join(a, b)
    for link in (link for links in r.links.values() for link in links):
        inner = pieces_of(link.inner) if link.inner is not None else []
        for a, b in zip(inner, pieces_of(link.outer)[:-1], strict=False):
            pieces.join(a, b)
    names: dict[Node, Axis] = {}
    for root, extents in sizes.items():
        atoms = []
        for position, extent in enumerate(extents):
            key = pieces.find((root, position))
            atoms.append(names.setdefault(key, Axis(f"a{len(names)}", extent)))
        r.atoms[root] = tuple(reversed(atoms))


def _together(r: Refinement) -> Iterable[list[Node]]:
    """Nodes of one op or of one value: their axes have to differ."""
    for op in r.graph.ops:
        if id(op) not in r.rough:
            yield [(op, name) for name in space_of(op).extents]
    for value in r.graph.all_values():
        yield [(value, d) for d, n in enumerate(value.type.shape) if n > 1]


def _piece_extents(r: Refinement, root: Node) -> list[int]:
    """Extents of the pieces of a class, innermost first."""
    chain = [1, *sorted(_cuts(r, root)), r.extents[root]]
    return [big // small for small, big in pairwise(chain)]
