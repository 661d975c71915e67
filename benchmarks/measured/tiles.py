"""What the hand-written kernels share: tile sizes, parts of tensors, loops, the ends of products.

Every kernel is written as its source has it, loop by loop. Engines run their instructions in
program order. Loads are triggered by Sync but stores by ScalarE, as in the traces of
trainium-kernel-fusion, unless a kernel says otherwise: loads of later tiles then run ahead of the
stores of earlier ones, as in code whose independent iterations the vendor's compiler overlaps. How
far ahead is the number of buffers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.nki_ir import Builder, DimSlice, MemorySpace, ts
from nkigen_lite.nki_ir.types import Affine

Index: TypeAlias = Value | Affine

F32 = DType.F32
PSUM = MemorySpace.PSUM

# Largest tiles of a product: contraction and stationary 128, moving 512 (nki.isa.nc_matmul).
TILE_K = 128
TILE_M = 128
TILE_N = 512

ACCUMULATORS = 2
"""PSUM tiles that products take in turn: one is copied out while the next is computed."""

RESULTS = 2
"""SBUF tiles that results take in turn: one is stored while the next is written."""

IN_FLIGHT = 8
"""Tiles that the loads of an innermost loop may be ahead of their use; more than it takes to hide
a load's latency. How many the vendor's compiler takes is not published."""


@dataclass(frozen=True, slots=True)
class Product:
    """The matrices of ``out = lhs_t.T @ rhs`` in HBM: lhs_t is K x M, rhs K x N, out M x N."""

    lhs_t: Value
    rhs: Value
    out: Value

    @property
    def rows(self) -> int:
        """Tiles of the result, down."""
        return int(self.out.type.shape[0]) // TILE_M

    @property
    def columns(self) -> int:
        """Tiles of the result, across."""
        return int(self.out.type.shape[1]) // TILE_N

    @property
    def steps(self) -> int:
        """Tiles along the contraction."""
        return int(self.rhs.type.shape[0]) // TILE_K


def product(b: Builder, m: int, k: int, n: int, dtype: DType) -> Product:
    """Declare the operands and the result of a product.

    Raises:
        ValueError: an extent is not a multiple of its tile.
    """
    for name, extent, tile in (("m", m, TILE_M), ("k", k, TILE_K), ("n", n, TILE_N)):
        if extent % tile:
            raise ValueError(f"product: {name} is {extent} but must be a multiple of {tile}")
    lhs_t = b.add_input("lhs_t", (k, m), dtype)
    rhs = b.add_input("rhs", (k, n), dtype)
    return Product(lhs_t, rhs, b.add_input("out", (m, n), dtype))


def for_each(b: Builder, body: Callable[..., object], **counts: int) -> None:
    """Nested loops, the first name outermost; ``body`` is given their indices in that order."""

    def enter(names: tuple[str, ...], indices: tuple[Value, ...]) -> None:
        if not names:
            body(*indices)
            return
        name, *rest = names
        b.fori_loop(name, counts[name], 1, lambda _, i: enter(tuple(rest), (*indices, i)))

    enter(tuple(counts), ())


def each_part(
    b: Builder, body: Callable[[Value | int, DimSlice], object], size: int, **extent: int
) -> None:
    """A loop over parts of ``size`` elements of an extent, its name the loop's; the rest after it.

    ``body`` is given a part's index and where it lies.
    """
    ((name, count),) = extent.items()
    whole, rest = divmod(count, size)
    if whole:
        for_each(b, lambda i: body(i, ts(i, size)), **{name: whole})
    if rest:
        body(whole, DimSlice(whole * size, rest))


def at(index: Index | int) -> DimSlice:
    """One element of a dimension, which is dropped."""
    return DimSlice(index, None)


def part(b: Builder, tile: Value, *where: DimSlice | None) -> Value:
    """A part of a tile, all partitions of it; ``where`` per free dimension, None for the whole."""
    whole = [DimSlice(0, extent) for extent in tile.type.shape]
    return b.slice(tile, [whole[0], *(w or d for w, d in zip(where, whole[1:], strict=True))])


def multiply(b: Builder, acc: Value, left: Value, right: Value, *where: DimSlice) -> None:
    """Add up ``left[…, k, :].T @ right[…, k, :]`` over the k of tiles that are in SBUF.

    ``left`` and ``right`` are [128, …, k, columns]; ``where`` gives the dimensions before k: first
    those of ``left``, then as many of ``right``.
    """
    half = len(where) // 2

    def step(k: Value) -> None:
        stationary = part(b, left, *where[:half], at(k), None)
        moving = part(b, right, *where[half:], at(k), None)
        b.matmul(acc, stationary, moving, k)

    for_each(b, step, k=left.type.shape[-2])


def evict(b: Builder, p: Product, acc: Value, i: Index, j: Index, engine: str) -> None:
    """Copy an accumulator out of PSUM, in the type of the result, and store it as tile (i, j)."""
    result = b.alloc(acc.type.shape, p.out.type.dtype, num_buffers=RESULTS)
    b.tensor_copy(result, acc, engine=engine)
    b.dma_copy(b.slice(p.out, [ts(i, TILE_M), ts(j, TILE_N)]), result)
