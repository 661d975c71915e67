"""What the ``nki.isa`` functions of the stand-in do, and which calls they refuse.

Written from the vendor's documentation (aws-neuron-sdk: nki.isa reference of NKI 0.6,
trainium2_arch.rst), independently of the code under test. Methods are named after the functions
and take exactly the parameters of tests/signatures.json.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nki_stand_in_functions import ARITHMETIC, BITVEC, FUNCTIONS, REDUCTIONS
from nki_stand_in_tensors import (
    HBM,
    MAX_FREE_DIMS,
    PARTITIONS,
    PSUM_BANK_BYTES,
    Array,
    MemoryRegion,
    Tensor,
    require,
)

BN_STATS_FMAX = 512
MATMUL_DTYPES = {"float8_e4m3", "float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"}
MATMUL_WIDE = {"float32", "tfloat32"}


def _f32(tensor: Tensor) -> Array:
    return tensor.read().astype(np.float32)


class Isa:
    """The instructions; ``rounding`` is how floats become integers: truncate or nearest."""

    def __init__(self, rounding: str) -> None:
        self.rounding = rounding

    def dma_copy(self, dst: Tensor, src: Tensor, engine: Any, dge_mode: Any, **rest: Any) -> None:
        for side in (dst, src):
            require(side.region is not MemoryRegion.psum, "dma_copy does not reach psum")
        require(dst.shape == src.shape, f"dma_copy of {src} to {dst}")
        require(
            engine.name == "unknown" or dge_mode.name == "hwdge", "an engine goes with hwdge only"
        )
        dst.write(src.read(), self.rounding)

    def tensor_copy(self, dst: Tensor, src: Tensor, engine: Any) -> None:
        _operands(dst, src, engine=engine, legal=("vector", "scalar", "gpsimd"))
        _same_shape(dst, src)
        exact = dst.dtype == src.dtype and engine.name != "scalar"
        dst.write(src.read() if exact else _f32(src), self.rounding)

    def memset(self, dst: Tensor, value: Any, engine: Any) -> None:
        _operands(dst, engine=engine, legal=("vector", "gpsimd"))
        wanted = int if dst.dtype.is_integer else float
        require(type(value) is wanted, f"memset of {dst} with {value!r}")
        dst.write(np.full(dst.shape, value), self.rounding)

    def tensor_copy_predicated(
        self, dst: Tensor, src: Any, predicate: Tensor, reverse_pred: bool
    ) -> None:
        tiles = [t for t in (src, predicate) if isinstance(t, Tensor)]
        _operands(dst, *tiles)
        _same_shape(dst, *tiles)
        _one_psum(*tiles)
        require(predicate.dtype in ("uint8", "uint16", "uint32"), f"predicate is {predicate}")
        values: Any = src
        if isinstance(src, Tensor):
            require(src.dtype == dst.dtype, f"{src} copied over {dst}")
            values = src.read()
        chosen = (predicate.read() != 0) != reverse_pred
        require(bool((dst.written | chosen).all()), f"{dst} keeps elements that were never written")
        dst.write(np.where(chosen, values, dst.data), self.rounding)

    def nc_matmul(
        self, dst: Tensor, stationary: Tensor, moving: Tensor, accumulate: Any, **rest: Any
    ) -> None:
        _operands(dst, stationary, moving, same_partitions=False)
        _check_matmul_places(dst, stationary, moving)
        _check_matmul_dtypes(dst, stationary, moving)
        require(type(accumulate) is bool, "accumulate is always said")
        left, right = (_f32(t).reshape(t.shape[0], -1) for t in (stationary, moving))
        product = (left.T @ right).reshape(dst.shape)
        if accumulate:
            require(bool(dst.summed.all()), f"accumulates on {dst}, which no matmul has written")
            product = dst.read() + product
        dst.write(product, self.rounding, by_matmul=True)

    def nc_transpose(self, dst: Tensor, data: Tensor, engine: Any) -> None:
        _operands(dst, data, engine=engine, legal=("tensor", "vector"), same_partitions=False)
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
        _operands(*tiles, engine=engine, legal=("vector", "gpsimd"))
        _same_shape(*tiles)
        _one_psum(data1, data2)
        if op.name in BITVEC:
            require(all(t.dtype.is_integer for t in tiles), f"{op.name} of {data1} and {data2}")
            require(engine.name in ("vector", "unknown"), f"{op.name} runs on vector")
            dst.write(BITVEC[op.name](data1.read(), data2.read()), self.rounding)
            return
        whole = all(t.dtype in ("int32", "uint32") for t in tiles) and engine.name == "gpsimd"
        pair = (data1.read(), data2.read()) if whole else (_f32(data1), _f32(data2))
        dst.write(_number(ARITHMETIC[op.name](*pair)), self.rounding)

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
        _operands(dst, data, engine=engine, legal=("vector", "scalar"))
        _same_shape(dst, data)
        names = (op0.name, op1.name if op1 else None)
        if engine.name == "scalar":
            legal = {("multiply", "add"), ("multiply", None), ("add", None)}
            require(names in legal, f"tensor_scalar {names} on the scalar engine")
        value = _f32(data)
        steps = ((op0, operand0, reverse0), (op1, operand1, reverse1))
        for op, given, reverse in steps:
            if op is None:
                require(given is None and not reverse, "operand1 without op1")
                continue
            other = _per_partition(given, data, "float32")
            pair = (other, value) if reverse else (value, other)
            value = _number(ARITHMETIC[op.name](*pair)).astype(np.float32)
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
        _operands(dst, data, operand1)
        _same_shape(dst, data, operand1)
        _one_psum(data, operand1)
        other = _per_partition(operand0, data, "float32")
        pair = (other, _f32(data)) if reverse0 else (_f32(data), other)
        between = _number(ARITHMETIC[op0.name](*pair)).astype(np.float32)
        last = (_f32(operand1), between) if reverse1 else (between, _f32(operand1))
        dst.write(_number(ARITHMETIC[op1.name](*last)).astype(np.float32), self.rounding)

    def tensor_reduce(
        self, dst: Tensor, op: Any, data: Tensor, axis: Any, negate: bool, keepdims: bool
    ) -> None:
        _operands(dst, data)
        axes = (axis,) if isinstance(axis, int) else tuple(axis)
        rank = len(data.shape)
        require(
            0 not in axes and axes == tuple(range(rank - len(axes), rank)),
            f"reduces axes {axes} of {data}",
        )
        made = REDUCTIONS[op.name](_f32(data), axis=axes, keepdims=keepdims)
        dst.write(-made if negate else made, self.rounding)

    def tensor_partition_reduce(self, dst: Tensor, op: Any, data: Tensor) -> None:
        _operands(dst, data, gpsimd=True, same_partitions=False)
        require(op.name in ("add", "maximum"), f"tensor_partition_reduce of {op.name}")
        dst.write(REDUCTIONS[op.name](_f32(data), axis=0, keepdims=True), self.rounding)

    def bn_stats(self, dst: Tensor, data: Tensor) -> None:
        _operands(dst, data)
        require(data.free_size <= BN_STATS_FMAX, f"bn_stats of {data}")
        require(dst.free_size == 6, f"bn_stats into {dst}")
        flat = _f32(data).reshape(data.shape[0], -1)
        made = []
        for half in (flat[:, 0::2], flat[:, 1::2]):
            count = half.shape[1]
            mean = half.mean(axis=1) if count else np.zeros(len(flat), np.float32)
            made += [np.full(len(flat), count), mean, half.var(axis=1) * count if count else mean]
        dst.write(np.stack(made, axis=1).reshape(dst.shape), self.rounding)

    def bn_aggr(self, dst: Tensor, data: Tensor) -> None:
        _operands(dst, data)
        require(data.free_size % 3 == 0, f"bn_aggr of {data}")
        require(dst.free_size == 2, f"bn_aggr into {dst}")
        triples = _f32(data).reshape(data.shape[0], -1, 3).astype(np.float64)
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
        _operands(dst, data)
        _same_shape(dst, data)
        require(reduce_op is None and reduce_res is None, "reductions are not modelled")
        x = _f32(data) * _per_partition(scale, data, "float32")
        if bias is not None:
            require(getattr(bias, "dtype", "") != "tfloat32", "bias is tfloat32")
            x = x + _per_partition(bias, data, None)
        dst.write(FUNCTIONS[op.name](x), self.rounding)

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
        _operands(dst, data, reduce_res)
        _same_shape(dst, data)
        require(reduce_op.name == "add", f"activation_reduce with {reduce_op.name}")
        require(reduce_res.free_size == 1, f"activation_reduce into {reduce_res}")
        require(data.free_size <= 16384, f"activation_reduce of {data}")
        x = _f32(data) * _per_partition(scale, data, "float32")
        if bias is not None:
            x = x + _per_partition(bias, data, None)
        made = FUNCTIONS[op.name](x)
        dst.write(made, self.rounding)
        axes = tuple(range(1, made.ndim))
        sums = made.sum(axis=axes, dtype=np.float32).reshape(reduce_res.shape)
        reduce_res.write(sums, self.rounding)

    def iota(self, dst: Tensor, pattern: Any, offset: int, channel_multiplier: int) -> None:
        _operands(dst, gpsimd=True)
        require(1 <= len(pattern) <= 4, f"iota pattern {pattern}")
        counts = [count for _, count in pattern]
        require(math.prod(counts) == dst.free_size, f"iota pattern {pattern} for {dst}")
        free = sum(
            step * index for (step, _), index in zip(pattern, np.indices(counts), strict=True)
        )
        rows = np.arange(dst.shape[0]) * channel_multiplier + offset
        values = (rows[:, None] + np.ravel(free)[None, :]).astype(np.int32)
        dst.write(values.reshape(dst.shape), self.rounding)

    def reciprocal(self, dst: Tensor, data: Tensor) -> None:
        _operands(dst, data)
        _same_shape(dst, data)
        dst.write(1 / _f32(data), self.rounding)


def _number(values: Array) -> Array:
    """Truth values as 0 and 1."""
    return values.astype(np.float32) if values.dtype == np.bool_ else values


def _per_partition(given: Any, data: Tensor, dtype: str | None) -> Any:
    """A Python number, or a (P, 1) tile as a column that spreads over the data's free dims."""
    if not isinstance(given, Tensor):
        require(type(given) in (int, float), f"operand {given!r} is not a number")
        return np.float32(given)
    _operands(given)
    require(given.shape == (data.shape[0], 1), f"per-partition operand {given} for {data}")
    require(dtype is None or given.dtype == dtype, f"per-partition operand {given} is not {dtype}")
    return _f32(given).reshape(-1, *[1] * (len(data.shape) - 1))


