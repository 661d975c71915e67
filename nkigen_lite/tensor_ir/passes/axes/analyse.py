"""From a decomposed tensor_ir graph to an axis program."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.tensor_ir.passes.axes.casts import fold_casts
from nkigen_lite.tensor_ir.passes.axes.defer import defer_division
from nkigen_lite.tensor_ir.passes.axes.follow import follow_results
from nkigen_lite.tensor_ir.passes.axes.fuse import fuse_pairs
from nkigen_lite.tensor_ir.passes.axes.hidden import note_hidden
from nkigen_lite.tensor_ir.passes.axes.merge import merge_axes
from nkigen_lite.tensor_ir.passes.axes.moments import merge_moments
from nkigen_lite.tensor_ir.passes.axes.partial import reduce_rows_first
from nkigen_lite.tensor_ir.passes.axes.program import Axis, Coord, Program, Step, Storage, View
from nkigen_lite.tensor_ir.passes.axes.refine import Link, Node, Refinement, refine
from nkigen_lite.tensor_ir.passes.axes.split import split_rows
from nkigen_lite.tensor_ir.passes.axes.turn import turn_for_products

_CONTRACTING = ("reduce", "matmul")


def analyse(graph: Graph, constants: Mapping[str, Array] | None = None) -> Program:
    """The axis program of a decomposed graph; ``constants`` are what some of its inputs hold.

    Every graph output gets a storage of its own kind "output"; every graph input one of kind
    "input". Constants have no storage in memory until a step needs one.
    """
    builder = _Analysis(graph, refine(graph))
    for value in graph.inputs:
        builder.views[value] = View.of(builder.storage(value, "input", value.name))
    for op in graph.ops:
        builder.visit(op)
    program = builder.finish()
    program = fold_casts(merge_moments(defer_division(fold_casts(merge_axes(program)))))
    program = fuse_pairs(split_rows(reduce_rows_first(program)))
    program = turn_for_products(follow_results(program))
    return note_hidden(program, constants or {})


@dataclass
class _Analysis:
    graph: Graph
    axes: Refinement
    views: dict[Value, View] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    # --- storages -------------------------------------------------------------------------------

    def storage(self, value: Value, kind: str, name: str) -> Storage:
        axes = tuple(a for dim in self.axes.value_axes(value) for a in dim)
        return Storage(self.unique(name), value.type.dtype, axes, kind, _buffer_shape(value))

    def unique(self, name: str) -> str:
        made, number = name, 1
        while made in self.taken:
            made, number = f"{name}_{number}", number + 1
        self.taken.add(made)
        return made

    def add(
        self, kind: str, op: Op | None, reads: Sequence[View], write: View, **attrs: Any
    ) -> None:
        name = f"{write.storage.name}.{op.opcode if op else kind}"
        loc = op.loc if op else None
        self.steps.append(Step(self.unique(name), kind, op, tuple(reads), write, attrs, loc))

    def materialise(self, value: Value, view: View | None = None, op: Op | None = None) -> View:
        """``value`` in a storage of its own, row-major in its dimensions."""
        source = view or self.views[value]
        target = self.storage(value, "temp", value.name)
        self.fill_or_copy(source, target, op)
        return View.of(target)

    def fill_or_copy(self, source: View, target: Storage, op: Op | None) -> None:
        if source.storage.kind == "constant":
            self.add("fill", None, (), View.of(target), value=source.storage.fill)
        else:
            self.add("copy", None, (source,), View.of(target))
        self.steps[-1].loc = op.loc if op else None

    # --- ops ------------------------------------------------------------------------------------

    def visit(self, op: Op) -> None:
        if id(op) in self.axes.rough:
            self.rough(op)
        else:
            _VISITS.get(op.opcode, _Analysis.compute)(self, op)

    def read(self, op: Op, position: int) -> View:
        """An operand's view in the axis names of the op that reads it."""
        view = self.views[op.inputs[position]]
        return rename(view, self.label_map(op, position))

    def label_map(self, op: Op, position: int) -> dict[Axis, Axis]:
        pairs: dict[Axis, Axis] = {}
        for node, label in self.axes.bound.get((id(op), position), ()):
            pairs |= zip(self.axes.axes_of(node), self.axes.axes_of(label), strict=True)
        return pairs

    def compute(self, op: Op) -> None:
        kind = op.opcode if op.opcode in _CONTRACTING else "pointwise"
        reads = []
        for position, value in enumerate(op.inputs):
            view = self.read(op, position)
            if kind in _CONTRACTING and self.lacks_axes(value, view):
                view = rename(self.materialise(value, op=op), self.label_map(op, position))
            reads.append(view)
        target = self.storage(op.result, "temp", op.result.name)
        self.views[op.result] = View.of(target)
        self.add(kind, op, reads, self.views[op.result])

    def lacks_axes(self, value: Value, view: View) -> bool:
        """Whether a contraction would read a broadcast or a constant: those are made real first."""
        wanted = sum(len(dim) for dim in self.axes.value_axes(value))
        return len(view.axes) != wanted or view.storage.kind == "constant"

    def constant(self, op: Op) -> None:
        storage = Storage(
            op.result.name, op.result.type.dtype, (), "constant", (), op.attrs["value"]
        )
        self.views[op.result] = View.of(storage)

    def iota(self, op: Op) -> None:
        axes = self.axes.axes_of((op.result, op.attrs["dim"]))
        name = self.unique(op.result.name)
        target = Storage(
            name, op.result.type.dtype, axes, "temp", (op.attrs["shape"][op.attrs["dim"]],)
        )
        self.views[op.result] = View.of(target)
        self.add("ramp", op, (), View.of(target))

    def rename_dims(self, op: Op) -> None:
        self.views[op.result] = self.read(op, 0)

    def reshape(self, op: Op) -> None:
        pairs: dict[Axis, Axis] = {}
        for group in self.axes.groups[id(op)]:
            left = [a for n in group.source for a in self.axes.axes_of(n)]
            right = [a for n in group.result for a in self.axes.axes_of(n)]
            pairs |= zip(left, right, strict=True)
        self.views[op.result] = rename(self.views[op.inputs[0]], pairs)

    def slice(self, op: Op) -> None:
        view = self.read(op, 0)
        for link in self.axes.links.get(id(op), ()):
            view = window(view, self.window_coords(link))
        self.views[op.result] = view

    def window_coords(self, link: Link) -> dict[Axis, Coord]:
        """How each axis of a window's outer side is read by its inner side."""
        outer = self.axes.axes_of(link.outer)
        inner = self.axes.axes_of(link.inner) if link.inner is not None else ()
        coords: dict[Axis, Coord] = {}
        if link.inner is None:
            rest = link.start
            for axis in reversed(outer):
                coords[axis] = Coord(None, rest % axis.extent)
                rest //= axis.extent
            return coords
        shared = min(len(outer) - 1, len(inner))
        unit = math.prod(a.extent for a in outer[len(outer) - shared :])
        for axis, made in zip(reversed(outer), list(reversed(inner))[:shared], strict=False):
            coords[axis] = Coord(made)
        top = inner[0] if len(inner) > shared else None
        coords[outer[0]] = Coord(top, link.start // unit, link.step)
        return coords

    def concat(self, op: Op) -> None:
        target = self.storage(op.result, "temp", op.result.name)
        self.views[op.result] = View.of(target)
        for position, (value, link) in enumerate(
            zip(op.inputs, self.axes.links[id(op)], strict=True)
        ):
            coords = self.window_coords(link)
            place = View(target, tuple(coords.get(a, Coord(a)) for a in target.axes))
            names = self.label_map(op, position)
            if not self.forward(value, place, names, op):
                source = rename(self.views[value], names)
                if source.storage.kind == "constant":
                    self.add("fill", op, (), place, value=source.storage.fill)
                else:
                    self.add("copy", op, (source,), place)

    def forward(self, value: Value, place: View, names: dict[Axis, Axis], op: Op) -> bool:
        """Let the producer of ``value`` write into ``place`` if nobody else reads its storage."""
        view = self.views[value]
        uses = [u for u in value.uses if u is not op]
        is_output = any(v is value for v in self.graph.outputs.values())
        if uses or value.uses.count(op) > 1 or is_output or not view.is_whole:
            return False
        storage = view.storage
        others = [v for v, seen in self.views.items() if seen.storage is storage and v is not value]
        writers = [s for s in self.steps if s.write.storage is storage]
        readers = [s for s in self.steps if any(r.storage is storage for r in s.reads)]
        if storage.kind != "temp" or others or readers or len(writers) != 1:
            return False
        back = {new: old for old, new in names.items()}
        moved = writers[0].kind == "hbm_copy"  # it counts on the order of a buffer of its own
        if moved or len(back) != len(names) or not writers[0].write.is_whole:
            return False
        writers[0].write = rename(place, back)
        return True

    def rough(self, op: Op) -> None:
        """Make the result by copies in HBM, reading operands that are row-major there."""
        target = self.storage(op.result, "temp", op.result.name)
        self.views[op.result] = View.of(target)
        for value, source, place in _ROUGH[op.opcode](op):
            view = self.views[value]
            axes = tuple(a for dim in self.axes.value_axes(value) for a in dim)
            if not view.is_whole or view.storage.axes != axes or view.storage.kind == "constant":
                view = self.materialise(value, op=op)
            self.add("hbm_copy", op, (view,), self.views[op.result], source=source, target=place)

    def has_fixed_order(self, storage: Storage) -> bool:
        """Whether a copy in HBM counts on the row-major order that the storage has now."""
        return any(
            step.kind == "hbm_copy" and storage in (step.write.storage, step.reads[0].storage)
            for step in self.steps
        )

    # --- outputs --------------------------------------------------------------------------------

    def finish(self) -> Program:
        outputs: list[Storage] = []
        given: set[int] = set()
        for name, value in self.graph.outputs.items():
            view = self.views[value]
            axes = tuple(a for dim in self.axes.value_axes(value) for a in dim)
            storage = view.storage
            free = storage.kind == "temp" and id(storage) not in given
            same = storage.axes == axes or not self.has_fixed_order(storage)
            if free and same and view.is_whole and set(storage.axes) == set(axes):
                _reorder(self, storage, axes, _buffer_shape(value))
                storage.kind, storage.name = "output", name
            else:
                storage = Storage(name, value.type.dtype, axes, "output", _buffer_shape(value))
                self.fill_or_copy(view, storage, value.producer)
            given.add(id(storage))
            outputs.append(storage)
        dims = {v.name: self.axes.value_axes(v) for v in self.graph.all_values()}
        inputs = [self.views[v].storage for v in self.graph.inputs]
        return Program(self.graph.name, self.steps, inputs, outputs, dims)


def _buffer_shape(value: Value) -> tuple[int, ...]:
    """The HBM buffer of a value; scalars take one element."""
    return tuple(value.type.shape) or (1,)


def _reorder(
    a: _Analysis, storage: Storage, axes: tuple[Axis, ...], shape: tuple[int, ...]
) -> None:
    """Lay the storage out in HBM by ``axes``; every view of it follows."""
    order = [storage.axes.index(axis) for axis in axes]

    def moved(view: View) -> View:
        return View(storage, tuple(view.coords[i] for i in order))

    for step in a.steps:
        if step.write.storage is storage:
            step.write = moved(step.write)
        step.reads = tuple(moved(v) if v.storage is storage else v for v in step.reads)
    for value, view in a.views.items():
        if view.storage is storage:
            a.views[value] = moved(view)
    storage.axes, storage.shape = axes, shape


def rename(view: View, names: dict[Axis, Axis]) -> View:
    """The view with its axes called by other names."""
    coords = (
        Coord(names.get(c.axis, c.axis) if c.axis else None, c.start, c.step) for c in view.coords
    )
    return View(view.storage, tuple(coords))


def window(view: View, inner: dict[Axis, Coord]) -> View:
    """The view of a view: axes in ``inner`` are read through its coords."""
    coords = []
    for coord in view.coords:
        then = inner.get(coord.axis) if coord.axis else None
        if then is None:
            coords.append(coord)
        else:
            start = coord.start + coord.step * then.start
            coords.append(Coord(then.axis, start, coord.step * then.step))
    return View(view.storage, tuple(coords))


Region = tuple[tuple[int, int, int], ...]  # per dimension: start, size, step
RoughCopy = tuple[Value, tuple[tuple[int, ...], Region], tuple[tuple[int, ...], Region]]


def _all(shape: Sequence[int]) -> Region:
    return tuple((0, n, 1) for n in shape)


def _rough_reshape(op: Op) -> list[RoughCopy]:
    shape = op.inputs[0].type.shape or (1,)
    return [(op.inputs[0], (shape, _all(shape)), (shape, _all(shape)))]


def _rough_slice(op: Op) -> list[RoughCopy]:
    source, out = op.inputs[0].type.shape, op.result.type.shape
    region = tuple(zip(op.attrs["starts"], out, op.attrs["strides"], strict=True))
    return [(op.inputs[0], (source, region), (out, _all(out)))]


def _rough_concat(op: Op) -> list[RoughCopy]:
    out, axis = op.result.type.shape, op.attrs["axis"]
    copies, start = [], 0
    for value in op.inputs:
        shape = value.type.shape
        place = tuple((start if d == axis else 0, n, 1) for d, n in enumerate(shape))
        copies.append((value, (shape, _all(shape)), (out, place)))
        start += shape[axis]
    return copies


_ROUGH: dict[str, Callable[[Op], list[RoughCopy]]] = {
    "reshape": _rough_reshape,
    "slice": _rough_slice,
    "concat": _rough_concat,
}
_VISITS: dict[str, Callable[[_Analysis, Op], None]] = {
    "constant": _Analysis.constant,
    "iota": _Analysis.iota,
    "transpose": _Analysis.rename_dims,
    "broadcast_to": _Analysis.rename_dims,
    "reshape": _Analysis.reshape,
    "slice": _Analysis.slice,
    "concat": _Analysis.concat,
}
__all__ = ["Node", "analyse", "rename", "window"]
