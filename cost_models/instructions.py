"""One compute instruction as plain data, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .errors import PriceError, did_you_mean

FLOATS_16BIT: Final = frozenset({"bf16", "f16"})
FLOATS_8BIT: Final = frozenset({"fp8_e4m3", "fp8_e4m3_ieee", "fp8_e5m2", "fp8_e3m4"})
DTYPE_BYTES: Final = {
    "f32": 4,
    "tf32": 4,
    "bf16": 2,
    "f16": 2,
    **dict.fromkeys(sorted(FLOATS_8BIT), 1),
    "i32": 4,
    "i16": 2,
    "i8": 1,
    "u32": 4,
    "u16": 2,
    "u8": 1,
    "bool": 1,
}
MEMORIES: Final = ("sbuf", "psum")


@dataclass(frozen=True, slots=True)
class Instruction:
    """``count`` equal instructions that run back to back on one engine.

    ``rows`` is the number of partitions touched (at most 128; it does not change the price).
    ``elems`` is the number of elements per partition of the longest operand; for matmul the free
    size of the moving operand, for nc_transpose on the tensor engine the rows that move through.
    ``dtypes`` and ``memories`` tell the full-size operands, destination first, then the sources in
    the order of the instruction (predicate before data); one value per partition, as a bias or
    scale tile has, is told by ``pointer`` alone. ``contiguous`` is False when the innermost free
    dimension of some operand is strided.

    Raises PriceError for sizes below 1, unknown dtypes or memories, or unequal operand lists.
    """

    op: str
    engine: str
    rows: int
    elems: int
    dtypes: tuple[str, ...]
    memories: tuple[str, ...]
    pointer: bool = False
    contiguous: bool = True
    count: int = 1

    def __post_init__(self) -> None:
        for what, size in (("rows", self.rows), ("elems", self.elems), ("count", self.count)):
            if size < 1:
                raise PriceError(f"{self.op}: {what} is {size} but must be at least 1")
        for dtype in self.dtypes:
            if dtype not in DTYPE_BYTES:
                raise PriceError(
                    f"{self.op}: dtype is {dtype!r} but must be one of {', '.join(DTYPE_BYTES)}"
                    f"{did_you_mean(dtype, DTYPE_BYTES)}"
                )
        for memory in self.memories:
            if memory not in MEMORIES:
                raise PriceError(
                    f"{self.op}: memory is {memory!r} but must be one of {', '.join(MEMORIES)}"
                )
        if not self.dtypes or len(self.dtypes) != len(self.memories):
            raise PriceError(
                f"{self.op}: it has {len(self.dtypes)} dtypes and {len(self.memories)} memories"
                " but must have one of each per operand, the destination included"
            )


@dataclass(frozen=True, slots=True)
class Price:
    """Predicted times of an :class:`Instruction`.

    ``interval_ns`` is how long the engine is taken, so that the next instruction can start;
    ``latency_ns`` runs from the start to the mark that lets a consumer start.
    """

    interval_ns: float
    latency_ns: float
