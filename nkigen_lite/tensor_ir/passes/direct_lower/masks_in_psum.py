"""Masks that the PE array adds to scores in PSUM.

Scores that are scaled as they leave PSUM have their mask added before: divided by the scale, as
the product of a diagonal of its inverse with the part of the mask. What is visible has 0 added,
exactly; what is hidden stays so. VectorE then takes all scores of a row out of PSUM in the same
way, with the largest of them, instead of masking some apart.
"""

from __future__ import annotations

from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.rows.tensor_engine import MULTIPLIES
from nkigen_lite.nki_ir.types import DimSlice, MemorySpace
from nkigen_lite.tensor_ir.passes.axes import Step, View
from nkigen_lite.tensor_ir.passes.axes.tiles import PARTITIONS
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import Range, Ranges, Rows, full, tile_view
from nkigen_lite.tensor_ir.passes.direct_lower.segment_buffers import SegmentBuffers
from nkigen_lite.tensor_ir.passes.direct_lower.sums import unmasked
from nkigen_lite.tensor_ir.passes.schedule import Segment

_LEAST_SCALE = 1e-6  # whose inverse times the least number of such a mask is finite in f32


def can_add_mask(segment: Segment, at: int, view: View) -> bool:
    """Whether the mask that the step at a place reads may be added before the scores are scaled."""
    return (
        segment.hidden is not None
        and segment.hidden.added
        and view.storage.dtype in MULTIPLIES
        and _scale(unmasked(segment, at)) is not None
    )


def _scale(plain: Step | None) -> float | None:
    """The positive number by which a step multiplies scores, if it does no more."""
    if plain is None or [stage.opcode for stage in plain.stages] != ["mul"]:
        return None
    fills = [v.storage.fill for v in plain.reads if v.storage.kind == "constant"]
    scale = float(fills[0]) if fills and fills[0] is not None else 0.0
    return scale if scale > _LEAST_SCALE else None


def diagonal_for(b: Builder, segment: Segment, at: int, view: View) -> Value:
    """A tile [partitions, partitions] with one over the scale on its diagonal."""
    scale = _scale(unmasked(segment, at))
    assert scale is not None
    kind, shape = view.storage.dtype, (PARTITIONS, PARTITIONS)
    filled = b.alloc(shape, kind, MemorySpace.SBUF, name="inverse_scale")
    b.memset(filled, 1.0 / scale)
    diagonal = b.alloc(shape, kind, MemorySpace.SBUF, name="diagonal")
    b.affine_select(
        diagonal, filled, pattern=((-1, PARTITIONS),), channel_multiplier=1, on_false=0.0
    )
    return diagonal


def add_mask(
    s: SegmentBuffers, masking: Step, first: int, acc: Value, rows: Rows, ranges: Ranges
) -> None:
    """Add to the scores ``acc`` in PSUM what is masked of them: columns from ``first`` on."""
    assert s.segment.hidden is not None
    assert s.diagonal is not None
    cols = s.segment.hidden.cols
    here = ranges.get(cols, full(cols))
    start, end = here.start.const, here.start.const + here.size
    from_column = max(first, start)
    if from_column >= end:
        return
    at = s.segment.steps.index(masking)
    position = next(n for n, view in enumerate(masking.reads) if s.is_mask(view))
    buffer, coords = s.source(masking, s.segment.impls[at], position)
    part = {**ranges, cols: Range(here.start + (from_column - start), end - from_column)}
    mask = tile_view(s.b, buffer, coords, rows, [cols], part)
    diagonal = s.b.slice(s.diagonal, [DimSlice(0, rows.rows), DimSlice(0, rows.rows)])
    columns = DimSlice(from_column - start, end - from_column)
    scores = s.b.slice(acc, [DimSlice(0, rows.rows), columns])
    s.b.matmul(scores, diagonal, mask, accumulate=True)
