"""Elementwise ops of a tensor with numbers or with one value per partition."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Op
from nkigen_lite.core.numerics import ARITHMETIC, UNARY
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb, kb_composed
from nkigen_lite.nki_ir.emit.calls import (
    Argument,
    Spelling,
    column_text,
    flag,
    literal,
    nisa,
    number_or_column,
    on_engine,
    operand,
    token,
    truth_of,
)
from nkigen_lite.nki_ir.emit.text import Expr, number_text
from nkigen_lite.nki_ir.rows.compute import BITS
from nkigen_lite.nki_ir.rows.pointers import column_of, f32, f32_pointer_ok
from nkigen_lite.nki_ir.rows.table import (
    TRN1,
    TRN2,
    check_choice,
    check_one_psum,
    check_same_shape,
    compute,
)

# What ScalarE and GpSimd do of tensor_scalar (aws-neuron-sdk, nki.isa.tensor_scalar).
_STEPS_OF: dict[str, set[tuple[str, str | None]]] = {
    "scalar": {("multiply", None), ("add", None), ("multiply", "add")},
    "gpsimd": {("rsqrt", None)},
}
_STEPS_TEXT = {
    "scalar": "multiplies, adds, or multiplies then adds",
    "gpsimd": "takes the reciprocal square root",
}


def _takes_operand(attrs: Attrs, step: int) -> bool:
    """Whether a step reads a per-partition operand."""
    op = attrs[f"op{step}"]
    return op is not None and op not in UNARY and attrs[f"imm{step}"] is None


def _check_tensor_scalar(types: Types, attrs: Attrs) -> None:
    name = "tensor_scalar_arith"
    for step in (0, 1):
        op = attrs[f"op{step}"]
        if op is not None:
            check_choice(name, "op", op, ARITHMETIC | UNARY)
        if op in UNARY and (attrs[f"imm{step}"] is not None or attrs[f"reverse{step}"]):
            raise InvalidOp(f"{name}: {op} has an immediate or is reversed but takes one operand")
    check_same_shape(name, types[:2])
    steps, engine = (attrs["op0"], attrs["op1"]), attrs["engine"]
    if steps not in _STEPS_OF.get(engine, {steps}):
        raise InvalidOp(
            f"{name}: steps are {' then '.join(filter(None, steps))} but the {engine} engine only "
            f"{_STEPS_TEXT[engine]}"
        )
    if "rsqrt" in steps and engine != "gpsimd":
        raise InvalidOp(f"{name}: rsqrt is asked of the {engine} engine but only gpsimd has it")
    wanted = sum(_takes_operand(attrs, step) for step in (0, 1))
    if len(types) - 2 != wanted:
        raise InvalidOp(
            f"{name}: {len(types) - 2} per-partition operands for {wanted} steps without an "
            "immediate"
        )
    for kind in types[2:]:
        f32_pointer_ok(name, kind, types[0].partition_size)


def _tensor_scalar(dst: Array, x: Array, *pointers: Array, **attrs: Any) -> Array:
    waiting = list(pointers)
    value = f32(x)
    for step in (0, 1):
        op, given = attrs[f"op{step}"], attrs[f"imm{step}"]
        if op is None:
            continue
        if op in UNARY:
            value = UNARY[op](value)
            continue
        other = column_of(waiting.pop(0), x.ndim) if given is None else np.float32(given)
        pair = (other, value) if attrs[f"reverse{step}"] else (value, other)
        value = np.asarray(ARITHMETIC[op](*pair)).astype(np.float32)
    return value


def _scalar(step: int) -> Argument:
    """The immediate of a step (0.0 where it takes none), or the next per-partition operand."""

    def make(op: Op, spelling: Spelling) -> Expr | None:
        if _takes_operand(op.attrs, step):
            return column_text(op.inputs[-1 if step else 2], spelling)
        if op.attrs[f"op{step}"] is None:
            return None
        given = op.attrs[f"imm{step}"]
        return Expr(number_text(0.0 if given is None else given))

    return make


compute(
    "tensor_scalar_arith",
    "(x op0 s0) op1 s1; each s is an immediate or one f32 value per partition (an operand), and "
    "none where the operation is of x alone.",
    _check_tensor_scalar,
    _tensor_scalar,
    engines=("vector", "scalar", "gpsimd"),
    arity=(2, 4),
    attrs=(
        Attr("op0", str),
        Attr("imm0", float, None),
        Attr("reverse0", bool, False),
        Attr("op1", str, None),
        Attr("imm1", float, None),
        Attr("reverse1", bool, False),
    ),
    full=(0, 1),
    version=lambda op: TRN2 if op.attrs["engine"] == "scalar" else TRN1,
    nki=nisa(
        "tensor_scalar",
        bools=truth_of("op0", "op1"),
        dst=operand(0),
        data=operand(1),
        op0=token("op0"),
        operand0=_scalar(0),
        reverse0=flag("reverse0"),
        op1=token("op1"),
        operand1=_scalar(1),
        reverse1=flag("reverse1"),
        engine=on_engine(),
    ),
    kb=kb.tensor_scalar,
)

# --- tensor, scalar and tensor --------------------------------------------------------------------


def _check_scalar_tensor_tensor(types: Types, attrs: Attrs) -> None:
    name = "scalar_tensor_tensor_arith"
    for op in (attrs["op0"], attrs["op1"]):
        check_choice(name, "op", op, ARITHMETIC)
    check_same_shape(name, types[:3])
    check_one_psum(name, types[1:3])
    wanted = 1 if attrs["imm0"] is None else 0
    if len(types) - 3 != wanted:
        raise InvalidOp(
            f"{name}: {len(types) - 3} per-partition operands but {wanted} goes with "
            f"imm0={attrs['imm0']}"
        )
    for kind in types[3:]:
        f32_pointer_ok(name, kind, types[0].partition_size)


def _scalar_tensor_tensor(
    dst: Array, x: Array, tensor: Array, *pointers: Array, **attrs: Any
) -> Array:
    first = {key: attrs[key] for key in ("op0", "imm0", "reverse0")}
    between = _tensor_scalar(dst, x, *pointers, **first, op1=None, imm1=None, reverse1=False)
    pair = (f32(tensor), between) if attrs["reverse1"] else (between, f32(tensor))
    return np.asarray(ARITHMETIC[attrs["op1"]](*pair)).astype(np.float32)


compute(
    "scalar_tensor_tensor_arith",
    "(x op0 s) op1 tensor; s is an immediate or one f32 value per partition (an operand).",
    _check_scalar_tensor_tensor,
    _scalar_tensor_tensor,
    engines=("vector",),
    arity=(3, 4),
    attrs=(
        Attr("op0", str),
        Attr("op1", str),
        Attr("imm0", float, None),
        Attr("reverse0", bool, False),
        Attr("reverse1", bool, False),
    ),
    full=(0, 1, 2),
    nki=nisa(
        "scalar_tensor_tensor",
        bools=truth_of("op0", "op1"),
        dst=operand(0),
        data=operand(1),
        op0=token("op0"),
        operand0=number_or_column("imm0", 3),
        reverse0=flag("reverse0"),
        op1=token("op1"),
        operand1=operand(2),
        reverse1=flag("reverse1"),
    ),
    kb=kb.scalar_tensor_tensor,
)

# --- bits ----------------------------------------------------------------------------------------


def _check_scalar_bits(types: Types, attrs: Attrs) -> None:
    name = "tensor_scalar_bitvec"
    check_same_shape(name, types)
    if types[0].dtype.is_float or types[0].dtype != types[1].dtype:
        raise InvalidOp(f"{name}: {types[1].dtype} to {types[0].dtype}: both must be one integer "
                        "type")  # fmt: skip
    for step in (0, 1):
        op, given = attrs[f"op{step}"], attrs[f"imm{step}"]
        if op is not None:
            check_choice(name, "op", op, (*BITS, "invert"))
        if (given is None) != (op is None or op == "invert"):
            raise InvalidOp(f"{name}: the immediate of {op} is {given} but it must have one unless "
                            "it is invert")  # fmt: skip


def _scalar_bits(dst: Array, x: Array, engine: str, **attrs: Any) -> Array:
    value = x
    for step in (0, 1):
        op, given = attrs[f"op{step}"], attrs[f"imm{step}"]
        if op == "invert":
            value = np.invert(value)
        elif op is not None:
            # Like the register that holds it, an immediate is cut to the type's bits.
            value = BITS[op](value, np.asarray(given, np.int64).astype(x.dtype))
    return value


compute(
    "tensor_scalar_bitvec",
    "(x op0 imm0) op1 imm1 on the bits of integers; invert takes no immediate.",
    _check_scalar_bits,
    _scalar_bits,
    engines=("vector",),
    arity=(2, 2),
    attrs=(
        Attr("op0", str),
        Attr("imm0", int, None),
        Attr("op1", str, None),
        Attr("imm1", int, None),
    ),
    nki=nisa(
        "tensor_scalar",
        bools=lambda op: False,
        dst=operand(0),
        data=operand(1),
        op0=token("op0"),
        operand0=lambda op, spelling: Expr(str(op.attrs["imm0"] or 0)),
        op1=token("op1"),
        operand1=literal("imm1"),
    ),
    kb=kb_composed.tensor_scalar_bitvec,
)
