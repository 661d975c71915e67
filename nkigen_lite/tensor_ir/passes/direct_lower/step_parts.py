"""What the emission of several kinds of steps has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.tensor_ir.passes.axes import Axis, Coord, Step
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Buffer,
    Ranges,
    Rows,
    full,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.direct_lower.matmul import Operands
from nkigen_lite.tensor_ir.passes.direct_lower.pairs import emit_stages
from nkigen_lite.tensor_ir.passes.direct_lower.pointwise import Args, emit_pointwise
from nkigen_lite.tensor_ir.passes.direct_lower.reduce import ALU, kind_of
from nkigen_lite.tensor_ir.passes.direct_lower.sums import added_stages
from nkigen_lite.tensor_ir.passes.schedule import Impl

if TYPE_CHECKING:
    from nkigen_lite.tensor_ir.passes.direct_lower.segment import SegmentLowering


def pointwise_part(
    s: SegmentLowering,
    step: Step,
    impl: Impl,
    dst: Buffer,
    coords: Sequence[Coord],
    rows: Rows,
    order: Sequence[Axis],
    ranges: Ranges,
    psum: Value | None = None,
    *,
    reduced: bool = True,
) -> None:
    """A pointwise step on the part of a block that one instruction takes; ``psum`` is there instead
    of what the matmul before it made, and with ``reduced`` rows are reduced on the way."""
    target = tile_view(s.b, dst, coords, rows, order, ranges)
    srcs: list[Value | float | int | bool] = []
    columns: list[Value | None] = []
    dtypes: list[DType] = []
    for position, view in enumerate(step.reads):
        dtypes.append(view.storage.dtype)
        columns.append(None)
        if view.storage.kind == "constant":
            assert view.storage.fill is not None
            srcs.append(view.storage.fill)
        elif psum is not None and view.storage in s.psum:
            srcs.append(psum)
        else:
            buffer, at = s.source(step, impl, position)
            srcs.append(tile_view(s.b, buffer, at, rows, order, ranges))
            varying = [a for a in view.axes if a in order and ranges.get(a, full(a)).size > 1]
            if not varying and rows.tiles == 1:
                columns[-1] = tile_view(s.b, buffer, at, rows, [], ranges)
    attrs = step.op.attrs if step.op else {}
    reader = s.reader_of_rows(step) if reduced else None
    sums = s.reduced_into(reader, rows, ranges) if reader else None
    reduction = ALU[kind_of(reader)] if reader else "add"
    negate = reader is not None and s.is_negated(reader)
    args = Args(target, tuple(srcs), tuple(columns), tuple(dtypes), attrs, sums, reduction, negate)
    if step.stages:
        emit_stages(s.b, added_stages(step, s.negated), args)
    else:
        emit_pointwise(s.b, step, args)


def operands_of(s: SegmentLowering, step: Step, impl: Impl) -> Operands:
    """The operands of a matmul step, stationary first."""
    order = (impl.stationary, 1 - impl.stationary)
    (left, at_left), (right, at_right) = (s.source(step, impl, p) for p in order)
    return Operands((left, right), (at_left, at_right))
