"""Running a graph of whole values on numpy, one op after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nkigen_lite.core.builder import at
from nkigen_lite.core.dtypes import Array, round_to
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.errors import InvalidInput, InvalidOp, NotSupported

_NOT_REAL = frozenset("cOSUMm")  # numpy's kinds: complex, object, text, dates


def bind_inputs(graph: Graph, inputs: Mapping[str, Any]) -> dict[int, Array]:
    """The graph's inputs as arrays of their declared types, keyed by ``id`` of the value.

    Raises:
        InvalidInput: an input is missing, has another shape or does not hold real numbers.
    """
    env: dict[int, Array] = {}
    for value in graph.inputs:
        if value.name not in inputs:
            raise InvalidInput(f"Missing input: {value.name}")
        array = np.asarray(inputs[value.name])
        if array.shape != tuple(value.type.shape):
            raise InvalidInput(
                f"Shape mismatch for {value.name}: got {array.shape} but the graph declares "
                f"{tuple(value.type.shape)}"
            )
        if array.dtype.kind in _NOT_REAL:
            raise InvalidInput(
                f"Type mismatch for {value.name}: got {array.dtype} but the graph declares "
                f"{value.type.dtype}"
            )
        env[id(value)] = round_to(array, value.type.dtype)
    return env


def evaluate_op(graph: Graph, op: Op, operands: list[Array]) -> tuple[Array, ...]:
    """The results of one op, rounded to their declared types.

    Raises:
        NotSupported: the op has no numpy meaning.
        InvalidOp: numpy refuses the operands' values, or made another shape than the row declares.
    """
    row = graph.dialect.get(op.opcode) if graph.dialect else None
    if row is None or row.evaluate is None:
        raise NotSupported(f"interpret: op {op.opcode!r} has no numpy meaning{at(op.loc)}")
    with np.errstate(all="ignore"):
        try:
            made = row.evaluate(*operands, **op.attrs)
        except ValueError as error:
            raise InvalidOp(f"{op.opcode}: {error}{at(op.loc)}") from None
        arrays = made if isinstance(made, tuple) else (made,)
        results = []
        for array, value in zip(arrays, op.results, strict=True):
            if np.shape(array) != tuple(value.type.shape):
                raise InvalidOp(
                    f"{op.opcode}: numpy made shape {np.shape(array)} but the op declares "
                    f"{value.type}{at(op.loc)}"
                )
            results.append(round_to(np.asarray(array), value.type.dtype))
    return tuple(results)


def interpret_values(graph: Graph, inputs: Mapping[str, Any]) -> dict[Value, Array]:
    """Every value of the graph, in program order."""
    env = bind_inputs(graph, inputs)
    found = {v: env[id(v)] for v in graph.inputs}
    for op in graph.ops:
        results = evaluate_op(graph, op, [env[id(v)] for v in op.inputs])
        for value, array in zip(op.results, results, strict=True):
            env[id(value)] = found[value] = array
    return found


def run(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The graph's outputs by name, each an array of its own.

    Raises:
        InvalidInput: the graph has no outputs, or an input is missing or has the wrong shape.
    """
    if not graph.outputs:
        raise InvalidInput(f"Graph has no outputs: @{graph.name}; call set_outputs first")
    values = interpret_values(graph, inputs)
    # Copies: a value may be a view of an input, and a broadcast one cannot be written to.
    return {name: np.array(values[value]) for name, value in graph.outputs.items()}
