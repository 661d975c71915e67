"""Matrix multiplication with numpy's rules: rank 1 operands and broadcast batches."""

from __future__ import annotations

import numpy as np

from nkigen_lite.core.dtypes import compute_in_f32
from nkigen_lite.core.registry import Attrs, OpDef, Space, Types
from nkigen_lite.errors import InvalidMatmul, InvalidOp
from nkigen_lite.tensor_ir.rows.table import TENSOR, broadcast, check_dtype
from nkigen_lite.tensor_ir.types import TensorType


def _types(types: Types, attrs: Attrs) -> tuple[TensorType]:
    a, b = types
    if not a.rank or not b.rank:
        raise InvalidMatmul(f"matmul: operands {a} and {b}: rank 0 is not a matrix")
    if a.dtype != b.dtype:
        raise InvalidMatmul(f"matmul: dtype mismatch: {a.dtype} and {b.dtype}; cast one of them")
    try:
        check_dtype("matmul", a.dtype, "number")
    except InvalidOp as error:
        raise InvalidMatmul(str(error)) from None
    inner = b.shape[-2] if b.rank > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise InvalidMatmul(
            f"matmul: contraction dim mismatch: {a.shape[-1]} in {a} but {inner} in {b}"
        )
    try:
        batch = broadcast("matmul", [a.shape[:-2], b.shape[:-2]])
    except InvalidOp:
        raise InvalidMatmul(
            f"matmul: batch shapes {a.shape[:-2]} and {b.shape[:-2]} are not broadcastable"
        ) from None
    rows = a.shape[-2:-1] if a.rank > 1 else ()
    columns = b.shape[-1:] if b.rank > 1 else ()
    return (TensorType((*batch, *rows, *columns), a.dtype),)


def _space(types: Types, results: Types, attrs: Attrs) -> Space:
    a, b = types
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    extents: dict[str, int] = {f"b{i}": n for i, n in enumerate(batch) if n != 1}

    def batch_axes(shape: tuple[int, ...]) -> tuple[str | None, ...]:
        offset = len(batch) - len(shape)
        return tuple(f"b{i + offset}" if n != 1 else None for i, n in enumerate(shape))

    def axis(name: str, extent: int) -> str | None:
        if extent == 1:
            return None
        extents[name] = extent
        return name

    m = (axis("m", a.shape[-2]),) if a.rank > 1 else ()
    n = (axis("n", b.shape[-1]),) if b.rank > 1 else ()
    k = axis("k", a.shape[-1])
    of_a = (*batch_axes(a.shape[:-2]), *m, k)
    of_b = (*batch_axes(b.shape[:-2]), k, *n) if b.rank > 1 else (k,)
    return Space((of_a, of_b), ((*batch_axes(tuple(batch)), *m, *n),), extents)


TENSOR.define(
    OpDef(
        name="matmul",
        summary="Matrix product over the last dimension of a and the last but one of b.",
        arity=(2, 2),
        infer=_types,
        evaluate=compute_in_f32(np.matmul),
        space=_space,
        engine="tensor",
        tolerance=1e-5,
        dtypes="number",
    )
)
