"""The op table of nki_ir, one row per op; each module holds one engine's or family's ops."""

from nkigen_lite.nki_ir.rows.table import NKI, TileOpDef

from . import compute, control, memory, tensor_engine  # noqa: F401  (each fills the table)

__all__ = ["NKI", "TileOpDef"]
