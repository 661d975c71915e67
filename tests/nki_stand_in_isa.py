"""What the ``nki.isa`` functions of the stand-in do, and which calls they refuse.

Written from the vendor's documentation (aws-neuron-sdk: nki.isa reference of NKI 0.6,
trainium2_arch.rst), independently of the code under test. Methods are named after the functions
and take exactly the parameters of tests/signatures.json.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nki_stand_in_functions import ARITHMETIC, BITVEC, FUNCTIONS, REDUCTIONS, UNARY
from nki_stand_in_moves import MovingIsa
from nki_stand_in_rules import (
    as_number,
    check_one_psum,
    check_operands,
    check_same_shape,
    in_f32,
    per_partition,
)
from nki_stand_in_tensors import (
    PSUM_BANK_BYTES,
    Array,
    Indirect,
    MemoryRegion,
    Tensor,
    require,
)
from nki_stand_in_vector import VectorIsa, affine

BN_STATS_FMAX = 512
MATMUL_DTYPES = {"float8_e4m3", "float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"}
MATMUL_WIDE = {"float32", "tfloat32"}


class Isa(VectorIsa, MovingIsa):
    """The instructions; ``rounding`` is how floats become integers: truncate or nearest."""

    def __init__(self, rounding: str) -> None:
        self.rounding = rounding
        self.registers: Any = None  # of ScalarE, one per partition

    def dma_copy(
        self, dst: Any, src: Any, engine: Any, dge_mode: Any, oob_mode: Any, priority: Any
    ) -> None:
        if isinstance(dst, Indirect) or isinstance(src, Indirect):
            self.gather_or_scatter(dst, src, oob_mode, dge_mode)
            return
        for side in (dst, src):
            require(side.region is not MemoryRegion.psum, "dma_copy does not reach psum")
        require(dst.shape == src.shape, f"dma_copy of {src} to {dst}")
        require(
            engine.name == "unknown" or dge_mode.name == "hwdge", "an engine goes with hwdge only"
        )
        exact = dst.dtype == src.dtype
        require(exact or dge_mode.name != "hwdge", f"hardware converts {src} to {dst}")
        dst.write(src.read() if exact else in_f32(src), self.rounding)

    def tensor_copy(self, dst: Tensor, src: Tensor, engine: Any) -> None:
        check_operands(dst, src, engine=engine, legal=("vector", "scalar", "gpsimd"))
        check_same_shape(dst, src)
        exact = dst.dtype == src.dtype and engine.name != "scalar"
        dst.write(src.read() if exact else in_f32(src), self.rounding)

    def memset(self, dst: Tensor, value: Any, engine: Any) -> None:
        check_operands(dst, engine=engine, legal=("vector", "gpsimd"))
        wanted = int if dst.dtype.is_integer else float
        require(type(value) is wanted, f"memset of {dst} with {value!r}")
        dst.write(np.full(dst.shape, value), self.rounding)

    def tensor_copy_predicated(
        self, dst: Tensor, src: Any, predicate: Tensor, reverse_pred: bool
    ) -> None:
        tiles = [t for t in (src, predicate) if isinstance(t, Tensor)]
        check_operands(dst, *tiles)
        check_same_shape(dst, *tiles)
        check_one_psum(*tiles)
        require(predicate.dtype in ("uint8", "uint16", "uint32"), f"predicate is {predicate}")
        values: Any = src
        if isinstance(src, Tensor):
            require(src.dtype == dst.dtype, f"{src} copied over {dst}")
            values = src.read()
        chosen = (predicate.read() != 0) != reverse_pred
        require(bool((dst.written | chosen).all()), f"{dst} keeps elements that were never written")
        dst.write(np.where(chosen, values, dst.data), self.rounding)

    def nc_matmul(
        self,
        dst: Tensor,
        stationary: Tensor,
        moving: Tensor,
        accumulate: Any,
        tile_position: Any,
        tile_size: Any,
        perf_mode: Any,
        **rest: Any,
    ) -> None:
        check_operands(dst, stationary, moving, same_partitions=False)
        _check_matmul_tile(stationary, tile_position, tile_size)
        _check_matmul_dtypes(dst, stationary, moving)
        require(type(accumulate) is bool, "accumulate is always said")
        left, right = (in_f32(t) for t in (stationary, moving))
        if perf_mode.name == "double_row":
            require(left.shape[1] == right.shape[1] == 2 and left.ndim == 3, "pairs of rows")
            require({stationary.dtype, moving.dtype} <= {"float8_e4m3", "float8_e5m2"}, "fp8")
            require(not tile_size or tile_size[1] == 128, "double_row with column tiles")
            left, right = (np.concatenate([x[:, 0], x[:, 1]]) for x in (left, right))
        _check_matmul_places(dst, stationary, moving, left[0].size, right[0].size)
        left, right = (x.reshape(len(x), -1) for x in (left, right))
        product = (left.T @ right).reshape(dst.shape)
        if accumulate:
            require(bool(dst.summed.all()), f"accumulates on {dst}, which no matmul has written")
            product = dst.read() + product
        dst.write(product, self.rounding, by_matmul=True)

    def nc_transpose(self, dst: Tensor, data: Tensor, engine: Any) -> None:
        check_operands(dst, data, engine=engine, legal=("tensor", "vector"), same_partitions=False)
        require(len(data.shape) == 2, f"transposes {data}")
        require(dst.shape == data.shape[::-1], f"transposes {data} into {dst}")
        require(dst.dtype == data.dtype, f"transposes {data} into {dst}")
        if engine.name != "vector":
            require(max(data.shape) <= 128, f"transposes {data}")
            places = (dst.region, data.region)
            require(places == (MemoryRegion.psum, MemoryRegion.sbuf), f"{data} into {dst}")
        else:
            require(max(data.shape) <= 32, f"transposes {data} on the vector engine")
        dst.write(data.read().T, self.rounding)

    def tensor_tensor(
        self, dst: Tensor, data1: Tensor, data2: Tensor, op: Any, engine: Any
    ) -> None:
        tiles = (dst, data1, data2)
        if op.name == "power":
            require(engine.name in ("gpsimd", "unknown"), "power runs on gpsimd")
            require(all(t.region is MemoryRegion.sbuf for t in tiles), "power has no psum operand")
        check_operands(*tiles, engine=engine, legal=("vector", "gpsimd"))
        check_same_shape(*tiles)
        check_one_psum(data1, data2)
        if op.name in BITVEC:
            require(all(t.dtype.is_integer for t in tiles), f"{op.name} of {data1} and {data2}")
            require(engine.name in ("vector", "unknown"), f"{op.name} runs on vector")
            dst.write(BITVEC[op.name](data1.read(), data2.read()), self.rounding)
            return
        whole = all(t.dtype in ("int32", "uint32") for t in tiles) and engine.name == "gpsimd"
        pair = (data1.read(), data2.read()) if whole else (in_f32(data1), in_f32(data2))
        dst.write(as_number(ARITHMETIC[op.name](*pair)), self.rounding)

    def tensor_scalar(
        self,
        dst: Tensor,
        data: Tensor,
        op0: Any,
        operand0: Any,
        reverse0: bool,
        op1: Any,
        operand1: Any,
        reverse1: bool,
        engine: Any,
    ) -> None:
        check_operands(dst, data, engine=engine, legal=("vector", "scalar", "gpsimd"))
        check_same_shape(dst, data)
        names = (op0.name, op1.name if op1 else None)
        if op0.name in (*BITVEC, "invert"):
            self._bits(dst, data, ((op0, operand0), (op1, operand1)))
            return
        require(("rsqrt" in names) == (engine.name == "gpsimd"), f"{names} on {engine.name}")
        if engine.name == "scalar":
            legal = {("multiply", "add"), ("multiply", None), ("add", None)}
            require(names in legal, f"tensor_scalar {names} on the scalar engine")
        value = in_f32(data)
        steps = ((op0, operand0, reverse0), (op1, operand1, reverse1))
        for op, given, reverse in steps:
            if op is None:
                require(given is None and not reverse, "operand1 without op1")
                continue
            if op.name in UNARY:
                require(given in (None, 0) and not reverse, f"{op.name} of two operands")
                value = UNARY[op.name](value)
                continue
            other = per_partition(given, data, "float32")
            pair = (other, value) if reverse else (value, other)
            value = as_number(ARITHMETIC[op.name](*pair)).astype(np.float32)
        dst.write(value, self.rounding)

    def _bits(self, dst: Tensor, data: Tensor, steps: Any) -> None:
        for tile in (dst, data):
            require(tile.dtype.is_integer, f"bits of {tile}")
        value = data.read()
        for op, given in steps:
            if op is None:
                continue
            require(op.name == "invert" or type(given) is int, f"{op.name} of {given!r}")
            if op.name == "invert":
                value = ~value
            elif "shift" in op.name:
                value = BITVEC[op.name](value, np.asarray(given))
            else:
                cut = given & (2 ** (8 * value.itemsize) - 1)
                pattern = np.asarray(cut, f"u{value.itemsize}").view(value.dtype)
                value = BITVEC[op.name](value, pattern)
        dst.write(value, self.rounding)

    def scalar_tensor_tensor(
        self,
        dst: Tensor,
        data: Tensor,
        op0: Any,
        operand0: Any,
        op1: Any,
        operand1: Tensor,
        reverse0: bool,
        reverse1: bool,
    ) -> None:
        check_operands(dst, data, operand1)
        check_same_shape(dst, data, operand1)
        check_one_psum(data, operand1)
        other = per_partition(operand0, data, "float32")
        pair = (other, in_f32(data)) if reverse0 else (in_f32(data), other)
        between = as_number(ARITHMETIC[op0.name](*pair)).astype(np.float32)
        last = (in_f32(operand1), between) if reverse1 else (between, in_f32(operand1))
        dst.write(as_number(ARITHMETIC[op1.name](*last)).astype(np.float32), self.rounding)

    def tensor_reduce(
        self, dst: Tensor, op: Any, data: Tensor, axis: Any, negate: bool, keepdims: bool
    ) -> None:
        check_operands(dst, data)
        axes = (axis,) if isinstance(axis, int) else tuple(axis)
        rank = len(data.shape)
        require(
            0 not in axes and axes == tuple(range(rank - len(axes), rank)),
            f"reduces axes {axes} of {data}",
        )
        made = REDUCTIONS[op.name](in_f32(data), axis=axes, keepdims=keepdims)
        dst.write(-made if negate else made, self.rounding)

    def tensor_partition_reduce(self, dst: Tensor, op: Any, data: Tensor) -> None:
        check_operands(dst, data, gpsimd=True, same_partitions=False)
        require(op.name in ("add", "maximum"), f"tensor_partition_reduce of {op.name}")
        dst.write(REDUCTIONS[op.name](in_f32(data), axis=0, keepdims=True), self.rounding)

    def bn_stats(self, dst: Tensor, data: Tensor) -> None:
        check_operands(dst, data)
        require(data.free_size <= BN_STATS_FMAX, f"bn_stats of {data}")
        require(dst.free_size == 6, f"bn_stats into {dst}")
        flat = in_f32(data).reshape(data.shape[0], -1)
        made = []
        for half in (flat[:, 0::2], flat[:, 1::2]):
            count = half.shape[1]
            mean = half.mean(axis=1) if count else np.zeros(len(flat), np.float32)
            made += [np.full(len(flat), count), mean, half.var(axis=1) * count if count else mean]
        dst.write(np.stack(made, axis=1).reshape(dst.shape), self.rounding)

    def bn_aggr(self, dst: Tensor, data: Tensor) -> None:
        check_operands(dst, data)
        require(data.free_size % 3 == 0, f"bn_aggr of {data}")
        require(dst.free_size == 2, f"bn_aggr into {dst}")
        triples = in_f32(data).reshape(data.shape[0], -1, 3).astype(np.float64)
        counts, means, squares = (triples[:, :, i] for i in range(3))
        mean = np.average(means, axis=1, weights=counts)
        # E[x^2] - E[x]^2, with the second moment of each set about zero.
        moments = (squares + counts * means**2).sum(axis=1) / counts.sum(axis=1)
        dst.write(np.stack([mean, moments - mean**2], axis=1).reshape(dst.shape), self.rounding)

    def activation(
        self,
        dst: Tensor,
        op: Any,
        data: Tensor,
        bias: Any,
        scale: Any,
        reduce_op: Any,
        reduce_res: Any,
        reduce_cmd: Any,
    ) -> None:
        check_operands(dst, data)
        check_same_shape(dst, data)
        x = in_f32(data) * per_partition(scale, data, "float32")
        if bias is not None:
            require(getattr(bias, "dtype", "") != "tfloat32", "bias is tfloat32")
            x = x + per_partition(bias, data, None)
        made = FUNCTIONS[op.name](x)
        dst.write(made, self.rounding)
        require((reduce_cmd.name == "idle") == (reduce_op is None), "a reduction and its command")
        if reduce_op is None:
            require(reduce_res is None, f"leaves stale registers in {reduce_res}")
            return
        require(reduce_op.name == "add", f"reduces by {reduce_op.name}")
        self._summed(made, reduce_res, reduce_cmd.name)

    def _summed(self, made: Array, result: Tensor, command: str) -> None:
        """Add rows to the engine's registers, and read these out."""
        sums = made.reshape(len(made), -1).sum(axis=1, dtype=np.float32)
        if command == "reduce":
            require(self.registers is not None, "goes on from registers that nothing has set")
            require(len(self.registers) == len(sums), "goes on with other partitions")
            sums = self.registers + sums
        require(command in ("reduce", "reset_reduce"), f"command {command}")
        require(result.free_size == 1, f"sums into {result}")
        self.registers = sums
        result.write(sums.reshape(result.shape), self.rounding)

    def activation_reduce(
        self,
        dst: Tensor,
        op: Any,
        data: Tensor,
        reduce_op: Any,
        reduce_res: Tensor,
        bias: Any,
        scale: Any,
    ) -> None:
        check_operands(dst, data, reduce_res)
        check_same_shape(dst, data)
        require(reduce_op.name == "add", f"activation_reduce with {reduce_op.name}")
        require(reduce_res.free_size == 1, f"activation_reduce into {reduce_res}")
        require(data.free_size <= 16384, f"activation_reduce of {data}")
        x = in_f32(data) * per_partition(scale, data, "float32")
        if bias is not None:
            x = x + per_partition(bias, data, None)
        made = FUNCTIONS[op.name](x)
        dst.write(made, self.rounding)
        self._summed(made, reduce_res, "reset_reduce")

    def iota(self, dst: Tensor, pattern: Any, offset: int, channel_multiplier: int) -> None:
        check_operands(dst, gpsimd=True)
        values = affine(dst.shape, pattern, offset, channel_multiplier)
        dst.write(values.reshape(dst.shape), self.rounding)

    def reciprocal(self, dst: Tensor, data: Tensor) -> None:
        check_operands(dst, data)
        check_same_shape(dst, data)
        dst.write(1 / in_f32(data), self.rounding)


