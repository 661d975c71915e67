"""Do the benchmark's kernels compute what numpy does? Each function, compiled at a small size.

    python benchmarks/small.py [--target trn2] [--checked] [--stop-after 120] [NAME ...]

Lowered kernels run tile by tile in the interpreter; with --checked, in memories of bytes at their
addresses. Names select functions by prefix. Exit code 0 if all agree, 1 if not, 2 if nothing is
selected.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import nkigen_lite
from benchmarks import patterns as p
from benchmarks.attempts import at_most
from benchmarks.command import (
    add_stop_after,
    add_target,
    by_prefix,
    names_parser,
    nothing_selected,
)
from benchmarks.experts import MoeSizes, moe_layer
from examples.attention import attention
from examples.gelu_linear import gelu_linear
from examples.layernorm import layernorm
from examples.linear import linear
from examples.llama3_layer import Sizes as LlamaSizes
from examples.llama3_layer import llama3_layer
from examples.matmul import matmul
from examples.mlp_swiglu import mlp_swiglu
from examples.qwen3_layer import Sizes, qwen3_layer, shapes_of
from examples.rmsnorm import rmsnorm
from examples.rope import rope
from examples.softmax import softmax
from nkigen_lite.commands.running import agreements_of, named_outputs
from nkigen_lite.report.agreement import Agreement

DTYPES = {"f32": np.dtype(np.float32), "bf16": np.dtype(ml_dtypes.bfloat16)}
QWEN = Sizes(hidden=192, heads=6, kv_heads=2, head_dim=32, ffn=320)
LLAMA = LlamaSizes(hidden=192, heads=6, kv_heads=2, head_dim=32, ffn=320)
EXPERTS = MoeSizes(hidden=96, heads=2, head_dim=32, experts=8, chosen=2, ffn=48, positions=150)
QKV = ((2, 6, 150, 32), *((2, 2, 150, 32),) * 2)


@dataclass(frozen=True, slots=True)
class Case:
    """A function, the shapes of its arrays, the static arguments after them, and its weights."""

    function: Callable[..., Any]
    shapes: Sequence[tuple[int, ...]]
    static: tuple[Any, ...] = ()
    weights: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the function, and its static arguments."""
        return " ".join([self.function.__name__, *map(str, self.static)])


def _along(function: Callable[..., Any], shape: tuple[int, ...], arrays: int) -> list[Case]:
    """A case per axis."""
    return [Case(function, (shape,) * arrays, (axis,)) for axis in range(len(shape))]


