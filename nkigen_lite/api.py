"""``compile``: from a numpy function to a checked kernel with its plan and report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import solver
from cost_models import Target, load_target
from nkigen_lite.core.dtypes import Array, round_to
from nkigen_lite.core.ir import Graph, clone
from nkigen_lite.errors import InvalidInput
from nkigen_lite.frontend import Kernel, Traced, trace
from nkigen_lite.nki_ir.emit_nki import emit_nki
from nkigen_lite.nki_ir.interpret import run as run_kernel
from nkigen_lite.report.data import CompileReport, make_report
from nkigen_lite.tensor_ir.passes.layout_solver import Plan
from nkigen_lite.tensor_ir.passes.lower_to_nki import Lowered, lower

Watch = Callable[[str, str], None]


@dataclass(frozen=True)
class Compiled:
    """A compiled kernel.

    Attributes:
        graph: the traced tensor_ir graph, before any rewriting.
        plan: what the solver chose, as data.
        nki: the lowered nki_ir graph.
        report: what it costs and how good it is.
        problem: what the solver was asked; saves as JSON and replays without the compiler.
        constants: arrays that the function brought along, bound to kernel inputs, by name.
    """

    traced: Traced = field(repr=False)
    graph: Graph = field(repr=False)
    plan: Plan = field(repr=False)
    nki: Graph = field(repr=False)
    report: CompileReport
    problem: solver.Problem = field(repr=False)

    @property
    def constants(self) -> Mapping[str, Array]:
        return self.traced.constants

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the lowered kernel in the interpreter, on arguments as the function takes them.

        Raises:
            InvalidInput: an array is missing or has another shape than compiled for.
        """
        return self.traced.unflatten(self.run(self.traced.feed(*args, **kwargs)))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Run the lowered kernel in the interpreter on inputs by name; outputs by name."""
        buffers: dict[str, Array] = {}
        outputs = {id(v) for v in self.nki.outputs.values()}
        for value, declared in zip(self.nki.inputs, self._declared(), strict=True):
            kind = value.type
            if id(value) in outputs:
                buffers[value.name] = np.zeros(kind.shape, kind.dtype.np)
                continue
            if value.name not in inputs:
                raise InvalidInput(f"@{self.nki.name}: no array is given for {value.name!r}")
            array = np.asarray(inputs[value.name])
            if array.shape != declared:
                raise InvalidInput(
                    f"@{self.nki.name}: {value.name!r} has shape {array.shape} but was compiled "
                    f"for {declared}"
                )
            buffers[value.name] = np.ascontiguousarray(round_to(array, kind.dtype)).reshape(
                kind.shape
            )
        results = run_kernel(self.nki, buffers)
        return {
            name: results[name].reshape(value.type.shape)
            for name, value in self.graph.outputs.items()
        }

    def _declared(self) -> list[tuple[int, ...]]:
        shapes = [tuple(v.type.shape) for v in self.graph.inputs]
        return shapes + [tuple(v.type.shape) for v in self.graph.outputs.values()]

    def emit(self, form: str = "nki") -> str:
        """The kernel as source text; ``form`` is "nki".

        Raises:
            InvalidInput: there is no such form.
        """
        if form != "nki":
            raise InvalidInput(f"emit: form is {form!r} but must be 'nki'")
        return emit_nki(self.nki, header=self.report.header())


def compile(
    fn: Callable[..., Any] | Kernel,
    *specs: Any,
    target: str | os.PathLike[str] | Target = "trn2",
    time_limit: float = 10.0,
    seed: int = 0,
    pins: Sequence[solver.Pin] = (),
    name: str | None = None,
    watch: Watch = lambda stage, text: None,
    **named: Any,
) -> Compiled:
    """Compile a function over numpy arrays to a NeuronCore kernel.

    Args:
        fn: a function over numpy arrays, or a ``Kernel``.
        specs, named: per parameter, in order or by name: text such as ``"4096x4096:bf16"``, an
            array (for its shape and type), a TensorType, or a pair (shape, dtype); anything else
            is passed to the function as it is.
        target: a profile's name (trn1, trn2, trn3), the path of a profile file, or a Target.
        time_limit: seconds for the solver; a legal plan comes back however short it is.
        seed: of the solver; the same input and seed give the same plan.
        pins: decisions that the solver has to respect.
        name: of the kernel; by default the function's.
        watch: called as ``watch(stage, text)`` after each stage with what it left.

    Returns:
        The compiled kernel: call it to run it on numpy; see its report and plan; emit NKI.

    Raises:
        TraceError, InvalidInput, InvalidOp: the function or its specs are wrong.
        NotSupported: the program is legal but has no lowering.
        NoPlan: nothing legal fits the target.
    """
    start = perf_counter()
    if time_limit <= 0:
        raise InvalidInput(f"compile: time_limit is {time_limit} but must be above 0 seconds")
    hardware = target if isinstance(target, Target) else load_target(target)
    function = fn.function if isinstance(fn, Kernel) else fn
    traced = trace(function, _join(specs, named, function), name=name or _name(fn))
    watch("trace", traced.graph.dump())
    graph = clone(traced.graph)
    trace_s = perf_counter() - start
    lowered = lower(graph, hardware, time_limit=time_limit, seed=seed, pins=pins, watch=watch)
    report = make_report(lowered, hardware, trace_s)
    return _compiled(traced, lowered, report)


def _compiled(traced: Traced, lowered: Lowered, report: CompileReport) -> Compiled:
    solved = lowered.solved
    return Compiled(traced, traced.graph, solved.plan, solved.kernel, report, solved.problem)


def _name(fn: Any) -> str | None:
    return getattr(fn, "__name__", None)


def _join(specs: tuple[Any, ...], named: dict[str, Any], fn: Callable[..., Any]) -> Any:
    """Positional and named specs as one mapping (or a plain sequence if none is named)."""
    if not named:
        return specs
    import inspect

    try:
        return dict(inspect.signature(fn).bind_partial(*specs, **named).arguments)
    except TypeError as error:
        raise InvalidInput(f"compile: {error}") from None


def write_outputs(compiled: Compiled, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``kernel.py``, ``plan.json`` and ``report.json`` (and ``constants.npz``, if the kernel
    has bound constants) into a folder, which is made if need be; the paths written.

    Raises:
        InvalidInput: the folder cannot be written.
    """
    where = Path(folder)
    texts = {
        "kernel.py": compiled.emit("nki"),
        "plan.json": compiled.plan.to_json() + "\n",
        "report.json": compiled.report.to_json() + "\n",
    }
    try:
        where.mkdir(parents=True, exist_ok=True)
        written = []
        for name, text in texts.items():
            (where / name).write_text(text, encoding="utf-8")
            written.append(where / name)
        if compiled.constants:
            np.savez(where / "constants.npz", **dict(compiled.constants))  # type: ignore[arg-type]
            written.append(where / "constants.npz")
    except OSError as error:
        raise InvalidInput(f"write: {where} cannot be written: {error.strerror}") from None
    return written
