"""Tiles in HBM, SBUF and PSUM, explicit DMA, engines and loops: what kernels are made of."""

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Graph, Op, Value, ValueCounter
from nkigen_lite.nki_ir.builder import Builder
from nkigen_lite.nki_ir.deallocs import insert_deallocs
from nkigen_lite.nki_ir.emit_nki import emit_nki
from nkigen_lite.nki_ir.interpret import interpret, run
from nkigen_lite.nki_ir.types import DimSlice, MemorySpace, TileType, ds, ts

__all__ = [
    "Builder",
    "DType",
    "DimSlice",
    "Graph",
    "MemorySpace",
    "Op",
    "TileType",
    "Value",
    "ValueCounter",
    "ds",
    "emit_nki",
    "insert_deallocs",
    "interpret",
    "run",
    "ts",
]
