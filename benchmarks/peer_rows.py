"""What the earlier system's figures are of: its patterns as numpy functions, and the figures.

The functions are written from the patterns' names, shapes and sizes in bytes, which inputs and
outputs here add up to; two kinds of rows have others. The Qwen3 layer had its rotary tables and
zero biases as inputs. The layers with experts had no sorted choice to spell out here: theirs chose
eight experts of each token, ours computes all (as many weights as they count), with the position
known; the one for a single token had a mask and tables as inputs, too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import patterns as p
from benchmarks.experts import MoeSizes, moe_layer
from benchmarks.groups import kernel
from benchmarks.kernels import Kernel
from examples.gelu_linear import gelu_linear
from examples.layernorm import layernorm
from examples.matmul import matmul
from examples.qwen3_layer import qwen3_layer, shapes_of
from examples.rmsnorm import rmsnorm
from examples.softmax import softmax

FIGURES = Path(__file__).with_name("peers.json")
LAYERS = ("transformer_layer", "qwen3_layer", "moe_layer")

Shape = tuple[int, ...]
Arguments = tuple[Callable[..., Any], Sequence[Shape], tuple[Any, ...]]
"""A function, the shapes of its arrays, and the static arguments after them."""


@dataclass(frozen=True, slots=True)
class PeerRow:
    """Times of one kernel of the earlier system, modelled by itself.

    Attributes:
        pattern: key of :data:`PATTERNS`.
        sizes: arguments of the pattern.
        dtype: of all arrays.
        traced: whether it came from a numpy function by way of nkipy.
        makespan_us: at the state that is named in the figures.
        earlier_us: at the state where it was fastest, or None: not known.
        compulsory_bytes: of its inputs and outputs.
    """

    pattern: str
    sizes: tuple[int, ...]
    dtype: str
    traced: bool
    makespan_us: float
    earlier_us: float | None
    compulsory_bytes: int

    @property
    def name(self) -> str:
        """Unique, such as "rmsnorm 4096x4096 f32"."""
        label = f"{self.pattern} {'x'.join(map(str, self.sizes))} {self.dtype}"
        return f"{label} traced" if self.traced else label

    @property
    def least_us(self) -> float:
        """The faster of the two states."""
        return min(self.makespan_us, self.earlier_us or self.makespan_us)

    def kernel(self) -> Kernel:
        """The same computation to be compiled here."""
        function, shapes, static = PATTERNS[self.pattern](*self.sizes)
        return replace(kernel("", function, self.dtype, shapes, *static), name=self.name)


def _layer(batch: int, seq: int, n: int, heads: int, inner: int) -> Arguments:
    square, wide = (n, n), (n, inner)
    shapes = ((batch, seq, n), *(square,) * 4, wide, wide, (inner, n), (n,), (n,))
    return p.transformer_layer, shapes, (heads,)


def _rope(*x: int) -> Arguments:
    table = (*x[:-1], x[-1] // 2)
    return p.rotate, (x, table, table), ()


def _grouped(batch: int, heads: int, kv_heads: int, seq: int, dim: int) -> Arguments:
    kv = (batch, kv_heads, seq, dim)
    return p.grouped_attention, ((batch, heads, seq, dim), kv, kv), ()


def _cache(batch: int, heads: int, cached: int, new: int, dim: int) -> Arguments:
    return p.joined, ((batch, heads, cached, dim), (batch, heads, new, dim)), (2,)


def _qwen3(batch: int, seq: int) -> Arguments:
    return qwen3_layer, list(shapes_of(batch, seq).values()), ()


def _experts(tokens: int, positions: int) -> Arguments:
    sizes = MoeSizes(positions=positions)
    return moe_layer, sizes.shapes(tokens), (sizes.chosen,)


PATTERNS: dict[str, Callable[..., Arguments]] = {
    "rmsnorm": lambda *x: (rmsnorm, (x, x[-1:]), ()),
    "layernorm": lambda *x: (layernorm, (x, x[-1:], x[-1:]), ()),
    "softmax": lambda *x: (softmax, (x,), ()),
    "cross_entropy_loss": lambda *x: (p.log_softmax, (x,), ()),
    "fused_scale_bias_activation": lambda m, n: (p.scale_bias_gelu, ((m, n), (n,), (n,)), ()),
    "swiglu_halves": lambda m, n: (p.swiglu_halves, ((m, 2 * n),), ()),
    "rope": _rope,
    "matmul": lambda m, k, n: (matmul, ((m, k), (k, n)), ()),
    "matmul_with_epilogue": lambda m, k, n: (gelu_linear, ((m, k), (k, n), (n,)), ()),
    "residual_add": lambda m, n: (p.residual_product, ((m, n), (n, n)), ()),
    "ffn": lambda m, k, n: (p.ffn, ((m, k), (k, 2 * n), (n, k)), ()),
    "ffn_biased": lambda m, k, n: (
        p.ffn_biased,
        ((m, k), (k, 2 * n), (2 * n,), (n, k), (k,)),
        (),
    ),
    "swiglu_gate": lambda m, k, n: (p.swiglu_product, ((m, k), (k, n), (k, n)), ()),
    "multi_head_projection": lambda b, s, n, heads: (
        p.head_projection,
        ((b, s, n), (n, 3 * n)),
        (heads,),
    ),
    "output_projection": lambda b, heads, s, dim, n: (
        p.output_projection,
        ((b, heads, s, dim), (heads * dim, n)),
        (),
    ),
    "attention": lambda *x: (p.full_attention, (x, x, x), ()),
    "gqa_attention": _grouped,
    "kv_cache_update": _cache,
    "transformer_layer": _layer,
    "qwen3_layer": _qwen3,
    "moe_layer": _experts,
}


def rows() -> list[PeerRow]:
    """Every row of the figures, in their order."""
    read = json.loads(FIGURES.read_text(encoding="utf-8"))
    return [PeerRow(**{**record, "sizes": tuple(record["sizes"])}) for record in read["rows"]]
