"""The op table of nki_ir, one row per op; each module holds one engine's or family's ops."""

from nkigen_lite.nki_ir.rows.table import NKI, TileOpDef, written_operands

# They fill the table.
from . import (  # noqa: F401
    activation,
    collectives,
    compute,
    control,
    gather,
    memory,
    rotation,
    scan,
    search,
    select,
    statistics,
    tensor_engine,
    tensor_scalar,
    transfers,
    views,
)

__all__ = ["NKI", "TileOpDef", "written_operands"]
