"""The kernels that the benchmark compiles: a name, a numpy function and its specs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from attention import attention
from gelu_linear import gelu_linear
from layernorm import layernorm
from mlp_swiglu import mlp_swiglu
from qwen3_layer import make_weights, qwen3_layer
from rmsnorm import rmsnorm
from rope import rope
from softmax import softmax


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function over numpy arrays and the shapes it is compiled for."""

    name: str
    function: Callable[..., Any]
    specs: tuple[str, ...]


def swiglu(gate: Any, up: Any) -> Any:
    """silu(`gate`) * `up`, elementwise; the activation in float32."""
    wide = gate.astype(np.float32)
    return (wide / (1.0 + np.exp(-wide))).astype(gate.dtype) * up


def _product(a: Any, b: Any) -> Any:
    return a @ b


def _layer(dtype: str, seq: int) -> Kernel:
    weights = make_weights(0, np.float32, 1, seq)
    specs = tuple("x".join(map(str, w.shape)) + f":{dtype}" for w in weights.values())
    return Kernel(f"qwen3_layer {dtype} s{seq}", qwen3_layer, specs)


def _matmul(m: int, k: int, n: int, dtype: str) -> Kernel:
    return Kernel(f"matmul {dtype} {m}x{k}x{n}", _product, (f"{m}x{k}:{dtype}", f"{k}x{n}:{dtype}"))


def _rows(function: Callable[..., Any], shape: tuple[int, int], dtype: str, vectors: int) -> Kernel:
    rows, cols = shape
    specs = (f"{rows}x{cols}:{dtype}", *(f"{cols}:{dtype}" for _ in range(vectors)))
    return Kernel(f"{function.__name__} {dtype} {rows}x{cols}", function, specs)


def _norms(extent: int) -> list[Kernel]:
    """Kernels over the rows of square arrays."""
    shape, kinds = (extent, extent), ("f32", "bf16")
    return [
        *(_rows(rmsnorm, shape, d, 1) for d in kinds),
        *(_rows(layernorm, shape, d, 2) for d in kinds),
        *(_rows(softmax, shape, d, 0) for d in kinds),
        *(Kernel(f"swiglu {d} {extent}x{extent}", swiglu, (f"{extent}x{extent}:{d}",) * 2)
          for d in kinds),
    ]  # fmt: skip


def _heads(function: Callable[..., Any], shape: str, count: int) -> Kernel:
    return Kernel(f"{function.__name__} {shape}", function, (shape,) * count)


def kernels() -> list[Kernel]:
    """Every kernel, small ones of a family first."""
    return [
        *(_matmul(n, n, n, "bf16") for n in (512, 2048, 4096, 8192)),
        _matmul(1009, 2003, 4001, "f32"),
        _matmul(1, 2048, 64128, "bf16"),
        _matmul(32768, 32, 32768, "f32"),
        *_norms(4096),
        *_norms(8192),
        _rows(softmax, (4096, 393216), "f32", 0),
        Kernel("gelu_linear f32 512x1024x2048", gelu_linear, ("512x1024", "1024x2048", "2048:f32")),
        Kernel(
            "mlp_swiglu bf16 512x1024x3072",
            mlp_swiglu,
            ("512x1024:bf16", "1024x3072:bf16", "1024x3072:bf16", "3072x1024:bf16"),
        ),
        _heads(rope, "1x16x128x128:f32", 1),
        _heads(attention, "1x8x512x64:bf16", 3),
        _heads(attention, "1x8x2048x128:bf16", 3),
        _layer("f32", 128),
        _layer("bf16", 128),
    ]
