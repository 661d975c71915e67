"""Reductions over rows that an instruction makes on the way, while it makes the rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from nkigen_lite.core.dtypes import DType
from nkigen_lite.nki_ir.limits import MAX_FREE_DIMS
from nkigen_lite.nki_ir.rows.activation import SUMMED_FREE_MAX
from nkigen_lite.tensor_ir.passes.axes import Axis, Stage, Step, Storage, View
from nkigen_lite.tensor_ir.passes.axes.hidden import plain_step
from nkigen_lite.tensor_ir.passes.direct_lower.pointwise import (
    ARITHMETIC,
    NATIVE,
    is_activation,
)
from nkigen_lite.tensor_ir.passes.direct_lower.reduce import kind_of
from nkigen_lite.tensor_ir.passes.schedule import PSUM_BANK_ELEMENTS, Segment, drained_matmul

_COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "equal", "not_equal"})


def reducing_step(segment: Segment, position: int) -> int | None:
    """The later step whose reduction over rows the step at ``position`` can make on the way: sums
    by ScalarE with an activation, any reduction by VectorE with one operation by a scalar."""
    step, axis = segment.steps[position], segment.impls[position].partition
    step = unmasked(segment, position) or step
    made = step.write
    if segment.stream or axis is None or made.storage.dtype is not DType.F32:
        return None
    drains = drained_matmul(segment, position) is not None
    if drains:
        axis = segment.impls[position - 1].out
    activates = is_activation(step) and not drains
    if not activates and not _takes_scalar(step, axis):
        return None
    long = [a for a in made.axes if a == axis or _size(segment, a) > 1]
    free = math.prod(_size(segment, a) for a in long if a != axis)
    if free > SUMMED_FREE_MAX or len(long) > MAX_FREE_DIMS:
        return None
    if drains and (len(long) != 2 or not made.is_whole or _is_looped(segment, long, axis)):
        return None
    for later in range(position + 1, len(segment.steps)):
        reader, impl = segment.steps[later], segment.impls[later]
        same = [v.coords for v in reader.reads if v.storage is made.storage] == [made.coords]
        if reader.kind != "reduce" or not same or impl.partition != axis:
            continue
        alone = not set(reader.write.axes) & set(long) - {axis}
        if alone and impl.method == "free" and (kind_of(reader) == "sum" or not activates):
            return later
        return None
    return None


def unmasked(segment: Segment, position: int) -> Step | None:
    """What the step at a position does where a mask changes nothing, if it is the one that takes
    masked scores out of PSUM and can also make their reduction on the way there."""
    hidden, step = segment.hidden, segment.steps[position]
    if hidden is None or step is not hidden.mask or drained_matmul(segment, position) is None:
        return None
    plain, rows = plain_step(step, hidden), segment.impls[position - 1].out
    if plain is None or rows != hidden.rows or row_axis(segment, position) != hidden.cols:
        return None
    return plain if _takes_scalar(plain, rows) else None


def row_axis(segment: Segment, position: int) -> Axis | None:
    """The axis along the rows that a matmul's result has when it is taken out of PSUM."""
    step, axis = segment.steps[position], segment.impls[position - 1].out
    long = (a for a in step.write.axes if a != axis and _size(segment, a) > 1)
    return next(long, None)


def _takes_scalar(step: Step, partition: Axis | None) -> bool:
    """Whether a pointwise step is one arithmetic operation of a tile by a number, or by one value
    per partition of the axis there, in the order that ``tensor_scalar_reduce`` has."""
    opcode = step.op.opcode if step.kind == "pointwise" and step.op else ""
    if step.stages:
        opcode = step.stages[0].opcode if len(step.stages) == 1 else ""
    if opcode not in ARITHMETIC or any(v.storage.dtype in NATIVE for v in step.reads):
        return False
    tile, scalar = step.reads
    if opcode in _COMMUTATIVE and _is_scalar(tile, partition):
        tile, scalar = scalar, tile
    return _is_scalar(scalar, partition) and not _is_scalar(tile, partition)


