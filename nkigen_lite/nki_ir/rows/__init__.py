"""The op table of nki_ir, one row per op; each module holds one engine's or family's ops."""

from nkigen_lite.nki_ir.rows.table import NKI, TileOpDef

# They fill the table.
from . import compute, control, memory, statistics, tensor_engine, views  # noqa: F401

__all__ = ["NKI", "TileOpDef"]
