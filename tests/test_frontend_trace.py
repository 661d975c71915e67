"""Tracing as a whole: arguments, outputs, constants and kernels."""

from __future__ import annotations

import inspect
from collections import namedtuple
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkigen_lite.core import parse
from nkigen_lite.core.dtypes import DType
from nkigen_lite.errors import InvalidInput, InvalidOp, TraceError
from nkigen_lite.frontend import Kernel, Traced, kernel, trace
from nkigen_lite.tensor_ir import TensorType, run
from nkigen_lite.tensor_ir.rows import TENSOR

F32 = np.float32
BF16 = ml_dtypes.bfloat16


def opcodes(traced: Traced) -> list[str]:
    return [op.opcode for op in traced.graph.ops]


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, F32)


# --- arguments -----------------------------------------------------------------------------------


def test_inputs_are_named_after_the_parameters() -> None:
    traced = trace(lambda x, weight: x * weight, ["4x8:bf16", TensorType((8,), DType.F32)])
    assert traced.input_names == ("x", "weight")
    assert [str(v) for v in traced.graph.inputs] == ["%x: <4x8xbf16>", "%weight: <8xf32>"]


@pytest.mark.parametrize(
    "spec",
    ["2x3:bf16", TensorType((2, 3), DType.BF16), np.zeros((2, 3), BF16), ((2, 3), "bf16"),
     ((2, 3), BF16), ([2, 3], np.dtype(BF16))],
    ids=lambda spec: type(spec).__name__,
)  # fmt: skip
def test_every_form_of_spec_makes_an_input(spec: Any) -> None:
    traced = trace(lambda x: x, {"x": spec})
    assert traced.graph.inputs[0].type == TensorType((2, 3), DType.BF16)


def test_static_arguments_pass_untouched() -> None:
    seen = {}

    def f(x: Any, n: Any, mode: Any, flags: Any, scale: Any = 2.0) -> Any:
        seen.update(n=n, mode=mode, flags=flags, scale=scale)
        for _ in range(n):
            x = x * scale if mode == "scale" else x
        return x

    traced = trace(f, {"x": "4:f32", "n": 3, "mode": "scale", "flags": {"a": None, "b": (True, 1)}})
    assert opcodes(traced).count("mul") == 3
    assert seen == {"n": 3, "mode": "scale", "flags": {"a": None, "b": (True, 1)}, "scale": 2.0}
    assert traced.input_names == ("x",)


def test_nested_arguments_are_flattened_into_names() -> None:
    def f(x: Any, w: Any, layers: Any) -> Any:
        for matrix, bias in layers:
            x = x @ matrix + bias
        return x * w["gate"] + w["up"]["a.b"]

    specs = {
        "x": "2x4:f32",
        "w": {"gate": "4:f32", "up": {"a.b": "4:f32"}},
        "layers": [("4x4:f32", "4:f32"), ("4x4:f32", 1.0)],
    }
    traced = trace(f, specs)
    assert traced.input_names == (
        "x", "w_gate", "w_up_a_b", "layers_0_0", "layers_0_1", "layers_1_0",
    )  # fmt: skip
    arguments = {
        "x": ones(2, 4),
        "w": {"gate": ones(4), "up": {"a.b": ones(4)}},
        "layers": [(ones(4, 4), ones(4)), (ones(4, 4), 1.0)],
    }
    np.testing.assert_array_equal(traced.run(**arguments), f(**arguments))


def test_variadic_parameters_take_specs() -> None:
    def f(*parts: Any, **named: Any) -> Any:
        return np.concatenate(parts) * named["scale"]

    traced = Kernel(f).trace("2:f32", "3:f32", scale="1:f32")
    assert traced.input_names == ("parts_0", "parts_1", "scale")
    got = traced.run(ones(2), ones(3), scale=2 * ones(1))
    np.testing.assert_array_equal(got, 2 * ones(5))


