"""The kernels that the benchmark compiles: a name, a numpy function and its specs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from attention import attention
from gelu_linear import gelu_linear
from layernorm import layernorm
from linear import linear
from matmul import matmul
from mlp_swiglu import mlp_swiglu
from qwen3_layer import qwen3_layer, shapes_of
from rmsnorm import rmsnorm
from rope import rope
from softmax import softmax


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function over numpy arrays and what it is compiled for: shapes, and static arguments, and
    parameters that are weights."""

    name: str
    function: Callable[..., Any]
    specs: tuple[Any, ...]
    weights: tuple[str, ...] = ()


def _layer(dtype: str, seq: int) -> Kernel:
    specs = tuple("x".join(map(str, s)) + f":{dtype}" for s in shapes_of(1, seq).values())
    return Kernel(f"qwen3_layer {dtype} s{seq}", qwen3_layer, specs)


def _matmul(m: int, k: int, n: int, dtype: str) -> Kernel:
    return Kernel(f"matmul {dtype} {m}x{k}x{n}", matmul, (f"{m}x{k}:{dtype}", f"{k}x{n}:{dtype}"))


def _linear(rows: int, *, packed: bool) -> Kernel:
    name = f"linear bf16 {rows}x4096x4096"
    specs = f"{rows}x4096:bf16", "4096x4096:bf16"
    if packed:
        return Kernel(f"{name} weight packed", linear, specs, ("weight",))
    return Kernel(name, linear, specs)


def _rows(function: Callable[..., Any], shape: tuple[int, int], dtype: str, vectors: int) -> Kernel:
    rows, cols = shape
    specs = (f"{rows}x{cols}:{dtype}", *(f"{cols}:{dtype}" for _ in range(vectors)))
    return Kernel(f"{function.__name__} {dtype} {rows}x{cols}", function, specs)


def _heads(function: Callable[..., Any], shape: str, count: int) -> Kernel:
    return Kernel(f"{function.__name__} {shape}", function, (shape,) * count)


def kernels() -> list[Kernel]:
    """Every kernel, small ones of a family first."""
    return [
        *(_matmul(n, n, n, "bf16") for n in (512, 2048, 4096, 8192)),
        _matmul(1009, 2003, 4001, "f32"),
        _matmul(1, 2048, 64128, "bf16"),
        _matmul(32768, 32, 32768, "f32"),
        *(_rows(rmsnorm, (4096, 4096), d, 1) for d in ("f32", "bf16")),
        *(_rows(layernorm, (4096, 4096), d, 2) for d in ("f32", "bf16")),
        *(_rows(softmax, (4096, 4096), d, 0) for d in ("f32", "bf16")),
        _rows(softmax, (4096, 393216), "f32", 0),
        Kernel("gelu_linear f32 512x1024x2048", gelu_linear, ("512x1024", "1024x2048", "2048:f32")),
        Kernel(
            "mlp_swiglu bf16 512x1024x3072",
            mlp_swiglu,
            ("512x1024:bf16", "1024x3072:bf16", "1024x3072:bf16", "3072x1024:bf16"),
        ),
        *(_linear(rows, packed=packed) for rows in (1, 512) for packed in (False, True)),
        _heads(rope, "1x16x128x128:f32", 1),
        _heads(attention, "1x8x512x64:bf16", 3),
        _heads(attention, "1x8x2048x128:bf16", 3),
        _layer("f32", 128),
        _layer("bf16", 128),
    ]
