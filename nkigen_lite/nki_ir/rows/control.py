"""Control flow: loops are regions."""

from __future__ import annotations

from typing import Any

from nkigen_lite.core.ir import Graph
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.rows.table import NKI, TileOpDef
from nkigen_lite.nki_ir.types import INDEX


def _loop(types: Types, attrs: Attrs) -> tuple[Any, ...]:
    body = attrs["body"]
    if attrs["extent"] < 1 or attrs["step"] < 1:
        raise InvalidOp(
            f"fori_loop: extent {attrs['extent']} and step {attrs['step']} must be at least 1"
        )
    if [v.type for v in body.inputs] != [INDEX] or body.outputs:
        raise InvalidOp("fori_loop: the body takes one index and returns nothing")
    return ()


NKI.define(
    TileOpDef(
        name="fori_loop",
        summary="Run the body for index 0, step, 2 * step, … below extent.",
        arity=(0, 0),
        infer=_loop,
        evaluate=None,
        attrs=(Attr("extent", int), Attr("step", int, 1), Attr("body", Graph)),
        effects=("region",),
    )
)
