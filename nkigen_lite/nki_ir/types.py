"""Types and small records of nki_ir: memory spaces, tiles, slices with affine offsets."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value


class MemorySpace(StrEnum):
    """Where a value lives. ``REG`` holds loop indices and registers."""

    HBM = "hbm"
    SBUF = "sbuf"
    PSUM = "psum"
    REG = "reg"


ON_CHIP = frozenset({MemorySpace.SBUF, MemorySpace.PSUM})
_TILE = re.compile(r"tile<((?:\d+x)*)([a-z][a-z0-9_]*)@(hbm|sbuf|psum|reg)>\Z")


@dataclass(frozen=True, slots=True)
class TileType:
    """A buffer or a view of one. On chip, dimension 0 is the partition dimension."""

    shape: tuple[int, ...]
    dtype: DType
    memory: MemorySpace

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def partition_size(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def free_shape(self) -> tuple[int, ...]:
        return self.shape[1:]

    @property
    def free_size(self) -> int:
        """Elements per partition."""
        return math.prod(self.shape[1:])

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.num_elements * self.dtype.itemsize

    @property
    def partition_bytes(self) -> int:
        """Bytes in each partition."""
        return self.free_size * self.dtype.itemsize

    def with_shape(self, shape: tuple[int, ...]) -> TileType:
        return TileType(shape, self.dtype, self.memory)

    def __str__(self) -> str:
        return f"tile<{''.join(f'{n}x' for n in self.shape)}{self.dtype}@{self.memory}>"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The type that ``text`` prints as, or None."""
        match = _TILE.match(text)
        if match is None or match[2] not in {d.value for d in DType}:
            return None
        shape = tuple(int(n) for n in match[1].split("x") if n)
        return cls(shape, DType(match[2]), MemorySpace(match[3]))


INDEX = TileType((), DType.I32, MemorySpace.REG)
"""The index of a loop whose trips are known: a number in each of them."""

REGISTER = TileType((1,), DType.I32, MemorySpace.REG)
"""A register of an engine's sequencer, whose value is known at run time only."""


@dataclass(frozen=True, slots=True)
class Affine:
    """``const + sum(coefficient * index)`` over loop index values.

    Terms are kept in order of first use, never with coefficient 0.
    """

    const: int = 0
    terms: tuple[tuple[Value, int], ...] = ()

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.const + other, self.terms) if other else self
        if not other.terms:
            return Affine(self.const + other.const, self.terms) if other.const else self
        if not self.terms:
            return Affine(self.const + other.const, other.terms) if self.const else other
        sums: dict[Value, int] = {}
        for value, factor in (*self.terms, *other.terms):
            sums[value] = sums.get(value, 0) + factor
        return Affine(self.const + other.const, tuple((v, f) for v, f in sums.items() if f))

    def __mul__(self, factor: int) -> Affine:
        if factor == 1:
            return self
        if factor == 0:
            return Affine()
        if not self.terms:
            return Affine(self.const * factor)
        return Affine(self.const * factor, tuple((v, f * factor) for v, f in self.terms))

    def is_multiple_of(self, divisor: int) -> bool:
        """Whether every value of the expression is certain to be a multiple."""
        return self.const % divisor == 0 and all(f % divisor == 0 for _, f in self.terms)

    def divided_by(self, divisor: int) -> Affine:
        """The exact quotient; an assertion fails if any part is not a multiple of ``divisor``."""
        assert self.is_multiple_of(divisor), f"{self} is not a multiple of {divisor}"
        return Affine(self.const // divisor, tuple((v, f // divisor) for v, f in self.terms))

    @property
    def is_zero(self) -> bool:
        return not self.const and not self.terms


def affine(value: Affine | Value | int) -> Affine:
    """``value`` as an affine expression."""
    if isinstance(value, Affine):
        return value
    return Affine(0, ((value, 1),)) if isinstance(value, Value) else Affine(int(value))


@dataclass(frozen=True, slots=True)
class DimSlice:
    """``size`` elements of a dimension from ``offset`` on, ``stride`` apart.

    ``offset`` may be an int, a loop index, or an affine expression of indices. With ``size`` None
    the dimension is indexed at ``offset`` and dropped.
    """

    offset: int | Value | Affine
    size: int | None
    stride: int = 1


def ds(offset: int | Value | Affine, size: int, stride: int = 1) -> DimSlice:
    """Slice by start and size."""
    return DimSlice(offset, size, stride)


def ts(index: int | Value | Affine, size: int) -> DimSlice:
    """Slice number ``index`` of equal slices of ``size``."""
    return DimSlice(affine(index) * size, size)


@dataclass(frozen=True, slots=True)
class Window:
    """One dimension of a ``slice`` op's attribute.

    ``terms`` are (operand position, coefficient): the offset is ``const`` plus their sum.
    """

    const: int
    terms: tuple[tuple[int, int], ...]
    size: int | None
    stride: int = 1

    def offset(self, operands: list[int]) -> int:
        """The offset for concrete index operands (position 1 is ``operands[0]``)."""
        return self.const + sum(f * operands[p - 1] for p, f in self.terms)

    def __str__(self) -> str:
        parts = [f"{f}*${p}" for p, f in self.terms]
        start = "+".join([*parts, str(self.const)] if self.const or not parts else parts)
        if self.size is None:
            return start
        return f"{start}:{self.size}" + (f":{self.stride}" if self.stride != 1 else "")


_TERM = re.compile(r"(-?\d+)\*\$(\d+)")


@dataclass(frozen=True, slots=True)
class Slices:
    """The windows of a ``slice`` op, one per dimension of its operand; prints ``slice<…>``."""

    dims: tuple[Window, ...]

    def __str__(self) -> str:
        return f"slice<{', '.join(map(str, self.dims))}>"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The slices that ``text`` prints as, or None."""
        if not text.startswith("slice<"):
            return None
        inner = text[len("slice<") : -1].strip()
        return cls(tuple(_parse_window(part) for part in inner.split(",")) if inner else ())


def _parse_window(text: str) -> Window:
    start, *rest = (part.strip() for part in text.split(":"))
    const, terms = 0, []
    for part in start.split("+"):
        match = _TERM.match(part.strip())
        if match:
            terms.append((int(match[2]), int(match[1])))
        else:
            const += int(part)
    size = int(rest[0]) if rest else None
    return Window(const, tuple(terms), size, int(rest[1]) if len(rest) > 1 else 1)
