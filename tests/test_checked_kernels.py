"""What the compiler makes runs at its addresses, in any order that engines may take, with the
results of the plain interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from allocations import assert_runs_alike, tightly
from graph_strategy import Case, graphs
from hypothesis import given, settings
from lowering import BF16, arrays, compiled

import nkigen_lite
from cost_models import load_target
from nkigen_lite.core.dtypes import DType
from nkigen_lite.core.ir import clone
from nkigen_lite.nki_ir import overlaps
from nkigen_lite.nki_ir.limits import Limits
from nkigen_lite.tensor_ir.passes.hardware import TRN2
from nkigen_lite.tensor_ir.passes.layout_solver.addresses import allocate
from nkigen_lite.tensor_ir.passes.lower_to_nki import lower_to_nki

LIMITS = Limits.of(TRN2)
DTYPES = (*(DType.F32,) * 4, *(DType.BF16,) * 2, *(d for d in DType if d.is_float), DType.BOOL)
SMALL = {"memory.sbuf_usable_bytes_per_partition": 4096}


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def product(a: Any, b: Any) -> Any:
    return a @ b


def normed_product(x: Any, g: Any, w: Any) -> Any:
    scale = 1.0 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return np.maximum((x * scale * g) @ w, 0.0)


def chain(a: Any, b: Any, c: Any) -> Any:
    return softmax((a @ b) * 0.1) @ c


PROGRAMS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]], Any]] = {
    "rows": (softmax, [(300, 70)], np.float32),
    "product": (product, [(200, 300), (300, 600)], np.float32),
    "product of bf16": (product, [(130, 256), (256, 520)], BF16),
    "norm and product": (normed_product, [(256, 192), (192,), (192, 320)], np.float32),
    "chain": (chain, [(256, 64), (64, 256), (256, 64)], np.float32),
}
EXAMPLES: dict[str, tuple[str, list[tuple[int, ...]]]] = {
    "attention": ("examples/attention.py:attention", [(1, 2, 256, 64)] * 3),
    "layernorm": ("examples/layernorm.py:layernorm", [(300, 512), (512,), (512,)]),
    "mlp_swiglu": (
        "examples/mlp_swiglu.py:mlp_swiglu",
        [(128, 256), (256, 384), (256, 384), (384, 256)],
    ),
    "rope": ("examples/rope.py:rope", [(1, 4, 128, 64)]),
}


def assert_checked(kernel: nkigen_lite.Compiled, inputs: list[Any], orders: int) -> None:
    """At the compiler's addresses and at tight ones."""
    given = kernel.traced.feed(*inputs)
    kinds = {v.name: v.type for v in kernel.nki.inputs}
    feed = {n: np.ascontiguousarray(a).reshape(kinds[n].shape) for n, a in given.items()}
    limits = Limits.of(kernel.target)
    for allocation in (kernel.allocation, tightly(kernel.nki, limits)):
        assert overlaps.problems(kernel.nki, allocation, limits) == []
        assert_runs_alike(kernel.nki, feed, allocation, orders)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_lowered_program_runs_at_its_addresses_in_any_order(name: str) -> None:
    function, shapes, dtype = PROGRAMS[name]
    inputs = arrays(shapes, dtype)
    assert_checked(compiled(function, *inputs), inputs, orders=3)


def test_a_program_that_fills_sbuf_runs_at_its_addresses_in_any_order() -> None:
    inputs = arrays([(300, 200), (200, 300)])
    kernel = compiled(product, *inputs, target=load_target("trn2", SMALL))
    assert kernel.allocation.sbuf.capacity == 4096
    assert_checked(kernel, inputs, orders=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_at_its_addresses_in_any_order(name: str) -> None:
    where, shapes = EXAMPLES[name]
    inputs = arrays(shapes)
    assert_checked(compiled(nkigen_lite.load_function(where), *inputs), inputs, orders=8)


def test_a_compiled_kernel_runs_checked_on_inputs_by_name() -> None:
    (x,) = arrays([(64, 32)])
    kernel = compiled(softmax, x)
    for order in ("program", 5):
        (found,) = kernel.run_checked({"x": x}, order).values()
        np.testing.assert_array_equal(found, kernel(x))


def assert_case(case: Case, orders: int) -> None:
    kernel = lower_to_nki(clone(case.graph), time_limit=0.5)
    outputs = {id(v) for v in kernel.outputs.values()}
    feed = {
        v.name: np.ascontiguousarray(case.inputs[v.name]).reshape(v.type.shape)
        for v in kernel.inputs
        if id(v) not in outputs
    }
    for allocation in (allocate(kernel, LIMITS), tightly(kernel, LIMITS)):
        assert overlaps.problems(kernel, allocation, LIMITS) == []
        assert_runs_alike(kernel, feed, allocation, orders)


@given(case=graphs(dtypes=DTYPES))
@settings(max_examples=8)
def test_lowered_random_graphs_run_at_their_addresses_in_any_order(case: Case) -> None:
    assert_case(case, orders=2)


@pytest.mark.slow
@given(case=graphs(max_elements=4096, dtypes=DTYPES))
@settings(max_examples=12)
def test_many_lowered_random_graphs_run_in_any_order(case: Case) -> None:
    assert_case(case, orders=2)