def _operands(
    *tiles: Tensor,
    engine: Any = None,
    legal: tuple[str, ...] = (),
    gpsimd: bool = False,
    same_partitions: bool = True,
) -> None:
    """The rules that every compute operand obeys."""
    if engine is not None:
        require(engine.name in (*legal, "unknown"), f"engine {engine.name} is not one of {legal}")
        gpsimd = gpsimd or engine.name == "gpsimd"
    for tile in tiles:
        require(isinstance(tile, Tensor), f"operand {tile!r} is not a tensor")
        require(tile.region not in HBM, f"operand {tile} is in hbm")
        require(not gpsimd or tile.region is MemoryRegion.sbuf, f"gpsimd does not reach {tile}")
        _check_start(tile)
        require(tile.free_dims() <= MAX_FREE_DIMS, f"{tile} needs {tile.free_dims()} free dims")
    if same_partitions:
        require(len({t.shape[0] for t in tiles}) == 1, f"partition counts of {tiles} differ")


def _check_start(tile: Tensor) -> None:
    count, start = tile.shape[0], tile.start_partition()
    legal = (0,) if count > 64 else (0, 64) if count > 32 else (0, 32, 64, 96)
    require(start in legal, f"{tile} starts at partition {start}")
    require(start + count <= PARTITIONS, f"{tile} starts at partition {start}")


