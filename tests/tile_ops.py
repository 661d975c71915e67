"""A table of all that engines run: operands and attributes per op and engine, and what it is to the
cost model."""

from __future__ import annotations

from typing import Any

from nkigen_lite.core.ir import Op
from nkigen_lite.nki_ir import Builder, DType, MemorySpace

F32, BF16, I32, U8 = DType.F32, DType.BF16, DType.I32, DType.U8
PSUM = MemorySpace.PSUM

Shape = tuple[int, ...]
Tile = tuple[Shape, DType] | tuple[Shape, DType, MemorySpace]
Wanted = dict[str, Any]

X: Tile = ((96, 40), F32)
XS: Wanted = {"rows": 96, "elems": 40}
ONE: Tile = ((96, 1), F32)


def same(count: int, dtype: str = "f32", memory: str = "sbuf") -> Wanted:
    return {"dtypes": (dtype,) * count, "memories": (memory,) * count}


# (op, engine), operands, attributes, the instruction but for op and engine.
CASES: list[tuple[tuple[str, str], list[Tile], dict[str, Any], Wanted]] = [
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
        [X, ((96, 40), U8), X],
        {},
        {**XS, "dtypes": ("f32", "u8", "f32"), "memories": ("sbuf",) * 3},
    ),
]


IDS = [" on ".join(key) for key, *_ in CASES]


def build(b: Builder, key: tuple[str, str], tiles: list[Tile], attrs: dict[str, Any]) -> Op:
    """Append the op of a case, with new tiles for its operands."""
    opcode, engine = key
    getattr(b, opcode)(*(b.alloc(*tile) for tile in tiles), engine=engine, **attrs)
    return b.graph.ops[-1]
