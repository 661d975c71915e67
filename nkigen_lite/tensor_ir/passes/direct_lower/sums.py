"""What ScalarE can do on the way while it makes the rows of an activation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nkigen_lite.core.dtypes import DType
from nkigen_lite.nki_ir.rows.activation import SUMMED_FREE_MAX
from nkigen_lite.tensor_ir.passes.axes import Step, Storage
from nkigen_lite.tensor_ir.passes.direct_lower.buffers import MAX_FREE_DIMS, Ranges, full
from nkigen_lite.tensor_ir.passes.direct_lower.pointwise import is_activation
from nkigen_lite.tensor_ir.passes.schedule import Segment


def summing_step(segment: Segment, position: int, ranges: Ranges) -> int | None:
    """The later step whose sums over rows ScalarE can add up while it makes them."""
    step = segment.steps[position]
    made, axis = step.write, segment.impls[position].partition
    if not is_activation(step) or made.storage.dtype is not DType.F32:
        return None
    long = [a for a in made.axes if a == axis or ranges.get(a, full(a)).size > 1]
    free = math.prod(ranges.get(a, full(a)).size for a in long if a != axis)
    if axis is None or free > SUMMED_FREE_MAX or len(long) > MAX_FREE_DIMS:
        return None
    for later in range(position + 1, len(segment.steps)):
        reader, impl = segment.steps[later], segment.impls[later]
        same = [v.coords for v in reader.reads if v.storage is made.storage] == [made.coords]
        sums = reader.kind == "reduce" and reader.op and reader.op.attrs["kind"] == "sum"
        alone = not set(reader.write.axes) & set(long) - {axis}
        if same and sums and alone and impl.partition == axis:
            return later if impl.method == "free" else None
    return None


def copy_made_at_once(segment: Segment, position: int, reader: int) -> int:
    """The copy to another type that an activation may make itself, as nobody but that copy and the
    sums at ``reader`` needs its result as it is; else the activation's own position."""
    made = segment.steps[position].write.storage
    readers = [at for at, s in enumerate(segment.steps) if any(v.storage is made for v in s.reads)]
    crosses = any(storage is made for storage, _ in segment.writes)
    copies = [at for at in readers if at != reader]
    if crosses or len(copies) != 1:
        return position
    copy = segment.steps[copies[0]]
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
