"""Passes stay fast on large graphs: seconds are for machines much slower than today's."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from nkigen_lite.core.ir import Value
from nkigen_lite.tensor_ir import Builder
from nkigen_lite.tensor_ir.passes.canonicalize import canonicalize
from nkigen_lite.tensor_ir.passes.decompose import decompose

COUNT = 2000


def _constants(b: Builder, x: Value) -> Value:
    return b.concat([b.full((1, 4), float(i % 7)) for i in range(COUNT)], 0)


def _adjacent_slices(b: Builder, x: Value) -> Value:
    wide = b.broadcast_to(x, (COUNT, 4))
    tall = b.exp(
        b.reshape(b.broadcast_to(b.reshape(wide, (1, COUNT, 4)), (1, COUNT, 4)), (COUNT, 4))
    )
    return b.concat([b.slice(tall, (i, 0), (i + 1, 4)) for i in range(COUNT)], 0)


def _flip(b: Builder, x: Value) -> Value:
    tall = b.iota((COUNT, 4), 0, "f32")
    return b.concat([b.slice(tall, (i, 0), (i + 1, 4)) for i in reversed(range(COUNT))], 0)


def _nested_concats(b: Builder, x: Value) -> Value:
    whole = x
    for _ in range(COUNT // 2):
        whole = b.concat([whole, b.exp(x)], 0)
    return whole


def _chain(b: Builder, x: Value) -> Value:
    y = x
    for _ in range(COUNT // 4):
        y = b.add(b.mul(y, b.full((1, 4), 0.5)), b.broadcast_to(x, (1, 4)))
    return y


def _remainders(b: Builder, x: Value) -> Value:
    y = x
    for _ in range(COUNT // 8):
        y = b.mod(b.add(b.sin(y), x), b.full((), 3.0))
    return y


@pytest.mark.parametrize(
    "program", [_constants, _adjacent_slices, _flip, _nested_concats, _chain, _remainders]
)
def test_thousands_of_ops_take_seconds(program: Callable[[Builder, Value], Value]) -> None:
    b = Builder()
    b.set_outputs({"y": program(b, b.add_input("x", (1, 4)))})
    start = time.process_time()
    canonicalize(b.graph)
    decompose(b.graph)
    assert time.process_time() - start < 5.0


def test_many_slices_of_one_concatenation_take_seconds() -> None:
    b = Builder()
    parts = [b.add_input(f"x{i}", (1, 4)) for i in range(COUNT)]
    whole = b.concat(parts, 0)
    b.set_outputs({f"y{i}": b.slice(whole, (i, 0), (i + 1, 4)) for i in range(COUNT)})
    start = time.process_time()
    assert canonicalize(b.graph) == COUNT
    assert time.process_time() - start < 5.0
    assert b.graph.ops == []


def test_a_hundred_ops_take_less_than_half_a_second() -> None:
    b = Builder()
    x = b.add_input("x", (4, 8))
    y = x
    for _ in range(10):
        scale = b.div(b.full((4, 1), 1.0), b.sqrt(b.reduce(b.mul(y, y), 1, "mean", True)))
        y = b.mul(y, b.broadcast_to(scale, (4, 8)))
        y = b.div(y, b.add(b.full((4, 8), 1.0), b.exp(b.neg(y))))
    b.set_outputs({"y": y})
    start = time.process_time()
    canonicalize(b.graph)
    decompose(b.graph)
    assert time.process_time() - start < 0.5
