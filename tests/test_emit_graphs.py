"""Random tensor graphs: whatever they lower to is legal source that computes what numpy does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from emit_agreement import assert_legal
from graph_strategy import Case, graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from kb_stand_in import kb_tiles, kernel_builder
from nki_stand_in import run_emitted
from same_meaning import assert_computes

from cost_models import load_target
from nkigen_lite.core.dtypes import Array, DType
from nkigen_lite.core.ir import clone
from nkigen_lite.nki_ir.emit_nki import emit_nki
from nkigen_lite.nki_ir.emit_to_kb import build_kb_kernel
from nkigen_lite.tensor_ir.passes.lower_to_nki import lower_to_nki

# NKI has no name for fp8 e3m4; narrow integers beyond their range have no defined value.
DTYPES = (
    *(DType.F32,) * 4,
    *(DType.BF16,) * 2,
    *(d for d in DType if d.is_float and d is not DType.FP8_E3M4),
    DType.BOOL,
)
TARGETS = ("trn1", "trn2", "trn3")
ROUNDINGS = ("truncate", "nearest")


def in_shape(case: Case, made: Mapping[str, Array]) -> dict[str, Array]:
    """Results in the shapes of the case's graph."""
    return {
        name: made[name].astype(value.type.dtype.np).reshape(value.type.shape)
        for name, value in case.graph.outputs.items()
    }


def assert_emits(case: Case, target: str, rounding: str) -> None:
    """The graph's kernel for a target is legal there, and computes what numpy does.

    So it does whichever way engines round floats to integers, and in the Kernel Builder.
    """
    kernel = lower_to_nki(clone(case.graph), load_target(target), time_limit=1.0)
    text = emit_nki(kernel)
    assert_legal(text, target)
    given = {
        v.name: np.ascontiguousarray(case.inputs[v.name]).reshape(v.type.shape)
        for v in kernel.inputs
        if v.name in case.inputs
    }
    made = run_emitted(text, list(given.values()), rounding=rounding)
    emitted = in_shape(case, dict(zip(kernel.outputs, made, strict=True)))
    assert_computes(case.graph, emitted, case.inputs, context=text)
    tiles = kb_tiles(kernel, given)
    with kernel_builder():
        build_kb_kernel(kernel)(**tiles)
    built = {name: tiles[value.name].data for name, value in kernel.outputs.items()}
    assert_computes(case.graph, in_shape(case, built), case.inputs, context=kernel.dump())


@given(
    case=graphs(max_ops=3, max_elements=64, dtypes=DTYPES),
    target=st.sampled_from(TARGETS),
    rounding=st.sampled_from(ROUNDINGS),
)
@settings(max_examples=10)
def test_emitted_graph_is_legal_and_computes_what_numpy_does(
    case: Case, target: str, rounding: str
) -> None:
    assert_emits(case, target, rounding)


@pytest.mark.slow
@given(
    case=graphs(max_elements=2048, dtypes=DTYPES),
    target=st.sampled_from(TARGETS),
    rounding=st.sampled_from(ROUNDINGS),
)
@settings(max_examples=15)
def test_larger_emitted_graph_is_legal_and_computes_what_numpy_does(
    case: Case, target: str, rounding: str
) -> None:
    assert_emits(case, target, rounding)
