"""The kernels of the benchmark by group, each with what its time may be over its lower bound.

`kernels.py` has the kernels of the group "others", which have no target.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import patterns as p
from benchmarks.kernels import Kernel, kernels
from examples.attention import attention
from examples.layernorm import layernorm
from examples.llama3_layer import LLAMA3_8B, llama3_layer
from examples.matmul import matmul
from examples.mlp_swiglu import mlp_swiglu
from examples.qwen3_layer import qwen3_layer, shapes_of
from examples.rmsnorm import rmsnorm
from examples.softmax import softmax

Function = Callable[..., Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Kernels and their target, simulated time over the roofline bound; None: they have none."""

    name: str
    most: float | None
    kernels: tuple[Kernel, ...]


def spec(shape: Sequence[int], dtype: str) -> str:
    """As `compile` takes it: "4x8:bf16"."""
    return f"{'x'.join(map(str, shape))}:{dtype}"


def kernel(
    name: str, function: Function, dtype: str, shapes: Sequence[Shape], *static: Any
) -> Kernel:
    """Of arrays of one type, and static arguments."""
    return Kernel(f"{name} {dtype}", function, (*(spec(s, dtype) for s in shapes), *static))


def _matmuls() -> Iterator[Kernel]:
    for m, k, n in ((2048,) * 3, (4096,) * 3, (8192, 4096, 8192)):
        yield kernel(f"matmul {m}x{k}x{n}", matmul, "bf16", ((m, k), (k, n)))


def _rows() -> Iterator[Kernel]:
    functions: dict[Function, Callable[[int], list[Shape]]] = {
        rmsnorm: lambda n: [(n, n), (n,)],
        layernorm: lambda n: [(n, n), (n,), (n,)],
        softmax: lambda n: [(n, n)],
        p.swiglu: lambda n: [(n, n)] * 2,
    }
    for (function, shapes), n, dtype in product(functions.items(), (4096, 8192), ("f32", "bf16")):
        yield kernel(f"{function.__name__} {n}x{n}", function, dtype, shapes(n))


def _attentions() -> Iterator[Kernel]:
    for seq, dim in product((512, 1024, 2048, 4096), (64, 128)):
        for name, function in (("causal", attention), ("full", p.full_attention)):
            shape = (1, 8, seq, dim)
            yield kernel(f"{name} {spec(shape, '')[:-1]}", function, "bf16", [shape] * 3)


def _grouped() -> Iterator[Kernel]:
    for (heads, kv_heads), seq in product(((16, 8), (32, 8)), (512, 2048)):
        shapes = [(1, heads, seq, 128), *[(1, kv_heads, seq, 128)] * 2]
        functions = (("causal", p.causal_grouped_attention), ("full", p.grouped_attention))
        for name, function in functions:
            yield kernel(f"{name} {heads}/{kv_heads} heads {seq}x128", function, "bf16", shapes)


def _decodes() -> Iterator[Kernel]:
    for heads, kv_heads, dim in ((8, 8, 64), (8, 8, 128), (32, 8, 128)):
        shapes = [(1, heads, dim), *[(1, kv_heads, 4096, dim)] * 2]
        yield kernel(f"{heads}/{kv_heads} heads 4096x{dim}", p.decode_attention, "bf16", shapes)


def _feed_forward() -> Iterator[Kernel]:
    """The inner size is 4 times the hidden one for the MLP, 3 times for SwiGLU."""
    for hidden, tokens in product((1024, 4096), (128, 512, 4096)):
        x, wide, gated = (tokens, hidden), 4 * hidden, 3 * hidden
        label = f"{tokens} tokens, {hidden}"
        yield kernel(f"mlp {label}", p.mlp, "bf16", (x, (hidden, wide), (wide, hidden)))
        shapes = (x, (hidden, gated), (hidden, gated), (gated, hidden))
        yield kernel(f"swiglu {label}", mlp_swiglu, "bf16", shapes)


def _layers() -> Iterator[Kernel]:
    for seq in (128, 2048):
        shapes = list(shapes_of(1, seq).values())
        yield kernel(f"qwen3-0.6b s{seq}", qwen3_layer, "bf16", shapes)
    shapes = list(LLAMA3_8B.shard(8).shapes(1, 128).values())
    yield kernel("llama3-8b/8 s128", llama3_layer, "bf16", shapes)


def _moves() -> Iterator[Kernel]:
    square, stack = (4096, 4096), (64, 512, 1024)
    for dtype in ("f32", "bf16"):
        yield kernel("transpose 4096x4096", p.transposed, dtype, [square])
        yield kernel("transpose 64x512x1024", p.transposed, dtype, [stack])
        yield kernel("heads first 1x2048x16x128", p.heads_first, dtype, [(1, 2048, 16, 128)])


def _reductions() -> Iterator[Kernel]:
    for axis, dtype in product((0, 1), ("f32", "bf16")):
        yield kernel(f"sum 4096x4096 axis {axis}", p.summed, dtype, [(4096, 4096)], axis)
    for axis in (0, 1, 2):
        yield kernel(f"sum 64x512x1024 axis {axis}", p.summed, "f32", [(64, 512, 1024)], axis)
    for axis in (0, 1):
        yield kernel(f"max 4096x4096 axis {axis}", p.largest, "f32", [(4096, 4096)], axis)


def _joins() -> Iterator[Kernel]:
    square, cache = (4096, 4096), (1, 8, 4096, 128)
    for axis in (0, 1):
        yield kernel(f"concat 4096x4096 axis {axis}", p.joined, "bf16", [square, square], axis)
        yield kernel(f"slice 4096x4096 axis {axis}", p.middle, "bf16", [square], axis)
    yield kernel("every other row 4096x4096", p.every_other, "bf16", [square])
    for new in (1, 128):
        shapes = [cache, (1, 8, new, 128)]
        yield kernel(f"cache update 1x8x4096x128 by {new}", p.cache_update, "bf16", shapes, 2048)


def groups() -> list[Group]:
    """All groups, and the kernels without a target last."""
    named: tuple[tuple[str, float, Callable[[], Iterator[Kernel]]], ...] = (
        ("matmul", 1.10, _matmuls),
        ("rows", 1.15, _rows),
        ("attention", 1.5, _attentions),
        ("grouped", 1.5, _grouped),
        ("decode", 1.3, _decodes),
        ("feed-forward", 1.25, _feed_forward),
        ("layers", 1.35, _layers),
        ("transposes", 1.3, _moves),
        ("reductions", 1.3, _reductions),
        ("joins", 1.3, _joins),
    )
    targeted = [Group(name, most, tuple(make())) for name, most, make in named]
    known = {_identity(k) for group in targeted for k in group.kernels}
    others = tuple(k for k in kernels() if _identity(k) not in known)
    return [*targeted, Group("others", None, others)]


def _identity(kernel: Kernel) -> tuple[Any, ...]:
    """Equal for kernels that are the same under other names."""
    return kernel.function.__name__, kernel.specs, kernel.weights


def chosen(names: Sequence[str]) -> list[tuple[Group, Kernel]]:
    """Every kernel that one of the names selects, or all: a group, "group/kernel" or "kernel",
    where the beginning of the kernel's name is enough."""
    every = [(group, kernel) for group in groups() for kernel in group.kernels]
    return [(g, k) for g, k in every if not names or any(_named(g, k, name) for name in names)]


def _named(group: Group, kernel: Kernel, name: str) -> bool:
    within, slash, start = name.partition("/")
    if slash and within == group.name:
        return kernel.name.startswith(start)
    return name == group.name or kernel.name.startswith(name)
