"""Selects, scans and searches of the stand-in, from the vendor's documentation.

Written independently of the code under test (aws-neuron-sdk: nki.isa reference of NKI 0.6), mostly
element by element as the reference's pseudo code goes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nki_stand_in_functions import ARITHMETIC, REDUCTIONS
from nki_stand_in_rules import (
    as_number,
    check_one_psum,
    check_operands,
    check_same_shape,
    in_f32,
    per_partition,
)
from nki_stand_in_tensors import Array, Tensor, require

RANGE_OPS = ("equal", "less", "less_equal", "greater", "greater_equal")
FP32_MIN = -3.4028235e38
STARTS = {
    "add": 0.0,
    "subtract": 0.0,
    "multiply": 1.0,
    "maximum": -np.inf,
    "minimum": np.inf,
}


def _rows(tensor: Tensor) -> Array:
    return in_f32(tensor).reshape(tensor.shape[0], -1)


def _step(op: Any, a: Array, b: Array, reverse: bool = False) -> Array:
    made = ARITHMETIC[op.name](b, a) if reverse else ARITHMETIC[op.name](a, b)
    return as_number(np.asarray(made)).astype(np.float32)


def affine(shape: tuple[int, ...], pattern: Any, offset: int, channel_multiplier: int) -> Array:
    """The values of iota and affine_select, as (partitions, free elements)."""
    require(1 <= len(pattern) <= 4, f"pattern {pattern}")
    counts = [count for _, count in pattern]
    require(int(np.prod(counts)) == int(np.prod(shape[1:])), f"pattern {pattern} for {shape}")
    free = sum(step * at for (step, _), at in zip(pattern, np.indices(counts), strict=True))
    rows = np.arange(shape[0]) * channel_multiplier + offset
    return (rows[:, None] + np.ravel(free)[None, :]).astype(np.int32)


class VectorIsa:
    """Instructions that choose, scan and search along partitions."""

    rounding: str

    def affine_select(
        self,
        dst: Tensor,
        pattern: Any,
        channel_multiplier: int,
        on_true_tile: Tensor,
        on_false_value: float,
        cmp_op: Any,
        offset: int,
    ) -> None:
        check_operands(dst, on_true_tile, gpsimd=True)
        check_same_shape(dst, on_true_tile)
        require(type(on_false_value) is float, f"on_false_value {on_false_value!r}")
        values = affine(dst.shape, pattern, offset, channel_multiplier)
        chosen = ARITHMETIC[cmp_op.name](values, 0).reshape(dst.shape)
        made = on_true_tile.read().astype(object)
        made[~chosen] = np.float32(on_false_value)
        dst.write(made.astype(np.float64), self.rounding)

    def range_select(
        self,
        dst: Tensor,
        on_true_tile: Tensor,
        comp_op0: Any,
        comp_op1: Any,
        bound0: Tensor,
        bound1: Tensor,
        reduce_cmd: Any,
        reduce_res: Tensor | None,
        reduce_op: Any,
        range_start: int,
        on_false_value: Any,
    ) -> None:
        check_operands(dst, on_true_tile)
        check_same_shape(dst, on_true_tile)
        require("float" in on_true_tile.dtype, f"range_select of {on_true_tile}")
        require({comp_op0.name, comp_op1.name} <= set(RANGE_OPS), f"{comp_op0}, {comp_op1}")
        require(np.float32(on_false_value) == np.float32(FP32_MIN), f"fills {on_false_value}")
        require((reduce_cmd.name, reduce_op.name) == ("reset_reduce", "maximum"), "reduction")
        indices = np.arange(range_start, range_start + dst.free_size, dtype=np.float32)
        require(range_start + dst.free_size <= 2**24, "indices beyond 2^24")
        flat = on_true_tile.read().reshape(dst.shape[0], -1).astype(np.float32)
        bounds = [
            per_partition(b, on_true_tile, "float32").reshape(-1, 1) for b in (bound0, bound1)
        ]
        inside = ARITHMETIC[comp_op0.name](indices, bounds[0])
        inside = inside & ARITHMETIC[comp_op1.name](indices, bounds[1])
        made = np.where(inside, flat, np.float32(FP32_MIN))
        dst.write(made.reshape(dst.shape), self.rounding)
        if reduce_res is not None:
            _reduced(reduce_res, made.max(axis=1), dst, self.rounding)

    def select_reduce(
        self,
        dst: Tensor,
        predicate: Tensor,
        on_true: Tensor,
        on_false: Any,
        reduce_res: Tensor | None,
        reduce_cmd: Any,
        reduce_op: Any,
        reverse_pred: bool,
    ) -> None:
        check_operands(dst, predicate, on_true)
        check_same_shape(dst, predicate, on_true)
        check_one_psum(predicate, on_true)
        require(predicate.dtype in ("int8", "uint8", "int16", "uint16"), f"predicate {predicate}")
        require(on_true.dtype not in ("tfloat32", "int32", "uint32"), f"selects from {on_true}")
        require(isinstance(on_false, float | Tensor), f"on_false {on_false!r}")
        other = per_partition(on_false, on_true, None)
        chosen = predicate.read().astype(bool) ^ reverse_pred
        made = np.where(chosen, in_f32(on_true), other)
        dst.write(made, self.rounding)
        require(
            (reduce_res is None) == (reduce_cmd.name == "idle"), "reduce_res goes with a reduce"
        )
        require(reduce_op.name == "maximum", f"reduces by {reduce_op.name}")
        if reduce_res is not None:
            require("float" in reduce_res.dtype, f"reduces into {reduce_res}")
            _reduced(reduce_res, made.reshape(len(made), -1).max(axis=1), dst, self.rounding)

    def tensor_scalar_reduce(
        self,
        dst: Tensor,
        data: Tensor,
        op0: Any,
        operand0: Any,
        reduce_op: Any,
        reduce_res: Tensor,
        reverse0: bool,
        reduce_cmd: Any,
        reduce_init: Any,
        reduce_res_negate: bool,
    ) -> None:
        check_operands(dst, data)
        check_same_shape(dst, data)
        require(not reverse0, "reverse0 is not supported")
        require(reduce_cmd.name == "reset_reduce" and reduce_init is None, "one instruction alone")
        require(reduce_op.name in ("add", "multiply", "maximum", "minimum"), reduce_op.name)
        made = _step(op0, in_f32(data), per_partition(operand0, data, "float32"))
        dst.write(made, self.rounding)
        result = REDUCTIONS[reduce_op.name](made.reshape(len(made), -1), axis=1)
        _reduced(reduce_res, -result if reduce_res_negate else result, dst, self.rounding)

    def tensor_scalar_cumulative(
        self, dst: Tensor, src: Tensor, op0: Any, op1: Any, imm0: Any, imm1: Any, reduce_cmd: Any
    ) -> None:
        check_operands(dst, src)
        check_same_shape(dst, src)
        for tile in (dst, src):
            require(tile.dtype not in ("int32", "uint32"), f"cumulative over {tile}")
        require((imm1 is not None) == (reduce_cmd.name == "load_reduce"), "imm1 is loaded")
        scalar = np.broadcast_to(per_partition(imm0, src, "float32"), src.shape)
        steps = _step(op0, in_f32(src), scalar).reshape(src.shape[0], -1)
        register = np.full(len(steps), STARTS[op1.name] if imm1 is None else imm1, np.float32)
        made = np.empty_like(steps)
        for i in range(steps.shape[1]):
            register = _step(op1, steps[:, i], register)
            made[:, i] = register
        dst.write(made.reshape(dst.shape), self.rounding)

    def tensor_tensor_scan(
        self,
        dst: Tensor,
        data0: Tensor,
        data1: Tensor,
        initial: Any,
        op0: Any,
        op1: Any,
        reverse0: bool,
        reverse1: bool,
    ) -> None:
        check_operands(dst, data0, data1)
        check_same_shape(dst, data0, data1)
        check_one_psum(data0, data1)
        first = per_partition(initial, data0, None)
        state = np.broadcast_to(np.ravel(first), data0.shape[:1]).astype(np.float32)
        left, right = _rows(data0), _rows(data1)
        made = np.empty_like(left)
        for i in range(left.shape[1]):
            between = _step(op0, left[:, i], state, reverse0)
            state = _step(op1, between, right[:, i], reverse1)
            made[:, i] = state
        dst.write(made.reshape(dst.shape), self.rounding)

    def max8(self, dst: Tensor, src: Tensor) -> None:
        check_operands(dst, src)
        _searched(src)
        require(dst.shape == (src.shape[0], 8), f"max8 into {dst}")
        made = [sorted(row, reverse=True)[:8] for row in _rows(src).tolist()]
        dst.write(np.array(made, np.float32), self.rounding)

    def nc_find_index8(self, dst: Tensor, data: Tensor, vals: Tensor) -> None:
        check_operands(dst, data, vals)
        _searched(data)
        _indices(dst)
        made = np.full(dst.shape, np.iinfo(dst.dtype.numpy).max, np.int64)
        for row, (elements, wanted) in enumerate(zip(_rows(data), _rows(vals), strict=True)):
            taken: set[int] = set()
            for k, value in enumerate(wanted):
                places = [i for i, e in enumerate(elements) if e == value and i not in taken]
                if places:
                    made[row, k] = places[0]
                    taken.add(places[0])
        dst.write(made, self.rounding)

    def nc_match_replace8(
        self, dst: Tensor, data: Tensor, vals: Tensor, imm: float, dst_idx: Tensor | None
    ) -> None:
        check_operands(dst, data, vals, *([] if dst_idx is None else [dst_idx]))
        check_same_shape(dst, data)
        _searched(data)
        require(vals.free_size == 8, f"replaces {vals}")
        rows, wanted = _rows(data).tolist(), _rows(vals)
        places: list[list[int | None]] = [[None] * 8 for _ in rows]
        for elements, values, found in zip(rows, wanted, places, strict=True):
            for k in range(7, -1, -1):
                if values[k] in elements:
                    found[k] = elements.index(values[k])
                    elements[found[k]] = None
        made = [[imm if e is None else e for e in elements] for elements in rows]
        dst.write(np.array(made, np.float32).reshape(dst.shape), self.rounding)
        if dst_idx is not None:
            _indices(dst_idx)
            missing = np.iinfo(dst_idx.dtype.numpy).max
            found_at = [[missing if p is None else p for p in row] for row in places]
            dst_idx.write(np.array(found_at, np.int64), self.rounding)


def _reduced(result: Tensor, values: Array, dst: Tensor, rounding: str) -> None:
    check_operands(dst, result)
    require(result.free_size == 1, f"reduces into {result}")
    result.write(values.reshape(result.shape), rounding)


def _searched(tensor: Tensor) -> None:
    require(8 <= tensor.free_size <= 16384, f"searches {tensor}")


def _indices(tensor: Tensor) -> None:
    require(tensor.dtype in ("uint16", "uint32"), f"indices {tensor}")
    require(tensor.free_size == 8 and len(tensor.shape) == 2, f"indices {tensor}")
