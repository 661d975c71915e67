"""What canonicalize does with broadcasts, reshapes, casts, windows and equal ops."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from graph_strategy import sample_inputs

from nkigen_lite.core.dtypes import round_to
from nkigen_lite.core.ir import Graph
from nkigen_lite.tensor_ir import Builder, DType, run
from nkigen_lite.tensor_ir.passes.canonicalize import canonicalize
from nkigen_lite.tensor_ir.passes.canonicalize.casts import is_exact
from nkigen_lite.tensor_ir.passes.cse import merge_equal_ops


def opcodes(graph: Graph) -> list[str]:
    return [op.opcode for op in graph.ops if op.opcode != "constant"]


def canonical(b: Builder) -> list[str]:
    """The opcodes left of ``b``'s graph, whose numbers must be what they were."""
    inputs = sample_inputs(b.graph, seed=4)
    meaning = run(b.graph, inputs)
    canonicalize(b.graph)
    assert b.graph.verify() == []
    for name, array in run(b.graph, inputs).items():
        np.testing.assert_allclose(array, meaning[name], rtol=1e-5, atol=1e-6)
    return opcodes(b.graph)


def test_softmax_with_explicit_broadcasts_is_five_ops() -> None:
    b = Builder()
    x = b.add_input("x", (2, 4, 8))

    def along(value, kind):
        return b.broadcast_to(b.expand_dims(b.reduce(value, -1, kind), -1), (2, 4, 8))

    e = b.exp(b.sub(x, along(x, "max")))
    b.set_outputs({"y": b.div(e, along(e, "sum"))})
    assert canonical(b) == ["reduce", "sub", "exp", "reduce", "div"]


def test_scaling_before_a_broadcast_works_on_the_small_value() -> None:
    b = Builder()
    x = b.broadcast_to(b.add_input("x", (1, 8)), (4, 8))
    b.set_outputs({"y": b.add(b.exp(x), b.full((4, 8), 1.0))})
    assert canonical(b) == ["exp", "add", "broadcast_to"]
    assert b.graph.ops[0].result.type.shape == (1, 8)


def test_repeated_heads_are_read_by_the_matmul_itself() -> None:
    b = Builder()
    q, k = b.add_input("q", (2, 3, 4, 8)), b.add_input("k", (2, 4, 8))
    keys = b.broadcast_to(b.expand_dims(b.transpose(k, (0, 2, 1)), 1), (2, 3, 8, 4))
    b.set_outputs({"y": b.matmul(q, keys)})
    assert canonical(b) == ["transpose", "reshape", "matmul"]


def test_broadcast_of_a_contracted_dimension_stays() -> None:
    b = Builder()
    x, w = b.add_input("x", (3, 8)), b.add_input("w", (1, 5))
    b.set_outputs({"y": b.matmul(x, b.broadcast_to(w, (8, 5)))})
    assert canonical(b) == ["broadcast_to", "matmul"]


def test_broadcast_that_is_an_output_stays() -> None:
    b = Builder()
    wide = b.broadcast_to(b.add_input("x", (8,)), (4, 8))
    b.set_outputs({"wide": wide, "y": b.neg(wide)})
    assert sorted(canonical(b)) == ["broadcast_to", "broadcast_to", "neg"]


@pytest.mark.parametrize(
    ("perm", "shape", "left"),
    [
        ((1, 0, 2), (2, 3, 4), ["transpose"]),
        ((1, 0, 2), (1, 3, 4), ["reshape"]),
        ((2, 0, 1), (3, 4, 1), ["reshape"]),
        ((0, 1, 2), (2, 3, 4), []),
    ],
)
def test_transposes_that_move_no_element_are_reshapes(perm, shape, left) -> None:
    b = Builder()
    b.set_outputs({"y": b.transpose(b.add_input("x", shape), perm)})
    assert canonical(b) == left


def test_transpose_of_a_partial_broadcast_transposes_the_small_value() -> None:
    b = Builder()
    x = b.broadcast_to(b.add_input("x", (3, 1, 5)), (3, 4, 5))
    b.set_outputs({"y": b.transpose(x, (2, 1, 0))})
    assert canonical(b) == ["transpose", "broadcast_to"]
    assert b.graph.ops[0].result.type.shape == (5, 1, 3)


def test_reshape_that_mixes_broadcast_dimensions_stays() -> None:
    b = Builder()
    x = b.broadcast_to(b.add_input("x", (3, 1)), (3, 4))
    b.set_outputs({"y": b.reshape(x, (12,))})
    assert canonical(b) == ["broadcast_to", "reshape"]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("kind", ["sum", "max", "min", "mean"])
def test_reductions_of_one_kind_merge(kind: str, keepdims: bool) -> None:
    b = Builder()
    x = b.add_input("x", (2, 3, 4))
    b.set_outputs({"y": b.reduce(b.reduce(x, 0, kind, keepdims), -1, kind)})
    left = canonical(b)
    assert left == (["reduce", "reshape"] if keepdims else ["reduce"])
    assert b.graph.ops[0].attrs["axis"] == (0, 2)


def test_reductions_of_two_kinds_stay() -> None:
    b = Builder()
    x = b.add_input("x", (2, 3, 4))
    b.set_outputs({"y": b.reduce(b.reduce(x, 0, "max"), -1, "sum")})
    assert canonical(b) == ["reduce", "reduce"]