def test_named_tuples_stay_named_tuples() -> None:
    Pair = namedtuple("Pair", "left right")
    traced = trace(lambda p: Pair(p.right, p.left), {"p": Pair("2:f32", "3:f32")})
    assert traced.input_names == ("p_left", "p_right")
    assert list(traced.graph.outputs) == ["output_left", "output_right"]
    got = traced.run(Pair(ones(2), ones(3)))
    assert isinstance(got, Pair)
    assert got.left.shape == (3,)


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        ({"x": "4:f32"}, "f: nothing is given for parameter 'weight'"),
        ([], "f: nothing is given for parameter 'x', 'weight'"),
        (["4:f32"] * 4, r"f: got 4 positional arguments but takes 3 \(x, weight, eps\)"),
        (
            {"x": "4:f32", "weigth": "4:f32"},
            r"'weigth' is not one of its parameters \(x, weight, eps\); did you mean 'weight'\?",
        ),
        ({"x": "4xx8:f32", "weight": "4:f32"}, "parameter 'x': spec: '4xx8:f32': extent ''"),
        ({"x": ((4,), np.float64), "weight": "4:f32"}, "parameter 'x'.*use np.float32"),
        ({"x": np.ones(4), "weight": "4:f32"}, "parameter 'x'.*float64.*use np.float32"),
        ({"x": "4:f32", "weight": ones(0)}, "extent 0 must be a positive integer"),
    ],
)
def test_wrong_specs_name_the_parameter(specs: Any, sentence: str) -> None:
    def f(x: Any, weight: Any, eps: float = 1e-6) -> Any:
        return x * weight + eps

    with pytest.raises(InvalidInput, match=sentence):
        trace(f, specs)


def test_an_argument_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="parameter 'x' is given twice"):
        Kernel(lambda x: x).trace("4:f32", x="4:f32")


def test_arguments_that_flatten_to_one_name_are_refused() -> None:
    with pytest.raises(InvalidInput, match="two arrays would both be the input 'w_a'"):
        trace(lambda w, w_a: w_a, {"w": {"a": "4:f32"}, "w_a": "4:f32"})


@pytest.mark.parametrize("specs", ["4x8:f32", ones(4), None, TensorType((4,), DType.F32)])
def test_specs_that_are_no_collection_are_refused(specs: Any) -> None:
    with pytest.raises(InvalidInput, match="must be a mapping by parameter name or a list"):
        trace(lambda x: x, specs)


def test_what_is_not_a_function_is_refused() -> None:
    with pytest.raises(InvalidInput, match="3 is not a function"):
        trace(3, [])  # type: ignore[arg-type]


# --- outputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "names"),
    [
        (lambda x: x + 1, ["output"]),
        (lambda x: (x, x + 1), ["output_0", "output_1"]),
        (lambda x: [x + 1], ["output_0"]),
        (lambda x: {"probs": x, "b": x + 1}, ["probs", "b"]),
        (lambda x: {"a": (x, x * 2), "b": {"c": x}}, ["a_0", "a_1", "b_c"]),
        (lambda x: (x, {"c": x}), ["output_0", "output_1_c"]),
    ],
)
def test_outputs_are_named_by_where_they_are(fn: Any, names: list[str]) -> None:
    traced = trace(fn, ["4:f32"])
    assert list(traced.graph.outputs) == names
    x = np.arange(4, dtype=F32)
    got, expected = traced.run(x), fn(x)
    assert type(got) is type(expected)
    np.testing.assert_equal(got, expected)


def test_a_returned_input_is_the_output() -> None:
    traced = trace(lambda x: x, ["4:f32"])
    assert traced.graph.outputs["output"] is traced.graph.inputs[0]


def test_returned_concrete_arrays_are_outputs() -> None:
    table = np.array([3.0, 1.0, 2.0])
    traced = trace(lambda x: (x, table, np.zeros((2, 2))), ["4:f32"])
    _, got, zeros = traced.run(ones(4))
    np.testing.assert_array_equal(got, table)
    np.testing.assert_array_equal(zeros, np.zeros((2, 2)))
    assert list(traced.constants) == ["table"]


