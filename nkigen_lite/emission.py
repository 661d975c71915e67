"""How a compiled kernel presents itself as source: names, plan lines, and its host part."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from textwrap import wrap
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph
from nkigen_lite.frontend import Traced
from nkigen_lite.frontend.reference import NotSelfContained, reference_lines
from nkigen_lite.frontend.variables import variable_names
from nkigen_lite.nki_ir.emit.host import Host, Spec
from nkigen_lite.nki_ir.emit.names import readable
from nkigen_lite.nki_ir.emit.text import LINE_LENGTH
from nkigen_lite.nki_ir.emit_nki import Form
from nkigen_lite.report.agreement import dtypes_of, tolerance
from nkigen_lite.report.data import CompileReport
from nkigen_lite.tensor_ir.passes.layout_solver import Plan
from nkigen_lite.tensor_ir.passes.layout_solver.plan import SegmentPlan, StepPlan


def form_of(
    traced: Traced,
    simplified: Graph,
    plan: Plan,
    report: CompileReport,
    function: Callable[..., Any],
    bound: inspect.BoundArguments,
) -> Form:
    """How the kernel of a traced function is presented.

    Args:
        traced: the function's trace; its graph is as it was traced.
        simplified: the graph that was lowered, which names the values of the kernel.
        plan: the plan of that kernel.
        report: of its compilation.
        function: the traced function.
        bound: its specs by parameter.
    """
    names = variable_names(traced.graph, simplified)
    constants = {
        op.result.name: f"{op.attrs['value']}" for op in simplified.ops if op.opcode == "constant"
    }
    return Form(
        header=[*report.header(), *_weights_line(plan, report)],
        names=names,
        parts=tuple(part_line(segment, {**names, **constants}) for segment in plan.segments),
        host=replace(
            host_of(traced, function, bound),
            packings={p.argument: (p.value, p.cut, p.order) for p in plan.packed},
        ),
    )


def _weights_line(plan: Plan, report: CompileReport) -> Iterator[str]:
    """A line about the weights that the kernel takes packed."""
    if plan.packed and report.unpacked_us is not None:
        told = ", ".join(dict.fromkeys(p.value for p in plan.packed))
        yield from wrap(
            f"Weights that run_{plan.kernel} puts into another order, once: {told}; as they are, "
            f"predicted {report.unpacked_us:.1f} us.",
            LINE_LENGTH,
        )


def part_line(segment: SegmentPlan, names: Mapping[str, str]) -> str:
    """A segment in one line: predicted time, loops, what it computes, source lines."""
    loops = [f"{axis} by {block}" for axis, _, block in segment.loops]
    if segment.streamed:
        loops.append(f"sum over {segment.streamed[0]} by {segment.streamed[2]}")
    steps = [_step_text(step, segment.kind) for step in segment.steps]
    told = f"over {', '.join(loops)}: " if loops else ""
    lines = dict.fromkeys(os.path.basename(s.line) for s in segment.steps if s.line)
    where = f" [{', '.join(lines)}]" if lines else ""
    text = f"{segment.ns / 1000:.1f} us: {told}{'; '.join(steps)}{where}"
    return re.sub(r"\bv\d+(?:_\w+)?\b", lambda m: readable(m[0], names), text)


def _step_text(step: StepPlan, kind: str) -> str:
    target, *sources = (re.sub(r"\[.*?\]", "", text) for text in (step.writes, *step.reads))
    if kind == "conversion":
        return f"{target} from {step.how}"
    return f"{target} = {step.op.replace(' ', '+')}({', '.join(sources)})"


def host_of(traced: Traced, function: Callable[..., Any], bound: inspect.BoundArguments) -> Host:
    """The host part: what the function takes and returns, its constants, its own source."""
    graph = traced.graph
    dtypes = dtypes_of(graph)
    inputs = {v.name: v for v in graph.inputs}
    constants = {}
    for name, array in traced.constants.items():
        kind = inputs[name].type
        stored = np.uint8 if kind.dtype is DType.BOOL else kind.dtype.np
        constants[name] = np.asarray(array).astype(stored).reshape(kind.shape or (1,))
    reference: tuple[str, ...] = ()
    reason = ""
    try:
        reference = tuple(reference_lines(function, bound, traced.output_tree))
    except NotSelfContained as missing:
        reason = str(missing)
    return Host(
        arguments=dict(_specs((name, inputs[name].type) for name in traced.input_names)),
        results=dict(_specs((name, v.type) for name, v in graph.outputs.items())),
        constants=constants,
        reference=reference,
        no_reference=reason,
        tolerances={
            name: tolerance(dtypes, value.type.dtype) for name, value in graph.outputs.items()
        },
    )


def _specs(kinds: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Spec]]:
    for name, kind in kinds:
        yield name, (tuple(kind.shape), kind.dtype.np.name)
