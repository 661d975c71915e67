"""From a tensor_ir graph to a verified kernel, in one call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from cost_models import Target
from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Graph
from nkigen_lite.errors import NoPlan
from nkigen_lite.tensor_ir.passes.axes import Program, analyse
from nkigen_lite.tensor_ir.passes.canonicalize import canonicalize
from nkigen_lite.tensor_ir.passes.decompose import decompose
from nkigen_lite.tensor_ir.passes.digits import keep_digits
from nkigen_lite.tensor_ir.passes.hardware import TRN2
from nkigen_lite.tensor_ir.passes.layout_solver import Constraint, Solved, solve_layout

Watch = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Lowered:
    """What the stages made: the axis program and the solved, lowered kernel.

    ``unpacked_ns`` is the predicted time of the best plan that takes all weights as they are, if
    the kernel has some packed.
    """

    program: Program
    solved: Solved
    unpacked_ns: int | None = None

    @property
    def kernel(self) -> Graph:
        return self.solved.kernel


def simplify(graph: Graph, watch: Watch = lambda stage, text: None) -> None:
    """Canonicalize and decompose in place, checking the graph after each stage."""
    for name, stage in (
        ("canonicalize", canonicalize),
        ("digits", keep_digits),
        ("decompose", decompose),
        ("clean", canonicalize_again),
    ):
        stage(graph)
        graph.check()
        watch(name, graph.dump())


def canonicalize_again(graph: Graph) -> int:
    """Fold what decomposition left: constants, repeated subexpressions, renamings."""
    count = canonicalize(graph)
    return count + decompose(graph)


def lower(
    graph: Graph,
    target: Target = TRN2,
    *,
    time_limit: float = 10.0,
    seed: int = 0,
    constants: Mapping[str, Array] | None = None,
    weights: Collection[str] = (),
    constraints: Sequence[Constraint] = (),
    watch: Watch = lambda stage, text: None,
) -> Lowered:
    """Simplify ``graph`` in place, solve its layout and lower it.

    ``constants`` are what some inputs always hold; ``weights`` are inputs that the host may lay out
    otherwise before the kernel runs, where the plan is faster for it. ``watch(stage, text)`` is
    called after each stage with what it left.

    Raises:
        NoPlan, NotSupported, InvalidOp: see the stages.
    """
    _require_room(graph, target)
    simplify(graph, watch)
    program = analyse(graph, constants)
    watch("axes", program.dump())

    def solve(packable: Collection[str]) -> Solved:
        for storage in program.inputs:
            storage.is_weight = storage.name in packable
        return solve_layout(
            program, target, time_limit=time_limit, seed=seed, constraints=constraints
        )

    made = Lowered(program, solve(weights))
    if made.solved.plan.packed:
        plain = solve(())
        if made.solved.predicted_ns < plain.predicted_ns:
            made = replace(made, unpacked_ns=plain.predicted_ns)
        else:
            made = replace(made, solved=plain)
    watch("plan", made.solved.plan.to_json())
    watch("nki", made.kernel.dump())
    return made


def _require_room(graph: Graph, target: Target) -> None:
    """Refuse a graph whose inputs and outputs do not fit the chip's memory."""
    outside = list(dict.fromkeys([*graph.inputs, *graph.outputs.values()]))
    sizes = {v: v.type.size_bytes for v in outside}
    room, needed = target.chip.hbm_bytes, sum(sizes.values())
    if needed > room:
        largest = max(outside, key=sizes.__getitem__)
        raise NoPlan(
            f"@{graph.name}: its inputs and outputs have {needed:,} bytes, of which "
            f"{sizes[largest]:,} are {largest.name} {largest.type}, but {target.name} has "
            f"{room:,} bytes of HBM"
        )


def lower_to_nki(graph: Graph, target: Target = TRN2, *, time_limit: float = 10.0) -> Graph:
    """The kernel of a tensor_ir graph, which is simplified in place.

    Inputs keep their names; an HBM buffer ``<output>_out`` per output follows, and the kernel's
    outputs map each output's name to it. Rank 0 becomes shape (1,).
    """
    return lower(graph, target, time_limit=time_limit).kernel


def lower_graph(graph: Graph, target: Target = TRN2) -> Graph:
    """The kernel of a graph that is canonical and decomposed already."""
    return solve_layout(analyse(graph), target).kernel
