"""Random graphs over all ops, ranks and dtypes lower, and the tiles compute what numpy does."""

from __future__ import annotations

import numpy as np
from emit_agreement import assert_agrees
from graph_strategy import Case, graphs
from hypothesis import given, settings
from same_meaning import assert_computes

from nkigen_lite import nki_ir
from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.ir import clone
from nkigen_lite.core.parser import parse
from nkigen_lite.nki_ir.rows import NKI
from nkigen_lite.tensor_ir.passes.lower_to_nki import lower_to_nki

# Integer results beyond the type's range are unspecified (engines saturate, numpy wraps), so the
# narrow integers have tests of their own with small values.
DTYPES = (*(DType.F32,) * 4, *(DType.BF16,) * 2, *(d for d in DType if d.is_float), DType.BOOL)


def run_lowered(case: Case, kernel: nki_ir.Graph) -> dict[str, Array]:
    """Run a kernel on a case's inputs; outputs in the shapes that the case's graph declares."""
    outputs = {id(v) for v in kernel.outputs.values()}
    buffers = {
        v.name: np.zeros(v.type.shape, v.type.dtype.np)
        if id(v) in outputs
        else np.ascontiguousarray(case.inputs[v.name]).reshape(v.type.shape)
        for v in kernel.inputs
    }
    found = nki_ir.run(kernel, buffers)
    return {n: found[n].reshape(v.type.shape) for n, v in case.graph.outputs.items()}


@given(case=graphs(dtypes=DTYPES))
@settings(max_examples=40)
def test_lowered_graphs_compute_what_numpy_does(case: Case) -> None:
    kernel = lower_to_nki(clone(case.graph), time_limit=1.0)
    assert_computes(case.graph, run_lowered(case, kernel), case.inputs, context=str(kernel))


@given(case=graphs(max_elements=4096, dtypes=DTYPES))
@settings(max_examples=16)
def test_lowered_graphs_of_larger_tensors_compute_what_numpy_does(case: Case) -> None:
    kernel = lower_to_nki(clone(case.graph), time_limit=1.0)
    assert_computes(case.graph, run_lowered(case, kernel), case.inputs, context=str(kernel))


@given(case=graphs(dtypes=DTYPES))
@settings(max_examples=10)
def test_kernels_print_and_read_back_the_same(case: Case) -> None:
    text = lower_to_nki(clone(case.graph), time_limit=1.0).dump()
    assert parse(text, NKI).dump() == text


@given(case=graphs(dtypes=[d for d in DTYPES if d is not DType.FP8_E3M4]))
@settings(max_examples=16)
def test_emitted_kernels_compute_what_their_tiles_do(case: Case) -> None:
    """NKI has no name for fp8 e3m4; all else is written, executed by the stand-in and compared."""
    kernel = lower_to_nki(clone(case.graph), time_limit=1.0)
    inputs = {v.name: case.inputs[v.name].reshape(v.type.shape) for v in kernel.inputs
              if v.name in case.inputs}  # fmt: skip
    assert_agrees(kernel, inputs)
