"""Recomposing GELU however its factors are written.

Both published forms are polynomials in x and in one function T of a polynomial in x:

    0.5 x + 0.5 x T,   T = tanh(sqrt(2 / pi) (x + 0.044715 x^3))   or   T = erf(x / sqrt(2))

(Hendrycks and Gimpel 2016). So the expression is expanded into its monomials and compared, which
makes the order, association and spelling of the factors irrelevant.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from nkigen_lite.core.dtypes import DType, epsilon
from nkigen_lite.core.ir import Op, Value
from nkigen_lite.tensor_ir.builder import Builder
from nkigen_lite.tensor_ir.passes.match import fit, uniform
from nkigen_lite.tensor_ir.passes.rules import TensorRule, collect

RULES: list[TensorRule] = []
rule = collect(RULES)

Poly = dict[tuple[int, int], float]  # (power of x, power of T) -> coefficient

_ROOT = math.sqrt(2.0 / math.pi)
_OUTER: Poly = {(1, 0): 0.5, (1, 1): 0.5}
_INNER: dict[str, Poly] = {
    "tanh": {(1, 0): _ROOT, (3, 0): _ROOT * 0.044715},
    "erf": {(1, 0): math.sqrt(0.5)},
}
_APPROXIMATE = {"tanh": "tanh", "erf": "none"}
_MAX_DEGREE = 4
_MAX_OPS = 24  # no spelling of GELU needs more


def _times(left: Poly, right: Poly) -> Poly | None:
    product: Poly = {}
    for (i, j), a in left.items():
        for (k, n), c in right.items():
            product[i + k, j + n] = product.get((i + k, j + n), 0.0) + a * c
    return product if all(i + j <= _MAX_DEGREE for i, j in product) else None


def _plus(left: Poly, right: Poly, sign: float = 1.0) -> Poly:
    return {
        key: left.get(key, 0.0) + sign * right.get(key, 0.0)
        for key in dict.fromkeys([*left, *right])
    }


def _over(left: Poly, right: Poly) -> Poly | None:
    divisor = right.get((0, 0), 0.0)
    if len(right) != 1 or divisor == 0.0:
        return None
    return {key: c / divisor for key, c in left.items()}


def _to_the(left: Poly, right: Poly) -> Poly | None:
    exponent = right.get((0, 0), 0.0)
    if len(right) != 1 or exponent not in (1.0, 2.0, 3.0):
        return None
    power: Poly | None = left
    for _ in range(int(exponent) - 1):
        power = _times(power, left) if power else None
    return power


_EXPAND: dict[str, Callable[..., Poly | None]] = {
    "add": _plus,
    "sub": lambda left, right: _plus(left, right, -1.0),
    "mul": _times,
    "div": _over,
    "neg": lambda x: {key: -c for key, c in x.items()},
    "square": lambda x: _times(x, x),
    "power": _to_the,
}


class _Expansion:
    """Polynomials of values in ``x`` and ``t``, as long as they take few ops."""

    def __init__(self, x: Value, t: Value | None) -> None:
        self.known: dict[Value, Poly | None] = {x: {(1, 0): 1.0}}
        if t is not None:
            self.known[t] = {(0, 1): 1.0}
        self.ops_left = _MAX_OPS

    def of(self, value: Value) -> Poly | None:
        if value not in self.known:
            self.known[value] = self._expand(value)
        return self.known[value]

    def _expand(self, value: Value) -> Poly | None:
        number = uniform(value)
        if number is not None:
            return {(0, 0): float(number)}
        op = value.producer
        self.ops_left -= 1
        if op is None or self.ops_left < 0:
            return None
        if _only_rounds(op):
            return self.of(op.inputs[0])
        if op.opcode not in _EXPAND:
            return None
        parts = [self.of(operand) for operand in op.inputs]
        return None if None in parts else _EXPAND[op.opcode](*parts)


def _only_rounds(op: Op) -> bool:
    """Whether an op is a cast among floats: powers of narrow ones, for instance, are of f32."""
    kinds = (op.inputs[0].type.dtype, op.result.type.dtype) if op.opcode == "cast" else ()
    return bool(kinds) and all(kind.is_float for kind in kinds)


def _is_close(found: Poly | None, wanted: Poly, dtype: DType) -> bool:
    # Written constants have few digits, and each was rounded to dtype.
    tolerance = 1e-5 + 2 * epsilon(dtype)
    return found is not None and all(
        abs(found.get(key, 0.0) - wanted.get(key, 0.0)) <= tolerance * abs(wanted.get(key, 0.0))
        for key in dict.fromkeys([*found, *wanted])
    )


def _cone(root: Value) -> list[Value]:
    """The values that ``root`` is computed from by ops that expand, nearest first."""
    cone = [root]
    for value in cone:  # grows while it is walked
        op = value.producer
        expands = op is not None and (op.opcode in _EXPAND or _only_rounds(op))
        if op is not None and expands and len(cone) < _MAX_OPS:
            cone += [operand for operand in op.inputs if operand not in cone]
    return cone


@rule("mul", "div", "add")
def gelu_of_polynomial(b: Builder, op: Op) -> Value | None:
    """ScalarE has GELU in both forms; the written one takes eight ops.

    %h: <f32> = constant() {value=0.5, shape=()}
    %one: <f32> = constant() {value=1.0, shape=()}
    %r: <f32> = constant() {value=0.70710678, shape=()}
    %a: <4xf32> = mul(%x, %r)
    %e: <4xf32> = erf(%a)
    %f: <4xf32> = add(%one, %e)
    %g: <4xf32> = mul(%h, %x)
    %y: <4xf32> = mul(%g, %f)
    -->
    %y: <4xf32> = gelu(%x) {approximate="none"}
    """
    root = op.result
    dtype = root.type.dtype
    for t in _cone(root):
        inner = t.producer
        if inner is None or inner.opcode not in _INNER:
            continue
        for x in _cone(inner.inputs[0]):
            if x.type.dtype is not dtype:
                continue
            u = _Expansion(x, None).of(inner.inputs[0])
            if _is_close(u, _INNER[inner.opcode], dtype) and _is_close(
                _Expansion(x, t).of(root), _OUTER, dtype
            ):
                return fit(b, b.gelu(x, _APPROXIMATE[inner.opcode]), root.type.shape)
    return None