@pytest.mark.parametrize(
    ("fn", "sentence"),
    [
        (lambda x: None, "the returned 'output' is None but must be an array; is a return"),
        (lambda x: (x, 3.0), "the returned 'output_1' is 3.0 but must be an array"),
        (lambda x: {"a": "b"}, "the returned 'a' is 'b' but must be an array"),
        (lambda x: (), r"the returned value \(\) holds no array"),
        (lambda x: {"a b": x, "a_b": x}, "two arrays would both be the output 'a_b'"),
    ],
)
def test_wrong_returns_are_refused(fn: Any, sentence: str) -> None:
    with pytest.raises(TraceError, match=sentence):
        trace(fn, ["4:f32"])


# --- constants -----------------------------------------------------------------------------------


def test_concrete_arrays_become_bound_inputs_shared_by_contents() -> None:
    def f(x: Any) -> Any:
        table = np.cos(np.arange(4.0))
        return x * table + np.cos(np.arange(4.0)) - table.astype(BF16) * x

    traced = trace(f, ["4:f32"])
    assert list(traced.constants) == ["table", "const_1"]
    assert [v.name for v in traced.graph.inputs] == ["x", "table", "const_1"]
    assert traced.constants["table"].dtype == np.dtype(F32)
    x = np.arange(4, dtype=F32)
    np.testing.assert_allclose(traced.run(x), f(x), rtol=1e-6)


def test_bound_arrays_are_copies() -> None:
    table = np.array([1.0, 2.0, 4.0], F32)
    traced = trace(lambda x: x * table, ["3:f32"])
    table[0] = 100.0
    np.testing.assert_array_equal(traced.run(ones(3)), [1, 2, 4])
    with pytest.raises(ValueError, match="read-only"):
        traced.constants["table"][0] = 5.0


def test_bound_arrays_have_the_names_of_their_variables_or_numbers() -> None:
    v1 = np.array([1.0, 5.0])

    def f(x: Any, mask: Any) -> Any:
        rows = np.array([2.0, 3.0])
        return x * rows.astype(F32) + np.array([7.0, 8.0]) + v1 * mask

    traced = trace(f, ["2:f32", "2:f32"])
    assert list(traced.constants) == ["rows", "const_1", "const_2"]


def test_scalars_and_uniform_arrays_become_constants() -> None:
    traced = trace(lambda x: x * 0.1 + np.full((2, 4), 3.0) + np.float32(2), ["4:f32"])
    constants = [op for op in traced.graph.ops if op.opcode == "constant"]
    assert [(op.attrs["value"], op.attrs["shape"]) for op in constants] == [
        (0.1, ()),
        (3.0, (2, 4)),
        (2.0, ()),
    ]
    assert not traced.constants


@pytest.mark.parametrize("signed_zero", [[0.0, -0.0], [-0.0, 1.0]])
def test_signed_zeros_are_kept(signed_zero: list[float]) -> None:
    traced = trace(lambda x: np.concatenate([x, np.array(signed_zero, F32)]), ["1:f32"])
    assert np.signbit(traced.run(ones(1))).tolist() == [False, *np.signbit(signed_zero)]


@pytest.mark.parametrize(
    ("ramp", "dim"),
    [(np.arange(5), 0), (np.arange(5.0)[:, None], 0), (np.mgrid[0:5, 0:5][1].astype(BF16), 1)],
)
def test_index_ramps_become_iotas(ramp: np.ndarray, dim: int) -> None:
    traced = trace(lambda x: x * ramp, ["3x5x5:f32"])
    assert [op.attrs["dim"] for op in traced.graph.ops if op.opcode == "iota"] == [dim]
    assert not traced.constants
    x = np.ones((3, 5, 5), F32)
    np.testing.assert_array_equal(traced.run(x), x * ramp.astype(F32))


