"""The implementations of one step: what goes on partitions, which operand is stationary."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

from nkigen_lite.core.dtypes import DType
from nkigen_lite.errors import NotSupported
from nkigen_lite.nki_ir.rows.tensor_engine import MULTIPLIES
from nkigen_lite.tensor_ir.passes.axes import Axis, Step
from nkigen_lite.tensor_ir.passes.axes.direct import run_in_hbm
from nkigen_lite.tensor_ir.passes.axes.tiles import PARTITIONS
from nkigen_lite.tensor_ir.passes.direct_lower.matmul import roles
from nkigen_lite.tensor_ir.passes.direct_lower.moments import METHODS
from nkigen_lite.tensor_ir.passes.direct_lower.pointwise import has_emitter
from nkigen_lite.tensor_ir.passes.schedule import Impl

MAX_AXES = 3  # partition axes tried per step: the longest ones
ROW_LIMIT = 8192  # elements that a step may put on a single partition


def impls_of(step: Step) -> list[Impl]:
    """Implementations of one step, likely ones first.

    Raises:
        NotSupported: no engine does the step; names the op, its source line and the reason.
    """
    return _IMPLS[step.kind](step)


def longest(axes: Iterable[Axis], count: int = MAX_AXES) -> list[Axis]:
    return sorted(dict.fromkeys(axes), key=lambda a: -min(a.extent, PARTITIONS))[:count]


def _copies(axes: Sequence[Axis]) -> list[Impl]:
    """Running on one partition, or the same on all of them; few elements, or a lone awkward axis
    whose partition layout would mean DMA runs of one element."""
    if elements(axes) <= ROW_LIMIT:
        return [Impl(None, rows=PARTITIONS), Impl(None, rows=1)]
    return [Impl(None, rows=1)] if len(axes) == 1 else []


def elements(axes: Iterable[Axis]) -> int:
    return math.prod(a.extent for a in axes)


def _pointwise(step: Step) -> list[Impl]:
    opcode = step.op.opcode if step.op and step.kind == "pointwise" else "copy"
    if not has_emitter(opcode):
        raise NotSupported(_message(step, f"{opcode}: no engine computes it"))
    found = [Impl(a) for a in longest(step.write.axes)]
    return found + (_copies(step.write.axes) or ([] if found else [Impl(None)]))


def _copy(step: Step) -> list[Impl]:
    return [*([Impl(None, rows=1, method="hbm")] if run_in_hbm(step) else []), *_pointwise(step)]


def _reduce(step: Step) -> list[Impl]:
    assert step.op is not None
    kept = [Impl(a) for a in longest(step.write.axes)]
    if step.op.attrs["kind"] == "sum" and step.reads[0].storage.dtype in (DType.BF16, DType.F16):
        # Loads of wider types take longer than VectorE does.
        kept += [Impl(a, method="both") for a in longest(step.write.axes)]
    over = "ones" if step.op.attrs["kind"] == "sum" else "lanes"
    if over == "ones" and step.reads[0].storage.dtype not in (DType.F32, DType.BF16, DType.F16):
        over = "lanes" if not step.reads[0].storage.dtype.is_float else "ones"
    across = [
        Impl(a, method=over) for a in longest(step.reduced, 2) if _sums_on_chip(step, over, a)
    ]
    return [*kept, *across, *_copies(step.axes)]


def _moments(step: Step) -> list[Impl]:
    """Which engines read the rows; only rows along the free dimension."""
    kept = [a for a in step.write.axes if a not in step.inseparable]
    return [Impl(a, method=method) for a in longest(kept) for method in METHODS]


def _sums_on_chip(step: Step, method: str, axis: Axis) -> bool:
    """A product with ones needs a float; GpSimd adds anything."""
    dtype = step.reads[0].storage.dtype
    return method == "lanes" or dtype in MULTIPLIES


def _matmul(step: Step) -> list[Impl]:
    for view in step.reads:
        dtype = view.storage.dtype
        if dtype not in MULTIPLIES:
            raise NotSupported(
                _message(step, f"matmul: dtype {dtype} is not one that the PE array multiplies")
                + "\n  help: cast to bf16 or f32 first"
            )
    found = []
    for stationary in (0, 1):
        r = roles(step, Impl(None, stationary=stationary))
        moving = set(step.reads[1 - stationary].axes)
        own = [a for a in r.outer if a not in moving]
        depths: Sequence[Axis | None] = longest(step.reduced, 2) or [None]
        outs: Sequence[Axis | None] = longest(own, 2) or [None]
        found += [Impl(d, o, stationary) for d, o in itertools.product(depths, outs)]
    return found


def _message(step: Step, text: str) -> str:
    return text + (f"\n  at {step.loc}" if step.loc else "")


def _made(step: Step) -> list[Impl]:
    found = [Impl(a) for a in longest(step.write.axes)]
    return found + (_copies(step.write.axes) or ([] if found else [Impl(None)]))


_IMPLS: dict[str, Callable[[Step], list[Impl]]] = {
    "pointwise": _pointwise,
    "copy": _copy,
    "reduce": _reduce,
    "moments": _moments,
    "matmul": _matmul,
    "fill": _made,
    "ramp": _made,
    "hbm_copy": lambda step: [Impl(None, rows=1)],
}
