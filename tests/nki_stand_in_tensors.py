"""Tensors and views of the numpy stand-in for NKI.

Written from the vendor's documentation (aws-neuron-sdk: NKI language guide, NkiTensor reference,
trainium2_arch.rst), independently of the code under test. A tensor is three arrays that every
view slices alike: the elements, which of them have been written, and which hold matmul results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

PARTITIONS = 128
PSUM_BYTES = 16 * 1024
PSUM_BANK_BYTES = 2 * 1024
SBUF_BYTES = 256 * 1024  # the largest generation's
MAX_FREE_DIMS = 4


class IllegalKernel(Exception):
    """A kernel does what NKI or the hardware forbids."""


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise IllegalKernel(sentence)


class NlDtype(str):
    """An element type of nki.language; the real ones are plain strings too."""

    @property
    def numpy(self) -> np.dtype[Any]:
        return NUMPY_OF[self]

    @property
    def is_integer(self) -> bool:
        return "int" in self


NUMPY_OF: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "tfloat32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3": np.dtype(ml_dtypes.float8_e4m3),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    **{n: np.dtype(n) for n in ("int8", "int16", "int32", "uint8", "uint16", "uint32")},
}


class MemoryRegion(Enum):
    """Where a buffer may be."""

    sbuf = "sbuf"
    psum = "psum"
    private_hbm = "private_hbm"
    shared_hbm = "shared_hbm"


HBM = (MemoryRegion.private_hbm, MemoryRegion.shared_hbm)


@dataclass(frozen=True)
class Ds:
    """``nl.ds(start, size)``."""

    start: int
    size: int


@dataclass
class Register:
    """A register of an engine's sequencer; None until something is moved into it."""

    value: int | None