CASES = (
    Case(rmsnorm, ((150, 200), (200,))),
    Case(layernorm, ((150, 200), (200,), (200,))),
    Case(softmax, ((3, 150, 200),)),
    Case(p.log_softmax, ((1, 150, 700),)),
    Case(p.swiglu, ((150, 200),) * 2),
    Case(p.swiglu_halves, ((150, 400),)),
    Case(p.scale_bias_gelu, ((150, 200), (200,), (200,))),
    Case(rope, ((2, 3, 150, 32),)),
    Case(p.rotate, ((2, 3, 150, 32), *((2, 3, 150, 16),) * 2)),
    Case(matmul, ((150, 200), (200, 600))),
    Case(linear, ((150, 200), (600, 200)), weights=("weight",)),
    Case(gelu_linear, ((150, 200), (200, 600), (600,))),
    Case(p.residual_product, ((150, 200), (200, 200))),
    Case(p.mlp, ((150, 200), (200, 600), (600, 200))),
    Case(mlp_swiglu, ((150, 200), (200, 600), (200, 600), (600, 200))),
    Case(p.swiglu_product, ((150, 200), (200, 600), (200, 600))),
    Case(p.ffn, ((150, 200), (200, 600), (300, 200))),
    Case(p.ffn_biased, ((150, 200), (200, 600), (600,), (300, 200), (200,))),
    Case(p.head_projection, ((1, 150, 96), (96, 288)), (3,)),
    Case(p.output_projection, ((1, 3, 150, 32), (96, 200))),
    Case(attention, ((2, 2, 300, 64),) * 3),
    Case(p.full_attention, ((2, 2, 300, 64),) * 3),
    Case(p.grouped_attention, QKV),
    Case(p.causal_grouped_attention, QKV),
    Case(p.decode_attention, ((1, 6, 32), *((1, 2, 700, 32),) * 2)),
    Case(
        p.transformer_layer,
        ((1, 150, 96), *((96, 96),) * 4, (96, 160), (96, 160), (160, 96), (96,), (96,)),
        (3,),
    ),
    Case(qwen3_layer, list(shapes_of(1, 150, sizes=QWEN).values())),
    Case(llama3_layer, list(LLAMA.shapes(1, 150).values()), (32,)),
    Case(moe_layer, EXPERTS.shapes(5), (EXPERTS.chosen,)),
    Case(moe_layer, EXPERTS.shapes(1), (EXPERTS.chosen,)),
    Case(p.transposed, ((3, 150, 200),)),
    Case(p.heads_first, ((2, 150, 3, 32),)),
    *_along(p.summed, (5, 150, 200), 1),
    *_along(p.largest, (5, 150, 200), 1),
    *_along(p.joined, (5, 150, 200), 2),
    *_along(p.middle, (8, 150, 200), 1),
    Case(p.every_other, ((300, 200),)),
    Case(p.cache_update, ((1, 3, 300, 32), (1, 3, 1, 32)), (150,)),
    Case(p.cache_update, ((1, 3, 300, 32), (1, 3, 20, 32)), (150,)),
)


def arguments(case: Case, dtype: Any) -> list[Any]:
    """Normal values; matrices but the first array are scaled down by the root of their rows."""
    rng = np.random.default_rng(7)
    arrays = [rng.standard_normal(shape) for shape in case.shapes]
    scaled = [arrays[0], *(a * a.shape[-2] ** -0.5 if a.ndim == 2 else a for a in arrays[1:])]
    return [*(a.astype(dtype) for a in scaled), *case.static]


def agreements(
    case: Case, precision: str, *, target: str = "trn2", checked: bool = False
) -> list[Agreement]:
    """How each output of the lowered kernel compares with numpy."""
    given = arguments(case, DTYPES[precision])
    made = nkigen_lite.compile(
        case.function, *given, target=target, time_limit=5.0, prepack=case.weights
    )
    if checked:
        got = made.traced.unflatten(made.run_checked(made.traced.feed(*given)))
    else:
        got = made(*given)
    return agreements_of(made, named_outputs(made, got), named_outputs(made, case.function(*given)))


def outcomes(options: argparse.Namespace, cases: Sequence[Case]) -> Iterator[bool]:
    """Whether each case agrees; a line is printed for each output, or what went wrong."""
    for case, precision in product(cases, DTYPES):
        label = f"{case.name} {precision}"
        try:
            with at_most(options.stop_after):
                found = agreements(case, precision, target=options.target, checked=options.checked)
        except Exception as error:
            print(f"{label}: FAILS: {type(error).__name__}: {error}", flush=True)
            yield False
            continue
        for one in found:
            verdict = "agrees" if one.ok else f"DISAGREES {one.note}"
            print(f"{label}: {one.max_rel:.1e} of {one.allowed:.1e} {verdict}", flush=True)
        yield all(one.ok for one in found)


def main() -> int:
    """Run the cases that are named, or all."""
    parser = names_parser(__doc__, "function")
    add_target(parser)
    add_stop_after(parser, 120.0)
    parser.add_argument("--checked", action="store_true", help="run at the planned addresses")
    options = parser.parse_args()
    cases = by_prefix(CASES, options.names, lambda case: case.name)
    if not cases:
        return nothing_selected(options.names)
    agreed = list(outcomes(options, cases))
    print(f"{sum(agreed)} of {len(agreed)} agree with numpy")
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    sys.exit(main())
