"""The records of the axis program."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Op
from nkigen_lite.core.location import Location


@dataclass(frozen=True, slots=True)
class Axis:
    """An atomic axis: a name and an extent (2 or more)."""

    name: str
    extent: int

    def __str__(self) -> str:
        return f"{self.name}={self.extent}"


@dataclass(frozen=True, slots=True)
class Coord:
    """Where a view stands on one axis of its storage.

    The storage coordinate is ``start + step * index(axis)``; with ``axis`` None it is ``start``.
    """

    axis: Axis | None
    start: int = 0
    step: int = 1

    def is_identity(self, of: Axis) -> bool:
        return self.axis == of and self.start == 0 and self.step == 1


@dataclass(eq=False, slots=True)
class Storage:
    """A tensor that exists: a graph input, a graph output, or an intermediate result.

    Attributes:
        name: unique in the program; inputs and outputs keep their graph names.
        axes: row-major, outermost first; what one HBM buffer of it is laid out by.
        kind: "input", "output", "temp" or "constant" (then ``fill`` is its one value).
        shape: the shape of its HBM buffer.
        is_weight: of an input, whether the host may lay it out otherwise before the kernel runs.
    """

    name: str
    dtype: DType
    axes: tuple[Axis, ...]
    kind: str
    shape: tuple[int, ...] = ()
    fill: float | int | bool | None = None
    is_weight: bool = False

    @property
    def elements(self) -> int:
        return math.prod(a.extent for a in self.axes)

    @property
    def size_bytes(self) -> int:
        return self.elements * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"{self.name}[{','.join(map(str, self.axes))}]{self.dtype}"


@dataclass(frozen=True, slots=True)
class View:
    """A reading (or writing) of a storage: one ``Coord`` per storage axis.

    ``axes`` are those that it runs over, in storage order; axes of the iteration space that no
    coord names are broadcast.
    """

    storage: Storage
    coords: tuple[Coord, ...]
    axes: tuple[Axis, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        axes = tuple(c.axis for c in self.coords if c.axis is not None)
        object.__setattr__(self, "axes", axes)

    @property
    def is_whole(self) -> bool:
        """Whether it reads the storage as it is."""
        return all(c.is_identity(a) for c, a in zip(self.coords, self.storage.axes, strict=True))

    def coord_of(self, axis: Axis) -> tuple[Axis, Coord] | None:
        """The storage axis that ``axis`` runs over, and how; None if it is broadcast."""
        for storage_axis, coord in zip(self.storage.axes, self.coords, strict=True):
            if coord.axis == axis:
                return storage_axis, coord
        return None

    @classmethod
    def of(cls, storage: Storage) -> View:
        """The storage as it is."""
        return cls(storage, tuple(Coord(a) for a in storage.axes))

    def __repr__(self) -> str:
        inner = ", ".join(
            str(c.start)
            if c.axis is None
            else c.axis.name
            if c.is_identity(a)
            else f"{c.start}+{c.step}*{c.axis.name}"
            for c, a in zip(self.coords, self.storage.axes, strict=True)
        )
        return f"{self.storage.name}[{inner}]"


@dataclass(frozen=True, slots=True)
class Stage:
    """One op of a step that computes several, one after the other.

    ``operands`` are positions in the step's reads; None stands for the result of the stage before.
    """

    opcode: str
    attrs: Mapping[str, Any]
    operands: tuple[int | None, ...]


@dataclass(eq=False, slots=True)
class Step:
    """One thing to do: read views, compute, write a view.

    Attributes:
        name: unique; the written storage's name plus what is done when that is not enough.
        kind: "pointwise", "reduce", "moments", "matmul", "fill", "ramp", "copy" or "hbm_copy".
        op: the tensor_ir op it comes from (None for copies).
        attrs: what the kind needs: "value" of a fill, the regions of an hbm_copy.
        stages: of a pointwise step that computes more than ``op``, its last: all ops in order.
        hidden: what a mask hides of that over which the step runs.
    """

    name: str
    kind: str
    op: Op | None
    reads: tuple[View, ...]
    write: View
    attrs: dict[str, Any] = field(default_factory=dict)
    loc: Location | None = None
    stages: tuple[Stage, ...] = ()
    hidden: Hidden | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The iteration space: written axes first, then reduced ones."""
        seen = dict.fromkeys(self.write.axes)
        for view in self.reads:
            seen.update(dict.fromkeys(view.axes))
        return tuple(seen)

    @property
    def reduced(self) -> tuple[Axis, ...]:
        """Axes that are read and not written."""
        kept = set(self.write.axes)
        return tuple(a for a in self.axes if a not in kept)

    @property
    def inseparable(self) -> tuple[Axis, ...]:
        """Axes that it writes at once, whatever it reads."""
        read = {a for view in self.reads for a in view.axes}
        return tuple(a for a in self.write.axes if self.kind == "moments" and a not in read)

    def __repr__(self) -> str:
        what = self.op.opcode if self.op and self.kind != "moments" else self.kind
        what = "+".join(s.opcode for s in self.stages) or what
        return f"{self.write!r} = {what}({', '.join(map(repr, self.reads))})"


