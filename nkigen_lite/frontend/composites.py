"""Rows of the ufuncs that take several ops.

Each form is exact in real arithmetic and keeps its relative accuracy in float32; narrow floats are
widened first and the result rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nkigen_lite.core.dtypes import DType
from nkigen_lite.frontend.array import TracedArray
from nkigen_lite.frontend.elementwise import float_binary
from nkigen_lite.frontend.promotion import weak_kind
from nkigen_lite.frontend.recorder import Recorder, is_narrow
from nkigen_lite.frontend.table import define_ufunc, traces

# Integer powers up to this size are products; `power` takes the others.
MAX_PRODUCT_POWER = 16
_TINY = float(np.finfo(np.float32).tiny)


def wide(function: Callable[[Recorder, Any], Any]) -> Callable[[Recorder, Any], TracedArray]:
    """``function`` on f32, rounded to the float type of the operand."""

    def apply(r: Recorder, x: Any) -> TracedArray:
        lifted = r.floating(x)
        if not is_narrow(lifted.element):
            return r.lift(function(r, lifted))
        return r.cast(r.lift(function(r, r.cast(lifted, DType.F32))), lifted.element)

    return apply


def _exp2(r: Recorder, x: Any) -> Any:
    return r.op("exp", x * math.log(2))


def _expm1(r: Recorder, x: Any) -> Any:
    # exp(x) - 1 cancels near 0; this product does not, and tends to -1 and inf as it should.
    return r.op("tanh", 0.5 * x) * (r.op("exp", x) + 1.0)


def _log1p(r: Recorder, x: Any) -> Any:
    # log(1 + x) forgets what the sum rounds away, relatively (x - ((1 + x) - 1)) / (1 + x). It
    # matters for small x alone, so x is held at 1 there, which keeps inf - inf out.
    small = r.op("minimum", x, r.lift(1.0, x.element))
    near_one = 1.0 + small
    lost = (small - (near_one - 1.0)) / r.op("maximum", near_one, r.lift(_TINY, x.element))
    return r.op("log", 1.0 + x) + lost


def _cosh(r: Recorder, x: Any) -> Any:
    return 0.5 * (r.op("exp", x) + r.op("exp", -x))


def _sinh(r: Recorder, x: Any) -> Any:
    # The difference of the exponentials cancels near 0, this product does not.
    return r.op("tanh", x) * _cosh(r, x)


def _fmod(r: Recorder, x1: Any, x2: Any) -> TracedArray:
    """The remainder with the sign of ``x1``."""
    a, b = r.common(x1, x2, bools=DType.I32)
    size = r.op("mod", r.op("abs", a), r.op("abs", b))
    negative = r.op("less", a, r.constant(0, (), a.element), dtype=DType.BOOL)
    return r.op("where", negative, r.op("neg", size), size)


def _trunc(r: Recorder, x: Any) -> TracedArray:
    lifted = r.lift(x)
    if not lifted.element.is_float:
        return lifted
    negative = r.op("less", lifted, r.constant(0, (), lifted.element), dtype=DType.BOOL)
    return r.op("where", negative, r.op("ceil", lifted), r.op("floor", lifted))


def _rint(r: Recorder, x: Any) -> Any:
    """To the nearest whole number, halves to the even one."""
    below = r.op("floor", x)
    rest = x - below
    to_even = below + r.op("mod", below, r.lift(2.0, x.element))
    # In this order an infinity, whose rest is NaN, stays what it is.
    return r.op("where", rest > 0.5, below + 1.0, r.op("where", rest == 0.5, to_even, below))


def _power(r: Recorder, x1: Any, x2: Any) -> TracedArray:
    if not isinstance(x1, TracedArray) or weak_kind(x2) is None:
        return _general_power(r, x1, x2)
    base = r.lift(x1, r.met_type(x1, x2, bools=DType.I32))
    exponent = float(x2)
    if base.element.is_float and exponent in (0.5, -0.5):
        return r.op("sqrt" if exponent > 0 else "rsqrt", base)
    if exponent.is_integer() and abs(exponent) <= MAX_PRODUCT_POWER:
        return _integer_power(r, base, int(exponent))
    return _general_power(r, x1, x2)


def _general_power(r: Recorder, x1: Any, x2: Any) -> TracedArray:
    base, exponent = r.common(x1, x2, bools=DType.I32)
    if base.element.is_integer and weak_kind(x2) is not None and int(x2) < 0:
        raise r.error("integers have no negative integer powers; cast the base to float32")
    return r.op("power", base, exponent)


def _integer_power(r: Recorder, base: TracedArray, exponent: int) -> TracedArray:
    """By squaring. One op rounds once, so only longer chains of narrow floats are widened."""
    if exponent < 0 and not base.element.is_float:
        raise r.error("integers have no negative integer powers; cast the base to float32")
    if exponent == 0:
        return r.constant(1, base.shape, base.element)
    if exponent not in (-1, 1, 2) and is_narrow(base.element):
        raised = _integer_power(r, r.cast(base, DType.F32), exponent)
        return r.cast(raised, base.element)
    raised = _product_power(r, base, abs(exponent))
    return raised if exponent > 0 else r.op("reciprocal", raised)


def _product_power(r: Recorder, base: TracedArray, exponent: int) -> TracedArray:
    if exponent == 1:
        return base
    half = _product_power(r, base, exponent // 2)
    squared = r.op("square", half) if half.element.is_float else r.op("mul", half, half)
    return r.op("mul", squared, base) if exponent % 2 else squared


def _float_power(r: Recorder, x1: Any, x2: Any) -> TracedArray:
    if weak_kind(x2) is not None:
        return _power(r, r.floating(x1), float(x2))
    return float_binary("power")(r, x1, x2)


_ROWS: dict[str, Callable[..., Any]] = {
    "exp2": wide(_exp2),
    "expm1": wide(_expm1),
    "log2": wide(lambda r, x: r.op("log", x) * (1 / math.log(2))),
    "log10": wide(lambda r, x: r.op("log", x) * (1 / math.log(10))),
    "log1p": wide(_log1p),
    "sinh": wide(_sinh),
    "cosh": wide(_cosh),
    "tan": wide(lambda r, x: r.op("sin", x) / r.op("cos", x)),
    "deg2rad": wide(lambda r, x: x * (math.pi / 180)),
    "rad2deg": wide(lambda r, x: x * (180 / math.pi)),
    "fmod": _fmod,
    "trunc": _trunc,
    "rint": wide(_rint),
    "power": _power,
    "float_power": _float_power,
}
for _name, _apply in _ROWS.items():
    define_ufunc(_name, _apply)


@traces(np.round, np.around)
def _round(r: Recorder, a: Any, decimals: int = 0, out: Any = None) -> TracedArray:
    lifted = r.lift(a)
    if not lifted.element.is_float:
        if decimals < 0:
            raise r.error(f"{lifted.element} to {decimals} decimals: cast to float32 first")
        return lifted
    scale = 10.0 ** abs(decimals)

    def scaled(r: Recorder, x: Any) -> Any:
        if decimals == 0:
            return _rint(r, x)
        return _rint(r, x * scale) / scale if decimals > 0 else _rint(r, x / scale) * scale

    return wide(scaled)(r, lifted)


@traces(np.fix)
def _fix(r: Recorder, x: Any, out: Any = None) -> TracedArray:
    return _trunc(r, x)