def _is_scalar(view: View, partition: Axis | None) -> bool:
    return view.storage.kind == "constant" or set(view.axes) <= {partition}


def has_long_results(segment: Segment) -> bool:
    """Whether some matmul's result has rows of more than one PSUM bank in an iteration."""
    return any(
        axis is not None and _size(segment, axis) > PSUM_BANK_ELEMENTS
        for position in range(1, len(segment.steps))
        if drained_matmul(segment, position) is not None
        for axis in (row_axis(segment, position),)
    )


def _size(segment: Segment, axis: Axis) -> int:
    """What one iteration covers of an axis."""
    blocks = (loop.block for loop in segment.loops if loop.axis == axis)
    return next(blocks, axis.extent)


def _is_looped(segment: Segment, axes: list[Axis], but: Axis | None) -> bool:
    looped = {loop.axis for loop in segment.loops}
    return any(a in looped for a in axes if a != but)


def copy_made_at_once(segment: Segment, position: int, reader: int) -> int:
    """The copy to another type that an activation may make itself, as nobody but that copy and the
    sums at ``reader`` needs its result as it is; else the activation's own position."""
    made = segment.steps[position].write.storage
    readers = [at for at, s in enumerate(segment.steps) if any(v.storage is made for v in s.reads)]
    crosses = any(storage is made for storage, _ in segment.writes)
    copies = [at for at in readers if at != reader]
    if crosses or len(copies) != 1 or not is_activation(segment.steps[position]):
        return position
    copy: Step = segment.steps[copies[0]]
    plain = copy.kind == "copy" and copy.write.is_whole and copy.reads[0].is_whole
    same = segment.impls[copies[0]] == segment.impls[position]
    return copies[0] if plain and same and copy.write.storage.dtype.is_float else position


def only_summed(steps: Sequence[Step], made: Storage) -> bool:
    """Whether of an activation's results nothing but their sums over rows is wanted: where these
    are added up on the way, a narrow buffer does for the results."""
    readers = [s for s in steps if any(v.storage is made for v in s.reads)]
    makers = [s for s in steps if s.write.storage is made]
    if made.kind != "temp" or len(readers) != 1 or len(makers) != 1:
        return False
    sums = readers[0].kind == "reduce" and readers[0].op and readers[0].op.attrs["kind"] == "sum"
    return bool(sums) and is_activation(makers[0]) and made.dtype is DType.F32


def negated_results(segment: Segment) -> set[Storage]:
    """Largest and least elements of rows that are only subtracted: these are made times -1, so that
    an activation takes them for its bias as they are."""
    crossing = {storage for storage, _ in segment.writes}
    made = [
        step.write.storage
        for step, impl in zip(segment.steps, segment.impls, strict=True)
        if step.kind == "reduce" and impl.method == "free" and kind_of(step) in ("max", "min")
    ]
    return {
        storage
        for storage in made
        if storage not in crossing
        and not segment.stream
        and storage.dtype is DType.F32
        and all(s.write.storage is not storage or s.kind == "reduce" for s in segment.steps)
        and all(_only_subtracts(step, storage) for step in segment.steps)
    }


def _only_subtracts(step: Step, storage: Storage) -> bool:
    """Whether all that a step does with a storage, if anything, is to subtract it."""
    at = {k for k, view in enumerate(step.reads) if view.storage is storage}
    uses = [stage for stage in step.stages if at & set(stage.operands)]
    subtracts = [s for s in uses if s.opcode == "sub" and s.operands[0] not in at]
    return not at or (step.kind == "pointwise" and bool(uses) and uses == subtracts)


def added_stages(step: Step, negated: Collection[Storage]) -> tuple[Stage, ...]:
    """The stages of a step, with what is there times -1 added where it would be subtracted."""
    at = {k for k, view in enumerate(step.reads) if view.storage in negated}
    return tuple(
        replace(stage, opcode="add") if at & set(stage.operands) else stage for stage in step.stages
    )
