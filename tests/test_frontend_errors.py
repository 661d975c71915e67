"""What cannot be traced says what it was, where, and what to use instead."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nkigen_lite.errors import InvalidInput, NkigenError, TraceError
from nkigen_lite.frontend import trace, traced_functions
from nkigen_lite.frontend.refusals import REFUSED

BIG = np.zeros((4, 4), np.float32)

# (what the user wrote, the numpy function that the message begins with, a part of the message)
REFUSALS = [
    (lambda x: np.sort(x), "numpy.sort", "has no tensor_ir meaning; there is no sorting op"),
    (lambda x: x.argsort(), "numpy.argsort", "there is no sorting op"),
    (lambda x: np.argmax(x), "numpy.argmax", "x == np.max(x, axis, keepdims=True)"),
    (lambda x: x.argmin(0), "numpy.argmin", "x == np.min(x, axis, keepdims=True)"),
    (lambda x: np.linalg.inv(x), "numpy.linalg.inv", "there is no dense solver"),
    (lambda x: np.fft.fft(x), "numpy.fft.fft", "matrix of the transform"),
    (lambda x: np.nonzero(x), "numpy.nonzero", "its shape depends on the data"),
    (lambda x: np.unique(x), "numpy.unique", "select with np.where"),
    (lambda x: np.arcsin(x), "numpy.arcsin", "use np.arctan"),
    (lambda x: np.meshgrid(x, x), "numpy.meshgrid", "has no tensor_ir meaning"),
    (lambda x: np.nextafter(x, x), "numpy.nextafter", "has no tensor_ir meaning"),
    (lambda x: x << 2, "numpy.left_shift", "multiply by 2 ** n"),
    (lambda x: np.add.accumulate(x), "numpy.add.accumulate", "has no tensor_ir meaning"),
    (lambda x: np.exp(x, out=BIG), "numpy.exp", "out= cannot be traced; traced arrays never"),
    (lambda x: np.sum(x, out=BIG), "numpy.sum", "out= cannot be traced"),
    (lambda x: np.add(BIG.copy(), x, out=BIG), "numpy.add", "out= cannot be traced"),
    (lambda x: np.exp(x, where=x > 0), "numpy.exp", "where= cannot be traced; select with"),
    (lambda x: np.sum(x, where=x > 0), "numpy.sum", "where= cannot be traced; select with"),
    (lambda x: np.sum(x, initial=3), "numpy.sum", "unexpected keyword argument 'initial'"),
    (lambda x: np.where(x > 0), "numpy.where", "its shape depends on the data"),
    (lambda x: np.reshape(x, (2, 3)), "numpy.reshape", "shape (4, 4) cannot take the shape (2, 3)"),
    (lambda x: x.reshape(3, -1), "numpy.reshape", "cannot take the shape (3, -1)"),
    (lambda x: x.reshape(16, order="F"), "numpy.reshape", "order 'F' cannot be traced"),
    (lambda x: x.reshape("a"), "numpy.reshape", "shape 'a' must hold integers"),
    (lambda x: np.transpose(x, (0, 0)), "numpy.transpose", "must name each of the 2 dimensions"),
    (lambda x: x.sum(axis=2), "numpy.sum", "axis 2 is out of range for rank 2"),
    (lambda x: x.sum(axis=(0, -2)), "numpy.sum", "axis (0, -2) names a dimension twice"),
    (lambda x: x.sum(axis=1.5), "numpy.sum", "axis 1.5 must be an integer"),
    (lambda x: x.squeeze(0), "numpy.squeeze", "has an extent other than 1"),
    (lambda x: np.expand_dims(x, (0, 0)), "numpy.expand_dims", "names a dimension twice"),
    (lambda x: np.moveaxis(x, (0, 1), 0), "numpy.moveaxis", "must name equally many dimensions"),
    (lambda x: np.repeat(x, x), "numpy.repeat", "they must be static"),
    (lambda x: np.take(x, x), "numpy.take", "one-hot"),
    (lambda x: np.take(x, [0.5]), "numpy.take", "must be integers"),
    (lambda x: np.split(x, 3), "numpy.split", "extent 4 is not divisible into 3 equal parts"),
    (lambda x: np.array_split(x, 0), "numpy.array_split", "is 0 but must be positive"),
    (lambda x: np.split(x, [0]), "numpy.split", "[0:0] of axis 0 has no elements"),
    (lambda x: np.stack([x, x[0]]), "numpy.stack", "all arrays must have one shape"),
    (lambda x: np.pad(x, 1, mode="edge"), "numpy.pad", "mode 'edge' cannot be traced"),
    (lambda x: np.pad(x, -1), "numpy.pad", "must not be negative"),
    (lambda x: np.pad(x, (1, 2, 3)), "numpy.pad", "could not be broadcast"),
    (lambda x: np.tril(x[0, 0]), "numpy.tril", "rank 0 but needs rank 1"),
    (lambda x: np.prod(np.tile(x, 9)), "numpy.prod", "np.exp(np.sum(np.log(x)))"),
    (lambda x: np.cumsum(x > 0), "numpy.cumsum", "bool is not exact as a matrix product"),
    (lambda x: np.cumsum(np.tile(x, 999), 1), "numpy.cumsum", "sum blocks first"),
    (lambda x: np.linalg.norm(x, 1), "numpy.linalg.norm", "ord is 1 but only the root"),
    (lambda x: np.linalg.norm(x, 2), "numpy.linalg.norm", "ord is 2 but only the root"),
    (lambda x: np.var(x, ddof=16), "numpy.var", "of 16 elements with ddof=16 is not defined"),
    (lambda x: np.mean(x, dtype=np.int32), "numpy.mean", "dtype i32 must be a float type"),
    (lambda x: np.tensordot(x, x[:2], 1), "numpy.tensordot", "do not pair equal extents"),
    (lambda x: np.einsum("ii->i", x), "numpy.einsum", "'i' occurs twice in 'ii'; a diagonal"),
    (lambda x: np.einsum("ij->ijk", x), "numpy.einsum", "the result has 'k', which no operand has"),
    (lambda x: np.einsum("ij,jk", x), "numpy.einsum", "names 2 operands but 1 are given"),
    (lambda x: np.einsum("i", x), "numpy.einsum", "'i' names 1 dimensions of 2"),
    (lambda x: np.einsum("i%", x), "numpy.einsum", "must consist of letters"),
    (lambda x: np.einsum("ij,ik", x, x[:2]), "numpy.einsum", "'i' has the extents 2 and 4"),
    (lambda x: np.einsum(x, [0, 1]), "numpy.einsum", "subscripts must be text"),
    (lambda x: ~x, "numpy.invert", "bits belong to integers and bools"),
    (lambda x: x & 1, "numpy.bitwise_and", "bits belong to integers and bools"),
    (lambda x: -(x > 0), "numpy.negative", "use ~ or np.logical_not"),
    (lambda x: np.reciprocal(x.astype("i32")), "numpy.reciprocal", "use 1 / x"),
    (lambda x: x.astype("i32") ** -1, "numpy.power", "no negative integer powers"),
    (lambda x: x.astype("i32") ** -40, "numpy.power", "no negative integer powers"),
    (lambda x: np.round(x.astype("i32"), -1), "numpy.round", "cast to float32 first"),
    (lambda x: x == None, "numpy.equal", "operand None must be an array or a number; test it with"),  # noqa: E711
    (lambda x: x == "a", "numpy.equal", "operand 'a' must be an array or a number"),
    (lambda x: x + np.array([x.shape, None], object), "numpy.add", "is an object array"),
    (lambda x: x * 1j, "numpy.multiply", "complex128 is not an element type"),
    (lambda x: x + np.zeros(0), "numpy.add", "has no elements, which is not supported"),
    (lambda x: np.broadcast_arrays(x, np.ones(3)), "numpy.broadcast_arrays", "not broadcastable"),
    (lambda x: x if x.any() else -x, "trace", "truth value of a traced array is not known"),
    (lambda x: max(x[0, 0], x[0, 1]), "trace", "use np.maximum for max"),
    (lambda x: x * int(x[0, 0]), "trace", "use astype(np.int32)"),
    (lambda x: math.sqrt(x[0, 0]), "trace", "numpy's functions, not math's"),
    (lambda x: complex(x[0, 0]), "trace", "traced arrays are real"),
    (lambda x: [x for _ in range(x[0, 0])], "trace", "must be static Python values"),
    (lambda x: 3 in x, "trace", "use np.any(x == item)"),
    (lambda x: np.asarray(x), "trace", "cannot become a numpy array"),
    (lambda x: np.array([x, x]), "trace", "join traced arrays with np.stack"),
    (lambda x: BIG.dot(x), "trace", "call numpy functions, not methods of concrete arrays"),
    (lambda x: len(x[0, 0]), "trace", "len() of a 0-d array"),
    (lambda x: list(x[0, 0]), "trace", "iteration over a 0-d array"),
    (lambda x: x.tolist(), "trace", "traced arrays have no tolist; it has no tensor_ir meaning"),
    (lambda x: x.real, "trace", "traced arrays have no real; traced arrays are real; leave it out"),
    (lambda x: np.roll(x, 1.5, 0), "numpy.roll", "cannot be interpreted as an integer"),
    (lambda x: np.repeat(x, [1, 2], 0), "numpy.repeat", "could not be broadcast together"),
    (lambda x: np.full_like(x, "a"), "numpy.full_like", "could not convert string to float"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fn", "who", "part"), REFUSALS, ids=[f"{who}-{part[:25]}" for _, who, part in REFUSALS]
)
def test_refusal_names_function_line_and_way_out(fn: Any, who: str, part: str) -> None:
    with pytest.raises(TraceError) as caught:
        trace(fn, ["4x4:f32"])
    message = str(caught.value)
    assert message.startswith(f"{who}: ")
    assert part in message
    line = fn.__code__.co_firstlineno
    assert message.endswith(f"\n  at {__file__}:{line}")


def test_in_place_update_of_a_concrete_array_is_refused() -> None:
    def accumulate(x: Any) -> Any:
        total = np.zeros((4, 4), np.float32)
        total += x
        return total

    with pytest.raises(TraceError, match=r"numpy\.add: the argument out= cannot be traced"):
        trace(accumulate, ["4x4:f32"])


def test_values_do_not_leak_from_one_trace_into_another() -> None:
    kept: list[Any] = []
    trace(lambda x: kept.append(x) or x, ["4:f32"])
    with pytest.raises(TraceError, match="comes from another trace"):
        trace(lambda x: np.maximum(x, kept[0]), ["4:f32"])


def test_unknown_attributes_are_plain_attribute_errors() -> None:
    def probe(x: Any) -> Any:
        assert not hasattr(x, "tolist")
        assert not hasattr(x, "no_such_thing")
        assert not hasattr(x, "__array_interface__")
        return x

    trace(probe, ["4:f32"])


def test_traced_arrays_are_not_hashable_and_show_their_type() -> None:
    def probe(x: Any) -> Any:
        assert repr(x) == f"{x}" == "TracedArray(shape=(4, 2), dtype=bf16)"
        assert (x.ndim, x.size, x.itemsize, x.nbytes) == (2, 8, 2, 16)
        with pytest.raises(TypeError, match="unhashable"):
            hash(x)
        return x

    trace(probe, ["4x2:bf16"])


def test_errors_of_the_user_pass_as_they_are() -> None:
    def fails(x: Any) -> Any:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        trace(fails, ["4:f32"])


def test_every_error_here_is_one_of_the_projects_own() -> None:
    assert issubclass(TraceError, NkigenError)
    assert issubclass(InvalidInput, NkigenError)


def test_no_function_is_both_traced_and_refused() -> None:
    assert set(traced_functions()) & set(REFUSED) == set()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_functions_exist_in_numpy(name: str) -> None:
    found: Any = np
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    assert callable(found)
