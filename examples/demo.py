"""Compile a Qwen3-0.6B decoder layer in f32 and bf16, run its tiles on the CPU, explain the plan.

``make demo`` runs this; it needs no Trainium hardware. The layer has batch 1, sequence 128 and
random weights. The lowered kernel runs tile by tile in the interpreter, and what it computes must
agree with plain numpy: in f32 to 1e-4 of the largest magnitude, in bf16 to 3.1e-2, which is four
times bf16's machine epsilon (both round every matrix product and elementwise result to bf16, but
not at the same places). The files of each kernel go to ``out/demo/``.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import ml_dtypes
import numpy as np

import nkigen_lite
from cost_models import load_target
from nkigen_lite.report import CompileReport
from nkigen_lite.report.agreement import Agreement, compare, dtypes_of, tolerance
from nkigen_lite.report.figures import micros, percent, scientific, size
from nkigen_lite.report.tables import Column, render, table
from nkigen_lite.report.text import report_text

ROOT = Path(__file__).resolve().parents[1]
LAYER = ROOT / "examples" / "qwen3_layer.py"
OUT = Path("out") / "demo"
PRECISIONS = {"f32": np.dtype(np.float32), "bf16": np.dtype(ml_dtypes.bfloat16)}
SEED = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A compiled layer and how far it is from numpy."""

    precision: str
    report: CompileReport
    agreement: Agreement


def main() -> int:
    """Run the demo; 1 if a kernel disagrees with numpy."""
    start = perf_counter()
    width = shutil.get_terminal_size((100, 24)).columns
    make_weights = nkigen_lite.load_function(f"{LAYER}:make_weights")
    outcomes = [
        demonstrate(precision, make_weights(SEED, dtype), OUT / precision, width)
        for precision, dtype in PRECISIONS.items()
    ]
    print(summary(outcomes, width), end="")
    agreed = all(outcome.agreement.ok for outcome in outcomes)
    print(f"\n{'all agree with numpy' if agreed else 'DISAGREEMENT'}; ", end="")
    print(f"{perf_counter() - start:.1f} s; files in {OUT}")
    return 0 if agreed else 1


def demonstrate(
    precision: str, weights: dict[str, np.ndarray], folder: Path, width: int
) -> Outcome:
    """Compile the layer for these arguments, run it, compare, print the report, write files."""
    layer = nkigen_lite.load_function(f"{LAYER}:qwen3_layer")
    say(f"{precision}: compiling")
    kernel = nkigen_lite.compile(layer, *weights.values(), target="trn2")
    say(f"{precision}: running {kernel.report.instructions:,} instructions in the interpreter")
    got = kernel(*weights.values())
    say(f"{precision}: running numpy")
    expected = layer(*weights.values())
    (output,) = kernel.graph.outputs.values()
    allowed = tolerance(dtypes_of(kernel.graph), output.type.dtype)
    agreement = compare(f"qwen3_layer {precision}", got, expected, allowed, exact=False)
    print()
    print(
        report_text(
            kernel.report,
            kernel.plan,
            load_target(kernel.report.target),
            width=width,
            hint=f"{folder / 'plan.json'} has all",
            colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
            encoding=sys.stdout.encoding or "ascii",
        ),
        end="",
    )
    for path in nkigen_lite.write_outputs(kernel, folder):
        print(f"wrote {path}")
    print()
    return Outcome(precision, kernel.report, agreement)


def summary(outcomes: list[Outcome], width: int) -> str:
    """One row per precision."""
    columns = (
        Column("layer"),
        Column("predicted us", right=True),
        Column("greedy us", right=True, drop=1),
        Column("roofline us", right=True, drop=3),
        Column("gap", right=True, drop=4),
        Column("HBM", right=True, drop=5),
        Column("max rel error", right=True),
        Column("allowed", right=True, drop=2),
        Column(""),
    )
    rows = [
        (
            o.precision,
            micros(o.report.predicted_us),
            micros(o.report.greedy_us) if o.report.greedy_us else "-",
            micros(o.report.bound_us),
            percent(o.report.gap),
            size(o.report.hbm_bytes),
            scientific(o.agreement.max_rel),
            scientific(o.agreement.allowed),
            "agrees" if o.agreement.ok else f"DISAGREES {o.agreement.note}",
        )
        for o in outcomes
    ]
    return render([table(columns, rows, width)], width, encoding=sys.stdout.encoding or "ascii")


def say(text: str) -> None:
    """A progress line."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
