"""Unary, binary, compare, select and cast ops: one line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nkigen_lite.core import numerics
from nkigen_lite.core.dtypes import Array, DType, compute_in_f32
from nkigen_lite.core.registry import Attr, Attrs, OpDef, Types
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir.rows.table import (
    TENSOR,
    broadcast,
    check_dtype,
    element_type,
    pointwise_space,
    same_dtype,
)
from nkigen_lite.tensor_ir.types import TensorType


def gelu(x: Array, approximate: str = "tanh") -> Array:
    """Gaussian error linear unit; ``approximate`` is "tanh" or "none" (exact)."""
    return _GELU[approximate](x)


_GELU = {"tanh": numerics.gelu_tanh, "none": numerics.gelu_exact}


Prepare = Callable[[Types, dict[str, Any]], dict[str, Any]]


def _gelu_form(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    if attrs["approximate"] not in list(_GELU):
        raise InvalidOp(
            f"gelu: approximate is {attrs['approximate']!r} but must be one of {', '.join(_GELU)}"
        )
    return attrs


def _unary_types(name: str, legal: str) -> Callable[[Types, Attrs], tuple[Any, ...]]:
    def infer(types: Types, attrs: Attrs) -> tuple[TensorType]:
        check_dtype(name, types[0].dtype, legal)
        return (types[0],)

    return infer


def _binary_types(name: str, legal: str) -> Callable[[Types, Attrs], tuple[Any, ...]]:
    def infer(types: Types, attrs: Attrs) -> tuple[TensorType]:
        dtype = same_dtype(name, types)
        check_dtype(name, dtype, legal)
        out = attrs.get("dtype") or dtype
        return (TensorType(broadcast(name, [t.shape for t in types]), out),)

    return infer


def unary(
    name: str,
    summary: str,
    function: Callable[..., Array],
    engine: str = "scalar",
    *,
    legal: str = "float",
    tol: float = 1e-6,
    sample: str = "normal",
    attrs: tuple[Attr, ...] = (),
    prepare: Prepare | None = None,
) -> None:
    """Define an elementwise op of one operand that keeps shape and dtype."""
    TENSOR.define(
        OpDef(
            name=name,
            summary=summary,
            arity=(1, 1),
            infer=_unary_types(name, legal),
            evaluate=compute_in_f32(function),
            attrs=attrs,
            prepare=prepare,
            space=pointwise_space,
            engine=engine,
            tolerance=tol,
            sample=sample,
            dtypes=legal,
        )
    )


def binary(
    name: str,
    summary: str,
    function: Callable[..., Array],
    *,
    legal: str = "number",
    tol: float = 1e-6,
    sample: str = "normal",
    commutes: bool = False,
    attrs: tuple[Attr, ...] = (),
    prepare: Prepare | None = None,
) -> None:
    """Define an elementwise op of two broadcasting operands of one dtype."""
    TENSOR.define(
        OpDef(
            name=name,
            summary=summary,
            arity=(2, 2),
            infer=_binary_types(name, legal),
            evaluate=compute_in_f32(function),
            attrs=attrs,
            prepare=prepare,
            space=pointwise_space,
            engine="vector",
            tolerance=tol,
            sample=sample,
            dtypes=legal,
            commutes=commutes,
        )
    )


ACT = 2e-3  # ScalarE evaluates these from tables; no source states their accuracy (assumed)

unary("neg", "-x.", np.negative, "vector", legal="number")
unary("exp", "e to the x.", np.exp, tol=1e-5, sample="small")
unary("log", "Natural logarithm.", np.log, tol=1e-5, sample="positive")
unary("sqrt", "Square root.", np.sqrt, sample="positive")
unary("rsqrt", "1 / sqrt(x).", numerics.rsqrt, sample="positive")
unary("reciprocal", "1 / x.", np.reciprocal, "vector", sample="nonzero")
unary("square", "x * x.", np.square)
unary("tanh", "Hyperbolic tangent.", np.tanh, tol=ACT)
unary("relu", "max(x, 0).", numerics.relu, legal="number")
unary(
    "gelu",
    "Gaussian error linear unit, by default in its tanh form.",
    gelu,
    tol=ACT,
    attrs=(Attr("approximate", str, "tanh", '"tanh" or "none" (the exact, erf form)'),),
    prepare=_gelu_form,
)
unary("sigmoid", "1 / (1 + exp(-x)).", numerics.sigmoid, tol=ACT)
unary("silu", "x * sigmoid(x).", numerics.silu, tol=ACT)
# ScalarE's sin takes [-pi, pi] and its arctan [-pi/2, pi/2] (aws-neuron-sdk, nki.isa activation
# functions); an op marked with this attribute promises such an operand and means the same.
_REDUCED = (Attr("range_reduced", bool, False, "the operand lies where the engine's table does"),)


def _drop_mark(function: Callable[[Array], Array]) -> Callable[..., Array]:
    return lambda x, range_reduced: function(x)


unary("sin", "Sine, x in radians.", _drop_mark(np.sin), tol=ACT, attrs=_REDUCED)
unary("cos", "Cosine, x in radians.", np.cos, tol=ACT)
unary("arctan", "Inverse tangent, in radians.", _drop_mark(np.arctan), tol=ACT, attrs=_REDUCED)
unary("erf", "Error function.", numerics.erf, tol=ACT)
unary("abs", "Absolute value.", np.abs, legal="number")
unary("sign", "-1, 0 or 1 by sign.", np.sign, legal="number")
unary("floor", "Largest integer not above x.", np.floor, "vector")
unary("ceil", "Smallest integer not below x.", np.ceil, "vector")

binary("add", "a + b.", np.add, commutes=True)
binary("sub", "a - b.", np.subtract)
binary("mul", "a * b.", np.multiply, commutes=True)
binary("div", "a / b; floats only.", np.divide, legal="float", sample="nonzero")
binary("maximum", "The larger; NaN wins.", np.maximum, commutes=True)
binary("minimum", "The smaller; NaN wins.", np.minimum, commutes=True)
binary("power", "a to the b.", np.power, tol=1e-4, sample="positive")
binary("floor_divide", "floor(a / b).", np.floor_divide, sample="nonzero")
binary("mod", "a - b * floor(a / b), the sign of b.", np.mod, sample="nonzero", tol=1e-5)
binary("bitwise_and", "Bitwise and.", np.bitwise_and, legal="bits", sample="bits", commutes=True)
binary("bitwise_or", "Bitwise or.", np.bitwise_or, legal="bits", sample="bits", commutes=True)
binary("bitwise_xor", "Bitwise exclusive or.", np.bitwise_xor, legal="bits", sample="bits",
       commutes=True)  # fmt: skip

_COMPARE = (
    ("equal", "a == b", np.equal, True),
    ("not_equal", "a != b", np.not_equal, True),
    ("greater", "a > b", np.greater, False),
    ("greater_equal", "a >= b", np.greater_equal, False),
    ("less", "a < b", np.less, False),
    ("less_equal", "a <= b", np.less_equal, False),
)


def _result_dtype(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    given = attrs["dtype"]
    return {"dtype": types[0].dtype if given is None else element_type("compare", given)}


def _drop_dtype(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda a, b, dtype: function(a, b)


for _name, _text, _function, _commutes in _COMPARE:
    binary(
        _name,
        f"1 where {_text}, else 0; in the operands' dtype unless ``dtype`` names another.",
        _drop_dtype(_function),
        legal="any",
        commutes=_commutes,
        attrs=(Attr("dtype", DType, None, "result type; default: the operands' type"),),
        prepare=_result_dtype,
    )


def _where_types(types: Types, attrs: Attrs) -> tuple[TensorType]:
    dtype = same_dtype("where", types[1:])
    return (TensorType(broadcast("where", [t.shape for t in types]), dtype),)


def _cast_types(types: Types, attrs: Attrs) -> tuple[TensorType]:
    return (TensorType(types[0].shape, attrs["dtype"]),)


def _near_types(types: Types, attrs: Attrs) -> tuple[TensorType]:
    check_dtype("near_integer", types[0].dtype, "float")
    return _cast_types(types, attrs)


def _cast_attrs(types: Types, attrs: dict[str, Any]) -> dict[str, Any]:
    return {"dtype": element_type("cast", attrs["dtype"])}


TENSOR.define(
    OpDef(
        name="where",
        summary="a where the condition is not zero, else b.",
        arity=(3, 3),
        infer=_where_types,
        evaluate=lambda c, a, b: np.where(c != 0, a, b),
        space=pointwise_space,
        engine="vector",
    )
)
TENSOR.define(
    OpDef(
        name="cast",
        summary="The same values as another dtype; floats truncate to integers, saturating.",
        arity=(1, 1),
        infer=_cast_types,
        evaluate=lambda x, dtype: x,
        attrs=(Attr("dtype", DType),),
        prepare=_cast_attrs,
        space=pointwise_space,
        engine="vector",
    )
)
TENSOR.define(
    OpDef(
        name="near_integer",
        summary="As cast from floats to integers, but engines may round instead of truncating.",
        arity=(1, 1),
        infer=_near_types,
        evaluate=lambda x, dtype: x,
        attrs=(Attr("dtype", DType),),
        prepare=_cast_attrs,
        dtypes="float",
        space=pointwise_space,
        engine="vector",
    )
)
