"""More tile ops that hardware refuses: selects, scans, searches, and moves by indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from illegal_tile_ops import BF16, F32, I32, U8, Build, Tiles

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value

U16, U32 = DType.U16, DType.U32


def column(b: Tiles, dtype: DType = F32) -> Value:
    return b.tile(16, 1, dtype=dtype)


def whole(b: Tiles, dtype: DType = F32, free: int = 16) -> Value:
    return b.tile(16, free, dtype=dtype)


def gathered(**attrs: Any) -> Callable[[Tiles], object]:
    """A gather that is legal but for its attributes."""
    return lambda b: b.dma_gather(whole(b), b.hbm(40, 16), column(b, I32), **attrs)


MOVES: dict[str, tuple[Build, str]] = {
    # selects
    "affine pattern": (
        lambda b: b.affine_select(whole(b), whole(b), pattern=((1, 15),), on_false=0.0),
        r"affine_select: pattern counts \(15,\) must multiply to 16",
    ),
    "affine comparison": (
        lambda b: b.affine_select(
            whole(b), whole(b), pattern=((1, 16),), on_false=0.0, cmp_op="add"
        ),
        "cmp_op is 'add' but must be one of equal, greater",
    ),
    "affine select in psum": (
        lambda b: b.affine_select(b.psum(16, 16), whole(b), pattern=((1, 16),), on_false=0.0),
        "in psum but must be in sbuf",
    ),
    "range of integers": (
        lambda b: b.range_select(
            whole(b), whole(b, I32), column(b), column(b), op0="less", op1="less"
        ),
        "source dtype is i32 but must be a float type",
    ),
    "range by inequality": (
        lambda b: b.range_select(
            whole(b), whole(b), column(b), column(b), op0="not_equal", op1="less"
        ),
        "op0 is 'not_equal' but must be one of equal",
    ),
    "narrow bound": (
        lambda b: b.range_select(
            whole(b), whole(b), column(b, BF16), column(b), op0="less", op1="less"
        ),
        "a per-partition operand is bf16 but must be f32",
    ),
    "range beyond f32": (
        lambda b: b.range_select(
            whole(b), whole(b), column(b), column(b), op0="less", op1="less", range_start=2**24
        ),
        r"indices 16777216 to 16777231 must lie within 0 to 2\^24",
    ),
    "wide predicate": (
        lambda b: b.select(whole(b), whole(b, U32), whole(b), on_false=0.0),
        "predicate dtype is u32 but must be one of u8, i8, u16, i16, bool",
    ),
    "selected integers": (
        lambda b: b.select(whole(b, I32), whole(b, U8), whole(b, I32), on_false=0.0),
        "source dtype is i32 but must not be of tf32, i32 or u32",
    ),
    "nothing to select": (
        lambda b: b.select(whole(b), whole(b, U8), whole(b)),
        "0 per-partition operands but 1 goes with on_false=None",
    ),
    "two sources of a predicated copy": (
        lambda b: b.copy_predicated(whole(b), whole(b, U8), whole(b), imm=1.0),
        "1 sources and the immediate 1.0 but must be one of the two",
    ),
    "integer maxima": (
        lambda b: b.select_reduce(whole(b), column(b, I32), whole(b, U8), whole(b), on_false=0.0),
        "maxima are i32 but must be of a float type",
    ),
    # scans
    "reduction by power": (
        lambda b: b.tensor_scalar_reduce(
            whole(b), column(b), whole(b), op0="add", imm0=0.0, reduce_op="power"
        ),
        "reduce_op is 'power' but must be one of add, multiply",
    ),
    "reduction without its scalar": (
        lambda b: b.tensor_scalar_reduce(whole(b), column(b), whole(b), op0="add", reduce_op="add"),
        "0 per-partition operands but 1 goes with imm0=None",
    ),
    "reduction into a tile": (
        lambda b: b.tensor_scalar_reduce(
            whole(b), whole(b), whole(b), op0="add", imm0=0.0, reduce_op="add"
        ),
        "must hold one value in each of 16 partitions",
    ),
    "running sum of i32": (
        lambda b: b.tensor_scalar_cumulative(
            whole(b, I32), whole(b, I32), op0="add", imm0=0.0, op1="add"
        ),
        "dtype is i32 but must not be of i32 or u32",
    ),
    "running power": (
        lambda b: b.tensor_scalar_cumulative(whole(b), whole(b), op0="add", imm0=0.0, op1="power"),
        "op1 is 'power' but must be one of add, subtract",
    ),
    "scan with two starts": (
        lambda b: b.tensor_tensor_scan(
            whole(b), whole(b), whole(b), column(b), op0="add", op1="add", initial=0.0
        ),
        "1 per-partition operands but one stands for initial, which is 0.0",
    ),
    "scan of psum": (
        lambda b: b.tensor_tensor_scan(
            whole(b), b.psum(16, 16), b.psum(16, 16), op0="add", op1="add", initial=0.0
        ),
        "2 operands are in psum but at most one may be",
    ),
    # searches
    "search of seven": (
        lambda b: b.max8(b.tile(16, 8), b.tile(16, 7)),
        "max8: free size is 7 but must be 8 to 16384",
    ),
    "nine largest": (
        lambda b: b.max8(b.tile(16, 9), whole(b)),
        "results are .* but must be 8 in each partition",
    ),
    "signed indices": (
        lambda b: b.find_index8(b.tile(16, 8, dtype=I32), whole(b), b.tile(16, 8)),
        "indices are i32 but must be u16 or u32",
    ),
    "replacing into another shape": (
        lambda b: b.match_replace8(b.tile(16, 8), whole(b), b.tile(16, 8), imm=0.0),
        "must be equal",
    ),
    # gathers on chip
    "gather by u16": (
        lambda b: b.gather(whole(b), whole(b), whole(b, U16)),
        "gather: indices are u16 but must be u32",
    ),
    "gather that converts": (
        lambda b: b.gather(whole(b, BF16), whole(b), whole(b, U32)),
        "f32 to bf16: the dtype is kept",
    ),
    "fewer indices than elements": (
        lambda b: b.gather(whole(b), whole(b), whole(b, U32, 15)),
        "15 indices for 16 elements",
    ),
    "local gather of a partition": (
        lambda b: b.local_gather(b.tile(1, 16), b.tile(1, 16), b.tile(1, 1, dtype=U16)),
        "it has 1 partitions but must have a multiple of 16",
    ),
    "local gather of threes": (
        lambda b: b.local_gather(whole(b, free=48), whole(b), column(b, U16), elems_per_index=3),
        "it has elems_per_index 3 but must have one of 1, 2, 4",
    ),
    "more indices than there are": (
        lambda b: b.local_gather(whole(b, free=17), whole(b), column(b, U16), valid_indices=17),
        "it has 17 valid indices for a core but must have 1 to 16",
    ),
    "short mask": (
        lambda b: b.stream_shuffle(whole(b), whole(b), mask=(0,) * 31),
        "must be 32 numbers of 0 to 31, or 255",
    ),
    "shuffle into more groups": (
        lambda b: b.stream_shuffle(b.tile(40, 16), whole(b), mask=(0,) * 32),
        "both must lie in as many groups of 32 partitions",
    ),
    "shuffle from nowhere": (
        lambda b: b.stream_shuffle(whole(b), whole(b), mask=(16,) * 32),
        "partition 0 comes from 16 but .* has 16",
    ),
    "bounds of two rows": (
        lambda b: b.sequence_bounds(b.tile(2, 2, 8), b.tile(2, 8)),
        r"shapes must be \(1, n\) and \(1, 2, n\)",
    ),
    "count in floats": (
        lambda b: b.nonzero_with_count(whole(b, free=17), whole(b)),
        "f32 to f32: f32 or i32 must become i32",
    ),
    # DMA
    "transpose by another permutation": (
        lambda b: b.dma_transpose(b.tile(4, 3, 2), b.hbm(2, 3, 4), axes=(2, 0, 1)),
        r"axes are \(2, 0, 1\) but must be \(2, 1, 0\)",
    ),
    "transpose of bytes": (
        lambda b: b.dma_transpose(b.tile(4, 2, dtype=U8), b.hbm(2, 4, dtype=U8)),
        "elements of u8 have 1 bytes but must have 2 or 4",
    ),
    "transpose into another shape": (
        lambda b: b.dma_transpose(b.tile(4, 3), b.hbm(2, 4)),
        "does not transpose into",
    ),
    "transpose into hbm": (
        lambda b: b.dma_transpose(b.hbm(4, 2), b.hbm(2, 4)),
        "operand 0 is in hbm but must be in sbuf",
    ),
    "gathering transpose of f32": (
        lambda b: b.dma_gather_transpose(whole(b), b.hbm(40, 16), column(b, U32)),
        "it has elements of f32 but must have 2 bytes",
    ),
    "gathering transpose of 15 rows": (
        lambda b: b.dma_gather_transpose(
            b.tile(16, 15, dtype=BF16), b.hbm(40, 16, dtype=BF16), column(b, U32)
        ),
        "it has 15 rows but must have a multiple of 16",
    ),
    "gathering transpose with few indices": (
        lambda b: b.dma_gather_transpose(
            b.tile(16, 32, dtype=BF16), b.hbm(40, 16, dtype=BF16), column(b, U32)
        ),
        "it has 16 indices for 32 rows",
    ),
    "rows by f32": (
        lambda b: b.dma_gather(whole(b), b.hbm(40, 16), column(b)),
        "indices are f32 but must be i32 or u32",
    ),
    "two indices a row": (
        lambda b: b.dma_gather(whole(b), b.hbm(40, 16), b.tile(16, 2, dtype=I32)),
        "must be one, or one in each of 16 partitions",
    ),
    "rows of a tile": (
        lambda b: b.dma_gather(whole(b), b.tile(40, 16), column(b, I32)),
        "operand 1 is in sbuf but must be in hbm",
    ),
    "rows of another length": (
        lambda b: b.dma_scatter(b.hbm(40, 17), whole(b), column(b, I32)),
        "does not hold rows of",
    ),
    "indices along a free dimension": (gathered(dim=1), "dim is 1 of .* but must be"),
    "rows beyond the table": (gathered(oob="wrap"), "oob is 'wrap' but must be one of error, skip"),
    "a block that is added": (
        lambda b: b.dma_gather(whole(b), b.hbm(40, 16), b.tile(1, 1, dtype=I32), add=True),
        "it adds at one offset but must have an index for each partition",
    ),
    "rows at a loop's index": (
        lambda b: b.fori_loop("i", 4, 1, lambda b, i: b.dma_gather(whole(b), b.hbm(40, 16), i)),
        "is a loop's index, with which a slice moves",
    ),
    # activations
    "two biases": (
        lambda b: b.activation(whole(b), whole(b), column(b), op="exp", bias=1.0),
        "the bias is .* and 1.0 but must be a number, or one operand",
    ),
    "narrow sums that go on": (
        lambda b: b.activation_accumulate(whole(b), column(b, BF16), whole(b), op="exp"),
        "sums are bf16 but the registers f32",
    ),
    "scale that is missing": (
        lambda b: b.activation(whole(b), whole(b), op="exp", scale=None),
        "scale is none but the operands have no column for it",
    ),
    "narrow scale": (
        lambda b: b.activation(whole(b), whole(b), column(b, BF16), op="exp", scale=None),
        "a per-partition operand is bf16 but must be f32",
    ),
    "three columns": (
        lambda b: b.activation(whole(b), whole(b), column(b), column(b), op="exp"),
        "2 per-partition operands but one is the bias",
    ),
    # operations of one operand, and of bits
    "reciprocal square root on vector": (
        lambda b: b.tensor_scalar_arith(whole(b), whole(b), op0="rsqrt"),
        "rsqrt is asked of the vector engine but only gpsimd has it",
    ),
    "magnitude of two": (
        lambda b: b.tensor_scalar_arith(whole(b), whole(b), op0="abs", imm0=1.0),
        "abs has an immediate or is reversed but takes one operand",
    ),
    "bits of a float": (
        lambda b: b.tensor_scalar_bitvec(whole(b), whole(b), op0="bitwise_and", imm0=1),
        "both must be one integer type",
    ),
    "inverted by a number": (
        lambda b: b.tensor_scalar_bitvec(whole(b, I32), whole(b, I32), op0="invert", imm0=1),
        "the immediate of invert is 1",
    ),
    # forms of the matmul
    "double rows of bf16": (
        lambda b: b.matmul(
            b.psum(4, 5),
            b.tile(8, 2, 4, dtype=BF16),
            b.tile(8, 2, 5, dtype=BF16),
            perf_mode="double_row",
        ),
        r"must be \(partitions, 2, n\) of fp8_e4m3_ieee, fp8_e5m2",
    ),
    "tile without a position": (
        lambda b: b.matmul(b.psum(4, 5), b.tile(8, 4), b.tile(8, 5), tile_size=(64, 64)),
        r"both must be \(rows, columns\), or neither",
    ),
    "tile beside the grid": (
        lambda b: b.matmul(
            b.psum(4, 5), b.tile(8, 4), b.tile(8, 5), tile_position=(32, 0), tile_size=(64, 64)
        ),
        "positions multiples of them",
    ),
    "more rows than the tile": (
        lambda b: b.matmul(
            b.psum(4, 5), b.tile(40, 4), b.tile(40, 5), tile_position=(32, 0), tile_size=(32, 64)
        ),
        "contraction is 40 but at most 32",
    ),
}
