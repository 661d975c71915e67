"""A table of all that engines run: operands and attributes per op and engine, and what it is to the
cost model."""

from __future__ import annotations

from typing import Any

from tile_ops_gpsimd import GPSIMD
from tile_ops_vector import VECTOR
from tile_shapes import BF16, F32, FP8, I32, ONE, PSUM, U8, XS, Case, Tile, Wanted, X, same

from nkigen_lite.core.ir import Op
from nkigen_lite.nki_ir import Builder

__all__ = ["BF16", "CASES", "F32", "IDS", "PSUM", "Tile", "Wanted", "build"]

COMMON: list[Case] = [
    (
        ("matmul", "tensor"),
        [((32, 100), F32, PSUM), ((96, 32), BF16), ((96, 100), BF16)],
        {},
        {
            "rows": 96,
            "elems": 100,
            "columns": 32,
            "dtypes": ("f32", "bf16", "bf16"),
            "memories": ("psum", "sbuf", "sbuf"),
        },
    ),
    # Two rows of the contraction in each partition; the columns that move are as many.
    (
        ("matmul", "tensor"),
        [((32, 100), F32, PSUM), ((96, 2, 32), FP8), ((96, 2, 100), FP8)],
        {"perf_mode": "double_row"},
        {
            "rows": 96,
            "elems": 100,
            "columns": 32,
            "dtypes": ("f32", "fp8_e5m2", "fp8_e5m2"),
            "memories": ("psum", "sbuf", "sbuf"),
        },
    ),
    (
        ("matmul", "tensor"),
        [((32, 100), F32, PSUM), ((32, 32), BF16), ((32, 100), BF16)],
        {"tile_position": (96, 64), "tile_size": (32, 32)},
        {
            "rows": 32,
            "elems": 100,
            "columns": 32,
            "dtypes": ("f32", "bf16", "bf16"),
            "memories": ("psum", "sbuf", "sbuf"),
        },
    ),
    (
        ("nc_transpose", "tensor"),
        [((40, 96), F32, PSUM), X],
        {},
        {"rows": 96, "elems": 96, "dtypes": ("f32", "f32"), "memories": ("psum", "sbuf")},
    ),
    # Its source's partitions move through the array, be they fewer than its elements.
    (
        ("nc_transpose", "tensor"),
        [((96, 40), F32, PSUM), ((40, 96), F32)],
        {},
        {"rows": 96, "elems": 40, "dtypes": ("f32", "f32"), "memories": ("psum", "sbuf")},
    ),
    (
        ("nc_transpose", "vector"),
        [((32, 8), BF16), ((8, 32), BF16)],
        {},
        {"rows": 32, "elems": 32, **same(2, "bf16")},
    ),
    (("activation", "scalar"), [X, X], {"op": "exp"}, {**XS, **same(2), "function": "exp"}),
    (
        ("activation", "scalar"),
        [X, X, ONE],
        {"op": "gelu"},
        {**XS, **same(2), "function": "gelu", "pointer": True},
    ),
    # The sums are one value per partition, and not told.
    (
        ("activation_reduce", "scalar"),
        [X, ONE, X],
        {"op": "exp"},
        {**XS, **same(2), "function": "exp"},
    ),
    (
        ("activation_reduce", "scalar"),
        [X, ONE, X, ONE],
        {"op": "exp"},
        {**XS, **same(2), "function": "exp", "pointer": True},
    ),
    # The scale is the last operand, after the bias if there is one.
    (
        ("activation", "scalar"),
        [X, X, ONE],
        {"op": "exp", "scale": None, "bias": 0.5},
        {**XS, **same(2), "function": "exp", "pointer": True},
    ),
    (
        ("activation", "scalar"),
        [X, X, ONE, ONE],
        {"op": "exp", "scale": None},
        {**XS, **same(2), "function": "exp", "pointer": True},
    ),
    (
        ("activation_reduce", "scalar"),
        [X, ONE, X, ONE, ONE],
        {"op": "square", "scale": None},
        {**XS, **same(2), "function": "square", "pointer": True},
    ),
    (
        ("activation_accumulate", "scalar"),
        [X, ONE, X],
        {"op": "square"},
        {**XS, **same(2), "function": "square"},
    ),
    (
        ("activation_reduce", "scalar"),
        [X, ONE, X],
        {"op": "square", "scale": 0.5, "bias": -1.0},
        {**XS, **same(2), "function": "square"},
    ),
    (("tensor_tensor_arith", "vector"), [X] * 3, {"op": "add"}, {**XS, **same(3)}),
    (("tensor_tensor_arith", "gpsimd"), [X] * 3, {"op": "add"}, {**XS, **same(3)}),
    (
        ("tensor_tensor_bitvec", "vector"),
        [((96, 40), I32)] * 3,
        {"op": "bitwise_and"},
        {**XS, **same(3, "i32")},
    ),
    (
        ("tensor_scalar_arith", "vector"),
        [((96, 40), BF16), ((96, 40), F32, PSUM)],
        {"op0": "add", "imm0": 2.0},
        {**XS, "dtypes": ("bf16", "f32"), "memories": ("sbuf", "psum")},
    ),
    (
        ("tensor_scalar_arith", "vector"),
        [X, X, ONE, ONE],
        {"op0": "subtract", "op1": "multiply"},
        {**XS, **same(2), "pointer": True},
    ),
    (
        ("tensor_scalar_arith", "vector"),
        [X, X, ONE],
        {"op0": "abs", "op1": "multiply"},
        {**XS, **same(2), "pointer": True},
    ),
    (("tensor_scalar_arith", "gpsimd"), [X, X], {"op0": "rsqrt"}, {**XS, **same(2)}),
    (
        ("tensor_scalar_bitvec", "vector"),
        [((96, 40), I32)] * 2,
        {"op0": "bitwise_and", "imm0": 60, "op1": "right_shift", "imm1": 2},
        {**XS, **same(2, "i32")},
    ),
    (
        ("tensor_scalar_bitvec", "vector"),
        [((96, 40), U8)] * 2,
        {"op0": "invert", "op1": "bitwise_xor", "imm1": 255},
        {**XS, **same(2, "u8")},
    ),
    (
        ("tensor_scalar_arith", "scalar"),
        [X, X],
        {"op0": "multiply", "imm0": 2.0},
        {**XS, **same(2)},
    ),
    (
        ("scalar_tensor_tensor_arith", "vector"),
        [X, X, X],
        {"op0": "multiply", "imm0": 2.0, "op1": "add"},
        {**XS, **same(3)},
    ),
    (
        ("scalar_tensor_tensor_arith", "vector"),
        [X, X, X, ONE],
        {"op0": "multiply", "op1": "add"},
        {**XS, **same(3), "pointer": True},
    ),
    (("reciprocal", "vector"), [X, X], {}, {**XS, **same(2)}),
    # A reduction is as long as what it reads.
    (("tensor_reduce_arith", "vector"), [ONE, X], {"op": "add"}, {**XS, **same(2)}),
    (
        ("tensor_reduce_arith", "vector"),
        [ONE, X],
        {"op": "maximum", "negate": True},
        {**XS, **same(2)},
    ),
    (
        ("cross_lane_reduce_arith", "gpsimd"),
        [((1, 40), F32), X],
        {"op": "add"},
        {**XS, **same(2)},
    ),
    (("bn_stats", "vector"), [((96, 6), F32), X], {}, {**XS, **same(2)}),
    (("bn_aggr", "vector"), [((96, 2), F32), ((96, 18), F32)], {}, {**XS, "elems": 18, **same(2)}),
    (("memset", "vector"), [X], {"value": 1.0}, {**XS, **same(1)}),
    (("memset", "vector"), [X], {"value": 0.0}, {**XS, **same(1), "function": "zero"}),
    (("memset", "gpsimd"), [X], {"value": 0.0}, {**XS, **same(1), "function": "zero"}),
    (
        ("iota", "gpsimd"),
        [((96, 40), I32)],
        {"pattern": ((1, 40),)},
        {**XS, **same(1, "i32")},
    ),
    (("tensor_copy", "vector"), [X, X], {}, {**XS, **same(2)}),
    (("tensor_copy", "scalar"), [X, X], {}, {**XS, **same(2)}),
    (("tensor_copy", "gpsimd"), [X, X], {}, {**XS, **same(2)}),
    (
        ("copy_predicated", "vector"),
        [X, ((96, 40), U8)],
        {"imm": 2.5, "reverse": True},
        {**XS, "dtypes": ("f32", "u8"), "memories": ("sbuf",) * 2},
    ),
    (
        ("copy_predicated", "vector"),
        [X, ((96, 40), U8), X],
        {},
        {**XS, "dtypes": ("f32", "u8", "f32"), "memories": ("sbuf",) * 3},
    ),
]

CASES = COMMON + VECTOR + GPSIMD
IDS = [" on ".join(key) for key, *_ in CASES]


def build(b: Builder, key: tuple[str, str], tiles: list[Tile], attrs: dict[str, Any]) -> Op:
    """Append the op of a case, with new tiles for its operands."""
    opcode, engine = key
    getattr(b, opcode)(*(b.alloc(*tile) for tile in tiles), engine=engine, **attrs)
    return b.graph.ops[-1]
