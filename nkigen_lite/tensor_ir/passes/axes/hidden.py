"""Which scores a constant mask hides from a softmax, so that nothing computes them.

A mask of the rows and columns of a score matrix adds 0 where a column counts and a huge negative
number, or -inf, where it does not; or a selection puts such a number there. After the largest of
the row is subtracted, a hidden score's exponential is 0: neither the sums nor the product with the
values need it. So for each row there is a column from which on all may be left out, and one up to
which nothing changes.

Numbers of at most ``HIDING`` hide. They do so for scores whose differences stay below that in size,
which f32 softmax needs anyway: beyond, its largest exponential is all that is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.tensor_ir.passes.axes.program import Axis, Hidden, Program, Stage, Step, Storage

HIDING = -1e9
_LEAST = -1e32  # of masks that may be divided by a scale, and multiplied by zeros


def note_hidden(program: Program, constants: Mapping[str, Array]) -> Program:
    """Note in the steps of a program what masks among its constant inputs hide, in place."""
    for step in program.steps:
        hidden = _hidden_by(program, step, constants)
        if hidden is not None and not any(s.hidden for s in hidden.steps):
            for each in hidden.steps:
                each.hidden = hidden
    return program


def plain_step(step: Step, hidden: Hidden) -> Step | None:
    """The masking step where the mask changes nothing; None if that is no single operation."""
    if len(step.stages) != 2 or step is not hidden.mask:
        return None
    position = _mask_position(step, hidden.rows, hidden.cols)
    first, second = step.stages
    if position not in second.operands or None not in second.operands:
        return None
    kept = [k for k in first.operands if k is not None]
    places = {k: n for n, k in enumerate(kept)}
    stage = Stage(first.opcode, first.attrs, tuple(places[k] for k in kept))
    return replace(step, reads=tuple(step.reads[k] for k in kept), stages=(stage,))


def _hidden_by(program: Program, step: Step, constants: Mapping[str, Array]) -> Hidden | None:
    """What a step hides, if it applies a mask and nothing misses what that hides."""
    for view in step.reads:
        storage = view.storage
        mask = constants.get(storage.name) if storage.kind == "input" else None
        if mask is None or len(storage.axes) != 2 or not view.is_whole or not step.write.is_whole:
            continue
        seen = _seen(step, view.storage, np.asarray(mask).reshape([a.extent for a in storage.axes]))
        if seen is None:
            continue
        rows, cols = storage.axes
        over = [s for s in program.steps if {rows, cols} <= set(s.axes)]
        if not seen.any(axis=1).all() or not _is_softmax_of(program, step, over, cols):
            continue
        plain = seen if step.op and step.op.opcode == "where" else mask.reshape(seen.shape) == 0
        return Hidden(
            rows,
            cols,
            step,
            frozenset(over),
            tuple(int(n) for n in np.where(plain.all(1), cols.extent, plain.argmin(1))),
            tuple(int(n) for n in cols.extent - seen[:, ::-1].argmax(1)),
            _is_added(step, np.asarray(mask)),
        )
    return None


def _seen(step: Step, mask: Storage, values: Array) -> Array | None:
    """Where a mask leaves scores in sight; None if the step does not hide any."""
    opcode = step.op.opcode if step.op and step.kind == "pointwise" else ""
    if opcode == "where" and step.reads[0].storage is mask and not step.stages:
        other = step.reads[2].storage
        hides = other.kind == "constant" and other.fill is not None and other.fill <= HIDING
        return values.astype(bool) if hides else None
    if opcode == "add" and mask.dtype.is_float:
        hidden = np.asarray(values, np.float32) <= HIDING
        return ~hidden if hidden.any() else None
    return None


def _is_added(step: Step, values: Array) -> bool:
    """Whether a step adds a mask of moderate numbers, each 0 or one that hides."""
    if step.op is None or step.op.opcode != "add":
        return False
    wide = np.asarray(values, np.float32)
    return bool(((wide == 0) | ((wide >= _LEAST) & (wide <= HIDING))).all())


def _mask_position(step: Step, rows: Axis, cols: Axis) -> int:
    """Which operand the mask is."""
    return next(
        k for k, v in enumerate(step.reads) if v.storage.axes == (rows, cols) and v.is_whole
    )


def _is_softmax_of(program: Program, mask: Step, over: list[Step], cols: Axis) -> bool:
    """Whether hidden scores are nowhere missed: what is made of them over both axes is 0 in the
    end, and only sums, largest elements and products over the columns read it; and what is only
    made for them has no other reader."""
    hidden: dict[Storage, str] = {mask.write.storage: "hidden"}
    for step in over:
        made = step.write.storage
        if cols in step.write.axes and (made.kind != "temp" or len(program.writers(made)) != 1):
            return False
        reads = [hidden.get(v.storage) for v in step.reads]
        if any(reads) and step is not mask:
            state = _made_of(step, reads, cols)
            if state == "missed":
                return False
            if state != "gone":
                hidden[made] = state
        elif step is not mask and cols in step.reduced:
            return False
        if not any(reads) and any(reader not in over for reader in program.readers(made)):
            return False
    return all(reader in over for storage in hidden for reader in program.readers(storage))


def _made_of(step: Step, reads: list[str | None], cols: Axis) -> str:
    """What a step makes of hidden scores: "hidden" ones, "zero", nothing ("gone") or "missed"."""
    reduces = cols in step.reduced
    if step.kind == "reduce" and step.op is not None:
        wanted = {"max": "hidden", "sum": "zero"}.get(step.op.attrs["kind"])
        return "gone" if reduces and reads == [wanted] else "missed"
    if step.kind == "matmul":
        return "gone" if reduces and "zero" in reads and "hidden" not in reads else "missed"
    if step.kind == "copy":
        return reads[0] or "missed"
    if step.kind != "pointwise" or step.op is None:
        return "missed"
    stages = step.stages or (Stage(step.op.opcode, step.op.attrs, tuple(range(len(reads)))),)
    state = ""
    for stage in stages:
        given = [state if k is None else reads[k] for k in stage.operands]
        state = _through(stage.opcode, given)
    return state


def _through(opcode: str, given: list[str | None]) -> str:
    """What one operation makes of operands that are hidden scores, zeros or others (None)."""
    if opcode == "exp" and given == ["hidden"]:
        return "zero"
    if opcode == "sub" and given == ["hidden", None]:
        return "hidden"
    if opcode == "cast" or (opcode == "mul" and "zero" in given):
        return given[0] or "zero"
    return "missed"
