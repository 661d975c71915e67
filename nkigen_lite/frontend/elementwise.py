"""Rows of the ufuncs that are one op, or a cast and one op; ``composites`` holds the others.

Operands meet in one type by the rules of ``promotion``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import DType
from nkigen_lite.frontend.array import TracedArray
from nkigen_lite.frontend.promotion import result_type
from nkigen_lite.frontend.recorder import Recorder
from nkigen_lite.frontend.table import define_ufunc, traces

Unary = Callable[[Recorder, Any], TracedArray]
Binary = Callable[[Recorder, Any, Any], TracedArray]


def arithmetic(opcode: str) -> Binary:
    """Any number type; bools count as i32."""

    def apply(r: Recorder, x1: Any, x2: Any) -> TracedArray:
        return r.op(opcode, *r.common(x1, x2, bools=DType.I32))

    return apply


def float_binary(opcode: str) -> Binary:
    """Float types; integers and bools count as f32."""

    def apply(r: Recorder, x1: Any, x2: Any) -> TracedArray:
        return r.op(opcode, *r.common(x1, x2, bools=DType.F32, integers=DType.F32))

    return apply


def pick(opcode: str, of_bools: str) -> Binary:
    """Maximum and minimum; on bools they are or and and."""

    def apply(r: Recorder, x1: Any, x2: Any) -> TracedArray:
        a, b = r.common(x1, x2)
        return r.op(of_bools if a.element is DType.BOOL else opcode, a, b)

    return apply


def compare(opcode: str) -> Binary:
    def apply(r: Recorder, x1: Any, x2: Any) -> TracedArray:
        return r.op(opcode, *r.common(x1, x2), dtype=DType.BOOL)

    return apply


def bitwise(opcode: str) -> Binary:
    """Integers and bools."""

    def apply(r: Recorder, x1: Any, x2: Any) -> TracedArray:
        a, b = r.common(x1, x2)
        if a.element.is_float:
            raise r.error(f"operands are {a.element} but bits belong to integers and bools")
        return r.op(opcode, a, b)

    return apply


def logical(opcode: str) -> Binary:
    """Truth of anything: not zero."""

    def apply(r: Recorder, x1: Any, x2: Any) -> TracedArray:
        return r.op(opcode, r.boolean(x1), r.boolean(x2))

    return apply


def float_unary(opcode: str) -> Unary:
    """Float types; integers and bools count as f32."""

    def apply(r: Recorder, x: Any) -> TracedArray:
        return r.op(opcode, r.floating(x))

    return apply


def whole(opcode: str) -> Unary:
    """Rounding to whole numbers, which integers are already."""

    def apply(r: Recorder, x: Any) -> TracedArray:
        lifted = r.lift(x)
        return r.op(opcode, lifted) if lifted.element.is_float else lifted

    return apply


def _negative(r: Recorder, x: Any) -> TracedArray:
    lifted = r.lift(x)
    if lifted.element is DType.BOOL:
        raise r.error("a bool has no negative; use ~ or np.logical_not")
    return r.op("neg", lifted)


def _absolute(r: Recorder, x: Any) -> TracedArray:
    lifted = r.lift(x)
    return lifted if lifted.element is DType.BOOL else r.op("abs", lifted)


def _fabs(r: Recorder, x: Any) -> TracedArray:
    return r.op("abs", r.floating(x))


def _sign(r: Recorder, x: Any) -> TracedArray:
    return r.op("sign", r.number(x))


def _square(r: Recorder, x: Any) -> TracedArray:
    lifted = r.number(x)
    return r.op("square", lifted) if lifted.element.is_float else r.op("mul", lifted, lifted)


def _reciprocal(r: Recorder, x: Any) -> TracedArray:
    lifted = r.lift(x)
    if not lifted.element.is_float:
        raise r.error(
            f"of {lifted.element} would be 0 nearly everywhere; use 1 / x for the quotient"
        )
    return r.op("reciprocal", lifted)


def _invert(r: Recorder, x: Any) -> TracedArray:
    lifted = r.lift(x)
    if lifted.element.is_float:
        raise r.error(f"operand is {lifted.element} but bits belong to integers and bools")
    if lifted.element is DType.BOOL:
        return r.op("bitwise_xor", lifted, r.constant(True, (), DType.BOOL))
    ones = np.iinfo(lifted.dtype).max if lifted.dtype.kind == "u" else -1
    return r.op("bitwise_xor", lifted, r.constant(ones, (), lifted.element))


def _logical_not(r: Recorder, x: Any) -> TracedArray:
    return _invert(r, r.boolean(x))


def _isnan(r: Recorder, x: Any) -> TracedArray:
    lifted = r.lift(x)
    return r.op("not_equal", lifted, lifted, dtype=DType.BOOL)


def _isfinite(r: Recorder, x: Any) -> TracedArray:
    return _against_infinity(r, x, "less")


def _isinf(r: Recorder, x: Any) -> TracedArray:
    return _against_infinity(r, x, "equal")


def _against_infinity(r: Recorder, x: Any, opcode: str) -> TracedArray:
    """|x| compared with infinity; NaN compares false."""
    size = _fabs(r, x)
    if size.element.itemsize == 1:  # fp8, of which not every kind has an infinity
        size = r.cast(size, DType.F32)
    infinity = r.constant(np.inf, (), size.element)
    return r.op(opcode, size, infinity, dtype=DType.BOOL)


def _divmod(r: Recorder, x1: Any, x2: Any) -> tuple[TracedArray, TracedArray]:
    return arithmetic("floor_divide")(r, x1, x2), arithmetic("mod")(r, x1, x2)


_ROWS: dict[str, Callable[..., Any]] = {
    "add": arithmetic("add"),
    "subtract": arithmetic("sub"),
    "multiply": arithmetic("mul"),
    "divide": float_binary("div"),
    "floor_divide": arithmetic("floor_divide"),
    "remainder": arithmetic("mod"),
    "divmod": _divmod,
    "maximum": pick("maximum", "bitwise_or"),
    "minimum": pick("minimum", "bitwise_and"),
    "equal": compare("equal"),
    "not_equal": compare("not_equal"),
    "greater": compare("greater"),
    "greater_equal": compare("greater_equal"),
    "less": compare("less"),
    "less_equal": compare("less_equal"),
    "bitwise_and": bitwise("bitwise_and"),
    "bitwise_or": bitwise("bitwise_or"),
    "bitwise_xor": bitwise("bitwise_xor"),
    "logical_and": logical("bitwise_and"),
    "logical_or": logical("bitwise_or"),
    "logical_xor": logical("bitwise_xor"),
    "logical_not": _logical_not,
    "invert": _invert,
    "negative": _negative,
    "positive": lambda r, x: r.lift(x),
    "absolute": _absolute,
    "fabs": _fabs,
    "sign": _sign,
    "square": _square,
    "reciprocal": _reciprocal,
    "exp": float_unary("exp"),
    "log": float_unary("log"),
    "sqrt": float_unary("sqrt"),
    "tanh": float_unary("tanh"),
    "sin": float_unary("sin"),
    "cos": float_unary("cos"),
    "arctan": float_unary("arctan"),
    "floor": whole("floor"),
    "ceil": whole("ceil"),
    "isnan": _isnan,
    "isfinite": _isfinite,
    "isinf": _isinf,
    # scipy.special's ufuncs for two ops that numpy has no name for
    "erf": float_unary("erf"),
    "expit": float_unary("sigmoid"),
}
for _name, _apply in _ROWS.items():
    define_ufunc(_name, _apply)


@traces(np.where)
def _where(r: Recorder, condition: Any, x: Any = None, y: Any = None) -> TracedArray:
    if x is None or y is None:
        raise r.error("with one argument its shape depends on the data; give it x and y too")
    return r.op("where", r.boolean(condition), *r.common(x, y))


@traces(np.clip)
def _clip(
    r: Recorder, a: Any, a_min: Any = None, a_max: Any = None, out: Any = None,
    *, min: Any = None, max: Any = None,
) -> TracedArray:  # fmt: skip
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    limits = [limit for limit in (low, high) if limit is not None]
    met = r.met_type(a, *limits, bools=DType.I32)
    result = r.lift(a, met)
    if low is not None:
        result = r.op("maximum", result, r.lift(low, met))
    return result if high is None else r.op("minimum", result, r.lift(high, met))


def _astype(r: Recorder, x: Any, dtype: Any, /, *, copy: bool = True) -> TracedArray:
    return r.cast(r.lift(x), r.element_type(dtype))


if hasattr(np, "astype"):  # from numpy 2.1 on
    traces(np.astype)(_astype)


@traces(np.copy)
def _copy(r: Recorder, a: Any) -> TracedArray:
    return r.lift(a)


@traces(np.result_type)
def _result_type(r: Recorder, *arrays_and_dtypes: Any) -> np.dtype[Any]:
    kinds = [
        r.element_type(given) if isinstance(given, (type, np.dtype)) else r.kind(given)
        for given in arrays_and_dtypes
    ]
    return result_type(kinds).np