def test_constant_names_step_around_parameters() -> None:
    traced = trace(lambda const_0: const_0 * np.array([1.0, 3.0]), ["2:f32"])
    assert [v.name for v in traced.graph.inputs] == ["const_0", "const_1"]


def test_what_leads_to_no_output_is_dropped() -> None:
    def f(x: Any) -> Any:
        np.exp(x) @ np.array([[1.0, 2.0], [3.0, 4.0]])
        return x + 1

    traced = trace(f, ["2:f32"])
    assert opcodes(traced) == ["constant", "add"]
    assert not traced.constants
    assert len(traced.graph.inputs) == 1


# --- the graph -----------------------------------------------------------------------------------


def test_ops_carry_the_line_of_the_user() -> None:
    def f(x: Any) -> Any:
        return np.mean(x, axis=0)

    first = inspect.getsourcelines(f)[1]
    locations = {op.loc for op in trace(f, ["4x4:bf16"]).graph.ops}
    assert {str(loc) for loc in locations} == {f"{__file__}:{first + 1}"}


def test_shapes_that_do_not_fit_name_op_and_line() -> None:
    with pytest.raises(
        InvalidOp, match=r"add: shapes \(4,\) and \(5,\) are not broadcastable\n  at"
    ):
        trace(lambda x, y: x + y, ["4:f32", "5:f32"])


def test_traced_graphs_are_sound_and_print_what_parses() -> None:
    traced = trace(lambda x: np.tril(x) @ np.arange(4) + x.std(), ["4x4:bf16"])
    assert traced.graph.verify() == []
    assert parse(traced.graph.dump(), TENSOR).dump() == traced.graph.dump()


def test_the_same_function_traces_to_the_same_text() -> None:
    def dump() -> str:
        return trace(lambda x: np.einsum("ij,jk,kl->il", x, x, x), ["4x4:f32"]).graph.dump()

    assert dump() == dump()


def test_feed_makes_what_the_interpreter_takes() -> None:
    traced = trace(lambda x, n, w: (x * w["a"] * np.array([1.0, 2.0])) ** n,
                   {"x": "2:f32", "n": 2, "w": {"a": "2:f32"}})  # fmt: skip
    feed = traced.feed(ones(2), w={"a": 3 * ones(2)})
    assert list(feed) == ["x", "w_a", "const_0"]
    np.testing.assert_array_equal(run(traced.graph, feed)["output"], [9, 36])


def test_feed_misses_arrays_by_name() -> None:
    traced = trace(lambda x, w: x * w["a"], ["2:f32", {"a": "2:f32"}], name="scale")
    with pytest.raises(InvalidInput, match="@scale: no array is given for 'w_a'"):
        traced.feed(ones(2))


# --- kernels -------------------------------------------------------------------------------------


def test_kernel_is_the_function_on_plain_arrays() -> None:
    @kernel
    def double(x: np.ndarray, times: int = 2) -> np.ndarray:
        """Twice."""
        return x * times

    np.testing.assert_array_equal(double(ones(3)), 2 * ones(3))
    assert (double.__name__, double.__doc__) == ("double", "Twice.")
    assert list(inspect.signature(double).parameters) == ["x", "times"]
    assert "Kernel double(x:" in repr(double)


def test_kernel_traces_by_position_and_by_name() -> None:
    @kernel(name="scaled")
    def scale(x: Any, w: Any, times: int = 2) -> Any:
        return x * w * times

    traced = scale.trace("4:f32", w="4:f32", times=3)
    assert traced.graph.name == "scaled"
    np.testing.assert_array_equal(traced.run(ones(4), ones(4)), 3 * ones(4))
    assert trace(scale, {"x": "4:f32", "w": "4:f32"}).graph.name == "scaled"
    assert trace(scale, ["4:f32", "4:f32"], name="other").graph.name == "other"


def test_a_function_without_a_name_traces_as_main() -> None:
    assert trace(lambda x: x, ["4:f32"]).graph.name == "main"
