"""Elementwise ops of a tensor with numbers or with one value per partition."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Op
from nkigen_lite.core.numerics import ARITHMETIC
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb
from nkigen_lite.nki_ir.emit.calls import (
    Argument,
    Spelling,
    column_text,
    nisa,
    on_engine,
    operand,
    token,
    truth_of,
)
from nkigen_lite.nki_ir.emit.text import Expr, number_text
from nkigen_lite.nki_ir.rows.pointers import column_of, f32, f32_pointer_ok
from nkigen_lite.nki_ir.rows.table import (
    check_choice,
    check_one_psum,
    check_same_shape,
    compute,
)

# What ScalarE does of tensor_scalar, and GpSimd none of it (aws-neuron-sdk, nki.isa.tensor_scalar).
_SCALAR_ENGINE_STEPS = frozenset({("multiply", None), ("add", None), ("multiply", "add")})


def _scalar_count(attrs: Attrs) -> int:
    return sum(
        attrs[i] is None and attrs[o] is not None for i, o in (("imm0", "op0"), ("imm1", "op1"))
    )


def _check_tensor_scalar(types: Types, attrs: Attrs) -> None:
    name = "tensor_scalar_arith"
    for op in (attrs["op0"], attrs["op1"]):
        if op is not None:
            check_choice(name, "op", op, ARITHMETIC)
    check_same_shape(name, types[:2])
    steps = (attrs["op0"], attrs["op1"])
    if attrs["engine"] == "scalar" and steps not in _SCALAR_ENGINE_STEPS:
        raise InvalidOp(
            f"{name}: steps are {' then '.join(filter(None, steps))} but the scalar engine only "
            "multiplies, adds, or multiplies then adds"
        )
    if len(types) - 2 != _scalar_count(attrs):
        raise InvalidOp(
            f"{name}: {len(types) - 2} per-partition operands for {_scalar_count(attrs)} steps "
            "without an immediate"
        )
    for kind in types[2:]:
        f32_pointer_ok(name, kind, types[0].partition_size)


def _tensor_scalar(dst: Array, x: Array, *pointers: Array, **attrs: Any) -> Array:
    waiting = list(pointers)
    value = f32(x)
    for op, imm, reverse in (("op0", "imm0", "reverse0"), ("op1", "imm1", "reverse1")):
        if attrs[op] is None:
            continue
        given = attrs[imm]
        other = column_of(waiting.pop(0), x.ndim) if given is None else np.float32(given)
        pair = (other, value) if attrs[reverse] else (value, other)
        value = np.asarray(ARITHMETIC[attrs[op]](*pair)).astype(np.float32)
    return value


def _scalar(step: int) -> Argument:
    """The immediate of a step, or the next per-partition operand."""

    def make(op: Op, spelling: Spelling) -> Expr | None:
        if op.attrs[f"op{step}"] is None:
            return None
        if op.attrs[f"imm{step}"] is not None:
            return Expr(number_text(op.attrs[f"imm{step}"]))
        return column_text(op.inputs[-1 if step else 2], spelling)

    return make


def _reverse(attr: str) -> Argument:
    return lambda op, spelling: Expr("True") if op.attrs[attr] else None


compute(
    "tensor_scalar_arith",
    "(x op0 s0) op1 s1; each s is an immediate or one f32 value per partition (an operand).",
    _check_tensor_scalar,
    _tensor_scalar,
    engines=("vector", "scalar"),
    arity=(2, 4),
    attrs=(
        Attr("op0", str),
        Attr("imm0", float, None),
        Attr("reverse0", bool, False),
        Attr("op1", str, None),
        Attr("imm1", float, None),
        Attr("reverse1", bool, False),
    ),
    nki=nisa(
        "tensor_scalar",
        bools=truth_of("op0", "op1"),
        dst=operand(0),
        data=operand(1),
        op0=token("op0"),
        operand0=_scalar(0),
        reverse0=_reverse("reverse0"),
        op1=token("op1"),
        operand1=_scalar(1),
        reverse1=_reverse("reverse1"),
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


def _first_scalar(op: Op, spelling: Spelling) -> Expr | None:
    if op.attrs["imm0"] is not None:
        return Expr(number_text(op.attrs["imm0"]))
    return column_text(op.inputs[3], spelling)


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
    nki=nisa(
        "scalar_tensor_tensor",
        bools=truth_of("op0", "op1"),
        dst=operand(0),
        data=operand(1),
        op0=token("op0"),
        operand0=_first_scalar,
        reverse0=_reverse("reverse0"),
        op1=token("op1"),
        operand1=operand(2),
        reverse1=_reverse("reverse1"),
    ),
    kb=kb.scalar_tensor_tensor,
)
