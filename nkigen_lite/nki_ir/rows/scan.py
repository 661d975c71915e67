"""VectorE instructions that carry a value along each partition: reductions on the way, and scans.

Rules and meanings: aws-neuron-sdk, nki.isa reference of tensor_scalar_reduce,
tensor_scalar_cumulative and tensor_tensor_scan (NKI 0.6). Every instruction starts its own
accumulation: what the accumulator registers hold between instructions is not part of the IR.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.ir import Op
from nkigen_lite.core.numerics import ARITHMETIC
from nkigen_lite.core.registry import Attr, Attrs, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.nki_ir.emit import kb_composed
from nkigen_lite.nki_ir.emit.calls import (
    Spelling,
    column,
    flag,
    literal,
    nisa,
    number_or_column,
    operand,
    token,
    truth_of,
)
from nkigen_lite.nki_ir.emit.text import Expr
from nkigen_lite.nki_ir.rows.pointers import column_of, f32, f32_pointer_ok, pointer_ok
from nkigen_lite.nki_ir.rows.table import (
    check_choice,
    check_one_psum,
    check_same_shape,
    compute,
)

# --- tensor and scalar, reduced ------------------------------------------------------------------

_ROW_REDUCTIONS: dict[str, Callable[..., Array]] = {
    "add": np.sum,
    "multiply": np.prod,
    "maximum": np.max,
    "minimum": np.min,
}


def _check_column(name: str, types: Types, number: float | None, attr: str, rows: int) -> None:
    """The operands left over are one f32 column if ``attr`` holds no number, else none."""
    wanted = 1 if number is None else 0
    if len(types) != wanted:
        raise InvalidOp(
            f"{name}: {len(types)} per-partition operands but {wanted} goes with {attr}={number}"
        )
    for kind in types:
        f32_pointer_ok(name, kind, rows)


def _check_scalar_reduce(types: Types, attrs: Attrs) -> None:
    name = "tensor_scalar_reduce"
    dst, result, src = types[:3]
    check_choice(name, "op0", attrs["op0"], ARITHMETIC)
    check_choice(name, "reduce_op", attrs["reduce_op"], _ROW_REDUCTIONS)
    check_same_shape(name, (dst, src))
    pointer_ok(name, result, dst.partition_size)
    _check_column(name, types[3:], attrs["imm0"], "imm0", dst.partition_size)


def _with_scalar(src: Array, column: tuple[Array, ...], op0: str, imm0: float | None) -> Array:
    other = column_of(column[0], src.ndim) if imm0 is None else np.asarray(imm0, np.float32)
    return np.asarray(ARITHMETIC[op0](f32(src), other)).astype(np.float32)


def _scalar_reduce(
    dst: Array,
    result: Array,
    src: Array,
    *column: Array,
    op0: str,
    reduce_op: str,
    imm0: float | None,
    negate: bool,
    engine: str,
) -> tuple[Array, Array]:
    made = _with_scalar(src, column, op0, imm0)
    reduced = _ROW_REDUCTIONS[reduce_op](made, axis=tuple(range(1, made.ndim)))
    return made, (-reduced if negate else reduced).reshape(result.shape)


compute(
    "tensor_scalar_reduce",
    "dst = src op0 s, and result = its reduction over the free dimensions, negated if asked; s is "
    "an immediate or one f32 value per partition. Operands: dst, result, src and, if given, s.",
    _check_scalar_reduce,
    _scalar_reduce,
    engines=("vector",),
    arity=(3, 4),
    attrs=(
        Attr("op0", str),
        Attr("reduce_op", str),
        Attr("imm0", float, None),
        Attr("negate", bool, False),
    ),
    effects=("write 0", "write 1"),
    full=(0, 2),
    nki=nisa(
        "tensor_scalar_reduce",
        bools=truth_of("op0"),
        dst=operand(0),
        data=operand(2),
        op0=token("op0"),
        operand0=number_or_column("imm0", 3),
        reduce_op=token("reduce_op"),
        reduce_res=column(1),
        reduce_res_negate=flag("negate"),
    ),
    kb=kb_composed.tensor_scalar_reduce,
)

# --- tensor and scalar, accumulated --------------------------------------------------------------

_STARTS = {
    "add": 0.0,
    "subtract": 0.0,
    "multiply": 1.0,
    "maximum": -np.inf,
    "minimum": np.inf,
}
"""What an accumulation starts from when nothing else is said."""

_NO_32_BIT_INTEGERS = (DType.I32, DType.U32)


def _check_cumulative(types: Types, attrs: Attrs) -> None:
    name = "tensor_scalar_cumulative"
    check_choice(name, "op0", attrs["op0"], ARITHMETIC)
    check_choice(name, "op1", attrs["op1"], _STARTS)
    check_same_shape(name, types[:2])
    for kind in types[:2]:
        if kind.dtype in _NO_32_BIT_INTEGERS:
            raise InvalidOp(f"{name}: dtype is {kind.dtype} but must not be of i32 or u32")
    _check_column(name, types[2:], attrs["imm0"], "imm0", types[0].partition_size)


def _running(first: Array, step: Callable[[Array, int], Array], count: int) -> Array:
    """The states after each of ``count`` steps, as columns."""
    state, states = first.astype(np.float32), []
    for i in range(count):
        state = np.asarray(step(state, i)).astype(np.float32)
        states.append(state)
    return np.stack(states, axis=1)


def _cumulative(
    dst: Array,
    src: Array,
    *column: Array,
    op0: str,
    op1: str,
    imm0: float | None,
    initial: float | None,
    engine: str,
) -> Array:
    flat = _with_scalar(src, column, op0, imm0).reshape(len(src), -1)
    start = _STARTS[op1] if initial is None else initial
    first = np.full(len(src), start, np.float32)
    combine = ARITHMETIC[op1]
    made = _running(first, lambda state, i: combine(flat[:, i], state), flat.shape[1])
    return made.reshape(dst.shape)


def _load_reduce(op: Op, spelling: Spelling) -> Expr | None:
    return None if op.attrs["initial"] is None else Expr("nisa.reduce_cmd.load_reduce")


compute(
    "tensor_scalar_cumulative",
    "state = (src op0 s) op1 state along the free elements, which dst holds; s is an immediate or "
    "one f32 value per partition (an operand).",
    _check_cumulative,
    _cumulative,
    engines=("vector",),
    arity=(2, 3),
    attrs=(
        Attr("op0", str),
        Attr("op1", str),
        Attr("imm0", float, None),
        Attr("initial", float, None, "the first state; by default what op1 leaves alone"),
    ),
    full=(0, 1),
    nki=nisa(
        "tensor_scalar_cumulative",
        bools=lambda op: False,
        dst=operand(0),
        src=operand(1),
        op0=token("op0"),
        op1=token("op1"),
        imm0=number_or_column("imm0", 2),
        imm1=literal("initial"),
        reduce_cmd=_load_reduce,
    ),
    kb=kb_composed.tensor_scalar_cumulative(_STARTS),
)

# --- two tensors ---------------------------------------------------------------------------------


def _check_scan(types: Types, attrs: Attrs) -> None:
    name = "tensor_tensor_scan"
    for place in ("op0", "op1"):
        check_choice(name, place, attrs[place], ARITHMETIC)
    check_same_shape(name, types[:3])
    check_one_psum(name, types[1:3])
    for kind in types[3:]:
        pointer_ok(name, kind, types[0].partition_size)
    if (len(types) == 3) == (attrs["initial"] is None):
        raise InvalidOp(
            f"{name}: {len(types) - 3} per-partition operands but one stands for initial, which is "
            f"{attrs['initial']}"
        )


def _scan(
    dst: Array,
    a: Array,
    b: Array,
    *column: Array,
    op0: str,
    op1: str,
    initial: float | None,
    reverse0: bool,
    reverse1: bool,
    engine: str,
) -> Array:
    left, right = (f32(x).reshape(len(x), -1) for x in (a, b))
    first = np.full(len(a), initial, np.float32) if initial is not None else column[0].reshape(-1)

    def step(state: Array, i: int) -> Array:
        pair = (state, left[:, i]) if reverse0 else (left[:, i], state)
        between = np.asarray(ARITHMETIC[op0](*pair)).astype(np.float32)
        pair = (right[:, i], between) if reverse1 else (between, right[:, i])
        return ARITHMETIC[op1](*pair)

    return _running(first, step, left.shape[1]).reshape(dst.shape)


compute(
    "tensor_tensor_scan",
    "state = (a op0 state) op1 b along the free elements, which dst holds; the first state is "
    "initial, a number or one value per partition (the last operand).",
    _check_scan,
    _scan,
    engines=("vector",),
    arity=(3, 4),
    attrs=(
        Attr("op0", str),
        Attr("op1", str),
        Attr("initial", float, None),
        Attr("reverse0", bool, False),
        Attr("reverse1", bool, False),
    ),
    full=(0, 1, 2),
    nki=nisa(
        "tensor_tensor_scan",
        bools=truth_of("op0", "op1"),
        dst=operand(0),
        data0=operand(1),
        data1=operand(2),
        initial=number_or_column("initial", 3),
        op0=token("op0"),
        op1=token("op1"),
        reverse0=flag("reverse0"),
        reverse1=flag("reverse1"),
    ),
    kb=kb_composed.tensor_tensor_scan,
)
