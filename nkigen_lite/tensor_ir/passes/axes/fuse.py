"""Two elementwise ops in one step, where one instruction may compute both.

ScalarE evaluates ``f(x * scale + bias)``; VectorE's tensor_scalar applies two operations, each with
a number or one value per partition, and its scalar_tensor_tensor one of these and then one with
another tile. Whether an operand is such a column depends on the layout, so
it is settled when the step is lowered; a pair that has no instruction then becomes two.
"""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType
from nkigen_lite.tensor_ir.passes.axes.program import Axis, Program, Stage, Step, View

ARITHMETIC = frozenset({"add", "sub", "mul", "maximum", "minimum"})
ACTIVATIONS = frozenset(
    {"exp", "square", "sqrt", "rsqrt", "tanh", "sigmoid", "silu", "relu", "log"}
)
_INTO_ACTIVATION = frozenset({"add", "sub", "mul"})


def fuse_pairs(program: Program) -> Program:
    """Fuse in place a step whose f32 result only one other step reads, if the two may be one."""
    for step in list(program.steps):
        for view in step.reads:
            writers = program.writers(view.storage)
            if len(writers) == 1 and _may_fuse(program, writers[0], step, view):
                _fuse(writers[0], step, view)
                program.steps.remove(writers[0])
                break
    return program


def _opcode(step: Step) -> str:
    return step.op.opcode if step.op and step.kind == "pointwise" and not step.stages else ""


def _may_fuse(program: Program, first: Step, second: Step, between: View) -> bool:
    a, b = _opcode(first), _opcode(second)
    into_activation = a in _INTO_ACTIVATION and b in ACTIVATIONS
    if not (into_activation or (a in ARITHMETIC and b in ARITHMETIC)):
        return False
    storage = between.storage
    alone = [v for s in program.steps for v in s.reads if v.storage is storage] == [between]
    same = between.is_whole and first.write.is_whole and second.write.axes == first.write.axes
    if storage.kind != "temp" or storage.dtype is not DType.F32 or not (alone and same):
        return False
    if any(v.storage.dtype.is_float is False for v in (*first.reads, *second.reads)):
        return False
    along = {a for s in program.steps if s.kind in ("reduce", "moments") for a in s.reduced}
    if not _one_tile(first.reads, storage.axes, along):
        return False
    return b in ARITHMETIC or _one_tile(second.reads, storage.axes, along)


def _one_tile(reads: tuple[View, ...], axes: tuple[Axis, ...], along: set[Axis]) -> bool:
    """Whether all operands but one have fewer axes than the result: a column, perhaps.

    None is where rows are reduced: these lie along the free dimension, and so does what is the
    same for all rows.
    """
    narrow = [v for v in reads if len(v.axes) < len(axes)]
    return len(narrow) == len(reads) - 1 and not any(set(v.axes) & along for v in narrow)


def _fuse(first: Step, second: Step, between: View) -> None:
    """Make ``second`` compute both."""
    assert first.op is not None
    assert second.op is not None
    count = len(first.reads)
    rest = [v for v in second.reads if v is not between]
    after = iter(range(count, count + len(rest)))
    operands = tuple(None if v is between else next(after) for v in second.reads)
    second.stages = (
        Stage(first.op.opcode, first.op.attrs, tuple(range(count))),
        Stage(second.op.opcode, second.op.attrs, operands),
    )
    second.reads = (*first.reads, *rest)
