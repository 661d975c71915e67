"""Problems for the solver out of stacked decoder layers, and the data set of them.

    python benchmarks/stacks.py [NAME ...]

writes the problems of `SETS` into benchmarks/problems, those that are named or all. It takes
minutes: every candidate is lowered and simulated to be priced.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nkigen_lite.frontend import trace
from nkigen_lite.tensor_ir.passes.axes import analyse
from nkigen_lite.tensor_ir.passes.hardware import TRN2
from nkigen_lite.tensor_ir.passes.layout_solver.problem import Planner
from nkigen_lite.tensor_ir.passes.lower_to_nki import simplify
from solver import Problem

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from qwen3_layer import QWEN3_0_6B, Sizes, make_weights, qwen3_layer

FOLDER = Path(__file__).resolve().parent / "problems"


@dataclass(frozen=True, slots=True)
class Stack:
    """Decoder layers one after the other, each with weights of its own: their sizes, the element
    type, and the positions of the sequence."""

    layers: tuple[Sizes, ...]
    dtype: str
    seq: int


def _sizes(heads: int, ffn: int) -> Sizes:
    return replace(QWEN3_0_6B, heads=heads, ffn=ffn)


SETS = {
    "layer-bf16-128": Stack((QWEN3_0_6B,), "bf16", 128),
    "layer-f32-128": Stack((QWEN3_0_6B,), "f32", 128),
    "layer-bf16-512": Stack((QWEN3_0_6B,), "bf16", 512),
    "layer-bf16-1024": Stack((QWEN3_0_6B,), "bf16", 1024),
    "layers2-bf16-128": Stack((QWEN3_0_6B,) * 2, "bf16", 128),
    "layers3-bf16-512": Stack((QWEN3_0_6B,) * 3, "bf16", 512),
    "distinct8-bf16-128": Stack(
        tuple(
            _sizes(heads, ffn)
            for heads, ffn in (
                *((16, 3072), (16, 2048), (8, 4096), (16, 2560)),
                *((32, 3584), (24, 1536), (16, 5120), (8, 4608)),
            )
        ),
        "bf16",
        128,
    ),
}


def stacked(x: Any, layers: Sequence[Sequence[Any]]) -> Any:
    """`x` through decoder layers, each given by the weights that follow `x` in `qwen3_layer`."""
    for weights in layers:
        x = qwen3_layer(x, *weights)
    return x


def make(name: str, stack: Stack) -> Problem:
    """The problem that compiling the stack for Trn2 gives the solver."""
    specs: list[list[str]] = []
    for sizes in stack.layers:
        arrays = make_weights(0, np.float32, 1, stack.seq, sizes=sizes)
        specs.append(["x".join(map(str, a.shape)) + f":{stack.dtype}" for a in arrays.values()])
    graph = trace(stacked, [specs[0][0], [layer[1:] for layer in specs]]).graph
    simplify(graph)
    return replace(Planner(analyse(graph), TRN2).problem(), name=name)


def save(problem: Problem) -> None:
    """Write a problem into the data set, compactly."""
    text = json.dumps(json.loads(problem.to_json()), separators=(",", ":"))
    path = FOLDER / f"{problem.name}.json.gz"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def load() -> Iterator[Problem]:
    """The problems of the data set, small ones first."""
    paths = sorted(FOLDER.glob("*.json.gz"), key=lambda path: (path.stat().st_size, path.name))
    for path in paths:
        yield Problem.from_json(gzip.decompress(path.read_bytes()).decode())


def main() -> int:
    """Make the problems that are named, or all; 0, or 1 for an unknown name."""
    names = sys.argv[1:] or list(SETS)
    for name in names:
        if name not in SETS:
            print(f"stacks: {name!r} is no problem; there are {', '.join(SETS)}", file=sys.stderr)
            return 1
        problem = make(name, SETS[name])
        save(problem)
        print(f"{name}: {len(problem.ops)} ops, {len(problem.candidates)} candidates")
    return 0


if __name__ == "__main__":
    sys.exit(main())
