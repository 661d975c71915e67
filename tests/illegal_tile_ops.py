"""Tile ops that hardware refuses, each with a part of the sentence that says why."""

from __future__ import annotations

from collections.abc import Callable

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir import Builder, MemorySpace, ds

F32, BF16, I32, U8, BOOL = DType.F32, DType.BF16, DType.I32, DType.U8, DType.BOOL
SBUF, PSUM, HBM = MemorySpace.SBUF, MemorySpace.PSUM, MemorySpace.HBM


class Tiles(Builder):
    """A builder with short names for tiles."""

    def tile(self, *shape: int, dtype: DType = F32, memory: MemorySpace = SBUF) -> Value:
        return self.alloc(shape, dtype, memory)

    def psum(self, *shape: int, dtype: DType = F32) -> Value:
        return self.tile(*shape, dtype=dtype, memory=PSUM)

    def hbm(self, *shape: int, dtype: DType = F32) -> Value:
        return self.add_input(f"x{len(self.graph.inputs)}", shape, dtype)


Build = Callable[[Tiles], object]
ILLEGAL: dict[str, tuple[Build, str]] = {
    # alloc
    "zero extent": (lambda b: b.alloc((128, 0), F32), r"is not a buffer of positive extents"),
    "registers": (lambda b: b.alloc((1, 1), F32, MemorySpace.REG), "in reg is not a buffer"),
    "rank 1 on chip": (lambda b: b.alloc((128,), F32), "has rank 1 but tiles on chip need 2"),
    # views
    "too few windows": (
        lambda b: b.emit("slice", [b.hbm(4, 4)], slices=slices(b, ds(0, 2))),
        "1 windows for .* which has rank 2",
    ),
    "window too long": (lambda b: b.slice(b.hbm(4, 4), [ds(0, 5), ds(0, 4)]), "does not fit"),
    "window too strided": (lambda b: b.slice(b.hbm(4, 4), [ds(0, 3, 2), ds(0, 4)]), "not fit"),
    "window of nothing": (lambda b: b.slice(b.hbm(4, 4), [ds(0, 0), ds(0, 4)]), "does not fit"),
    "stride of zero": (lambda b: b.slice(b.hbm(4, 4), [ds(0, 2, 0), ds(0, 4)]), "does not fit"),
    "partition index": (
        lambda b: b.slice(b.tile(4, 4), [ds(0, None), ds(0, 4)]),
        "the partition dimension is kept, with step 1",
    ),
    "partition stride": (
        lambda b: b.slice(b.tile(4, 4), [ds(0, 2, 2), ds(0, 4)]),
        "the partition dimension is kept, with step 1",
    ),
    "offset that is no index": (
        lambda b: b.slice(b.hbm(4, 4), [ds(b.hbm(4), 2), ds(0, 4)]),
        "operand 1 is in hbm but must be in reg",
    ),
    "reshape to another size": (lambda b: b.reshape(b.hbm(4, 4), (3, 5)), r"\(3, 5\) has not"),
    "reshape over partitions": (
        lambda b: b.reshape(b.tile(4, 4), (2, 8)),
        "changes the partition dimension",
    ),
    "repeated axis": (lambda b: b.permute(b.hbm(4, 4), (0, 0)), "is not a permutation"),
    "partition permute": (
        lambda b: b.permute(b.tile(4, 4), (1, 0)),
        "moves the partition dimension",
    ),
    "broadcast of 2": (lambda b: b.broadcast(b.hbm(2, 4), (4, 4)), "does not repeat to"),
    "broadcast to fewer dimensions": (
        lambda b: b.broadcast(b.hbm(4, 4), (4,)),
        "do not place",
    ),
    "broadcast places": (
        lambda b: b.broadcast(b.hbm(4, 4), (4, 4, 4), dims=(1, 0)),
        "do not place",
    ),
    "partition broadcast": (
        lambda b: b.broadcast(b.tile(1, 4), (4, 4)),
        "partitions have no broadcast view on chip",
    ),
    # memory spaces
    "dma to psum": (lambda b: b.dma_copy(b.psum(4, 4), b.hbm(4, 4)), "in psum but must be in hbm"),
    "dma on chip": (lambda b: b.dma_copy(b.tile(4, 4), b.tile(4, 4)), "neither side is in hbm"),
    "dma of shapes": (
        lambda b: b.dma_copy(b.tile(4, 4), b.hbm(4, 5)),
        "shapes must be equal",
    ),
    "dma of types": (
        lambda b: b.dma_copy(b.tile(4, 4, dtype=BF16), b.hbm(4, 4), engine="sync"),
        "the descriptors that sync triggers do not convert",
    ),
    "compute in hbm": (
        lambda b: b.tensor_copy(b.tile(4, 4), b.hbm(4, 4)),
        "operand 1 is in hbm but must be in psum or sbuf",
    ),
    "gpsimd on psum": (
        lambda b: b.tensor_copy(b.psum(4, 4), b.tile(4, 4), engine="gpsimd"),
        "gpsimd cannot reach psum",
    ),
    "dealloc of an index": (
        lambda b: b.fori_loop("i", 2, 1, lambda b, i: b.dealloc(i)),
        "operand 0 is in reg",
    ),
    # engines
    "unknown engine": (
        lambda b: b.reciprocal(b.tile(4, 4), b.tile(4, 4), engine="scalar"),
        "engine is 'scalar' but must be one of vector",
    ),
    "comparison on scalar": (
        lambda b: b.tensor_scalar_arith(
            b.tile(4, 4), b.tile(4, 4), op0="less", imm0=0.0, engine="scalar"
        ),
        "steps are less but the scalar engine only multiplies, adds",
    ),
    "add then multiply on scalar": (
        lambda b: b.tensor_scalar_arith(
            b.tile(4, 4),
            b.tile(4, 4),
            op0="add",
            imm0=0.0,
            op1="multiply",
            imm1=1.0,
            engine="scalar",
        ),
        "steps are add then multiply but",
    ),
    "tensor_scalar on gpsimd": (
        lambda b: b.tensor_scalar_arith(
            b.tile(4, 4), b.tile(4, 4), op0="add", imm0=0.0, engine="gpsimd"
        ),
        "steps are add but the gpsimd engine only takes the reciprocal square root",
    ),
    # shapes and operands of compute ops
    "copy of shapes": (
        lambda b: b.tensor_copy(b.tile(4, 4), b.tile(4, 5)),
        r"operand shapes \(4, 4\), \(4, 5\) must be equal",
    ),
    "activation name": (
        lambda b: b.activation(b.tile(4, 4), b.tile(4, 4), op="cos"),
        "op is 'cos' but must be one of copy",
    ),
    "activation bias": (
        lambda b: b.activation(b.tile(4, 4), b.tile(4, 4), b.tile(4, 2), op="exp"),
        "must hold one value in each of 4 partitions",
    ),
    "activation bias of fewer partitions": (
        lambda b: b.activation(b.tile(4, 4), b.tile(4, 4), b.tile(1, 1), op="exp"),
        "must hold one value in each of 4 partitions",
    ),
    "activation sums": (
        lambda b: b.activation_reduce(b.tile(4, 4), b.tile(4, 2), b.tile(4, 4), op="exp"),
        "must hold one value in each of 4 partitions",
    ),
    "activation sums of long rows": (
        lambda b: b.activation_reduce(b.tile(4, 16385), b.tile(4, 1), b.tile(4, 16385), op="exp"),
        "free size is 16385 but at most 16384",
    ),
    "pair of psum": (
        lambda b: b.tensor_tensor_arith(b.tile(4, 4), b.psum(4, 4), b.psum(4, 4), op="add"),
        "2 operands are in psum but at most one may be",
    ),
    "arithmetic name": (
        lambda b: b.tensor_tensor_arith(b.tile(4, 4), b.tile(4, 4), b.tile(4, 4), op="divide"),
        "op is 'divide' but must be one of add",
    ),
    "bits of floats": (
        lambda b: b.tensor_tensor_bitvec(
            b.tile(4, 4), b.tile(4, 4), b.tile(4, 4), op="bitwise_and"
        ),
        "operands must have one integer type",
    ),
    "bits of two types": (
        lambda b: b.tensor_tensor_bitvec(
            b.tile(4, 4, dtype=I32),
            b.tile(4, 4, dtype=I32),
            b.tile(4, 4, dtype=U8),
            op="bitwise_or",
        ),
        "operands must have one integer type",
    ),
    "scalar and two tiles of psum": (
        lambda b: b.scalar_tensor_tensor_arith(
            b.tile(4, 4), b.psum(4, 4), b.psum(4, 4), op0="add", op1="add", imm0=1.0
        ),
        "2 operands are in psum but at most one may be",
    ),
    "scalar and two tiles without the scalar": (
        lambda b: b.scalar_tensor_tensor_arith(
            b.tile(4, 4), b.tile(4, 4), b.tile(4, 4), op0="add", op1="add"
        ),
        "0 per-partition operands but 1 goes with imm0=None",
    ),
    "scalar and two tiles of two shapes": (
        lambda b: b.scalar_tensor_tensor_arith(
            b.tile(4, 4), b.tile(4, 4), b.tile(4, 5), op0="add", op1="add", imm0=1.0
        ),
        "must be equal",
    ),
    "missing scalar": (
        lambda b: b.tensor_scalar_arith(b.tile(4, 4), b.tile(4, 4), op0="add"),
        "0 per-partition operands for 1 steps without an immediate",
    ),
    "scalar too many": (
        lambda b: b.tensor_scalar_arith(
            b.tile(4, 4), b.tile(4, 4), b.tile(4, 1), op0="add", imm0=1.0
        ),
        "1 per-partition operands for 0 steps",
    ),
    "narrow scalar": (
        lambda b: b.tensor_scalar_arith(
            b.tile(4, 4), b.tile(4, 4), b.tile(4, 1, dtype=BF16), op0="add"
        ),
        "a per-partition operand is bf16 but must be f32",
    ),
    "reduction name": (
        lambda b: b.tensor_reduce_arith(b.tile(4, 1), b.tile(4, 4), op="power"),
        "op is 'power' but must be one of add",
    ),
    "reduction of partitions": (
        lambda b: b.tensor_reduce_arith(b.tile(4, 1), b.tile(4, 4), op="add", num_r_dim=2),
        "num_r_dim is 2 but .* has 1 free dimensions",
    ),
    "reduction to another shape": (
        lambda b: b.tensor_reduce_arith(b.tile(4, 2), b.tile(4, 4), op="add"),
        "does not give",
    ),
    "reduction to fewer partitions": (
        lambda b: b.tensor_reduce_arith(b.tile(2, 2), b.tile(4, 4), op="add"),
        r"operands have \[2, 4\] partitions but must have one count",
    ),
    "cross lane in psum": (
        lambda b: b.cross_lane_reduce_arith(b.psum(1, 4), b.tile(4, 4), op="add"),
        "in psum but must be in sbuf",
    ),
    "cross lane shape": (
        lambda b: b.cross_lane_reduce_arith(b.tile(1, 5), b.tile(4, 4), op="add"),
        "reducing the partitions of .* does not give",
    ),
    "cross lane minimum": (
        lambda b: b.cross_lane_reduce_arith(b.tile(1, 4), b.tile(4, 4), op="minimum"),
        "op is 'minimum' but must be one of add, maximum",
    ),
    "statistics of too many": (
        lambda b: b.bn_stats(b.tile(4, 6), b.tile(4, 513)),
        "bn_stats: free size is 513 but at most 512",
    ),
    "statistics in fewer values": (
        lambda b: b.bn_stats(b.tile(4, 3), b.tile(4, 8)),
        "bn_stats: the result is .* but must hold 6 values per partition",
    ),
    "statistics of other partitions": (
        lambda b: b.bn_stats(b.tile(4, 6), b.tile(8, 8)),
        r"operands have \[4, 8\] partitions but must have one count",
    ),
    "half a triple": (
        lambda b: b.bn_aggr(b.tile(4, 2), b.tile(4, 8)),
        "bn_aggr: free size is 8 but must be a multiple of 3",
    ),
    "mean without variance": (
        lambda b: b.bn_aggr(b.tile(4, 1), b.tile(4, 6)),
        "bn_aggr: the result is .* but must hold 2 values per partition",
    ),
    "float predicate": (
        lambda b: b.copy_predicated(b.tile(4, 4), b.tile(4, 4), b.tile(4, 4)),
        "predicate dtype is f32 but must be u8, u16, u32 or bool",
    ),
    "predicated type": (
        lambda b: b.copy_predicated(
            b.tile(4, 4), b.tile(4, 4, dtype=BOOL), b.tile(4, 4, dtype=BF16)
        ),
        "source is bf16 but the destination f32",
    ),
    "predicated from psum": (
        lambda b: b.copy_predicated(b.tile(4, 4), b.psum(4, 4, dtype=BOOL), b.psum(4, 4)),
        "2 operands are in psum but at most one may be",
    ),
    "iota size": (
        lambda b: b.iota(b.tile(4, 6, dtype=I32), pattern=((1, 5),)),
        r"pattern counts \(5,\) must multiply to 6 in at most 4 steps",
    ),
    "iota steps": (
        lambda b: b.iota(b.tile(4, 1, dtype=I32), pattern=((1, 1),) * 5),
        "in at most 4 steps",
    ),
    "iota in psum": (
        lambda b: b.iota(b.psum(4, 6, dtype=I32), pattern=((1, 6),)),
        "in psum but must be in sbuf",
    ),
    # tensor engine
    "matmul into sbuf": (
        lambda b: b.matmul(b.tile(4, 5), b.tile(8, 4), b.tile(8, 5)),
        "operand 0 is in sbuf but must be in psum",
    ),
    "matmul from psum": (
        lambda b: b.matmul(b.psum(4, 5), b.psum(8, 4), b.tile(8, 5)),
        "operand 1 is in psum but must be in sbuf",
    ),
    "contraction": (
        lambda b: b.matmul(b.psum(4, 5), b.tile(8, 4), b.tile(9, 5)),
        "contraction is 8 partitions of stationary but 9 of moving",
    ),
    "long contraction": (
        lambda b: b.matmul(b.psum(4, 5), b.tile(129, 4), b.tile(129, 5)),
        "contraction is 129 but at most 128",
    ),
    "wide stationary": (
        lambda b: b.matmul(b.psum(129, 5), b.tile(8, 129), b.tile(8, 5)),
        "stationary free size is 129 but at most 128",
    ),
    "wide moving": (
        lambda b: b.matmul(b.psum(4, 513), b.tile(8, 4), b.tile(8, 513)),
        "moving free size is 513 but at most 512",
    ),
    "matmul shape": (
        lambda b: b.matmul(b.psum(5, 4), b.tile(8, 4), b.tile(8, 5)),
        "has 4 rows of 5, which .* has not",
    ),
    "matmul result type": (
        lambda b: b.matmul(b.psum(4, 5, dtype=BF16), b.tile(8, 4), b.tile(8, 5)),
        "destination dtype is bf16 but accumulation is f32",
    ),
    "matmul of integers": (
        lambda b: b.matmul(b.psum(4, 5), b.tile(8, 4, dtype=I32), b.tile(8, 5, dtype=I32)),
        "dtype i32 is not one that the PE array multiplies",
    ),
    "matmul of two widths": (
        lambda b: b.matmul(b.psum(4, 5), b.tile(8, 4), b.tile(8, 5, dtype=BF16)),
        "f32 and tf32 pair only with themselves",
    ),
    "matmul of both fp8_e4m3": (
        lambda b: b.matmul(
            b.psum(4, 5),
            b.tile(8, 4, dtype=DType.FP8_E4M3),
            b.tile(8, 5, dtype=DType.FP8_E4M3_IEEE),
        ),
        "the two fp8_e4m3 forms do not mix",
    ),
    "matmul on a tile as index": (
        lambda b: b.matmul(b.psum(4, 5), b.tile(8, 4), b.tile(8, 5), b.tile(8, 5)),
        "operand 3 is in sbuf but must be in reg",
    ),
    "transpose shape": (
        lambda b: b.nc_transpose(b.psum(8, 4), b.tile(8, 4)),
        "does not transpose into",
    ),
    "transpose type": (
        lambda b: b.nc_transpose(b.psum(4, 8), b.tile(8, 4, dtype=BF16)),
        "does not transpose into",
    ),
    "transpose size": (
        lambda b: b.nc_transpose(b.psum(130, 8), b.tile(8, 130)),
        "is larger than 128 x 128",
    ),
    "vector transpose size": (
        lambda b: b.nc_transpose(b.tile(33, 8), b.tile(8, 33), engine="vector"),
        "is larger than 32 x 32",
    ),
    "transpose into sbuf": (
        lambda b: b.nc_transpose(b.tile(4, 8), b.tile(8, 4)),
        "reads sbuf and writes psum",
    ),
    # loops
    "empty loop": (lambda b: b.fori_loop("i", 0, 1, lambda b, i: None), "must be at least 1"),
    "stuck loop": (lambda b: b.fori_loop("i", 4, 0, lambda b, i: None), "must be at least 1"),
    # what every row checks
    "operand count": (
        lambda b: b.tensor_copy(b.tile(4, 4)),
        "tensor_copy: got 1 operands but takes 2",
    ),
    "unknown attribute": (
        lambda b: b.tensor_copy(b.tile(4, 4), b.tile(4, 4), speed=9),
        "attribute 'speed' is not one of engine",
    ),
    "missing attribute": (
        lambda b: b.activation(b.tile(4, 4), b.tile(4, 4)),
        "attribute 'op' is missing",
    ),
    "attribute of another type": (
        lambda b: b.activation(b.tile(4, 4), b.tile(4, 4), op="exp", scale="big"),
        "attribute 'scale' is 'big' but must be float",
    ),
}


def slices(b: Builder, *windows: object) -> object:
    """The attribute of a slice of a tensor of another rank."""
    base = b.add_input("other", (4,) * len(windows))
    made = b.slice(base, list(windows))
    return made.producer.attrs["slices"]