@pytest.mark.parametrize("target", list(DType), ids=str)
@pytest.mark.parametrize("source", list(DType), ids=str)
def test_exact_casts_are_those_that_keep_every_value(source: DType, target: DType) -> None:
    values = _values(source)
    with np.errstate(all="ignore"):  # signalling nans
        wanted = values.astype(np.float64)
        found = round_to(values, target).astype(np.float64)
    assert is_exact(source, target) == np.array_equal(found, wanted, equal_nan=True)


def _values(dtype: DType) -> np.ndarray:
    """All values of types of up to 16 bits, and telling ones of the others."""
    if dtype is DType.BOOL:
        return np.array([False, True])
    if dtype.itemsize <= 2:
        return np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype.np)
    if dtype.is_integer:
        info = np.iinfo(dtype.np)
        return np.array([info.min, -1 if info.min else 1, 0, 2**24 + 1, info.max], dtype.np)
    info = ml_dtypes.finfo(np.float32)
    telling = [0, -1, 1 + 2**-10, 1 + 2**-23, info.max, info.smallest_normal, np.inf, np.nan]
    telling.append(float(info.smallest_normal) * (2**-10 if dtype is DType.TF32 else 2**-23))
    return round_to(np.array(telling, np.float32), dtype)


def test_casts_that_round_stay() -> None:
    b = Builder()
    x = b.add_input("x", (4,))
    b.set_outputs({"y": b.cast(b.cast(x, "bf16"), "f32")})
    assert canonical(b) == ["cast", "cast"]


def test_comparison_read_twice_keeps_its_cast() -> None:
    b = Builder()
    x = b.add_input("x", (4,))
    c = b.greater(x, b.full((), 0.0))
    b.set_outputs({"c": c, "y": b.cast(c, "bool")})
    assert canonical(b) == ["greater", "cast"]


def test_ramp_that_its_dtype_cuts_short_keeps_its_cast() -> None:
    b = Builder()
    b.add_input("x", (1,))
    b.set_outputs({"y": b.cast(b.iota((300,), 0, "i8"), "f32")})
    assert canonical(b) == ["iota", "cast"]


def test_slice_across_two_parts_stays() -> None:
    b = Builder()
    x, z = b.add_input("x", (4,)), b.add_input("z", (4,))
    b.set_outputs({"y": b.slice(b.concat([x, z], 0), (2,), (6,))})
    assert canonical(b) == ["concat", "slice"]


def test_slice_of_concat_along_another_dimension_reaches_the_part() -> None:
    b = Builder()
    x, z = b.add_input("x", (4, 3)), b.add_input("z", (4, 5))
    b.set_outputs({"y": b.slice(b.concat([x, z], 1), (1, 3), (4, 8), (2, 2))})
    assert canonical(b) == ["slice"]


def test_splitting_and_joining_again_is_nothing() -> None:
    b = Builder()
    x = b.add_input("x", (4, 6))
    b.set_outputs({"y": b.concat(b.split(x, 3, 1), 1)})
    assert canonical(b) == []


def test_rotating_halves_stays_two_slices() -> None:
    b = Builder()
    first, second = b.split(b.add_input("x", (4, 6)), 2, 1)
    b.set_outputs({"y": b.concat([b.neg(second), first], 1)})
    assert sorted(canonical(b)) == ["concat", "neg", "slice", "slice"]


def test_concatenation_read_elsewhere_is_not_taken_apart() -> None:
    b = Builder()
    x = b.add_input("x", (4,))
    inner = b.concat([x, x], 0)
    b.set_outputs({"inner": inner, "y": b.concat([inner, x], 0)})
    assert canonical(b) == ["concat", "concat"]


def test_run_lengths_of_equal_constants_merge() -> None:
    b = Builder()
    b.add_input("x", (1,))
    runs = [b.full((n,), v) for n, v in ((2, 1.0), (3, 1.0), (1, 0.0), (4, -0.0), (2, -0.0))]
    b.set_outputs({"y": b.concat(runs, 0)})
    canonicalize(b.graph)
    assert [v.type.shape for v in b.graph.ops[-1].inputs] == [(5,), (1,), (6,)]


def test_equal_ops_are_computed_once() -> None:
    b = Builder()
    x, z = b.add_input("x", (4,)), b.add_input("z", (4,))
    b.set_outputs({"p": b.exp(b.add(x, z)), "q": b.exp(b.add(z, x)), "r": b.exp(b.sub(z, x))})
    assert merge_equal_ops(b.graph) == 2
    assert b.graph.outputs["p"] is b.graph.outputs["q"]
    assert b.graph.verify() == []


def test_constants_that_differ_in_sign_of_zero_or_dtype_stay_apart() -> None:
    b = Builder()
    b.add_input("x", (1,))
    kinds = [(0.0, "f32"), (-0.0, "f32"), (0.0, "bf16"), (0, "i32")]
    b.set_outputs({f"y{i}": b.full((4,), v, d) for i, (v, d) in enumerate(kinds)})
    assert merge_equal_ops(b.graph) == 0


def test_nan_constants_merge() -> None:
    b = Builder()
    b.set_outputs({"p": b.full((4,), np.nan), "q": b.full((4,), float("nan"))})
    assert merge_equal_ops(b.graph) == 1
