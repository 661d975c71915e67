"""Every numpy function that traces: the traced graph computes what numpy computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkigen_lite.frontend import trace, traced_functions

BF16 = np.dtype(ml_dtypes.bfloat16)
F32 = np.dtype(np.float32)
I32 = np.dtype(np.int32)


@dataclass(frozen=True, slots=True)
class Case:
    """A call of ``numpy.<name>`` on arrays of those shapes.

    ``draw`` picks the values: "normal", "positive", "unit" (inside -0.9 to 0.9), "small" integers
    or "bool". ``bf16`` says whether the case runs in bfloat16 too, ``tol`` is relative to f32.
    """

    name: str
    call: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...] = ((4, 6),)
    draw: str = "normal"
    bf16: bool = True
    tol: float = 2e-6


def unary(name: str, draw: str = "normal", **options: Any) -> Case:
    function = getattr(np, name)
    return Case(name, lambda x: function(x), draw=draw, **options)


def binary(name: str, draw: str = "normal", **options: Any) -> Case:
    function = getattr(np, name)
    return Case(name, lambda a, b: function(a, b), ((3, 1, 4), (5, 1)), draw, **options)


ELEMENTWISE = [
    *(unary(n) for n in ("negative", "positive", "absolute", "fabs", "sign", "square", "exp")),
    *(unary(n) for n in ("tanh", "sin", "cos", "arctan", "floor", "ceil", "trunc", "rint", "fix")),
    *(unary(n) for n in ("exp2", "expm1", "sinh", "cosh", "isnan", "isfinite", "isinf")),
    *(unary(n) for n in ("logical_not", "deg2rad", "rad2deg", "round", "copy")),
    *(unary(n, "positive") for n in ("log", "sqrt", "reciprocal", "log2", "log10", "log1p")),
    unary("tan", "unit"),
    unary("log1p", "unit"),
    unary("around"),
    Case("round", lambda x: np.round(x * 10, 1), bf16=False),
    Case("round", lambda x: np.round(x * 100, decimals=-1), bf16=False),
    *(binary(n) for n in ("add", "subtract", "multiply", "maximum", "minimum", "divide")),
    *(binary(n) for n in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")),
    *(binary(n) for n in ("logical_and", "logical_or", "logical_xor")),
    *(binary(n, "positive") for n in ("floor_divide", "remainder", "fmod", "divmod")),
    *(binary(n, bf16=False) for n in ("floor_divide", "remainder", "fmod")),
    *(binary(n, "small") for n in ("bitwise_and", "bitwise_or", "bitwise_xor")),
    *(binary(n, "bool") for n in ("bitwise_and", "bitwise_or", "bitwise_xor", "maximum")),
    binary("minimum", "bool"),
    unary("invert", "small"),
    unary("invert", "bool"),
    binary("power", "positive", tol=1e-5),
    binary("float_power", "positive", tol=1e-5, bf16=False),
    *(Case("power", lambda x, n=n: x**n, tol=1e-5) for n in (0, 1, 2, 3, 7, 16, 17, -1, -2, -3)),
    *(Case("power", lambda x, n=n: x**n, draw="positive") for n in (0.5, -0.5, 1.5, 0.3)),
    Case("power", lambda x: 2**x, tol=1e-5),
    Case("float_power", lambda x: np.float_power(x, 3), bf16=False, tol=1e-5),
    Case("where", lambda c, a, b: np.where(c > 0, a, b), ((4, 1), (4, 6), (6,))),
    Case("where", lambda a: np.where(np.arange(6) < 3, a, 0.0)),
    Case("clip", lambda x: np.clip(x, -0.5, 0.5)),
    Case("clip", lambda x: np.clip(x, None, 0.5)),
    Case("clip", lambda x, low: np.clip(x, low, None), ((4, 6), (6,))),
    Case("clip", lambda x: x.clip(min=0.25)),
    Case("astype", lambda x: x.astype(np.int32)),
    *([Case("astype", lambda x: np.astype(x, np.float16))] if hasattr(np, "astype") else []),
    Case("astype", lambda x: x.astype(bool)),
    Case("result_type", lambda x: x.astype(np.result_type(x, np.float32))),
]

REDUCTIONS = [
    *(
        Case(
            n,
            lambda x, n=n, a=axis, k=keep: getattr(np, n)(x, axis=a, keepdims=k),
            ((3, 4, 5),),
            tol=1e-5,
        )
        for n in ("sum", "max", "min", "mean", "var", "std")
        for axis in (None, 0, -1, (0, 2))
        for keep in (False, True)
    ),
    *(
        Case(n, lambda x, n=n, a=axis: getattr(np, n)(x > 0, axis=a), ((3, 4),))
        for n in ("any", "all")
        for axis in (None, 0, -1)
    ),
    *(Case(n, lambda x, n=n: getattr(np, n)(x, 1)) for n in ("amax", "amin")),
    Case("sum", lambda x: np.sum(x > 0, axis=1)),
    Case("sum", lambda x: np.add.reduce(x, axis=1), tol=1e-5),
    Case("max", lambda x: np.maximum.reduce(x)),
    Case("sum", lambda x: x.sum(axis=-1, dtype=np.float32)),
    Case("sum", lambda x: x.sum(), ((),)),
    Case("max", lambda x: np.max(x, 0, keepdims=np._NoValue)),
    Case("mean", lambda x: x.mean(axis=0), draw="small"),
    Case("var", lambda x: np.var(x, axis=0, ddof=1), tol=1e-5),
    Case("std", lambda x: np.std(x, axis=0, correction=1), tol=1e-5),
    Case("prod", lambda x: np.prod(x, axis=0), ((3, 4),), tol=1e-5),
    Case("prod", lambda x: np.prod(x, axis=(0, 2), keepdims=True), ((2, 4, 3),), bf16=False),
    Case("cumsum", lambda x: np.cumsum(x, axis=0), ((5, 4),), bf16=False),
    Case("cumsum", lambda x: np.cumsum(x, axis=1), ((3, 5, 4),), bf16=False),
    Case("cumsum", lambda x: np.cumsum(x, axis=0), ((3, 5, 4),), bf16=False),
    Case("cumsum", lambda x: x.cumsum(), ((3, 4),), bf16=False, tol=1e-5),
    Case("linalg.norm", lambda x: np.linalg.norm(x, axis=-1, keepdims=True), bf16=False),
    Case("linalg.norm", lambda x: np.linalg.norm(x), bf16=False),
    Case("linalg.norm", lambda x: np.linalg.norm(x, 2, axis=0), bf16=False),
]

SHAPES = [
    Case("shape", lambda x: x.reshape(np.shape(x)[::-1])),
    Case("ndim", lambda x: x + np.ndim(x)),
    Case("size", lambda x: x.reshape(np.size(x, 0), np.size(x) // 4)),
    Case("iscomplexobj", lambda x: x if not np.iscomplexobj(x) else None),
    Case("transpose", lambda x: np.transpose(x, (2, 0, 1)), ((2, 3, 4),)),
    Case("transpose", lambda x: x.T, ((2, 3, 4),)),
    Case("transpose", lambda x: x.transpose(1, 0, -1), ((2, 3, 4),)),
    Case("transpose", lambda x: np.permute_dims(x, (1, 0))),
    Case("matrix_transpose", lambda x: x.mT, ((2, 3, 4),)),
    Case("swapaxes", lambda x: x.swapaxes(0, -1), ((2, 3, 4),)),
    Case("moveaxis", lambda x: np.moveaxis(x, 0, -1), ((2, 3, 4),)),
    Case("moveaxis", lambda x: np.moveaxis(x, (0, 3), (2, 0)), ((2, 3, 4, 5),)),
    Case("rollaxis", lambda x: np.rollaxis(x, 2), ((2, 3, 4),)),
    Case("rollaxis", lambda x: np.rollaxis(x, 0, 3), ((2, 3, 4),)),
    Case("reshape", lambda x: x.reshape(2, -1)),
    Case("reshape", lambda x: np.reshape(x, -1)),
    Case("reshape", lambda x: x.reshape((3, 2, 4))),
    Case("ravel", lambda x: x.ravel()),
    Case("ravel", lambda x: x.flatten()),
    Case("squeeze", lambda x: np.squeeze(x), ((1, 4, 1),)),
    Case("squeeze", lambda x: x.squeeze(-1), ((1, 4, 1),)),
    Case("expand_dims", lambda x: np.expand_dims(x, (0, -1))),
    Case("atleast_1d", lambda x: np.atleast_1d(x), ((),)),
    Case("atleast_2d", lambda x, y: np.concatenate(np.atleast_2d(x, y)), ((3,), (2, 3))),
    Case("broadcast_to", lambda x: np.broadcast_to(x, (3, 4, 6))),
    Case("broadcast_arrays", lambda x, y: np.broadcast_arrays(x, y), ((4, 1), (3,))),
    Case("repeat", lambda x: np.repeat(x, 3, axis=1)),
    Case("repeat", lambda x: x.repeat(2)),
    Case("repeat", lambda x: np.repeat(x, [1, 0, 2, 1], axis=0)),
    Case("tile", lambda x: np.tile(x, (2, 1, 3))),
    Case("tile", lambda x: np.tile(x, 2), ((2, 3),)),
    Case("flip", lambda x: np.flip(x)),
    Case("flip", lambda x: np.flip(x, 1)),
    Case("take", lambda x: np.take(x, [0, 2, 4, 5, 1, 1], axis=1)),
    Case("take", lambda x: x.take([[3, -1], [0, 2]], axis=0)),
    Case("take", lambda x: x.take([5, 7])),
]

JOINS = [
    Case("concatenate", lambda a, b: np.concatenate([a, b], axis=1), ((2, 3), (2, 4))),
    Case("concatenate", lambda a, b: np.concat((a, b), axis=None), ((2, 3), (4,))),
    Case("concatenate", lambda a: np.concatenate([a, np.ones((1, 6), a.dtype)])),
    Case("concatenate", lambda a: np.concatenate([a])),
    Case("stack", lambda a, b: np.stack([a, b], axis=-1), ((2, 3), (2, 3))),
    Case("vstack", lambda a, b: np.vstack([a, b]), ((3,), (2, 3))),
    Case("hstack", lambda a, b: np.hstack([a, b]), ((2, 3), (2, 1))),
    Case("hstack", lambda a, b: np.hstack([a, b]), ((3,), (1,))),
    Case("split", lambda x: np.split(x, 3, axis=1)),
    Case("split", lambda x: np.split(x, [1, 3])),
    Case("array_split", lambda x: np.array_split(x, 4, axis=1)),
    Case("roll", lambda x: np.roll(x, 2, axis=1)),
    Case("roll", lambda x: np.roll(x, -5)),
    Case("roll", lambda x: np.roll(x, (1, 2), axis=(0, 1))),
    Case("pad", lambda x: np.pad(x, ((1, 2), (0, 3)))),
    Case("pad", lambda x: np.pad(x, 1, constant_values=2.5)),
    Case("pad", lambda x: np.pad(x, (1, 2), "constant"), ((5,),)),
    Case("zeros_like", lambda x: np.zeros_like(x) + x),
    Case("ones_like", lambda x: np.ones_like(x, shape=(3, 6))),
    Case("empty_like", lambda x: 0 * np.empty_like(x, shape=4) + 1, bf16=False),
    Case("full_like", lambda x: np.full_like(x, 2.5)),
    Case("full_like", lambda x: np.full_like(x, x[0])),
    Case("tril", lambda x: np.tril(x, 1)),
    Case("triu", lambda x: np.triu(x, -1), ((2, 4, 6),)),
    Case("triu", lambda x: np.triu(x), ((4,),)),
]

PRODUCTS = [
    Case("matmul", lambda a, b: a @ b, ((4, 8), (8, 3)), tol=1e-5),
    Case("matmul", lambda a, b: a @ b, ((2, 1, 4, 8), (3, 8, 5)), tol=1e-5),
    Case("matmul", lambda a, b: np.matmul(a, b), ((8,), (8, 3)), tol=1e-5),
    *(
        Case("dot", lambda a, b: np.dot(a, b), shapes, tol=1e-5)
        for shapes in (
            ((8,), (8,)), ((4, 8), (8, 3)), ((2, 4, 8), (8,)), ((2, 4, 8), (3, 8, 5)), ((), (3,)),
            ((8,), (3, 8, 5)), ((2, 4, 8), (8, 3)),
        )
    ),
    Case("dot", lambda a, b: a.dot(b), ((4, 8), (8, 3)), tol=1e-5),
    Case("vdot", lambda a, b: np.vdot(a, b), ((2, 4), (2, 4)), tol=1e-5),
    Case("inner", lambda a, b: np.inner(a, b), ((2, 4, 8), (3, 8)), tol=1e-5),
    Case("inner", lambda a, b: np.inner(a, b), ((3,), ())),
    Case("outer", lambda a, b: np.outer(a, b), ((2, 3), (4,))),
    Case("tensordot", lambda a, b: np.tensordot(a, b), ((2, 3, 4), (3, 4, 5)), tol=1e-5),
    Case("tensordot", lambda a, b: np.tensordot(a, b, 0), ((2, 3), (4,))),
    Case(
        "tensordot",
        lambda a, b: np.tensordot(a, b, axes=([0, 2], [1, 0])),
        ((2, 3, 4), (4, 2, 5)),
        tol=1e-5,
    ),
]  # fmt: skip

EINSUM = [
    Case("einsum", lambda *a, s=subscripts: np.einsum(s, *a), shapes, bf16=False, tol=1e-5)
    for subscripts, shapes in (
        ("ij,jk->ik", ((3, 4), (4, 5))),
        ("ij,jk->ki", ((3, 4), (4, 5))),
        ("ij,kj", ((3, 4), (5, 4))),
        ("bhqd,bhkd->bhqk", ((2, 3, 4, 5), (2, 3, 6, 5))),
        ("bqhd,bkhd->bhqk", ((2, 4, 3, 5), (2, 6, 3, 5))),
        ("bsd,dhk->bhsk", ((2, 3, 4), (4, 2, 5))),
        ("...ij,...jk->...ik", ((2, 1, 3, 4), (5, 4, 2))),
        ("i...,i...->...", ((3, 2, 4), (3, 4))),
        ("ij->ji", ((3, 4),)),
        ("ijk->k", ((2, 3, 4),)),
        ("ij->", ((3, 4),)),
        ("ba", ((3, 4),)),
        ("i,j->ij", ((3,), (4,))),
        ("i,j->ji", ((3,), (4,))),
        ("i,i->i", ((3,), (3,))),
        ("i,i", ((3,), (3,))),
        ("ij,ij->j", ((3, 4), (3, 4))),
        ("ij,k->i", ((3, 4), (5,))),
        (",i->i", ((), (3,))),
        ("ij,jk,kl->il", ((3, 4), (4, 5), (5, 6))),
        ("i,ij,j->", ((3,), (3, 4), (4,))),
        ("i,j,k->kij", ((2,), (3,), (4,))),
        ("ij,jk,jl->ikl", ((3, 4), (4, 2), (4, 3))),
        ("i,i,i,i->i", ((3,), (3,), (3,), (3,))),
        ("ij,jk->ik", ((3, 1), (4, 5))),
        ("ab,ab->b", ((1, 4), (3, 1))),
        ("a b, b c -> a c", ((1, 4), (4, 1))),
    )
]

CASES = [*ELEMENTWISE, *REDUCTIONS, *SHAPES, *JOINS, *PRODUCTS, *EINSUM]
DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.uniform(0.5, 3.0, shape),
    "unit": lambda rng, shape: rng.uniform(-0.9, 0.9, shape),
    "small": lambda rng, shape: rng.integers(-9, 9, shape).astype(np.int32),
    "bool": lambda rng, shape: rng.random(shape) < 0.5,
}


def draw(case: Case, dtype: np.dtype) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    drawn = [np.asarray(DRAWS[case.draw](rng, shape)) for shape in case.shapes]
    return [a if a.dtype.kind in "ib" else a.astype(dtype) for a in drawn]


def as_tuple(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def assert_same(got: Any, expected: Any, tol: float) -> None:
    assert len(as_tuple(got)) == len(as_tuple(expected))
    for one, wanted in zip(as_tuple(got), as_tuple(expected), strict=True):
        assert one.shape == np.shape(wanted)
        wide = np.asarray(wanted).astype(np.float64)
        np.testing.assert_allclose(one.astype(np.float64), wide, rtol=tol, atol=tol)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_traced_function_computes_what_numpy_computes(case: Case) -> None:
    arrays = draw(case, F32)
    with np.errstate(all="ignore"):
        expected = case.call(*arrays)
    assert_same(trace(case.call, arrays).run(*arrays), expected, case.tol)


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.bf16 and c.draw not in ("small", "bool")],
    ids=lambda case: case.name,
)
def test_traced_function_in_bf16_is_within_a_rounding_of_f32(case: Case) -> None:
    arrays = draw(case, BF16)
    traced = trace(case.call, arrays)
    with np.errstate(all="ignore"):
        expected = case.call(*(a.astype(F32) for a in arrays))
    # One bf16 rounding is 2**-8; sums and roots of rounded values take a few.
    assert_same(traced.run(*arrays), expected, 2e-2)


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.draw == "normal" and c.bf16 and c.name not in ("astype", "result_type")],
    ids=lambda case: case.name,
)
def test_bf16_operands_make_bf16_results_or_truth_values(case: Case) -> None:
    result = trace(case.call, draw(case, BF16)).run(*draw(case, BF16))
    asked_for_f32 = case.call.__code__.co_consts and "float32" in case.call.__code__.co_names
    allowed = {BF16, np.dtype(bool), *([F32] if asked_for_f32 else [])}
    if case.name == "sum":
        allowed.add(I32)  # the count of truth values
    assert {one.dtype for one in as_tuple(result)} <= allowed


def test_every_row_has_a_case() -> None:
    tested = {f"numpy.{case.name}" for case in CASES}
    assert set(traced_functions()) - tested == set()


def test_rows_for_functions_that_numpy_lacks_are_reached_by_name() -> None:
    special = pytest.importorskip("scipy.special")
    x = np.linspace(-3, 3, 12, dtype=np.float32)
    for function, opcode in ((special.erf, "erf"), (special.expit, "sigmoid")):
        traced = trace(lambda x, f=function: f(x), [x])
        assert [op.opcode for op in traced.graph.ops] == [opcode]
        np.testing.assert_allclose(traced.run(x), function(x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["expm1", "log1p", "sinh"])
def test_composites_keep_their_relative_accuracy_near_zero(name: str) -> None:
    x = np.array([1e-7, -1e-5, 3e-4, -0.01, 1e-20, 0.0], np.float32)
    function = getattr(np, name)
    got = trace(lambda x: function(x), [x]).run(x)
    np.testing.assert_allclose(got, function(x.astype(np.float64)), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("log1p", [np.inf, -1.0, 1e30]),
        ("expm1", [np.inf, -np.inf, -100.0]),
        ("rint", [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3e9, np.inf, -np.inf, 8388609.0]),
        ("trunc", [-1.5, 1.5, -0.25, np.inf]),
        ("isfinite", [np.nan, np.inf, -np.inf, 0.0]),
        ("isinf", [np.nan, np.inf, -np.inf, 0.0]),
        ("isnan", [np.nan, np.inf, 0.0]),
    ],
)
def test_edges_are_numpys(name: str, values: list[float]) -> None:
    x = np.array(values, np.float32)
    function = getattr(np, name)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(trace(lambda x: function(x), [x]).run(x), function(x))


def test_a_matrix_product_needs_no_more_than_one_transpose_to_come_out_turned() -> None:
    traced = trace(lambda a, b: np.einsum("ij,jk->ki", a, b), ["3x4:f32", "4x5:f32"])
    assert [op.opcode for op in traced.graph.ops] == ["transpose", "transpose", "matmul"]


def test_nothing_is_recorded_where_nothing_moves() -> None:
    def still(x: Any) -> Any:
        x = x.reshape(x.shape).transpose(0, 1).astype(x.dtype)[:, :]
        return np.squeeze(np.broadcast_to(x, (4, 6)))

    assert trace(still, ["4x6:bf16"]).graph.ops == []
