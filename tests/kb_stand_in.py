"""A numpy stand-in for ``nki.compiler.kernel_builder`` that records every call and computes it.

The vendor publishes no signatures of the Kernel Builder; this one knows the calls that nkipy's
``emit_to_kb`` makes, with exactly their keywords, and refuses any other. It says nothing about
whether the real one accepts a kernel.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from kb_stand_in_moves import CollectiveDimension, ExplicitReplicaGroupAttr, MovesIsa
from nki_stand_in_functions import ARITHMETIC, BITVEC, FUNCTIONS, REDUCTIONS
from nki_stand_in_tensors import NUMPY_OF, NlDtype, rounded

from nkigen_lite.core.ir import Graph
from nkigen_lite.nki_ir.emit.calls import NL_DTYPES

Array = np.ndarray[Any, np.dtype[Any]]

ARITH = {
    **{"Add": "add", "Subtract": "subtract", "Multiply": "multiply", "Pow": "power"},
    **{"Max": "maximum", "Min": "minimum", "IsGT": "greater", "IsGE": "greater_equal"},
    **{"IsLT": "less", "IsLE": "less_equal", "IsEQ": "equal", "IsNE": "not_equal"},
    **{f"Logical{n.title()}": f"logical_{n}" for n in ("and", "or", "xor")},
}
BITS = {f"Bitwise{n.title()}": f"bitwise_{n}" for n in ("and", "or", "xor")}
DTYPES = {**NUMPY_OF}


class Ds:
    """``nb.ds(start, size)``."""

    def __init__(self, start: Any, size: int) -> None:
        self.start, self.size = start, size


class Tile:
    """A tensor of the Kernel Builder: an array, its element type, where it is."""

    def __init__(self, data: Array, dtype: NlDtype, memspace: str) -> None:
        self.data, self.dtype, self.memspace = data, dtype, memspace
        self.released = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def __getitem__(self, key: tuple[Any, ...]) -> Tile:
        if not all(isinstance(k, Ds) for k in key):
            return self.part(self.data[key])
        starts = [operator.index(k.start) for k in key]
        view = self.data[tuple(slice(s, s + k.size) for s, k in zip(starts, key, strict=True))]
        assert view.shape == tuple(k.size for k in key), "out of bounds"
        return self.part(view)

    def ap(
        self, pattern: list[list[int]], offset: int = 0, vector_offset: Tile | None = None
    ) -> Tile | Rows:
        """Another reading of the whole tile's elements, or rows of it by their numbers."""
        if vector_offset is not None:
            assert self.memspace == "hbm"
            return Rows(self, pattern, offset, vector_offset.data.reshape(-1))
        assert self.data.flags.c_contiguous, "ap of a view"
        last = offset + sum(stride * (count - 1) for stride, count in pattern)
        assert 0 <= offset <= last < self.data.size, "out of bounds"
        item = self.data.itemsize
        strides = [stride * item for stride, _ in pattern]
        shape = [count for _, count in pattern]
        flat = self.data.reshape(-1).view(np.uint8)
        return self.part(np.ndarray(shape, self.data.dtype, flat, offset * item, strides))

    def part(self, data: Array) -> Tile:
        assert not self.released, "used after release"
        return Tile(data, self.dtype, self.memspace)

    def read(self) -> Array:
        assert not self.released, "used after release"
        return self.data if self.dtype.is_integer else self.data.astype(np.float32)

    def write(self, values: Array) -> None:
        assert not self.released, "used after release"
        made = rounded(np.asarray(values), self.dtype, "truncate")
        self.data[...] = made.reshape(self.data.shape)


class Rows:
    """Rows of a tensor in HBM whose numbers a tile holds: one side of a copy."""

    def __init__(self, table: Tile, pattern: list[list[int]], offset: int, numbers: Array) -> None:
        (row, count), *free = pattern
        assert count == len(numbers), "a number for each row"
        inner = sum(s * i for (s, _), i in zip(free, np.indices([n for _, n in free]), strict=True))
        starts = offset + numbers.astype(np.int64) * row
        self.places = starts.reshape(-1, *[1] * len(free)) + inner
        self.flat = table.data.reshape(-1)
        self.shape, self.memspace = self.places.shape, "hbm"

    @property
    def data(self) -> Rows:
        return self

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.asarray(self.flat[self.places], dtype)

    def __setitem__(self, key: Any, values: Array) -> None:
        self.flat[self.places] = values


