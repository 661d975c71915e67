"""What programs spell out with several ops, for random graphs; see graph_strategy.

Passes look for these, so they must turn up more often than ops drawn at random would make them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from graph_draft import Draft
from hypothesis import strategies as st

from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import Value
from nkigen_lite.tensor_ir.rows import TENSOR

Maybe = Value | None  # None once a part would not be finite; emit passes it on


def _number(draft: Draft, like: Value, number: float) -> Value:
    """A constant of the dtype of ``like``, as a scalar or in its shape."""
    shape = like.type.shape if draft.chance() else ()
    return draft.constant(shape, number, like.type.dtype)


def _floats(draft: Draft, like: str = "exp") -> Value | None:
    return draft.operand(TENSOR[like])


def _product(draft: Draft, factors: list[Maybe]) -> Maybe:
    """The factors in any order and association."""
    while len(factors) > 1:
        left = factors.pop(draft.index(len(factors)))
        right = factors.pop(draft.index(len(factors)))
        factors.append(draft.emit("mul", left, right))
    return factors[0]


def _inverse_root(draft: Draft) -> None:
    x = _floats(draft, "sqrt")
    if x is not None:
        root = draft.emit("sqrt", x)
        numerator = _number(draft, x, 1) if draft.chance() else x
        draft.emit("div", numerator, root)
        draft.emit("reciprocal", root)


def _one_plus_exp(draft: Draft, x: Value) -> Maybe:
    minus = draft.emit("neg", x) if draft.chance() else draft.emit("mul", x, _number(draft, x, -1))
    return draft.emit("add", _number(draft, x, 1), draft.emit("exp", minus))


def _logistic(draft: Draft) -> None:
    x = _floats(draft)
    if x is not None:
        below = _one_plus_exp(draft, x)
        numerator = _number(draft, x, 1) if draft.chance() else x
        quotient = draft.emit("div", numerator, below)
        draft.emit("mul", quotient, x)


def _gelu(draft: Draft) -> None:
    x = _floats(draft)
    if x is None:
        return
    if draft.chance():
        bent = draft.emit("erf", draft.emit("mul", x, _number(draft, x, math.sqrt(0.5))))
    else:
        cube = _product(draft, [x, x, x, _number(draft, x, 0.044715)])
        inner = draft.emit("add", x, cube)
        bent = draft.emit("tanh", _product(draft, [inner, _number(draft, x, 0.7978845608)]))
    outer = draft.emit("add", bent, _number(draft, x, 1))
    _product(draft, [outer, x, _number(draft, x, 0.5)])


def _mean(draft: Draft) -> None:
    x = _floats(draft)
    if x is None or not x.type.rank:
        return
    axis = draft.index(x.type.rank)
    total = draft.emit("reduce", x, axis=axis, kind="sum", keepdims=draft.chance())
    count = x.type.shape[axis] + (draft.index(4) == 3)  # now and then it is not the count
    if total is not None and draft.chance():
        draft.emit("mul", total, _number(draft, total, 1 / count))
    elif total is not None:
        draft.emit("div", total, _number(draft, total, count))


def _reductions(draft: Draft) -> None:
    x = _floats(draft, "add")
    if x is None or x.type.rank < 2:
        return
    kinds = ("sum", "max", "min", "mean") if x.type.dtype.is_float else ("sum", "max", "min")
    kind = draft.choose(kinds)
    first = draft.emit(
        "reduce", x, axis=draft.index(x.type.rank), kind=kind, keepdims=draft.chance()
    )
    if first is None:
        return
    axis = draft.index(first.type.rank)
    other = draft.choose(kinds) if draft.chance() else kind
    second = draft.emit("reduce", first, axis=axis, kind=other, keepdims=draft.chance())
    if second is not None:
        draft.emit("reshape", second, shape=(1, *(n for n in second.type.shape if n != 1)))


def _moved_broadcast(draft: Draft) -> None:
    x = draft.values[-1]
    lead = (2,) if draft.chance() else ()
    wide = (*lead, *(draft.choose((1, 3)) if n == 1 else n for n in x.type.shape))
    value = draft.emit("broadcast_to", x, shape=wide)
    if value is None:
        return
    at = draft.index(len(wide) + 1)
    perm = tuple(draft.draw(st.permutations(range(len(wide)))))
    starts = tuple(draft.index(n) for n in wide)
    moves: list[tuple[str, dict[str, object]]] = [
        ("reshape", {"shape": (*wide[:at], 1, *wide[at:])}),
        ("reshape", {"shape": tuple(n for n in wide if n != 1)}),
        ("transpose", {"perm": perm}),
        ("slice", {"starts": starts, "stops": wide}),
        ("broadcast_to", {"shape": (2, *wide)}),
    ]
    for opcode, attrs in (draft.choose(moves), ("neg", {})):
        value = draft.emit(opcode, value, **attrs)


def _decided(draft: Draft) -> None:
    x = draft.operand(TENSOR["where"])
    if x is not None:
        condition = draft.constant((), draft.index(2), DType.BOOL)
        draft.emit("where", condition, x, draft.partner(TENSOR["where"], x))


def _softmax(draft: Draft) -> None:
    x = _floats(draft)
    if x is None or not x.type.rank:
        return
    axis = draft.index(x.type.rank)

    def along(value: Maybe, kind: str) -> Maybe:
        reduced = draft.emit("reduce", value, axis=axis, kind=kind)
        units = tuple(1 if i == axis else n for i, n in enumerate(x.type.shape))
        return draft.emit(
            "broadcast_to", draft.emit("reshape", reduced, shape=units), shape=x.type.shape
        )

    powers = draft.emit("exp", draft.emit("sub", x, along(x, "max")))
    draft.emit("div", powers, along(powers, "sum"))


def _whole_quotient(draft: Draft) -> None:
    x = _floats(draft, "div")
    if x is None:
        return
    quotient = draft.emit("div", x, draft.partner(TENSOR["div"], x))
    if draft.chance():
        draft.emit(draft.choose(("floor", "ceil")), quotient)
    else:
        draft.emit("cast", quotient, dtype=DType.I32)


def _casts(draft: Draft) -> None:
    x = draft.operand(TENSOR["add"])
    if x is None:
        return
    if draft.chance():
        compare = draft.emit("greater", x, draft.partner(TENSOR["greater"], x))
        condition = draft.emit("cast", compare, dtype=draft.choose((DType.BOOL, DType.F32)))
        draft.emit("where", condition, x, draft.partner(TENSOR["add"], x))
    else:
        wide = draft.emit("cast", x, dtype=draft.choose((DType.F32, DType.BF16, DType.I32)))
        back = draft.choose((x.type.dtype, draft.choose(draft.dtypes)))
        draft.emit("cast", wide, dtype=back)


def _windows(draft: Draft) -> None:
    x = draft.values[-1]
    if not x.type.rank:
        return
    axis = draft.index(x.type.rank)
    extent = x.type.shape[axis]
    cuts = sorted({0, extent, *(draft.index(extent + 1) for _ in range(2))})
    parts = [_window(draft, x, axis, cuts[i], cuts[i + 1]) for i in range(len(cuts) - 1)]
    if draft.chance():
        parts.reverse()
    parts += [x] if len(parts) == 1 or draft.chance() else []
    if None in parts:
        return
    whole = draft.emit("concat", *parts, axis=axis)
    if whole is not None:
        start = draft.index(whole.type.shape[axis])
        _window(draft, whole, axis, start, whole.type.shape[axis])


def _window(draft: Draft, x: Value, axis: int, start: int, stop: int) -> Maybe:
    rank = x.type.rank
    starts = tuple(start if i == axis else 0 for i in range(rank))
    stops = tuple(stop if i == axis else n for i, n in enumerate(x.type.shape))
    return draft.emit("slice", x, starts=starts, stops=stops)


PHRASES: dict[str, Callable[[Draft], None]] = {
    "inverse root": _inverse_root,
    "logistic": _logistic,
    "gelu spelled out": _gelu,
    "mean spelled out": _mean,
    "chain of reductions": _reductions,
    "moved broadcast": _moved_broadcast,
    "decided choice": _decided,
    "softmax": _softmax,
    "whole quotient": _whole_quotient,
    "chain of casts": _casts,
    "windows": _windows,
}
