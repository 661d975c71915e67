"""Does the solver put plans in the right order? Random plans and its best ones, all simulated.

    python benchmarks/ranking.py [--plans 50] [--ranked 10] [--parts] [--json] [NAME ...]

Of each kernel, random legal plans and those that the solver ranks first are lowered and simulated.
Two targets: the rank correlation (Spearman) of predicted and simulated times of the random plans,
and how much faster the best of the ranked plans is than the first. `error` is how far predictions
are off, `far` the share of plans for which that is more than 15 %. `--parts` says for which steps
of the random plans, and shows the plan that is predicted worst. Exit code 1 if a target is missed,
2 if nothing is selected. Nothing is measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
import solver
from benchmarks.command import Say, add_target, console, parser_of, run, table_of
from benchmarks.kernels import Kernel
from benchmarks.lowered import Asked, Part, Tried, ask, attempt, parts
from benchmarks.measured.compare import spearman
from cost_models import Target, load_target
from examples.attention import attention
from examples.layernorm import layernorm
from examples.mlp_swiglu import mlp_swiglu
from examples.rmsnorm import rmsnorm
from examples.softmax import softmax
from solver.sampling import sample

LEAST_RANK = 0.98
MOST_BEHIND = 0.03
"""Targets: the rank correlation over random plans; how much slower the first of the ranked plans
may be than the best of them."""

COLUMNS = (
    *("kernel", "ops", "candidates", "plans", "left out", "simulated us", "rank", "error", "far"),
    *("ranked", "first us", "best us", "behind", "s"),
)
FAR = 0.15
HEAD = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """All steps of a kind in the random plans, and the sum of what they are wrong by."""

    name: str
    steps: int
    predicted_us: float
    simulated_us: float
    wrong_us: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one kernel; plans of both lists whose buffers find no addresses are counted and left out.

    ``rank_correlation`` is None for fewer than three plans. ``kinds`` and ``worst_parts``, of the
    random plan with the largest error, are there if asked for.
    """

    kernel: str
    ops: int
    candidates: int
    random: tuple[Tried, ...]
    ranked: tuple[Tried, ...]
    without_addresses: int
    rank_correlation: float | None
    seconds: float
    kinds: tuple[Kind, ...]
    worst_parts: tuple[Part, ...]

    @property
    def best_us(self) -> float:
        """The simulated time of the best of the ranked plans."""
        return min(plan.simulated_us for plan in self.ranked)

    @property
    def behind(self) -> float:
        """How much slower the first of the ranked plans is than the best of them."""
        return self.ranked[0].simulated_us / self.best_us - 1


def feed_forward(x: Any, norm: Any, w_gate: Any, w_up: Any, w_down: Any) -> Any:
    """The second half of a decoder layer; `x` is (rows, hidden)."""
    return x + mlp_swiglu(rmsnorm(x, norm), w_gate, w_up, w_down)