class Isa(MovesIsa):
    """The instructions; ``calls`` holds each call's name and keywords, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.activation_function = Enum("activation_function", {n: n for n in FUNCTIONS})
        self.activation_reduce_op = Enum("activation_reduce_op", ["Add", "Max", "Min"])
        self.reduce_cmd = Enum("reduce_cmd", ["Idle", "ResetReduce"])
        self.arith_op = Enum("arith_op", ARITH)
        self.bitvec_op = Enum("bitvec_op", BITS)
        self.dma_compute_reduce_op = Enum("dma_compute_reduce_op", ["Add"])
        self.cross_lane_reduce_arith_op = Enum("lanes", {"Add": "add", "Max": "maximum"})

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not callable(found) or isinstance(found, type) or name.startswith("_"):
            return found

        def call(*given: Any, **named: Any) -> Any:
            assert not given or name == "load_register"
            self.calls.append((name, tuple(named)))
            with np.errstate(all="ignore"):
                return found(*given, **named)

        return call

    def tensor_copy(self, *, dst: Tile, src: Tile) -> None:
        dst.write(src.read())

    def dma_copy(self, *, dst: Tile, src: Tile) -> None:
        assert dst.shape == src.shape
        assert "psum" not in (dst.memspace, src.memspace)
        dst.data[...] = src.data

    def memset(self, *, dst: Tile, value: float) -> None:
        dst.write(np.full(dst.shape, value))

    def iota(self, *, dst: Tile, pattern: Any, offset: int, channel_multiplier: int) -> None:
        counts = [count for _, count in pattern]
        free = sum(s * i for (s, _), i in zip(pattern, np.indices(counts), strict=True))
        rows = np.arange(dst.shape[0]) * channel_multiplier + offset
        dst.write((rows[:, None] + np.ravel(free)).astype(np.int32))

    def copy_predicated(self, *, dst: Tile, pred_mask: Tile, src: Tile) -> None:
        dst.write(np.where(pred_mask.read() != 0, src.read(), dst.read()))

    def matmul(self, *, dst: Tile, stationary: Tile, moving: Tile, accum: bool,
               is_transpose: bool = False) -> None:  # fmt: skip
        assert (dst.memspace, stationary.memspace, moving.memspace) == ("psum", "sbuf", "sbuf")
        left, right = (t.read().reshape(t.shape[0], -1) for t in (stationary, moving))
        assert not is_transpose or np.array_equal(right, np.eye(len(right)))
        product = (left.T @ right).reshape(dst.shape)
        dst.write(dst.read() + product if accum else product)

    def stream_transpose(self, *, dst: Tile, src: Tile) -> None:
        dst.write(src.read().T)

    def activation(self, *, dst: Tile, src: Tile, bias: Any, scale: float, op: Any,
                   reduce_res: Any = None, reduce_op: Any = None,
                   reduce_cmd: Any = None) -> None:  # fmt: skip
        x = src.read().astype(np.float32) * np.float32(scale) + _spread(bias, src)
        made = np.asarray(FUNCTIONS[op.value](x))
        dst.write(made)
        if reduce_res is not None:
            assert (reduce_op.name, reduce_cmd.name) == ("Add", "ResetReduce")
            reduce_res.write(made.reshape(made.shape[0], -1).sum(axis=1, dtype=np.float32))

    def tensor_tensor_arith(self, *, dst: Tile, lhs: Tile, rhs: Tile, op: Any) -> None:
        native = all(t.dtype == "int32" for t in (dst, lhs, rhs))
        pair = [t.read() if native else t.read().astype(np.float32) for t in (lhs, rhs)]
        dst.write(ARITHMETIC[op.value](*pair).astype(pair[0].dtype))

    def tensor_tensor_bitvec(self, *, dst: Tile, lhs: Tile, rhs: Tile, op: Any) -> None:
        dst.write(BITVEC[op.value](lhs.read(), rhs.read()))

    def tensor_scalar_arith(self, *, dst: Tile, src: Tile, op0: Any, operand0: Any,
                            op1: Any = None, operand1: Any = None) -> None:  # fmt: skip
        assert {dst.dtype, src.dtype} == {"float32"}
        value = ARITHMETIC[op0.value](src.read(), _spread(operand0, src)).astype(np.float32)
        if op1 is not None:
            value = ARITHMETIC[op1.value](value, _spread(operand1, src)).astype(np.float32)
        dst.write(value)

    def scalar_tensor_tensor_arith(self, *, dst: Tile, src0: Tile, src1: Tile, imm0: Any,
                                   op0: Any, op1: Any) -> None:  # fmt: skip
        x = src0.read().astype(np.float32)
        value = ARITHMETIC[op0.value](x, _spread(imm0, src0)).astype(np.float32)
        dst.write(ARITHMETIC[op1.value](value, src1.read().astype(np.float32)).astype(np.float32))

    def tensor_reduce_arith(self, *, dst: Tile, src: Tile, op: Any, num_r_dim: int) -> None:
        axes = tuple(range(len(src.shape) - num_r_dim, len(src.shape)))
        dst.write(REDUCTIONS[op.value.replace("Max", "maximum")](
            src.read().astype(np.float32), axis=axes))  # fmt: skip

    def cross_lane_reduce_arith(self, *, dst: Tile, src: Tile, reduce_op: Any,
                                num_r_dim: int) -> None:  # fmt: skip
        assert num_r_dim == 0
        dst.write(REDUCTIONS[reduce_op.value](src.read().astype(np.float32), axis=0))


def _spread(given: Any, data: Tile) -> Any:
    """A number, or a (P, 1) tile as a column over the data's free dimensions."""
    if not isinstance(given, Tile):
        return np.float32(given)
    assert given.shape == (data.shape[0], 1)
    return given.read().astype(np.float32).reshape(-1, *[1] * (len(data.shape) - 1))


