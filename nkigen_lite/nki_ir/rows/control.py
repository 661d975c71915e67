"""Control flow: loops and branches are regions, and registers hold what decides at run time.

Sources: aws-neuron-sdk, reference of nl.fori_loop, nl.while_loop and nisa.register_alloc (NKI 0.6).
The simulator cannot know what a register holds, so each op that depends on one declares how often
its regions run. Registers cost nothing there: no price is published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Graph, Op, Value
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb, kb_registers
from nkigen_lite.nki_ir.emit.calls import Spelling, Template, nisa, operand
from nkigen_lite.nki_ir.emit.text import Expr
from nkigen_lite.nki_ir.rows.table import (
    DMA_SIDE,
    NKI,
    ONLY_REG,
    TileOpDef,
    check_choice,
    check_memory,
    written_operands,
)
from nkigen_lite.nki_ir.types import INDEX, REGISTER

# --- registers -----------------------------------------------------------------------------------


def _check_register(name: str, kind: Any) -> None:
    if kind != REGISTER:
        raise InvalidOp(f"{name}: {kind} is not a register")


NKI.define(
    TileOpDef(
        name="register_alloc",
        summary="A new register, with a value if one is given.",
        arity=(0, 0),
        infer=lambda types, attrs: (REGISTER,),
        evaluate=None,
        attrs=(Attr("value", int, None),),
        effects=("alloc",),
    )
)


def _check_move(types: Types, attrs: Attrs) -> None:
    _check_register("register_move", types[0])
    if (len(types) == 2) == (attrs["value"] is not None):
        raise InvalidOp(
            f"register_move: the value is {attrs['value']} with {len(types) - 1} operands but must "
            "be one of the two"
        )


def _move(dst: Array, *src: Any, value: int | None) -> Array:
    return np.broadcast_to(np.asarray(src[0] if src else value), dst.shape)


def _moved(op: Op, spelling: Spelling) -> Expr:
    given = op.attrs["value"]
    return spelling.value(op.inputs[1]) if given is None else Expr(str(given))


def _check_element(name: str, register: Any, element: Any) -> None:
    _check_register(name, register)
    if element.num_elements != 1 or element.dtype.is_float:
        raise InvalidOp(f"{name}: {element} is not one element of an integer type")


def _register_op(
    name: str,
    summary: str,
    check: Callable[[Types, Attrs], None],
    evaluate: Callable[..., Array],
    memory: Any,
    nki: Template,
    kb_call: kb.KbTemplate,
    *,
    least: int = 2,
    attrs: tuple[Attr, ...] = (),
) -> None:
    """Define an op that writes its first operand and takes no time of an engine."""

    def infer(types: Types, given: Attrs) -> tuple[Any, ...]:
        check_memory(name, types, memory)
        check(types, given)
        return ()

    NKI.define(
        TileOpDef(
            name=name,
            summary=summary,
            arity=(least, 2),
            infer=infer,
            evaluate=evaluate,
            attrs=attrs,
            effects=("write 0",),
            memory=memory,
            nki=nki,
            kb=kb_call,
        )
    )


_register_op(
    "register_move",
    "The register becomes a number, another register, or a loop's index.",
    _check_move,
    _move,
    (ONLY_REG,),
    nisa("register_move", dst=operand(0), src=_moved),
    kb_registers.move,
    least=1,
    attrs=(Attr("value", int, None),),
)
_register_op(
    "register_load",
    "The register becomes an element of HBM or SBUF.",
    lambda types, attrs: _check_element("register_load", types[0], types[1]),
    lambda dst, src: src.reshape(dst.shape),
    (ONLY_REG, DMA_SIDE),
    nisa("register_load", dst=operand(0), src=operand(1)),
    kb_registers.load,
)
_register_op(
    "register_store",
    "An element of HBM or SBUF becomes what the register holds.",
    lambda types, attrs: _check_element("register_store", types[1], types[0]),
    lambda dst, src: src.reshape(dst.shape),
    (DMA_SIDE, ONLY_REG),
    nisa("register_store", dst=operand(0), src=operand(1)),
    kb_registers.store,
)

# --- regions -------------------------------------------------------------------------------------


def _check_body(name: str, region: Graph, *inputs: Any) -> None:
    if [v.type for v in region.inputs] != list(inputs) or region.outputs:
        takes = f"takes one {inputs[0]}" if inputs else "takes nothing"
        raise InvalidOp(f"{name}: the region @{region.name} {takes} and returns nothing")


def _loop(types: Types, attrs: Attrs) -> tuple[Any, ...]:
    if attrs["extent"] < 1 or attrs["step"] < 1:
        raise InvalidOp(
            f"fori_loop: extent {attrs['extent']} and step {attrs['step']} must be at least 1"
        )
    _check_body("fori_loop", attrs["body"], INDEX)
    return ()


def _region_op(
    name: str,
    summary: str,
    infer: Callable[[Types, Attrs], tuple[Any, ...]],
    attrs: tuple[Attr, ...],
    trips: Callable[[Op], Mapping[str, int]],
    **given: Any,
) -> None:
    """Define an op that runs regions; ``trips`` says how often, for all that is known."""
    NKI.define(
        TileOpDef(
            name=name,
            summary=summary,
            infer=infer,
            evaluate=None,
            attrs=attrs,
            effects=("region",),
            trips=trips,
            **given,
        )
    )


# What a register decides.
_AT_RUN_TIME: dict[str, Any] = {"arity": (1, 1), "memory": (ONLY_REG,)}

_region_op(
    "fori_loop",
    "Run the body for index 0, step, 2 * step, … below extent.",
    _loop,
    (Attr("extent", int), Attr("step", int, 1), Attr("body", Graph)),
    lambda op: {"body": -(-op.attrs["extent"] // op.attrs["step"])},
    arity=(0, 0),
)


def _check_trips(name: str, attrs: Attrs, *least_1: str) -> None:
    for attr in least_1:
        if attrs[attr] < 1:
            raise InvalidOp(f"{name}: {attr} is {attrs[attr]} but must be at least 1")


def _writes(region: Graph, register: Value) -> bool:
    """Whether an op in the region, at whatever depth, writes the register."""
    return any(op.inputs[at] is register for op in region.walk() for at in written_operands(op))


_EXPECTED = Attr("expected_trips", int, 1, "what the simulator counts with")


def _dynamic_loop(types: Types, attrs: Attrs) -> tuple[Any, ...]:
    _check_register("dynamic_loop", types[0])
    _check_trips("dynamic_loop", attrs, "step", "expected_trips")
    _check_body("dynamic_loop", attrs["body"], REGISTER)
    if _writes(attrs["body"], attrs["body"].inputs[0]):
        raise InvalidOp("dynamic_loop: the body writes its index, which only the loop may")
    return ()


_region_op(
    "dynamic_loop",
    "Run the body with a register that holds 0, step, 2 * step, … below what the operand held at "
    "first.",
    _dynamic_loop,
    (Attr("step", int, 1), _EXPECTED, Attr("body", Graph)),
    lambda op: {"body": op.attrs["expected_trips"]},
    kb=kb.Unknown(kb.NOT_UNROLLED),
    **_AT_RUN_TIME,
)


def _while_loop(types: Types, attrs: Attrs) -> tuple[Any, ...]:
    _check_register("while_loop", types[0])
    _check_trips("while_loop", attrs, "expected_trips", "most_trips")
    _check_body("while_loop", attrs["body"])
    return ()


_region_op(
    "while_loop",
    "Run the body, which changes the register, as long as that does not hold zero.",
    _while_loop,
    (
        _EXPECTED,
        Attr("most_trips", int, 1 << 20, "after which the interpreter gives up"),
        Attr("body", Graph),
    ),
    lambda op: {"body": op.attrs["expected_trips"]},
    kb=kb.Unknown(kb.CARRIED),
    **_AT_RUN_TIME,
)


def _if_else(types: Types, attrs: Attrs) -> tuple[Any, ...]:
    check_memory("if_else", types, (ONLY_REG,))
    check_choice("if_else", "likely", attrs["likely"], ("then", "otherwise"))
    for branch in ("then", "otherwise"):
        _check_body("if_else", attrs[branch])
    return ()


_region_op(
    "if_else",
    "Run one region if a loop's index is not zero or a register, which holds 0 or 1, holds 1, and "
    "the other region if not. The simulator runs the likely one.",
    _if_else,
    (Attr("likely", str, "then"), Attr("then", Graph), Attr("otherwise", Graph)),
    lambda op: {op.attrs["likely"]: 1},
    **_AT_RUN_TIME,
)