def _check_matmul_tile(stationary: Tensor, position: Any, size: Any) -> None:
    require(bool(position) == bool(size), "tile_position goes with tile_size")
    for start, extent in zip(position, size, strict=True):
        require(extent in (32, 64, 128) and start % extent == 0, f"tile {size} at {position}")
        require(start + extent <= 128, f"tile {size} at {position}")
    rows, columns = size or (128, 128)
    require(stationary.shape[0] <= rows, f"{stationary} in a tile of {size}")
    require(stationary.shape[-1] <= columns, f"{stationary} in a tile of {size}")


def _check_matmul_places(
    dst: Tensor, stationary: Tensor, moving: Tensor, rows: int, columns: int
) -> None:
    places = (dst.region, stationary.region, moving.region)
    wanted = (MemoryRegion.psum, MemoryRegion.sbuf, MemoryRegion.sbuf)
    require(places == wanted, f"matmul of {stationary} and {moving} into {dst}")
    require(stationary.shape[0] == moving.shape[0], f"contracts {stationary} with {moving}")
    require(rows <= 128, f"stationary {stationary}")
    require(columns <= 512, f"moving {moving}")
    require((dst.shape[0], dst.free_size) == (rows, columns), f"{stationary}, {moving}: {dst}")
    first, last = dst.free_offset_bytes()
    require(first // PSUM_BANK_BYTES == last // PSUM_BANK_BYTES, f"{dst} is not inside one bank")


def _check_matmul_dtypes(dst: Tensor, stationary: Tensor, moving: Tensor) -> None:
    require(dst.dtype == "float32", f"matmul into {dst}")
    pair = {stationary.dtype, moving.dtype}
    require(pair <= MATMUL_DTYPES or (len(pair) == 1 and pair <= MATMUL_WIDE), f"multiplies {pair}")
    require(not {"float8_e4m3", "float8_e4m3fn"} <= pair, f"multiplies {pair}")
