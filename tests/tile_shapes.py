"""Short names for the tiles of op tables, and what the cost model sees of them."""

from __future__ import annotations

from typing import Any

from nkigen_lite.nki_ir import DType, MemorySpace

F32, BF16, I32, U8 = DType.F32, DType.BF16, DType.I32, DType.U8
U16, U32, FP8 = DType.U16, DType.U32, DType.FP8_E5M2
PSUM = MemorySpace.PSUM

Shape = tuple[int, ...]
Tile = tuple[Shape, DType] | tuple[Shape, DType, MemorySpace]
Wanted = dict[str, Any]

X: Tile = ((96, 40), F32)
XS: Wanted = {"rows": 96, "elems": 40}
ONE: Tile = ((96, 1), F32)


def same(count: int, dtype: str = "f32", memory: str = "sbuf") -> Wanted:
    return {"dtypes": (dtype,) * count, "memories": (memory,) * count}


Case = tuple[tuple[str, str], list[Tile], dict[str, Any], Wanted]
"""(op, engine), operands, attributes, the instruction but for op and engine."""