class Tensor:
    """A buffer or a view of one."""

    def __init__(
        self, arrays: tuple[Array, Array, Array], dtype: NlDtype, region: MemoryRegion, home: Array
    ) -> None:
        self.data, self.written, self.summed = arrays
        self.dtype = dtype
        self.region = region
        self.home = home

    @classmethod
    def new(
        cls,
        shape: tuple[int, ...],
        dtype: NlDtype,
        region: MemoryRegion,
        within: Array | None = None,
    ) -> Tensor:
        """A buffer that nothing has been written to: NaN where the type has one.

        ``within`` are bytes (partitions, bytes) of a memory that it shares with other buffers;
        there it begins with whatever those left.
        """
        if within is not None:
            data = within.view(dtype.numpy).reshape(shape)
            assert np.shares_memory(data, within)
        else:
            data = np.zeros(shape, dtype.numpy)
            if not dtype.is_integer:
                data[...] = np.nan
        masks = (np.zeros(shape, bool), np.zeros(shape, bool))
        return cls((data, *masks), dtype, region, data)

    @classmethod
    def given(cls, array: Array) -> Tensor:
        """A kernel argument: HBM that the caller has filled."""
        if array.dtype == np.bool_:
            array = array.view(np.uint8)
        name = next((n for n, d in NUMPY_OF.items() if d == array.dtype), None)
        if name is None:
            raise IllegalKernel(f"argument dtype {array.dtype} has no nl name")
        data = np.array(array)
        masks = (np.ones(data.shape, bool), np.zeros(data.shape, bool))
        return cls((data, *masks), NlDtype(name), MemoryRegion.shared_hbm, data)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def on_chip(self) -> bool:
        return self.region not in HBM

    @property
    def free_size(self) -> int:
        return math.prod(self.shape[1:])

    def _view(self, function: Callable[[Array], Array]) -> Tensor:
        arrays = (function(self.data), function(self.written), function(self.summed))
        return Tensor(arrays, self.dtype, self.region, self.home)

    def __getitem__(self, key: Any) -> Tensor:
        items = key if isinstance(key, tuple) else (key,)
        require(len(items) <= len(self.shape), f"{len(items)} subscripts on shape {self.shape}")
        full = [*items, *[slice(None)] * (len(self.shape) - len(items))]
        keys = [_checked(k, n) for k, n in zip(full, self.shape, strict=True)]
        if self.on_chip:
            first = keys[0]
            keys[0] = slice(first, first + 1) if isinstance(first, int) else first
            require(keys[0].step in (None, 1), "the partition dimension has step 1")
        view = self._view(lambda a: a[(*keys, ...)])
        if self.on_chip and len(view.shape) < 2:
            view = view._view(lambda a: a[:, None])
        return view

    def reshape(self, shape: tuple[int, ...]) -> Tensor:
        require(math.prod(shape) == self.data.size, f"{self.shape} does not reshape to {shape}")
        if self.on_chip:
            require(
                len(shape) >= 2 and shape[0] == self.shape[0],
                f"{self.shape} to {shape} changes the partition dimension",
            )

        def regroup(array: Array) -> Array:
            made = array.reshape(shape)
            require(np.may_share_memory(made, array), f"{self.shape} to {shape} needs a copy")
            return made

        return self._view(regroup)

    def permute(self, dims: tuple[int, ...]) -> Tensor:
        require(sorted(dims) == list(range(len(self.shape))), f"{dims} is not a permutation")
        require(not self.on_chip or dims[0] == 0, "the partition dimension stays first on chip")
        return self._view(lambda a: a.transpose(dims))

    def expand_dim(self, dim: int) -> Tensor:
        require(0 <= dim <= len(self.shape), f"expand_dim {dim} of shape {self.shape}")
        require(not self.on_chip or dim > 0, "the partition dimension stays first on chip")
        return self._view(lambda a: np.expand_dims(a, dim))

    def broadcast(self, dim: int, size: int) -> Tensor:
        require(self.shape[dim] == 1, f"broadcast of dimension {dim} of shape {self.shape}")
        require(not self.on_chip or dim > 0, "partitions have no broadcast view on chip")
        shape = (*self.shape[:dim], size, *self.shape[dim + 1 :])
        return self._view(lambda a: np.broadcast_to(a, shape))

    def ap(
        self,
        pattern: list[list[int]],
        offset: int = 0,
        scalar_offset: Any = None,
        vector_offset: Any = None,
        indirect_dim: int = 0,
    ) -> Indirect:
        require(self.data is self.home, "ap is of a whole tensor")
        return Indirect(self, pattern, offset, scalar_offset, vector_offset, indirect_dim)

    def start(self) -> tuple[int, int]:
        """The partition of the buffer, and the byte in it, where the view begins."""
        first = self.home.__array_interface__["data"][0]
        here: int = self.data.__array_interface__["data"][0]
        return divmod(here - first, self.home.strides[0])

    def free_offset_bytes(self) -> tuple[int, int]:
        """First and last byte in a partition that the view touches."""
        _, first = self.start()
        pairs = zip(self.shape[1:], self.data.strides[1:], strict=True)
        last = first + sum((n - 1) * s for n, s in pairs)
        return first, last + self.data.itemsize - 1

    def start_partition(self) -> int:
        return self.start()[0]

    def free_dims(self) -> int:
        """Free dimensions left after merging neighbours that one stride serves."""
        merged: list[tuple[int, int]] = []
        for extent, stride in zip(self.shape[1:], self.data.strides[1:], strict=True):
            if extent == 1:
                continue
            if merged and merged[-1][1] == extent * stride:
                merged[-1] = (merged[-1][0] * extent, stride)
            else:
                merged.append((extent, stride))
        return len(merged)

    def read(self) -> Array:
        require(bool(self.written.all()), f"reads elements of {self} that nothing has written")
        return self.data

    def write(self, values: Array, rounding: str, *, by_matmul: bool = False) -> None:
        require(values.shape == self.shape, f"{values.shape} values for {self}")
        repeated = any(n > 1 and s == 0 for n, s in zip(self.shape, self.data.strides, strict=True))
        require(not repeated, f"writes through a broadcast view {self}")
        self.data[...] = rounded(values, self.dtype, rounding)
        self.written[...] = True
        self.summed[...] = by_matmul

    def __repr__(self) -> str:
        return f"<{self.region.name} {self.shape} {self.dtype}>"


