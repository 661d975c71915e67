"""``compile``: from a numpy function to a checked kernel with its plan and report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import solver
from cost_models import Target
from cost_models.simulate import Timeline
from nkigen_lite import options
from nkigen_lite.core.dtypes import Array, widen
from nkigen_lite.core.interpret import bind_inputs
from nkigen_lite.core.ir import Graph, clone
from nkigen_lite.emission import form_of
from nkigen_lite.errors import InvalidInput
from nkigen_lite.frontend import Kernel, Traced, arguments
from nkigen_lite.frontend.tracing import trace_bound
from nkigen_lite.nki_ir.allocation import Allocation, starts_of
from nkigen_lite.nki_ir.checked import Order, run_checked
from nkigen_lite.nki_ir.emit_nki import Form, emit_nki
from nkigen_lite.nki_ir.interpret import run as run_kernel
from nkigen_lite.nki_ir.simulate import simulate_kernel
from nkigen_lite.report.data import CompileReport, make_report
from nkigen_lite.report.text import report_text
from nkigen_lite.tensor_ir.passes.layout_solver import Plan
from nkigen_lite.tensor_ir.passes.layout_solver.constraints import constrain, load_constraints
from nkigen_lite.tensor_ir.passes.lower_to_nki import Lowered, lower

__all__ = [
    "Compiled",
    "Watch",
    "compile",
    "constrain",
    "load_constraints",
    "write_outputs",
]

Watch = Callable[[str, str], None]


@dataclass(frozen=True)
class Compiled:
    """A compiled kernel.

    Attributes:
        graph: the traced tensor_ir graph, before any rewriting.
        plan: what the solver chose, as data.
        nki: the lowered nki_ir graph.
        allocation: the addresses of its buffers in SBUF and PSUM.
        report: what it costs and how good it is.
        target: the hardware profile it was compiled for.
        problem: what the solver was asked; saves as JSON and replays without the compiler.
        form: how ``emit`` presents it.
        answer: what it answered, under these constraints.
        constants: arrays that the function brought along, bound to kernel inputs, by name.
    """

    traced: Traced = field(repr=False)
    graph: Graph = field(repr=False)
    plan: Plan = field(repr=False)
    nki: Graph = field(repr=False)
    allocation: Allocation = field(repr=False)
    report: CompileReport
    target: Target = field(repr=False)
    problem: solver.Problem = field(repr=False)
    form: Form = field(repr=False)
    answer: solver.Report = field(repr=False)
    constraints: tuple[solver.Constraint, ...] = field(repr=False)

    @property
    def constants(self) -> Mapping[str, Array]:
        return self.traced.constants

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the lowered kernel in the interpreter, on arguments as the function takes them.

        Raises:
            InvalidInput: an array is missing, has another shape than compiled for, or does not hold
                real numbers.
        """
        return self.traced.unflatten(self.run(self.traced.feed(*args, **kwargs)))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Run the lowered kernel in the interpreter on inputs by name; outputs by name."""
        buffers = self.pack(inputs)
        for value in self.nki.outputs.values():
            buffers[value.name] = np.zeros(value.type.shape, value.type.dtype.np)
        return self._outputs(run_kernel(self.nki, buffers))

    def run_checked(self, inputs: Mapping[str, Any], order: Order = "program") -> dict[str, Array]:
        """Run the lowered kernel in memories of bytes, every buffer at its address.

        Args:
            inputs: by name.
            order: "program", or the seed of one of the orders in which the engines may execute it.

        Raises:
            MemoryFault: it reads bytes that it has not written, or that another buffer has.
        """
        buffers = self.pack(inputs)
        return self._outputs(run_checked(self.nki, buffers, self.allocation, order))

    def pack(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """What the kernel ``nki`` takes, by name, of inputs by name: weights packed, if the plan
        wants them so.

        Raises:
            InvalidInput: an array is missing, has another shape, or does not hold real numbers.
        """
        if not isinstance(inputs, Mapping):
            kind = type(inputs).__name__
            raise InvalidInput(f"run: inputs is a {kind} but must map names to arrays")
        given = bind_inputs(self.graph, inputs)
        arrays = {value.name: given[id(value)] for value in self.graph.inputs}
        packed = {packing.argument: packing for packing in self.plan.packed}
        taken = [v for v in self.nki.inputs if v not in self.nki.outputs.values()]
        return {
            v.name: packed[v.name].pack(arrays[packed[v.name].value])
            if v.name in packed
            else np.ascontiguousarray(arrays[v.name]).reshape(v.type.shape)
            for v in taken
        }

    def _outputs(self, results: Mapping[str, Array]) -> dict[str, Array]:
        return {
            name: results[name].reshape(value.type.shape)
            for name, value in self.graph.outputs.items()
        }

    def simulate(self, record: int = 0, *, addresses: bool = False) -> Timeline:
        """The simulated time line of the lowered kernel: predicted by events, not measured.

        Args:
            record: how many events (instructions, DMA triggers, transfers) to keep in
                ``timeline.events``, the first in program order.
            addresses: whether buffers wait for those whose bytes they take over; if not, all have
                bytes of their own.
        """
        allocation = self.allocation if addresses else None
        return simulate_kernel(self.nki, self.target, allocation, record=record)

    def describe(self, width: int = 100, *, full: bool = False) -> str:
        """The report as text of that many columns; ``full`` shortens no table."""
        return report_text(self.report, self.plan, self.target, width=width, full=full)

    def emit(self, form: str = "nki", *, direct_alloc: bool = False) -> str:
        """The kernel as source text; ``form`` is "nki".

        Args:
            form: of the text.
            direct_alloc: write the address of every tile in SBUF and PSUM, as ``allocation`` has
                it, instead of leaving that to NKI's allocator.

        Raises:
            InvalidInput: there is no such form.
        """
        if form != "nki":
            raise InvalidInput(f"emit: form is {form!r} but must be 'nki'")
        if not direct_alloc:
            return emit_nki(self.nki, self.form)
        sbuf, psum = self.allocation.sbuf, self.allocation.psum
        said = (
            "Tiles are at the addresses of the plan, which reach up to byte "
            f"{sbuf.top} of SBUF and {psum.top} of PSUM."
        )
        presented = replace(self.form, header=(*self.form.header, said))
        return emit_nki(self.nki, presented, addresses=starts_of(self.nki, self.allocation))


def compile(
    fn: Callable[..., Any] | Kernel,
    *specs: Any,
    target: str | os.PathLike[str] | Target = "trn2",
    time_limit: float = 10.0,
    seed: int = 0,
    constraints: Sequence[solver.Constraint] = (),
    prepack: Sequence[str] = (),
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
        target: a profile's name (``cost_models.targets()`` lists them), the path of a profile
            file, or a Target.
        time_limit: seconds for the solver; a legal plan comes back however short it is.
        seed: of the solver; the same input and seed give the same plan.
        constraints: decisions that the solver has to respect; ``constrain`` makes them.
        prepack: parameters that hold the same arrays in many runs. The kernel may take them in
            another order, into which ``pack`` and emitted files bring them, where that is faster.
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
    options.check(time_limit, seed, constraints, name, watch)
    hardware = options.target_of(target)
    function = fn.function if isinstance(fn, Kernel) else fn
    label = name or arguments.name_of(fn)
    bound = arguments.bind(label, arguments.signature_of(function), specs, named)
    traced = trace_bound(function, bound, label)
    watch("trace", traced.graph.dump())
    graph = clone(traced.graph)
    trace_s = perf_counter() - start
    lowered = lower(
        graph,
        hardware,
        time_limit=time_limit,
        seed=seed,
        constants=traced.constants,
        weights=options.weights_of(traced, bound, prepack),
        constraints=constraints,
        watch=watch,
    )
    report = make_report(lowered, hardware, trace_s)
    form = form_of(traced, graph, lowered.solved.plan, report, function, bound)
    return _compiled(traced, lowered, hardware, report, form, tuple(constraints))


def _compiled(
    traced: Traced,
    lowered: Lowered,
    target: Target,
    report: CompileReport,
    form: Form,
    constraints: tuple[solver.Constraint, ...],
) -> Compiled:
    """What the stages made, put together."""
    solved = lowered.solved
    return Compiled(
        traced=traced,
        graph=traced.graph,
        plan=solved.plan,
        nki=solved.kernel,
        allocation=solved.allocation,
        report=report,
        target=target,
        problem=solved.problem,
        form=form,
        answer=solved.report,
        constraints=constraints,
    )


def write_outputs(
    compiled: Compiled, folder: str | os.PathLike[str], *, direct_alloc: bool = False
) -> list[Path]:
    """Write a compiled kernel into a folder, which is made if need be; the paths written.

    ``kernel.py`` is its source, ``plan.json`` and ``report.json`` are what was chosen and what it
    costs. ``problem.json``, ``solved.json`` and, if there are any, ``constraints.json`` are what
    the solver was asked and answered, for ``nkigen-lite why``. Bound constants, if it has any, are
    in ``constants.npz``, where narrow floats are float32, which holds them exactly.

    Args:
        compiled: the kernel.
        folder: where to write.
        direct_alloc: write the addresses of tiles into ``kernel.py``, as ``emit`` does.

    Raises:
        InvalidInput: the folder cannot be written.
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise InvalidInput(f"write: folder is {folder!r} but must be a path")
    where = Path(folder)
    texts = {
        "kernel.py": compiled.emit("nki", direct_alloc=direct_alloc),
        "plan.json": compiled.plan.to_json() + "\n",
        "report.json": compiled.report.to_json() + "\n",
        "problem.json": compiled.problem.to_json() + "\n",
        "solved.json": compiled.answer.to_json() + "\n",
    }
    if compiled.constraints:
        texts["constraints.json"] = solver.constraints_to_json(compiled.constraints) + "\n"
    try:
        where.mkdir(parents=True, exist_ok=True)
        (where / "constraints.json").unlink(missing_ok=True)
        written = []
        for name, text in texts.items():
            (where / name).write_text(text, encoding="utf-8")
            written.append(where / name)
        if compiled.constants:
            np.savez(where / "constants.npz", **_storable(compiled.constants))
            written.append(where / "constants.npz")
    except OSError as error:
        raise InvalidInput(f"write: {where} cannot be written: {error.strerror}") from None
    return written


def _storable(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Arrays of types that .npz files keep: bf16 and fp8 would come back as plain bytes."""
    return {name: a if a.dtype.kind in "biuf" else widen(a) for name, a in arrays.items()}
