"""Every row's result types against numpy's, over shapes of rank 0 to 5, and its iteration space.

The cases come from the op table: a new row is tested by being there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from graph_draft import sample_array

from nkigen_lite.core import DType
from nkigen_lite.core.registry import OpDef, Space, Window
from nkigen_lite.errors import InvalidOp
from nkigen_lite.tensor_ir import Builder, TensorType, run
from nkigen_lite.tensor_ir.passes.decompose import LEAVES
from nkigen_lite.tensor_ir.passes.direct_lower.pointwise import has_emitter
from nkigen_lite.tensor_ir.passes.match import POINTWISE
from nkigen_lite.tensor_ir.rows import TENSOR
from nkigen_lite.tensor_ir.rows.table import check_dtype

Shape = tuple[int, ...]
Operands = tuple[tuple[Shape, ...], dict[str, Any]]

SHAPES: list[Shape] = [(), (1,), (7,), (3, 5), (1, 5), (2, 1, 3), (2, 3, 1, 5), (1, 2, 3, 2, 3)]
PAIRS: list[tuple[Shape, Shape]] = [
    ((), ()), ((), (3,)), ((7,), (7,)), ((1,), (7,)), ((3, 1), (1, 5)), ((5,), (3, 5)),
    ((2, 3, 4), (4,)), ((2, 1, 4), (3, 1)), ((1, 1, 1), (2, 3, 5)), ((2, 1, 3, 1, 5), (4, 3, 2, 1)),
]  # fmt: skip
MATRICES: list[tuple[Shape, Shape]] = [
    ((3,), (3,)), ((3,), (3, 5)), ((4, 3), (3,)), ((4, 3), (3, 5)), ((1, 3), (3, 1)),
    ((2, 4, 3), (3, 5)), ((4, 3), (2, 3, 5)), ((2, 1, 4, 3), (5, 3, 2)), ((2, 4, 1), (2, 1, 3)),
    ((3,), (2, 3, 5)), ((2, 4, 3), (3,)), ((2, 1, 2, 4, 3), (2, 1, 3, 1)),
]  # fmt: skip


def _pointwise(row: OpDef) -> Iterator[Operands]:
    least = row.arity[0]
    if least == 1:
        yield from (((shape,), {}) for shape in SHAPES)
    elif least == 2:
        yield from ((pair, {}) for pair in PAIRS)
    else:
        yield from (((b, a, b), {}) for a, b in PAIRS)


def _made(**more: Any) -> Iterator[Operands]:
    yield from (((), {"shape": shape, **more}) for shape in SHAPES if shape or "value" in more)


def _reduce(row: OpDef) -> Iterator[Operands]:
    for shape in SHAPES:
        for size in range(1, len(shape) + 1):
            for axes in itertools.combinations(range(len(shape)), size):
                kind = ("sum", "max", "min", "mean")[(size + len(shape)) % 4]
                yield (shape,), {"axis": axes, "kind": kind, "keepdims": sum(axes) % 2 == 0}


def _transpose(row: OpDef) -> Iterator[Operands]:
    for shape in SHAPES:
        perms = list(itertools.permutations(range(len(shape))))
        yield from (((shape,), {"perm": perm}) for perm in perms[:: max(1, len(perms) // 6)])


def _reshape(row: OpDef) -> Iterator[Operands]:
    for old, new in [
        ((), (1, 1)),
        ((1,), ()),
        ((6,), (2, 3)),
        ((3, 4), (2, 6)),
        ((2, 3, 5), (30,)),
    ]:
        yield (old,), {"shape": new}
        yield (new,), {"shape": old}


def _broadcast_to(row: OpDef) -> Iterator[Operands]:
    for a, b in PAIRS:
        yield (a,), {"shape": np.broadcast_shapes(a, b)}


def _slice(row: OpDef) -> Iterator[Operands]:
    for shape in SHAPES:
        for stride in (1, 2, 3):
            starts = tuple(i % n for i, n in enumerate(shape, 1))
            yield (shape,), {"starts": starts, "stops": shape, "strides": (stride,) * len(shape)}


def _concat(row: OpDef) -> Iterator[Operands]:
    for shape in SHAPES[1:]:
        for axis in range(len(shape)):
            longer = (*shape[:axis], shape[axis] + 3, *shape[axis + 1 :])
            yield (shape, longer, shape), {"axis": axis - len(shape)}


CASES = {
    "constant": lambda row: _made(value=1),
    "iota": lambda row: _made(dim=-1),
    "reduce": _reduce,
    "matmul": lambda row: ((pair, {}) for pair in MATRICES),
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast_to": _broadcast_to,
    "slice": _slice,
    "concat": _concat,
    **dict.fromkeys(
        ("cast", "near_integer"),
        lambda row: (((shape,), {"dtype": DType.I8}) for shape in SHAPES),
    ),
}


def operands_of(row: OpDef) -> Iterator[Operands]:
    maker = CASES.get(row.name)
    assert maker or row.name in POINTWISE, f"CASES has no shapes for {row.name!r}"
    yield from (maker or _pointwise)(row)


def first_dtype(row: OpDef) -> DType:
    return DType.I32 if row.dtypes == "bits" else DType.F32


def build(row: OpDef, shapes: tuple[Shape, ...], attrs: dict[str, Any], dtype: DType) -> Builder:
    b = Builder(row.name)
    values = [b.add_input(f"x{i}", shape, dtype) for i, shape in enumerate(shapes)]
    b.set_outputs({"y": b.emit(row.name, values, **attrs).result})
    return b


ROWS = [pytest.param(row, id=row.name) for row in TENSOR]


@pytest.mark.parametrize("row", ROWS)
def test_declared_shape_is_the_shape_that_numpy_makes(row: OpDef) -> None:
    rng = np.random.default_rng(0)
    cases = list(operands_of(row))
    assert len(cases) >= 7
    for shapes, attrs in cases:
        b = build(row, shapes, attrs, first_dtype(row))
        inputs = {
            v.name: sample_array(rng, v.type.shape, v.type.dtype, row.sample)
            for v in b.graph.inputs
        }
        made = run(b.graph, inputs)["y"]  # raises InvalidOp if the shapes differ
        declared = b.graph.outputs["y"].type
        assert (made.shape, made.dtype) == (declared.shape, declared.dtype.np)
        assert b.graph.verify() == []


@pytest.mark.parametrize("row", [p for p in ROWS if p.values[0].name in POINTWISE])
def test_pointwise_shape_is_the_broadcast_shape(row: OpDef) -> None:
    for shapes, attrs in operands_of(row):
        b = build(row, shapes, attrs, first_dtype(row))
        assert b.graph.outputs["y"].type.shape == np.broadcast_shapes(*shapes)


@pytest.mark.parametrize("row", [p for p in ROWS if p.values[0].arity[0]])
@pytest.mark.parametrize("dtype", list(DType))
def test_result_dtype_is_the_operands_or_the_one_asked_for(row: OpDef, dtype: DType) -> None:
    shapes, attrs = list(operands_of(row))[-1]
    try:
        check_dtype(row.name, dtype, row.dtypes)
    except InvalidOp:
        with pytest.raises(InvalidOp, match=f"{row.name}: dtype is {dtype} but must be"):
            build(row, shapes, attrs, dtype)
        return
    if attrs.get("kind") == "mean" and not dtype.is_float:
        attrs = {**attrs, "kind": "sum"}
    b = build(row, shapes, attrs, dtype)
    assert b.graph.outputs["y"].type.dtype is attrs.get("dtype", dtype)
    rng = np.random.default_rng(1)
    inputs = {v.name: sample_array(rng, v.type.shape, dtype, row.sample) for v in b.graph.inputs}
    assert run(b.graph, inputs)["y"].dtype == b.graph.outputs["y"].type.dtype.np


@pytest.mark.parametrize("row", ROWS)
def test_iteration_space_fits_the_types(row: OpDef) -> None:
    assert row.space is not None
    for shapes, attrs in operands_of(row):
        op = build(row, shapes, attrs, first_dtype(row)).graph.outputs["y"].producer
        types, results = [v.type for v in op.inputs], [op.result.type]
        space = row.space(types, results, op.attrs)
        if row.name == "reshape":  # its relation is one of the whole index, not of axes
            continue
        assert_named(space, space.operands, types, side="in")
        assert_named(space, space.results, results, side="out")
        if types and row.name != "broadcast_to":
            assert axes_of(space.results) <= axes_of(space.operands)


def axes_of(names: tuple[tuple[str | None, ...], ...]) -> set[str]:
    return {axis for dims in names for axis in dims if axis}


def assert_named(
    space: Space, names: tuple[tuple[str | None, ...], ...], types: list[TensorType], side: str
) -> None:
    """Every dimension of more than one element has an axis of its extent or a link."""
    linked = {
        end for link in space.links if isinstance(link, Window) for end in (link.outer, link.inner)
    }
    assert len(names) == len(types)
    for k, (axes, kind) in enumerate(zip(names, types, strict=True)):
        assert len(axes) == kind.rank
        used = [a for a in axes if a]
        assert len(set(used)) == len(used)
        for i, (axis, extent) in enumerate(zip(axes, kind.shape, strict=True)):
            if axis is not None:
                assert space.extents[axis] == extent > 1
            else:
                assert extent == 1 or (side, k, i) in linked


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_op_has_an_emitter_or_is_decomposed(name: str) -> None:
    assert has_emitter(name) or name not in LEAVES


def test_rows_are_complete() -> None:
    engines = {"tensor", "vector", "scalar", "gpsimd", "dma", "none"}
    for row in TENSOR:
        assert row.evaluate is not None
        assert row.summary.endswith(".")
        assert row.engine in engines
        assert row.effects == ()
        assert row.dtypes in {"any", "float", "number", "bits"}
        assert row.sample in {"normal", "positive", "small", "nonzero", "bits"}
        assert 0 < row.tolerance < 0.01
        assert callable(getattr(Builder, row.name))


@pytest.mark.parametrize("row", [p for p in ROWS if p.values[0].commutes])
def test_ops_that_commute_do(row: OpDef) -> None:
    rng = np.random.default_rng(2)
    a, b = (sample_array(rng, (5, 3), first_dtype(row), row.sample) for _ in range(2))
    graph = build(row, ((5, 3), (5, 3)), {}, first_dtype(row)).graph
    one, other = run(graph, {"x0": a, "x1": b})["y"], run(graph, {"x0": b, "x1": a})["y"]
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("shape", "dtype", "text", "elements", "size_bytes"),
    [
        ((), DType.F32, "<f32>", 1, 4),
        ((4, 8), DType.F32, "<4x8xf32>", 32, 128),
        ((3, 1, 5), DType.BF16, "<3x1x5xbf16>", 15, 30),
        ((7,), DType.BOOL, "<7xbool>", 7, 7),
    ],
)
def test_type_prints_reads_back_and_counts(
    shape: Shape, dtype: DType, text: str, elements: int, size_bytes: int
) -> None:
    kind = TensorType(shape, dtype)
    assert str(kind) == text
    assert TensorType.parse(text) == kind
    assert (kind.rank, kind.num_elements, kind.size_bytes) == (len(shape), elements, size_bytes)
