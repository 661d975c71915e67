"""Casts that need no step of their own.

Engines read any type, compute in f32 and round to the type of what they write. So a step can read
the narrow value that was cast to f32 for it, and write the narrow value that its f32 result is
cast to: the same numbers, in fewer and smaller tiles.
"""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType
from nkigen_lite.tensor_ir.passes.axes.program import Axis, Coord, Program, Step, View

_READS_ANY = ("pointwise", "copy", "reduce")
_WRITES_ANY = ("pointwise", "copy", "reduce", "matmul", "fill")


def fold_casts(program: Program) -> Program:
    """Fold casts in place where that changes no number; casts that nobody reads then are dropped.

    Reading: a cast of a narrower float to f32 is exact. Products of two such values are exact in
    f32, too, so a matmul reads both of its operands narrow, or neither. Writing: an f32 result
    that only a cast reads is rounded once, by whoever writes it.
    """
    for step in program.steps:
        _read_narrow(program, step)
    for cast in [s for s in program.steps if _is_cast(s)]:
        _write_narrow(program, cast)
    read = {v.storage for s in program.steps for v in s.reads}
    program.steps[:] = [
        s
        for s in program.steps
        if not _is_cast(s) or s.write.storage.kind == "output" or s.write.storage in read
    ]
    return program


def _is_cast(step: Step) -> bool:
    return step.kind == "pointwise" and step.op is not None and step.op.opcode == "cast"


def _read_narrow(program: Program, step: Step) -> None:
    narrow = [_before_cast(program, view) for view in step.reads]
    if step.kind == "matmul":
        kinds = {view.storage.dtype for view in narrow if view is not None}
        if None in narrow or len(kinds) > 1:
            return
    elif step.kind not in _READS_ANY:
        return
    step.reads = tuple(new or old for new, old in zip(narrow, step.reads, strict=True))


def _before_cast(program: Program, view: View) -> View | None:
    """The same reading of what was cast to f32 to make the view's storage, or None."""
    storage = view.storage
    writers = program.writers(storage)
    if storage.dtype is not DType.F32 or len(writers) != 1 or not _is_cast(writers[0]):
        return None
    cast = writers[0]
    source = cast.reads[0]
    kind = source.storage.dtype
    if not (kind.is_float and kind.itemsize < storage.dtype.itemsize and cast.write.is_whole):
        return None
    if source.storage.kind == "constant":
        return None
    at = dict(zip(storage.axes, view.coords, strict=True))
    return View(source.storage, tuple(_composed(coord, at) for coord in source.coords))


def _composed(inner: Coord, at: dict[Axis, Coord]) -> Coord:
    """Where a reading of a reading stands."""
    if inner.axis is None:
        return inner
    outer = at[inner.axis]
    return Coord(outer.axis, inner.start + inner.step * outer.start, inner.step * outer.step)


def _write_narrow(program: Program, cast: Step) -> None:
    """Let the writer of a cast's source write its result, if nobody else reads the source."""
    source, target = cast.reads[0], cast.write
    storage = source.storage
    writers = program.writers(storage)
    if storage.kind != "temp" or storage.dtype is not DType.F32 or len(writers) != 1:
        return
    writer = writers[0]
    alone = program.readers(storage) == [cast]
    whole = source.is_whole and target.is_whole and writer.write.is_whole
    if not (alone and whole and writer.kind in _WRITES_ANY and target.storage.dtype.is_float):
        return
    if storage.axes != target.storage.axes or program.writers(target.storage) != [cast]:
        return
    writer.write = target
    program.steps.remove(cast)
