"""Softmax weights are divided by their sum after the product with the values, not before.

``(e / sum(e)) @ v`` is ``(e @ v) / sum(e)``: a row factor that does not depend on the contracted
axis may be applied to the product, which has a column per feature of a value instead of one per
key. The exponentials must stay in range undivided, in a narrow type too; so this is done where they
are of differences to the largest in the row, which makes each at most 1 and their sum at least 1,
and for nothing else.
"""

from __future__ import annotations

from nkigen_lite.core.dtypes import DType
from nkigen_lite.tensor_ir.passes.axes.program import Axis, Program, Step, Storage, View


def defer_division(program: Program) -> Program:
    """Move divisions by a softmax's sum behind the product that reads the weights, in place."""
    for product in [s for s in program.steps if s.kind == "matmul"]:
        for position in (0, 1):
            scaling = _scaling(program, product, position)
            if scaling is not None:
                _defer(program, product, position, scaling)
                break
    return program


def _scaling(program: Program, product: Step, position: int) -> Step | None:
    """The step that scales the weights which a product reads, if it may come later."""
    weights = product.reads[position]
    step = _only_writer(program, weights.storage)
    if (
        step is None
        or step.stages
        or not _is(step, "mul")
        or program.readers(weights.storage) != [product]
    ):
        return None
    whole = weights.is_whole and step.write.is_whole and product.write.is_whole
    if weights.storage.kind != "temp" or not whole or product.reads[1 - position] == weights:
        return None
    e, inverse = step.reads
    scales_rows = set(inverse.axes) <= set(product.write.axes)
    if not (e.is_whole and inverse.is_whole and scales_rows):
        return None
    return step if _is_softmax(program, e.storage, inverse.storage) else None


def _is_softmax(program: Program, e: Storage, inverse: Storage) -> bool:
    """Whether ``inverse`` is one over the sum of ``e``, exponentials of at most 0."""
    maker, reciprocal = _only_writer(program, e), _only_writer(program, inverse)
    if maker is None or reciprocal is None:
        return False
    if not (_is(maker, "exp") and _is(reciprocal, "reciprocal")):
        return False
    total = _only_writer(program, reciprocal.reads[0].storage)
    if total is None or not _reduces(total, "sum", e):
        return False
    difference = _only_writer(program, maker.reads[0].storage)
    return difference is not None and _is_to_largest(program, difference, total.reduced)


def _is_to_largest(program: Program, difference: Step, over: tuple[Axis, ...]) -> bool:
    """Whether a step subtracts from each element the largest over some axes."""
    if not (_is(difference, "sub") and all(view.is_whole for view in difference.reads)):
        return False
    x, largest = (view.storage for view in difference.reads)
    maximum = _only_writer(program, largest)
    return maximum is not None and _reduces(maximum, "max", x) and maximum.reduced == over


def _defer(program: Program, product: Step, position: int, scaling: Step) -> None:
    """Let the product read the exponentials, and scale what it makes."""
    (e, inverse), op = scaling.reads, scaling.op
    result = product.write
    if e.storage.dtype is scaling.write.storage.dtype:
        reads = list(product.reads)
        reads[position] = View(e.storage, reads[position].coords)
        product.reads = tuple(reads)
        program.steps.remove(scaling)
    else:  # only the type is left to change
        scaling.kind, scaling.op, scaling.reads = "copy", None, (e,)
    shape = result.storage.shape
    undivided = f"{result.storage.name}_undivided"
    made = Storage(undivided, DType.F32, result.storage.axes, "temp", shape)
    product.write = View.of(made)
    divide = Step(
        f"{result.storage.name}.divide", "pointwise", op, (product.write, inverse), result
    )
    divide.loc = scaling.loc
    program.steps.insert(program.steps.index(product) + 1, divide)


def _only_writer(program: Program, storage: Storage) -> Step | None:
    writers = program.writers(storage)
    return writers[0] if len(writers) == 1 else None


def _reduces(step: Step, kind: str, storage: Storage) -> bool:
    """Whether a step is a reduction of this kind of all of a storage."""
    if step.kind != "reduce" or step.op is None or step.op.attrs["kind"] != kind:
        return False
    return step.reads[0].storage is storage and step.reads[0].is_whole


def _is(step: Step, opcode: str) -> bool:
    return step.kind == "pointwise" and step.op is not None and step.op.opcode == opcode
