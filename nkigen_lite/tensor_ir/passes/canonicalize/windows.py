"""Slices and concatenations: merged, or seen through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import made_by, read_once, uniform
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

RULES: list[TensorRule] = []
rule = collect(RULES)

Ints = tuple[int, ...]


def _put(items: Ints, position: int, item: int) -> Ints:
    return (*items[:position], item, *items[position + 1 :])


def _sliced(b: Builder, x: Value, starts: Ints, stops: Ints, strides: Ints) -> Value:
    """That window of ``x``; ``x`` itself when it is all of it."""
    if all(s == 1 for s in strides) and not any(starts) and stops == x.type.shape:
        return x
    return b.slice(x, starts, stops, strides)


@rule("slice")
def slice_everything(b: Builder, op: Op) -> Value | None:
    """A slice of everything is everything.

    %y: <2x3xf32> = slice(%x) {starts=(0, 0), stops=(2, 3)}
    -->
    %x
    """
    x = op.inputs[0]
    return x if x.type == op.result.type else None


@rule("slice")
def slice_twice(b: Builder, op: Op) -> Value | None:
    """A window of a window is a window.

    %x: <16xf32>
    %s: <6xf32> = slice(%x) {starts=(2,), stops=(14,), strides=(2,)}
    %y: <2xf32> = slice(%s) {starts=(1,), stops=(5,), strides=(3,)}
    -->
    %y: <2xf32> = slice(%x) {starts=(4,), stops=(11,), strides=(6,)}
    """
    inner = made_by(op.inputs[0], "slice")
    if inner is None:
        return None
    pairs = list(zip(inner.attrs["strides"], op.attrs["strides"], strict=True))
    starts = tuple(
        first + step * second
        for first, step, second in zip(
            inner.attrs["starts"], inner.attrs["strides"], op.attrs["starts"], strict=True
        )
    )
    strides = tuple(a * c for a, c in pairs)
    stops = tuple(
        start + (n - 1) * stride + 1
        for start, n, stride in zip(starts, op.result.type.shape, strides, strict=True)
    )
    return b.slice(inner.inputs[0], starts, stops, strides)


@rule("slice")
def slice_of_broadcast(b: Builder, op: Op) -> Value | None:
    """A slice cuts fewer elements before a broadcast.

    %x: <1x8xf32>
    %w: <4x8xf32> = broadcast_to(%x) {shape=(4, 8)}
    %y: <2x3xf32> = slice(%w) {starts=(0, 1), stops=(2, 4)}
    -->
    %s: <1x3xf32> = slice(%x) {starts=(0, 1), stops=(1, 4)}
    %y: <2x3xf32> = broadcast_to(%s) {shape=(2, 3)}
    """
    inner = made_by(op.inputs[0], "broadcast_to")
    if inner is None:
        return None
    x = inner.inputs[0]
    skipped = op.result.type.rank - x.type.rank
    starts, stops, strides = (op.attrs[k][skipped:] for k in ("starts", "stops", "strides"))
    for i, extent in enumerate(x.type.shape):
        if extent == 1:
            starts, stops, strides = _put(starts, i, 0), _put(stops, i, 1), _put(strides, i, 1)
    return b.broadcast_to(_sliced(b, x, starts, stops, strides), op.result.type.shape)


@rule("slice")
def slice_of_concat(b: Builder, op: Op) -> Value | None:
    """A window inside one part of a concatenation needs that part only.

    %x: <4xf32>
    %z: <3xf32>
    %c: <7xf32> = concat(%x, %z) {axis=0}
    %y: <2xf32> = slice(%c) {starts=(5,), stops=(7,)}
    -->
    %y: <2xf32> = slice(%z) {starts=(1,), stops=(3,)}
    """
    whole = made_by(op.inputs[0], "concat")
    if whole is None:
        return None
    axis = whole.attrs["axis"]
    starts, stops, strides = (op.attrs[k] for k in ("starts", "stops", "strides"))
    begin = starts[axis]
    last = begin + (op.result.type.shape[axis] - 1) * strides[axis]
    offset = 0
    for part in whole.inputs:
        extent = part.type.shape[axis]
        if begin < offset + extent:
            if last >= offset + extent:
                return None
            starts, stops = _put(starts, axis, begin - offset), _put(stops, axis, last - offset + 1)
            return _sliced(b, part, starts, stops, strides)
        offset += extent
    return None


@rule("concat")
def concat_of_concat(b: Builder, op: Op) -> Value | None:
    """Concatenations along one dimension are one concatenation.

    %x: <2xf32>
    %z: <3xf32>
    %c: <5xf32> = concat(%x, %z) {axis=0}
    %y: <7xf32> = concat(%c, %x) {axis=0}
    -->
    %y: <7xf32> = concat(%x, %z, %x) {axis=0}
    """
    if _joins(b, op.result) or not any(_is_inner(b, op, v) for v in op.inputs):
        return None
    return b.concat(list(_parts(b, op)), op.attrs["axis"])


def _is_inner(b: Builder, op: Op, operand: Value) -> bool:
    inner = made_by(operand, "concat")
    return (
        inner is not None and inner.attrs["axis"] == op.attrs["axis"] and read_once(b, inner.result)
    )


def _joins(b: Builder, value: Value) -> bool:
    """Whether the op that reads ``value`` will take its parts: it does all of them at once."""
    users = value.uses if read_once(b, value) else []
    return any(user.opcode == "concat" and _is_inner(b, user, value) for user in users)


def _parts(b: Builder, op: Op) -> Iterator[Value]:
    """The operands of ``op`` and of the concatenations inside it, in order."""
    waiting = list(reversed(op.inputs))
    while waiting:
        operand = waiting.pop()
        if _is_inner(b, op, operand) and operand.producer is not None:
            waiting += reversed(operand.producer.inputs)
        else:
            yield operand


@dataclass(frozen=True, slots=True)
class _Run:
    """A part of a concatenation as a window of ``source``; ``value`` when nothing was merged."""

    source: Value
    starts: Ints
    stops: Ints
    strides: Ints
    value: Value | None

    def joined(self, other: _Run, axis: int) -> _Run | None:
        """The window of both when ``other`` goes on where this one ends."""
        goes_on = (
            self.source is other.source
            and self.strides == other.strides
            and self.strides[axis] == 1
            and self.stops[axis] == other.starts[axis]
            and _put(self.starts, axis, 0) == _put(other.starts, axis, 0)
            and _put(self.stops, axis, 0) == _put(other.stops, axis, 0)
        )
        return _Run(self.source, self.starts, other.stops, self.strides, None) if goes_on else None


def _run(value: Value) -> _Run:
    op = made_by(value, "slice")
    if op is not None:
        return _Run(op.inputs[0], op.attrs["starts"], op.attrs["stops"], op.attrs["strides"], value)
    rank = value.type.rank
    return _Run(value, (0,) * rank, value.type.shape, (1,) * rank, value)


@rule("concat")
def concat_of_slices(b: Builder, op: Op) -> Value | None:
    """Neighbouring slices of one value are one slice of it.

    %x: <4x8xf32>
    %s: <4x3xf32> = slice(%x) {starts=(0, 1), stops=(4, 4)}
    %t: <4x2xf32> = slice(%x) {starts=(0, 4), stops=(4, 6)}
    %y: <4x5xf32> = concat(%s, %t) {axis=1}
    -->
    %y: <4x5xf32> = slice(%x) {starts=(0, 1), stops=(4, 6)}
    """
    axis = op.attrs["axis"]
    runs: list[_Run] = []
    for operand in op.inputs:
        run = _run(operand)
        joined = runs[-1].joined(run, axis) if runs else None
        runs[-1:] = [joined] if joined else [*runs[-1:], run]
    if len(runs) == len(op.inputs):
        return None
    parts = [r.value or _sliced(b, r.source, r.starts, r.stops, r.strides) for r in runs]
    return parts[0] if len(parts) == 1 else b.concat(parts, axis)


@rule("concat")
def concat_of_constants(b: Builder, op: Op) -> Value | None:
    """Neighbouring constants of one number are one constant.

    %a: <2xf32> = constant() {value=1.0, shape=(2,)}
    %b: <3xf32> = constant() {value=1.0, shape=(3,)}
    %x: <4xf32>
    %y: <9xf32> = concat(%a, %b, %x) {axis=0}
    -->
    %c: <5xf32> = constant() {value=1.0, shape=(5,)}
    %y: <9xf32> = concat(%c, %x) {axis=0}
    """
    axis = op.attrs["axis"]
    runs: list[list[Value]] = []
    before = None
    for operand in op.inputs:
        number = uniform(operand)
        text = None if number is None else repr(number)  # repr: 0.0 and -0.0 differ
        if text is not None and text == before:
            runs[-1].append(operand)
        else:
            runs.append([operand])
        before = text
    if len(runs) == len(op.inputs):
        return None
    parts = [_one_constant(b, run, axis) for run in runs]
    return parts[0] if len(parts) == 1 else b.concat(parts, axis)


def _one_constant(b: Builder, run: list[Value], axis: int) -> Value:
    number, kind = uniform(run[0]), run[0].type
    if len(run) == 1 or number is None:
        return run[0]
    extent = sum(part.type.shape[axis] for part in run)
    return b.full(_put(kind.shape, axis, extent), number, kind.dtype)