class Compiler:
    """``nb.compiler``: tiles and their lives."""

    def __init__(self) -> None:
        self.live: list[Tile] = []
        self.log: list[str] = []

    def alloc(self, shape: Any, dtype: NlDtype, *, space: str, num_buffers: int) -> Tile:
        self.log.append(f"alloc {num_buffers}")
        data = np.zeros(shape, NUMPY_OF[dtype])
        if not dtype.is_integer:
            data[...] = np.nan
        tile = Tile(data, dtype, space)
        self.live.append(tile)
        return tile

    def rotate(self, tile: Tile) -> None:
        self.log.append("rotate")
        assert not tile.released

    def release(self, tile: Tile) -> None:
        self.log.append("release")
        assert not tile.released, "released twice"
        tile.released = True
        self.live.remove(tile)


def kb_tiles(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Tile]:
    """Tensors in HBM for a kernel's inputs; zeros for those without an array, its outputs."""
    tiles = {}
    for value in graph.inputs:
        array = inputs.get(value.name)
        if array is None:
            array = np.zeros(value.type.shape, value.type.dtype.np)
        stored = array.view(np.uint8) if array.dtype == np.bool_ else array
        dtype = NlDtype(NL_DTYPES[value.type.dtype])
        tiles[value.name] = Tile(np.array(stored), dtype, "hbm")
    return tiles


@contextmanager
def kernel_builder() -> Iterator[Any]:
    """Within the block ``import nki.compiler.kernel_builder`` gives the stand-in."""
    inner = ("nki.compiler._internal", "nki.compiler._internal.dialects")
    native = f"{inner[-1]}.nisa"
    names = ("nki", "nki.compiler", "nki.compiler.kernel_builder", *inner, native)
    modules = {name: ModuleType(name) for name in names}
    builder: Any = modules["nki.compiler.kernel_builder"]
    objects = {c.__name__: c for c in (ExplicitReplicaGroupAttr, CollectiveDimension)}
    vars(modules[native]).update(objects)
    vars(builder).update(if_else=lambda holds, then, otherwise: then() if holds else otherwise())
    vars(builder).update({name: NlDtype(name) for name in NUMPY_OF})
    vars(builder).update(hbm="hbm", sbuf="sbuf", psum="psum", ds=Ds, Tensor=SimpleNamespace)
    vars(builder).update(isa=Isa(), compiler=Compiler())
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(modules)
    try:
        yield builder
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