def _same_shape(*tiles: Tensor) -> None:
    require(len({t.shape for t in tiles}) == 1, f"shapes of {tiles} differ")


def _one_psum(*tiles: Tensor) -> None:
    count = sum(t.region is MemoryRegion.psum for t in tiles)
    require(count <= 1, f"{tiles} are both read from psum")


def _check_matmul_places(dst: Tensor, stationary: Tensor, moving: Tensor) -> None:
    places = (dst.region, stationary.region, moving.region)
    wanted = (MemoryRegion.psum, MemoryRegion.sbuf, MemoryRegion.sbuf)
    require(places == wanted, f"matmul of {stationary} and {moving} into {dst}")
    require(stationary.shape[0] == moving.shape[0], f"contracts {stationary} with {moving}")
    require(stationary.free_size <= 128, f"stationary {stationary}")
    require(moving.free_size <= 512, f"moving {moving}")
    require(
        (dst.shape[0], dst.free_size) == (stationary.free_size, moving.free_size),
        f"{stationary} and {moving} into {dst}",
    )
    first, last = dst.free_offset_bytes()
    require(first // PSUM_BANK_BYTES == last // PSUM_BANK_BYTES, f"{dst} is not inside one bank")


def _check_matmul_dtypes(dst: Tensor, stationary: Tensor, moving: Tensor) -> None:
    require(dst.dtype == "float32", f"matmul into {dst}")
    pair = {stationary.dtype, moving.dtype}
    require(pair <= MATMUL_DTYPES or (len(pair) == 1 and pair <= MATMUL_WIDE), f"multiplies {pair}")
    require(not {"float8_e4m3", "float8_e4m3fn"} <= pair, f"multiplies {pair}")
