"""Buffers whose copies rotate under a loop that overlaps its iterations.

A buffer allocated in a loop is another copy in each iteration, known in that iteration alone. One
allocated before the loop rotates when it is told to, so that an iteration can finish what an
earlier one began: it reads the copy that was in use before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.rows.table import NKI, TileOpDef, check_memory
from nkigen_lite.nki_ir.types import ON_CHIP, TileType


def _rotate(types: Types, attrs: Attrs) -> tuple[Any, ...]:
    check_memory("rotate", types, (ON_CHIP,))
    return ()


NKI.define(
    TileOpDef(
        name="rotate",
        summary="From here on the buffer is its next copy, of num_buffers; nothing is in it yet.",
        arity=(1, 1),
        infer=_rotate,
        evaluate=None,
        effects=("rotate 0",),
        memory=(ON_CHIP,),
    )
)


def _previous(types: Types, attrs: Attrs) -> tuple[TileType]:
    check_memory("previous", types, (ON_CHIP,))
    if attrs["by"] < 1:
        raise InvalidOp(f"previous: by is {attrs['by']} but must be at least 1")
    return (types[0],)


NKI.define(
    TileOpDef(
        name="previous",
        summary="The copy of a rotating buffer that was in use ``by`` rotations ago.",
        arity=(1, 1),
        infer=_previous,
        evaluate=lambda buffer, by: np.full_like(buffer, np.nan),
        attrs=(Attr("by", int, 1),),
        memory=(ON_CHIP,),
        alias=True,
        nki=lambda op, spelling: spelling.value(op.result),  # a name of its own
    )
)
