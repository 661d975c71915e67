"""``trace``: running a numpy function on traced arrays."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Graph
from nkigen_lite.errors import InvalidInput, TraceError
from nkigen_lite.frontend import arguments
from nkigen_lite.frontend.array import TracedArray
from nkigen_lite.frontend.recorder import Recorder
from nkigen_lite.frontend.specs import has_shape_and_dtype, is_pair, parse_spec
from nkigen_lite.tensor_ir.interpret import run
from nkigen_lite.tensor_ir.types import TensorType

_EXTENTS = re.compile(r"\d+(x\d+)+")


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced function.

    Attributes:
        graph: the tensor_ir graph; its inputs are ``input_names`` and then ``constants``.
        constants: arrays that the function brought along, bound to graph inputs, by input name.
        input_names: the arrays that the caller gives, by their names in the graph, in order.
        output_tree: what the function returned, with the graph's output names in place of arrays.
        signature: of the function.
    """

    graph: Graph
    constants: Mapping[str, Array]
    input_names: tuple[str, ...]
    output_tree: Any
    signature: inspect.Signature

    def feed(self, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """All graph inputs by name, from arguments as the function takes them.

        Static arguments are fixed by the trace; they may be left out and are not looked at.

        Raises:
            InvalidInput: an array is missing, or an argument fits no parameter.
        """
        who = f"@{self.graph.name}"
        bound = arguments.bind(who, self.signature, args, kwargs, partial=True)
        given = arguments.leaves(bound)
        missing = [name for name in self.input_names if name not in given]
        if missing:
            raise InvalidInput(f"{who}: no array is given for {', '.join(map(repr, missing))}")
        return {**{name: given[name] for name in self.input_names}, **self.constants}

    def unflatten(self, outputs: Mapping[str, Any]) -> Any:
        """Outputs by name in the containers that the function returned."""
        return arguments.map_tree("", self.output_tree, lambda _, name: outputs[name])

    def run(self, /, *args: Any, **kwargs: Any) -> Any:
        """What the graph computes from arguments as the function takes them, on numpy."""
        return self.unflatten(run(self.graph, self.feed(*args, **kwargs)))


def trace(
    fn: Callable[..., Any],
    specs: Mapping[str, Any] | Sequence[Any],
    *,
    name: str | None = None,
) -> Traced:
    """The tensor_ir graph of a function over numpy arrays.

    Args:
        fn: called once, with traced arrays.
        specs: per parameter, by name or in order, a TensorType, text with a colon such as
            ``"4x8:bf16"`` or of extents alone such as ``"4x8"`` (then f32), an array (for its
            shape and type alone) or a pair ``(shape, dtype)``; dicts, lists and tuples of these;
            anything else is static and passed on as it is.
            Parameters with defaults may be left out.
        name: of the graph; by default the function's.

    Returns:
        The graph and what it takes to run it. One array returned is the output ``"output"``; the
        arrays of a tuple or list are ``"output_0"``, ``"output_1"``, …; those of a dict go by
        their keys; what has the name of an input is ``"<name>_result"``.

    Raises:
        InvalidInput: a spec is malformed, missing or left over, or two have one name.
        TraceError: the function does what has no tensor_ir meaning, or returns no arrays.
        InvalidOp: operands do not fit each other.
    """
    signature = arguments.signature_of(fn)
    if not isinstance(specs, (Mapping, list, tuple)):
        raise InvalidInput(
            f"trace: specs is {type(specs).__name__} but must be a mapping by parameter name or a "
            "list or tuple in their order"
        )
    args, named = ((), specs) if isinstance(specs, Mapping) else (tuple(specs), {})
    return trace_bound(fn, arguments.bind(arguments.name_of(fn), signature, args, named), name)


def trace_bound(
    fn: Callable[..., Any], bound: inspect.BoundArguments, name: str | None = None
) -> Traced:
    """:func:`trace` with specs that are bound to the function's parameters already."""
    recorder = Recorder(name or arguments.name_of(fn))
    graph = recorder.builder.graph
    call = arguments.map_arguments(bound, _Inputs(recorder), is_spec)
    input_names = tuple(value.name for value in graph.inputs)
    result = fn(*call.args, **call.kwargs)
    outputs: dict[str, TracedArray] = {}
    tree = arguments.map_tree(_root(result), result, _Outputs(recorder, outputs))
    if not outputs:
        raise TraceError(f"@{graph.name}: the returned value {result!r} holds no array")
    graph.set_outputs({key: array.value for key, array in outputs.items()})
    _drop_unused(recorder)
    graph.check()
    return Traced(graph, dict(recorder.constants), input_names, tree, bound.signature)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Turns specs into graph inputs, and lets static arguments pass."""

    recorder: Recorder

    def __call__(self, name: str, leaf: Any) -> Any:
        if not is_spec(leaf):
            return leaf
        if any(value.name == name for value in self.recorder.builder.graph.inputs):
            raise InvalidInput(f"trace: two arrays would both be the input {name!r}; rename one")
        try:
            return self.recorder.input(name, parse_spec(leaf))
        except InvalidInput as error:
            raise InvalidInput(f"parameter {name!r}: {error}") from None


def is_spec(leaf: Any) -> bool:
    """Whether ``leaf`` stands for an array and not for itself."""
    if isinstance(leaf, str):
        return ":" in leaf or _EXTENTS.fullmatch(leaf) is not None
    return isinstance(leaf, TensorType) or is_pair(leaf) or has_shape_and_dtype(leaf)


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Names what was returned, and collects it."""

    recorder: Recorder
    found: dict[str, TracedArray]

    def __call__(self, name: str, leaf: Any) -> str:
        if not isinstance(leaf, (TracedArray, np.ndarray)):
            hint = "; is a return statement missing?" if leaf is None else ""
            raise self.error(f"{name!r} is {leaf!r} but must be an array{hint}")
        array = self.recorder.lift(leaf)
        name = self.free(name)
        if name in self.found:
            raise self.error(f"two arrays would both be the output {name!r}; rename one")
        self.found[name] = array
        return name

    def free(self, name: str) -> str:
        """The name, or a longer one if an input, or a buffer for an output, would share it."""
        taken = {value.name for value in self.recorder.builder.graph.inputs}
        while name in taken or f"{name}_out" in taken:
            name += "_result"
        return name

    def error(self, text: str) -> TraceError:
        return TraceError(f"@{self.recorder.builder.graph.name}: the returned {text}")


def _root(result: Any) -> str:
    return "" if isinstance(result, dict) else "output"


def _drop_unused(recorder: Recorder) -> None:
    """Remove ops that lead to no output, and constants that nothing reads."""
    graph = recorder.builder.graph
    graph.dce()
    outputs = {id(value) for value in graph.outputs.values()}
    for value in list(graph.inputs):
        if value.name in recorder.constants and not value.has_uses and id(value) not in outputs:
            graph.inputs.remove(value)
            del recorder.constants[value.name]