def attend(x: Any, norm: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
    """The first half of a decoder layer, without positions; `x` is (rows, hidden)."""
    h = rmsnorm(x, norm)
    q, k, v = (
        (h @ w).astype(x.dtype).reshape(1, x.shape[0], -1, HEAD).transpose(0, 2, 1, 3)
        for w in (wq, wk, wv)
    )
    merged = attention(q, k, v).transpose(0, 2, 1, 3).reshape(x.shape[0], -1)
    return x + (merged @ wo).astype(x.dtype)


def kernels() -> list[Kernel]:
    """Kernels of which every plan is simulated in well under a second."""
    made: list[tuple[Callable[..., Any], str]] = [
        (rmsnorm, "512x1024:f32 1024:f32"),
        (rmsnorm, "4096x4096:bf16 4096:bf16"),
        (layernorm, "512x1024:f32 1024:f32 1024:f32"),
        (softmax, "512x1024:f32"),
        (softmax, "4096x4096:f32"),
        (attention, "1x2x256x64:bf16 1x2x256x64:bf16 1x2x256x64:bf16"),
        (mlp_swiglu, "256x512:bf16 512x1024:bf16 512x1024:bf16 1024x512:bf16"),
        (feed_forward, "128x512:bf16 512:bf16 512x1024:bf16 512x1024:bf16 1024x512:bf16"),
        (attend, "128x256:bf16 256:bf16" + 4 * " 256x256:bf16"),
    ]
    return [
        Kernel(f"{function.__name__} {specs.split()[0]}", function, tuple(specs.split()))
        for function, specs in made
    ]


def measure(kernel: Kernel, target: Target, options: argparse.Namespace, say: Say) -> Figures:
    """Lower and simulate random and ranked plans of a kernel."""
    start = perf_counter()
    say("candidates")
    asked = ask(kernel, target)
    drawn = sample(asked.problem, options.plans, options.seed)
    random = _attempts(asked, drawn, "random", say)
    say("ranking")
    reports = solver.ranked(
        asked.problem, options.ranked, time_limit=options.time_limit, seed=options.seed
    )
    best = [report.solution for report in reports if report.solution is not None]
    ranked = _attempts(asked, best, "ranked", say)
    say("parts")
    worst = max(random, key=lambda plan: abs(plan.error), default=None)
    return Figures(
        kernel=kernel.name,
        ops=len(asked.problem.ops),
        candidates=len(asked.problem.candidates),
        random=tuple(random),
        ranked=tuple(ranked),
        without_addresses=len(drawn) + len(best) - len(random) - len(ranked),
        rank_correlation=spearman(
            [plan.predicted_us for plan in random], [plan.simulated_us for plan in random]
        ),
        seconds=perf_counter() - start,
        kinds=kinds(asked, random) if options.parts else (),
        worst_parts=tuple(parts(asked, worst.solution)) if options.parts and worst else (),
    )


def _attempts(asked: Asked, plans: Sequence[solver.Solution], what: str, say: Say) -> list[Tried]:
    tried = []
    for number, plan in enumerate(plans, 1):
        say(f"{what} plan {number} of {len(plans)}")
        tried.append(attempt(asked, plan))
    return [plan for plan in tried if plan is not None]


def kinds(asked: Asked, plans: Sequence[Tried]) -> tuple[Kind, ...]:
    """The steps of plans by what they are, those most in the wrong first."""
    found: dict[str, list[Part]] = {}
    for plan in plans:
        for part in parts(asked, plan.solution):
            found.setdefault(_kind(part), []).append(part)
    made = [
        Kind(
            name,
            len(steps),
            sum(part.predicted_us for part in steps),
            sum(part.simulated_us for part in steps),
            sum(abs(part.predicted_us - part.simulated_us) for part in steps),
        )
        for name, steps in found.items()
    ]
    return tuple(sorted(made, key=lambda kind: -kind.wrong_us))


def _kind(part: Part) -> str:
    if part.kind == "conversion":
        return "copy loaded" if f": {solver.problem.HBM} ->" in part.name else "copy made on chip"
    return f"segment bound by {part.bound_by}"


def failures(found: Sequence[Figures]) -> list[str]:
    """Targets that are missed."""
    missed = []
    for figures in found:
        rank = figures.rank_correlation
        if rank is not None and rank < LEAST_RANK:
            missed.append(f"{figures.kernel}: rank correlation {rank:.3f}, below {LEAST_RANK}")
        if figures.behind > MOST_BEHIND:
            missed.append(
                f"{figures.kernel}: the first plan is {figures.behind:.1%} slower than the best "
                f"of {len(figures.ranked)}, more than {MOST_BEHIND:.0%}"
            )
    return missed


def table(found: Sequence[Figures]) -> Table:
    """A kernel per line."""
    made = table_of("predicted and simulated times, not measured", COLUMNS)
    for figures in found:
        times = [plan.simulated_us for plan in figures.random]
        errors = [plan.error for plan in figures.random]
        rank = figures.rank_correlation
        made.add_row(
            figures.kernel,
            *(f"{n}" for n in (figures.ops, figures.candidates, len(times))),
            f"{figures.without_addresses}",
            f"{min(times):,.0f} to {max(times):,.0f}",
            "-" if rank is None else f"{rank:.3f}",
            f"{min(errors):+.0%} {median(errors):+.0%} {max(errors):+.0%}",
            f"{np.mean(np.abs(errors) > FAR):.0%}",
            f"{len(figures.ranked)}",
            f"{figures.ranked[0].simulated_us:,.1f}",
            f"{figures.best_us:,.1f}",
            f"{figures.behind:.1%}",
            f"{figures.seconds:.1f}",
        )
    return made


def show_parts(figures: Figures) -> None:
    """Print which steps are predicted wrongly."""
    made = table_of(
        f"{figures.kernel}: steps of {len(figures.random)} random plans",
        ("kind", "steps", "predicted us", "simulated us", "ratio", "wrong by us"),
    )
    for kind in figures.kinds:
        times = kind.predicted_us, kind.simulated_us
        ratio = f"{times[0] / times[1]:.2f}" if times[1] else "-"
        made.add_row(
            kind.name,
            f"{kind.steps}",
            *(f"{t:,.1f}" for t in times),
            ratio,
            f"{kind.wrong_us:,.1f}",
        )
    worst = table_of(
        f"{figures.kernel}: the plan predicted worst",
        ("step", "predicted us", "simulated us", "overhead us", "early us", "busy us"),
        text=(0, 5),
    )
    for part in figures.worst_parts:
        shares = part.predicted_us, part.simulated_us, part.overhead_us, part.early_us
        busy = ", ".join(f"{name} {us:.1f}" for name, us in part.busy_us.items())
        worst.add_row(part.name, *(f"{us:,.1f}" for us in shares), busy)
    for shown in (made, worst):
        console().print(shown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; see the module's text for the exit code."""
    parser = parser_of(__doc__, "kernel", 60.0)
    add_target(parser)
    parser.add_argument("--plans", type=int, default=50, help="random plans per kernel")
    parser.add_argument("--ranked", type=int, default=10, help="ranked plans per kernel")
    parser.add_argument("--seed", type=int, default=0, help="of random plans and the solver")
    parser.add_argument("--parts", action="store_true", help="say which steps are wrong")
    options = parser.parse_args(arguments)
    target = load_target(options.target)

    def shown(found: Sequence[Figures]) -> Table:
        for figures in found if options.parts else ():
            show_parts(figures)
        return table(found)

    return run(
        options,
        kernels(),
        lambda kernel: kernel.name,
        lambda kernel, say: measure(kernel, target, options, say),
        shown,
        failures,
    )


if __name__ == "__main__":
    sys.exit(main())