@dataclass(frozen=True)
class Indirect:
    """``tensor.ap(pattern=..., vector_offset=...)`` or with ``scalar_offset``."""

    tensor: Tensor
    pattern: list[list[int]]
    offset: int
    scalar_offset: Any
    vector_offset: Any
    indirect_dim: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(count for _, count in self.pattern)

    def check(self) -> None:
        require(self.tensor.region in HBM, f"{self.tensor} is indexed on chip")
        given = [o for o in (self.scalar_offset, self.vector_offset) if o is not None]
        require(len(given) == 1, "one of scalar_offset and vector_offset")
        if isinstance(given[0], Tensor):
            require(given[0].region is MemoryRegion.sbuf, f"offsets {given[0]}")
            require(given[0].dtype in ("int32", "uint32"), f"offsets {given[0]}")
        else:
            require(isinstance(given[0], Register), f"offset {given[0]!r}")

    def offsets(self) -> Array:
        """One row offset for all, or one for each of the first dimension."""
        self.check()
        if self.scalar_offset is not None:
            found = self.scalar_offset
            value = found.value if isinstance(found, Register) else found.read().item()
            return np.full((1,), value, np.int64)
        flat: Array = self.vector_offset.read().T.reshape(-1).astype(np.int64)
        require(flat.size >= self.shape[0], f"{flat.size} offsets for {self.shape}")
        return flat[: self.shape[0]]

    def addresses(self, skip: bool) -> tuple[Array, Array]:
        """Elements of the tensor, and which of them are inside it."""
        row = math.prod(self.tensor.shape[self.indirect_dim + 1 :])
        places = np.indices(self.shape)
        vector = self.vector_offset is not None
        steps = [0 if vector and d == 0 else s for d, (s, _) in enumerate(self.pattern)]
        at = self.offset + sum(s * p for s, p in zip(steps, places, strict=True))
        at = at + row * self.offsets().reshape(-1, *[1] * (len(self.shape) - 1))
        inside = (at >= 0) & (at < self.tensor.data.size)
        if not vector:
            inside = np.full(at.shape, bool(inside.all()))
        require(skip or bool(inside.all()), f"an index is out of bounds of {self.tensor}")
        return np.where(inside, at, 0), inside


def _checked(key: Any, extent: int) -> Any:
    """A subscript as an int or a slice that is sure to stay in bounds."""
    if isinstance(key, Ds):
        key = slice(key.start, key.start + key.size)
    if isinstance(key, slice):
        start, stop = key.start or 0, extent if key.stop is None else key.stop
        require(
            0 <= start < stop <= extent and (key.step or 1) > 0,
            f"slice {start}:{stop}:{key.step} of a dimension of {extent}",
        )
        return slice(start, stop, key.step)
    require(type(key) is int and 0 <= key < extent, f"index {key!r} of a dimension of {extent}")
    return key


def rounded(values: Array, dtype: NlDtype, rounding: str) -> Array:
    """``values`` as ``dtype``: floats become integers as ``rounding`` says, and saturate."""
    if dtype == "tfloat32":
        wide = values.astype(np.float32)
        mantissa, exponent = np.frexp(wide.astype(np.float64))
        near = np.ldexp(np.rint(mantissa * 2.0**11), exponent - 11)
        return np.where(np.isfinite(wide), near, wide).astype(np.float32)
    if dtype.is_integer and values.dtype.kind not in "iub":
        wide = np.nan_to_num(values.astype(np.float64), nan=0.0)
        whole = np.rint(wide) if rounding == "nearest" else np.trunc(wide)
        limits = np.iinfo(dtype.numpy)
        return np.clip(whole, limits.min, limits.max).astype(dtype.numpy)
    return values.astype(dtype.numpy)