@dataclass(frozen=True, eq=False, slots=True)
class Hidden:
    """The hidden part of the scores over two axes.

    Attributes:
        rows, cols: the axes of the mask.
        mask: the step that applies it.
        steps: all steps that run over both axes.
        plain_to: per row, the column up to which the mask changes nothing.
        seen_to: per row, the column from which on all are hidden.
        added: whether the mask is added and each of its numbers is 0 or one that hides, of a size
            that can be divided by a scale.
    """

    rows: Axis
    cols: Axis
    mask: Step
    steps: frozenset[Step]
    plain_to: tuple[int, ...]
    seen_to: tuple[int, ...]
    added: bool = False

    def within(self, start: int, stop: int, unit: int) -> tuple[int, int]:
        """For a block of rows: the column up to which the mask changes nothing, and the one from
        which on all are hidden; in multiples of ``unit``, the first rounded down."""
        plain, seen = min(self.plain_to[start:stop]), max(self.seen_to[start:stop])
        seen = min(self.cols.extent, -(-seen // unit) * unit)
        return min(plain // unit * unit, seen), seen

    @property
    def seen_share(self) -> float:
        """Of all scores, the part that is not hidden."""
        return sum(self.seen_to) / (self.rows.extent * self.cols.extent)


@dataclass(eq=False, slots=True)
class Program:
    """Steps in execution order over storages.

    Attributes:
        inputs, outputs: storages in graph order; outputs are written by some step.
        dims: tensor_ir value name -> per dimension, its atomic axes (reports read this).
    """

    name: str
    steps: list[Step]
    inputs: list[Storage]
    outputs: list[Storage]
    dims: dict[str, tuple[tuple[Axis, ...], ...]] = field(default_factory=dict)

    @property
    def storages(self) -> list[Storage]:
        """All storages that some step touches or that the caller sees, in order of appearance."""
        seen: dict[Storage, None] = dict.fromkeys(self.inputs)
        for step in self.steps:
            for view in (*step.reads, step.write):
                seen.setdefault(view.storage)
        seen.update(dict.fromkeys(self.outputs))
        return list(seen)

    def writers(self, storage: Storage) -> list[Step]:
        return [s for s in self.steps if s.write.storage is storage]

    def readers(self, storage: Storage) -> list[Step]:
        return [s for s in self.steps if any(v.storage is storage for v in s.reads)]

    def to_networkx(self) -> nx.MultiDiGraph:
        """Steps as nodes in order, an edge per storage from each writer to each reader."""
        view: nx.MultiDiGraph = nx.MultiDiGraph(name=self.name)
        view.add_nodes_from(self.steps)
        written: dict[Storage, list[Step]] = {}
        for step in self.steps:
            for read in dict.fromkeys(v.storage for v in step.reads):
                for writer in written.get(read, ()):
                    view.add_edge(writer, step, storage=read)
            written.setdefault(step.write.storage, []).append(step)
        return view

    def dump(self) -> str:
        """The program as text, a step a line."""
        lines = [f"program @{self.name}"]
        lines += [f"  {s.kind} {s!r}" for s in self.storages]
        lines += [f"  {step!r}" for step in self.steps]
        return "\n".join(lines)
