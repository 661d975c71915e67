"""Scores of which a mask hides some: taken out of PSUM, masked where it changes something."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir.types import Affine
from nkigen_lite.tensor_ir.passes.axes import Coord, Step
from nkigen_lite.tensor_ir.passes.axes.tiles import partition_tile
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import (
    Buffer,
    Range,
    Ranges,
    Rows,
    for_instructions,
    for_tiles,
    row_groups,
    tile_view,
)
from nkigen_lite.tensor_ir.passes.direct_lower.masks_in_psum import add_mask
from nkigen_lite.tensor_ir.passes.direct_lower.matmul import Drain, emit_matmul
from nkigen_lite.tensor_ir.passes.direct_lower.reduce import ALU, kind_of
from nkigen_lite.tensor_ir.passes.direct_lower.step_parts import operands_of, pointwise_part
from nkigen_lite.tensor_ir.passes.direct_lower.sums import unmasked
from nkigen_lite.tensor_ir.passes.schedule import Impl

if TYPE_CHECKING:
    from nkigen_lite.tensor_ir.passes.direct_lower.segment import SegmentLowering


def emit_masked(
    s: SegmentLowering,
    step: Step,
    impl: Impl,
    dst: Buffer,
    coords: Sequence[Coord],
    ranges: Ranges,
    split: tuple[int, int],
) -> None:
    """Scores and their mask: columns in which it changes nothing, then those in which it may."""
    writer = s.segment.steps.index(step) + 1
    masking, its = s.segment.steps[writer], s.segment.impls[writer]
    plain, reader = unmasked(s.segment, writer), s.reader_of_rows(masking)
    assert plain is not None
    hidden = s.segment.hidden
    assert hidden is not None
    cols, (plain_to, rest) = hidden.cols, split
    banks, operands = s.segment.run.psum_banks, operands_of(s, step, impl)
    made = step.write.storage

    def take_plain(acc: Value, rows: Rows, inner: Ranges) -> None:
        s.psum[made] = (acc, rows)
        pointwise_part(s, plain, its, dst, coords, rows, [cols], inner, acc)

    def take_masked(acc: Value, rows: Rows, inner: Ranges) -> None:
        s.psum[made] = (acc, rows)
        pointwise_part(s, masking, its, dst, coords, rows, [cols], inner, acc, reduced=False)

    def reduce_masked(reader: Step, rows: Rows, inner: Ranges) -> None:
        scores = tile_view(s.b, dst, coords, rows, [cols], inner)
        into = s.reduced_into(reader, rows, inner)
        op, negate = ALU[kind_of(reader)], s.is_negated(reader)
        s.b.tensor_reduce_arith(into, scores, op=op, num_r_dim=1, negate=negate)

    if s.diagonal is not None:
        _masked_in_psum(s, step, impl, ranges, take_plain)
        s.psum.pop(made)
        return
    # What is masked comes first, so that its reduction does not wait for it.
    for take, start, size in ((take_masked, plain_to, rest), (take_plain, 0, plain_to)):
        if size:
            s.part_base = start, -(-start // s.psum_width)
            here = {**ranges, cols: Range(Affine(start), size)}
            emit_matmul(s.b, step, impl, operands, here, take, banks=banks)
    s.psum.pop(made)
    if rest and reader is not None:
        s.part_base = plain_to, -(-plain_to // s.psum_width)
        here = {**ranges, cols: Range(Affine(plain_to), rest)}
        reduce = partial(reduce_masked, reader)
        reduce_rows = partial(
            for_instructions, s.b, order=[cols], ranges=here, body=reduce, most=s.psum_width
        )
        for group in row_groups(impl.out, ranges, partition_tile(hidden.rows.extent)):
            for_tiles(s.b, group, reduce_rows)
    s.part_base = 0, 0


def _masked_in_psum(
    s: SegmentLowering, step: Step, impl: Impl, ranges: Ranges, take: Drain
) -> None:
    """Scores in two spans, the second with the mask added in PSUM."""
    hidden, writer = s.segment.hidden, s.segment.steps.index(step) + 1
    spans = s.spans_at(writer, ranges)
    assert hidden is not None
    assert spans is not None
    assert s.plain_to is not None
    banks, operands = s.segment.run.psum_banks, operands_of(s, step, impl)
    mask = partial(add_mask, s, s.segment.steps[writer], s.plain_to)
    for start, size, more in ((0, spans[0], None), (spans[0], spans[1], mask)):
        if size:
            s.part_base = start, -(-start // s.psum_width)
            here = {**ranges, hidden.cols: Range(Affine(start), size)}
            emit_matmul(s.b, step, impl, operands, here, take, banks=banks, more=more)
    s.part_base = 0, 0
