"""How each op of tensor_ir joins a random graph; see graph_strategy."""

from __future__ import annotations

from collections.abc import Callable

from graph_draft import EXTENTS, NUMBERS, Draft, broadcasts
from hypothesis import strategies as st

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.core.registry import OpDef
from nkigen_lite.tensor_ir.rows import TENSOR


def pointwise(draft: Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    if x is None:
        return None
    operands = [x] if row.arity == (1, 1) else [x, draft.partner(row, x)]
    if len(operands) == 2 and row.sample == "normal" and draft.chance():
        operands.reverse()
    attrs = {"dtype": DType.BOOL} if row.dtypes == "any" and draft.chance() else {}
    return draft.emit(row.name, *operands, **attrs)


def _power(draft: Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    if x is None:
        return None
    if not x.type.dtype.is_float:  # integers have no decomposition for other exponents
        return draft.emit("power", x, draft.constant((), draft.index(4), x.type.dtype))
    if draft.chance():
        return draft.emit("power", x, draft.partner(TENSOR["add"], x))
    exponent = draft.choose((-8, -3, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 7))
    return draft.emit("power", x, draft.constant((), exponent, x.type.dtype))


def _cast(draft: Draft, row: OpDef) -> Value | None:
    return draft.emit("cast", draft.operand(row), dtype=draft.choose(draft.dtypes))


def _where(draft: Draft, row: OpDef) -> Value | None:
    yes = draft.operand(row)
    no = draft.partner(row, yes)
    shape = yes.type.shape[draft.index(len(yes.type.shape) + 1) :]
    known = [v for v in draft.values if broadcasts(v.type.shape, yes.type.shape)]
    condition = draft.choose(known) if draft.chance() else draft.new_input(shape, DType.BOOL)
    return draft.emit("where", condition, yes, no)


def _constant(draft: Draft, row: OpDef) -> Value | None:
    return draft.constant(draft.shape(), draft.choose(NUMBERS), draft.choose(draft.dtypes))


def _iota(draft: Draft, row: OpDef) -> Value | None:
    shape = draft.shape() or (3,)
    dtype = draft.choose(draft.dtypes)
    return draft.emit("iota", shape=shape, dim=draft.index(len(shape)), dtype=dtype)


def _reduce(draft: Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    if x is None or not x.type.rank:
        return None
    axes = tuple(i for i in range(x.type.rank) if draft.chance()) or (draft.index(x.type.rank),)
    kind = draft.choose(("sum", "max", "min", "mean"))
    return draft.emit("reduce", x, axis=axes, kind=kind, keepdims=draft.chance())


def _matmul(draft: Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    if x is None or not x.type.rank:
        return None
    batch, inner = x.type.shape[:-2], x.type.shape[-1]
    batch = batch[draft.index(len(batch) + 1) :]
    columns = (*batch, inner, draft.choose(EXTENTS))
    y = draft.new_input(draft.choose([columns, (inner,)]), x.type.dtype)
    if y.type.rank > 2 or not draft.chance():
        return draft.emit("matmul", x, y)
    wide = draft.emit("broadcast_to", y, shape=(*x.type.shape[:-2], *y.type.shape))
    return draft.emit("matmul", x, wide or y)


def _transpose(draft: Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    perm = draft.draw(st.permutations(range(x.type.rank)))
    return draft.emit("transpose", x, perm=tuple(perm))


def _reshape(draft: Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    shape = list(x.type.shape)
    if len(shape) > 1 and draft.chance():
        at = draft.index(len(shape) - 1)
        shape[at : at + 2] = [shape[at] * shape[at + 1]]
    if shape and draft.chance():
        at = draft.index(len(shape))
        factor = draft.choose([n for n in range(1, shape[at] + 1) if shape[at] % n == 0])
        shape[at : at + 1] = [factor, shape[at] // factor]
    if draft.chance():
        shape = [n for n in shape if n != 1]
    return draft.emit("reshape", x, shape=tuple(shape))


def _broadcast_to(draft: Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    shape = tuple(draft.choose((1, 2, 3)) if n == 1 else n for n in x.type.shape)
    lead = (draft.choose((1, 2, 3)),) if draft.chance() else ()
    return draft.emit("broadcast_to", x, shape=(*lead, *shape))


def _slice(draft: Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    starts = tuple(draft.index(n) for n in x.type.shape)
    pairs = zip(starts, x.type.shape, strict=True)
    stops = tuple(start + 1 + draft.index(n - start) for start, n in pairs)
    strides = tuple(draft.choose((1, 1, 1, 2, 3)) for _ in starts)
    return draft.emit("slice", x, starts=starts, stops=stops, strides=strides)


def _concat(draft: Draft, row: OpDef) -> Value | None:
    x = draft.operand(row)
    if not x.type.rank:
        return None
    axis = draft.index(x.type.rank)
    parts = []
    for _ in range(2 + draft.index(3)):
        shape = tuple(
            draft.choose((1, 2, 3)) if i == axis else n for i, n in enumerate(x.type.shape)
        )
        makers = (
            lambda: x,
            lambda shape=shape: draft.new_input(shape, x.type.dtype),
            lambda shape=shape: draft.constant(shape, 1, x.type.dtype),
            lambda: parts[-1] if parts else x,
        )
        parts.append(makers[draft.index(len(makers))]())
    return draft.emit("concat", *parts, axis=axis)


MAKERS: dict[str, Callable[[Draft, OpDef], Value | None]] = {
    "power": _power,
    "cast": _cast,
    "where": _where,
    "constant": _constant,
    "iota": _iota,
    "reduce": _reduce,
    "matmul": _matmul,
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast_to": _broadcast_to,
    "slice": _slice,
    "concat": _concat,
}
