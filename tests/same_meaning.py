"""Comparing what two graphs compute, allowing for rounding and for nothing else.

How much rounding matters depends on the graph: a cancelling sum or a floor magnifies it. So the
first graph is also run with noise of a few roundings on each of its results, and how far an
output moves at most is how far that of a graph with the same meaning may be.
"""

from __future__ import annotations

import numpy as np

from nkigen_lite.core.dtypes import Array, DType, epsilon, round_to
from nkigen_lite.core.interpret import bind_inputs, evaluate_op, run
from nkigen_lite.core.ir import Graph, Op
from nkigen_lite.tensor_ir.passes.match import float_range
from nkigen_lite.tensor_ir.rows import TENSOR

Arrays = dict[str, Array]

_ROUNDS = 6  # runs with noise
_STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # in units of the noise


def assert_same_meaning(before: Graph, after: Graph, inputs: Arrays) -> None:
    """Fail unless ``after`` computes on ``inputs`` what ``before`` does, up to rounding."""
    for name, value in before.outputs.items():
        assert after.outputs[name].type == value.type
    assert_computes(before, run(after, inputs), inputs, context=str(after))


def assert_computes(before: Graph, found: Arrays, inputs: Arrays, *, context: str = "") -> None:
    """Fail unless the arrays ``found`` are ``before``'s outputs on ``inputs``, up to rounding."""
    expected = run(before, inputs)
    moved = _movement(before, inputs, expected)
    assert list(found) == list(expected)
    for name, array in expected.items():
        dtype = before.outputs[name].type.dtype
        wanted = array.astype(np.float64)
        tolerance = 3 * moved[name] + 4 * epsilon(dtype) * np.abs(wanted) + _tiny(dtype)
        off = np.abs(found[name].astype(np.float64) - wanted)
        assert np.all(off <= tolerance), (
            f"{name} is off by up to {np.max(off)}, allowed {np.max(tolerance)}\n"
            f"{before}\n{context}"
        )


def _tiny(dtype: DType) -> float:
    return 2 * float_range(dtype).least if dtype.is_float else 0.0


def _movement(graph: Graph, inputs: Arrays, expected: Arrays) -> dict[str, float]:
    """How far each output moves at most when every result has noise of some roundings."""
    rng = np.random.default_rng(0)
    moved = dict.fromkeys(expected, 0.0)
    for _ in range(_ROUNDS):
        env = bind_inputs(graph, inputs)
        for op in graph.ops:
            operands = [env[id(v)] for v in op.inputs]
            (array,) = evaluate_op(graph, op, operands)
            env[id(op.result)] = _with_noise(rng, op, array, operands)
        for name, value in graph.outputs.items():
            with np.errstate(invalid="ignore"):
                off = env[id(value)].astype(np.float64) - expected[name].astype(np.float64)
            largest = float(np.max(np.abs(off)))
            moved[name] = max(moved[name], np.inf if np.isnan(largest) else largest)
    return moved


def _with_noise(rng: np.random.Generator, op: Op, array: Array, operands: list[Array]) -> Array:
    row, dtype = TENSOR[op.opcode], op.result.type.dtype
    if row.engine == "none" or not dtype.is_float:
        return array
    wide = array.astype(np.float64)
    size = 2 * epsilon(dtype) * np.abs(wide)
    if row.arity != (1, 1) or row.tolerance > 1e-6:  # sums cancel, tables have absolute errors
        largest = max(float(np.max(np.abs(a.astype(np.float64)))) for a in [wide, *operands])
        size = size + (epsilon(dtype) + min(row.tolerance, 1e-6)) * largest
    with np.errstate(all="ignore"):  # noise may lead to infinities: then everything is allowed
        return round_to(wide + size * rng.choice(_STEPS, wide.shape), dtype)
