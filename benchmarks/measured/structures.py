"""The kernels that rows of kernels.json name as their structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph

from . import gemm_gelu, layernorm, matmul, mlp, vector_add

Launches = tuple[Graph, ...]
Build = Callable[..., Launches]


def _one(build: Callable[..., Graph], **fixed: Any) -> Build:
    return lambda dtype, **sizes: (build(dtype=dtype, **sizes, **fixed),)


def _unfused(dtype: DType, m: int, k: int, n: int) -> Launches:
    return (gemm_gelu.gemm_bias(m, k, n, dtype), gemm_gelu.gelu(m, n, dtype))


STRUCTURES: Final[Mapping[str, Build]] = {
    "matmul_tiled": _one(matmul.tiled),
    "matmul_hoisted": _one(matmul.hoisted),
    "matmul_blocked": _one(matmul.blocked),
    "matmul_fully_blocked": _one(matmul.fully_blocked),
    "gemm_gelu_unfused": _unfused,
    "gemm_gelu_fused": _one(gemm_gelu.gemm_bias, finish=gemm_gelu.gelu_tile),
    "gemm_gelu_taylor": _one(gemm_gelu.gemm_bias, finish=gemm_gelu.gelu_tile_taylor),
    "vector_add_tiled": _one(vector_add.tiled),
    "vector_add_stream": _one(vector_add.stream),
    "mlp3": _one(mlp.mlp3),
    "layernorm_by_sums": _one(layernorm.by_sums),
    "layernorm_by_stats": _one(layernorm.by_stats),
}
"""By name: the kernels of one run, in order, each a launch of its own. All take ``dtype`` and the
row's sizes, and nothing that stands for time."""
